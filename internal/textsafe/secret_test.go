package textsafe_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"strings"
	"testing"

	"payscore-collector/internal/textsafe"
)

const (
	serial = "5157F09EFDC096DE15EBE81A47057A7232F1B8E1"
	apiKey = "0123456789abcdef0123456789abcdef"
)

func TestRepeatable(t *testing.T) {
	for _, value := range []string{
		"", "15", "fast", "10m,,1h", "Asia/Shangai", "wxd678efh567hg6787", "wx 1", "51:57:F0:9E", serial, "PUB_KEY_ID_0119000000012026010100000000000001", "1900000001",
		"/nowhere/key.pem", "/merchant/apiclient_key.pem", "/etc/" + serial + "/apiclient_key.pem", "/run/secrets/wechatpay_api_v3_key",
		"/var/run/secrets/..2026_01_02_03_04_05.123456789/key", "https://api.mch.weixin.qq.com", "http://127.0.0.1:8090/", "127.0.0.1:9090",
		"localhost:99999", "openssl pkey -inform DER -in /keys/key.der -out key.pem", "商户/密钥.pem", "WECHATPAY_API_V3_KEY_FILE",
	} {
		if !textsafe.Repeatable(value) {
			t.Errorf("%q is not repeated", value)
		}
	}

	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der := x509.MarshalPKCS1PrivateKey(private)
	key := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der}))
	for name, value := range map[string]string{
		"a key":                       key,
		"a key with literal \\n":      strings.ReplaceAll(key, "\n", `\n`),
		"a key on one line":           strings.ReplaceAll(key, "\n", " "),
		"a key without its frame":     base64.StdEncoding.EncodeToString(der),
		"a line of a key":             strings.Split(key, "\n")[3],
		"a key in a path":             "/merchant/" + key,
		"an APIv3 key":                apiKey,
		"an APIv3 key of letters":     "abcdefghijklmnopqrstuvwxyzabcdef",
		"an APIv3 key as a file":      "/merchant/" + apiKey,
		"a webhook secret":            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAECAwQFBgc=",
		"a Redis URL":                 "redis://:hunter2@127.0.0.1:6379/1",
		"a URL with a token":          "https://billing.example/hooks?token=xyzzy",
		"a URL with a token as path":  "https://billing.example/hooks/xyzzy",
		"a UUID":                      "6ba7b8109dad11d180b400c04fd430c8",
		"two lines":                   "a\nb",
		"an escape sequence":          "a\x1b[2J",
		"not UTF-8":                   "a\xff",
		"what is far too long":        strings.Repeat("ab ", 100),
		"a password among durations":  "10m,x7Kp2mQ9vT4z,1h",
		"a token in base64, URL-safe": "4f-Xk29Lw0sQ8aPz71_mR3tY6vB5nC0d",
	} {
		if textsafe.Repeatable(value) {
			t.Errorf("%s is repeated: %q", name, value)
		}
	}

	t.Run("random bytes, however they are written", func(t *testing.T) {
		escaped := 0
		const rounds = 2000
		for range rounds {
			b := make([]byte, 24)
			_, _ = rand.Read(b)
			for _, text := range []string{hex.EncodeToString(b[:16]), hex.EncodeToString(b), base64.StdEncoding.EncodeToString(b)} {
				if textsafe.Repeatable(text) {
					escaped++
				}
			}
		}
		// Letters without a digit among them are no different from a word. It is
		// rare.
		if escaped > rounds/100 {
			t.Errorf("%d of %d random secrets would be repeated", escaped, 3*rounds)
		}
	})
}

func TestScrub(t *testing.T) {
	for _, tc := range []struct{ name, got, want string }{
		{"quoted", textsafe.ScrubQuoted(`is "` + apiKey + `", and not "08:00"`), "is " + textsafe.NotRepeated + `, and not "08:00"`},
		{"quoted, with what %q escapes", textsafe.ScrubQuoted(`is "-----BEGIN\nMII\"x"`), "is " + textsafe.NotRepeated},
		{"words of another program", textsafe.ScrubWords(`unexpected option: ` + apiKey), "unexpected option: " + textsafe.NotRepeated},
		{"words that it quotes", textsafe.ScrubWords(`invalid database number: "x7Kp2mQ9vT4z"`), `invalid database number: "` + textsafe.NotRepeated + `"`},
		{"words that say nothing secret", textsafe.ScrubWords(`invalid database number: "zero"`), `invalid database number: "zero"`},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, tc.got, tc.want)
		}
	}
}
