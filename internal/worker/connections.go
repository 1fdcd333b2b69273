package worker

import (
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/api"
	"payscore-collector/internal/config"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/redisprobe"
)

// connections are the Redis clients of a worker.
type connections struct {
	redisprobe.Clients
	API     redis.UniversalClient
	bundler *redisconn.Bundler // nil in a cluster
}

// openRedis opens the clients, with up to size connections each; hook, where it is not
// nil, sees their commands. The caller must close them.
func openRedis(cfg config.Worker, size int, hook redis.Hook) connections {
	c := connections{Clients: redisprobe.Clients{
		Ledger: cfg.Redis.Open(redisconn.Pool{Size: size, Name: "payscore-worker"}),
		Queue:  cfg.Redis.Open(redisconn.Pool{Size: size, Name: "payscore-worker-asynq"}),
	}, API: cfg.Redis.Open(redisconn.Pool{Size: api.PoolSize, Name: "payscore-worker-api"})}
	if hook != nil {
		c.Ledger.AddHook(hook)
		c.Queue.AddHook(hook)
	}
	c.Queue.AddHook(commandHook(slowDown))
	if _, cluster := c.Ledger.(*redis.ClusterClient); !cluster {
		c.bundler = redisconn.NewBundler(cfg.Redis, "payscore-worker-scripts")
		c.Ledger.AddHook(c.bundler)
		c.Queue.AddHook(c.bundler) // behind slowDown, which sees the result
	}
	return c
}

func (c connections) close() {
	if c.bundler != nil {
		c.bundler.Close()
	}
	_ = c.API.Close()
	_ = c.Queue.Close()
	_ = c.Ledger.Close()
}

// commandHook is a redis.Hook for commands outside pipelines.
type commandHook func(next redis.ProcessHook) redis.ProcessHook

// DialHook implements redis.Hook.
func (commandHook) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements redis.Hook.
func (h commandHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return h(next) }

// ProcessPipelineHook implements redis.Hook.
func (commandHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
