package api_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/api"
	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/textsafe"
)

// What bad input gets: the field, the fault and the remedy.
func TestBadInput(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.open(mchA, "A")
	const reason = `{"reason":"x"}`
	withdraw := "/v1/orders/" + mchA + "/A/withdraw"

	t.Run("bodies", func(t *testing.T) {
		type bad struct {
			path, body string
			status     int
			words      []string
		}
		cases := map[string]bad{
			"10,001 rows":             {"/v1/orders", `{"orders":[` + strings.Repeat(`{},`, 10_000) + `{}]}`, 413, []string{"10000", "import"}},
			"9 MiB":                   {"/v1/orders", `{"orders":["` + strings.Repeat("x", 9<<20) + `"]}`, 413, []string{"8 MiB"}},
			"a reason of 10 kB":       {withdraw, `{"reason":"` + strings.Repeat("x", 10_000) + `"}`, 422, []string{"reason", "10000", "200"}},
			"a paid_at in the future": {withdraw, `{"reason":"x","paid_at":"` + time.Now().Add(time.Hour).Format(time.RFC3339) + `"}`, 422, []string{"paid_at", "future"}},
		}
		for _, c := range []bad{
			{"/v1/orders", `{`, 422, []string{"body", "ends too early"}},
			{"/v1/orders", ``, 422, []string{"body", "missing"}},
			{"/v1/orders", `[]`, 422, []string{"body is an array: send a JSON object"}},
			{"/v1/orders", `null`, 422, []string{"orders", "missing"}},
			{"/v1/orders", `{}`, 422, []string{"orders", "missing"}},
			{"/v1/orders", `{"orders":{}}`, 422, []string{"orders is an object: write a list"}},
			{"/v1/orders", `{"orders":[],"reopen":"yes"}`, 422, []string{"reopen is a string: write true or false"}},
			{"/v1/orders", `{"order":[]}`, 422, []string{`"order"`, "unknown"}},
			{"/v1/orders", `{"orders":[]} {}`, 422, []string{"more behind"}},
			{"/v1/orders", "{\"orders\":[\"\xff\"]}", 422, []string{"UTF-8"}},
			{withdraw, `{}`, 422, []string{"reason", "missing"}},
			{withdraw, `{"reason":5}`, 422, []string{"reason is a number: write a string"}},
			{withdraw, `{"reason":"a\nb"}`, 422, []string{"reason", "position 2"}},
			{withdraw, `{"reason":"x","paid_at":"soon"}`, 422, []string{"paid_at", "soon"}},
			{"/v1/orders/" + mchA + "/A/reopen", `{"reason":" "}`, 422, []string{"reason", "missing"}},
			{"/v1/merchants/" + mchA + "/pause", `{"reason":"x","for":"soon"}`, 422, []string{"for", "2h"}},
			{"/v1/merchants/" + mchA + "/pause", `{"reason":"x","for":"99999h"}`, 422, []string{"for"}},
			{"/v1/merchants/" + mchA + "/resume", `{}`, 422, []string{"reason", "missing"}},
			{"/v1/webhooks/retry", `{}`, 422, []string{"mchid", "missing"}},
			{"/v1/webhooks/retry", `{"mchid":"` + mchA + `","out_order_nos":["a b"]}`, 422, []string{"out_order_nos", "position 2"}},
			{"/v1/webhooks/replay", `{"mchid":"` + mchA + `"}`, 422, []string{"since", "missing"}},
			{"/v1/webhooks/replay", `{"mchid":"` + mchA + `","since":"2999-01-01T00:00:00Z"}`, 422, []string{"since", "future"}},
			{withdraw, `{"reason":"x","paid_at":""}`, 422, []string{"paid_at", "empty", "leave it out"}},
			{"/v1/bulk", `{"action":"withdraw","filter":{},"reason":"x","paid_at":""}`, 422, []string{"paid_at", "empty"}},
		} {
			cases[c.path+" "+textsafe.Clip(c.body, 60)] = c
		}
		for name, c := range cases {
			t.Run(name, func(t *testing.T) { f.post(c.path, c.body).wants(t, c.status, c.words...) })
		}
	})
	t.Run("a field of the wrong type is named on its own", func(t *testing.T) {
		for body, want := range map[string]string{`{"reason":5}`: `[{"field":"reason","detail":"is a number: write a string"}]`, `{"a as a b":5}`: `[{"field":"body","detail":"has the unknown field \"a as a b\": /docs lists the fields"}]`} {
			if a := f.post(withdraw, body); !strings.Contains(a.Body, `"errors":`+want) {
				t.Errorf("%s, want %s", a.Body, want)
			}
		}
	})
	t.Run("paths and parameters", func(t *testing.T) {
		f.open(mchB, "B")
		for path, words := range map[string][]string{
			"/v1/books?mchid=" + mchA:                 {"date", "missing", "add it"},
			"/v1/books?date=2026-02-30&mchid=" + mchA: {"date", "2026-01-01"},
			"/v1/events":                               {"mchid", "missing"},
			"/v1/orders/" + mchA + "/A%2FB":            {"out_order_no", "'/'"},
			"/v1/orders/" + mchA + "/A%20B":            {"out_order_no", "' '"},
			"/v1/orders/" + mchA + "/" + x(33):         {"out_order_no", "33"},
			"/v1/orders/19a/A":                         {"mchid", "'a'"},
			"/v1/orders?limit=0":                       {"limit", "1"},
			"/v1/orders?limit=1001":                    {"limit", "1000"},
			"/v1/orders?limit=many":                    {"limit", "digits"},
			"/v1/orders?state=open":                    {"state", "awaiting"},
			"/v1/orders?state=paid&state=open":         {"state", "open", "awaiting"},
			"/v1/orders?mchid=x":                       {"mchid"},
			"/v1/orders?q=a%20b":                       {"q", "position 2"},
			"/v1/orders?opened_from=yesterday":         {"opened_from", "yesterday"},
			"/v1/orders?cursor=nonsense":               {"cursor", "leave it out"},
			"/v1/orders?cursor=eyJtIjoiMSIsImYiOjF9":   {"cursor", "leave it out"},
			"/v1/orders?curser=x":                      {"curser", "no parameter"},
			"/v1/audit?cursor=x":                       {"cursor"},
			"/v1/webhooks?cursor=" + mchA + ":x":       {"cursor"},
			"/v1/events?after=x&mchid=" + mchA:         {"after", "leave it out"},
			"/v1/events?after=1-1-1&mchid=" + mchA:     {"after", mchA},
			"/v1/events?wait=2h&mchid=" + mchA:         {"wait", "1m"},
			"/v1/events?wait=-1s&mchid=" + mchA:        {"wait"},
			"/v1/events?limit=5000&mchid=" + mchA:      {"limit"},
			"/v1/orders/" + mchA + "/A?explain=please": {"explain"},
		} {
			t.Run(path, func(t *testing.T) { f.get(path).wants(t, 422, words...) })
		}
		f.get("/v1/orders/"+mchA+"/A/B").wants(t, 404, "/docs")
		f.get("/v1/none").wants(t, 404, "/docs")
		a := f.call(http.MethodDelete, "/v1/stats", "")
		a.wants(t, 405, "GET")
		if a.Header.Get("Allow") != "GET" {
			t.Errorf("Allow: %q", a.Header.Get("Allow"))
		}
	})
	t.Run("an order number with every character that is allowed", func(t *testing.T) {
		const no = "09azAZ_|*-"
		f.open(mchA, no)
		for _, path := range []string{no, "09azAZ_%7C%2A-", "09azAZ_%7c*-"} {
			if a := f.get("/v1/orders/" + mchA + "/" + path); a.Status != 200 || !strings.Contains(a.Body, `"out_order_no":"`+no+`"`) {
				t.Errorf("%s: %d %s", path, a.Status, a.Body)
			}
		}
		if a := f.post("/v1/orders/"+mchA+"/09azAZ_%7C*-/withdraw", reason); a.Status != 200 {
			t.Errorf("%d %s", a.Status, a.Body)
		}
	})
	t.Run("books that cannot be read", func(t *testing.T) {
		if _, err := ledger.New(f.redis.Client, mchA).CloseBook(t.Context(), "2026-01-03", []byte(`{"date":`), []byte("{}"), nil, nil, ledger.BookPlan{}); err != nil {
			t.Fatal(err)
		}
		f.get("/v1/books?mchid="+mchA+"&date=2026-01-03").wants(t, 404, "cannot be read", "outcomes books --mchid "+mchA+" --date 2026-01-03 does")
		f.get("/v1/books?mchid="+mchA+"&date=2026-01-04").wants(t, 404, "not closed", "BOOKS_AT")
	})
	t.Run("a gzip bomb", func(t *testing.T) {
		var bomb bytes.Buffer
		w, err := gzip.NewWriterLevel(&bomb, gzip.BestSpeed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, 16<<20)); err != nil { // twice the largest body
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		f.post("/v1/orders", bomb.String(), "Content-Encoding: gzip").wants(t, 415, "Content-Encoding", "gzip")
		f.post("/v1/orders/import", bomb.String(), "Content-Encoding: gzip", "Content-Type: text/csv").wants(t, 415, "Content-Encoding")
		a := f.post("/v1/orders/import", bomb.String(), "Content-Type: text/csv")
		if a.wants(t, 422, "body is compressed: send it without compression"); strings.Contains(a.Body, "zcat") {
			t.Errorf("the remedy is the command's: %s", a.Body)
		}
		f.post("/v1/orders/import", bomb.String(), "Content-Type: text/csv").wants(t, 422, "body", "compress")
	})
	t.Run("a bad row keeps no good one out", func(t *testing.T) {
		var reply struct {
			Results []struct{ OutOrderNo, Result, Detail string }
		}
		f.post("/v1/orders", `{"orders":[{"out_order_no":"G-1"},{"out_order_no":""},{"out_order_no":7},"text",null,{"out_order_no":"G-2","at":"never"},{"out_order_no":"G-3","amount":-1},{"out_order_no":"G-4","amount":"1.5"},{"out_order_no":"G-5"},{"out_order_no":"G-1"},{"out_order_no":"G-1","service_id":"other"},{"out_order_no":"A"}]}`).into(t, &reply)
		var got []string
		for _, r := range reply.Results {
			got = append(got, r.Result)
			if (r.Result == "invalid" || r.Result == "conflict") != (r.Detail != "") {
				t.Errorf("%+v", r)
			}
		}
		want := "[accepted invalid invalid invalid invalid invalid invalid invalid accepted duplicate conflict duplicate]"
		if fmt.Sprint(got) != want {
			t.Errorf("%v, want %s", got, want)
		}
	})
}

// The largest body of each operation is taken, and one byte more is refused, whether or not
// its length was announced.
func TestBodiesAtTheirLimits(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	world(f)
	for _, o := range operations(t, f.api.Document()) {
		if o.Responses["413"] == nil {
			continue
		}
		limit, words := 64<<10, "64 KiB"
		if o.OperationID == "enqueue-orders" {
			limit, words = 8<<20, "8 MiB"
		}
		t.Run(o.OperationID, func(t *testing.T) {
			send := func(size int, announced bool) answer {
				var body io.Reader = strings.NewReader(o.body + strings.Repeat(" ", size-len(o.body)))
				if !announced {
					body = struct{ io.Reader }{body}
				}
				req, err := http.NewRequestWithContext(t.Context(), o.method, f.url+o.path, body)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/json")
				return f.send(req)
			}
			if a := send(limit, true); a.Status >= 300 && a.Status != http.StatusConflict {
				t.Errorf("%d bytes: %d %s", limit, a.Status, a.Body)
			}
			send(limit+1, true).wants(t, http.StatusRequestEntityTooLarge, words, "send less")
			send(limit+1, false).wants(t, http.StatusRequestEntityTooLarge, words, "send less")
		})
	}
}

// A caller that sends all of a body before it reads the answer gets the answer, and one
// that asks first is not told to send it. The log has the status of an answer.
func TestRefusedBodies(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withTokens(t), func(o *api.Options) {
		o.BodyTime = testkit.Patience
		o.Merchants = func() []config.Order { return nil }
	})
	const size = 20 << 20 // more than the buffers of a connection hold
	for name, c := range map[string]struct {
		path, headers string
		begin         string // of the body
		chunks        bool
		status        int
	}{
		"too large":             {headers: "Authorization: Bearer operator\r\nContent-Type: application/json\r\n", status: 413},
		"too large, in chunks":  {headers: "Authorization: Bearer operator\r\nContent-Type: application/json\r\n", chunks: true, status: 413},
		"of a role too low":     {headers: "Authorization: Bearer viewer\r\nContent-Type: application/json\r\n", status: 403},
		"of another form":       {headers: "Authorization: Bearer operator\r\nContent-Type: text/html\r\n", status: 415},
		"asks first":            {headers: "Authorization: Bearer operator\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n", status: 413},
		"import without header": {path: "/import", headers: "Authorization: Bearer operator\r\nContent-Type: text/csv\r\n", begin: "number\n", status: 422},
		"import of one array":   {path: "/import", headers: "Authorization: Bearer operator\r\nContent-Type: application/jsonl\r\n", begin: "[\n", chunks: true, status: 422},
		"import without mchid":  {path: "/import", headers: "Authorization: Bearer operator\r\nContent-Type: text/csv\r\n", begin: "out_order_no\n", status: 422},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			head, end := fmt.Sprintf("Content-Length: %d\r\n\r\n", size), ""
			if c.chunks {
				head, end = fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", size), "\r\n0\r\n\r\n"
			}
			conn := f.begin("POST /v1/orders" + c.path + " HTTP/1.1\r\nHost: localhost\r\n" + c.headers + head)
			if !strings.Contains(c.headers, "Expect") {
				from := time.Now()
				_, err := io.WriteString(conn, c.begin+strings.Repeat(" ", size-len(c.begin))+end)
				if took := time.Since(from); err != nil && took < api.RefusedTime {
					t.Errorf("the connection is cut off after %v, and should be after %v at the soonest: %v", took, api.RefusedTime, err)
				}
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != c.status {
				t.Errorf("%s, want %d", resp.Status, c.status)
			}
			_ = resp.Body.Close()
			if logged := f.logs.Events("api_request", "operation", "import-orders"); c.path != "" && (len(logged) == 0 || slices.ContainsFunc(logged, func(e testkit.Record) bool { return e["status"] != float64(c.status) })) {
				t.Errorf("the log has %v", logged)
			}
		})
	}
}

// Of a caller without a valid token, a refused body is read on by a MiB.
func TestRefusedBodiesWithoutAToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withTokens(t))
	seen := map[int]bool{}
	for range 20 { // until the attempts of the address are used up
		body := strings.NewReader(strings.Repeat(" ", 2<<20))
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/orders", body)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer wrong")
		w := httptest.NewRecorder()
		f.api.ServeHTTP(w, req)
		if seen[w.Code] = true; body.Len() != 1<<20 {
			t.Errorf("%d bytes are left unread after %d %s", body.Len(), w.Code, w.Body)
		}
	}
	if !maps.Equal(seen, map[int]bool{http.StatusUnauthorized: true, http.StatusTooManyRequests: true}) {
		t.Errorf("the answers are %v", seen)
	}
}

// A worker without a token refuses every remote caller, and reads at most 1 MiB of a body
// that it has refused.
func TestRefusedBodiesOfAWorkerWithoutAToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *api.Options) { o.Loopback = false })
	for _, path := range []string{"/v1/orders", "/v1/none"} {
		body := strings.NewReader(strings.Repeat(" ", 2<<20))
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, body)
		req.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		f.api.ServeHTTP(w, req)
		if w.Code != http.StatusForbidden || body.Len() != 1<<20 {
			t.Errorf("%s: %d bytes are left unread after %d %s", path, body.Len(), w.Code, w.Body)
		}
	}
}

// A body is read on, too, where no operation takes the request; of a page of another site as
// of a caller without a token.
func TestRefusedBodiesOfNoOperation(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withTokens(t))
	const sent = 2 << 20
	for name, c := range map[string]struct {
		method, path, token, site string
		status, unread            int
	}{
		"an unknown path":                  {"POST", "/v1/none", "viewer", "", 404, 0},
		"a method that the path lacks":     {"POST", "/v1/stats", "viewer", "", 405, 0},
		"an unknown path, without a token": {"POST", "/v1/none", "wrong", "", 401, sent - 1<<20},
		"a page of another site":           {"POST", "/v1/orders", "billing", "cross-site", 403, sent - 1<<20},
	} {
		body := strings.NewReader(strings.Repeat(" ", sent))
		req := httptest.NewRequestWithContext(t.Context(), c.method, c.path, body)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+c.token)
		req.Header.Set("Sec-Fetch-Site", c.site)
		w := httptest.NewRecorder()
		f.api.ServeHTTP(w, req)
		if w.Code != c.status || body.Len() != c.unread {
			t.Errorf("%s: %d bytes are left unread after %d %s, want %d after %d", name, body.Len(), w.Code, w.Body, c.unread, c.status)
		}
	}
}

// The Content-Type, curl's and PHP's habit, or the parameter format says what a body is.
func TestContentTypes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const csv, jsonl = "out_order_no\nA\n", "{\"out_order_no\":\"B\"}\n"
	for _, c := range []struct {
		path, body, kind string
		want             int
	}{
		{"/v1/orders", `{"orders":[]}`, "application/json; charset=utf-8", 200},
		{"/v1/orders", `{"orders":[]}`, "", 200},
		{"/v1/orders", `{"orders":[]}`, "application/x-www-form-urlencoded", 200}, // curl -d
		{"/v1/orders", `{"orders":[]}`, "text/plain", 415},
		{"/v1/orders", `{"orders":[]}`, "multipart/form-data; boundary=x", 415},
		{"/v1/orders", `{"orders":[]}`, ";", 415},
		{"/v1/orders/import?format=csv", csv, "", 200}, // curl -T
		{"/v1/orders/import?format=csv", csv, "application/x-www-form-urlencoded", 200},
		{"/v1/orders/import?format=csv", csv, "application/octet-stream", 200},
		{"/v1/orders/import?format=jsonl", jsonl, "application/json", 200},
		{"/v1/orders/import?format=jsonl", jsonl, "text/csv", 200}, // the parameter decides
		{"/v1/orders/import", csv, "text/csv", 200},
		{"/v1/orders/import", jsonl, "application/jsonl", 200},
		{"/v1/orders/import", jsonl, "", 415},
		{"/v1/orders/import", jsonl, "application/x-www-form-urlencoded", 415},
		{"/v1/orders/import?format=csv", csv, "multipart/form-data; boundary=x", 415},
	} {
		a := f.post(c.path, c.body, "Content-Type: "+c.kind)
		switch {
		case a.Status != c.want:
			t.Errorf("%s as %q: %d %s", c.path, c.kind, a.Status, a.Body)
		case a.Status == 200 && strings.Contains(c.path, "import") && !strings.Contains(a.Body, `"invalid":0`):
			t.Errorf("%s as %q: %s", c.path, c.kind, a.Body)
		}
	}
	f.post("/v1/orders/import", jsonl, "Content-Type: text/plain").wants(t, 415, "Content-Type", "application/jsonl or application/x-ndjson or text/csv", "format=csv")
}

func x(n int) string { return strings.Repeat("x", n) }

// No request repeats in its answer, or in the log, what may be a secret.
func TestNothingSecret(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withTokens(t))
	const secret = "s3cretS3cretS3cretS3cretS3cret"
	f = f.as("operator")
	var said strings.Builder
	for _, a := range []answer{
		f.as(secret).get("/v1/stats"),
		f.get("/v1/stats", "Authorization: Basic "+secret),
		f.post("/v1/orders", secret),
		f.post("/v1/orders", `{"orders":"`+secret+`"}`),
		f.post("/v1/orders", `{"reopen":"`+secret+`"}`),
		f.get("/v1/stats", "Cookie: token="+secret, "X-Token: "+secret),
	} {
		said.WriteString(a.Body)
	}
	if strings.Contains(said.String(), secret) || strings.Contains(f.logs.String(), secret) {
		t.Errorf("the secret is repeated:\n%s\n%s", said.String(), f.logs.String())
	}
}

// A body of the shortest rows takes no memory but its own: 4 million of them would take
// more than most containers have.
func TestTooManyRows(t *testing.T) {
	t.Parallel()
	if kept, err := api.RowsKept(`[` + strings.Repeat(`1,`, 1<<20) + `1]`); err != nil || kept > 20_000 {
		t.Errorf("room for %d rows, %v", kept, err)
	}
}
