package worker

import (
	"context"
	"runtime"
	"sync"

	"github.com/hibiken/asynq"
)

// pool runs steps on goroutines that stay. asynq starts a new goroutine for each task,
// whose stack begins at some kilobytes and is copied several times until a signature
// and a call fit into it: that took 3 % of a worker's CPU time.
type pool struct {
	work func(context.Context, *asynq.Task) error
	jobs chan *job
	done sync.WaitGroup
}

type job struct {
	ctx      context.Context
	task     *asynq.Task
	err      error
	panicked any
	finished chan struct{}
}

// newPool starts n goroutines. close ends them.
func newPool(n int, work func(context.Context, *asynq.Task) error) *pool {
	p := &pool{work: work, jobs: make(chan *job)}
	for range n {
		p.done.Go(p.run)
	}
	return p
}

// ProcessTask implements asynq.Handler. It returns when the work is done, and panics
// if the work panicked, so that asynq counts that as usual.
func (p *pool) ProcessTask(ctx context.Context, t *asynq.Task) error {
	j := &job{ctx: ctx, task: t, finished: make(chan struct{})}
	p.jobs <- j
	<-j.finished
	if j.panicked != nil {
		panic(j.panicked)
	}
	return j.err
}

// close waits for the jobs under way. No task may come after it.
func (p *pool) close() {
	close(p.jobs)
	p.done.Wait()
}

// keptStack is how much of its stack a waiting goroutine keeps in use. The garbage
// collector halves a stack of which less than a quarter is in use, and the next step
// would have to grow it again.
const keptStack = 9 << 10

func (p *pool) run() {
	var held [keptStack]byte
	for j := range p.jobs {
		p.do(j)
	}
	runtime.KeepAlive(&held)
}

func (p *pool) do(j *job) {
	defer close(j.finished)
	defer func() { j.panicked = recover() }()
	j.err = p.work(j.ctx, j.task)
}
