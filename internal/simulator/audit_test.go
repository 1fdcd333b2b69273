package simulator

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"
)

func TestAudit_Counts(t *testing.T) {
	b := setup(t, Order{OutOrderNo: "A1", TotalAmount: 1000}, Order{OutOrderNo: "A2", Fate: FateUnknown})
	b.collect("A1")
	b.query("A1")
	b.query("A2")
	b.query("NEVER-ADDED")
	b.call(t.Context(), http.MethodGet, "/v3/certificates", "")
	b.call(t.Context(), http.MethodGet, "/v3/nowhere", "")
	r := b.sim.Report()
	if r.Calls != 6 || r.CollectCalls != 1 || r.QueryCalls != 3 || r.SignedReplies != 6 || r.RejectedSignatures != 0 {
		t.Errorf("got %+v", r)
	}
	if r.MostCallsInASecond < 1 || r.MostCallsInASecond > 6 {
		t.Errorf("most_calls_in_a_second = %d", r.MostCallsInASecond)
	}
	if len(r.Orders) != 2 || r.Orders[0].OutOrderNo != "A1" || r.Orders[1].OutOrderNo != "A2" {
		t.Fatalf("orders %+v, want A1 and A2 as they were added", r.Orders)
	}
	if o := r.Orders[0]; o.CollectCalls != 1 || o.QueryCalls != 1 || o.MostAtOnce != 1 || o.MoneyMoved != 1000 || o.State != StateDone || o.Fate != FatePays {
		t.Errorf("A1: %+v", o)
	}
	if o := r.Orders[1]; o.CollectCalls != 0 || o.QueryCalls != 1 || o.State != StateNotExist || o.MoneyMoved != 0 {
		t.Errorf("A2: %+v", o)
	}
	b.sim.Reset()
	if r := b.sim.Report(); r.Calls != 0 || r.CollectCalls != 0 || r.QueryCalls != 0 || r.SignedReplies != 0 || r.MostCallsInASecond != 0 || len(r.Orders) != 0 {
		t.Errorf("after Reset: %+v", r)
	}
}

func TestAudit_MostAtOnce(t *testing.T) {
	b := setup(t,
		Order{OutOrderNo: "A1", Fate: FateNever, Replies: []ScriptedReply{{Call: CallCollect, Kind: KindHang, Times: 2}}},
		Order{OutOrderNo: "A2"})
	hang := func() (leave func()) {
		t.Helper()
		before := b.truth("A1").Audit.CollectCalls
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan answer)
		go func() { done <- b.collectContext(ctx, "A1") }()
		b.until("a hanging call", func() bool { return b.truth("A1").Audit.CollectCalls == before+1 })
		return func() { cancel(); <-done }
	}
	most := func(no string) int64 { return b.truth(no).Audit.MostAtOnce }

	b.query("A1")
	b.query("A1")
	if got := most("A1"); got != 1 {
		t.Fatalf("one after the other: %d, want 1", got)
	}
	leaveFirst := hang()
	b.query("A1")
	if got := most("A1"); got != 2 {
		t.Fatalf("a query during a collect: %d, want 2", got)
	}
	leaveFirst()
	o := b.sim.find("A1")
	b.until("the server to notice that the client left", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.audit.inFlight == 0
	})
	leaveSecond := hang()
	b.query("A1")
	if got := most("A1"); got != 2 {
		t.Errorf("the call whose client left still counts: %d, want 2", got)
	}
	leaveSecond()
	b.query("A2")
	if got := most("A2"); got != 1 {
		t.Errorf("another order: %d, want 1", got)
	}
}

func TestAudit_CallsAfterEnd(t *testing.T) {
	after := func(b *bench) int64 { return b.truth("A1").Audit.CallsAfterEnd }
	for _, tt := range []struct {
		fate Fate
		want int64 // after two queries and a collect
	}{
		{FateNothingOwed, 2}, {FateRevoked, 2}, {FateExpired, 2},
		{FateUnknown, 0}, {FateCreated, 0}, {FateNotCompleted, 0}, {FateNever, 0},
	} {
		t.Run(string(tt.fate), func(t *testing.T) {
			b := setup(t, Order{OutOrderNo: "A1", Fate: tt.fate})
			b.query("A1")
			if got := after(b); got != 0 {
				t.Errorf("the call that shows the end counts as one after it: %d", got)
			}
			b.query("A1")
			b.collect("A1")
			if got := after(b); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
	t.Run("a collect shows no end", func(t *testing.T) {
		b := setup(t, Order{OutOrderNo: "A1"})
		b.collect("A1") // pays
		b.clock.pass(time.Second)
		b.collect("A1") // ORDER_DONE, an unsigned reply that cannot be verified
		b.query("A1")
		if got := after(b); got != 0 {
			t.Errorf("got %d, want 0", got)
		}
		b.query("A1")
		if got := after(b); got != 1 {
			t.Errorf("got %d, want 1", got)
		}
	})
	for name, f := range map[string]Faults{
		"a wrong signature":   {WrongSignature: 1},
		"a missing signature": {MissingSignature: 1},
		"a dropped reply":     {DropAfter: 1},
	} {
		t.Run(name+" shows no end", func(t *testing.T) {
			b := setup(t, Order{OutOrderNo: "A1", Fate: FateRevoked})
			b.fail(f)
			b.query("A1")
			b.fail(Faults{})
			b.query("A1")
			if got := after(b); got != 0 {
				t.Errorf("got %d, want 0", got)
			}
		})
	}
	for _, kind := range []ReplyKind{KindTruncated, KindOKUnsigned, KindOKWrongSignature} {
		t.Run(string(kind)+" shows no end", func(t *testing.T) {
			b := setup(t, Order{OutOrderNo: "A1", Fate: FateRevoked, Replies: []ScriptedReply{{Kind: kind}}})
			b.query("A1")
			b.query("A1")
			if got := after(b); got != 0 {
				t.Errorf("got %d, want 0", got)
			}
		})
	}
	t.Run("a reply to a client that left shows no end", func(t *testing.T) {
		b := setup(t, Order{OutOrderNo: "A1", Fate: FateRevoked})
		b.fail(Faults{Latency: Duration(time.Hour)})
		ctx, leave := context.WithCancel(t.Context())
		done := make(chan answer)
		go func() { done <- b.queryContext(ctx, "A1") }()
		b.until("the call to arrive", func() bool { return b.truth("A1").Audit.QueryCalls == 1 })
		leave()
		<-done
		b.fail(Faults{})
		b.query("A1")
		if got := after(b); got != 0 {
			t.Errorf("got %d, want 0", got)
		}
	})
}

// The report tells what the user paid without a collect, and why the first one failed.
func TestAudit_Doings(t *testing.T) {
	b := setup(t, Order{OutOrderNo: "A1", TotalAmount: 100, Fate: FateDeclines(1), Replies: []ScriptedReply{
		{Call: CallCollect, HTTP: 403, Code: "NO_AUTH", DetailCode: "1"}, {Call: CallCollect, HTTP: 403, Code: "TRADE_ERROR", DetailCode: "271299627"},
	}}, Order{OutOrderNo: "A2", TotalAmount: 100, Fate: FateUserPays(time.Minute)})
	for range 3 {
		b.collect("A1")
		b.clock.pass(time.Minute)
	}
	b.query("A2")
	if o := b.truth("A1").Audit; o.FirstDecline != "271299627" || o.ByUser != nil {
		t.Errorf("%+v", o)
	}
	if o := b.truth("A2").Audit; !slices.Equal(o.ByUser, []int{1}) || o.FirstDecline != "" {
		t.Errorf("%+v", o)
	}
}

func TestAudit_LeastGap(t *testing.T) {
	b := setup(t, Order{OutOrderNo: "A1", Fate: FateNever})
	gap := func() *int64 { return b.truth("A1").Audit.LeastGapMS }
	b.collect("A1")
	b.query("A1")
	if gap() != nil {
		t.Errorf("after one collect: %d, want none", *gap())
	}
	for _, tt := range []struct {
		pass time.Duration
		want int64
	}{{5 * time.Second, 5000}, {2500 * time.Millisecond, 2500}, {time.Minute, 2500}, {300 * time.Millisecond, 300}} {
		b.clock.pass(tt.pass)
		b.collect("A1")
		if got := gap(); got == nil || *got != tt.want {
			t.Errorf("after a collect %v later: %v, want %d", tt.pass, got, tt.want)
		}
	}
}

func TestWindow_Slides(t *testing.T) {
	var w window
	at := time.Now()
	for i, tt := range []struct{ ms, most int }{
		{0, 1}, {500, 2}, {999, 3}, {1000, 3}, {1400, 4}, {3000, 4}, {3001, 4}, {3999, 4}, {3999, 4}, {3999, 5},
	} {
		w.add(at.Add(time.Duration(tt.ms) * time.Millisecond))
		if w.most != tt.most {
			t.Errorf("event %d at %d ms: most %d, want %d", i+1, tt.ms, w.most, tt.most)
		}
	}
}
