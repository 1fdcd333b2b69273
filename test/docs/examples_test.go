package docs

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/hooktest"
	"payscore-collector/internal/testkit/redistest"
)

const examples = "docs/examples"

// language is how the examples of one are run.
type language struct {
	dir      string                                // in docs/examples
	needs    []string                              // programs
	prepare  func(t *testing.T, from, dir string)  // compiles into dir
	client   func(from, dir string) []string       // the command, without arguments
	receiver func(from, dir, addr string) []string // the command
}

var languages = []language{
	{
		dir: "php", needs: []string{"php"},
		client: func(from, _ string) []string { return []string{"php", filepath.Join(from, "client.php")} },
		receiver: func(from, _, addr string) []string {
			return []string{"php", "-S", addr, filepath.Join(from, "receiver.php")}
		},
	},
	{
		dir: "java", needs: []string{"java", "javac"},
		prepare: func(t *testing.T, from, dir string) {
			files, err := filepath.Glob(filepath.Join(from, "*.java"))
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("javac", append([]string{"--release", "11", "-Xlint:all", "-Werror", "-d", dir}, files...)...).CombinedOutput()
			if err != nil {
				t.Fatalf("javac: %v\n%s", err, out)
			}
		},
		client: func(_, dir string) []string { return []string{"java", "-cp", dir, "Client"} },
		receiver: func(_, dir, addr string) []string {
			_, port, _ := net.SplitHostPort(addr)
			return []string{"java", "-cp", dir, "Receiver", port}
		},
	},
	{
		dir: "curl", needs: []string{"bash", "curl", "jq", "openssl", "socat"},
		client: func(from, _ string) []string { return []string{filepath.Join(from, "client.sh")} },
		receiver: func(from, _, addr string) []string {
			host, port, _ := net.SplitHostPort(addr)
			return []string{"socat", "TCP-LISTEN:" + port + ",bind=" + host + ",reuseaddr,fork", "EXEC:" + filepath.Join(from, "receiver.sh")}
		},
	},
}

// TestExamples runs the examples of docs/examples.md as a billing system would: with a
// token, against a worker, beside a receiver of webhooks in the same language.
func TestExamples(t *testing.T) {
	for _, l := range languages {
		t.Run(l.dir, func(t *testing.T) {
			t.Parallel()
			from, dir := l.ready(t)
			l.test(t, from, dir)
		})
	}
}

// ready returns where the examples are, and a directory that has what was compiled of them.
// It skips the test where a program is missing.
func (l language) ready(t *testing.T) (from, dir string) {
	t.Helper()
	redistest.NeedReal(t) // also if only the receiver is tested: without it, the machine counts as one with only Go
	for _, program := range l.needs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s", program)
		}
	}
	from, dir = filepath.Join(root(t), examples, l.dir), t.TempDir()
	if l.prepare != nil {
		l.prepare(t, from, dir)
	}
	return from, dir
}

// listen starts the receiver.
func (l language) listen(t *testing.T, from, dir, addr string, env ...string) *testkit.Process {
	t.Helper()
	command := l.receiver(from, dir, addr)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Env = t.TempDir(), append(env, "PATH="+os.Getenv("PATH"))
	return testkit.StartProcess(t, cmd)
}

func (l language) test(t *testing.T, from, dir string) {
	addr := testkit.FreeAddr(t)
	hook := l.listen(t, from, dir, addr, "BILLING_WEBHOOK_SECRET="+hooktest.Secret)
	testkit.Eventually(t, "the receiver to listen", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, hook.Log)

	secret, tokens := token(t, "billing")
	s := newSite(t, "API_TOKENS_FILE="+tokens, "BILLING_WEBHOOK_URL=http://"+addr+"/payscore", "BILLING_WEBHOOK_SECRET="+hooktest.Secret)
	env := []string{"PATH=" + os.Getenv("PATH"), "API=" + s.api, "TOKEN=" + secret, "WECHATPAY_MCHID=" + s.mchid}
	expect := func(status int, out, failed string, args ...string) {
		t.Helper()
		got := run(t, dir, env, append(l.client(from, dir), args...)...)
		if got.status != status || !strings.HasPrefix(got.out, out) || (out == "") != (got.out == "") ||
			!strings.HasPrefix(got.failed, failed) || (failed == "") != (got.failed == "") {
			t.Errorf("%q: %+v; want status %d, %q, %q", args, got, status, out, failed)
		}
	}

	// Orders: one that is paid, one that the user pays at the counter.
	const paid, open = "EX-1", "EX|2*"
	s.platform(paid, 1250, "pays")
	s.platform(open, 300, "never")
	expect(0, paid+" accepted queued\n", "", "enqueue", paid, "1250")
	expect(0, open+" accepted queued\n", "", "enqueue", open, "300")
	expect(0, open+" duplicate ", "", "enqueue", open, "300")
	expect(1, "EX 3 invalid out_order_no has ' ' at position 3", "", "enqueue", "EX 3", "1")
	s.untilState(paid, "paid", secret)
	expect(0, paid+" paid, paid 1250 fen. ", "", "look", paid)
	expect(1, paid+" ended paid\n", "", "enqueue", paid, "1250")
	expect(0, open+" withdrawn\n", "", "withdraw", open, `paid "at" the counter`)
	expect(0, open+" withdrawn, paid ", "", "look", open)
	if order := s.get("/v1/orders/"+s.mchid+"/"+open, secret); !strings.Contains(order, `"by":"api:billing"`) || !strings.Contains(order, `paid \"at\" the counter`) {
		t.Errorf("the withdrawal is recorded as %s", order)
	}
	expect(1, "", "HTTP 409: state is paid", "withdraw", paid, "x")
	expect(1, "", "HTTP 404: out_order_no is NONE", "look", "NONE")
	expect(1, "", "usage: ")
	env[2] = "TOKEN=wrong"
	expect(1, "", "HTTP 401: ", "look", paid)

	// What the receiver has booked, once.
	testkit.Eventually(t, "the webhooks to be received", func() bool {
		return hook.Log.Has("order.paid "+paid+" paid") && hook.Log.Has("order.withdrawn "+open+" withdrawn")
	}, hook.Log, s.worker.Log)
	var event struct {
		ID       string
		Payments []struct {
			ID string `json:"transaction_id"`
		}
	}
	var body string
	for line := range strings.Lines(s.get("/v1/events?mchid="+s.mchid, secret)) {
		if strings.Contains(line, `"type":"order.paid"`) && strings.Contains(line, `"`+paid+`"`) {
			body = strings.TrimSpace(line)
		}
	}
	if err := json.Unmarshal([]byte(body), &event); err != nil || len(event.Payments) != 1 {
		t.Fatalf("%s: %v", body, err)
	}
	booking := "  book " + s.mchid + " " + event.Payments[0].ID + " 1250 NEWTON"
	post := func(want int, what string, change func(http.Header)) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/payscore", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = signed(t, event.ID, body, time.Now())
		change(req.Header)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: answered with %d, want %d\n%s", what, resp.StatusCode, want, hook.Log)
		}
	}
	before := strings.Count(hook.Log.String(), "order.paid "+paid)
	post(http.StatusNoContent, "the same event again", func(http.Header) {})
	post(http.StatusNoContent, "beside the signature of another secret", func(h http.Header) {
		h.Set("Webhook-Signature", "v1,AAAA "+h.Get("Webhook-Signature"))
	})
	post(http.StatusUnauthorized, "a wrong signature", func(h http.Header) {
		h.Set("Webhook-Signature", "v1,"+strings.Repeat("A", 43)+"=")
	})
	post(http.StatusUnauthorized, "another id", func(h http.Header) { h.Set("Webhook-Id", "other") })
	post(http.StatusUnauthorized, "another time", func(h http.Header) { h.Set("Webhook-Timestamp", "1") })
	post(http.StatusUnauthorized, "an event of an hour ago", func(h http.Header) {
		for name, values := range signed(t, event.ID, body, time.Now().Add(-time.Hour)) {
			h[name] = values
		}
	})
	post(http.StatusUnauthorized, "no signature", func(h http.Header) { clear(h) })
	// What a process has written arrives here later than its answer.
	testkit.Eventually(t, "the receiver to handle the event twice more, and to book it", func() bool {
		return strings.Count(hook.Log.String(), "order.paid "+paid) >= before+2 && hook.Log.Has(booking)
	}, hook.Log)
	if text := hook.Log.String(); strings.Count(text, booking) != 1 {
		t.Errorf("%q does not stand once in the receiver's output:\n%s", booking, text)
	}

	// A worker that cannot serve for a moment.
	var calls atomic.Int32
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"detail":"Redis does not serve"}`))
			return
		}
		_, _ = w.Write([]byte(`{"out_order_no":"EX-1","state":"paid","paid_amount":7,"explain":{"next":""}}`))
	}))
	defer busy.Close()
	env[1] = "API=" + busy.URL
	expect(0, paid+" paid, paid 7 fen. ", "", "look", paid)
}

// signed returns the headers of a webhook.
func signed(t *testing.T, id, body string, at time.Time) http.Header {
	t.Helper()
	wh, err := standardwebhooks.NewWebhook(hooktest.Secret)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := wh.Sign(id, at, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", strconv.FormatInt(at.Unix(), 10))
	h.Set("Webhook-Signature", signature)
	return h
}

// A receiver without a secret would believe anyone: it accepts nothing.
func TestExamples_ReceiversNeedASecret(t *testing.T) {
	for _, l := range languages {
		t.Run(l.dir, func(t *testing.T) {
			t.Parallel()
			from, dir := l.ready(t)
			addr := testkit.FreeAddr(t)
			p := l.listen(t, from, dir, addr)
			body := `{"type":"order.paid","out_order_no":"EX-1","state":"paid","mchid":"1","payments":[{"transaction_id":"1","amount":1,"paid_type":"NEWTON"}]}`
			testkit.Eventually(t, "the receiver to refuse a request, or to start", func() bool {
				if !p.Running() {
					return true
				}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				at := strconv.FormatInt(time.Now().Unix(), 10)
				mac := hmac.New(sha256.New, nil)
				mac.Write([]byte("x." + at + "." + body))
				req.Header.Set("Webhook-Id", "x")
				req.Header.Set("Webhook-Timestamp", at)
				req.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					return false
				}
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusInternalServerError {
					t.Fatalf("answered with %d", resp.StatusCode)
				}
				return true
			}, p.Log)
			if p.Log.Has("order.paid") || p.Log.Has("book") {
				t.Errorf("the receiver believes a message without a secret:\n%s", p.Log)
			}
		})
	}
}

// The documents quote the examples to the letter.
func TestExamples_AreQuoted(t *testing.T) {
	for _, name := range []string{"docs/examples.md", "docs/zh-CN/examples.md"} {
		text, err := os.ReadFile(filepath.Join(root(t), name))
		if err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(root(t), examples, "*", "*"))
		if err != nil || len(files) < 7 {
			t.Fatalf("%d examples: %v", len(files), err)
		}
		for _, file := range files {
			code, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if filepath.Base(file) != "Json.java" && !strings.Contains(string(text), "\n"+string(code)+"```\n") {
				t.Errorf("%s does not quote %s as it is", name, filepath.Base(file))
			}
		}
	}
}
