package worker

import (
	"payscore-collector/internal/config"
	"payscore-collector/internal/eventstream/webhook"
	"payscore-collector/internal/ledger"
)

// newSender returns what sends a merchant's webhooks to billing, from an asynq queue of
// their own, so that a receiver in trouble delays nothing else; nil without
// BILLING_WEBHOOK_URL.
func newSender(cfg config.Worker, l *ledger.Ledger, deps dependencies) (*webhook.Sender, error) {
	if !cfg.Webhook.On() {
		return nil, nil
	}
	return webhook.New(webhook.Settings{
		URL: cfg.Webhook.URL.Reveal(), Secret: cfg.Webhook.Secret.Reveal(), Retention: cfg.Retention,
	}, l, deps.conns.Ledger, deps.log, deps.hookMetrics)
}
