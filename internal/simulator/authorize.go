package simulator

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxSkew is how far a request's timestamp may be from the platform's clock.
const maxSkew = 5 * time.Minute

// authorization holds the fields of an Authorization header.
type authorization struct {
	mchID, nonce, signature, timestamp, serialNo string
}

// parseAuthorization reads the header's five fields, in any order. Its error names
// the field that is wrong.
func parseAuthorization(header string) (authorization, error) {
	if header == "" {
		return authorization{}, fmt.Errorf("the Authorization header is missing")
	}
	fields, ok := strings.CutPrefix(header, signatureType+" ")
	if !ok {
		return authorization{}, fmt.Errorf("the Authorization type must be %s", signatureType)
	}
	var a authorization
	targets := map[string]*string{
		"mchid": &a.mchID, "nonce_str": &a.nonce, "signature": &a.signature,
		"timestamp": &a.timestamp, "serial_no": &a.serialNo,
	}
	// No value of ours holds a comma: base64, hex, digits and nonces do not.
	for field := range strings.SplitSeq(fields, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		target, known := targets[name]
		if !known {
			return authorization{}, fmt.Errorf("the Authorization has an unknown field %q", name)
		}
		if *target != "" {
			return authorization{}, fmt.Errorf("the Authorization has %s twice", name)
		}
		if len(value) < 3 || value[0] != '"' || value[len(value)-1] != '"' || strings.Contains(value[1:len(value)-1], `"`) {
			return authorization{}, fmt.Errorf("the Authorization's %s must be a text in double quotes", name)
		}
		*target = value[1 : len(value)-1]
	}
	for _, name := range []string{"mchid", "nonce_str", "signature", "timestamp", "serial_no"} {
		if *targets[name] == "" {
			return authorization{}, fmt.Errorf("the Authorization lacks %s", name)
		}
	}
	return a, nil
}

// signError is the refusal of a request whose signature is wrong. Its reply is
// never signed.
func signError(field, issue string, information any) apiError {
	type detail struct {
		Location        string `json:"location"`
		Field           string `json:"field"`
		Issue           string `json:"issue"`
		SignInformation any    `json:"sign_information,omitempty"`
	}
	return apiError{
		status: http.StatusUnauthorized, code: "SIGN_ERROR", message: "错误的签名，验签失败: " + issue,
		detail: detail{"authorization", field, issue, information}, detailCode: detailAuthorization,
	}
}

// signInformation shows over what the platform verified the signature, as the real
// platform does. It helps to find out what a client signed instead.
type signInformation struct {
	Method               string `json:"method"`
	URL                  string `json:"url"`
	TruncatedSignMessage string `json:"truncated_sign_message"`
	SignMessageLength    int    `json:"sign_message_length"`
}

// target is the path and query exactly as the request line has them.
// URL.EscapedPath would spell a bare | or * in a way the client did not sign.
func target(r *http.Request) string {
	uri := r.RequestURI
	if uri == "" { // a request made by hand, never on a wire
		return r.URL.RequestURI()
	}
	if _, rest, absolute := strings.Cut(uri, "://"); absolute && !strings.HasPrefix(uri, "/") {
		_, path, _ := strings.Cut(rest, "/") // as proxies are asked
		return "/" + path
	}
	return uri
}

// authorize verifies a request strictly. On success it returns the nonce, which is
// now used up.
func (s *Simulator) authorize(r *http.Request, body []byte) (nonce string, refusal *apiError) {
	refuse := func(field, format string, args ...any) (string, *apiError) {
		e := signError(field, fmt.Sprintf(format, args...), nil)
		return "", &e
	}
	a, err := parseAuthorization(r.Header.Get("Authorization"))
	if err != nil {
		return refuse("Authorization", "%v", err)
	}
	if a.mchID != s.id.MchID {
		return refuse("mchid", "mchid is not known here")
	}
	if a.serialNo != s.id.SerialNo {
		return refuse("serial_no", "serial_no is not the serial number of the merchant's API certificate")
	}
	seconds, err := strconv.ParseInt(a.timestamp, 10, 64)
	if err != nil {
		return refuse("timestamp", "timestamp must be seconds since 1970")
	}
	now := time.Now()
	if skew := now.Sub(time.Unix(seconds, 0)); skew > maxSkew || skew < -maxSkew {
		return refuse("timestamp", "timestamp is more than %v from the platform's clock", maxSkew)
	}
	signature, err := base64.StdEncoding.DecodeString(a.signature)
	if err != nil {
		return refuse("signature", "signature is not base64")
	}
	message := fmt.Sprintf("%s\n%s\n%s\n%s\n%s\n", r.Method, target(r), a.timestamp, a.nonce, body)
	digest := sha256.Sum256([]byte(message))
	if rsa.VerifyPKCS1v15(&s.id.PrivateKey.PublicKey, crypto.SHA256, digest[:], signature) != nil {
		const most = 300
		e := signError("signature", "sign not match", signInformation{
			Method: r.Method, URL: target(r), TruncatedSignMessage: message[:min(most, len(message))], SignMessageLength: len(message),
		})
		return "", &e
	}
	// Last, so that only the merchant can use up nonces.
	if !s.nonces.use(a.nonce, now) {
		return refuse("nonce_str", "nonce_str was used before")
	}
	return a.nonce, nil
}

// nonceMemory is how long a nonce is remembered: from the first to the last moment
// at which its timestamp is acceptable.
const nonceMemory = 2 * maxSkew

// nonces remembers the recently used nonces. The zero value is ready.
type nonces struct {
	mu    sync.Mutex
	seen  map[string]struct{}
	queue []usedNonce // oldest first
}

type usedNonce struct {
	nonce string
	at    time.Time
}

// use reports whether nonce is new, and marks it as used.
func (n *nonces) use(nonce string, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seen == nil {
		n.seen = make(map[string]struct{})
	}
	for len(n.queue) > 0 && now.Sub(n.queue[0].at) > nonceMemory {
		delete(n.seen, n.queue[0].nonce)
		n.queue = n.queue[1:]
	}
	if _, used := n.seen[nonce]; used {
		return false
	}
	n.seen[nonce] = struct{}{}
	n.queue = append(n.queue, usedNonce{nonce, now})
	return true
}

// forget makes a nonce new again, because its request was lost on the way. The
// queue keeps its entry, so that a later use of the same nonce may be forgotten
// too early.
func (n *nonces) forget(nonce string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.seen, nonce)
}
