package config

import (
	"slices"
	"strings"
	"testing"
)

func TestSettingsInFiles(t *testing.T) {
	key := string(pemOf("PRIVATE KEY", pkcs8(merchantKey())))
	public := string(pemOf("PUBLIC KEY", publicDER(platformKey().Public())))
	values := map[string]struct {
		value  string
		others map[string]string
		check  func(Worker) bool
	}{
		"REDIS_URL": {value: "redis://:hunter2@cache:6380/2",
			check: func(w Worker) bool { return w.Redis.String() == "redis://cache:6380/2" }},
		"WECHATPAY_PRIVATE_KEY": {value: key, others: map[string]string{"WECHATPAY_PRIVATE_KEY_FILE": "-"},
			check: func(w Worker) bool { return w.Merchants[0].PrivateKey.Equal(merchantKey()) }},
		"WECHATPAY_PUBLIC_KEY": {value: public, others: map[string]string{"WECHATPAY_PUBLIC_KEY_FILE": "-"},
			check: func(w Worker) bool { return w.Merchants[0].PublicKey.Equal(platformKey().Public()) }},
		"WECHATPAY_API_V3_KEY": {value: testAPIKey,
			check: func(w Worker) bool { return w.Merchants[0].APIV3Key.Reveal() == testAPIKey }},
		"BILLING_WEBHOOK_SECRET": {value: testWebhookSecret, others: map[string]string{"BILLING_WEBHOOK_URL": "https://billing.example/"},
			check: func(w Worker) bool { return w.Webhook.Secret.Reveal() == testWebhookSecret }},
		"ADMIN_TOKEN": {value: "a token", check: func(w Worker) bool { return w.AdminToken.Reveal() == "a token" }},
	}
	declared := map[string]bool{}
	for _, d := range AllDeclared() {
		declared[d.Name] = true
	}
	twins := 0
	for _, d := range AllDeclared() {
		name, isFile := strings.CutSuffix(d.Name, "_FILE")
		if !isFile || !declared[name] {
			continue // not another setting's twin
		}
		twins++
		if name == "DATABASE_URL" {
			continue // the sink's: see TestDatabaseFlags_Resolve
		}
		tc, ok := values[name]
		if !ok {
			t.Errorf("%s is not tested", d.Name)
			continue
		}
		for what, env := range map[string]map[string]string{
			name:                         {name: tc.value, d.Name: "-"},
			d.Name:                       {name: "-", d.Name: writeFile(t, t.TempDir(), "f", []byte(tc.value))},
			d.Name + " with a line end":  {name: "-", d.Name: writeFile(t, t.TempDir(), "f", []byte(strings.TrimSpace(tc.value)+"\n"))},
			d.Name + " with a Windows's": {name: "-", d.Name: writeFile(t, t.TempDir(), "f", []byte(strings.TrimSpace(tc.value)+"\r\n"))},
		} {
			w, err := loadWorker(t, merged(merged(goodEnv(t), tc.others), env))
			if err != nil || !tc.check(w) {
				t.Errorf("%s: error %v, settings %v", what, err, w.Settings())
			}
		}
		both := merged(goodEnv(t), tc.others)
		both[name], both[d.Name] = tc.value, "/nowhere/secret"
		_, err := loadWorker(t, both)
		wantProblems(t, err, name+" is set, and so is "+d.Name+": keep one of them")

		_, err = loadWorker(t, merged(merged(goodEnv(t), tc.others), map[string]string{name: "-", d.Name: "/nowhere/secret"}))
		wantProblems(t, err, d.Name+` names "/nowhere/secret", which does not exist`)
	}
	if secrets := len(values) + 1; twins != secrets {
		t.Errorf("%d settings name a file with another's text; %d are tested", twins, secrets)
	}
	for _, d := range AllDeclared() {
		if _, ok := values[d.Name]; d.Secret && !ok && d.Name != "DATABASE_URL" && d.Name != "BILLING_WEBHOOK_URL" {
			t.Errorf("%s is a secret without a %s_FILE", d.Name, d.Name)
		}
	}

	t.Run("what is wrong with a text is said of the setting that holds it", func(t *testing.T) {
		env := goodEnv(t)
		env["WECHATPAY_PRIVATE_KEY"] = env["WECHATPAY_PRIVATE_KEY_FILE"]
		delete(env, "WECHATPAY_PRIVATE_KEY_FILE")
		env["WECHATPAY_API_V3_KEY_FILE"] = writeFile(t, t.TempDir(), "f", []byte("short"))
		_, err := loadWorker(t, env)
		wantProblems(t, err,
			"WECHATPAY_PRIVATE_KEY is not PEM text (-----BEGIN PRIVATE KEY-----), but perhaps the path of a file: that belongs in the setting whose name ends in _FILE",
			"WECHATPAY_API_V3_KEY_FILE holds 5 bytes: an APIv3 key has exactly 32")
	})

	t.Run("a merchants file takes texts too", func(t *testing.T) {
		block := "    " + strings.ReplaceAll(strings.TrimSpace(key), "\n", "\n    ")
		path := writeFile(t, t.TempDir(), "m.yaml", []byte("- mchid: 1900000001\n  serial_no: "+testSerial+"\n  private_key: |\n"+block+
			"\n  public_key_id: "+testPubKeyID+"\n  public_key: \""+strings.ReplaceAll(public, "\n", `\n`)+"\"\n"))
		w, err := loadWorker(t, map[string]string{"REDIS_URL": "redis://cache", "MERCHANTS_FILE": path})
		if err != nil || !w.Merchants[0].PrivateKey.Equal(merchantKey()) || !w.Merchants[0].PublicKey.Equal(platformKey().Public()) {
			t.Fatalf("error %v", err)
		}
		settings := w.Settings()
		for _, want := range []Setting{{"WECHATPAY_PRIVATE_KEY", "RSA 2048"}, {"WECHATPAY_PUBLIC_KEY", testPubKeyID + " (RSA 1024)"}} {
			if !slices.Contains(settings, want) {
				t.Errorf("%v is not among the settings: %v", want, settings)
			}
		}
	})
}

func TestDatabaseFlags_Resolve(t *testing.T) {
	const want = "postgres://user:hunter2@db/billing"
	path := writeFile(t, t.TempDir(), "f", []byte(want+"\n"))
	for _, tc := range []struct {
		name    string
		env     map[string]string
		problem string // empty: the URL is want
	}{
		{"the URL", map[string]string{"DATABASE_URL": want}, ""},
		{"its file", map[string]string{"DATABASE_URL_FILE": path}, ""},
		{"neither", nil, "DATABASE_URL is missing: write where PostgreSQL is"},
		{"both", map[string]string{"DATABASE_URL": want, "DATABASE_URL_FILE": path}, "DATABASE_URL is set, and so is DATABASE_URL_FILE"},
		{"a missing file", map[string]string{"DATABASE_URL_FILE": "/nowhere/url"}, "DATABASE_URL_FILE names"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s struct{ DatabaseFlags }
			r, url := parse(t, &s, tc.env), ""
			s.Resolve(r.found, func(u string) error { url = u; return nil })
			if tc.problem != "" {
				wantProblems(t, r.found.Err(), tc.problem)
			} else if err := r.found.Err(); err != nil || url != want {
				t.Errorf("URL %q, error %v; want %q", url, err, want)
			}
		})
	}
}
