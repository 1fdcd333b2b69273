package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestWorkerSettings_Load(t *testing.T) {
	t.Run("with the least that is needed, the rest has its defaults", func(t *testing.T) {
		cfg, err := loadWorker(t, without(goodEnv(t), "PAYSCORE_APPID", "PAYSCORE_SERVICE_ID"))
		if err != nil {
			t.Fatal(err)
		}
		shanghai, _ := time.LoadLocation("Asia/Shanghai")
		want := Work{
			Concurrency: 64, CallTimeout: 15 * time.Second, Rate: 50,
			CollectSchedule: Schedule{10 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour},
			ConfirmSchedule: Schedule{10 * time.Second, time.Minute, 10 * time.Minute},
			Window:          Window{From: 8 * time.Hour, To: 22 * time.Hour},
			Location:        shanghai,
			MinGap:          5 * time.Minute, GiveUpAfter: 720 * time.Hour, SweepEvery: 15 * time.Second,
			Retention: 90 * 24 * time.Hour,
			BooksAt:   BooksAt{On: true, Clock: 10*time.Hour + 30*time.Minute},
			Signer:    "auto", AdminAddr: "127.0.0.1:9090",
		}
		equal := cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })
		if diff := cmp.Diff(want, cfg.Work, equal, cmp.AllowUnexported(Secret{}), cmpopts.IgnoreUnexported(Text{})); diff != "" {
			t.Errorf("defaults differ (-want +got):\n%s", diff)
		}
		if cfg.Log != (Log{Level: "info", Format: "json"}) || cfg.Redis.String() != "redis://127.0.0.1:6379/1" || len(cfg.Warnings) != 0 {
			t.Errorf("log %v, redis %s, warnings %q", cfg.Log, cfg.Redis, cfg.Warnings)
		}
		m := cfg.Merchants[0]
		if len(cfg.Merchants) != 1 || m.MchID != "1900000001" || m.SerialNo != testSerial || m.PublicKeyID != testPubKeyID ||
			!m.PrivateKey.Equal(merchantKey()) || !m.PublicKey.Equal(platformKey().Public()) || m.APIV3Key.IsSet() ||
			m.BaseURL != DefaultBaseURL || m.BackupURL != DefaultBackupURL {
			t.Errorf("merchant is %v", m.settings())
		}
	})

	t.Run("every problem is reported at once, by name", func(t *testing.T) {
		_, err := loadWorker(t, map[string]string{
			"WECHATPAY_PRIVATE_KEY_FILE": "/nowhere/key.pem",
			"PAYSCORE_APPID":             "wx 1",
			"CALL_TIMEOUT":               "15",
			"COLLECT_RATE":               "fast",
			"COLLECT_SCHEDULE":           "10m,,1h",
			"COLLECT_WINDOW":             "8-22",
			"BOOKS_AT":                   "25:00",
			"COLLECT_TIMEZONE":           "Asia/Shangai",
			"MIN_GAP":                    "-1s",
			"SWEEP_EVERY":                "0",
			"PUBLIC_ADDR":                "8443",
			"WECHATPAY_SIGNER":           "rsa",
			"LOG_LEVEL":                  "loud",
			"LOG_FORMAT":                 "xml",
		}, "--worker-concurrency=0")
		wantProblems(t, err,
			"REDIS_URL is missing",
			"WECHATPAY_MCHID is missing",
			`PAYSCORE_APPID is "wx 1"`,
			"WECHATPAY_SERIAL_NO is missing",
			`WECHATPAY_PRIVATE_KEY_FILE names "/nowhere/key.pem", which does not exist`,
			"WECHATPAY_PUBLIC_KEY_ID is missing, and WECHATPAY_PUBLIC_KEY_FILE",
			`WORKER_CONCURRENCY is "0": write a whole number from 1`,
			`CALL_TIMEOUT is "15", which is not a duration`,
			`COLLECT_RATE is "fast": write a number from 0.01 to 100000`,
			`COLLECT_SCHEDULE has "" in it`,
			"COLLECT_WINDOW has \"8\" instead of a time of day",
			`COLLECT_TIMEZONE is "Asia/Shangai", which is not a time zone`,
			"MIN_GAP is -1s: write 0, or a duration of at least 1ms",
			"SWEEP_EVERY is 0: write a duration from 1ms to 24h",
			"BOOKS_AT has \"25:00\" instead of a time of day",
			`WECHATPAY_SIGNER is "rsa": write auto, go or openssl`,
			`PUBLIC_ADDR is "8443": write HOST:PORT, for instance 127.0.0.1:8081, or :8081 for all`,
			"LOG_LEVEL is wrong",
			"LOG_FORMAT is wrong",
		)
		var problems Problems
		if !errors.As(err, &problems) || problems.ExitCode() != 2 || problems[0].Setting != "REDIS_URL" {
			t.Errorf("the error is a %T", err)
		}
	})

	for _, tc := range []struct {
		name  string
		env   map[string]string
		check func(Worker) bool
	}{
		{"durations may be as short as a test needs", map[string]string{"MIN_GAP": "0", "CALL_TIMEOUT": "50ms", "SWEEP_EVERY": "1ms", "GIVE_UP_AFTER": "2s", "COLLECT_SCHEDULE": "5ms", "CONFIRM_SCHEDULE": "1ms, 2ms"},
			func(w Worker) bool {
				return w.MinGap == 0 && w.CallTimeout == 50*time.Millisecond && w.SweepEvery == time.Millisecond &&
					len(w.ConfirmSchedule) == 2 && w.CollectSchedule[0] == 5*time.Millisecond
			}},
		{"the rate may be a fraction", map[string]string{"COLLECT_RATE": "0.5"}, func(w Worker) bool { return w.Rate == 0.5 }},
		{"ADMIN_ADDR set to nothing is off", map[string]string{"ADMIN_ADDR": ""}, func(w Worker) bool { return w.AdminAddr == "" && w.AdminAddrSet }},
		{"ADMIN_ADDR as set", map[string]string{"ADMIN_ADDR": ":0"}, func(w Worker) bool { return w.AdminAddr == ":0" && w.AdminAddrSet }},
		{"UTC", map[string]string{"COLLECT_TIMEZONE": "UTC"}, func(w Worker) bool { return w.Location == time.UTC }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env := goodEnv(t)
			for k, v := range tc.env {
				env[k] = v
			}
			w, err := loadWorker(t, env)
			if err != nil || !tc.check(w) {
				t.Errorf("error %v, settings %v", err, w.Settings())
			}
		})
	}

	t.Run("a flag may switch ADMIN_ADDR off too", func(t *testing.T) {
		w, err := loadWorker(t, goodEnv(t), "--admin-addr=")
		if err != nil || w.AdminAddr != "" || !w.AdminAddrSet {
			t.Errorf("error %v, address %q, set %v", err, w.AdminAddr, w.AdminAddrSet)
		}
	})

	for _, tc := range []struct{ setting, value, want string }{
		{"REDIS_URL", "redis://:hunter2@cache:x", "REDIS_URL cannot be used: one of its ports"},
		{"WORKER_CONCURRENCY", "many", `WORKER_CONCURRENCY is "many"`},
		{"COLLECT_RATE", "NaN", `COLLECT_RATE is "NaN"`},
		{"COLLECT_RATE", "Inf", `COLLECT_RATE is "Inf"`},
		{"COLLECT_RATE", "0", `COLLECT_RATE is "0"`},
		{"COLLECT_SCHEDULE", "1h,0s", `COLLECT_SCHEDULE has "0s" in it`},
		{"CONFIRM_SCHEDULE", "-1s", `CONFIRM_SCHEDULE has "-1s" in it`},
		{"COLLECT_TIMEZONE", "Local", `COLLECT_TIMEZONE is "Local"`},
		{"GIVE_UP_AFTER", "30d", "GIVE_UP_AFTER is \"30d\", which is not a duration: write a number with a unit (ms, s, m, h), for instance 90s or 720h"},
		{"GIVE_UP_AFTER", "0s", "GIVE_UP_AFTER is 0"},
		{"CALL_TIMEOUT", "0", "CALL_TIMEOUT is 0"},
		{"CALL_TIMEOUT", "3m", "CALL_TIMEOUT is 3m: write a duration from 1ms to 2m"},
		{"SWEEP_EVERY", "25h", "SWEEP_EVERY is 25h: write a duration from 1ms to 24h"},
		{"RETENTION", "999us", "RETENTION is 999us: write a duration of at least 1ms"},
		{"COLLECT_SCHEDULE", "1h,2000000h", `COLLECT_SCHEDULE has "2000000h" in it: write durations from 1ms to 87600h`},
		{"COLLECT_RATE", "0.009", `COLLECT_RATE is "0.009": write a number from 0.01 to 100000`},
		{"COLLECT_RATE", "100001", `COLLECT_RATE is "100001"`},
		{"ADMIN_ADDR", "localhost", `ADMIN_ADDR is "localhost": write HOST:PORT, for instance 127.0.0.1:9090`},
		{"ADMIN_ADDR", "localhost:99999", `ADMIN_ADDR has the port "99999": a port is a number from 1 to 65535, or 0`},
		{"PUBLIC_ADDR", "127.0.0.1:9090", "PUBLIC_ADDR is the same as ADMIN_ADDR"},
		{"PAYSCORE_SERVICE_ID", strings.Repeat("1", 33), "PAYSCORE_SERVICE_ID is"},
	} {
		t.Run(tc.setting+" is not "+tc.value, func(t *testing.T) {
			env := goodEnv(t)
			env["WECHATPAY_API_V3_KEY"] = testAPIKey
			env[tc.setting] = tc.value
			_, err := loadWorker(t, env)
			wantProblems(t, err, tc.want)
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Error("the password is in the error")
			}
		})
	}

	t.Run("listening for notifications without an APIv3 key is warned of", func(t *testing.T) {
		env := goodEnv(t)
		env["PUBLIC_ADDR"] = ":8443"
		w, err := loadWorker(t, env)
		if err != nil || len(w.Warnings) != 1 || !strings.Contains(w.Warnings[0], "merchant 1900000001 has no APIv3 key") ||
			!strings.HasSuffix(w.Warnings[0], ": set WECHATPAY_API_V3_KEY_FILE (api_v3_key_file in MERCHANTS_FILE)") {
			t.Errorf("error %v, warnings %q", err, w.Warnings)
		}
		env["WECHATPAY_API_V3_KEY"] = testAPIKey
		if w, err := loadWorker(t, env); err != nil || len(w.Warnings) != 0 {
			t.Errorf("with the key: error %v, warnings %q", err, w.Warnings)
		}
	})
}

func TestClientSettings_Load(t *testing.T) {
	load := func(t *testing.T, env map[string]string) (Client, error) {
		var s struct{ ClientSettings }
		r := parse(t, &s, env)
		if !r.ok {
			t.Fatal(r.stderr)
		}
		return s.Load(r.found, true)
	}

	t.Run("Redis is all it needs", func(t *testing.T) {
		c, err := load(t, map[string]string{"REDIS_URL": "redis://cache"})
		if err != nil || c.Order != (Order{}) || c.Redis.IsZero() {
			t.Errorf("error %v, client %+v", err, c)
		}
	})

	t.Run("the worker's environment will do", func(t *testing.T) {
		c, err := load(t, goodEnv(t))
		if err != nil || c.Order != (Order{MchID: "1900000001", AppID: "wxd678efh567hg6787", ServiceID: "500001"}) {
			t.Errorf("error %v, order %+v", err, c.Order)
		}
	})

	t.Run("what is wrong is named", func(t *testing.T) {
		_, err := load(t, map[string]string{"WECHATPAY_MCHID": "19O0"})
		wantProblems(t, err, "REDIS_URL is missing", `WECHATPAY_MCHID is "19O0"`)
	})
}

func TestSecretsAreNeverShown(t *testing.T) {
	env := goodEnv(t)
	env["WECHATPAY_API_V3_KEY"], env["ADMIN_TOKEN"] = testAPIKey, "hunter2"
	env["BILLING_WEBHOOK_URL"], env["BILLING_WEBHOOK_SECRET"] = "https://user:hunter2@billing.example/xyzzy?xyzzy", testWebhookSecret
	w, err := loadWorker(t, env)
	if err != nil {
		t.Fatal(err)
	}
	if w.AdminToken.Reveal() != "hunter2" || w.Merchants[0].APIV3Key.Reveal() != testAPIKey {
		t.Fatal("the secrets have not arrived")
	}
	asJSON, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	nested := struct{ inner Worker }{w}
	private := merchantKey().D.String()
	for what, s := range map[string]string{
		"%v": fmt.Sprintf("%v", w), "%+v": fmt.Sprintf("%+v", w), "%#v": fmt.Sprintf("%#v", w),
		"an unexported field": fmt.Sprintf("%+v", nested), "JSON": string(asJSON), "Settings": fmt.Sprint(w.Settings()),
	} {
		for _, secret := range []string{"hunter2", "xyzzy", testAPIKey, private, "MfKQ9r8G"} {
			if strings.Contains(s, secret) {
				t.Errorf("%s shows a secret: %s", what, s)
			}
		}
	}
	if fmt.Sprint(w.AdminToken) != "[redacted]" {
		t.Errorf("a secret is printed as %v", w.AdminToken)
	}
}

func TestWorker_Settings(t *testing.T) {
	env := goodEnv(t)
	env["ADMIN_TOKEN"] = "hunter2"
	env["BILLING_WEBHOOK_URL"], env["BILLING_WEBHOOK_SECRET"] = "https://user:hunter2@billing.example:8443/xyzzy?xyzzy", testWebhookSecret
	w, err := loadWorker(t, env)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range w.Settings() {
		got[s.Name] = s.Value
	}
	for name, want := range map[string]string{
		"REDIS_URL": "redis://127.0.0.1:6379/1", "WECHATPAY_PRIVATE_KEY_FILE": "RSA 2048", "COLLECT_SCHEDULE": "10m0s,1h0m0s,6h0m0s,24h0m0s",
		"COLLECT_WINDOW": "08:00-22:00", "COLLECT_TIMEZONE": "Asia/Shanghai", "PUBLIC_ADDR": "off", "ADMIN_ADDR": "127.0.0.1:9090",
		"BILLING_WEBHOOK_URL": "https://billing.example:8443", "BILLING_WEBHOOK_SECRET": "[redacted]",
		"ADMIN_TOKEN": "[redacted]", "WECHATPAY_API_V3_KEY": "none", "SCHEDULES_FILE": "none",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	// What is shown of a configuration that failed must not crash.
	if len((Worker{}).Settings()) == 0 {
		t.Error("an empty configuration shows nothing")
	}
}

func TestParseWindow(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want Window
	}{
		{"always", Window{Always: true}},
		{"08:00-22:00", Window{From: 8 * time.Hour, To: 22 * time.Hour}},
		{"22:30-06:15", Window{From: 22*time.Hour + 30*time.Minute, To: 6*time.Hour + 15*time.Minute}},
		{"12:00-24:00", Window{From: 12 * time.Hour, To: 24 * time.Hour}},
	} {
		got, err := ParseWindow(tc.in)
		if err != nil || got != tc.want || got.String() != tc.in {
			t.Errorf("%s is %+v (shown as %s), error %v", tc.in, got, got, err)
		}
	}
	if w, err := ParseWindow("12:00-00:00"); err != nil || w.To != 24*time.Hour {
		t.Errorf("midnight as the end is %v, error %v", w, err)
	}
	for _, in := range []string{
		"", "08:00", "8:00-22:00", "08:00-22:60", "08:00-25:00", "08:00-22", "Always", "08:00-08:00",
		"00:00-24:00", "00:00-00:00", "24:00-08:00", "08:00-12:00-14:00", "-08:00",
	} {
		if w, err := ParseWindow(in); err == nil {
			t.Errorf("%q is taken for %s", in, w)
		}
	}
}
