package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMerchantFlags_Resolve_single(t *testing.T) {
	good := func(m Merchant) bool { return m.PrivateKey != nil && m.PublicKey != nil }

	for _, tc := range []struct {
		name  string
		env   map[string]string // over goodEnv; "-" takes the name out
		check func(Merchant) bool
	}{
		{"a base URL of one's own has no backup", map[string]string{"WECHATPAY_BASE_URL": "http://127.0.0.1:8080/"},
			func(m Merchant) bool { return m.BaseURL == "http://127.0.0.1:8080" && m.BackupURL == "" }},
		{"unless that is set too", map[string]string{"WECHATPAY_BASE_URL": "https://a.example", "WECHATPAY_BACKUP_URL": "https://b.example"},
			func(m Merchant) bool { return m.BaseURL == "https://a.example" && m.BackupURL == "https://b.example" }},
		{"a backup of one's own for the real host", map[string]string{"WECHATPAY_BACKUP_URL": "https://b.example"},
			func(m Merchant) bool { return m.BaseURL == DefaultBaseURL && m.BackupURL == "https://b.example" }},
		{"the APIv3 key and the public key", map[string]string{"WECHATPAY_API_V3_KEY": testAPIKey},
			func(m Merchant) bool { return good(m) && m.APIV3Key.Reveal() == testAPIKey }},
		{"the APIv3 key instead of the public key", map[string]string{"WECHATPAY_API_V3_KEY": testAPIKey, "WECHATPAY_PUBLIC_KEY_ID": "-", "WECHATPAY_PUBLIC_KEY_FILE": "-"},
			func(m Merchant) bool { return m.PublicKey == nil && m.PublicKeyID == "" && m.APIV3Key.IsSet() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, err := loadWorker(t, merged(goodEnv(t), tc.env))
			if err != nil || !tc.check(w.Merchants[0]) || len(w.Warnings) != 0 {
				t.Errorf("error %v, warnings %q, settings %v", err, w.Warnings, w.Merchants)
			}
		})
	}

	t.Run("the APIv3 key from a file, with a line end", func(t *testing.T) {
		path := writeFile(t, t.TempDir(), "k", []byte(testAPIKey+"\r\n"))
		w, err := loadWorker(t, merged(goodEnv(t), map[string]string{"WECHATPAY_API_V3_KEY_FILE": path}))
		if err != nil || w.Merchants[0].APIV3Key.Reveal() != testAPIKey {
			t.Errorf("error %v", err)
		}
	})

	for _, tc := range []struct {
		name string
		env  map[string]string
		want string
	}{
		{"a mchid with letters", map[string]string{"WECHATPAY_MCHID": "wx1900000001"}, `WECHATPAY_MCHID is "wx1900000001": a merchant number has 1 to 32 digits`},
		{"a serial number with colons", map[string]string{"WECHATPAY_SERIAL_NO": "51:57:F0"}, `WECHATPAY_SERIAL_NO is "51:57:F0": a serial number has hexadecimal digits only, without colons`},
		{"the public key's ID for the serial number", map[string]string{"WECHATPAY_SERIAL_NO": testPubKeyID}, "WECHATPAY_SERIAL_NO is"},
		{"a serial number for the public key's ID", map[string]string{"WECHATPAY_PUBLIC_KEY_ID": testSerial}, "WECHATPAY_PUBLIC_KEY_ID is"},
		{"the public key without its ID", map[string]string{"WECHATPAY_PUBLIC_KEY_ID": "-"}, "WECHATPAY_PUBLIC_KEY_ID is missing: WECHATPAY_PUBLIC_KEY_FILE needs the ID"},
		{"the public key's ID alone", map[string]string{"WECHATPAY_PUBLIC_KEY_FILE": "-"}, "WECHATPAY_PUBLIC_KEY_FILE is missing: WECHATPAY_PUBLIC_KEY_ID names"},
		{"neither public key nor APIv3 key", map[string]string{"WECHATPAY_PUBLIC_KEY_ID": "-", "WECHATPAY_PUBLIC_KEY_FILE": "-"},
			"WECHATPAY_PUBLIC_KEY_ID is missing, and WECHATPAY_PUBLIC_KEY_FILE: they are WeChat Pay's public key, for verifying its replies; or set WECHATPAY_API_V3_KEY or WECHATPAY_API_V3_KEY_FILE"},
		{"an APIv3 key of 31 bytes", map[string]string{"WECHATPAY_API_V3_KEY": testAPIKey[1:]}, "WECHATPAY_API_V3_KEY holds 31 bytes: an APIv3 key has exactly 32"},
		{"the APIv3 key twice", map[string]string{"WECHATPAY_API_V3_KEY": testAPIKey, "WECHATPAY_API_V3_KEY_FILE": "/f"}, "WECHATPAY_API_V3_KEY is set, and so is WECHATPAY_API_V3_KEY_FILE: keep one"},
		{"a missing APIv3 key file", map[string]string{"WECHATPAY_API_V3_KEY_FILE": "/nowhere/k"}, `WECHATPAY_API_V3_KEY_FILE names "/nowhere/k", which does not exist`},
		{"a base URL without a scheme", map[string]string{"WECHATPAY_BASE_URL": "api.mch.weixin.qq.com"}, "WECHATPAY_BASE_URL is not a URL of the form https://HOST"},
		{"a base URL of another kind", map[string]string{"WECHATPAY_BASE_URL": "ftp://api.mch.weixin.qq.com"}, "WECHATPAY_BASE_URL is not a URL"},
		{"a base URL with a path", map[string]string{"WECHATPAY_BASE_URL": "https://api.mch.weixin.qq.com/v3"}, "WECHATPAY_BASE_URL has more than a scheme and a host"},
		{"a backup URL with a query", map[string]string{"WECHATPAY_BACKUP_URL": "https://b.example?x=1"}, "WECHATPAY_BACKUP_URL has more than a scheme and a host"},
	} {
		t.Run("refuses "+tc.name, func(t *testing.T) {
			_, err := loadWorker(t, merged(goodEnv(t), tc.env))
			wantProblems(t, err, tc.want)
			if err != nil && strings.Contains(err.Error(), testAPIKey[1:]) {
				t.Error("the APIv3 key is in the error")
			}
		})
	}

	t.Run("refuses the merchant's own public key for WeChat Pay's", func(t *testing.T) {
		path := writeFile(t, t.TempDir(), "pub.pem", pemOf("PUBLIC KEY", publicDER(merchantKey().Public())))
		_, err := loadWorker(t, merged(goodEnv(t), map[string]string{"WECHATPAY_PUBLIC_KEY_FILE": path}))
		wantProblems(t, err, fmt.Sprintf("WECHATPAY_PUBLIC_KEY_FILE names %q, which is the public half of the merchant's own key", path))
	})

	for _, tc := range []struct{ name, url, want string }{
		{"an IP address of the internet", "https://101.226.1.1", "names an IP address"},
		{"no https to the internet", "http://api.mch.weixin.qq.com", "is not https"},
	} {
		t.Run("warns of "+tc.name, func(t *testing.T) {
			w, err := loadWorker(t, merged(goodEnv(t), map[string]string{"WECHATPAY_BASE_URL": tc.url}))
			if err != nil || len(w.Warnings) != 1 || !strings.HasPrefix(w.Warnings[0], "WECHATPAY_BASE_URL "+tc.want) {
				t.Errorf("error %v, warnings %q", err, w.Warnings)
			}
		})
	}
	for _, url := range []string{"http://localhost:1", "http://10.0.0.5", "http://[::1]:8080"} {
		t.Run("does not warn of "+url, func(t *testing.T) {
			w, err := loadWorker(t, merged(goodEnv(t), map[string]string{"WECHATPAY_BASE_URL": url}))
			if err != nil || len(w.Warnings) != 0 || w.Merchants[0].BaseURL != url {
				t.Errorf("error %v, warnings %q, URL %s", err, w.Warnings, w.Merchants[0].BaseURL)
			}
		})
	}
}

func TestMerchantFlags_Resolve_file(t *testing.T) {
	// setup writes a file of merchants beside the key files, and returns the
	// environment that names it.
	setup := func(t *testing.T, yaml string) (env map[string]string, path string) {
		t.Helper()
		env = goodEnv(t)
		dir := filepath.Dir(env["WECHATPAY_PRIVATE_KEY_FILE"])
		path = writeFile(t, dir, "merchants.yaml", []byte(yaml))
		return map[string]string{"REDIS_URL": env["REDIS_URL"], "MERCHANTS_FILE": path}, path
	}
	const first = `- mchid: 1900000001
  serial_no: ` + testSerial + `
  private_key_file: apiclient_key.pem
  public_key_id: ` + testPubKeyID + `
  public_key_file: pub_key.pem
  appid: wx1
  service_id: 00500001
`
	const second = `- mchid: "1900000002"
  serial_no: 5157F09EFDC096DE15EBE81A47057A7232F1B8E2
  private_key_file: apiclient_key.pem
  api_v3_key: ` + testAPIKey + `
  base_url: http://127.0.0.1:8080
`

	t.Run("lists merchants, with paths relative to itself", func(t *testing.T) {
		env, _ := setup(t, "# ours\n"+first+second)
		w, err := loadWorker(t, env)
		if err != nil {
			t.Fatal(err)
		}
		if shown := (Setting{"MERCHANTS_FILE", env["MERCHANTS_FILE"]}); !slices.Contains(w.Settings(), shown) {
			t.Errorf("%v is not among the settings: %v", shown, w.Settings())
		}
		if len(w.Merchants) != 2 {
			t.Fatalf("merchants are %v", w.Merchants)
		}
		a, b := w.Merchants[0], w.Merchants[1]
		if a.MchID != "1900000001" || a.AppID != "wx1" || a.ServiceID != "00500001" || a.BaseURL != DefaultBaseURL || a.BackupURL != DefaultBackupURL || a.PublicKey == nil {
			t.Errorf("the first is %v", a.settings())
		}
		if b.MchID != "1900000002" || b.PublicKey != nil || !b.APIV3Key.IsSet() || b.BaseURL != "http://127.0.0.1:8080" || b.BackupURL != "" {
			t.Errorf("the second is %v", b.settings())
		}
	})

	t.Run("what a merchant does not say is taken from the environment", func(t *testing.T) {
		env, _ := setup(t, first+second)
		w, err := loadWorker(t, merged(env, map[string]string{
			"PAYSCORE_APPID": "wx9", "PAYSCORE_SERVICE_ID": "9", "WECHATPAY_BASE_URL": "https://a.example", "WECHATPAY_BACKUP_URL": "https://b.example",
		}))
		if err != nil {
			t.Fatal(err)
		}
		a, b := w.Merchants[0], w.Merchants[1]
		if a.AppID != "wx1" || b.AppID != "wx9" || b.ServiceID != "9" {
			t.Errorf("appids are %s and %s", a.AppID, b.AppID)
		}
		if a.BaseURL != "https://a.example" || a.BackupURL != "https://b.example" || b.BaseURL != "http://127.0.0.1:8080" || b.BackupURL != "" {
			t.Errorf("URLs are %s %s, %s %s", a.BaseURL, a.BackupURL, b.BaseURL, b.BackupURL)
		}
	})

	t.Run("every problem of every merchant is reported at once, by line", func(t *testing.T) {
		env, path := setup(t, first+`- mchid: 19x
  serial: 5157
  private_key_file: none.pem
  appid: [wx1]
  api_v3_key: hunter2
  service_id: "a b"
`+"-\n"+first+"- just words\n")
		_, err := loadWorker(t, merged(env, map[string]string{"WECHATPAY_BASE_URL": "nonsense"}))
		line := func(n, text string) string { return "MERCHANTS_FILE " + path + ", line " + n + ": " + text }
		wantProblems(t, err,
			"WECHATPAY_BASE_URL is not a URL",
			line("8", "serial (on line 9) is unknown: the keys are mchid, appid, service_id, serial_no,"),
			line("8", "a value (on line 11) is a list or a mapping"),
			line("8", `mchid is "19x"`),
			line("8", `service_id is "a b"`),
			line("8", `private_key_file names "`+filepath.Join(filepath.Dir(path), "none.pem")+`", which does not exist`),
			line("8", "serial_no is missing"),
			line("8", "api_v3_key holds 7 bytes"),
			line("14", "the item is not a merchant"),
			line("15", "mchid is 1900000001, as on line 1: name each merchant once"),
			line("22", "the item is not a merchant"),
		)
	})

	t.Run("not together with a single merchant", func(t *testing.T) {
		env, _ := setup(t, first)
		_, err := loadWorker(t, merged(env, map[string]string{"WECHATPAY_MCHID": "1900000009", "WECHATPAY_API_V3_KEY": testAPIKey}))
		wantProblems(t, err, "MERCHANTS_FILE is set, and so is WECHATPAY_MCHID, WECHATPAY_API_V3_KEY of a single merchant")
	})

	for _, tc := range []struct{ name, yaml, want string }{
		{"empty", "", "which is empty"},
		{"only a comment", "# soon\n", "which is not a list of merchants"},
		{"a mapping", "mchid: 1\n", "which is not a list of merchants"},
		{"an empty list", "[]\n", "which is not a list of merchants"},
		{"a key twice", first + "  appid: wx2\n", "appid (on line 8) is there twice"},
		{"two documents", first + "---\n" + second, "which holds more than one YAML document"},
		{"not YAML", "- mchid: 1\n  appid: 1: 2\n", "which is not valid YAML (line 2)"},
		{"a secret that YAML takes for an alias", "- mchid: 1\n  api_v3_key: *hunter2\n", "which is not valid YAML: quote values"},
	} {
		t.Run("refuses "+tc.name, func(t *testing.T) {
			env, path := setup(t, tc.yaml)
			_, err := loadWorker(t, env)
			wantProblems(t, err, "MERCHANTS_FILE "+cond(strings.HasPrefix(tc.want, "which"), fmt.Sprintf("names %q, ", path), path+", line 1: ")+tc.want)
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a secret is in the error: %v", err)
			}
		})
	}

	t.Run("refuses a missing file", func(t *testing.T) {
		env, path := setup(t, first)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		_, err := loadWorker(t, env)
		wantProblems(t, err, fmt.Sprintf("MERCHANTS_FILE names %q, which does not exist", path))
	})
}

func cond(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

// merged lays over onto env; the value "-" takes a name out.
func merged(env, over map[string]string) map[string]string {
	for name, value := range over {
		if value == "-" {
			delete(env, name)
		} else {
			env[name] = value
		}
	}
	return env
}
