package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

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
		set.Accepted = 10 * time.Second
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
	s.settle(c, ledger.Settlement{State: tasks.Awaiting, Next: ledger.Confirm, Due: s.now, Call: "collect", Verdict: "accepted", Accepted: 10 * time.Second, AddAttempts: 1, Log: []ledger.Entry{entry("collect", "accepted")}})
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

// A collect call that WeChat Pay answers after the order has ended counts as if the answer
// had come first: it is an attempt, perhaps the first decline, and a payment that follows is
// its doing.
func TestRecovery_EndedUnderTheCall(t *testing.T) {
	s := newRecovery(t)
	answer := func(c ledger.Claim, verdict, code string, accepted time.Duration, facts ledger.Facts) {
		s.Helper()
		s.wantSettled(c, ledger.HasEnded, ledger.Settlement{State: tasks.Awaiting, Next: ledger.Confirm, Due: s.now, Call: "collect", Verdict: verdict, Code: code,
			Accepted: accepted, AddAttempts: 1, Log: []ledger.Entry{entry("collect", verdict)}, Facts: facts})
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
		Accepted: 10 * time.Second, AddAttempts: 1, Log: []ledger.Entry{entry("collect", "accepted")}})
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
	for _, e := range s.stream() {
		if got := s.get(e.OutOrderNo); e.Call != "" && !e.OpenedAt.Equal(got.OpenedAt) {
			t.Errorf("%s: its event says that it was opened at %s, the order %s", e.OutOrderNo, e.OpenedAt, got.OpenedAt)
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

// Orders that ended before are counted exactly once, and those that a
// previous release ends during an upgrade a day later.
func TestRecovery_Fill(t *testing.T) {
	s := newRecovery(t)
	k := ledger.KeysOf(mchid)
	var nos []string
	old := func(no string) { // as a previous release leaves it
		s.redis.Client.HDel(s.Context(), k.Order(no), "tally", "pby", "cause", "accepted")
		nos = append(nos, no)
	}
	for i := range 130 { // with the same time, more than a page
		no := fmt.Sprint("A-", i)
		s.open(no)
		s.withdraw(no)
		old(no)
	}
	for i := range 60 {
		no := fmt.Sprint("B-", i)
		s.open(no)
		s.called(no, "declined", "TRADE_ERROR")
		s.pass(time.Second)
		s.found(no, tasks.Paid, 100, s.payment(1, 100, "1"+strconv.Itoa(i)))
		old(no)
	}
	s.pass(26 * time.Hour)
	s.compact(ledger.CompactArgs{Patient: 365 * day, After: 26*time.Hour - 30*time.Second})
	s.redis.Client.Del(s.Context(), k.Recovery())
	s.open("NEW")

	if r, err := s.ledger.Recovery(s.Context(), "2000-01-01", "2999-01-01"); err != nil || r.Filled {
		t.Errorf("before: %v %v", r.Filled, err)
	}
	fill := func() bool {
		more, err := s.ledger.FillRecovery(s.Context(), s.now)
		if err != nil && !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		return more || err != nil
	}
	kill := &killing{at: 3}
	s.redis.Client.AddHook(kill)
	for fill() { // each time the worker dies after three more pages
		if s.get("NEW").State.Open() {
			s.withdraw("NEW")
			s.open("NEWER")
			s.withdraw("NEWER")
		}
		kill.n = 0
	}
	s.recountsFilled(append(nos, "NEW", "NEWER")...)
	if kill.killed < 2 {
		t.Errorf("killed %d times", kill.killed)
	}
	s.open("LATER")
	s.withdraw("LATER")
	old("LATER")
	tally := s.recovery()
	kill.at = 0
	if fill() || gocmp.Diff(tally, s.recovery()) != "" {
		t.Error("it was filled again at once")
	}
	s.pass(25 * time.Hour)
	for fill() {
	}
	if r, err := s.ledger.Recovery(s.Context(), "2000-01-01", "2999-01-01"); err != nil || !r.Filled {
		t.Errorf("%v %v", r.Filled, err)
	}
	if fields := s.stored("LATER"); fields["tally"] == "" {
		t.Errorf("an order that a previous release ended is not counted: %q", fields)
	}
	if got := s.redis.Client.HGet(s.Context(), k.Recovery(), "fill").Val(); got != "done" {
		t.Errorf("fill is %q", got)
	}

	// A place that cannot be read begins again, and counts nothing twice.
	before := s.recovery()
	s.redis.Client.HSet(s.Context(), k.Recovery(), "fill", "7 x")
	for fill() {
	}
	if diff := gocmp.Diff(before, s.recovery()); diff != "" {
		t.Error(diff)
	}
}

// A first pass can take longer than a day: the second one comes a day after its end, also if
// Redis's clock goes back meanwhile.
func TestRecovery_FillAgainADayAfterTheEnd(t *testing.T) {
	s := newRecovery(t)
	k := ledger.KeysOf(mchid)
	fill := func() {
		t.Helper()
		for more := true; more; {
			var err error
			if more, err = s.ledger.FillRecovery(t.Context(), s.now); err != nil {
				t.Fatal(err)
			}
		}
	}
	counted := func(what string, want bool) {
		t.Helper()
		if fill(); s.stored("LATER")["tally"] != "" != want {
			t.Errorf("%s: counted is not %t", what, want)
		}
	}
	s.redis.Client.HSet(t.Context(), k.Recovery(), "fill", fmt.Sprintf("1 %d 0 0 0", s.now.UnixMilli()))
	s.pass(30 * time.Hour)
	fill()
	s.pass(20 * time.Hour)
	s.open("LATER") // which a previous release ends
	s.withdraw("LATER")
	s.redis.Client.HDel(t.Context(), k.Order("LATER"), "tally")
	counted("less than a day after the end", false)
	s.pass(-60 * time.Hour)
	counted("after the clock went back", false)
	s.pass(23 * time.Hour)
	counted("less than a day after that", false)
	s.pass(2 * time.Hour)
	counted("a day later", true)
}

// A pass that Redis's clock sees begin ahead, and right again before its end, is followed by
// one that takes what ended from then on.
func TestRecovery_FillBegunByAClockThatWasAhead(t *testing.T) {
	s := newRecovery(t)
	kill := &killing{at: 1}
	s.redis.Client.AddHook(kill)
	page := func() {
		t.Helper()
		kill.n = 0
		if _, err := s.ledger.FillRecovery(t.Context(), s.now); !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
	}
	s.pass(2 * day)
	page() // the paid orders
	s.pass(-2 * day)
	page()
	s.open("LATER") // which a previous release makes paid
	s.notice(paidNotice("LATER"))
	s.redis.Client.HDel(t.Context(), ledger.KeysOf(mchid).Order("LATER"), "tally")
	s.pass(3 * time.Hour)
	kill.at = 0
	for _, want := range []bool{false, true} {
		for more := true; more; {
			var err error
			if more, err = s.ledger.FillRecovery(t.Context(), s.now); err != nil {
				t.Fatal(err)
			}
		}
		if got := s.stored("LATER")["tally"] != ""; got != want {
			t.Errorf("counted is %t, want %t", got, want)
		}
		s.pass(25 * time.Hour)
	}
}

// An order that a previous release has reopened, and ended again, counts as it stands.
func TestRecovery_ReopenedByAPreviousRelease(t *testing.T) {
	s := newRecovery(t)
	k := ledger.KeysOf(mchid)
	s.open("A")
	s.called("A", "declined", "TRADE_ERROR")
	s.found("A", tasks.Exhausted, 100)
	s.open("B")
	s.called("B", "accepted", "")
	s.found("B", tasks.Paid, 100, s.payment(1, 100, "T"))
	tally, counters := s.stored("A")["tally"], s.redis.Client.HGetAll(t.Context(), k.Recovery()).Val()
	s.reopenLater("A")
	s.withdraw("A")
	s.redis.Client.HSet(t.Context(), k.Order("A"), "tally", tally)
	s.redis.Client.Del(t.Context(), k.Recovery())
	s.redis.Client.HSet(t.Context(), k.Recovery(), counters)
	if _, err := s.ledger.FillRecovery(t.Context(), s.now); err != nil {
		t.Fatal(err)
	}
	s.wantCounts(ledger.RecoveryState, map[string]ledger.RecoveryCount{"w": {Orders: 1, Owed: 100}, "p": {Orders: 1, Owed: 100, Paid: 1, Fen: 100}})
	s.wantCounts(ledger.RecoveryCause, map[string]ledger.RecoveryCount{"TRADE_ERROR": {Orders: 1, Owed: 100}, "": {Orders: 1, Owed: 100, Paid: 1, Fen: 100}})
	s.recounts("A", "B")
}

// A payment of an order whose first decline was not recorded does not make it one that was
// not declined, also if the order is compact meanwhile.
func TestRecovery_FilledAndPaidLater(t *testing.T) {
	for _, compact := range []bool{false, true} {
		t.Run(fmt.Sprint("compact=", compact), func(t *testing.T) {
			s := newRecovery(t)
			s.open("A")
			s.called("A", "declined", "TRADE_ERROR")
			s.found("A", tasks.Exhausted, 100)
			s.redis.Client.HDel(t.Context(), ledger.KeysOf(mchid).Order("A"), "tally", "pby", "cause")
			s.redis.Client.Del(t.Context(), ledger.KeysOf(mchid).Recovery())
			if _, err := s.ledger.FillRecovery(t.Context(), s.now); err != nil {
				t.Fatal(err)
			}
			s.wantCounts(ledger.RecoveryCause, map[string]ledger.RecoveryCount{ledger.CauseUnknown: {Orders: 1, Owed: 100}})
			if s.pass(30 * time.Hour); compact {
				s.compact(compactNow)
				if fields := s.stored("A"); fields["tally"] != "" {
					t.Errorf("the tally stands beside the compact record: %q", fields)
				}
			}
			n := paidNotice("A")
			n.Facts = said(100, s.payment(1, 40, "A"))
			n.Paid = false
			s.notice(n)
			s.wantCounts(ledger.RecoveryCause, map[string]ledger.RecoveryCount{ledger.CauseUnknown: {Orders: 1, Owed: 100, Fen: 40}})
		})
	}
}

// An order that a previous release has had declined, without recording the cause, does not
// get the code of a later decline as its first, and does not count as never declined.
func TestRecovery_DeclinedBefore(t *testing.T) {
	unknown := map[string]ledger.RecoveryCount{ledger.CauseUnknown: {Orders: 1, Owed: 100}}
	for _, last := range []struct {
		what string
		do   func(s *timed)
		want map[string]ledger.RecoveryCount
	}{
		{"declined again", func(s *timed) {
			s.called("A", "declined", "OTHER")
			s.found("A", tasks.Exhausted, 100)
		}, unknown},
		{"given up", func(s *timed) { s.found("A", tasks.Exhausted, 100) }, unknown},
		{"notified", func(s *timed) {
			n := paidNotice("A")
			n.Facts = said(100, s.payment(1, 100, "A"))
			s.notice(n)
		}, map[string]ledger.RecoveryCount{ledger.CauseUnknown: {Orders: 1, Owed: 100, Paid: 1, Fen: 100}}},
		{"withdrawn", func(s *timed) { s.withdraw("A") }, map[string]ledger.RecoveryCount{ledger.CauseUnknown: {Orders: 1}}},
	} {
		for _, log := range []string{"", `1795532001189 {"call":"collect","verdict":"declined","http_status":403,"code":"TRADE_ERROR","elapsed_ms":1}`} {
			t.Run(fmt.Sprint(last.what, ", log of a release before 0.3: ", log != ""), func(t *testing.T) {
				s := newRecovery(t)
				s.open("A")
				s.called("A", "declined", "TRADE_ERROR")
				k := ledger.KeysOf(mchid)
				s.redis.Client.HDel(t.Context(), k.Order("A"), "cause")
				if log != "" {
					s.redis.Client.LSet(t.Context(), k.Log("A"), 0, log)
				}
				last.do(s)
				s.wantCounts(ledger.RecoveryCause, last.want)
				s.recounts("A")
			})
		}
	}
	t.Run("accepted before, without a payment", func(t *testing.T) {
		s := newRecovery(t)
		s.open("A")
		s.called("A", "accepted", "")
		s.found("A", tasks.Awaiting, 100)
		s.called("A", "declined", "TRADE_ERROR")
		s.withdraw("A")
		s.wantCounts(ledger.RecoveryCause, map[string]ledger.RecoveryCount{"TRADE_ERROR": {Orders: 1, Owed: 100}})
	})
}

// recountsFilled is recounts for orders whose cause may be unknown.
func (s *setup) recountsFilled(nos ...string) {
	s.Helper()
	want := audit.RecoveryCounts{}
	for _, no := range nos {
		cause := ""
		if o := s.get(no); o.Attempts > 0 {
			cause = ledger.CauseUnknown
		}
		want.Add(s.get(no), cause)
	}
	for _, d := range want.Differ(s.recovery()) {
		s.Error(d.Text)
	}
}

var errKilled = errors.New("killed")

// killing lets every at-th run of fill.lua be the last thing that a worker does.
type killing struct{ n, at, killed int }

func (k *killing) DialHook(next redis.DialHook) redis.DialHook { return next }
func (k *killing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (k *killing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if args := cmd.Args(); k.at > 0 && len(args) > 3 && args[0] == "evalsha" && args[3] == ledger.KeysOf(mchid).Recovery() {
			if k.n++; k.n == k.at {
				k.killed++
				cmd.SetErr(errKilled)
				return errKilled
			}
		}
		return err
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
