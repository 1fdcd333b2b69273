package worker

import (
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/config"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/redisprobe"
)

// connections are the clients of a worker.
type connections struct {
	redisprobe.Clients
	bundler *redisconn.Bundler // nil in a cluster
}

// openRedis opens them, with up to size connections each; hook sees their
// commands. Close them.
func openRedis(cfg config.Worker, size int, hook redis.Hook) connections {
	c := connections{Clients: redisprobe.Clients{
		Ledger: cfg.Redis.Open(redisconn.Pool{Size: size, Name: "payscore-worker"}),
		Queue:  cfg.Redis.Open(redisconn.Pool{Size: size, Name: "payscore-worker-asynq"}),
	}}
	if hook != nil {
		c.Ledger.AddHook(hook)
		c.Queue.AddHook(hook)
	}
	c.Queue.AddHook(slowDown{})
	if _, cluster := c.Ledger.(*redis.ClusterClient); !cluster {
		c.bundler = redisconn.NewBundler(cfg.Redis, "payscore-worker-scripts")
		c.Ledger.AddHook(c.bundler)
		c.Queue.AddHook(c.bundler) // behind slowDown: that sees what comes of it
	}
	return c
}

func (c connections) close() {
	if c.bundler != nil {
		c.bundler.Close()
	}
	_ = c.Queue.Close()
	_ = c.Ledger.Close()
}
