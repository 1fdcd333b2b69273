package redisconn

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"

	"github.com/redis/go-redis/v9"
)

const (
	// bundleSize is the most that go together: the first of them has its answer
	// when the last has.
	bundleSize = 64
	// bundlesAtOnce are under way at the same time, each on a connection. One would
	// do beside a near Redis; with one that is far away, few others are to wait
	// until it has answered.
	bundlesAtOnce = 4
)

// Bundler sends scripts that are called at about the same time to Redis
// together. A worker at full load calls some thousand small ones a second, each
// of which would cost it, Redis and the kernel more in waking up, writing and
// reading than in work.
//
// It is a hook: what it bundles are the EVALSHA of the clients that it is added
// to (AddHook), which go by connections of its own then. A bundle is sent once.
// Scripts that it brought no answer for, or that Redis could not serve just then
// (READONLY, LOADING), are called again one by one, as if they had not been in
// it: with their client's retries and their contexts' time. Where a connection
// breaks, that can be scripts that were answered, too; any may take effect twice
// then, as with go-redis's own retries. One whose caller has left is not sent any
// more.
//
// A cluster's scripts are not for it: those for a node that is down would hold
// up those for the others.
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

// Close ends it; from then on scripts go one by one. It may be called again.
func (b *Bundler) Close() { b.close() }

// gather puts scripts together, as long as there are some or nobody is free to
// send them.
func (b *Bundler) gather() {
	for {
		var bundle []*call
		select {
		case c := <-b.calls:
			bundle = append(bundle, c)
		case <-b.stop:
			return
		}
		// Whoever can run does so first: where the processors are busy that is time
		// for others to come, and where they are not it is none. A timer would wait
		// in either case, and for a millisecond at the least. Twice brings more of
		// them together than once.
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
				_ = pipe.Process(context.Background(), c.cmd) // it is only noted
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
func (b *Bundler) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

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

// wait waits for the end of a script, and reports whether it has one. As go-redis
// does, it leaves when the context's time is up, and sees what was begun to its
// end where the context is cancelled.
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
	// The end may have come between the two.
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// ProcessPipelineHook is for redis.Hook.
func (b *Bundler) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { return next(ctx, cmds) }
}

// answered reports whether an error is Redis's answer to the script itself, and
// not one after which go-redis asks again by itself.
func answered(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply) && !redis.IsReadOnlyError(err) && !redis.IsLoadingError(err) &&
		!redis.IsMasterDownError(err) && !redis.IsNoReplicasError(err) && !redis.IsMaxClientsError(err)
}
