package ledger_test

import (
	"fmt"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"payscore-collector/internal/audit"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

func (s *setup) recovery() map[ledger.RecoveryKey]ledger.RecoveryCount {
	s.Helper()
	r, err := s.ledger.Recovery(s.Context(), "2000-01-01", "2999-01-01")
	if err != nil {
		s.Fatal(err)
	}
	return r.Counts
}

// recounts compares the counters with the records of some orders.
func (s *setup) recounts(nos ...string) {
	s.Helper()
	want := audit.RecoveryCounts{}
	for _, no := range nos {
		cause, err := s.ledger.Cause(s.Context(), no)
		if err != nil {
			s.Fatal(err)
		}
		want.Add(s.get(no), cause)
	}
	for _, d := range want.Differ(s.recovery()) {
		s.Error(d.Text)
	}
}

// of is the sum of the counters of a kind, by their value.
func of(kind ledger.RecoveryKind, counts map[ledger.RecoveryKey]ledger.RecoveryCount) map[string]ledger.RecoveryCount {
	sums := map[string]ledger.RecoveryCount{}
	for key, c := range counts {
		if key.Kind == kind {
			c.Plus(sums[key.Value])
			sums[key.Value] = c
		}
	}
	return sums
}

func (s *setup) wantCounts(kind ledger.RecoveryKind, want map[string]ledger.RecoveryCount) {
	s.Helper()
	if diff := gocmp.Diff(want, of(kind, s.recovery())); diff != "" {
		s.Errorf("counters %c (-want +got):\n%s", kind, diff)
	}
}

// newRecovery begins at 08:30 of a Monday in Shanghai.
func newRecovery(t *testing.T) *timed {
	s := newTimed(t)
	s.now = time.Date(2026, 11, 23, 8, 30, 0, 0, ledger.China)
	s.pass(0)
	return s
}

// called is a collect call that was answered.
func (s *timed) called(no, verdict, code string) {
	s.Helper()
	c := s.granted(no)
	set := ledger.Settlement{State: tasks.Awaiting, Next: ledger.Recheck, Due: s.now, AddAttempts: 1,
		Declines: c.Order.Declines + 1, Call: "collect", Verdict: verdict, Code: code, Log: []ledger.Entry{entry("collect", verdict)}}
	if verdict == "accepted" {
		set.Accepted, set.Collected = 10*time.Second, s.now
	}
	s.settle(c, set)
}

// found is a query that finds payments of a total.
func (s *timed) found(no string, state tasks.State, total int64, list ...ledger.Payment) {
	s.Helper()
	s.settle(s.granted(no), ledger.Settlement{State: state, Next: ledger.Recheck, Due: s.now, VerifiedPaid: state == tasks.Paid,
		Call: "query", Verdict: "paid", Log: []ledger.Entry{entry("query", "paid")}, Facts: said(total, list...)})
}

func (s *timed) payment(seq, fen int64, tx string) ledger.Payment {
	p := through(seq, fen, tx)
	p.PaidAt = s.now.Truncate(time.Second)
	return p
}

// wantSettled is settle with the code that it must return.
func (s *timed) wantSettled(c ledger.Claim, want ledger.Code, set ledger.Settlement) {
	s.Helper()
	if got, _ := s.settle(c, set); got != want {
		s.Errorf("%s: %s, want %s", c.Order.OutOrderNo, got, want)
	}
}

func TestRecovery_ByWhoseDoing(t *testing.T) {
	s := newRecovery(t)
	var nos []string
	open := func(no string) string {
		nos = append(nos, no)
		s.open(no)
		return no
	}
	for _, after := range []time.Duration{0, 10 * time.Second, 11 * time.Second} {
		no := open(fmt.Sprint("AFTER-", after))
		s.called(no, "accepted", "")
		s.pass(after)
		paid := s.payment(1, 100, no)
		s.pass(time.Hour) // it is learnt later
		s.found(no, tasks.Paid, 100, paid)
	}
	no := open("NOTIFIED") // while the collect call is under way
	c := s.granted(no)
	n := paidNotice(no)
	n.Facts = said(100, s.payment(1, 100, no))
	s.notice(n)
	s.settle(c, ledger.Settlement{State: tasks.Awaiting, Next: ledger.Confirm, Due: s.now, Call: "collect", Verdict: "accepted", Accepted: 10 * time.Second, Collected: s.now, AddAttempts: 1, Log: []ledger.Entry{entry("collect", "accepted")}})
	no = open("DECLINED")
	s.called(no, "declined", "TRADE_ERROR")
	s.called(no, "declined", "OTHER") // not the first one
	s.found(no, tasks.Paid, 100, s.payment(1, 100, no))
	no = open("CASH")
	cash := elsewhere(1, 100)
	cash.PaidAt = s.now.Add(40 * day).Truncate(time.Second)
	s.pass(41 * day)
	s.found(no, tasks.Paid, 100, cash)
	no = open("PARTS")
	cash.PaidAt = s.now.Truncate(time.Second)
	cash.Amount, cash.Seq = 60, 2
	s.found(no, tasks.Exhausted, 100, s.payment(1, 30, no), cash)

	s.wantCounts(ledger.RecoveryWhose, map[string]ledger.RecoveryCount{
		ledger.ByCollect: {Paid: 3, Fen: 300}, ledger.ByUser: {Paid: 2, Fen: 230}, ledger.ByElsewhere: {Paid: 1, Fen: 160},
	})
	s.wantCounts(ledger.RecoveryLag, map[string]ledger.RecoveryCount{"1": {Paid: 5, Fen: 590}, "0": {Paid: 1, Fen: 100}})
	s.wantCounts(ledger.RecoveryCause, map[string]ledger.RecoveryCount{
		"": {Orders: 6, Owed: 600, Paid: 5, Fen: 590}, "TRADE_ERROR": {Orders: 1, Owed: 100, Paid: 1, Fen: 100},
	})
	s.wantCounts(ledger.RecoveryAttempts, map[string]ledger.RecoveryCount{
		"0": {Orders: 2, Owed: 200, Paid: 1, Fen: 190}, "1": {Orders: 4, Owed: 400, Paid: 4, Fen: 400}, "2": {Orders: 1, Owed: 100, Paid: 1, Fen: 100},
	})
	s.recounts(nos...)
	s.pass(26 * time.Hour)
	s.compact(compactNow)
	if !s.isCompact("DECLINED") {
		t.Error("nothing is compact")
	}
	s.recounts(nos...)
}

// Whether a payment follows from a collect call goes by when the call was over, although
// Redis was away then and the step is settled later.
func TestRecovery_SettledLate(t *testing.T) {
	s := newRecovery(t)
	for after, want := range map[time.Duration]string{0: ledger.PaidByCollect, 20 * time.Second: ledger.PaidByUser} {
		no := fmt.Sprint("AFTER-", after)
		s.open(no)
		c, called := s.granted(no), s.now
		s.pass(20 * time.Second)
		s.settle(c, ledger.Settlement{State: tasks.Awaiting, Next: ledger.Resolve, Due: s.now, Call: "collect", Verdict: "unknown",
			Accepted: 10 * time.Second, Collected: called, Log: []ledger.Entry{entry("collect", "unknown")}})
		paid := s.payment(1, 100, no)
		paid.PaidAt = called.Add(after).Truncate(time.Second)
		s.found(no, tasks.Paid, 100, paid)
		if o := s.get(no); o.PaidBy != want {
			t.Errorf("paid %s after the call: by %q, want %q", after, o.PaidBy, want)
		}
	}
}

// A collect call that WeChat Pay answers after the order has ended counts as if the answer
// had come first: it is an attempt, perhaps the first decline, and a payment that follows is
// its doing.
func TestRecovery_EndedUnderTheCall(t *testing.T) {
	s := newRecovery(t)
	answer := func(c ledger.Claim, verdict, code string, accepted time.Duration, facts ledger.Facts) {
		s.Helper()
		s.wantSettled(c, ledger.HasEnded, ledger.Settlement{State: tasks.Awaiting, Next: ledger.Confirm, Due: s.now, Call: "collect", Verdict: verdict, Code: code,
			Accepted: accepted, Collected: s.now, AddAttempts: 1, Log: []ledger.Entry{entry("collect", verdict)}, Facts: facts})
	}
	s.open("ELSEWHERE")
	c := s.granted("ELSEWHERE")
	n := paidNotice("ELSEWHERE")
	cash := elsewhere(1, 100)
	cash.PaidAt = s.now.Truncate(time.Second)
	n.Facts = said(100, cash)
	s.notice(n)
	answer(c, "declined", "TRADE_ERROR", 0, said(80, cash)) // a paid order does not take the total
	s.wantEvents("ELSEWHERE", "opened queued", "paid paid 100", "attempted paid 100")

	s.open("WITHDRAWN")
	c = s.granted("WITHDRAWN")
	s.withdraw("WITHDRAWN")
	answer(c, "accepted", "", 10*time.Second, ledger.Facts{})
	n = paidNotice("WITHDRAWN")
	n.Facts = said(100, s.payment(1, 100, "WITHDRAWN"))
	s.notice(n)

	s.wantCounts(ledger.RecoveryAttempts, map[string]ledger.RecoveryCount{"1": {Orders: 2, Owed: 200, Paid: 1, Fen: 200}})
	s.wantCounts(ledger.RecoveryCause, map[string]ledger.RecoveryCount{"": {Orders: 1, Owed: 100, Fen: 100}, "TRADE_ERROR": {Orders: 1, Owed: 100, Paid: 1, Fen: 100}})
	s.wantCounts(ledger.RecoveryWhose, map[string]ledger.RecoveryCount{ledger.ByCollect: {Fen: 100}, ledger.ByElsewhere: {Paid: 1, Fen: 100}})
	s.recounts("ELSEWHERE", "WITHDRAWN")
}

// A collect call that is answered after the order was withdrawn and reopened counts too: a
// reopening begins no new count of attempts.
func TestRecovery_ReopenedUnderTheCall(t *testing.T) {
	s := newRecovery(t)
	reopen := func(no string) {
		t.Helper()
		if err := openOrder(t.Context(), s.ledger, tasks.Order{Payload: payload(no), Reopen: true}); err != nil {
			t.Fatal(err)
		}
	}
	s.open("A")
	c := s.granted("A")
	s.withdraw("A")
	reopen("A")
	s.wantSettled(c, ledger.Reopened, ledger.Settlement{State: tasks.Awaiting, Next: ledger.Recheck, Due: s.now, Call: "collect", Verdict: "declined",
		Code: "TRADE_ERROR", Declines: 1, AddAttempts: 1, Log: []ledger.Entry{entry("collect", "declined")}})
	o := s.get("A")
	if o.State != tasks.Queued || o.Attempts != 1 || len(o.Log) != 1 {
		t.Errorf("%+v", o)
	}
	stream := s.stream()
	if e := stream[len(stream)-1]; e.Type != "order.attempted" || e.State != tasks.Queued || e.Attempts != 1 || e.Verdict != "declined" || e.Code != "TRADE_ERROR" {
		t.Errorf("%+v", e)
	}
	s.called("A", "declined", "OTHER") // not the first one
	s.withdraw("A")
	s.wantCounts(ledger.RecoveryCause, map[string]ledger.RecoveryCount{"TRADE_ERROR": {Orders: 1}})
	s.wantCounts(ledger.RecoveryAttempts, map[string]ledger.RecoveryCount{"2": {Orders: 1}})
	s.recounts("A")

	// It has ended again when the answer comes.
	s.open("B")
	c = s.granted("B")
	s.withdraw("B")
	reopen("B")
	s.withdraw("B")
	s.wantSettled(c, ledger.Reopened, ledger.Settlement{State: tasks.Awaiting, Next: ledger.Confirm, Due: s.now, Call: "collect", Verdict: "accepted",
		Accepted: 10 * time.Second, Collected: s.now, AddAttempts: 1, Log: []ledger.Entry{entry("collect", "accepted")}})
	n := paidNotice("B")
	n.Facts = said(100, s.payment(1, 100, "B"))
	s.notice(n)
	s.wantCounts(ledger.RecoveryAttempts, map[string]ledger.RecoveryCount{"1": {Orders: 1, Owed: 100, Fen: 100}, "2": {Orders: 1}})
	s.wantCounts(ledger.RecoveryWhose, map[string]ledger.RecoveryCount{ledger.ByCollect: {Fen: 100}})
	s.recounts("A", "B")
}

// An order that was enqueued while Redis's clock was ahead counts by the day that its record
// has in the end.
func TestRecovery_ClockAhead(t *testing.T) {
	s := newRecovery(t)
	claims := map[string]ledger.Claim{}
	s.pass(2 * day)
	nos := []string{"ENDS", "WITHDRAWN", "NO-ATTEMPT"}
	for _, no := range nos {
		s.open(no)
		claims[no] = s.granted(no)
	}
	s.withdraw(nos[1])
	s.withdraw(nos[2])
	s.pass(-2 * day)
	for no, c := range claims {
		set := ledger.Settlement{State: tasks.Rejected, Reason: "PARAM_ERROR", Call: "collect", Verdict: "bad_request", AddAttempts: 1, Collected: s.now, Log: []ledger.Entry{entry("collect", "bad_request")}}
		if no == nos[2] {
			set = ledger.Settlement{State: tasks.Awaiting, Next: ledger.Resolve, Due: s.now, Call: "collect", Verdict: "unknown", Collected: s.now, Log: []ledger.Entry{entry("collect", "unknown")}}
		}
		s.settle(c, set)
		if got, want := ledger.BookDateOf(s.get(no).OpenedAt), ledger.BookDateOf(s.now); got != want {
			t.Errorf("%s was opened on %s, want %s", no, got, want)
		}
	}
	newest := map[string]ledger.Event{}
	for _, e := range s.stream() {
		newest[e.OutOrderNo] = e
	}
	for _, no := range nos {
		if got, e := s.get(no), newest[no]; !e.OpenedAt.Equal(got.OpenedAt) || e.State != got.State {
			t.Errorf("%s: its newest event says that it is %s and was opened at %s, the order %s and %s", no, e.State, e.OpenedAt, got.State, got.OpenedAt)
		}
	}
	s.recounts(nos...)
}

// A reopening takes an end back; the next end counts, and a payment after an end too.
func TestRecovery_Reopening(t *testing.T) {
	for _, compact := range []bool{false, true} {
		t.Run(fmt.Sprint("compact=", compact), func(t *testing.T) {
			s := newRecovery(t)
			s.open("A")
			s.called("A", "declined", "TRADE_ERROR")
			s.found("A", tasks.Exhausted, 100)
			s.wantCounts(ledger.RecoveryState, map[string]ledger.RecoveryCount{"e": {Orders: 1, Owed: 100}})
			if s.pass(30 * time.Hour); compact {
				s.compact(compactNow)
			}
			s.reopenLater("A")
			s.wantCounts(ledger.RecoveryState, map[string]ledger.RecoveryCount{})
			s.pass(time.Hour)
			s.withdraw("A")
			s.wantCounts(ledger.RecoveryCause, map[string]ledger.RecoveryCount{"TRADE_ERROR": {Orders: 1, Owed: 100}})
			if s.pass(30 * time.Hour); compact {
				s.compact(compactNow)
			}
			n := paidNotice("A")
			n.Facts = said(100, s.payment(1, 40, "A"))
			n.Paid = false
			s.notice(n)
			s.wantCounts(ledger.RecoveryState, map[string]ledger.RecoveryCount{"w": {Orders: 1, Owed: 100, Fen: 40}})
			s.wantCounts(ledger.RecoveryLag, map[string]ledger.RecoveryCount{"3": {Fen: 40}})
			s.recounts("A")
		})
	}
}

// Old days go, and orders of theirs change no counter any more.
func TestRecovery_OldDays(t *testing.T) {
	s := newRecovery(t)
	s.open("A")
	s.open("B")
	s.withdraw("A")
	s.pass(399 * day)
	fill := func() {
		if _, err := s.ledger.FillRecovery(s.Context(), s.now); err != nil {
			t.Fatal(err)
		}
	}
	fill()
	s.wantCounts(ledger.RecoveryState, map[string]ledger.RecoveryCount{"w": {Orders: 1}})
	s.pass(day)
	fill()
	s.withdraw("B")
	s.reopenLater("A")
	s.wantCounts(ledger.RecoveryState, map[string]ledger.RecoveryCount{})
}

// An end takes two more commands, and another step none.
func TestRecovery_Commands(t *testing.T) {
	s := newSetup(t)
	if !s.redis.Real {
		t.Skip("the embedded Redis does not count the commands of scripts")
	}
	calls := func() (n int64) {
		info, err := s.redis.Client.InfoMap(s.Context(), "commandstats").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"cmdstat_hmget", "cmdstat_hset", "cmdstat_hdel", "cmdstat_hincrby"} {
			var c int64
			_, _ = fmt.Sscanf(info["Commandstats"][name], "calls=%d,", &c)
			n += c
		}
		return n
	}
	spent := func(set ledger.Settlement) int64 {
		c := s.granted("A")
		set.Due, set.Call = c.Now, "collect"
		before := calls()
		s.settle(c, set)
		return calls() - before
	}
	s.open("A")
	step := ledger.Settlement{State: tasks.Awaiting, Next: ledger.Recheck, AddAttempts: 1, Log: []ledger.Entry{entry("collect", "x")}}
	plain := step
	plain.Verdict = "owed"
	spent(plain) // which also moves the order to awaiting
	was := spent(plain)
	for _, verdict := range []string{"declined", "accepted"} {
		set := step
		if set.Verdict = verdict; verdict == "accepted" {
			set.Accepted = time.Second
		}
		if got := spent(set); got != was {
			t.Errorf("%s: %d commands, %d without what is counted", verdict, got, was)
		}
	}
	end := step
	end.State = tasks.Closed
	// Beside the record, the two counters by state and the two of the recovery.
	if got := spent(end); got != was+4 {
		t.Errorf("an end: %d commands, another step %d", got, was)
	}
}
