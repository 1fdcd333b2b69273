package redisconn

import (
	"context"
	"net"
	"runtime"
	"sync"

	"github.com/redis/go-redis/v9"
)

const (
	// bundleSize is the most that go together: the first of them has its answer
	// when the last has.
	bundleSize = 64
	// bundlesAtOnce are under way at the same time. One would do beside a near
	// Redis; with one that is far away, others are not to wait for its answer.
	bundlesAtOnce = 4
)

// Bundle sends scripts that are called at about the same time to Redis
// together. A worker at full load calls some thousand small ones a second, each
// of which would cost it, Redis and the kernel more in waking up, writing and
// reading than in work.
//
// It is a hook: what it is to bundle are the EVALSHA of the clients that it is
// added to (AddHook). Their replies, their errors and the time their contexts
// give them are the same as without it. As without it, a script whose caller has
// left may still take effect, and one whose answer was lost, or that Redis could
// not serve just then (LOADING, READONLY), is sent again by go-redis; those that
// went with it are so too.
//
// A cluster's scripts are not for it: those for a node that is down would hold
// up those for the others.
type Bundle struct {
	client  redis.UniversalClient
	calls   chan *call
	bundles chan []*call
	stop    chan struct{}
	running sync.WaitGroup
	close   func()
}

// call is a script under way. Its command is a copy of the caller's, who may
// leave before it is done.
type call struct {
	cmd  *redis.Cmd
	done chan struct{}
}

// NewBundle returns a Bundle that sends by that client, which may have it as a
// hook. Close it before the client.
func NewBundle(client redis.UniversalClient) *Bundle {
	b := &Bundle{client: client, calls: make(chan *call, bundleSize), bundles: make(chan []*call), stop: make(chan struct{})}
	b.close = sync.OnceFunc(func() { close(b.stop) })
	b.running.Go(b.gather)
	for range bundlesAtOnce {
		b.running.Go(b.send)
	}
	return b
}

// Close ends it; scripts that are called from then on fail with redis.ErrClosed.
// It may be called again.
func (b *Bundle) Close() {
	b.close()
	b.running.Wait()
}

// gather puts scripts together: those that come before it is its turn again, and
// until there is somebody to send them.
func (b *Bundle) gather() {
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
func (b *Bundle) send() {
	for {
		select {
		case bundle := <-b.bundles:
			pipe := b.client.Pipeline()
			for _, c := range bundle {
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
func (b *Bundle) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook is for redis.Hook.
func (b *Bundle) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		script, ok := cmd.(*redis.Cmd)
		if !ok || cmd.Name() != "evalsha" {
			return next(ctx, cmd)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		c := &call{cmd: redis.NewCmd(context.Background(), cmd.Args()...), done: make(chan struct{})}
		select {
		case b.calls <- c:
		case <-ctx.Done():
			return ctx.Err()
		case <-b.stop:
			return redis.ErrClosed
		}
		select {
		case <-c.done:
		case <-ctx.Done():
			return ctx.Err()
		case <-b.stop:
			return redis.ErrClosed
		}
		val, err := c.cmd.Result()
		script.SetVal(val)
		return err
	}
}

// ProcessPipelineHook is for redis.Hook.
func (b *Bundle) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { return next(ctx, cmds) }
}
