package config

import (
	"math/big"
	"strings"
	"testing"
)

func TestSerialNumber(t *testing.T) {
	n, _ := new(big.Int).SetString(testSerial, 16)
	decimal := n.String() // 48 digits
	for _, tc := range []struct{ name, in, want, problem string }{
		{"as openssl shows it", testSerial, testSerial, ""},
		{"in lower case", strings.ToLower(testSerial), testSerial, ""},
		{"a short one", "1A", "1A", ""},
		{"digits only, as few as hexadecimal has", "1234567890", "1234567890", ""},
		{"with colons", "51:57:f0:9e", "", `is "51:57:f0:9e": a serial number has hexadecimal digits only, without colons, blanks, 0x or serial=; write "5157F09E"`},
		{"with blanks", "51 57 F0", "", `write "5157F0"`},
		{"with 0x", "0x" + testSerial, "", `write "` + testSerial + `"`},
		{"openssl's whole line", "serial=" + testSerial, "", `write "` + testSerial + `"`},
		{"in decimal", decimal, "", `has 48 decimal digits: it is wanted in hexadecimal, which is "` + testSerial + `"`},
		{"far too many decimal digits", strings.Repeat("9", 60), "", "is "},
		{"too many digits", testSerial + "A", "", "has 41 digits: a serial number has 40 at most"},
		{"letters that are no digits", "5157G", "", `is "5157G": a serial number has hexadecimal digits only (0-9 and A-F)`},
		{"a dash at the end", "-", "", `is "-"`},
		{"the public key's ID", testPubKeyID, "", "is the ID of WeChat Pay's public key: that belongs into WECHATPAY_PUBLIC_KEY_ID"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, problem := serialNumber(tc.in)
			if got != tc.want || !strings.Contains(problem, tc.problem) || (problem == "") != (tc.problem == "") {
				t.Errorf("%q is %q, problem %q", tc.in, got, problem)
			}
		})
	}
	t.Run("the setting takes it in capitals", func(t *testing.T) {
		w, err := loadWorker(t, merged(goodEnv(t), map[string]string{"WECHATPAY_SERIAL_NO": strings.ToLower(testSerial)}))
		if err != nil || w.Merchants[0].SerialNo != testSerial {
			t.Errorf("error %v, merchants %v", err, w.Merchants[0].settings())
		}
	})
}
