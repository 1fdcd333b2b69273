package worker

import (
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"

	"payscore-collector/internal/api"
	"payscore-collector/internal/config"
	"payscore-collector/internal/connlimit"
	"payscore-collector/internal/console"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/signer"
	"payscore-collector/internal/tracing/export"
)

// adminConnections is how many connections to ADMIN_ADDR may be open.
const adminConnections = 256

// serveAdmin serves health, metrics, the HTTP API and the console on ADMIN_ADDR:
//
//	GET /healthz  200 while the process runs
//	GET /readyz   200 while the worker can collect, and a line for each cause that
//	              keeps orders of a merchant from being collected; 503 and the reason
//	              while the worker starts or stops, or Redis does not serve
//	GET /metrics  Prometheus
//	/v1/…         the API that newAPI makes, with its document; nil: none
//	/             the console, on the API
//
// It returns nil where there is nothing to serve.
func serveAdmin(cfg config.Worker, reg *prometheus.Registry, watch *redisWatch, presence *presence, newAPI func(loopback bool) *api.API, log zerolog.Logger) (*httpServer, error) {
	if cfg.AdminAddr == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", cfg.AdminAddr)
	if err != nil {
		if cfg.AdminAddrSet {
			return nil, fmt.Errorf("ADMIN_ADDR %s cannot be listened on: %w; %s, or set it empty to do without", cfg.AdminAddr, err, otherAddr(err))
		}
		// Several workers on one machine: to collect matters more than the second
		// worker's metrics on a port that the operator did not choose.
		log.Warn().Str(logging.FieldEvent, "admin_addr_taken").Err(err).
			Msg("the default ADMIN_ADDR is taken: this worker serves no health, no metrics, no API and no console; set ADMIN_ADDR for each worker")
		return nil, nil
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
		// While Redis is away, the metrics that need no Redis are served.
		ErrorHandling: promhttp.ContinueOnError,
	}))
	var served http.Handler = mux
	s := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer connlimit.AtWork(r.Context())()
			served.ServeHTTP(w, r)
		}),
		ConnContext:       connlimit.Context,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10,
	}
	if newAPI != nil {
		addr, ok := l.Addr().(*net.TCPAddr)
		a := newAPI(ok && addr.IP.IsLoopback())
		api := http.NewServeMux()
		a.Register(api)
		pages := console.New(a)
		pages.Register(api)
		mux.Handle("/", export.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			signer.GiveWay()
			api.ServeHTTP(w, r)
		}), "payscore api"))
		checked := a.CheckHost(mux)
		served = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/healthz" { // it says nothing, and probes send any Host
				mux.ServeHTTP(w, r)
				return
			}
			checked.ServeHTTP(w, r)
		})
		s.RegisterOnShutdown(a.Stop)
		s.RegisterOnShutdown(pages.Stop)
		if a.NeedsToken() {
			log.Warn().Str(logging.FieldEvent, "api_without_token").Str(logging.FieldAddr, l.Addr().String()).
				Msg("ADMIN_ADDR is not a loopback address and no token is set: the API and the console answer 403 to every request; set API_TOKENS_FILE or ADMIN_TOKEN, or bind ADMIN_ADDR to 127.0.0.1")
		}
	}
	return serveHTTP(s, connlimit.Limit(l, adminConnections), time.Second, func(err error) {
		log.Error().Str(logging.FieldEvent, "admin_failed").Err(err).Msg("health, metrics, the API and the console are no longer served")
	}), nil
}
