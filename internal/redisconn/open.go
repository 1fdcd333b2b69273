package redisconn

import (
	"context"
	"crypto/tls"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Time-outs and retries of every client. Each gives way to the parameter of
// the same meaning in the URL.
const (
	dialTimeout = 5 * time.Second
	// ioTimeout is for one read or write. Our slowest scripts take
	// milliseconds; a Redis that is silent for longer is gone.
	ioTimeout = 3 * time.Second
	// maxRetries counts after the first try. A command whose reply was lost
	// is sent again, so every write of ours must stand being done twice.
	maxRetries = 3
	// dialsPerTry keeps go-redis from dialling five times within each of the
	// four tries: with packets dropped on the way, that would be a hundred
	// seconds for one command.
	dialsPerTry = 1
	// protocol is RESP2: nothing here uses what RESP3 adds, and with it go-redis
	// looks for pushed messages before and after every reply.
	protocol = 2
	// buffer is a connection's, in each direction, in bytes. Requests and replies
	// of a step are about one kilobyte, and there may be a connection for each step
	// under way: go-redis's own 32 KiB would be most of a worker's memory.
	buffer = 8 << 10
)

// Pool sizes a client's connection pool.
type Pool struct {
	// Size is the number of connections, for a cluster per node; 0 leaves it
	// to go-redis (10 per CPU, in a cluster 5). pool_size in the URL wins.
	Size int
	// Name, where not empty, is what CLIENT LIST shows for each connection.
	// client_name in the URL wins.
	Name string

	// once: no command is sent a second time, and pipelines have no connections
	// of their own. Not for a cluster, whose retries are its redirects.
	once bool
}

// Open makes a client. It does not connect: Redis may be down, and every
// command says so for itself until it is back (see WaitUp). Close the client
// when done. Open may be called again, each time for a client with a pool of
// its own.
//
// The result is a *redis.Client, or for a cluster a *redis.ClusterClient; asynq
// and its inspector take either. It honours the deadline of a command's
// context.
//
// Open panics on an Options that Parse has not made.
func (o Options) Open(p Pool) redis.UniversalClient {
	switch {
	case o.cluster != nil:
		c := *o.cluster // go-redis writes its defaults into what it is given
		p.tune(tunable{&c.PoolSize, &c.ClientName, &c.OnConnect, &c.DialTimeout, &c.ReadTimeout, &c.WriteTimeout, &c.DialerRetries, &c.ContextTimeoutEnabled, &c.TLSConfig, &c.Protocol, &c.ReadBufferSize, &c.WriteBufferSize})
		// MaxRetries is left alone: a cluster client retries by rules of its
		// own, together with the redirects.
		c.MaintNotificationsConfig = noMaintNotifications()
		return redis.NewClusterClient(&c)
	case o.sentinel != nil:
		c := *o.sentinel
		p.tune(tunable{&c.PoolSize, &c.ClientName, &c.OnConnect, &c.DialTimeout, &c.ReadTimeout, &c.WriteTimeout, &c.DialerRetries, &c.ContextTimeoutEnabled, &c.TLSConfig, &c.Protocol, &c.ReadBufferSize, &c.WriteBufferSize})
		fill(&c.MaxRetries, maxRetries)
		if p.once {
			c.MaxRetries, c.PipelinePoolSize = -1, -1
		}
		return redis.NewFailoverClient(&c)
	case o.single != nil:
		c := *o.single
		p.tune(tunable{&c.PoolSize, &c.ClientName, &c.OnConnect, &c.DialTimeout, &c.ReadTimeout, &c.WriteTimeout, &c.DialerRetries, &c.ContextTimeoutEnabled, &c.TLSConfig, &c.Protocol, &c.ReadBufferSize, &c.WriteBufferSize})
		fill(&c.MaxRetries, maxRetries)
		if p.once {
			c.MaxRetries, c.PipelinePoolSize = -1, -1
		}
		c.MaintNotificationsConfig = noMaintNotifications()
		return redis.NewClient(&c)
	default:
		panic("redisconn: Open of an Options that was not parsed")
	}
}

// Open parses the URL and makes a client: Parse and Options.Open in one.
func Open(rawURL string, p Pool) (redis.UniversalClient, error) {
	o, err := Parse(rawURL)
	if err != nil {
		return nil, err
	}
	return o.Open(p), nil
}

// tunable points at the fields that the three option types of go-redis have in
// common.
type tunable struct {
	poolSize              *int
	clientName            *string
	onConnect             *func(context.Context, *redis.Conn) error
	dial, read, write     *time.Duration
	dialerRetries         *int
	contextTimeoutEnabled *bool
	tls                   **tls.Config
	protocol              *int
	readBuf, writeBuf     *int
}

func (p Pool) tune(t tunable) {
	fill(t.poolSize, p.Size)
	fill(t.clientName, p.Name)
	// go-redis gives a connection up where its name is refused, and it is only a
	// comfort. A Redis that has gone away is noticed by the next command.
	if name := *t.clientName; name != "" {
		*t.clientName = ""
		*t.onConnect = func(ctx context.Context, cn *redis.Conn) error {
			_ = cn.ClientSetName(ctx, name).Err()
			return nil
		}
	}
	fill(t.dial, dialTimeout)
	fill(t.read, ioTimeout)
	fill(t.write, ioTimeout)
	fill(t.dialerRetries, dialsPerTry)
	fill(t.protocol, protocol)
	fill(t.readBuf, buffer)
	fill(t.writeBuf, buffer)
	*t.contextTimeoutEnabled = true
	*t.tls = (*t.tls).Clone()
}

// fill sets what the URL has left open.
func fill[T comparable](field *T, value T) {
	var unset T
	if *field == unset {
		*field = value
	}
}

// noMaintNotifications switches off a feature of Redis Enterprise that go-redis
// otherwise asks every server for, on every connection.
func noMaintNotifications() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}
