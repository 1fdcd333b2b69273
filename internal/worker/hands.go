package worker

import (
	"context"
	"runtime"
	"sync"

	"github.com/hibiken/asynq"
)

// hands are the goroutines on which steps run. asynq starts a new one for each
// task, whose stack begins at some kilobytes and is copied again and again until
// a signature and a call fit into it: that was 3 % of a worker's time. These
// stay, and so do their stacks.
type hands struct {
	work  func(context.Context, *asynq.Task) error
	jobs  chan *job
	spare sync.Pool // of *job
	done  sync.WaitGroup
}

type job struct {
	ctx      context.Context
	task     *asynq.Task
	err      error
	panicked any
	ready    chan struct{} // one value when the job is done
}

// newHands starts n of them. Close them when no task is under way any more.
func newHands(n int, work func(context.Context, *asynq.Task) error) *hands {
	h := &hands{work: work, jobs: make(chan *job)}
	h.spare.New = func() any { return &job{ready: make(chan struct{}, 1)} }
	for range n {
		h.done.Go(h.run)
	}
	return h
}

// ProcessTask implements asynq.Handler. It returns only when the work is done,
// and panics where that does: asynq is to count it as ever.
func (h *hands) ProcessTask(ctx context.Context, t *asynq.Task) error {
	j := h.spare.Get().(*job)
	j.ctx, j.task = ctx, t
	h.jobs <- j
	<-j.ready
	err, panicked := j.err, j.panicked
	j.ctx, j.task, j.err, j.panicked = nil, nil, nil, nil
	h.spare.Put(j)
	if panicked != nil {
		panic(panicked)
	}
	return err
}

// close ends them, each after the job that it has.
func (h *hands) close() {
	close(h.jobs)
	h.done.Wait()
}

// keptStack is how much of its stack a waiting hand holds on to. The garbage
// collector halves a stack of which less than a quarter is in use, and the next
// step would have to grow it again.
const keptStack = 9 << 10

func (h *hands) run() {
	var held [keptStack]byte
	for j := range h.jobs {
		h.do(j)
	}
	runtime.KeepAlive(&held)
}

func (h *hands) do(j *job) {
	defer func() {
		j.panicked = recover()
		j.ready <- struct{}{}
	}()
	j.err = h.work(j.ctx, j.task)
}
