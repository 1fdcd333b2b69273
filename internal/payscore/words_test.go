package payscore_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"unicode"

	"payscore-collector/internal/payscore"
)

// An error reply is not signed: any proxy can write it. Its words reach the log,
// the ledger and the terminals of people.
func TestWordsOfAReplyControlNothing(t *testing.T) {
	const forged = "\x1b[31m\x1b]0;title\x07\x1b[2J\r\n{\"level\":\"info\"}\u009b1m\u202eabc\u2066\u2028"
	p := newPlatform(t)
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		body, _ := json.Marshal(map[string]string{"code": "SIGN" + forged, "message": "words" + forged})
		_, _ = w.Write(body)
	}), func() {})
	cfg := p.config()
	cfg.BaseURL = url
	r := do(t, newClient(t, cfg), payscore.CallQuery, p.request("W-1"))
	for name, text := range map[string]string{"code": r.Code, "message": r.Message, "reason": r.Reason, "request ID": r.RequestID} {
		if strings.IndexFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) }) >= 0 {
			t.Errorf("the %s is %q", name, text)
		}
	}
	if !strings.HasPrefix(r.Code, "SIGN") || !strings.HasPrefix(r.Message, "words") {
		t.Errorf("code %q, message %q", r.Code, r.Message)
	}
}
