package config

import (
	"cmp"
	"fmt"
	"reflect"
	"strings"
	"time"

	"payscore-collector/internal/textsafe"
)

// Setting is a setting as it is in force, for people to read.
type Setting struct{ Name, Value string }

// Settings lists what is in force, secrets as [redacted].
func (w Worker) Settings() []Setting {
	files := w.Redis.TLSFiles()
	list := []Setting{
		{"REDIS_URL", w.Redis.String()},
		{"REDIS_TLS_CA_FILE", orNone(files.CA)}, {"REDIS_TLS_CERT_FILE", orNone(files.Cert)}, {"REDIS_TLS_KEY_FILE", orNone(files.Key)},
	}
	if w.MerchantsFile != nil {
		list = append(list, Setting{"MERCHANTS_FILE", shown(w.MerchantsFile.flags.MerchantsFile)})
	}
	for _, m := range w.Merchants {
		list = append(list, m.settings()...)
	}
	list = append(list, describe(w.Work)...)
	list = append(list, Setting{"SCHEDULES_FILE", orNone(strings.Join(w.Schedules.Names(), ", "))})
	list = append(list, Setting{"BILLING_WEBHOOK_URL", orNone(w.Webhook.Host)}, Setting{"BILLING_WEBHOOK_SECRET", inForce(w.Webhook.Secret)})
	return append(list, describe(w.Log)...)
}

// describe lists a group as its tags declare it. A NAME_FILE is left out: NAME has its
// content.
func describe(group any) (list []Setting) {
	v := reflect.ValueOf(group)
	for i := range v.NumField() {
		d := declaredBy(v.Type().Field(i).Tag)
		if twin, isFile := strings.CutSuffix(d.Name, "_FILE"); d.Name == "" || isFile && isDeclared(twin) {
			continue
		}
		value := inForce(v.Field(i).Interface())
		if value == "none" && d.tag.Get("is") == "address" {
			value = "off"
		}
		list = append(list, Setting{d.Name, value})
	}
	return list
}

// inForce is a value for people.
func inForce(value any) string {
	switch value := value.(type) {
	case interface{ IsSet() bool }: // a secret
		if !value.IsSet() {
			return "none"
		}
	case *time.Location:
		if value == nil {
			return "none"
		}
	}
	return orNone(fmt.Sprint(value))
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
		{m.PrivateKeySetting(), private},
		{m.PublicKeySetting(), verify},
		{"WECHATPAY_API_V3_KEY", inForce(m.APIV3Key)},
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

// shown is a value that is valid in its setting, and may be a secret all the same.
func shown(value string) string {
	if !textsafe.Repeatable(value) {
		return "set; not shown, because it may be a secret"
	}
	return value
}

func orNone(s string) string { return cmp.Or(s, "none") }
