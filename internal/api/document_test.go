package api_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/api"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
)

// request is how a test calls an operation, so that it succeeds on the fixture of world.
type request struct {
	path string // with its values
	body string
	kind string // Content-Type; empty: JSON
}

// requests has a row for each operation, by its id.
var requests = map[string]request{
	"get-order":         {path: "/v1/orders/" + mchA + "/OPEN"},
	"list-orders":       {path: "/v1/orders?mchid=" + mchA},
	"enqueue-orders":    {path: "/v1/orders", body: `{"orders":[{"mchid":"` + mchA + `","out_order_no":"NEW-1"},{"mchid":"` + mchA + `","out_order_no":"NEW 2"}]}`},
	"import-orders":     {path: "/v1/orders/import", body: "{\"out_order_no\":\"NEW-3\"}\n{\"out_order_no\":\"NEW 4\"}\n", kind: "application/x-ndjson"},
	"withdraw-order":    {path: "/v1/orders/" + mchA + "/OPEN/withdraw", body: `{"reason":"paid at the counter"}`},
	"reopen-order":      {path: "/v1/orders/" + mchA + "/REJECTED/reopen", body: `{"reason":"a mistake"}`},
	"get-stats":         {path: "/v1/stats"},
	"get-books":         {path: "/v1/books?mchid=" + mchA + "&date=2026-01-01"},
	"get-analytics":     {path: "/v1/analytics?from=2026-11-23&to=2099-01-01"},
	"list-merchants":    {path: "/v1/merchants"},
	"collect-order-now": {path: "/v1/orders/" + mchA + "/OPEN/collect-now", body: `{"reason":"topped up"}`},
	"pause-merchant":    {path: "/v1/merchants/" + mchA + "/pause", body: `{"reason":"wrong amounts","for":"2h"}`},
	"resume-merchant":   {path: "/v1/merchants/" + mchA + "/resume", body: `{"reason":"corrected"}`},
	"start-bulk":        {path: "/v1/bulk", body: `{"action":"withdraw","filter":{"mchid":"` + mchA + `","state":["queued","awaiting"]},"reason":"waived"}`},
	"get-bulk":          {path: "/v1/bulk/4611686018427387904"},
	"list-actions":      {path: "/v1/audit"},
	"list-webhooks":     {path: "/v1/webhooks?mchid=" + mchA},
	"retry-webhooks":    {path: "/v1/webhooks/retry", body: `{"mchid":"` + mchA + `","out_order_nos":["OPEN"]}`},
	"replay-webhooks":   {path: "/v1/webhooks/replay", body: `{"mchid":"` + mchA + `","since":"2026-01-02T00:00:00Z"}`},
	"list-readers":      {path: "/v1/readers"},
	"destroy-reader":    {path: "/v1/readers/" + mchA + "/GONE?reason=unused"},
	"read-events":       {path: "/v1/events?mchid=" + mchA},
}

// refusals has a request for each status that only some operations have.
var refusals = map[string]request{
	"get-order 404":         {path: "/v1/orders/" + mchA + "/NONE"},
	"withdraw-order 404":    {path: "/v1/orders/" + mchA + "/NONE/withdraw", body: `{"reason":"x"}`},
	"withdraw-order 409":    {path: "/v1/orders/" + mchA + "/PAID/withdraw", body: `{"reason":"x"}`},
	"collect-order-now 404": {path: "/v1/orders/" + mchA + "/NONE/collect-now", body: `{"reason":"x"}`},
	"collect-order-now 409": {path: "/v1/orders/" + mchA + "/PAID/collect-now", body: `{"reason":"x"}`},
	"pause-merchant 404":    {path: "/v1/merchants/1900000404/pause", body: `{"reason":"x"}`},
	"resume-merchant 404":   {path: "/v1/merchants/1900000404/resume", body: `{"reason":"x"}`},
	"replay-webhooks 409":   {path: "/v1/webhooks/replay", body: `{"mchid":"` + mchB + `","since":"2026-01-02T00:00:00Z"}`},
	"retry-webhooks 404":    {path: "/v1/webhooks/retry", body: `{"mchid":"1900000404"}`},
	"destroy-reader 404":    {path: "/v1/readers/" + mchA + "/NONE"},
	"destroy-reader 409":    {path: "/v1/readers/" + mchA + "/RUNS"},
	"start-bulk 200":        {path: "/v1/bulk", body: `{"action":"reopen","filter":{"state":"closed,rejected"},"reason":"a mistake","dry_run":true}`},
	"get-books 404":         {path: "/v1/books?mchid=" + mchA + "&date=2026-01-02"},
	"get-bulk 404":          {path: "/v1/bulk/4611686018427387905"},
	"reopen-order 404":      {path: "/v1/orders/" + mchA + "/NONE/reopen", body: `{"reason":"x"}`},
	"reopen-order 409":      {path: "/v1/orders/" + mchA + "/PAID/reopen", body: `{"reason":"x"}`},
}

// world is what the requests find.
func world(f *fixture) {
	f.open(mchA, "OPEN")
	f.settle(mchA, "PAID", paid(120))
	f.settle(mchA, "REJECTED", rejected("ORDER_NOT_EXIST"))
	f.open(mchB, "OF-B")
	l := ledger.New(f.redis.Client, mchA)
	if _, err := l.ReplayHooks(f.Context(), ledger.Deed{By: "cli:x"}, time.Now(), true); err != nil { // they have begun
		f.Fatal(err)
	}
	text := `{"mchid":"` + mchA + `","date":"2026-01-01","bill":{"rows":1,"payscore_rows":1,"amount":5,"sha1":"x"},"ledger":{"orders":0,"amount":0},"matched":{"orders":0,"amount":0},"exceptions":[{"kind":"unknown_order","bill_amount":5,"detail":"x"}]}`
	if _, err := l.CloseBook(f.Context(), "2026-01-01", []byte(text), []byte(text), nil, nil, ledger.BookPlan{}); err != nil {
		f.Fatal(err)
	}
	if err := l.OpenBulk(f.Context(), ledger.Bulk{
		ID: "4611686018427387904", Action: ledger.ActReopen, By: "api:ops", Reason: "a mistake",
		Query: ledger.Query{States: []ledger.State{ledger.Rejected}, OpenedTo: time.Now()},
	}); err != nil {
		f.Fatal(err)
	}
	stream := ledger.KeysOf(mchA).Outcomes()
	for _, group := range []string{"GONE", "RUNS"} {
		if err := f.redis.Client.XGroupCreate(f.Context(), stream, group, "0").Err(); err != nil {
			f.Fatal(err)
		}
	}
	if err := f.redis.Client.XReadGroup(f.Context(), &redis.XReadGroupArgs{Group: "RUNS", Consumer: "c", Streams: []string{stream, ">"}, Count: 1}).Err(); err != nil {
		f.Fatal(err)
	}
}

// operation is one of the document's, with its request.
type operation struct {
	request
	method string
	*huma.Operation
}

func operations(t *testing.T, doc *huma.OpenAPI) []operation {
	t.Helper()
	var list []operation
	for path, item := range doc.Paths {
		for method, o := range map[string]*huma.Operation{http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodDelete: item.Delete, http.MethodPut: item.Put} {
			if o == nil {
				continue
			}
			r, ok := requests[o.OperationID]
			if !ok {
				t.Errorf("%s %s (%s) has no row in requests of this test", method, path, o.OperationID)
				continue
			}
			list = append(list, operation{r, method, o})
		}
	}
	slices.SortFunc(list, func(a, b operation) int { return cmp.Compare(a.OperationID, b.OperationID) })
	if len(list) != len(requests) {
		t.Errorf("%d operations, and %d rows in requests", len(list), len(requests))
	}
	return list
}

func (f *fixture) do(o operation, headers ...string) answer {
	f.Helper()
	if o.kind != "" {
		headers = append([]string{"Content-Type: " + o.kind}, headers...)
	}
	return f.call(o.method, o.path, o.body, headers...)
}

// TestDocument: everything in the document has a meaning, and its examples are right.
func TestDocument(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	doc := f.api.Document()
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("OpenAPI %s", doc.OpenAPI)
	}
	for _, o := range operations(t, doc) {
		if o.Summary == "" || o.Description == "" || len(o.Tags) != 1 || len(o.Security) == 0 {
			t.Errorf("%s lacks a summary, a description, a tag or its security", o.OperationID)
		}
		if o.method != http.MethodGet && !strings.Contains(o.Description, "sent again") {
			t.Errorf("%s does not say whether it can be sent again", o.OperationID)
		}
		for _, p := range o.Parameters {
			if p.Description == "" {
				t.Errorf("%s: the parameter %s has no meaning", o.OperationID, p.Name)
			}
		}
		if body := o.RequestBody; body != nil {
			for kind, media := range body.Content {
				wantExample(t, doc, o.OperationID+" request "+kind, kind, media)
			}
		}
		for status, r := range o.Responses {
			if r.Description == "" {
				t.Errorf("%s %s has no meaning", o.OperationID, status)
			}
			for kind, media := range r.Content {
				wantExample(t, doc, o.OperationID+" "+status+" "+kind, kind, media)
			}
		}
	}
	for name, s := range doc.Components.Schemas.Map() {
		for field, p := range s.Properties {
			if p.Description == "" {
				t.Errorf("%s.%s has no meaning", name, field)
			}
		}
	}
	served := f.get("/openapi.json")
	var parsed map[string]any
	served.into(t, &parsed)
	if parsed["openapi"] != "3.1.0" {
		t.Errorf("/openapi.json is %.100s", served.Body)
	}
}

func wantExample(t *testing.T, doc *huma.OpenAPI, what, kind string, media *huma.MediaType) {
	t.Helper()
	if media.Example == nil {
		t.Errorf("%s has no example", what)
		return
	}
	text, isText := media.Example.(string)
	if !isText {
		validate(t, doc, what, media.Schema, media.Example)
	}
	if kind == "application/x-ndjson" && media.Schema.Ref != "" {
		validateLines(t, doc, what, media.Schema, text)
	}
}

func validateLines(t *testing.T, doc *huma.OpenAPI, what string, s *huma.Schema, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		var v any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Errorf("%s: %v in the line %q", what, err, line)
		}
		validate(t, doc, what, s, v)
	}
}

func validate(t *testing.T, doc *huma.OpenAPI, what string, s *huma.Schema, v any) {
	t.Helper()
	res := &huma.ValidateResult{}
	huma.Validate(doc.Components.Schemas, s, huma.NewPathBuffer(nil, 0), huma.ModeReadFromServer, v, res)
	for _, err := range res.Errors {
		t.Errorf("%s does not have its schema: %v", what, err)
	}
}

// TestContract calls every operation so that it answers with each status that the document
// has for it, and compares the answers with the document.
func TestContract(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	reached := map[string]bool{} // "operation status"
	see := func(t *testing.T, doc *huma.OpenAPI, o operation, a answer, want int) {
		t.Helper()
		what := fmt.Sprintf("%s %d", o.OperationID, a.Status)
		if a.Status != want {
			t.Errorf("%s, want %d: %.300s", what, want, a.Body)
			return
		}
		r := o.Responses[fmt.Sprint(a.Status)]
		if r == nil {
			t.Errorf("%s is not in the document", what)
			return
		}
		mu.Lock()
		reached[what] = true
		mu.Unlock()
		kind := a.Header.Get("Content-Type")
		media := r.Content[kind]
		if media == nil {
			t.Errorf("%s has Content-Type %q, and the document %v", what, kind, slices.Collect(maps.Keys(r.Content)))
			return
		}
		for name := range r.Headers {
			if a.Header.Get(name) == "" {
				t.Errorf("%s lacks the header %s", what, name)
			}
		}
		switch kind {
		case "application/x-ndjson":
			validateLines(t, doc, what, media.Schema, a.Body)
		default:
			var v any
			if err := json.Unmarshal([]byte(a.Body), &v); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			validate(t, doc, what, media.Schema, v)
		}
	}
	each := func(t *testing.T, f *fixture, want int, only func(operation) bool, do func(operation) answer) {
		t.Helper()
		for _, o := range operations(t, f.api.Document()) {
			if only == nil || only(o) {
				see(t, f.api.Document(), o, do(o), want)
			}
		}
	}
	changes := func(o operation) bool { return o.RequestBody != nil }
	has := func(status string) func(operation) bool {
		return func(o operation) bool { return o.Responses[status] != nil }
	}
	t.Run("group", func(t *testing.T) {
		t.Run("success", func(t *testing.T) {
			t.Parallel()
			for _, o := range operations(t, newFixture(t).api.Document()) {
				f := newFixture(t)
				world(f)
				want := http.StatusOK
				if o.Responses["202"] != nil {
					want = http.StatusAccepted
				}
				see(t, f.api.Document(), o, f.do(o), want)
			}
		})
		t.Run("its own refusals", func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			world(f)
			for _, o := range operations(t, f.api.Document()) {
				for name, r := range refusals {
					id, status, _ := strings.Cut(name, " ")
					if id != o.OperationID {
						continue
					}
					want := 0
					_, _ = fmt.Sscan(status, &want)
					see(t, f.api.Document(), o, f.do(operation{r, o.method, o.Operation}), want)
				}
			}
		})
		t.Run("401 and 429", func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, withTokens(t))
			each(t, f, http.StatusUnauthorized, nil, func(o operation) answer { return f.do(o) })
			for range 20 { // the attempts of this address
				f.as("wrong").get("/v1/stats")
			}
			each(t, f, http.StatusTooManyRequests, nil, func(o operation) answer { return f.as("wrong").do(o) })
		})
		t.Run("403", func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, func(o *api.Options) { o.Loopback = false })
			each(t, f, http.StatusForbidden, nil, func(o operation) answer { return f.do(o) })
		})
		t.Run("422", func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			each(t, f, http.StatusUnprocessableEntity, nil, func(o operation) answer {
				sign := "?"
				if strings.Contains(o.path, "?") {
					sign = "&"
				}
				o.path += sign + "nonsense=1"
				return f.do(o)
			})
		})
		t.Run("413 and 415", func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			each(t, f, http.StatusRequestEntityTooLarge, has("413"), func(o operation) answer {
				o.body = `{"reason":"` + strings.Repeat("x", 9<<20) + `"}`
				return f.do(o)
			})
			each(t, f, http.StatusUnsupportedMediaType, changes, func(o operation) answer {
				return f.do(o, "Content-Encoding: gzip")
			})
		})
		t.Run("400 and 408", func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, func(o *api.Options) { o.BodyTime = 100 * time.Millisecond })
			each(t, f, http.StatusBadRequest, has("400"), func(o operation) answer { return f.raw(o, "zz\r\nno chunk\r\n") })
			each(t, f, http.StatusRequestTimeout, has("408"), func(o operation) answer { return f.raw(o, "1\r\n{\r\n") })
		})
		t.Run("503", func(t *testing.T) {
			t.Parallel()
			redistest.NeedReal(t)
			f := newFixture(t)
			world(f)
			f.redis.Kill()
			each(t, f, http.StatusServiceUnavailable, nil, func(o operation) answer { return f.do(o) })
		})
	})
	if t.Failed() || t.Skipped() {
		return
	}
	f := newFixture(t)
	for _, o := range operations(t, f.api.Document()) {
		for status := range o.Responses {
			if what := o.OperationID + " " + status; !reached[what] && (status != "503" || f.redis.Real) {
				t.Errorf("%s is in the document, and no request reaches it", what)
			}
		}
	}
}

// raw sends the head of a request, and some of its body in chunks, and no end.
func (f *fixture) raw(o operation, chunks string) answer {
	f.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		f.Fatal(err)
	}
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n%s",
		o.method, o.path, cmp.Or(o.kind, "application/json"), chunks)
	if err != nil {
		f.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		f.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		f.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// The page for people has every operation and every field, and loads nothing.
func TestDocs(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *api.Options) { o.Loopback = false }) // it is no secret
	page := f.get("/docs")
	if other := f.get("/docs/"); other.Status != http.StatusOK || other.Body != page.Body {
		t.Errorf("/docs/ is %d", other.Status)
	}
	if page.Status != http.StatusOK || !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("status %d, %s", page.Status, page.Header.Get("Content-Type"))
	}
	for _, o := range operations(t, f.api.Document()) {
		if !strings.Contains(page.Body, `id="`+o.OperationID+`"`) {
			t.Errorf("the page lacks %s", o.OperationID)
		}
	}
	for _, bad := range []string{"src=", "@import", "url(", "<script", "<link", "http://", "https://"} {
		if strings.Contains(page.Body, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if csp := page.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("Content-Security-Policy: %s", csp)
	}
}
