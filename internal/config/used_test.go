package config

import (
	"reflect"
	"strings"
	"testing"
)

// A setting that is declared and not passed on would be accepted and do nothing.
func TestEverySettingIsUsed(t *testing.T) {
	other := newRSA(2048)
	key, public := pemOf("PRIVATE KEY", pkcs8(other)), pemOf("PUBLIC KEY", publicDER(other.Public()))
	file := func(data string) string { return writeFile(t, t.TempDir(), "f", []byte(data)) }
	env := func() map[string]string {
		return merged(goodEnv(t), map[string]string{"BILLING_WEBHOOK_URL": "https://billing.example/", "BILLING_WEBHOOK_SECRET": testWebhookSecret})
	}
	const otherSecret = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	// A good value for each setting that is neither its default nor in env.
	values := map[string]string{
		"REDIS_URL": "redis://cache/7", "REDIS_URL_FILE": file("redis://cache/8"),
		"WECHATPAY_MCHID": "1900000009", "PAYSCORE_APPID": "wx9", "PAYSCORE_SERVICE_ID": "9",
		"WECHATPAY_SERIAL_NO": "1A", "WECHATPAY_PRIVATE_KEY": string(key), "WECHATPAY_PRIVATE_KEY_FILE": file(string(key)),
		"WECHATPAY_PUBLIC_KEY_ID": "PUB_KEY_ID_9", "WECHATPAY_PUBLIC_KEY": string(public), "WECHATPAY_PUBLIC_KEY_FILE": file(string(public)),
		"WECHATPAY_API_V3_KEY": testAPIKey, "WECHATPAY_API_V3_KEY_FILE": file(testAPIKey),
		"WECHATPAY_BASE_URL": "https://a.example", "WECHATPAY_BACKUP_URL": "https://b.example",
		"MERCHANTS_FILE":     file("- mchid: 1900000007\n  serial_no: 1B\n  private_key_file: " + file(string(key)) + "\n  api_v3_key: " + testAPIKey + "\n"),
		"WORKER_CONCURRENCY": "7", "CALL_TIMEOUT": "7s", "COLLECT_RATE": "7", "COLLECT_SCHEDULE": "7m", "COLLECT_WINDOW": "07:00-09:00",
		"COLLECT_TIMEZONE": "UTC", "CONFIRM_SCHEDULE": "7s", "MIN_GAP": "7m", "GIVE_UP_AFTER": "700h", "SWEEP_EVERY": "7s", "RETENTION": "700h",
		"BILLING_WEBHOOK_URL": "https://other.example/", "BILLING_WEBHOOK_SECRET": otherSecret, "BILLING_WEBHOOK_SECRET_FILE": file(otherSecret),
		"PUBLIC_ADDR": ":8081", "ADMIN_ADDR": ":9091", "ADMIN_TOKEN": "a token", "ADMIN_TOKEN_FILE": file("another token"),
		"LOG_LEVEL": "debug", "LOG_FORMAT": "console",
	}
	load := func(t *testing.T, env map[string]string) Worker {
		t.Helper()
		w, err := loadWorker(t, env)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	base := env()
	usual := load(t, base)
	if !reflect.DeepEqual(load(t, base), usual) {
		t.Fatal("the same settings load differently: this test would see nothing")
	}
	for _, d := range AllDeclared() {
		if strings.HasPrefix(d.Name, "DATABASE_") || strings.HasPrefix(d.Name, "REDIS_TLS_") {
			continue // see TestDatabaseFlags_Resolve, and the tests of Redis with TLS
		}
		value, ok := values[d.Name]
		if !ok {
			t.Errorf("%s: this test has no value for it", d.Name)
			continue
		}
		changed := merged(merged(map[string]string{}, base), map[string]string{d.Name: value})
		if twin, isFile := strings.CutSuffix(d.Name, "_FILE"); isFile {
			delete(changed, twin)
		}
		delete(changed, d.Name+"_FILE")
		if d.Name == "MERCHANTS_FILE" {
			for name := range changed {
				if strings.HasPrefix(name, "WECHATPAY_") {
					delete(changed, name)
				}
			}
		}
		if reflect.DeepEqual(load(t, changed), usual) {
			t.Errorf("%s changes nothing", d.Name)
		}
	}
}
