package worker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
	"payscore-collector/internal/connlimit"
)

// admin serves health and metrics on ADMIN_ADDR:
//
//	GET /healthz  200 while the process runs
//	GET /readyz   200 while it can collect, with a line for each cause that keeps a
//	              merchant's orders from being collected; 503 with the reason while it starts,
//	              stops, or Redis does not do what work needs
//	GET /metrics  Prometheus
type admin struct {
	server   *http.Server
	listener net.Listener
	done     chan struct{}
}

// adminConnections is how many may be open.
const adminConnections = 256

func serveAdmin(cfg config.Worker, reg *prometheus.Registry, watch *redisWatch, presence *presence, log zerolog.Logger) (*admin, error) {
	if cfg.AdminAddr == "" {
		return &admin{}, nil
	}
	l, err := net.Listen("tcp", cfg.AdminAddr)
	if err != nil {
		if cfg.AdminAddrSet {
			return nil, fmt.Errorf("ADMIN_ADDR %s cannot be listened on: %w; %s, or set it empty to do without", cfg.AdminAddr, err, otherAddr(err))
		}
		// Several workers on one machine: collecting matters more than the
		// second one's metrics on a port that nobody chose.
		log.Warn().Err(err).Msg("the default ADMIN_ADDR is taken, so this worker serves no health and no metrics; set ADMIN_ADDR for each worker")
		return &admin{}, nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		switch refusal := watch.refusal.Load(); {
		case refusal != nil:
			http.Error(w, "not collecting: "+refusal.Error(), http.StatusServiceUnavailable)
		case !watch.ready.Load():
			http.Error(w, "not collecting: starting or stopping", http.StatusServiceUnavailable)
		default:
			fmt.Fprintln(w, "ok")
			for _, line := range presence.lines() {
				fmt.Fprintln(w, line)
			}
		}
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(&sharedGatherer{from: reg}, promhttp.HandlerOpts{
		// What can be told is told, when Redis is away and the ledger's own
		// metrics are not to be had.
		ErrorHandling: promhttp.ContinueOnError,
	}))
	a := &admin{
		listener: l, done: make(chan struct{}),
		server: &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer connlimit.AtWork(r.Context())()
				mux.ServeHTTP(w, r)
			}),
			ConnContext:       connlimit.Context,
			ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
			WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
			MaxHeaderBytes: 16 << 10,
		},
	}
	go func() {
		defer close(a.done)
		if err := a.server.Serve(connlimit.Limit(l, adminConnections)); !errors.Is(err, http.ErrServerClosed) {
			log.Error().Err(err).Msg("health and metrics are not served any more")
		}
	}()
	return a, nil
}

func (a *admin) addr() string {
	if a.listener == nil {
		return "off"
	}
	return a.listener.Addr().String()
}

func (a *admin) close() {
	if a.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = a.server.Shutdown(ctx)
	_ = a.server.Close()
	<-a.done
}
