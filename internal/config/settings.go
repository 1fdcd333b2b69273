package config

import (
	"cmp"
	"errors"
	"strings"

	"payscore-collector/internal/redisconn"
)

// Defaults of settings that have none in their tags, because they depend on each
// other.
const (
	DefaultBaseURL   = "https://api.mch.weixin.qq.com"
	DefaultBackupURL = "https://api2.mch.weixin.qq.com"
)

// ClientSettings are the groups of a command that only talks to the ledger.
type ClientSettings struct {
	RedisFlags
	Order
	SchedulesFlags
	Log
}

// Client is the configuration of a command that only talks to the ledger.
type Client struct {
	Redis     redisconn.Options
	Order     Order
	Schedules Schedules // without a file, a worker may have others
	Log       Log
}

// Load returns the configuration. The error is a Problems. If the command can do
// without Redis, REDIS_URL may be missing.
func (s ClientSettings) Load(c *Collector, needRedis bool) (Client, error) {
	cfg := Client{Order: s.Order, Schedules: s.SchedulesFlags.Resolve(c), Log: s.Log}
	if needRedis || s.RedisURL.bad || s.RedisURL.IsSet() {
		cfg.Redis = s.RedisFlags.Resolve(c)
	}
	return cfg, c.Err()
}

// WorkerSettings are the groups of the worker.
type WorkerSettings struct {
	RedisFlags
	Order
	MerchantFlags
	Work
	WebhookFlags
	SchedulesFlags
	Log
}

// Worker is the configuration of the worker.
type Worker struct {
	Redis     redisconn.Options
	Merchants []Merchant // at least one; mchids are unique
	// MerchantsFile reads them again; nil without MERCHANTS_FILE.
	MerchantsFile *MerchantsFile
	// SchedulesFile likewise.
	SchedulesFile *SchedulesFile
	Order         Order // defaults of orders, as enqueue uses them
	Schedules     Schedules
	Log           Log
	Work

	// Warnings are sentences about what is allowed but unwise.
	Warnings []string
}

// Load returns the configuration. The error is a Problems; with it, the returned
// value holds what could be understood.
func (s WorkerSettings) Load(c *Collector) (Worker, error) {
	cfg := Worker{
		Redis:     s.RedisFlags.Resolve(c),
		Merchants: s.MerchantFlags.Resolve(c, s.Order),
		Order:     s.Order,
		Schedules: s.SchedulesFlags.Resolve(c),
		Work:      s.Work,
		Log:       s.Log,
	}
	cfg.AdminAddrSet, cfg.Webhook = c.isGiven("ADMIN_ADDR"), s.WebhookFlags.Resolve(c)
	if cfg.PublicAddr != "" {
		if cfg.PublicAddr == cfg.AdminAddr {
			c.Problem("PUBLIC_ADDR", "is the same as ADMIN_ADDR: notifications come from the internet, where the API must not be reachable; use two ports")
		}
		warnOfNotifications(cfg.Merchants, c)
	}
	if s.MerchantsFile != "" {
		cfg.MerchantsFile = &MerchantsFile{flags: s.MerchantFlags, order: s.Order, notified: cfg.PublicAddr != "", files: c.files}
	}
	if s.SchedulesFile != "" {
		cfg.SchedulesFile = &SchedulesFile{s.SchedulesFlags}
	}
	if cfg.APITokensFile != "" {
		if _, _, err := ReadAPITokens(cfg.APITokensFile); err != nil {
			c.Problem("API_TOKENS_FILE", "%v", err)
		}
	}
	if n := len(cfg.AdminToken.Reveal()); n > 0 && n < leastToken {
		c.Warn("ADMIN_TOKEN", "has %d characters and may be guessed: use the output of \"openssl rand -hex 32\"", n)
	}
	cfg.Warnings = c.Warnings()
	return cfg, c.Err()
}

// warnOfNotifications warns of merchants whose notifications cannot be decrypted.
func warnOfNotifications(merchants []Merchant, c *Collector) {
	for _, m := range merchants {
		if !m.APIV3Key.IsSet() { // notifications are encrypted with it
			c.Warn("PUBLIC_ADDR", "is set, but merchant %s has no APIv3 key: its notifications cannot be decrypted and will be refused: set WECHATPAY_API_V3_KEY_FILE (api_v3_key_file in MERCHANTS_FILE)", m.MchID)
		}
	}
}

// Resolve parses the URL and adds the files' certificates.
func (f RedisFlags) Resolve(c *Collector) redisconn.Options {
	rawURL := f.RedisURL.Reveal()
	if rawURL == "" {
		if !f.RedisURL.bad {
			c.Problem("REDIS_URL", "is missing: write where Redis is, for instance redis://127.0.0.1:6379/0")
		}
		return redisconn.Options{}
	}
	o, err := redisconn.Parse(rawURL)
	if err != nil {
		c.Problem(f.RedisURL.blame, "cannot be used: %v", err)
		return o
	}
	for _, host := range o.Hosts() {
		if secretHost(host) && !strings.Contains(rawURL, host+":") {
			c.Problem(f.RedisURL.blame, "has a host that looks like a password: write redis://:PASSWORD@HOST:PORT/DB")
			return redisconn.Options{}
		}
	}
	return f.withTLS(c, o)
}

// withTLS checks the files of the group and returns o with them.
func (f RedisFlags) withTLS(c *Collector, o redisconn.Options) redisconn.Options {
	const ca, cert, key = "REDIS_TLS_CA_FILE", "REDIS_TLS_CERT_FILE", "REDIS_TLS_KEY_FILE"
	first := "" // of those that are set
	for _, file := range []struct{ setting, path string }{{ca, f.TLSCAFile}, {cert, f.TLSCertFile}, {key, f.TLSKeyFile}} {
		if file.path == "" {
			continue
		}
		first = cmp.Or(first, file.setting)
		if _, err := readFile(file.path); err != nil {
			c.Problem(file.setting, "%v", err)
			return o
		}
	}
	switch {
	case f.TLSCertFile == "" && f.TLSKeyFile != "":
		c.Problem(cert, "is missing: it goes with "+key)
		return o
	case f.TLSCertFile != "" && f.TLSKeyFile == "":
		c.Problem(key, "is missing: it goes with "+cert)
		return o
	}
	o, err := o.WithTLS(redisconn.TLSFiles{CA: f.TLSCAFile, Cert: f.TLSCertFile, Key: f.TLSKeyFile})
	switch {
	case errors.Is(err, redisconn.ErrNoTLS):
		c.Problem(first, "is set, but REDIS_URL is one without TLS: write rediss://, rediss-sentinel:// or rediss-cluster://, or remove the setting")
	case errors.Is(err, redisconn.ErrCA):
		c.Problem(ca, "names a file without a certificate in PEM form (-----BEGIN CERTIFICATE-----)")
	case err != nil:
		c.Problem(cert, "and "+key+" name files that are not a certificate and its private key, both in PEM form")
	}
	return o
}

// Resolve gives the URL to parse, and reports its error.
func (f DatabaseFlags) Resolve(c *Collector, parse func(url string) error) {
	switch {
	case f.DatabaseURL.bad:
	case !f.DatabaseURL.IsSet():
		c.Problem("DATABASE_URL", "is missing: write where PostgreSQL is, for instance postgres://user:password@127.0.0.1:5432/billing")
	default:
		if err := parse(f.DatabaseURL.Reveal()); err != nil {
			c.Problem(f.DatabaseURL.blame, "cannot be used: %v", err)
		}
	}
}
