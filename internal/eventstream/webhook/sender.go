// Package webhook delivers the final states of orders to billing as Standard Webhooks
// (https://www.standardwebhooks.com): at least once, those of one order one after
// another, and no order waits for another one.
//
// It works as collecting does. The ledger has a list of what billing has not accepted,
// by order, and an index by due time; asynq carries the work and may lose everything;
// the loop in relay.go enqueues what is due. One task (deliver.go) delivers what one
// order has under a lease, so that no two workers work on the same order. post.go is
// one request and its answer.
package webhook

import (
	"cmp"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
)

// Concurrency is how many deliveries of a merchant a process makes at once, each on a
// connection of its own.
const Concurrency = 16

// retriesAtOnce is how many of those may be retries: a receiver that hangs on some
// orders leaves the rest of the places to the others.
const retriesAtOnce = Concurrency / 2

// Settings of one merchant's webhooks.
type Settings struct {
	URL    string // http or https, with a host; user, password and query are sent along
	Secret string // whsec_ and the key in base64
	// Retention is the age at which a failed event is abandoned; 0: never.
	Retention time.Duration

	// The rest has defaults where it is zero.

	Timeout time.Duration // of one delivery, from its claim to its answer; 10 s
	Every   time.Duration // between two rounds of the relay; 250 ms
	// Grace is how long an order's task may take before the queue counts as having lost
	// it; 30 s.
	Grace   time.Duration
	Backoff []time.Duration // after the first failure, the second, …; see backoff.go
}

func (s Settings) withDefaults() Settings {
	s.Timeout = cmp.Or(s.Timeout, 10*time.Second)
	s.Every = cmp.Or(s.Every, 250*time.Millisecond)
	s.Grace = cmp.Or(s.Grace, 30*time.Second)
	if len(s.Backoff) == 0 {
		s.Backoff = backoff
	}
	return s
}

// Sender sends one merchant's webhooks. It is safe for concurrent use.
type Sender struct {
	Settings
	ledger  *ledger.Ledger
	rdb     redis.UniversalClient
	queue   *asynq.Client
	signer  *standardwebhooks.Webhook
	client  *http.Client
	log     zerolog.Logger
	trouble zerolog.Logger // sampled, for what may happen to every task at once
	metrics *Metrics
	retries chan struct{} // has retriesAtOnce places
	stopped *atomic.Bool
}

// New returns a merchant's Sender. It does not own rdb. Its errors do not show
// the settings.
func New(s Settings, l *ledger.Ledger, rdb redis.UniversalClient, log zerolog.Logger, m *Metrics) (*Sender, error) {
	u, err := url.Parse(s.URL)
	if err != nil || u.Host == "" {
		return nil, errors.New("the webhooks' URL has no host")
	}
	signer, err := standardwebhooks.NewWebhook(s.Secret)
	if err != nil {
		return nil, errors.New("the webhooks' secret is not whsec_ and base64")
	}
	m.set.Introduce(l.MchID())
	log = log.With().Str(logging.FieldMchID, l.MchID()).Logger()
	return &Sender{
		Settings: s.withDefaults(), ledger: l, rdb: rdb, queue: asynq.NewClientFromRedisClient(rdb),
		signer: signer, client: newClient(),
		log:     log,
		trouble: log.Sample(&zerolog.BurstSampler{Burst: 5, Period: 10 * time.Second}),
		metrics: m,
		retries: make(chan struct{}, retriesAtOnce), stopped: new(atomic.Bool),
	}, nil
}

// newClient returns a client of its own, so that no other part waits for its
// connections.
func newClient() *http.Client {
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    5 * time.Second,
		MaxIdleConns:           Concurrency,
		MaxIdleConnsPerHost:    Concurrency,
		IdleConnTimeout:        60 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
		// HTTP/1.1 only: a delivery that hangs has its connection to itself.
		Protocols: new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	return &http.Client{
		Transport: t,
		// A webhook that is delivered elsewhere is not delivered to billing.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Again returns a Sender that shares everything with s but its Stop: one for each time that
// the merchant's fetchers are started.
func (s *Sender) Again() *Sender {
	again := *s
	again.stopped = new(atomic.Bool)
	return &again
}

// Stop makes tasks end after their current delivery.
func (s *Sender) Stop() { s.stopped.Store(true) }

// Close closes idle connections.
func (s *Sender) Close() { s.client.CloseIdleConnections() }
