package config

import (
	"math/big"
	"strings"
	"testing"
)

func TestSerialNumber(t *testing.T) {
	n, _ := new(big.Int).SetString(testSerial, 16)
	decimal := n.String() // 48 digits
	for _, tc := range []struct{ name, in, warning, problem string }{
		{"as openssl shows it", testSerial, "", ""},
		{"in lower case", strings.ToLower(testSerial), `write "` + testSerial + `"`, ""},
		{"a short one", "1A", "", ""},
		{"digits only, as few as hexadecimal has", "1234567890", "", ""},
		{"a stand-in's", "TEST_SERIAL-1", "hexadecimal digits only", ""},
		{"with colons", "51:57:f0:9e", "", `is "51:57:f0:9e": a serial number has hexadecimal digits only, without colons, blanks, 0x or serial=; write "5157F09E"`},
		{"with blanks", "51 57 F0", "", `write "5157F0"`},
		{"with 0x", "0x" + testSerial, "", `write "` + testSerial + `"`},
		{"openssl's whole line", "serial=" + testSerial, "", `write "` + testSerial + `"`},
		{"in decimal", decimal, "", `has 48 decimal digits: write it in hexadecimal, which is "` + testSerial + `"`},
		{"far too many decimal digits", strings.Repeat("9", 60), "hexadecimal digits only", ""},
		{"too many digits", testSerial + "A", "has 41 digits: WeChat Pay's serial numbers have 40 at most", ""},
		{"letters that are no digits", "5157G", `is "5157G": WeChat Pay's serial numbers have hexadecimal digits only (0-9 and A-F)`, ""},
		{"characters that no number has", "51.57", "", `is "51.57": a serial number has hexadecimal digits only`},
		{"the public key's ID", testPubKeyID, "", "is the ID of WeChat Pay's public key: that belongs in WECHATPAY_PUBLIC_KEY_ID"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			problem, warning := serialNumber(tc.in)
			for _, said := range []struct{ got, want string }{{problem, tc.problem}, {warning, tc.warning}} {
				if !strings.Contains(said.got, said.want) || (said.got == "") != (said.want == "") {
					t.Errorf("%q: got %q, want %q", tc.in, said.got, said.want)
				}
			}
		})
	}
	t.Run("the setting is sent as it is", func(t *testing.T) {
		lower := strings.ToLower(testSerial)
		w, err := loadWorker(t, merged(goodEnv(t), map[string]string{"WECHATPAY_SERIAL_NO": lower}))
		if err != nil || w.Merchants[0].SerialNo != lower {
			t.Errorf("error %v, merchants %v", err, w.Merchants[0].settings())
		}
	})
}

// Settings may share a host, a path or a word with a URL that holds a secret.
func TestValuesThatAURLHoldsTooAreNoSecrets(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"one stand-in for WeChat Pay and billing": {
			"WECHATPAY_BASE_URL": "http://127.0.0.1:18080", "BILLING_WEBHOOK_URL": "http://127.0.0.1:18080/hook",
			"BILLING_WEBHOOK_SECRET": "whsec_" + strings.Repeat("QUJD", 10),
		},
		"a time zone in DATABASE_URL": {"DATABASE_URL": "postgres://127.0.0.1/db?timezone=Asia/Shanghai"},
		"a user without a password":   {"DATABASE_URL": "postgres://Asia/Shanghai@127.0.0.1/db"},
		"an address in the webhook's URL": {
			"PUBLIC_ADDR": "127.0.0.1:18080", "BILLING_WEBHOOK_URL": "http://127.0.0.1:18080/hook",
			"BILLING_WEBHOOK_SECRET": "whsec_" + strings.Repeat("QUJD", 10),
		},
		"Redis by a container's ID":      {"REDIS_URL": "redis://a1b2c3d4e5f6:6379/0"},
		"WeChat Pay by a container's ID": {"WECHATPAY_BASE_URL": "http://mock-1a2b3c4d5e6f7:80"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := loadWorker(t, merged(goodEnv(t), env)); err != nil {
				t.Errorf("the settings were refused: %v", err)
			}
		})
	}
}
