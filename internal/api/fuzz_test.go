package api_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"payscore-collector/internal/api"
	"payscore-collector/internal/config"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// fuzzBody sends bodies to an operation, which finds its orders. Whatever a body holds, the
// answer is JSON and is no fault of the program, and neither it nor the log has the token.
func fuzzBody(f *testing.F, id string, seeds ...string) {
	r := requests[id]
	for _, seed := range append(seeds, r.body, "", "null", "[]", "{", `{"reason":"x","mchid":1}`, "\xff\xfe", "\x00", `{"orders":[{"out_order_no":"A","out_order_no":"B"}]}`) {
		f.Add([]byte(seed))
	}
	const token = "an-unguessable-token"
	server, logs := redistest.Start(f), &testkit.LogBuffer{}
	producer := tasks.NewProducer(server.Client)
	order := tasks.Order{Payload: tasks.Payload{MchID: mchA, OutOrderNo: "OPEN", AppID: "wxd678efh567hg6787", ServiceID: "500001"}, Reopen: true}
	ended := order
	ended.OutOrderNo = "REJECTED"
	a := api.New(api.Options{
		Redis: server.Client, Loopback: true, Log: zerolog.New(logs), AdminToken: token,
		Merchants: func() []config.Order {
			return []config.Order{{MchID: mchA, AppID: "wxd678efh567hg6787", ServiceID: "500001"}}
		},
	})
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, o := range []tasks.Order{order, ended} {
			if res, err := producer.Enqueue(t.Context(), o); err != nil || res.Err != nil {
				t.Fatal(res, err)
			}
		}
		if id == "reopen-order" {
			if _, err := producer.Withdraw(t.Context(), tasks.Withdrawal{MchID: mchA, OutOrderNo: ended.OutOrderNo, Reason: "x"}); err != nil {
				t.Fatal(err)
			}
		}
		logs.Take()
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, r.path, bytes.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		if r.kind != "" {
			req.Header.Set("Content-Type", r.kind)
		}
		w := httptest.NewRecorder()
		a.ServeHTTP(w, req)
		if w.Code >= 500 || w.Code < 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if text := w.Body.String() + logs.String(); strings.Contains(text, token) {
			t.Fatalf("the token is in the answer or the log: %s", text)
		}
		for line := range strings.Lines(w.Body.String()) {
			if !json.Valid([]byte(line)) {
				t.Fatalf("%d %q is not JSON", w.Code, line)
			}
		}
	})
}

func FuzzEnqueue(f *testing.F) {
	fuzzBody(f, "enqueue-orders", `{"orders":[{"out_order_no":"A","amount":12.5,"owed_since":"x","at":"2026-01-01T00:00:00Z"}],"reopen":true}`, `{"orders":[null,1,"",[],{}]}`)
}

func FuzzImport(f *testing.F) {
	fuzzBody(f, "import-orders", "{\"out_order_no\":\"A\"}\n\n{\"out_order_no\"\n[]\n")
}

func FuzzWithdraw(f *testing.F) {
	fuzzBody(f, "withdraw-order", `{"reason":"x","paid_at":"2026-01-01 10:00"}`, `{"reason":"x","paid_at":"0000-01-01T00:00:00Z"}`)
}

func FuzzReopen(f *testing.F) { fuzzBody(f, "reopen-order", `{"reason":"\u0000"}`) }

func FuzzCollectNow(f *testing.F) { fuzzBody(f, "collect-order-now", `{"reason":"x"}`) }

func FuzzPause(f *testing.F) {
	fuzzBody(f, "pause-merchant", `{"reason":"x","for":"-1s"}`, `{"reason":"x","for":"9999999h"}`)
}

func FuzzResume(f *testing.F) { fuzzBody(f, "resume-merchant", `{"reason":"x","for":"1s"}`) }

func FuzzBulk(f *testing.F) {
	fuzzBody(f, "start-bulk", `{"action":"reopen","filter":{},"reason":"x","dry_run":true}`, `{"action":"withdraw","filter":{"state":"exhausted,closed","reason":"x","q":"A","opened_from":"2026-01-01"},"reason":"x","paid_at":"2026-01-01T00:00:00Z"}`,
		`{"action":"collect-now","filter":{"state":[1]},"reason":"x"}`, `{"action":"collect-now","filter":{"state":{}},"reason":"x"}`, `{"action":"","filter":null,"reason":""}`, `{"action":"reopen","filter":{"mchid":"1900000001"},"reason":"x"}`)
}

func FuzzRetryWebhooks(f *testing.F) {
	fuzzBody(f, "retry-webhooks", `{"mchid":"1900000001","out_order_nos":[]}`, `{"mchid":"1900000001","out_order_nos":[null,"*"]}`)
}

func FuzzReplayWebhooks(f *testing.F) {
	fuzzBody(f, "replay-webhooks", `{"mchid":"1900000001","since":"0001-01-01T00:00:00Z"}`, `{"mchid":"1900000001","since":"9999-12-31T23:59:59+14:00"}`)
}
