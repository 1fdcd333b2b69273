// Package webhook tells billing of the ends of orders, as Standard Webhooks
// (https://www.standardwebhooks.com): at least once, an order's ends one after
// another, each order apart from all others.
//
// It goes by the same idea as collecting. The ledger has a list of what billing
// has not taken, an order each, and an index by when to look; asynq carries the
// work and may lose everything; the loop in relay.go puts back what is due. One
// task (deliver.go) delivers what one order has under a lease, so that no two
// workers are at the same order. post.go is one request and its answer.
package webhook

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
)

// Concurrency is how many deliveries of a merchant a process makes at once, each
// on a connection of its own.
const Concurrency = 16

// retriesAtOnce is how many of those may be for ends that have failed before. A
// receiver that hangs whenever it sees some of them leaves the others the rest.
const retriesAtOnce = Concurrency / 2

// Settings of one merchant's webhooks.
type Settings struct {
	URL    string // http or https, with a host; user, password and query are sent along
	Secret string // whsec_ and the key in base64
	// Retention is the age from which on an end whose delivery has failed is
	// given up; 0: never.
	Retention time.Duration

	// The rest has defaults where it is zero.

	Timeout time.Duration // of one delivery, from its claim to its answer; 10 s
	Every   time.Duration // between two looks at what is to be delivered; 250 ms
	// Grace is how long an order is left to the task that was made for it,
	// before the queue counts as having lost it; 30 s.
	Grace   time.Duration
	Backoff []time.Duration // after the first failure, the second, …; see backoff.go
}

func (s Settings) withDefaults() Settings {
	if s.Timeout == 0 {
		s.Timeout = 10 * time.Second
	}
	if s.Every == 0 {
		s.Every = 250 * time.Millisecond
	}
	if s.Grace == 0 {
		s.Grace = 30 * time.Second
	}
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
	trouble zerolog.Logger // for what may happen to every task at once
	metrics *Metrics
	retries chan struct{} // has a place for each delivery of retriesAtOnce
	stop    chan struct{}
}

// New returns a merchant's Sender. It does not own rdb. Its errors do not show
// the settings.
func New(s Settings, l *ledger.Ledger, rdb redis.UniversalClient, log zerolog.Logger, m *Metrics) (*Sender, error) {
	u, err := url.Parse(s.URL)
	if err != nil || u.Host == "" {
		return nil, errors.New("the webhooks' URL is none")
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
		retries: make(chan struct{}, retriesAtOnce), stop: make(chan struct{}),
	}, nil
}

// newClient returns a client of its own, so that nothing else waits for billing's
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
		// What is delivered elsewhere is not delivered to billing.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Stop lets tasks end after the delivery that they are at. It is to be called
// once.
func (s *Sender) Stop() { close(s.stop) }

// Close lets go of idle connections.
func (s *Sender) Close() { s.client.CloseIdleConnections() }

func (s *Sender) stopping() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}
