package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/control"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// A bulk action is previewed, begun, done by a worker and read; a token sees and touches
// its own merchants only.
func TestBulk(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withTokens(t)).as("operator")
	for i := range 3 {
		f.open(mchA, fmt.Sprint("A-", i))
		f.open(mchB, fmt.Sprint("B-", i))
	}
	f.settle(mchA, "A-PAID", paid(120))
	for filter, want := range map[string]string{
		`{}`:                                     `{"matched":7,"total_amount":120}`,
		`{"mchid":"` + mchB + `"}`:               `{"matched":3,"total_amount":0}`,
		`{"state":"queued"}`:                     `{"matched":6,"total_amount":0}`,
		`{"state":["paid","closed"]}`:            `{"matched":1,"total_amount":120}`,
		`{"state":"paid,closed"}`:                `{"matched":1,"total_amount":120}`,
		`{"state":[]}`:                           `{"matched":7,"total_amount":120}`,
		`{"q":"A-"}`:                             `{"matched":4,"total_amount":120}`,
		`{"opened_to":"2020-01-01T00:00:00Z"}`:   `{"matched":0,"total_amount":0}`,
		`{"reason":"NONE","q":"A-"}`:             `{"matched":0,"total_amount":0}`,
		`{"mchid":"1900000009"}`:                 `{"matched":0,"total_amount":0}`,
		`{"opened_from":"2020-01-01T00:00:00Z"}`: `{"matched":7,"total_amount":120}`,
	} {
		a := f.post("/v1/bulk", `{"action":"withdraw","filter":`+filter+`,"reason":"x","dry_run":true}`)
		if a.Status != 200 || strings.TrimSpace(a.Body) != want {
			t.Errorf("%s: %d %s, want %s", filter, a.Status, a.Body, want)
		}
	}
	a := f.as("only-b").post("/v1/bulk", `{"action":"withdraw","filter":{},"reason":"x","dry_run":true}`)
	if a.Status != 200 || !strings.Contains(a.Body, `"matched":3`) {
		t.Errorf("of one merchant: %d %s", a.Status, a.Body)
	}
	f.as("only-b").post("/v1/bulk", `{"action":"withdraw","filter":{"mchid":"`+mchA+`"},"reason":"x","dry_run":true}`).wants(t, 403, "mchid", mchA)
	f.as("billing").post("/v1/bulk", `{"action":"withdraw","filter":{},"reason":"x"}`).wants(t, 403, "operator")

	var begun struct{ ID string }
	a = f.post("/v1/bulk", `{"action":"withdraw","filter":{"q":"A-"},"reason":"a storm"}`)
	if a.Status != 202 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	a.Status = 200
	a.into(t, &begun)
	var p ledger.BulkProgress
	f.as("viewer").get("/v1/bulk/"+begun.ID).into(t, &p)
	if p.Stage != ledger.BulkCounting || p.By != "api:operator" || p.Reason != "a storm" || p.Action != "withdraw" || p.Filter.Prefix != "A-" || len(p.Merchants) != 2 {
		t.Errorf("%+v", p)
	}
	parts, err := ledger.ListedBulks(t.Context(), f.redis.Client)
	if err != nil || len(parts) != 2 {
		t.Fatal(parts, err)
	}
	for _, part := range parts {
		if _, _, err := control.WorkOnBulk(t.Context(), f.redis.Client, part, func() bool { return false }, time.Second); err != nil {
			t.Fatal(err)
		}
	}
	f.as("viewer").get("/v1/bulk/"+begun.ID).into(t, &p)
	if want := (ledger.BulkCounts{Matched: 4, Total: 120, Done: 3, Refused: 1}); p.BulkCounts != want || p.Stage != ledger.BulkDone {
		t.Errorf("%+v", p)
	}
	// A token of one merchant sees that merchant's part.
	f.as("only-b").get("/v1/bulk/"+begun.ID).into(t, &p)
	if p.Matched != 0 || len(p.Merchants) != 1 || p.Merchants[0].MchID != mchB {
		t.Errorf("%+v", p)
	}
	var o ledger.Order
	f.get("/v1/orders/"+mchA+"/A-0").into(t, &o)
	if o.State != tasks.Withdrawn || len(o.Actions) != 1 || o.Actions[0].By != "api:operator" || o.Actions[0].Reason != "a storm" {
		t.Errorf("%+v", o)
	}

	for body, words := range map[string][]string{
		`{}`: {"filter"},
		`{"action":"delete","filter":{},"reason":"x"}`:                                        {"action", "collect-now"},
		`{"action":"reopen","reason":"x"}`:                                                    {"filter", "missing", "{}"},
		`{"action":"reopen","filter":null,"reason":"x"}`:                                      {"filter", "missing"},
		`{"action":"reopen","filter":[],"reason":"x"}`:                                        {"filter", "JSON object"},
		`{"action":"reopen","filter":{}}`:                                                     {"reason", "missing"},
		`{"action":"reopen","filter":{},"reason":"` + x(201) + `"}`:                           {"reason", "201"},
		`{"action":"reopen","filter":{"state":"open"},"reason":"x"}`:                          {"filter.state is", "awaiting"},
		`{"action":"reopen","filter":{"state":7},"reason":"x"}`:                               {"filter.state is", "list"},
		`{"action":"reopen","filter":{"status":"paid"},"reason":"x"}`:                         {"status", "unknown"},
		`{"action":"reopen","filter":{"mchid":"1x"},"reason":"x"}`:                            {"filter.mchid has"},
		`{"action":"reopen","filter":{"q":"a b"},"reason":"x"}`:                               {"filter.q cannot", "position 2"},
		`{"action":"reopen","filter":{"opened_to":"soon"},"reason":"x"}`:                      {"filter.opened_to is", "soon"},
		`{"action":"reopen","filter":{"mchid":"1900000009"},"reason":"x"}`:                    {"filter", "no ledger"},
		`{"action":"reopen","filter":{},"reason":"x","paid_at":"2026-01-01T00:00:00Z"}`:       {"paid_at", "leave it out"},
		`{"action":"withdraw","filter":{},"reason":"x","paid_at":"2090-01-01T00:00:00Z"}`:     {"paid_at", "future"},
		`{"action":"withdraw","filter":{},"reason":"x","dry_run":"yes"}`:                      {"dry_run", "true or false"},
		`{"action":"withdraw","filter":{},"reason":"x","paid_at":"2026-01-01T00:00:00Z"} {}`:  {"more behind"},
		`{"action":"withdraw","filter":{"state":["paid",1]},"reason":"x","dry_run":true}`:     {"filter.state is", "list of texts"},
		`{"action":"withdraw","filter":{"opened_from":"2026-01-01x"},"reason":"x"}`:           {"filter.opened_from is"},
		`{"action":"withdraw","filter":{},"reason":"a\nb"}`:                                   {"reason", "position 2"},
		`{"action":"withdraw","filter":{},"reason":"x","dryrun":true}`:                        {"dryrun", "unknown"},
		`{"action":"withdraw","filter":{"reason":"` + x(201) + `"},"reason":"x"}`:             {"filter.reason is", "201"},
		`{"action":"withdraw","filter":{"reason":5},"reason":"x"}`:                            {"filter.reason is", "string"},
		`{"action":"withdraw","filter":{"q":"` + x(40) + `"},"reason":"x"}`:                   {"filter.q cannot", "40"},
		`{"action":"withdraw","filter":{"cursor":"x"},"reason":"x"}`:                          {"cursor", "unknown"},
		`{"action":"collect-now","filter":{"state":{"a":1}},"reason":"x","dry_run":true}`:     {"filter.state is", "list"},
		`{"action":"collect-now","filter":{"state":["","paid"]},"reason":"x","dry_run":true}`: {"filter.state is"},
	} {
		a := f.post("/v1/bulk", body)
		if a.wants(t, 422, words...); t.Failed() {
			t.Fatal(body)
		}
	}
	for _, id := range []string{"1", "x", "-1", "01", "99999999999999999999", begun.ID + "0", "%2A"} {
		f.get("/v1/bulk/"+id).wants(t, 404)
	}
	if parts, err := ledger.ListedBulks(t.Context(), f.redis.Client); err != nil || len(parts) != 0 {
		t.Error(parts, err)
	}
}
