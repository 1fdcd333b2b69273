package redisconn

import (
	"context"
	"errors"
	"runtime"
	"sync"

	"github.com/redis/go-redis/v9"
)

const (
	// bundleSize is the most that go together: the first of them has its answer
	// when the last has.
	bundleSize = 64
	// bundlesAtOnce are under way at the same time, each on a connection. With a near
	// Redis one would be enough; with a distant one, few scripts must wait for the
	// answer to others.
	bundlesAtOnce = 4
)

// Bundler sends scripts to Redis together that are called at about the same time.
// A worker at full load calls some thousand small ones a second, each of which
// would cost it, Redis and the kernel more in waking up, writing and reading than in
// work.
//
// It is a hook: it bundles the EVALSHA of the clients that it is added to (AddHook),
// and sends them over connections of its own. A bundle is sent once. Scripts that got
// no answer, or that Redis could not serve just then (READONLY, LOADING), are called
// again one by one, as if they had not been in it: with their client's retries and
// within their contexts' time. After a broken connection these can include scripts
// that Redis has run; such a script may take effect twice, as with go-redis's own
// retries. A script whose caller has left is not sent.
//
// A cluster's scripts must not go through it: those for a node that is down would
// delay those for the others.
type Bundler struct {
	client  redis.UniversalClient
	calls   chan *call
	bundles chan []*call
	running sync.WaitGroup
	stop    chan struct{} // closed first
	ended   chan struct{} // closed when nothing is sent any more
	close   func()
}

// call is a script under way. Its command is a copy of the caller's, who may
// leave before it is done.
type call struct {
	ctx  context.Context
	cmd  *redis.Cmd
	done chan struct{}
}

// NewBundler returns a Bundler for the clients of o, whose connections have that
// name. Close it before the clients.
func NewBundler(o Options, name string) *Bundler {
	b := &Bundler{
		client: o.Open(Pool{Size: bundlesAtOnce, Name: name, once: true}),
		calls:  make(chan *call, bundleSize), bundles: make(chan []*call),
		stop: make(chan struct{}), ended: make(chan struct{}),
	}
	b.close = sync.OnceFunc(func() {
		close(b.stop)
		_ = b.client.Close() // a bundle under way has no answer, at once
		b.running.Wait()
		close(b.ended)
	})
	b.running.Go(b.gather)
	for range bundlesAtOnce {
		b.running.Go(b.send)
	}
	return b
}

// Close ends it; after that, scripts are sent one by one. It may be called again.
func (b *Bundler) Close() { b.close() }

// gather puts scripts together while there are more, or while every sender is busy.
func (b *Bundler) gather() {
	for {
		var bundle []*call
		select {
		case c := <-b.calls:
			bundle = append(bundle, c)
		case <-b.stop:
			return
		}
		// Let other goroutines run first: on busy processors that gives their scripts
		// time to arrive, and on idle ones it takes none. A timer would wait in either
		// case, for at least a millisecond. Twice brings more of them together than
		// once.
		runtime.Gosched()
		runtime.Gosched()
		for more := true; more && len(bundle) < bundleSize; {
			select {
			case c := <-b.calls:
				bundle = append(bundle, c)
			default:
				more = false
			}
		}
		for sent := false; !sent; {
			calls := b.calls
			if len(bundle) == bundleSize {
				calls = nil
			}
			select {
			case b.bundles <- bundle:
				sent = true
			case c := <-calls:
				bundle = append(bundle, c)
			case <-b.stop:
				return
			}
		}
	}
}

// send sends bundles, one after the other.
func (b *Bundler) send() {
	for {
		select {
		case bundle := <-b.bundles:
			pipe := b.client.Pipeline()
			for _, c := range bundle {
				if err := c.ctx.Err(); err != nil {
					c.cmd.SetErr(err)
					continue
				}
				_ = pipe.Process(context.Background(), c.cmd) // it only queues the command
			}
			// The callers' contexts are theirs; the client's time-outs end it.
			_, _ = pipe.Exec(context.Background()) // each command has its own error
			for _, c := range bundle {
				close(c.done)
			}
		case <-b.stop:
			return
		}
	}
}

// DialHook is for redis.Hook.
func (b *Bundler) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook is for redis.Hook.
func (b *Bundler) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		script, ok := cmd.(*redis.Cmd)
		if !ok || cmd.Name() != "evalsha" {
			return next(ctx, cmd)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		c := &call{ctx: ctx, cmd: redis.NewCmd(context.Background(), cmd.Args()...), done: make(chan struct{})}
		select {
		case b.calls <- c:
		case <-ctx.Done():
			return ctx.Err()
		case <-b.stop:
			return next(ctx, cmd)
		}
		if !b.wait(ctx, c) {
			if err := ctx.Err(); err != nil {
				return err
			}
			return next(ctx, cmd)
		}
		switch val, err := c.cmd.Result(); {
		case err == nil:
			script.SetVal(val)
			return nil
		case answered(err):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
		return next(ctx, cmd)
	}
}

// wait waits for a script's answer, and reports whether there is one. As go-redis
// does, it returns at the context's deadline, and waits for what was begun if the
// context is cancelled.
func (b *Bundler) wait(ctx context.Context, c *call) bool {
	select {
	case <-c.done:
		return true
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return false
		}
	case <-b.ended:
	}
	select {
	case <-c.done:
		return true
	case <-b.ended:
	}
	// The answer may have come between the two.
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// ProcessPipelineHook is for redis.Hook.
func (b *Bundler) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// answered reports whether an error is Redis's answer to the script itself, and
// not one after which go-redis retries by itself.
func answered(err error) bool {
	_, reply := errors.AsType[redis.Error](err)
	return reply && !redis.IsReadOnlyError(err) && !redis.IsLoadingError(err) &&
		!redis.IsMasterDownError(err) && !redis.IsNoReplicasError(err) && !redis.IsMaxClientsError(err)
}
