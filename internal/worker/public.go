package worker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/notify"
)

// public serves WeChat Pay's notifications on PUBLIC_ADDR. It answers from the
// start on, 503 until Redis is up and can be trusted.
type public struct {
	receiver *notify.Receiver
	server   *http.Server
	done     chan struct{}
}

// lastAnswers is how long notifications may take that are on their way when the
// worker stops: longer than one takes.
const lastAnswers = 3 * time.Second

func servePublic(cfg config.Worker, reg *prometheus.Registry, log zerolog.Logger) (*public, error) {
	if cfg.PublicAddr == "" {
		return &public{}, nil
	}
	l, err := net.Listen("tcp", cfg.PublicAddr)
	if err != nil {
		return nil, fmt.Errorf("PUBLIC_ADDR %s cannot be listened on: %w; choose another port, or set none to do without notifications", cfg.PublicAddr, err)
	}
	var mchids []string
	for _, m := range cfg.Merchants {
		mchids = append(mchids, m.MchID)
	}
	p := &public{receiver: notify.New(mchids, notify.NewMetrics(reg), log), done: make(chan struct{})}
	p.server = notify.NewServer(p.receiver)
	log.Info().Str(logging.FieldAddr, l.Addr().String()).Msg("listening for notifications")
	go func() {
		defer close(p.done)
		if err := p.server.Serve(notify.Limit(l)); !errors.Is(err, http.ErrServerClosed) {
			log.Error().Err(err).Msg("notifications are not served any more")
		}
	}()
	return p, nil
}

// open begins to take notifications.
func (p *public) open(merchants []*merchant) error {
	if p.server == nil {
		return nil
	}
	all := map[string]notify.Merchant{}
	for _, m := range merchants {
		all[m.ledger.MchID()] = notify.Merchant{Opener: m.client, Ledger: m.ledger, Teller: m.collector}
	}
	return p.receiver.Open(all)
}

// close stops listening, and lets those finish that have come. It can be called
// again.
func (p *public) close() {
	if p.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastAnswers)
	defer cancel()
	_ = p.server.Shutdown(ctx)
	_ = p.server.Close()
	<-p.done
}
