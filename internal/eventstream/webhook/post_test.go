package webhook

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/hooktest"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// anEvent is for tests without a ledger.
var anEvent = ledger.Event{ID: "1900000001-1764000000000-0", Type: "order.paid", MchID: "1900000001", OutOrderNo: "A", State: tasks.Paid}

func newSender(t *testing.T, url string) *Sender {
	t.Helper()
	s, err := New(Settings{URL: url, Secret: hooktest.Secret}, ledger.New(nil, "1900000001"), nil, zerolog.Nop(), NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func (s *Sender) try(t *testing.T, within time.Duration) answer {
	t.Helper()
	return s.post(t.Context(), anEvent, time.Now().Add(within))
}

// raw is a server that answers every connection with the same bytes, and then keeps it
// open or closes it.
func raw(t *testing.T, answer string, hold bool) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					_, _ = io.Copy(io.Discard, req.Body)
				}
				_, _ = io.WriteString(c, answer)
				if hold {
					<-ctx.Done()
				}
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

func TestPost(t *testing.T) {
	t.Parallel()
	// plenty is the time for answers that come at once; only an overloaded machine needs
	// it. For an answer that never ends each case has its own time.
	const plenty = 60 * time.Second

	t.Run("sends user, password and query of the URL, and its name", func(t *testing.T) {
		t.Parallel()
		var got *http.Request
		srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r }))
		defer srv.Close()
		s := newSender(t, strings.Replace(srv.URL, "http://", "http://billing:hunter2@", 1)+"/a%2Fb?token=xyzzy")
		if a := s.try(t, plenty); !a.delivered() {
			t.Fatalf("%+v", a)
		}
		user, password, _ := got.BasicAuth()
		if user != "billing" || password != "hunter2" || got.URL.Query().Get("token") != "xyzzy" || got.URL.EscapedPath() != "/a%2Fb" ||
			got.Method != http.MethodPost || got.UserAgent() != "payscore-collector" || got.Proto != "HTTP/1.1" {
			t.Errorf("%s %s %v", got.Method, got.URL, got.Header)
		}
	})

	for _, tc := range []struct {
		name, answer string
		hold         bool
		within       time.Duration
		status       int
		reason       string
	}{
		{"a connection that is closed unanswered", "", false, plenty, 0, "the connection was closed before the answer was complete"},
		{"a server that hangs", "", true, 300 * time.Millisecond, 0, "no answer in time"},
		{"something that is not HTTP", "token=xyzzy\r\n\r\n", false, plenty, 0, "the answer is not HTTP"},
		{"an invalid header", "HTTP/1.1 200 OK\r\nxyzzy\r\n\r\n", false, plenty, 0, "the answer is not HTTP"},
		{"a header without an end", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", 1<<20), true, plenty, 0, "the answer is not HTTP"},
		{"an unwanted switch of protocols", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", true, plenty, 101, "it answered 101"},
		{"a signature that is refused", "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", false, plenty, 401,
			"it answered 401: it refuses our signature; is BILLING_WEBHOOK_SECRET the same on both sides, and is the receiver's clock right?"},
		{"a failure whose body never ends", "HTTP/1.1 500 No\r\nContent-Length: 10\r\n\r\nx", true, 3 * time.Second, 500, "it answered 500"},
		{"2xx counts, even where its body never ends", "HTTP/1.1 202 OK\r\nContent-Length: 10\r\n\r\nx", true, 3 * time.Second, 202, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := newSender(t, raw(t, tc.answer, tc.hold)).try(t, tc.within)
			if a.status != tc.status || a.reason != tc.reason || a.delivered() != (tc.reason == "") || a.unsent {
				t.Errorf("got %+v, want status %d and reason %q", a, tc.status, tc.reason)
			}
		})
	}

	t.Run("an endless body is not read to its end", func(t *testing.T) {
		t.Parallel()
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for chunk := make([]byte, 32<<10); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}))
		defer srv.Close()
		if a := newSender(t, srv.URL).try(t, plenty); !a.delivered() || a.elapsed >= plenty {
			t.Errorf("%+v", a)
		}
	})

	t.Run("a redirect is not followed", func(t *testing.T) {
		t.Parallel()
		elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was followed") }))
		defer elsewhere.Close()
		srv := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
		defer srv.Close()
		if a := newSender(t, srv.URL).try(t, plenty); a.status != 307 || a.delivered() {
			t.Errorf("%+v", a)
		}
	})

	t.Run("the reason of a failure does not repeat the URL", func(t *testing.T) {
		t.Parallel()
		untrusted := httptest.NewTLSServer(http.NotFoundHandler())
		untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
		defer untrusted.Close()
		plain := httptest.NewServer(http.NotFoundHandler())
		defer plain.Close()
		for url, want := range map[string]string{
			strings.Replace(raw(t, "xyzzy", false), "http:", "https:", 1) + "/?token=xyzzy": "TLS could not be agreed on",
			"http://127.0.0.1:" + port(testkit.FreePort(t)) + "/xyzzy":                      "the connection was refused",
			"http://nowhere.invalid/xyzzy":                                                  "the host's name could not be resolved",
			untrusted.URL + "/xyzzy":                                                        "its TLS certificate is signed by an authority that this machine does not know; name a file with the authority's certificate in SSL_CERT_FILE",
			strings.Replace(plain.URL, "http:", "https:", 1) + "/?token=xyzzy":              "it speaks http, and BILLING_WEBHOOK_URL says https",
		} {
			if a := newSender(t, url).try(t, plenty); a.reason != want || a.status != 0 {
				t.Errorf("%s: %+v", url, a)
			}
		}
	})

	t.Run("a plain request to a TLS port is named as such", func(t *testing.T) {
		t.Parallel()
		secure := httptest.NewTLSServer(http.NotFoundHandler())
		secure.Config.ErrorLog = log.New(io.Discard, "", 0)
		defer secure.Close()
		for url, status := range map[string]int{
			strings.Replace(secure.URL, "https:", "http:", 1): 400, // Go's own words
			raw(t, "HTTP/1.1 400 Bad Request\r\nContent-Length: 54\r\n\r\n<h1>The plain HTTP request was sent to HTTPS port</h1>", false): 400,
			raw(t, "\x15\x03\x01\x00\x02\x02\x0a", false): 0,
		} {
			a := newSender(t, url).try(t, plenty)
			if a.status != status || !strings.HasSuffix(a.reason, "it speaks https, and BILLING_WEBHOOK_URL says http") {
				t.Errorf("%+v", a)
			}
		}
		bad := raw(t, "HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\n\r\nwhat?", false)
		if a := newSender(t, bad).try(t, plenty); a.reason != "it answered 400" {
			t.Errorf("%+v", a)
		}
	})

	t.Run("where a redirect leads is shown, without possible secrets", func(t *testing.T) {
		t.Parallel()
		for _, tc := range []struct{ location, want string }{
			{"/hook/xyzzy-secret/?token=xyzzy-token", "http://HOST with a slash at the end of the path, which is not followed"},
			{"https://www.billing.example/hook/xyzzy-secret?token=xyzzy-token", "https://www.billing.example with the same path, which is not followed"},
			{"https://u:xyzzy-pass@billing.example:8443/v2/xyzzy-secret/in#xyzzy-token", "https://billing.example:8443/v2/…/in, which is not followed"},
			{"/login/xyzzy-token", "http://HOST/login/…, which is not followed"},
			{"https://bil\u202eling.example/%1B[31m" + strings.Repeat("long", 100), "https://bil?ling.example/%1b[31mlong"},
			{"", "it redirects, and does not say where to"},
			{"mailto:x", "it redirects, and does not say where to"},
		} {
			for _, status := range []int{301, 302, 303, 307, 308} {
				url := raw(t, fmt.Sprintf("HTTP/1.1 %d No\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", status, tc.location), false)
				a := newSender(t, strings.Replace(url, "http://", "http://u:xyzzy-pass@", 1)+"/hook/xyzzy-secret?token=xyzzy-token").try(t, plenty)
				want := strings.ReplaceAll(tc.want, "HOST", strings.TrimPrefix(url, "http://"))
				if a.status != status || !strings.HasPrefix(a.reason, fmt.Sprintf("it answered %d: it redirects", status)) ||
					!strings.Contains(strings.ToLower(a.reason), strings.ToLower(want)) || strings.Contains(a.reason, "xyzzy") || len(a.reason) > 400 {
					t.Errorf("%+v\nwant %s", a, want)
				}
			}
		}
	})

	t.Run("past its deadline nothing is sent", func(t *testing.T) {
		t.Parallel()
		srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was sent") }))
		defer srv.Close()
		if a := newSender(t, srv.URL).try(t, -time.Millisecond); !a.unsent || a.delivered() {
			t.Errorf("%+v", a)
		}
	})
}

// Neither the secret nor the URL's secrets are ever in the log.
func TestLogsHoldNoSecrets(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request, ledger.Event){
		"taken":   nil,
		"refused": func(w http.ResponseWriter, r *http.Request, _ ledger.Event) { http.Error(w, r.URL.String(), 500) },
		"broken":  func(http.ResponseWriter, *http.Request, ledger.Event) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, srv)
			f.receiver.Answer = answer
			f.URL = strings.Replace(f.receiver.Server.URL, "http://", "http://user:hunter2@", 1) + "/path-xyzzy?token=xyzzy"
			f.end("A")
			f.deliver("A")
			if len(f.logs.Events("webhook_delivered"))+len(f.logs.Events("webhook_failed")) != 1 || (f.counted(failed) == 0) != (answer == nil) {
				t.Fatalf("the log: %s", f.logs)
			}
			for _, secret := range []string{"hunter2", "xyzzy", hooktest.Secret, strings.TrimPrefix(hooktest.Secret, "whsec_"), "v1,"} {
				if strings.Contains(f.logs.String(), secret) {
					t.Errorf("%s is in the log: %s", secret, f.logs)
				}
			}
		})
	}
	for _, s := range []Settings{{URL: "http://x y?xyzzy", Secret: hooktest.Secret}, {URL: "http://h/", Secret: "whsec_xyzzy"}} {
		_, err := New(s, ledger.New(srv.Client, "1900000001"), srv.Client, zerolog.Nop(), NewMetrics(prometheus.NewRegistry()))
		if err == nil || strings.Contains(err.Error(), "xyzzy") {
			t.Errorf("%v", err)
		}
	}
}

// The convention's own example, so that any receiver's library verifies it.
func TestSignatureIsTheConventions(t *testing.T) {
	s := newSender(t, "http://billing.example")
	got, err := s.signer.Sign("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := referenceSignature("msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330." + `{"test": 2432232314}`); err != nil || got != want {
		t.Errorf("%s %v, want %s", got, err, want)
	}
}

// referenceSignature follows the convention's text: "v1," and the base64 of
// the HMAC-SHA256 of "id.timestamp.body", under the decoded secret.
func referenceSignature(content string) string {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(hooktest.Secret, "whsec_"))
	if err != nil {
		panic(err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(content))
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func port(n int) string { return strconv.Itoa(n) }
