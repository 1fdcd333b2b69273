package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// paidBy is a settlement by which WeChat Pay has signed a payment.
func paidBy(state tasks.State, tx string, amount int64, when time.Time) ledger.Settlement {
	s := ledger.Settlement{State: state, Facts: ledger.Facts{
		Paid: &amount, Payments: []ledger.Payment{{TransactionID: tx, Amount: amount, PaidType: "NEWTON", PaidAt: when, Seq: 1}},
	}}
	if state.Open() {
		s.Next, s.Due = ledger.Recheck, when.Add(time.Hour)
	} else {
		s.Facts.Total, s.Facts.Done, s.VerifiedPaid = &amount, true, true
	}
	return s
}

func (p pager) paidSince(since time.Time) (nos []string) {
	p.Helper()
	for o, err := range p.l.PaidSince(p.Context(), since) {
		if err != nil {
			p.Fatal(err)
		}
		if len(o.Payments) == 0 {
			p.Errorf("order %s has no payment", o.OutOrderNo)
		}
		nos = append(nos, o.OutOrderNo)
	}
	slices.Sort(nos)
	return nos
}

// Every order with a signed payment is found, whatever its state: paid ones that ended late
// enough, open ones that are paid in part, and others that were paid after their end.
func TestLedger_PaidSince(t *testing.T) {
	p := newPager(t)
	now := time.Now().Truncate(time.Second)
	for _, no := range []string{"PAID", "PART", "NONE", "LATE", "GONE"} {
		p.open(no)
	}
	p.settle("PAID", paidBy(tasks.Paid, "T1", 100, now))
	p.settle("PART", paidBy(tasks.Awaiting, "T2", 30, now))
	p.settle("GONE", ledger.Settlement{State: tasks.Rejected, Reason: "x"})
	p.settle("LATE", ledger.Settlement{State: tasks.Exhausted, Reason: "gave_up"})
	late := paidBy(tasks.Paid, "T3", 50, now)
	if code, _, err := p.l.Notice(t.Context(), ledger.Notice{OutOrderNo: "LATE", Token: ledger.NewToken(), Paid: true, Facts: late.Facts, Entry: ledger.Entry{Call: "notification", Verdict: "paid"}}); err != nil || code != ledger.NoticeEnded {
		t.Fatal(code, err)
	}
	if got := p.paidSince(now.Add(-time.Hour)); !slices.Equal(got, []string{"LATE", "PAID", "PART"}) {
		t.Errorf("found %v", got)
	}
	if got := p.paidSince(now.Add(time.Hour)); !slices.Equal(got, []string{"LATE", "PART"}) {
		t.Errorf("of later days: %v", got)
	}
	orders, err := p.l.Records(t.Context(), []string{"PAID", "ABSENT", "NONE"})
	if err != nil || len(orders) != 3 || orders[0].State != tasks.Paid || orders[1].State != "" || orders[2].State != tasks.Queued || len(orders[0].Payments) != 1 {
		t.Errorf("%+v, %v", orders, err)
	}
}

// More orders than a page has, of which several end in the same millisecond.
func TestLedger_PaidSince_Pages(t *testing.T) {
	p := newPager(t)
	now := time.Now().Truncate(time.Second)
	want := map[string]bool{}
	for i := range 230 {
		no := "A" + string(rune('a'+i%26)) + string(rune('a'+i/26))
		p.open(no)
		if i%3 == 0 {
			p.settle(no, paidBy(tasks.Awaiting, "T"+no, 1, now))
		} else {
			p.settle(no, paidBy(tasks.Paid, "T"+no, 1, now))
		}
		want[no] = true
	}
	got := p.paidSince(now.Add(-time.Hour))
	for _, no := range slices.Compact(got) {
		delete(want, no)
	}
	if len(got) != 230 || len(want) != 0 {
		t.Errorf("%d orders found; missing: %v", len(got), want)
	}
}

func TestLedger_CloseBook(t *testing.T) {
	p := newPager(t)
	today := ledger.BookDateOf(time.Now())
	if _, _, err := p.l.Book(t.Context(), today); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("of a day that was not closed: %v", err)
	}
	for _, text := range []string{`{"n":1}`, `{"n":2}`} {
		if _, err := p.l.CloseBook(t.Context(), today, []byte(text), []byte(text), map[string]int64{"refunded": 2}, []string{"A2", "A1"}, ledger.BookPlan{}); err != nil {
			t.Fatal(err)
		}
		got, at, err := p.l.Book(t.Context(), today)
		if err != nil || string(got) != text || time.Since(at).Abs() > time.Hour {
			t.Errorf("%s, %s, %v", got, at, err)
		}
	}
	b, err := p.l.Bookkeeping(t.Context())
	if err != nil || !slices.Equal(b.Asks, []string{"A1", "A2"}) {
		t.Errorf("%+v, %v", b, err)
	}
	if b.Last != today || b.Counts["refunded"] != 2 {
		t.Errorf("the newest day: %+v", b)
	}
	// What is older than 400 days leaves, and is not the newest day.
	old := ledger.BookDateOf(time.Now().Add(-ledger.KeepBooks - 48*time.Hour))
	if _, err := p.l.CloseBook(t.Context(), old, []byte("{}"), []byte("{}"), nil, nil, ledger.BookPlan{}); err != nil {
		t.Fatal(err)
	}
	if dates, err := p.l.BookDates(t.Context(), old); err != nil || !slices.Equal(dates, []ledger.BookDate{today}) {
		t.Errorf("%v, %v", dates, err)
	}
	for _, first := range []ledger.BookDate{"2026-11-20", "2026-11-26"} {
		if err := p.l.BeginBooks(t.Context(), first); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := p.l.Bookkeeping(t.Context()); err != nil || b.Since != "2026-11-20" || b.Last != today {
		t.Errorf("%+v, %v", b, err)
	}
}

// One at a time closes the books, and a day that was not to be had is tried later by all.
func TestLedger_BookTurn(t *testing.T) {
	p := newPager(t)
	turn := func(token string, lease time.Duration, want bool) {
		t.Helper()
		if got, err := p.l.BookTurn(t.Context(), token, lease); err != nil || got != want {
			t.Fatalf("turn of %s: %v, %v", token, got, err)
		}
	}
	turn("a", time.Minute, true)
	turn("b", time.Minute, false)
	turn("a", time.Minute, true)
	if err := p.l.EndBookTurn(t.Context(), "b", "", 0); err != nil {
		t.Fatal(err)
	}
	turn("b", time.Minute, false)
	if err := p.l.EndBookTurn(t.Context(), "a", "2026-11-26", time.Hour); err != nil {
		t.Fatal(err)
	}
	turn("b", time.Minute, true)
	b, err := p.l.Bookkeeping(t.Context())
	if err != nil || time.Until(b.Again["2026-11-26"]) < 30*time.Minute {
		t.Errorf("%+v, %v", b, err)
	}
}

// A closed day's next comparison stands in the ledger with its result, also if the worker
// dies before the end of its turn. A plan stays until a comparison has acted on it, or the
// day agrees.
func TestLedger_BookPlan(t *testing.T) {
	rdb := redistest.Start(t).Client
	p := pager{t, ledger.New(rdb, "1900000001")}
	const date = ledger.BookDate("2026-11-26")
	planned := func() time.Time {
		t.Helper()
		b, err := p.l.Bookkeeping(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return b.Again[date]
	}
	if err := p.l.EndBookTurn(t.Context(), ledger.NewToken(), date, 2*time.Hour); err != nil || planned().IsZero() {
		t.Fatal(planned(), err)
	}
	for _, tt := range []struct {
		what string
		acts bool // on what is planned
		plan ledger.BookPlan
		want time.Duration // from now; 0 for no plan
	}{
		{"a worker's retry, then the first result", false, ledger.BookPlan{}, 0},
		{"the first plan", false, ledger.BookPlan{After: 10 * time.Hour}, 10 * time.Hour},
		{"a result that wants none", false, ledger.BookPlan{}, 10 * time.Hour},
		{"a later one", false, ledger.BookPlan{After: 20 * time.Hour}, 10 * time.Hour},
		{"an earlier one", false, ledger.BookPlan{After: 5 * time.Hour}, 5 * time.Hour},
		{"another plan was acted on", false, ledger.BookPlan{Acted: time.Now().Add(time.Hour)}, 5 * time.Hour},
		{"it was acted on, and a later one is wanted", true, ledger.BookPlan{After: 30 * time.Hour}, 30 * time.Hour},
		{"it was acted on, and none is wanted", true, ledger.BookPlan{}, 0},
		{"a plan again", false, ledger.BookPlan{After: 10 * time.Hour}, 10 * time.Hour},
		{"the day agrees", false, ledger.BookPlan{Agreed: true}, 0},
	} {
		if tt.acts {
			tt.plan.Acted = planned()
		}
		if _, err := p.l.CloseBook(t.Context(), date, []byte("{}"), []byte("{}"), nil, nil, tt.plan); err != nil {
			t.Fatal(err)
		}
		if at := planned(); at.IsZero() != (tt.want == 0) || tt.want > 0 && (time.Until(at)-tt.want).Abs() > time.Hour {
			t.Errorf("%s: planned for %s, want %s from now", tt.what, at, tt.want)
		}
	}
	// A plan leaves with its day.
	if err := p.l.EndBookTurn(t.Context(), ledger.NewToken(), date, time.Hour); err != nil {
		t.Fatal(err)
	}
	start, err := date.Start()
	if err != nil {
		t.Fatal(err)
	}
	if err := rdb.ZAdd(t.Context(), ledger.KeysOf(p.l.MchID()).Books(), redis.Z{Member: string(date), Score: float64(start.Add(-ledger.KeepBooks).UnixMilli())}).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.l.CloseBook(t.Context(), "2026-11-27", []byte("{}"), []byte("{}"), nil, nil, ledger.BookPlan{}); err != nil {
		t.Fatal(err)
	}
	if at := planned(); !at.IsZero() {
		t.Errorf("a day that was removed is compared at %s", at)
	}
}

// An order of which a bill has an unknown payment is queried: an open one by its next step,
// which is due now and never begins with a collect; one in a final state by the caller that
// gets its lease, which keeps every step away meanwhile, even if the order is reopened.
func TestLedger_Ask(t *testing.T) {
	p := newPager(t)
	ask := func(no, token string, want ledger.Code) ledger.Asked {
		t.Helper()
		a, err := p.l.Ask(t.Context(), no, token, time.Minute, time.Minute, 1e6, time.Time{})
		if err != nil || a.Code != want {
			t.Fatalf("ask of %s: %+v, %v; want %s", no, a, err, want)
		}
		return a
	}
	claim := func(no string, round int64) ledger.Claim {
		t.Helper()
		c, err := p.l.Claim(t.Context(), no, ledger.NewToken(), round, ledger.Limits{Lease: time.Minute, Rate: 1e6, Horizon: time.Minute, Most: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, no := range []string{"NEW", "DUE", "DONE", "PAID", "HELD"} {
		p.open(no)
	}
	p.settle("DUE", ledger.Settlement{State: tasks.Awaiting, Next: ledger.Recheck, Due: time.Now().Add(time.Hour)})
	p.settle("DONE", ledger.Settlement{State: tasks.Exhausted, Reason: "gave_up"})
	p.settle("PAID", paidBy(tasks.Paid, "T1", 100, time.Now()))
	if _, err := p.l.CloseBook(t.Context(), "2026-11-26", []byte("{}"), []byte("{}"), nil, []string{"NEW", "DUE", "DONE", "PAID", "HELD", "GONE"}, ledger.BookPlan{}); err != nil {
		t.Fatal(err)
	}
	for _, no := range []string{"NEW", "DUE"} {
		a := ask(no, "t1", ledger.AskOpen)
		if a.Owner.AppID != "wx1" || a.Owner.ServiceID != "500001" {
			t.Errorf("the owner of %s is %+v", no, a.Owner)
		}
		if c := claim(no, a.Round); c.Code != ledger.Granted || c.Plan != ledger.Inspect {
			t.Errorf("the step of %s: %+v", no, c)
		}
	}
	if c := claim("HELD", ledger.NoRound); c.Code != ledger.Granted {
		t.Fatalf("%+v", c)
	}
	ask("HELD", "t1", ledger.AskLater)
	ask("PAID", "t1", ledger.AskDone)
	ask("GONE", "t1", ledger.AskDone)
	ask("DONE", "t1", ledger.AskEnded)
	ask("DONE", "t2", ledger.AskLater)
	p.open("DONE") // a reopening
	if c := claim("DONE", ledger.NoRound); c.Code != ledger.Leased {
		t.Errorf("a step of an order that is being queried: %+v", c)
	}
	if err := p.l.Told(t.Context(), "DONE", "t2"); err != nil {
		t.Fatal(err)
	}
	if c := claim("DONE", ledger.NoRound); c.Code != ledger.Leased {
		t.Errorf("another one's word has ended the lease: %+v", c)
	}
	if err := p.l.Told(t.Context(), "DONE", "t1"); err != nil {
		t.Fatal(err)
	}
	if c := claim("DONE", ledger.NoRound); c.Code != ledger.Granted {
		t.Errorf("after the query: %+v", c)
	}
	b, err := p.l.Bookkeeping(t.Context())
	if err != nil || !slices.Equal(b.Asks, []string{"HELD"}) {
		t.Errorf("left to ask: %+v, %v", b, err)
	}
}

// A jump of Redis's clock ahead ends no lease: the call of the step that has the order is
// under way, and the books' query must not run beside it.
func TestLedger_Ask_ClockAhead(t *testing.T) {
	s := newTimed(t)
	s.open("A")
	c := s.granted("A")
	if _, err := s.ledger.Withdraw(t.Context(), "A", ledger.Deed{By: "cli:anna", Reason: "why"}, time.Time{}, time.Minute); err != nil {
		t.Fatal(err)
	}
	s.pass(time.Hour)
	ask := func(sure time.Time, want ledger.Code) {
		t.Helper()
		if a, err := s.ledger.Ask(t.Context(), "A", "t1", time.Minute, time.Minute, 1e6, sure); err != nil || a.Code != want {
			t.Errorf("%+v, %v; want %s", a, err, want)
		}
	}
	ask(s.now.Add(-time.Hour), ledger.AskLater)
	s.settle(c, ledger.Settlement{State: tasks.Awaiting, Next: ledger.Recheck, Due: s.now})
	ask(s.now.Add(-time.Hour), ledger.AskEnded)
}

// A withdrawn order of which WeChat Pay must still be notified is queried before that, by
// the step that the next sweep enqueues.
func TestLedger_Ask_PendingSync(t *testing.T) {
	s := newTimed(t)
	s.open("A")
	if _, err := s.ledger.Withdraw(t.Context(), "A", ledger.Deed{By: "cli:anna", Reason: "paid in cash"}, s.now.Add(-time.Hour), time.Minute); err != nil {
		t.Fatal(err)
	}
	if a, err := s.ledger.Ask(t.Context(), "A", "t1", time.Minute, time.Minute, 1e6, time.Time{}); err != nil || a.Code != ledger.AskDone {
		t.Fatalf("%+v, %v", a, err)
	}
	if swept := s.swept(); !slices.Equal(swept, []string{"A"}) {
		t.Errorf("the sweep takes %v", swept)
	}
	if c := s.granted("A"); c.Plan != ledger.Inspect || !c.Order.Sync {
		t.Errorf("plan %s, sync %t", c.Plan, c.Order.Sync)
	}
}

// The books' calls share the merchant's rate with those of steps: no two slots are closer
// than the rate allows, and a call without a slot asks for one again.
func TestLedger_BooksTakeSlots(t *testing.T) {
	s := newTimed(t)
	const rate = 2
	apart := time.Second * 105 / 100 / rate
	for i := range 6 {
		s.open(fmt.Sprint("STEP-", i))
		s.open(fmt.Sprint("DONE-", i))
		s.settle(s.granted(fmt.Sprint("DONE-", i)), ledger.Settlement{State: tasks.Exhausted, Reason: "gave_up"})
	}
	if err := s.redis.Client.Del(t.Context(), ledger.KeysOf(mchid).Gate()).Err(); err != nil { // what the opening took
		t.Fatal(err)
	}
	var slots []time.Duration // since the beginning
	begin, paced := s.now, 0
	take := func(granted bool, wait time.Duration) bool {
		if granted {
			slots = append(slots, s.now.Add(wait).Sub(begin))
			return true
		}
		paced++
		s.pass(wait)
		return false
	}
	for i := range 6 {
		for done := false; !done; {
			granted, wait, err := s.ledger.Slot(t.Context(), rate)
			if err != nil {
				t.Fatal(err)
			}
			done = take(granted, wait)
		}
		for done := false; !done; {
			a, err := s.ledger.Ask(t.Context(), fmt.Sprint("DONE-", i), "t1", time.Minute, time.Minute, rate, time.Time{})
			if err != nil || a.Code != ledger.AskEnded && a.Code != ledger.AskPaced {
				t.Fatalf("%+v, %v", a, err)
			}
			done = take(a.Code == ledger.AskEnded, a.Wait)
			if lease := s.redis.Client.HGet(t.Context(), ledger.KeysOf(mchid).Order(fmt.Sprint("DONE-", i)), "lease").Val(); done && lease != fmt.Sprint(s.now.Add(a.Wait+time.Minute).UnixMilli()) {
				t.Errorf("the lease ends at %s, and the query begins %s after %d", lease, a.Wait, s.now.UnixMilli())
			}
		}
		for done := false; !done; {
			c, err := s.ledger.Claim(t.Context(), fmt.Sprint("STEP-", i), "t2", ledger.NoRound, ledger.Limits{Lease: time.Minute, Rate: rate, Horizon: time.Second, Most: time.Second})
			if err != nil || c.Code != ledger.Granted && c.Code != ledger.Paced {
				t.Fatalf("%+v, %v", c, err)
			}
			done = take(c.Code == ledger.Granted, c.Wait)
		}
	}
	for i := 1; i < len(slots); i++ {
		if d := slots[i] - slots[i-1]; d < apart-2*time.Millisecond {
			t.Errorf("slot %d is %s after the one before, want %s at least", i, d, apart)
		}
	}
	if paced == 0 || slots[len(slots)-1] < 17*(apart-2*time.Millisecond) {
		t.Errorf("%d calls had to ask again; the slots are %v", paced, slots)
	}
}

// Orders that ended in one millisecond are each found once, and the indexes are read a few
// times for each batch, not once more for every batch before it.
func TestLedger_PaidSince_OneMillisecond(t *testing.T) {
	p := newPager(t)
	rds := redistest.Start(t)
	p.l = ledger.New(rds.Client, mchid)
	keys, now := ledger.KeysOf(mchid), time.Now().Truncate(time.Second)
	const n = 6000
	want := map[string]bool{}
	pipe := rds.Client.Pipeline()
	add := func(no string, ended time.Time) {
		pipe.HSet(t.Context(), keys.Order(no), "state", "paid", "paid", 100, "pays", fmt.Sprintf("1|100|NEWTON|%d|%s", now.Unix(), no), "ended", ended.UnixMilli())
		pipe.ZAdd(t.Context(), keys.Ended("paid"), redis.Z{Score: float64(ended.UnixMilli()), Member: no})
		if ended.Before(now) {
			return
		}
		want[no] = true
	}
	for i := range n {
		add(fmt.Sprintf("SAME-%d", i), now)
	}
	for i := range 700 {
		add(fmt.Sprintf("LATER-%d", i), now.Add(time.Duration(i+1)*time.Millisecond))
		add(fmt.Sprintf("BEFORE-%d", i), now.Add(-time.Duration(i+1)*time.Millisecond))
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	var reads counted
	rds.Client.AddHook(&reads)
	for o, err := range p.l.PaidSince(t.Context(), now) {
		if err != nil {
			t.Fatal(err)
		}
		if !want[o.OutOrderNo] {
			t.Fatalf("%s is found again, or too old", o.OutOrderNo)
		}
		delete(want, o.OutOrderNo)
	}
	if len(want) != 0 {
		t.Errorf("%d orders are missing", len(want))
	}
	if most := int64(3 * ((n+700)/500 + 2)); reads.n > most {
		t.Errorf("the index was read %d times, want %d at most", reads.n, most)
	}
}

// counted counts the commands that read an index of final states.
type counted struct {
	redistest.Hook
	n int64
}

func (c *counted) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.HasPrefix(cmd.Name(), "zrev") {
			c.n++
		}
		return next(ctx, cmd)
	}
}
