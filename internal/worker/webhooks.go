package worker

import (
	"context"
	"fmt"
	"sync"

	"github.com/hibiken/asynq"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/config"
	"payscore-collector/internal/eventstream/webhook"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/queue"
)

// hooks send a merchant's webhooks to billing, from an asynq queue of their own, so
// that a receiver in trouble delays nothing else. The methods of a nil hooks do
// nothing.
type hooks struct {
	sender *webhook.Sender
	server *asynq.Server

	relaying  sync.WaitGroup
	stopRelay context.CancelFunc // nil before start
}

// newHooks returns nil without BILLING_WEBHOOK_URL.
func newHooks(cfg config.Worker, l *ledger.Ledger, deps dependencies) (*hooks, error) {
	if !cfg.Webhook.On() {
		return nil, nil
	}
	sender, err := webhook.New(webhook.Settings{
		URL: cfg.Webhook.URL.Reveal(), Secret: cfg.Webhook.Secret.Reveal(), Retention: cfg.Retention,
	}, l, deps.conns.Ledger, deps.log, deps.hookMetrics)
	if err != nil {
		return nil, err
	}
	return &hooks{
		sender: sender,
		server: asynqx.NewServer(deps.conns.Queue, queue.WebhookName(l.MchID()), webhook.Concurrency, nil, deps.complaints.Logger(l.MchID())),
	}, nil
}

func (h *hooks) start() error {
	if h == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.stopRelay = cancel
	h.relaying.Go(func() { h.sender.Run(ctx) })
	if err := h.server.Start(asynq.HandlerFunc(h.sender.Process)); err != nil {
		return fmt.Errorf("start the webhooks' server: %w", err)
	}
	return nil
}

// shutdown lets deliveries under way finish. The ledger has the rest.
func (h *hooks) shutdown() {
	if h == nil {
		return
	}
	if h.stopRelay != nil {
		h.stopRelay()
	}
	h.relaying.Wait()
	h.sender.Stop()
	h.server.Shutdown()
	h.sender.Close()
}
