package config

import (
	"cmp"
	"errors"
	"strings"
	"time"

	"payscore-collector/internal/logging"
	"payscore-collector/internal/redisconn"
)

// Defaults of settings whose flag cannot have one: the flag's emptiness means
// something.
const (
	DefaultBaseURL   = "https://api.mch.weixin.qq.com"
	DefaultBackupURL = "https://api2.mch.weixin.qq.com"
	DefaultAdminAddr = "127.0.0.1:9090"
)

// ClientSettings are the flag groups of a command that only talks to the
// ledger.
type ClientSettings struct {
	RedisFlags
	OrderFlags
	LogFlags
}

// Client is the configuration of a command that only talks to the ledger.
type Client struct {
	Redis redisconn.Options
	Order Order
	Log   Log
}

// Load judges the settings. The error is a Problems.
func (s ClientSettings) Load(p Process) (Client, error) {
	c := NewCollector(p, &s)
	cfg := Client{
		Redis: s.RedisFlags.Resolve(c),
		Order: s.OrderFlags.Resolve(c),
		Log:   s.LogFlags.Resolve(c),
	}
	return cfg, c.Err()
}

// WorkerSettings are the flag groups of the worker.
type WorkerSettings struct {
	RedisFlags
	OrderFlags
	MerchantFlags
	WorkerFlags
	LogFlags
}

// Worker is the configuration of the worker.
type Worker struct {
	Redis     redisconn.Options
	Merchants []Merchant // at least one; mchids are unique
	Order     Order      // defaults of orders, as enqueue uses them
	Log       Log
	Work

	// Warnings are sentences about what is allowed but unwise.
	Warnings []string
}

// Work is how the worker works. See the flag of the same name for the meaning
// and the default of each.
type Work struct {
	Concurrency     int             // at least 1
	CallTimeout     time.Duration   // above 0
	Rate            float64         // calls a second for a merchant; above 0
	CollectSchedule []time.Duration // not empty, each above 0
	ConfirmSchedule []time.Duration // not empty, each above 0
	Window          Window
	Location        *time.Location // whose clock Window goes by
	MinGap          time.Duration  // 0 or more
	GiveUpAfter     time.Duration  // above 0
	SweepEvery      time.Duration  // above 0
	Retention       time.Duration  // above 0

	PublicAddr   string // host:port, or empty: off
	AdminAddr    string // host:port, or empty: off
	AdminAddrSet bool   // whether AdminAddr is not just the default
	AdminToken   Secret // may be unset

	Webhook Webhook
}

// Load judges the settings and reads the key files. The error is a Problems;
// with it, the returned value holds what could be understood.
func (s WorkerSettings) Load(p Process) (Worker, error) {
	c := NewCollector(p, &s)
	cfg := Worker{
		Redis:     s.RedisFlags.Resolve(c),
		Order:     s.OrderFlags.Resolve(c),
		Merchants: s.MerchantFlags.Resolve(c, s.OrderFlags),
		Work:      s.WorkerFlags.Resolve(c),
		Log:       s.LogFlags.Resolve(c),
	}
	if cfg.PublicAddr != "" {
		needAPIV3Keys(c, cfg.Merchants)
	}
	cfg.Warnings = c.Warnings()
	return cfg, c.Err()
}

// needAPIV3Keys is for the listener of notifications: they are encrypted with
// the merchant's APIv3 key.
func needAPIV3Keys(c *Collector, merchants []Merchant) {
	for _, m := range merchants {
		if !m.APIV3Key.IsSet() {
			c.Warn("PUBLIC_ADDR", "is set, but merchant %s has no APIv3 key: its notifications cannot be decrypted and will be refused: set WECHATPAY_API_V3_KEY_FILE (api_v3_key_file in MERCHANTS_FILE)", m.MchID)
		}
	}
}

// Resolve judges the group.
func (f RedisFlags) Resolve(c *Collector) redisconn.Options {
	r := reporter{c: c}
	g, blame, ok := r.either("REDIS_URL", f.RedisURL, f.RedisURLFile)
	switch {
	case !ok:
		return redisconn.Options{}
	case g.text == "":
		r.problem(blame, "is missing: write where Redis is, for instance redis://127.0.0.1:6379/0")
		return redisconn.Options{}
	}
	o, err := redisconn.Parse(g.text)
	if err != nil {
		r.problem(blame, "cannot be used: %v", err)
		return o
	}
	for _, host := range o.Hosts() {
		if secretHost(host) && !strings.Contains(g.text, host+":") {
			r.problem(blame, "has a host that looks like a password: write redis://:PASSWORD@HOST:PORT/DB")
			return redisconn.Options{}
		}
	}
	return f.withTLS(r, o)
}

// withTLS judges the files of the group and returns o with them.
func (f RedisFlags) withTLS(r reporter, o redisconn.Options) redisconn.Options {
	const ca, cert, key = "REDIS_TLS_CA_FILE", "REDIS_TLS_CERT_FILE", "REDIS_TLS_KEY_FILE"
	first := "" // of those that are set
	for _, file := range []struct{ setting, path string }{{ca, f.TLSCAFile}, {cert, f.TLSCertFile}, {key, f.TLSKeyFile}} {
		if file.path == "" {
			continue
		}
		first = cmp.Or(first, file.setting)
		if _, err := readFile(file.path); err != nil {
			r.problem(file.setting, "%v", err)
			return o
		}
	}
	switch {
	case f.TLSCertFile == "" && f.TLSKeyFile != "":
		r.problem(cert, "is missing: it goes with "+key)
		return o
	case f.TLSCertFile != "" && f.TLSKeyFile == "":
		r.problem(key, "is missing: it goes with "+cert)
		return o
	}
	o, err := o.WithTLS(redisconn.TLSFiles{CA: f.TLSCAFile, Cert: f.TLSCertFile, Key: f.TLSKeyFile})
	switch {
	case errors.Is(err, redisconn.ErrNoTLS):
		r.problem(first, "is set, but REDIS_URL is one without TLS: write rediss://, rediss-sentinel:// or rediss-cluster://, or take the setting away")
	case errors.Is(err, redisconn.ErrCA):
		r.problem(ca, "names a file without a certificate in PEM form (-----BEGIN CERTIFICATE-----)")
	case err != nil:
		r.problem(cert, "and "+key+" name files that are not a certificate and its private key, both in PEM form")
	}
	return o
}

// IsSet says whether the group names a Redis at all.
func (f RedisFlags) IsSet() bool { return f.RedisURL != "" || f.RedisURLFile != "" }

// Resolve judges the group, and has parse judge the URL.
func (f DatabaseFlags) Resolve(c *Collector, parse func(url string) error) {
	r := reporter{c: c}
	g, blame, ok := r.either("DATABASE_URL", f.DatabaseURL, f.DatabaseURLFile)
	switch {
	case !ok:
	case g.text == "":
		r.problem(blame, "is missing: write where PostgreSQL is, for instance postgres://user:password@127.0.0.1:5432/billing")
	default:
		if err := parse(g.text); err != nil {
			r.problem(blame, "cannot be used: %v", err)
		}
	}
}

// Order holds what completes an order that does not name all three itself. Each
// may be empty.
type Order struct{ MchID, AppID, ServiceID string }

// Resolve judges the group. Nothing in it is required.
func (f OrderFlags) Resolve(c *Collector) Order {
	if f.MchID != "" && !mchIDForm.MatchString(f.MchID) {
		c.Problem("WECHATPAY_MCHID", "is %q: a merchant number has 1 to 32 digits and nothing else", f.MchID)
	}
	if f.AppID != "" && !appIDForm.MatchString(f.AppID) {
		c.Problem("PAYSCORE_APPID", "is %q: an appid has 1 to 32 characters of 0-9 A-Z a-z _ -", f.AppID)
	}
	if f.ServiceID != "" && !appIDForm.MatchString(f.ServiceID) {
		c.Problem("PAYSCORE_SERVICE_ID", "is %q: a service_id has 1 to 32 characters of 0-9 A-Z a-z _ -", f.ServiceID)
	}
	return Order(f)
}

// Log is what logging.New takes; both are valid, unless there was a problem.
type Log struct{ Level, Format string }

// Resolve judges the group.
func (f LogFlags) Resolve(c *Collector) Log {
	if _, err := logging.ParseLevel(f.Level); err != nil {
		c.Problem("LOG_LEVEL", "is wrong: %v", err)
	}
	if err := logging.ParseFormat(f.Format); err != nil {
		c.Problem("LOG_FORMAT", "is wrong: %v", err)
	}
	return Log(f)
}

// Resolve judges the group.
func (f WorkerFlags) Resolve(c *Collector) Work {
	w := Work{
		Concurrency:     c.number("WORKER_CONCURRENCY", f.Concurrency, 1, 10_000),
		CallTimeout:     c.durationUpTo("CALL_TIMEOUT", f.CallTimeout, aboveZero, longestCall),
		Rate:            c.rate("COLLECT_RATE", f.CollectRate),
		CollectSchedule: c.schedule("COLLECT_SCHEDULE", f.CollectSchedule),
		Window:          c.window("COLLECT_WINDOW", f.CollectWindow),
		Location:        c.location("COLLECT_TIMEZONE", f.CollectTimezone),
		ConfirmSchedule: c.schedule("CONFIRM_SCHEDULE", f.ConfirmSchedule),
		MinGap:          c.duration("MIN_GAP", f.MinGap, zeroAllowed),
		GiveUpAfter:     c.duration("GIVE_UP_AFTER", f.GiveUpAfter, aboveZero),
		SweepEvery:      c.durationUpTo("SWEEP_EVERY", f.SweepEvery, aboveZero, longestSweep),
		Retention:       c.duration("RETENTION", f.Retention, aboveZero),
		PublicAddr:      c.listenAddr("PUBLIC_ADDR", f.PublicAddr),
		AdminAddr:       DefaultAdminAddr,
		Webhook:         c.webhook(f),
	}
	token, _, _ := reporter{c: c}.either("ADMIN_TOKEN", f.AdminToken, f.AdminTokenFile)
	w.AdminToken = NewSecret(token.text)
	if f.AdminAddr != nil {
		w.AdminAddr, w.AdminAddrSet = c.listenAddr("ADMIN_ADDR", *f.AdminAddr), true
	}
	if w.PublicAddr != "" && w.PublicAddr == w.AdminAddr {
		c.Problem("PUBLIC_ADDR", "is the same as ADMIN_ADDR: notifications come from the internet, where the API has no business; use two ports")
	}
	return w
}
