package worker

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/hibiken/asynq"
)

func TestPool(t *testing.T) {
	bad := errors.New("bad")
	together := make(chan struct{})
	p := newPool(3, func(_ context.Context, task *asynq.Task) error {
		switch task.Type() {
		case "panics":
			panic("at the disco")
		case "fails":
			return bad
		case "meets":
			together <- struct{}{}
		}
		return nil
	})
	t.Run("returns what the work returned", func(t *testing.T) {
		if err := p.ProcessTask(t.Context(), asynq.NewTask("fine", nil)); err != nil {
			t.Error(err)
		}
		if err := p.ProcessTask(t.Context(), asynq.NewTask("fails", nil)); !errors.Is(err, bad) {
			t.Error(err)
		}
	})
	t.Run("panics where the work did, and continues", func(t *testing.T) {
		for range 5 { // more often than there are goroutines
			func() {
				defer func() {
					if got := recover(); got != "at the disco" {
						t.Errorf("recovered %v, want at the disco", got)
					}
				}()
				_ = p.ProcessTask(t.Context(), asynq.NewTask("panics", nil))
			}()
		}
		if err := p.ProcessTask(t.Context(), asynq.NewTask("fine", nil)); err != nil {
			t.Error(err)
		}
	})
	t.Run("as many at once as there are goroutines", func(t *testing.T) {
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { _ = p.ProcessTask(t.Context(), asynq.NewTask("meets", nil)) })
		}
		for range 3 {
			<-together
		}
		all.Wait()
	})
	p.close()
}
