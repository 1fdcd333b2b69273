package redisconn

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Time-outs and retries of every client. A parameter of the same meaning in the URL
// wins.
const (
	dialTimeout = 5 * time.Second
	// ioTimeout is for one read or write. Our slowest scripts take milliseconds; a
	// Redis that is silent for this long is gone.
	ioTimeout = 3 * time.Second
	// maxRetries counts after the first try. A command whose reply was lost
	// is sent again, so each of our writes must be safe to repeat.
	maxRetries = 3
	// dialsPerTry keeps go-redis from dialling five times within each of the four
	// tries: if packets are dropped, that would be a hundred seconds for one command.
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
	// Name, if not empty, is what CLIENT LIST shows for each connection.
	// client_name in the URL wins.
	Name string

	// once sends no command a second time, and gives pipelines no connections of
	// their own. It does not work for a cluster, whose retries are its redirects.
	once bool
}

// Open makes a client. It does not connect: Redis may be down, and every command
// then returns an error until it is back (see WaitUp). Close the client when done.
// Open may be called again; each client has a pool of its own.
//
// The result is a *redis.Client, or for a cluster a *redis.ClusterClient; asynq
// and its inspector take either. It respects the deadline of a command's context.
//
// Open panics on an Options that Parse has not made.
func (o Options) Open(p Pool) redis.UniversalClient {
	if o.IsZero() {
		panic("redisconn: Open of an Options that was not parsed")
	}
	u := *o.redis // go-redis writes its defaults into what it is given
	fill(&u.PoolSize, p.Size)
	fill(&u.ClientName, p.Name)
	// go-redis gives a connection up where its name is refused, although it only helps
	// people. A Redis that has gone away is noticed by the next command.
	if name := u.ClientName; name != "" {
		u.ClientName = ""
		u.OnConnect = func(ctx context.Context, cn *redis.Conn) error {
			_ = cn.ClientSetName(ctx, name).Err()
			return nil
		}
	}
	fill(&u.DialTimeout, dialTimeout)
	fill(&u.ReadTimeout, ioTimeout)
	fill(&u.WriteTimeout, ioTimeout)
	fill(&u.DialerRetries, dialsPerTry)
	fill(&u.Protocol, protocol)
	fill(&u.ReadBufferSize, buffer)
	fill(&u.WriteBufferSize, buffer)
	u.ContextTimeoutEnabled = true
	u.TLSConfig = u.TLSConfig.Clone()
	// A feature of Redis Enterprise that go-redis otherwise asks every server for, on
	// every connection.
	u.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	if !u.IsClusterMode { // a cluster client retries by rules of its own, together with the redirects
		fill(&u.MaxRetries, maxRetries)
		if p.once {
			u.MaxRetries, u.PipelinePoolSize = -1, -1
		}
	}
	return redis.NewUniversalClient(&u)
}

// Open parses the URL and makes a client: Parse and Options.Open in one.
func Open(rawURL string, p Pool) (redis.UniversalClient, error) {
	o, err := Parse(rawURL)
	if err != nil {
		return nil, err
	}
	return o.Open(p), nil
}

// fill sets what the URL does not set.
func fill[T comparable](field *T, value T) {
	var unset T
	if *field == unset {
		*field = value
	}
}
