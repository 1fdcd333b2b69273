package notify_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/notify"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/tasks"
)

func TestReceiver(t *testing.T) {
	t.Parallel()
	order := simulator.Order{OutOrderNo: "A|1*", TotalAmount: 1250}
	const no = "A|1*"

	t.Run("a payment of the whole ends the order", func(t *testing.T) {
		t.Parallel()
		b := newFixture(t)
		b.add(order)
		n := b.raw(no, options{Entity: paid})
		b.takes(n)
		o := b.get(no)
		if o.State != tasks.Paid || *o.PaidAmount != 1250 || o.TransactionID != "4200001" || o.PaidType != "NEWTON" || o.EndedAt.IsZero() || o.QueryCalls+o.CollectCalls != 0 {
			t.Errorf("%+v", o)
		}
		if len(o.Log) != 1 || o.Log[0].Call != "notification" || o.Log[0].Verdict != "paid" || o.Log[0].RequestID != n.Header.Get("Request-Id") || o.Log[0].Message != "event "+n.ID {
			t.Errorf("%+v", o.Log)
		}
		if e := b.events(no); e != "opened queued, paid paid" {
			t.Errorf("events: %s", e)
		}
		lines := take(b.logs)
		if len(lines) != 2 {
			t.Fatalf("the log: %s", lines)
		}
		for _, part := range []string{`"level":"info"`, `"call":"notification"`, `"mchid":"` + b.mchid + `"`, `"out_order_no":"A|1*"`, `"verdict":"paid"`, `"request_id":"` + n.Header.Get("Request-Id") + `"`, `"event_id":"` + n.ID + `"`} {
			if !strings.Contains(lines[0], part) {
				t.Errorf("no %s in %s", part, lines[0])
			}
		}
		if !strings.Contains(lines[1], `"event":"order_ended"`) {
			t.Errorf("%s", lines[1])
		}
		if n := b.count(notify.Paid); n != 1 {
			t.Errorf("counted %d", n)
		}
		if n := counter(t, b.counted.Ended.WithLabelValues(b.mchid, "paid")); n != 1 {
			t.Errorf("%d ends were counted", n)
		}
	})
	t.Run("the same event hundreds of times: one end, one event", func(t *testing.T) {
		t.Parallel()
		b := newFixture(t)
		b.add(order)
		first := b.raw(no, options{ID: "EV-1", Entity: paid})
		b.takes(first)
		// The receiver answers first, and then marks the news as logged.
		testkit.Eventually(t, "the news of EV-1 marked as logged", func() bool { return !b.remembers(no) })
		once := state(t, b.redis.Client)
		take(b.logs)
		again := make(chan simulator.RawNotification)
		var senders sync.WaitGroup
		for range 8 {
			senders.Go(func() {
				for n := range again {
					b.takes(n)
				}
			})
		}
		for i := range testkit.Form(300, 1000) {
			n := first
			if i%10 == 0 { // signed afresh, as every delivery is
				n = b.raw(no, options{ID: "EV-1", Entity: paid})
			}
			again <- n
		}
		close(again)
		senders.Wait()
		if diff := cmp.Diff(once, state(t, b.redis.Client)); diff != "" {
			t.Errorf("the replays changed %s", diff)
		}
		if e := b.events(no); e != "opened queued, paid paid" {
			t.Errorf("events: %s", e)
		}
		if paid, repeats := b.count(notify.Paid), b.count(notify.Repeat); paid != 1 || repeats != testkit.Form(300, 1000) {
			t.Errorf("counted %d paid, %d repeats", paid, repeats)
		}
		if lines := take(b.logs); len(lines) != 0 {
			t.Errorf("the log: %s", lines)
		}
		if n := counter(t, b.counted.Ended.WithLabelValues(b.mchid, "paid")); n != 1 {
			t.Errorf("%d ends were counted", n)
		}
	})
	t.Run("a hundred at once: one end, one event", func(t *testing.T) {
		t.Parallel()
		b := newFixture(t)
		b.add(order)
		var all sync.WaitGroup
		for range 100 {
			n := b.raw(no, options{ID: "EV-1", Entity: paid})
			all.Go(func() { b.takes(n) })
		}
		all.Wait()
		if e := b.events(no); e != "opened queued, paid paid" {
			t.Errorf("events: %s", e)
		}
		if n := b.count(notify.Paid); n != 1 {
			t.Errorf("counted %d", n)
		}
	})
	t.Run("a part, and then the whole", func(t *testing.T) {
		t.Parallel()
		b := newFixture(t)
		b.add(order)
		b.takes(b.raw(no, options{Entity: partly(300)}))
		if o := b.get(no); !o.State.Open() || *o.PaidAmount != 300 || *o.TotalAmount != 1250 || o.NextDueAt.IsZero() {
			t.Errorf("%+v", o)
		}
		b.takes(b.raw(no, options{Entity: partly(300)}))
		b.takes(b.raw(no, options{Entity: paidOf(300, 950)}))
		if o := b.get(no); o.State != tasks.Paid || *o.PaidAmount != 1250 || len(o.Payments) != 2 {
			t.Errorf("%+v", o)
		}
		if e := b.events(no); e != "opened queued, attempted queued, paid paid" {
			t.Errorf("events: %s", e)
		}
		if part, repeat := b.count(notify.Partial), b.count(notify.Repeat); part != 1 || repeat != 1 {
			t.Errorf("counted %d in part, %d repeats", part, repeat)
		}
	})
	t.Run("out of order: what comes late takes nothing back", func(t *testing.T) {
		t.Parallel()
		b := newFixture(t)
		b.add(order)
		for _, n := range []simulator.RawNotification{
			b.raw(no, options{Entity: partly(300, 500)}), b.raw(no, options{Entity: partly(300)}),
			b.raw(no, options{Entity: paidOf(300, 500, 450)}), b.raw(no, options{Entity: partly(300, 500)}), b.raw(no, options{}),
		} {
			b.takes(n)
		}
		if o := b.get(no); o.State != tasks.Paid || *o.PaidAmount != 1250 || len(o.Payments) != 3 || o.AmountDiffers != nil {
			t.Errorf("%+v", o)
		}
		if e := b.events(no); e != "opened queued, attempted queued, paid paid" {
			t.Errorf("events: %s", e)
		}
	})
	t.Run("USER_PAID alone ends nothing: the three fields and the amounts must say so", func(t *testing.T) {
		t.Parallel()
		b := newFixture(t)
		b.add(order)
		for name, change := range map[string]func(*simulator.Entity){
			"as it stands":           nil,
			"DOING":                  func(e *simulator.Entity) { paid(e); e.State = "DOING" },
			"MCH_COMPLETE":           func(e *simulator.Entity) { paid(e); e.State, e.StateDescription = "DOING", "MCH_COMPLETE" },
			"no collection":          func(e *simulator.Entity) { paid(e); e.Collection = nil },
			"collection USER_PAYING": func(e *simulator.Entity) { paid(e); e.Collection.State = "USER_PAYING" },
			"something left":         func(e *simulator.Entity) { paid(e); e.Collection.PayingAmount = 1 },
			"nothing came":           func(e *simulator.Entity) { paid(e); e.Collection.PaidAmount, e.Collection.Details = 0, nil },
			"REVOKED":                func(e *simulator.Entity) { paid(e); e.State = "REVOKED"; e.Collection = nil },
			"an unknown state":       func(e *simulator.Entity) { paid(e); e.State = "PAID" },
		} {
			b.takes(b.raw(no, options{Entity: change}))
			if o := b.get(no); !o.State.Open() {
				t.Fatalf("%s: the order ended as %s", name, o.State)
			}
		}
	})
	t.Run("other events, unknown orders, and what is unclear: 200, counted, no state touched", func(t *testing.T) {
		t.Parallel()
		b := newFixture(t)
		b.add(order)
		if err := b.sim.AddOrders(simulator.Order{OutOrderNo: "STRANGE"}); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			outcome notify.Result
			n       simulator.RawNotification
		}{
			{notify.OtherEvent, b.raw(no, options{EventType: simulator.EventUserConfirm})},
			{notify.OtherEvent, b.raw(no, options{EventType: simulator.EventRefundSuccess, Plaintext: []byte(`{"mchid":"` + b.mchid + `"}`)})},
			{notify.OtherEvent, b.raw(no, options{EventType: "PAYSCORE.USER_PAID_SOMETHING", Entity: paid})},
			{notify.UnknownOrder, b.raw("STRANGE", options{Entity: paid})},
			{notify.UnknownOrder, b.raw("STRANGE", options{Entity: partly(1)})},
			{notify.Unclear, b.raw(no, options{})},
			{notify.Unclear, b.raw("STRANGE", options{})},
		} {
			before := b.count(tt.outcome)
			b.untouched(func() { b.takes(tt.n) })
			if n := b.count(tt.outcome) - before; n != 1 {
				t.Errorf("%s: counted %d", tt.outcome, n)
			}
		}
		if lines := take(b.logs); len(lines) != 0 {
			t.Errorf("the log: %s", lines)
		}
	})
	t.Run("a withdrawn order that is paid: both are in the record and in the events", func(t *testing.T) {
		t.Parallel()
		b := newFixture(t)
		b.add(order)
		b.withdraw(no)
		for range 3 {
			b.takes(b.raw(no, options{Entity: paid}))
		}
		if o := b.get(no); o.State != tasks.Withdrawn || o.LatePaymentAt.IsZero() || *o.PaidAmount != 1250 || o.TransactionID != "4200001" {
			t.Errorf("%+v", o)
		}
		if e := b.events(no); e != "opened queued, withdrawn withdrawn, paid withdrawn" {
			t.Errorf("events: %s", e)
		}
		if got := b.logs.Events("paid_after_its_end"); len(got) != 1 {
			t.Errorf("the log has %v, want paid_after_its_end once", got)
		}
		if ended, late := b.count(notify.Ended), counter(t, b.counted.News.WithLabelValues(b.mchid, "late")); ended != 1 || late != 1 {
			t.Errorf("counted %d ended, %d late", ended, late)
		}
	})
	t.Run("an amount that differs is recorded, loud and counted", func(t *testing.T) {
		t.Parallel()
		b := newFixture(t)
		b.add(order)
		b.takes(b.raw(no, options{Entity: partly(300)})) // shows a total of 1250
		for range 3 {
			b.takes(b.raw(no, options{Entity: paidOf(300, 1000)}))
		}
		o := b.get(no)
		if o.State != tasks.Paid || *o.PaidAmount != 1300 || o.AmountDiffers == nil || o.AmountDiffers.Known != 1250 || o.AmountDiffers.Said != 1300 {
			t.Errorf("%+v", o)
		}
		if got := b.logs.Events("amounts_differ"); len(got) != 1 {
			t.Errorf("the log has %v, want amounts_differ once", got)
		}
		if n := counter(t, b.counted.News.WithLabelValues(b.mchid, "differs")); n != 1 {
			t.Errorf("counted %d", n)
		}
	})
	t.Run("no secret is in the log, also at debug", func(t *testing.T) {
		t.Parallel()
		b := newFixture(t)
		b.add(order)
		var sent []simulator.RawNotification
		for _, opts := range []options{
			{Entity: partly(300)}, {Entity: paid}, {Entity: paid}, {EventType: simulator.EventRefundSuccess}, {},
			{WrongSignature: true}, {APIv3Key: strings.Repeat("k", 32)}, {Plaintext: []byte(`{"openid":"oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",`)},
			{Entity: func(e *simulator.Entity) { paid(e); e.OutOrderNo = "attach openid " + e.OpenID }}, {ID: `oUpF8uMuAJO "openid"`, WrongSignature: true},
		} {
			n := b.raw(no, opts)
			sent = append(sent, n)
			b.post(b.url, n)
		}
		b.tellsNoSecret(b.logs.String(), sent...)
		b.tellsNoSecret(fmt.Sprintf("%+v", b.get(no)), sent...)
	})
}

// Another system of the merchant's gets the notification and passes it on, with
// all that its proxies do to a request: another path, other hop-by-hop headers,
// other cases of their names, the body in pieces. The signature covers none of that.
func TestARequestPassedOnVerifies(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.add(simulator.Order{OutOrderNo: "A", TotalAmount: 1250})
	target, err := url.Parse(b.url)
	if err != nil {
		t.Fatal(err)
	}
	var seen http.Header
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: target.Scheme, Host: target.Host})
		r.Out.URL.Path, r.Out.Host = target.Path, "collector.internal"
		r.SetXForwarded()
		for name, values := range r.Out.Header.Clone() {
			r.Out.Header.Del(name)
			r.Out.Header[strings.ToLower(name)] = values
		}
		r.Out.Header["x-request-start"] = []string{"t=1"}
		r.Out.Header["accept-encoding"] = []string{"gzip"}
		body, err := io.ReadAll(r.Out.Body)
		if err != nil {
			t.Error(err)
		}
		pieces, w := io.Pipe()
		go func() {
			for piece := range slices.Chunk(body, 100) {
				_, _ = w.Write(piece)
			}
			_ = w.Close()
		}()
		r.Out.Body, r.Out.ContentLength = pieces, -1
		seen = r.In.Header
	}}
	front := httptest.NewServer(proxy)
	defer front.Close()

	n := b.raw("A", options{Entity: paid})
	n.Header.Set("Connection", "keep-alive, X-Hop")
	n.Header.Set("X-Hop", "1")
	n.Header.Set("Te", "trailers")
	if r := b.post(front.URL+"/pay/callbacks/wechat.do", n); r.status != 200 || r.body != "" {
		t.Errorf("answered %d %s", r.status, r.body)
	}
	if seen.Get("Wechatpay-Signature") == "" {
		t.Error("the proxy saw no signature; the test is not what it says")
	}
	if o := b.get("A"); o.State != tasks.Paid {
		t.Errorf("%+v", o)
	}
	// And the refusal comes back through it as well.
	b.wantRefusal(b.post(front.URL+"/pay", b.raw("A", options{Entity: paid, WrongSignature: true})), 401)
}

// What a stranger writes into a path must not make a new time series.
func TestUnknownMerchantsMakeNoLabels(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.add(simulator.Order{OutOrderNo: "A"})
	n := b.raw("A", options{Entity: paid})
	for i := range 50 {
		b.wantRefusal(b.post(strings.Replace(b.url, b.mchid, fmt.Sprintf("19%08d", i), 1), n), 404)
	}
	if series := len(collectAll(b.metrics.Notifications)); series > 30 {
		t.Errorf("%d time series", series)
	}
	if n := counter(t, b.metrics.Notifications.WithLabelValues("unknown", "not_found")); n != 50 {
		t.Errorf("counted %d", n)
	}
}

func TestMetricsHaveEveryOutcomeFromTheStart(t *testing.T) {
	b := newFixture(t)
	have := map[string]bool{}
	for _, m := range collectAll(b.metrics.Notifications) {
		for _, l := range m.GetLabel() {
			if l.GetName() == "outcome" {
				have[l.GetValue()] = true
			}
		}
	}
	want := []notify.Result{
		notify.Paid, notify.Partial, notify.Ended, notify.Repeat, notify.UnknownOrder, notify.OtherEvent, notify.Unclear,
		notify.NotFound, notify.WrongMethod, notify.TooLarge, notify.Incomplete, notify.Failed, notify.NotReady, notify.Busy, notify.Panicked,
	}
	for _, r := range payscore.Refusals {
		want = append(want, notify.Result(r))
	}
	for _, o := range want {
		if !have[string(o)] {
			t.Errorf("there is no %s", o)
		}
	}
	if len(have) != len(want) {
		t.Errorf("%d outcomes, want %d", len(have), len(want))
	}
}
