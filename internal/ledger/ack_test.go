package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

func (s *setup) acks(matters ...ledger.Matter) map[ledger.Matter]ledger.Ack {
	s.Helper()
	acks, err := ledger.AcksOf(s.Context(), s.redis.Client, map[string][]ledger.Matter{mchid: matters})
	if err != nil {
		s.Fatal(err)
	}
	return acks[mchid]
}

// An acknowledgement is recorded once for its deed, with who, when and why; the trail has
// each of them.
func TestAcknowledge(t *testing.T) {
	s := newSetup(t)
	anna := ledger.Deed{By: "console:anna", Reason: "refunded \"by hand\"", Token: ledger.NewToken()}
	a, day := ledger.OrderMatter("A"), ledger.BookMatter("2026-01-01")
	for range 2 { // its answer was lost
		if err := s.ledger.Acknowledge(t.Context(), anna, a, "late 1 100"); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []ledger.Matter{day, ledger.HookMatter} {
		if err := s.ledger.Acknowledge(t.Context(), ledger.Deed{By: "console:wang", Reason: "known"}, m, "x"); err != nil {
			t.Fatal(err)
		}
	}
	acks := s.acks(a, day, ledger.HookMatter, ledger.OrderMatter("B"))
	if got := acks[a]; len(acks) != 3 || got.By != anna.By || got.Note != anna.Reason || got.Occurrence != "late 1 100" || time.Since(got.At).Abs() > time.Hour {
		t.Errorf("%+v", acks)
	}
	if err := s.ledger.Acknowledge(t.Context(), ledger.Deed{By: "console:wang", Reason: "once more"}, a, "late 1 200"); err != nil {
		t.Fatal(err)
	}
	if got := s.acks(a)[a]; got.By != "console:wang" || got.Occurrence != "late 1 200" {
		t.Errorf("%+v", got)
	}
	want := []string{
		fmt.Sprintf(`A acknowledge console:anna %q order A`, anna.Reason), ` acknowledge console:wang "known" books 2026-01-01`,
		` acknowledge console:wang "known" webhooks`, `A acknowledge console:wang "once more" order A`,
	}
	if diff := cmp.Diff(want, s.trail()); diff != "" {
		t.Error(diff)
	}
	if a.Order() != "A" || a.Book() != "" || day.Book() != "2026-01-01" || day.Order() != "" || ledger.HookMatter.Order() != "" || ledger.HookMatter.Book() != "" {
		t.Error("matters do not name what they are about")
	}
}

// An order's alarms are another occurrence when one of them is new, and the same one when
// anything else happens.
func TestOccurrence(t *testing.T) {
	at, fen := time.UnixMilli(1_700_000_000_000), int64(100)
	alarmed := []ledger.Order{
		{LatePaymentAt: at, PaidAmount: &fen},
		{LatePaymentAt: at.Add(time.Millisecond), PaidAmount: &fen},
		{LatePaymentAt: at, PaidAmount: new(int64)},
		{AmountDiffers: &ledger.Difference{At: at, Field: "total_amount", Known: 1, Said: 2}},
		{AmountDiffers: &ledger.Difference{At: at, Field: "total_amount", Known: 1, Said: 3}},
		{LatePaymentAt: at, PaidAmount: &fen, AmountDiffers: &ledger.Difference{At: at, Field: "total_amount", Known: 1, Said: 2}},
		{Sync: &ledger.Sync{State: ledger.SyncFailed, PaidAt: at, Calls: 1}},
		{Sync: &ledger.Sync{State: ledger.SyncFailed, PaidAt: at, Calls: 2}},
	}
	seen := map[string]bool{}
	for _, o := range alarmed {
		if !o.Alarmed() || o.Occurrence() == "" || seen[o.Occurrence()] {
			t.Errorf("%+v: %q", o, o.Occurrence())
		}
		seen[o.Occurrence()] = true
		o.Attempts, o.State, o.LastAttemptAt = 7, tasks.Closed, time.Now()
		if !seen[o.Occurrence()] {
			t.Errorf("%q is another one", o.Occurrence())
		}
	}
	for _, o := range []ledger.Order{{}, {PaidAmount: &fen, Sync: &ledger.Sync{State: ledger.SyncPending, Calls: 3}}} {
		if o.Alarmed() || o.Occurrence() != "" {
			t.Errorf("%+v: %q", o, o.Occurrence())
		}
	}
}

// Acknowledgements leave the ledger with their orders, and with their days.
func TestAcknowledge_Kept(t *testing.T) {
	s := newSetup(t)
	acknowledge := func(m ledger.Matter) {
		t.Helper()
		if err := s.ledger.Acknowledge(t.Context(), ledger.Deed{By: "console:x", Reason: "y"}, m, "z"); err != nil {
			t.Fatal(err)
		}
	}
	for _, no := range []string{"OLD", "NEW"} {
		s.open(no)
		s.notice(paidNotice(no))
		acknowledge(ledger.OrderMatter(no))
	}
	s.age(tasks.Paid, "OLD", 48*time.Hour)
	s.retain(24*time.Hour, 0)
	if acks := s.acks(ledger.OrderMatter("OLD"), ledger.OrderMatter("NEW")); len(acks) != 1 || acks[ledger.OrderMatter("NEW")].By == "" {
		t.Errorf("%+v", acks)
	}

	today := ledger.BookDateOf(time.Now())
	gone := ledger.BookDateOf(time.Now().Add(-ledger.KeepBooks - 48*time.Hour))
	kept := ledger.BookDateOf(time.Now().Add(-ledger.KeepBooks + 48*time.Hour))
	for _, date := range []ledger.BookDate{gone, kept, today} {
		acknowledge(ledger.BookMatter(date))
		if _, err := s.ledger.CloseBook(t.Context(), date, []byte("{}"), []byte("{}"), nil, nil, ledger.BookPlan{}); err != nil {
			t.Fatal(err)
		}
	}
	acks := s.acks(ledger.BookMatter(gone), ledger.BookMatter(kept), ledger.BookMatter(today))
	if _, ok := acks[ledger.BookMatter(gone)]; ok || len(acks) != 2 {
		t.Errorf("%+v", acks)
	}
	dates, err := s.ledger.BookDates(t.Context(), gone)
	if err != nil || len(dates) != 2 {
		t.Errorf("%v, %v", dates, err)
	}
}
