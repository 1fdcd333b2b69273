package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/owner"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/redisprobe"
	"payscore-collector/internal/textsafe"
	"payscore-collector/tasks"
)

// checklist prints one line for each finding, and remembers whether one is a problem.
type checklist struct {
	w   io.Writer
	bad bool
}

func (c *checklist) ok(what, format string, args ...any) { c.line("ok", what, format, args...) }

func (c *checklist) warn(what, format string, args ...any) { c.line("warning", what, format, args...) }

func (c *checklist) problem(what, format string, args ...any) {
	c.bad = true
	c.line("problem", what, format, args...)
}

func (c *checklist) line(level, what, format string, args ...any) {
	fmt.Fprintf(c.w, "%-8s %s: %s\n", level, what, textsafe.Clean(fmt.Sprintf(format, args...)))
}

// Check examines every setting, Redis, the keys and a signed call, prints what it finds,
// and returns the exit status: 2 if the configuration has problems, 1 if Redis or WeChat
// Pay have, else 0. It changes nothing: the call asks for an order that does not exist,
// and what it writes into Redis is apart from the orders, and removed.
func Check(ctx context.Context, cfg config.Worker, loadErr error, w io.Writer) int {
	c := &checklist{w: w}
	var problems config.Problems
	errors.As(loadErr, &problems)
	named := map[string]bool{}
	for _, p := range problems {
		named[strings.TrimSuffix(p.Setting, "_FILE")] = true
		c.problem(p.Setting, "%s", p.Text)
	}
	for _, s := range cfg.Settings() {
		if !named[strings.TrimSuffix(s.Name, "_FILE")] {
			c.ok(s.Name, "%s", s.Value)
		}
	}
	for _, text := range append(trialSettings(cfg), cfg.Warnings...) {
		c.warn("setting", "%s", text)
	}
	if !named["WECHATPAY_SIGNER"] {
		checkSigner(cfg, c)
	}
	checkRedis(ctx, cfg, c)
	if loadErr == nil {
		for _, m := range cfg.Merchants {
			checkMerchant(ctx, cfg.Work, m, c)
			if cfg.PublicAddr != "" {
				checkNotifications(ctx, cfg.Work, m, c)
			}
		}
	} else {
		c.warn("wechatpay", "not called, since the settings have problems")
	}
	switch {
	case loadErr != nil:
		return config.ExitUsage
	case c.bad:
		return 1
	}
	return config.ExitOK
}

// checkRedisWithin is the time for the questions to Redis at the start.
const checkRedisWithin = 10 * time.Second

func checkRedis(ctx context.Context, cfg config.Worker, c *checklist) {
	if cfg.Redis.IsZero() {
		return // the settings have named REDIS_URL
	}
	conns := openRedis(cfg, 2, nil)
	defer conns.close()
	asking, cancel := context.WithTimeout(ctx, checkRedisWithin)
	defer cancel()
	report := redisconn.Check(asking, conns.Ledger)
	for _, f := range report {
		switch {
		case f.Refusal != nil:
			c.problem("redis", "%s: %v", f.Subject, cfg.Redis.Explain(ctx, f.Refusal))
		case f.Level == redisconn.Problem:
			c.problem("redis", "%s", f)
		case f.Level == redisconn.Warning:
			c.warn("redis", "%s", f)
		default:
			c.ok("redis", "%s", f)
		}
	}
	if report.Refusal() != nil {
		return // a probe would say the same again
	}
	for _, m := range cfg.Merchants {
		if tasks.ValidateMchID(m.MchID) != nil {
			continue // the settings have named it
		}
		probing, cancel := context.WithTimeout(ctx, probeTimeout)
		if refusal := redisprobe.Run(probing, conns.Clients, m.MchID); refusal != nil {
			c.problem("redis", "work: %v", refusal)
		} else {
			c.ok("redis", "work: writes, scripts and the queue of merchant %s do what collecting needs", m.MchID)
			checkHolds(probing, cfg, ledger.New(conns.Ledger, m.MchID), c)
		}
		cancel()
	}
	if refusal := redisprobe.Channel(asking, conns.Clients); refusal != nil {
		c.warn("redis", "channel: asynq cannot subscribe to its cancellations (%s); nothing is lost by that. To get rid of this line: %s", refusal.Said, refusal.Remedy)
	}
}

// checkHolds prints what slows or stops a merchant's calls according to the ledger, and
// a recent jump of Redis's clock.
func checkHolds(ctx context.Context, cfg config.Worker, l *ledger.Ledger, c *checklist) {
	holds, err := l.Holds(ctx)
	if err != nil {
		c.problem("redis", "the holds of merchant %s cannot be read: %v", l.MchID(), err)
		return
	}
	t := explain.Teller{Now: holds.Now, Zone: cfg.Location}
	for _, cause := range t.Why(explain.Situation{MchID: l.MchID(), Holds: holds}) {
		c.warn("merchant "+l.MchID(), "%s", cause.Words)
	}
}

// checkMerchant makes one signed call and prints what it proves.
func checkMerchant(ctx context.Context, work config.Work, m config.Merchant, c *checklist) {
	what := "wechatpay " + m.MchID
	client, err := NewClient(work, m)
	if err != nil {
		c.problem(what, "%v", err)
		return
	}
	defer client.Close()
	appid, service := m.AppID, m.ServiceID
	if appid == "" || service == "" {
		c.warn(what, "no call was made: it needs PAYSCORE_APPID and PAYSCORE_SERVICE_ID")
		return
	}
	r := client.Query(ctx, payscore.Request{Owner: owner.Owner{MchID: m.MchID, AppID: appid, ServiceID: service}, OutOrderNo: "check-" + rand.Text()})
	id := ""
	if r.RequestID != "" {
		id = " (Request-ID " + r.RequestID + ")"
	}
	switch r.Verdict {
	case payscore.NotFound:
		c.ok(what, "WeChat Pay took our signature, and knows this mchid, appid and service_id%s", id)
		switch {
		case r.NeedsAPIV3Key:
			c.problem(what, "its reply was signed with a platform certificate, although a public key is set (WeChat Pay does so where the change to the public key was stopped): set WECHATPAY_API_V3_KEY, with which the certificate is downloaded")
		case r.Forged:
			c.problem(what, "its reply carried a signature that our key does not verify: check WECHATPAY_PUBLIC_KEY_ID and %s, and the clock (now and then WeChat Pay sends a wrong signature on purpose: run the check again)", m.PublicKeySetting())
		case r.Verified:
			c.ok(what, "its reply carried WeChat Pay's signature, and our key verifies it")
		default:
			c.warn(what, "its reply was an error without a signature that could be verified, so %s is not proven; the first order will", m.PublicKeySetting())
		}
	case payscore.MerchantFault:
		c.problem(what, "%s%s", holdHint(m, r), id)
	case payscore.Throttled:
		c.warn(what, "WeChat Pay throttles this merchant just now%s; try again", id)
	default:
		if r.HTTPStatus == 0 {
			c.problem(what, "cannot reach WeChat Pay at %s: %s; check WECHATPAY_BASE_URL, HTTPS_PROXY and the network", m.BaseURL, r.Message)
			return
		}
		c.problem(what, "the call came to %s: %s %s%s", r.Verdict, r.Code, r.Message, id)
	}
}

// checkNotifications prints whether a merchant's notifications can be decrypted. Where
// replies are verified with a public key, nothing else would show a wrong key.
func checkNotifications(ctx context.Context, work config.Work, m config.Merchant, c *checklist) {
	if !m.APIV3Key.IsSet() {
		return // the warnings say what that means
	}
	client, err := NewClient(work, m)
	if err != nil {
		return // checkMerchant has printed the error
	}
	defer client.Close()
	what := "notifications " + m.MchID
	proven, err := client.ProveAPIV3Key(ctx)
	switch {
	case err != nil:
		c.problem(what, "cannot be decrypted: WECHATPAY_API_V3_KEY is not the APIv3 key that is set for this merchant on WeChat Pay's merchant platform")
	case proven:
		c.ok(what, "can be decrypted: the APIv3 key decrypts what WeChat Pay encrypts for this merchant")
	default:
		c.warn(what, "an APIv3 key is set, but WeChat Pay gave nothing that would prove it; the first notification will")
	}
}

// holdHint explains a verdict that would hold the merchant's calls.
func holdHint(m config.Merchant, r payscore.Reply) string {
	if r.Scope == payscore.ScopeService {
		return fmt.Sprintf("WeChat Pay refuses the call: mchid, appid and service_id are not bound together, or PayScore is not open (%s %s)", r.Code, r.Message)
	}
	return fmt.Sprintf("WeChat Pay refuses our signature: check %s, WECHATPAY_SERIAL_NO, WECHATPAY_MCHID and the clock (%s %s)", m.PrivateKeySetting(), r.Code, r.Message)
}
