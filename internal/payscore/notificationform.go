package payscore

import (
	"bytes"
	"net/http"
	"strings"

	"github.com/wechatpay-apiv3/wechatpay-go/core/consts"
)

// signedHeaders are needed to verify a notification.
var signedHeaders = []string{consts.WechatPayTimestamp, consts.WechatPayNonce, consts.WechatPaySignature, consts.WechatPaySerial}

// gzipMagic is how gzip's output begins.
var gzipMagic = []byte{0x1f, 0x8b}

// altered returns how a proxy has changed a notification that could not be verified,
// and the header that it changed; or BadSignature if no change is visible.
func altered(header http.Header, body []byte) (Refusal, string) {
	for _, name := range signedHeaders {
		switch values := header.Values(name); {
		case len(values) == 0 || strings.TrimSpace(values[0]) == "":
			if renamed(header, name) {
				return RenamedHeader, name
			}
			return MissingHeader, name
		case len(values) > 1 || strings.Contains(values[0], ","):
			return DoubledHeader, name
		}
	}
	if encoding := header.Get("Content-Encoding"); encoding != "" && encoding != "identity" || bytes.HasPrefix(body, gzipMagic) {
		return Compressed, ""
	}
	return BadSignature, ""
}

// renamed reports whether another header ends with the name, with any separators:
// X-Wechatpay-Nonce, Wechatpay_Nonce.
func renamed(header http.Header, name string) bool {
	for other := range header {
		if other != name && strings.HasSuffix(letters(other), letters(name)) {
			return true
		}
	}
	return false
}

// letters is a header's name in lower case, without separators.
func letters(name string) string {
	return strings.NewReplacer("-", "", "_", "", ".", "").Replace(strings.ToLower(name))
}
