package config

import (
	"fmt"
	"math/big"
	"strings"
)

// mostSerialDigits is the length of a certificate's serial number: 20 bytes in
// hexadecimal.
const mostSerialDigits = 40

// serialNumber reads the serial number of a certificate as WeChat Pay knows it: in
// hexadecimal, in capitals. Lower case is taken. problem continues a sentence that
// begins with the setting's name; it is empty where the number is good.
func serialNumber(s string) (serial, problem string) {
	serial = strings.ToUpper(s)
	plain := strings.NewReplacer(":", "", " ", "", "-", "").Replace(strings.TrimPrefix(strings.TrimPrefix(serial, "SERIAL="), "0X"))
	switch {
	case strings.HasPrefix(serial, "PUB_KEY_ID_"):
		return "", "is the ID of WeChat Pay's public key: that belongs into WECHATPAY_PUBLIC_KEY_ID; this is the serial number of the merchant API certificate"
	case plain != serial && isHex(plain) && len(plain) <= mostSerialDigits:
		return "", fmt.Sprintf("is %q: a serial number has hexadecimal digits only, without colons, blanks, 0x or serial=; write %q", s, plain)
	case isDecimal(serial) && len(serial) > mostSerialDigits:
		n, _ := new(big.Int).SetString(serial, 10)
		if hex := fmt.Sprintf("%X", n); len(hex) <= mostSerialDigits {
			return "", fmt.Sprintf("has %d decimal digits: it is wanted in hexadecimal, which is %q", len(serial), hex)
		}
	case isHex(serial) && len(serial) > mostSerialDigits:
		return "", fmt.Sprintf("has %d digits: a serial number has %d at most", len(serial), mostSerialDigits)
	case isHex(serial):
		return serial, ""
	}
	return "", fmt.Sprintf("is %q: a serial number has hexadecimal digits only (0-9 and A-F)", s)
}

func isHex(s string) bool { return s != "" && strings.Trim(s, "0123456789ABCDEF") == "" }

func isDecimal(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
