package worker

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/logging"
	"payscore-collector/internal/queue"
	"payscore-collector/internal/redisconn"
)

const (
	// listenAgain is the time until a subscription that failed is tried again, and
	// refusedAgain until one that Redis has refused.
	listenAgain  = time.Second
	refusedAgain = time.Minute
	// silence is how long a subscription may be silent before it is tested, and then
	// before it counts as broken.
	silence = 15 * time.Second
)

// listen wakes merchants as the channel of wake-ups says. While Redis refuses the
// subscription, no merchant sleeps: wake-ups would be looks, up to SWEEP_EVERY late.
func (r *roster) listen() {
	for r.ctx.Err() == nil {
		err := r.hear()
		if r.ctx.Err() != nil {
			return
		}
		wait := listenAgain
		refusal := redisconn.Explain(err)
		if refused := refusal != nil && !refusal.Passes() && refusal.Kind != redisconn.TLS; refused {
			wait = refusedAgain
			if !r.deaf.Swap(true) {
				r.log.Warn().Str(logging.FieldEvent, "wakeups_refused").Str(logging.FieldError, refusal.Said).
					Msg("Redis refuses the channel of wake-ups, so that merchants without work do not sleep and cost as much as the others: " + refusal.Remedy)
			}
			r.kick()
		}
		select {
		case <-r.ctx.Done():
		case <-time.After(wait):
		}
	}
}

// hear subscribes, and wakes merchants until the subscription breaks.
func (r *roster) hear() error {
	sub := r.conns.Ledger.Subscribe(r.ctx, queue.WakeChannel)
	defer sub.Close()
	defer context.AfterFunc(r.ctx, func() { _ = sub.Close() })() // it ends Receive
	tested := false
	for {
		msg, err := sub.ReceiveTimeout(r.ctx, silence)
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout() && !tested:
			if err := sub.Ping(r.ctx); err != nil {
				return err
			}
			tested = true
			continue
		case err != nil:
			return err
		}
		tested = false
		switch msg := msg.(type) {
		case *redis.Subscription:
			r.deaf.Store(false)
			r.kick() // what was published before was not heard
		case *redis.Message:
			for mchid := range strings.FieldsSeq(msg.Payload) {
				if mchid == queue.WakeBulk {
					r.heardBulk()
				} else {
					r.wake(mchid, byMessage)
				}
			}
		}
	}
}
