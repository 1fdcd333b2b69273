package config

import (
	"fmt"
	"math/big"
	"regexp"
	"strings"
)

// mostSerialDigits is the length of a certificate's serial number: 20 bytes in
// hexadecimal.
const mostSerialDigits = 40

// serialForm is the form of every serial number. WeChat Pay decides which of them it
// accepts: an unusual one is only warned about.
var serialForm = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)

// serialNumber checks the serial number of a certificate, which is sent unchanged.
// problem and warning continue a sentence that begins with the setting's name; each may
// be empty.
func serialNumber(s string) (problem, warning string) {
	serial := strings.ToUpper(s)
	plain := strings.NewReplacer(":", "", " ", "", "-", "").Replace(strings.TrimPrefix(strings.TrimPrefix(serial, "SERIAL="), "0X"))
	switch {
	case strings.HasPrefix(serial, "PUB_KEY_ID_"):
		return "is the ID of WeChat Pay's public key: that belongs in WECHATPAY_PUBLIC_KEY_ID; this is the serial number of the merchant API certificate", ""
	case plain != serial && isHex(plain) && len(plain) <= mostSerialDigits:
		return fmt.Sprintf("is %q: a serial number has hexadecimal digits only, without colons, blanks, 0x or serial=; write %q", s, plain), ""
	case isDecimal(serial) && len(serial) > mostSerialDigits:
		n, _ := new(big.Int).SetString(serial, 10)
		if hex := fmt.Sprintf("%X", n); len(hex) <= mostSerialDigits {
			return fmt.Sprintf("has %d decimal digits: write it in hexadecimal, which is %q", len(serial), hex), ""
		}
	case !serialForm.MatchString(s):
		return fmt.Sprintf("is %q: a serial number has hexadecimal digits only (0-9 and A-F)", s), ""
	case isHex(serial) && len(serial) > mostSerialDigits:
		return "", fmt.Sprintf("has %d digits: WeChat Pay's serial numbers have %d at most", len(serial), mostSerialDigits)
	case isHex(serial) && s != serial:
		return "", fmt.Sprintf("is in lower case: WeChat Pay shows serial numbers in capitals; where it refuses the signature, write %q", serial)
	case isHex(serial):
		return "", ""
	}
	return "", fmt.Sprintf("is %q: WeChat Pay's serial numbers have hexadecimal digits only (0-9 and A-F)", s)
}

func isHex(s string) bool { return s != "" && strings.Trim(s, "0123456789ABCDEF") == "" }

func isDecimal(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
