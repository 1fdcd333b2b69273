package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"payscore-collector/internal/textsafe"
)

// Setting is a setting as it is in force, for people to read.
type Setting struct{ Name, Value string }

// Settings lists what is in force, secrets as [redacted], in the order of the
// documentation.
func (w Worker) Settings() []Setting {
	files := w.Redis.TLSFiles()
	list := []Setting{
		{"REDIS_URL", w.Redis.String()},
		{"REDIS_TLS_CA_FILE", orNone(files.CA)}, {"REDIS_TLS_CERT_FILE", orNone(files.Cert)}, {"REDIS_TLS_KEY_FILE", orNone(files.Key)},
	}
	for _, m := range w.Merchants {
		list = append(list, m.settings()...)
	}
	zone := ""
	if w.Location != nil {
		zone = w.Location.String()
	}
	return append(list,
		Setting{"WORKER_CONCURRENCY", strconv.Itoa(w.Concurrency)},
		Setting{"CALL_TIMEOUT", w.CallTimeout.String()},
		Setting{"COLLECT_RATE", strconv.FormatFloat(w.Rate, 'g', -1, 64)},
		Setting{"COLLECT_SCHEDULE", joinDurations(w.CollectSchedule)},
		Setting{"COLLECT_WINDOW", w.Window.String()},
		Setting{"COLLECT_TIMEZONE", zone},
		Setting{"CONFIRM_SCHEDULE", joinDurations(w.ConfirmSchedule)},
		Setting{"MIN_GAP", w.MinGap.String()},
		Setting{"GIVE_UP_AFTER", w.GiveUpAfter.String()},
		Setting{"SWEEP_EVERY", w.SweepEvery.String()},
		Setting{"RETENTION", w.Retention.String()},
		Setting{"BILLING_WEBHOOK_URL", orNone(w.Webhook.Host)},
		Setting{"BILLING_WEBHOOK_SECRET", w.Webhook.Secret.describe()},
		Setting{"PUBLIC_ADDR", orOff(w.PublicAddr)},
		Setting{"ADMIN_ADDR", orOff(w.AdminAddr)},
		Setting{"ADMIN_TOKEN", w.AdminToken.describe()},
		Setting{"LOG_LEVEL", w.Log.Level},
		Setting{"LOG_FORMAT", w.Log.Format},
	)
}

func (m Merchant) settings() []Setting {
	verify := "platform certificates, downloaded"
	if m.PublicKey != nil {
		verify = fmt.Sprintf("%s (RSA %d)", shown(m.PublicKeyID), m.PublicKey.N.BitLen())
	}
	private := "none"
	if m.PrivateKey != nil {
		private = fmt.Sprintf("RSA %d", m.PrivateKey.N.BitLen())
	}
	return []Setting{
		{"WECHATPAY_MCHID", shown(m.MchID)},
		{"WECHATPAY_SERIAL_NO", shown(m.SerialNo)},
		{"WECHATPAY_PRIVATE_KEY_FILE", private},
		{"WECHATPAY_PUBLIC_KEY_FILE", verify},
		{"WECHATPAY_API_V3_KEY", m.APIV3Key.describe()},
		{"PAYSCORE_APPID", orNone(shown(m.AppID))},
		{"PAYSCORE_SERVICE_ID", orNone(shown(m.ServiceID))},
		{"WECHATPAY_BASE_URL", shown(m.BaseURL)},
		{"WECHATPAY_BACKUP_URL", orNone(shown(m.BackupURL))},
	}
}

// String names the merchant. Without it, printing a Merchant would print its
// private key.
func (m Merchant) String() string { return "merchant " + m.MchID }

// GoString is described at String.
func (m Merchant) GoString() string { return m.String() }

// MarshalText is described at String.
func (m Merchant) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

func (s Secret) describe() string {
	if !s.IsSet() {
		return "none"
	}
	return s.String()
}

func joinDurations(ds []time.Duration) string {
	words := make([]string, len(ds))
	for i, d := range ds {
		words[i] = d.String()
	}
	return strings.Join(words, ",")
}

func orOff(s string) string {
	if s == "" {
		return "off"
	}
	return s
}

// shown is a value that is valid in its setting, and may be a secret all the same.
func shown(value string) string {
	if !textsafe.Repeatable(value) {
		return "set; not shown, because it may be a secret"
	}
	return value
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
