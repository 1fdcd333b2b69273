package worker

import (
	"fmt"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
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
func (p *public) open(merchants []*merchant) error {
	if p.receiver == nil {
		return nil
	}
	all := map[string]notify.Merchant{}
	for _, m := range merchants {
		all[m.ledger.MchID()] = notify.Merchant{Opener: m.client, Ledger: m.ledger, Teller: m.collector}
	}
	return p.receiver.Open(all)
}
