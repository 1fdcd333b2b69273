package config

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

func TestWebhookSettings(t *testing.T) {
	t.Run("webhooks, with a URL whose path, query and password may be secret", func(t *testing.T) {
		env := goodEnv(t)
		env["BILLING_WEBHOOK_URL"], env["BILLING_WEBHOOK_SECRET"] = "https://user:hunter2@billing.example:8443/hooks/xyzzy?token=xyzzy", testWebhookSecret
		w, err := loadWorker(t, env)
		if err != nil || len(w.Warnings) != 0 || !w.Webhook.On() || w.Webhook.URL.Reveal() != env["BILLING_WEBHOOK_URL"] ||
			w.Webhook.Secret.Reveal() != testWebhookSecret || w.Webhook.Host != "https://billing.example:8443" {
			t.Errorf("error %v, warnings %q, webhook %+v", err, w.Warnings, w.Webhook)
		}
		for url, warnings := range map[string]int{"http://127.0.0.1:8000/": 0, "http://localhost/": 0, "http://10.0.0.7": 0, "http://billing.example/": 1} {
			env["BILLING_WEBHOOK_URL"] = url
			if w, err := loadWorker(t, env); err != nil || len(w.Warnings) != warnings {
				t.Errorf("%s: error %v, warnings %q", url, err, w.Warnings)
			}
		}
	})

	for _, key := range []struct {
		bytes int
		good  bool
	}{{23, false}, {24, true}, {64, true}, {65, false}} {
		t.Run(fmt.Sprintf("a webhook secret of %d bytes", key.bytes), func(t *testing.T) {
			env := goodEnv(t)
			env["BILLING_WEBHOOK_URL"] = "https://billing.example/"
			env["BILLING_WEBHOOK_SECRET"] = "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, key.bytes))
			_, err := loadWorker(t, env)
			if key.good != (err == nil) {
				t.Errorf("%v", err)
			}
			if !key.good {
				wantProblems(t, err, fmt.Sprintf("BILLING_WEBHOOK_SECRET has a key of %d bytes: Standard Webhooks asks for 24 to 64", key.bytes))
			}
		})
	}

	for _, tc := range []struct {
		name, url, secret string
		want              []string
	}{
		{"a URL without a secret", "https://billing.example/xyzzy", "", []string{"BILLING_WEBHOOK_SECRET is missing: webhooks must be signed; write whsec_ and"}},
		{"a secret without a URL", "", testWebhookSecret, []string{"BILLING_WEBHOOK_URL is missing: BILLING_WEBHOOK_SECRET is set"}},
		{"a URL without a scheme", "billing.example/xyzzy", testWebhookSecret, []string{"BILLING_WEBHOOK_URL is not a URL of the form https://HOST/PATH"}},
		{"a URL of another scheme", "ftp://billing.example/xyzzy", testWebhookSecret, []string{"BILLING_WEBHOOK_URL is not a URL of the form"}},
		{"a URL without a host", "https:///xyzzy", testWebhookSecret, []string{"BILLING_WEBHOOK_URL is not a URL of the form"}},
		{"a malformed URL", "https://xyzzy:x yzzy@h/%zz", testWebhookSecret, []string{"BILLING_WEBHOOK_URL is not a URL of the form"}},
		{"a URL with a fragment", "https://billing.example/#xyzzy", testWebhookSecret, []string{"BILLING_WEBHOOK_URL has a # and something behind it"}},
		{"a secret without its prefix", "https://billing.example", strings.TrimPrefix(testWebhookSecret, "whsec_"), []string{"BILLING_WEBHOOK_SECRET does not begin with whsec_"}},
		{"a secret that is not base64", "https://billing.example", "whsec_xyzzy-xyzzy-xyzzy-xyzzy-xyzzy-", []string{"BILLING_WEBHOOK_SECRET is not base64 behind whsec_"}},
		{"a secret without its padding", "https://billing.example", strings.TrimRight(testWebhookSecret, "="), []string{"BILLING_WEBHOOK_SECRET is not base64 behind whsec_"}},
		{"both wrong", "xyzzy", "xyzzy", []string{"BILLING_WEBHOOK_URL is not a URL", "BILLING_WEBHOOK_SECRET does not begin"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env := goodEnv(t)
			env["BILLING_WEBHOOK_URL"], env["BILLING_WEBHOOK_SECRET"] = tc.url, tc.secret
			w, err := loadWorker(t, env)
			wantProblems(t, err, tc.want...)
			if shown := fmt.Sprint(err, w.Settings(), w.Warnings); strings.Contains(shown, "xyzzy") || strings.Contains(shown, "MfKQ9r8G") {
				t.Errorf("a secret is shown: %s", shown)
			}
		})
	}
}
