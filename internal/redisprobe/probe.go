// Package redisprobe finds out whether a Redis does what collecting needs. It does with
// keys of its own, beside a merchant's, what the ledger and asynq do with orders and
// tasks. PING and INFO do not prove that: a user without the right to run scripts, a
// replica, one node of a Cluster and a proxy that inspects scripts answer both.
package redisprobe

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/redisconn"
	"payscore-collector/tasks"
)

// Clients are the clients that the work uses, with their hooks: a probe with other
// clients would prove nothing about these.
type Clients struct {
	Ledger redis.UniversalClient
	Queue  redis.UniversalClient // asynq's
}

// life is how long the probe's keys stay if the process dies before it has deleted
// them.
const life = time.Minute

var (
	//go:embed ledger.lua
	ledgerSource string
	//go:embed enqueue.lua
	enqueueSource string
	//go:embed fetch.lua
	fetchSource string

	ledgerScript  = redis.NewScript(ledgerSource)
	enqueueScript = redis.NewScript(enqueueSource)
	fetchScript   = redis.NewScript(fetchSource)
)

// noOrder cannot be an order's number, because of its colon.
const noOrder = "probe:"

// errLagging reports that the next read did not see a write.
var errLagging = errors.New("a write was taken, and cannot be read back")

// Run probes for one merchant, and returns nil if Redis does all that its work needs. It
// takes about ten round trips, changes only keys of the probe, and removes them; if the
// process dies meanwhile, they expire within a minute. Any number may run at once.
func Run(ctx context.Context, c Clients, mchid string) *redisconn.Refusal {
	err := probe(ctx, c, mchid)
	if errors.Is(err, errLagging) {
		// A failover, or asynq's keys deleted by hand, may have fallen in between.
		err = probe(ctx, c, mchid)
	}
	if err == nil {
		return nil
	}
	r := redisconn.Explain(err)
	if errors.Is(err, errLagging) {
		r = &redisconn.Refusal{Kind: redisconn.ReadOnly, Said: err.Error(),
			Problem: "reads do not see what was just written",
			Remedy:  "let REDIS_URL name the master itself: an address that splits reads from writes sends reads to replicas, which lag"}
	}
	r.MchID = mchid
	return r
}

func probe(ctx context.Context, c Clients, mchid string) error {
	if err := probeLedger(ctx, c.Ledger, mchid); err != nil {
		return err
	}
	return probeQueue(ctx, c.Queue, mchid)
}

func probeLedger(ctx context.Context, rdb redis.UniversalClient, mchid string) error {
	token, k := rand.Text(), ledger.KeysOf(mchid)
	own := strings.TrimSuffix(k.Due(), "due") + "probe:" + token
	keys := []string{
		own + ":hash", own + ":list", own + ":zset", own + ":stream",
		k.Order(noOrder), k.Log(noOrder), k.Due(), k.Outcomes(), k.Stats(),
	}
	// Scripts are sent whole first, as those of a new release are; then by hash, as
	// nearly always.
	for _, call := range []func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd{ledgerScript.Eval, ledgerScript.Run} {
		switch back, err := call(ctx, rdb, keys, token, life.Milliseconds()).Text(); {
		case err != nil:
			return err
		case back != token:
			return errLagging
		}
	}
	if back, err := rdb.HGet(ctx, keys[0], "token").Result(); err != nil && !errors.Is(err, redis.Nil) {
		return err
	} else if back != token {
		return errLagging
	}
	if err := rdb.LLen(ctx, keys[1]).Err(); err != nil {
		return err
	}
	if err := rdb.Exists(ctx, ledger.MerchantsKey).Err(); err != nil {
		return err
	}
	return rdb.Del(ctx, keys[0]).Err()
}

func probeQueue(ctx context.Context, rdb redis.UniversalClient, mchid string) error {
	token, prefix := rand.Text(), "asynq:{"+tasks.QueueName(mchid)+"}:"
	// asynq's own keys have one word behind the prefix.
	own := prefix + "probe:" + token + ":"
	task, pending, names := own+"t:"+token, own+"pending", own+"names"
	err := enqueueScript.Run(ctx, rdb, []string{task, pending, names, asynqx.KeysOf(tasks.QueueName(mchid)).Pending},
		token, token, life.Milliseconds()).Err()
	if err != nil {
		return err
	}
	if err := rdb.SAdd(ctx, names, "again").Err(); err != nil {
		return err
	}
	fetch := fetchScript.Run(ctx, rdb, []string{pending, own + "paused", own + "active", own + "lease", own + "processed", names},
		strconv.FormatInt(time.Now().Add(life).Unix(), 10), own+"t:")
	if msg, err := fetch.Text(); err != nil && !errors.Is(err, redis.Nil) {
		return err
	} else if msg != token {
		return errLagging
	}
	return rdb.Exists(ctx, "asynq:queues").Err()
}

// Channel returns nil if asynq's channel of cancellations can be subscribed to. Nothing
// is lost without it: it never cancels a step.
func Channel(ctx context.Context, c Clients) *redisconn.Refusal {
	sub := c.Queue.Subscribe(ctx, "asynq:cancel")
	defer sub.Close()
	_, err := sub.Receive(ctx)
	return redisconn.Explain(err)
}
