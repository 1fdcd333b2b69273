package redistest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/redis/go-redis/v9"
)

// ErrInjected is what a call of a script returns where Faults strikes.
var ErrInjected = errors.New("injected: the connection was reset")

// Faults is a go-redis hook that makes calls of Lua scripts fail on demand: before
// the script took effect, or after, when only the answer is lost.
type Faults struct {
	Hook

	// Name returns the name of a script by its SHA-1, "" for one that it does not
	// know.
	Name func(sha string) string

	mu    sync.Mutex
	rules []*faultRule
}

type faultRule struct {
	script string
	times  int
	lost   bool
}

// Lose loses the answers of a script's next calls, which take effect.
func (f *Faults) Lose(script string, times int) { f.add(&faultRule{script, times, true}) }

// Fail makes a script's next calls fail without effect.
func (f *Faults) Fail(script string, times int) { f.add(&faultRule{script, times, false}) }

// Mend makes every call work again.
func (f *Faults) Mend() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

func (f *Faults) add(r *faultRule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, r)
}

func (f *Faults) take(script string) *faultRule {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rules {
		if r.script == script && r.times > 0 {
			r.times--
			return r
		}
	}
	return nil
}

// ProcessHook implements redis.Hook.
func (f *Faults) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() != "evalsha" {
			return next(ctx, cmd)
		}
		r := f.take(f.Name(cmd.Args()[1].(string)))
		if r == nil {
			return next(ctx, cmd)
		}
		if r.lost {
			if err := next(ctx, cmd); err != nil {
				return fmt.Errorf("the script was to take effect: %w", err)
			}
		}
		cmd.SetErr(ErrInjected)
		return ErrInjected
	}
}
