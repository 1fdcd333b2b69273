package ledger_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"payscore-collector/internal/ledger"
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
		if _, err := p.l.CloseBook(t.Context(), today, []byte(text), []byte(text), map[string]int64{"refunded": 2}, []string{"A2", "A1"}); err != nil {
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
	if _, err := p.l.CloseBook(t.Context(), old, []byte("{}"), []byte("{}"), nil, nil); err != nil {
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
	if _, err := p.l.CloseBook(t.Context(), "2026-11-26", []byte("{}"), []byte("{}"), nil, nil); err != nil {
		t.Fatal(err)
	}
	if b, err := p.l.Bookkeeping(t.Context()); err != nil || len(b.Again) != 0 {
		t.Errorf("of a closed day: %+v, %v", b, err)
	}
}

// An order of which a bill has an unknown payment is queried: an open one by its next step,
// which is due now and never begins with a collect; one in a final state by the caller that
// gets its lease, which keeps every step away meanwhile, even if the order is reopened.
func TestLedger_Ask(t *testing.T) {
	p := newPager(t)
	ask := func(no, token string, want ledger.Code) ledger.Asked {
		t.Helper()
		a, err := p.l.Ask(t.Context(), no, token, time.Minute, time.Minute, time.Time{})
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
	if _, err := p.l.CloseBook(t.Context(), "2026-11-26", []byte("{}"), []byte("{}"), nil, []string{"NEW", "DUE", "DONE", "PAID", "HELD", "GONE"}); err != nil {
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
		if a, err := s.ledger.Ask(t.Context(), "A", "t1", time.Minute, time.Minute, sure); err != nil || a.Code != want {
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
	if a, err := s.ledger.Ask(t.Context(), "A", "t1", time.Minute, time.Minute, time.Time{}); err != nil || a.Code != ledger.AskDone {
		t.Fatalf("%+v, %v", a, err)
	}
	if swept := s.swept(); !slices.Equal(swept, []string{"A"}) {
		t.Errorf("the sweep takes %v", swept)
	}
	if c := s.granted("A"); c.Plan != ledger.Inspect || !c.Order.Sync {
		t.Errorf("plan %s, sync %t", c.Plan, c.Order.Sync)
	}
}
