package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/api"
	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/tasks"
)

// eventsOf reads an answer with events.
func eventsOf(t *testing.T, a answer) (events []ledger.Event) {
	t.Helper()
	if a.Status != http.StatusOK {
		t.Fatalf("status %d: %s", a.Status, a.Body)
	}
	for line := range strings.Lines(a.Body) {
		var e ledger.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

func TestEvents_Pages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if events := eventsOf(t, f.get("/v1/events")); len(events) != 0 {
		t.Errorf("%v", events)
	}
	for i := range 7 {
		f.open(mchA, fmt.Sprintf("E-%d", i))
	}
	var got []string
	for after := ""; ; {
		page := eventsOf(t, f.get("/v1/events?mchid="+mchA+"&limit=3&after="+after))
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			got = append(got, e.OutOrderNo)
			after = e.ID
		}
		if len(page) > 3 {
			t.Errorf("%d events in a page of 3", len(page))
		}
	}
	if want := "[E-0 E-1 E-2 E-3 E-4 E-5 E-6]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	// The place can be one whose event has left the stream.
	if events := eventsOf(t, f.get("/v1/events?after="+mchA+"-5-0")); len(events) != 7 {
		t.Errorf("%d events after one that is gone", len(events))
	}
}

// A long poll is answered by the event that it waits for, and empty when its time is up.
func TestEvents_Wait(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if events := eventsOf(t, f.get("/v1/events?wait=50ms")); len(events) != 0 {
		t.Errorf("%v", events)
	}
	if !f.redis.Real {
		return // the embedded Redis does not list its clients
	}
	answers := make(chan answer, 1)
	go func() { answers <- f.get("/v1/events?wait=1m&mchid=" + mchA) }()
	testkit.Eventually(t, "the request to wait", func() bool { return f.waiting(" flags=b ") })
	f.open(mchA, "LATE")
	if events := eventsOf(t, <-answers); len(events) != 1 || events[0].OutOrderNo != "LATE" {
		t.Errorf("%v", events)
	}
}

// waiting reports whether a client of Redis whose last command was XREAD has one of the
// signs.
func (f *fixture) waiting(signs ...string) bool {
	for line := range strings.Lines(f.redis.Client.ClientList(context.Background()).Val()) {
		if strings.Contains(line, "cmd=xread") && slices.ContainsFunc(signs, func(sign string) bool { return strings.Contains(line, sign) }) {
			return true
		}
	}
	return false
}

// sse reads server-sent events.
type sse struct {
	*bufio.Scanner
	body io.Closer
}

func (f *fixture) sse(path string, headers ...string) sse {
	f.Helper()
	req, err := http.NewRequestWithContext(f.Context(), http.MethodGet, f.url+path, nil)
	if err != nil {
		f.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		f.Fatalf("%d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	return sse{bufio.NewScanner(resp.Body), resp.Body}
}

// next returns the next event, and whether there is one.
func (s sse) next(t *testing.T) (e ledger.Event, ok bool) {
	t.Helper()
	id := ""
	for s.Scan() {
		line := s.Text()
		if v, found := strings.CutPrefix(line, "id: "); found {
			id = v
		}
		if v, found := strings.CutPrefix(line, "data: "); found {
			if err := json.Unmarshal([]byte(v), &e); err != nil || e.ID != id {
				t.Fatalf("%v: id %q, data %s", err, id, v)
			}
		}
		if line == "" && id != "" {
			return e, true
		}
	}
	return e, false
}

func TestEvents_ServerSent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.open(mchA, "S-1")
	stream := f.sse("/v1/events?mchid=" + mchA)
	first, _ := stream.next(t)
	f.open(mchA, "S-2")
	second, _ := stream.next(t)
	if first.OutOrderNo != "S-1" || second.OutOrderNo != "S-2" || second.Type != "order.opened" {
		t.Errorf("%+v %+v", first, second)
	}
	again := f.sse("/v1/events?mchid="+mchA, "Last-Event-ID: "+first.ID)
	if e, _ := again.next(t); e.ID != second.ID {
		t.Errorf("after Last-Event-ID %s came %s", first.ID, e.ID)
	}
	f.api.Stop() // as the worker's end does
	if e, ok := stream.next(t); ok {
		t.Errorf("%+v after the end", e)
	}
}

// A token that is taken out of the file reads no further, nor one that lost its merchant.
func TestEvents_TokenTakenAway(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	write(t, file, tokenItem("gone", config.Viewer, "gone")+tokenItem("moved", config.Viewer, "moved")+tokenItem("kept", config.Viewer, "kept"))
	f := newFixture(t, func(o *api.Options) { o.TokensFile = file })
	f.open(mchA, "S-1")
	var streams []sse
	for _, token := range []string{"gone", "moved", "kept"} {
		stream := f.sse("/v1/events?mchid="+mchA, "Authorization: Bearer "+token)
		stream.next(t)
		streams = append(streams, stream)
	}
	write(t, file, strings.TrimSuffix(tokenItem("moved", config.Viewer, "moved"), "}\n")+`, mchids: ["`+mchB+"\"]}\n"+tokenItem("kept", config.Viewer, "kept"))
	for _, stream := range streams[:2] {
		if e, ok := stream.next(t); ok { // it ends
			t.Errorf("%+v", e)
		}
	}
	f.open(mchA, "S-2")
	if e, ok := streams[2].next(t); !ok || e.OutOrderNo != "S-2" {
		t.Errorf("%+v", e)
	}
}

// A reader that leaves, or does not read, frees its place.
func TestEvents_LeavingReader(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url+"/v1/events?mchid="+mchA+"&wait=1m", nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		done <- err
	}()
	if f.redis.Real {
		testkit.Eventually(t, "the request to wait", func() bool { return f.waiting(" flags=b ") })
	}
	leave()
	if err := <-done; err == nil {
		t.Error("the request was answered")
	}
	if f.redis.Real {
		// One command waits for a second at most.
		testkit.Eventually(t, "nobody to wait for events", func() bool { return !f.waiting(" flags=b ", " idle=0 ", " idle=1 ") })
	}
}

// summary returns the lines of rows, and of the summary what is not 0.
func (a answer) summary(t *testing.T) (lines []api.ImportLine, summary map[string]int) {
	t.Helper()
	if a.Status != http.StatusOK {
		t.Fatalf("status %d: %s", a.Status, a.Body)
	}
	for line := range strings.Lines(a.Body) {
		var l api.ImportLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if summary != nil {
			t.Errorf("%s comes after the summary", line)
		}
		if l.Summary != nil {
			if summary = l.Summary; len(summary) != 6 {
				t.Errorf("%s has not every result", line)
			}
			maps.DeleteFunc(summary, func(_ string, n int) bool { return n == 0 })
			continue
		}
		for _, field := range []string{"line", "out_order_no", "result", "detail"} {
			if !strings.Contains(line, `"`+field+`":`) {
				t.Errorf("%s has no %s", line, field)
			}
		}
		lines = append(lines, l)
	}
	return lines, summary
}

func TestImport(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	t.Run("CSV with bad lines", func(t *testing.T) {
		lines, summary := f.post("/v1/orders/import?format=csv",
			"out_order_no,amount,note\nI-1,100,\nI 2,1,\n\"I-3,1,\nI-4,1.5,x\nI-5,7,\nI-1,100,\nI-6,1\n", "Content-Type: text/csv").summary(t)
		if fmt.Sprint(summary) != "map[accepted:2 duplicate:1 invalid:4]" {
			t.Errorf("%v", summary)
		}
		var at []int64
		for _, l := range lines {
			at = append(at, l.Line)
			if l.Result == tasks.Invalid && l.Detail == "" {
				t.Errorf("%+v", l)
			}
		}
		if fmt.Sprint(at) != "[3 4 5 7 8]" {
			t.Errorf("lines %v", at)
		}
	})
	t.Run("JSONL with a broken line", func(t *testing.T) {
		lines, summary := f.post("/v1/orders/import", "{\"out_order_no\":\"J-1\"}\n{\"out_order_no\":\n\n{\"out_order_no\":\"J-2\"}", "Content-Type: application/x-ndjson").summary(t)
		if fmt.Sprint(summary) != "map[accepted:2 invalid:1]" || len(lines) != 1 || lines[0].Line != 2 {
			t.Errorf("%v %v", lines, summary)
		}
	})
	t.Run("nothing", func(t *testing.T) {
		lines, summary := f.post("/v1/orders/import", "\n", "Content-Type: application/x-ndjson").summary(t)
		if len(lines) != 0 || len(summary) != 0 {
			t.Errorf("%v %v", lines, summary)
		}
	})
	t.Run("no header row that names the orders", func(t *testing.T) {
		f.post("/v1/orders/import?format=csv", "number\n1\n", "Content-Type: text/csv").wants(t, 422, "body", "out_order_no")
		f.post("/v1/orders/import?format=xml", "x", "Content-Type: text/csv").wants(t, 422, "format", "csv")
		f.post("/v1/orders/import", "x", "Content-Type: application/json").wants(t, 415, "Content-Type", "text/csv")
	})
}

// Lines of the answer come while the body is still sent. When the caller leaves, what was
// read is in the ledger.
func TestImport_CallerLeaves(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	body, feed := io.Pipe()
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url+"/v1/orders/import", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	const rows = 1200 // more than two batches
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range rows {
			no := fmt.Sprintf("L-%04d", i)
			if i == 3 {
				no = "L bad"
			}
			if _, err := fmt.Fprintf(feed, "{\"out_order_no\":%q}\n", no); err != nil {
				return
			}
		}
	}()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	if err != nil || !strings.Contains(line, `"line":4`) {
		t.Fatalf("%q %v", line, err)
	}
	<-sent // and the body has no end
	leave()
	_ = feed.CloseWithError(io.ErrUnexpectedEOF)
	l := ledger.New(f.redis.Client, mchA)
	var in int64
	testkit.Eventually(t, "what was read to be in the ledger", func() bool {
		s, err := l.Stats(context.Background())
		in = s.Orders[tasks.Queued]
		return err == nil && in >= 1000
	})
	if in > rows-1 {
		t.Errorf("%d orders of %d", in, rows-1)
	}
	// The import has ended, and its place is free.
	testkit.Eventually(t, "the import to end", func() bool { return len(f.logs.Events("api_request")) == 1 })
}

// An import whose body stalls is answered, and what came before is in.
func TestImport_SlowBody(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *api.Options) { o.BodyTime = 100 * time.Millisecond })
	const row = "{\"out_order_no\":\"SLOW-1\"}\n"
	a := f.raw(operation{request{path: "/v1/orders/import", kind: "application/x-ndjson"}, http.MethodPost, nil}, fmt.Sprintf("%x\r\n%s\r\n", len(row), row))
	lines, summary := a.summary(t)
	if fmt.Sprint(summary) != "map[accepted:1]" || len(lines) != 1 || !strings.Contains(lines[0].Detail, "too slowly after line 1") {
		t.Errorf("%v %v", lines, summary)
	}
}
