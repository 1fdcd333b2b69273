package worker

import (
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"payscore-collector/internal/collect"
	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/notify"
)

// public serves WeChat Pay's notifications on PUBLIC_ADDR. It answers from the start
// on, 503 until Redis is up and can be trusted.
type public struct {
	receiver *notify.Receiver // nil without PUBLIC_ADDR
	*httpServer
}

// lastAnswers is how long notifications under way may take when the worker stops:
// longer than one takes.
const lastAnswers = 3 * time.Second

func servePublic(cfg config.Worker, reg *prometheus.Registry, log zerolog.Logger) (*public, error) {
	if cfg.PublicAddr == "" {
		return &public{}, nil
	}
	l, err := net.Listen("tcp", cfg.PublicAddr)
	if err != nil {
		return &public{}, fmt.Errorf("PUBLIC_ADDR %s cannot be listened on: %w; %s, or set none to do without notifications", cfg.PublicAddr, err, otherAddr(err))
	}
	var mchids []string
	for _, m := range cfg.Merchants {
		mchids = append(mchids, m.MchID)
	}
	p := &public{receiver: notify.New(mchids, notify.NewMetrics(reg), log)}
	log.Info().Str(logging.FieldEvent, "notifications_listening").Str(logging.FieldAddr, l.Addr().String()).Msg("listening for notifications")
	p.httpServer = serveHTTP(notify.NewServer(p.receiver), notify.Limit(l), lastAnswers, func(err error) {
		log.Error().Str(logging.FieldEvent, "notifications_failed").Err(err).Msg("notifications are no longer received")
	})
	return p, nil
}

// open starts to take notifications.
func (p *public) open(r *roster) error {
	if p.receiver == nil {
		return nil
	}
	all := map[string]notify.Merchant{}
	for _, m := range r.merchants() {
		all[m.config.MchID] = notified(r, m)
	}
	return p.receiver.Open(all)
}

// follow takes the notifications of merchants that are new or differ, and refuses those of
// merchants that were taken out.
func (p *public) follow(r *roster, c change) {
	if p.receiver == nil {
		return
	}
	for _, m := range slices.Concat(c.added, c.changed) {
		p.receiver.Add(m.config.MchID, notified(r, m))
	}
	for _, m := range c.removed {
		p.receiver.Remove(m.config.MchID)
	}
}

func notified(r *roster, m *merchant) notify.Merchant {
	return notify.Merchant{Opener: m.client, Ledger: m.ledger, Teller: teller{m.collector, r}}
}

// teller wakes the merchant of a notification that brought news.
type teller struct {
	*collect.Collector
	roster *roster
}

// Noticed implements notify.Merchant's Teller.
func (t teller) Noticed(n ledger.Notice, code ledger.NoticeCode, news []ledger.News) {
	t.Collector.Noticed(n, code, news)
	if code != ledger.NoticeRepeat && code != ledger.NoticeAbsent {
		t.roster.noticed(t.MchID())
	}
}
