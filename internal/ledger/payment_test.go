package ledger_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// through is a payment through PayScore, and elsewhere is one that the merchant
// has told WeChat Pay of.
func through(seq, amount int64, tx string) ledger.Payment {
	return ledger.Payment{Seq: seq, Amount: amount, PaidType: "NEWTON", TransactionID: tx, PaidAt: time.Unix(1_790_000_000+seq, 0).UTC()}
}

func elsewhere(seq, amount int64) ledger.Payment {
	return ledger.Payment{Seq: seq, Amount: amount, PaidType: "MCH", PaidAt: time.Unix(1_790_000_000+seq, 0).UTC()}
}

// said are the facts of a signed message that lists these payments of an order.
func said(total int64, list ...ledger.Payment) ledger.Facts {
	f := ledger.Facts{OrderID: "1000", Total: fen(total), Payments: list}
	var paid int64
	for _, p := range list {
		paid += p.Amount
		f.PaidType = p.PaidType
		if p.TransactionID != "" {
			f.TransactionID = p.TransactionID
		}
	}
	if paid > 0 {
		f.Paid = &paid
	}
	return f
}

// saying is a notification of them: of the whole where they come to the total.
func saying(no string, f ledger.Facts) ledger.Notice {
	n := paidNotice(no)
	n.Facts, n.Paid = f, f.Paid != nil && *f.Paid >= *f.Total
	if !n.Paid {
		n.Entry.Verdict = "owed"
	}
	return n
}

func TestPayments(t *testing.T) {
	t.Run("stand in the record and in every event from then on, whatever they are called", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		if o := s.get("A"); o.Payments != nil {
			t.Errorf("%+v", o.Payments)
		}
		if ok, err := s.redis.Client.HExists(t.Context(), ledger.KeysOf(mchid).Order("A"), "pays").Result(); ok || err != nil {
			t.Errorf("an order without a payment has a field for them: %t %v", ok, err)
		}
		odd := ledger.Payment{Seq: 2, Amount: 600, PaidType: "半;|%\n", TransactionID: "4200|;% 01"}
		list := []ledger.Payment{through(1, 400, "4200001"), odd}
		s.notice(saying("A", said(1250, list[0])))
		s.notice(saying("A", said(1250, list...)))
		s.withdraw("A")
		events, o := s.stream(), s.get("A")
		for i, want := range [][]ledger.Payment{nil, list[:1], list, list} {
			if diff := cmp.Diff(want, events[i].Payments); diff != "" {
				t.Errorf("%s: %s", events[i].Type, diff)
			}
		}
		if diff := cmp.Diff(list, o.Payments); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("are JSON as the interface has it", func(t *testing.T) {
		t.Parallel()
		body, err := json.Marshal([]ledger.Payment{through(1, 400, "4200001"), elsewhere(2, 600), {Seq: 3, Amount: 1, PaidType: "NEWTON", TransactionID: "4200002"}})
		const want = `[{"transaction_id":"4200001","amount":400,"paid_type":"NEWTON","paid_at":"2026-09-21T14:13:21Z"},` +
			`{"amount":600,"paid_type":"MCH","paid_at":"2026-09-21T14:13:22Z","seq":2},` +
			`{"transaction_id":"4200002","amount":1,"paid_type":"NEWTON"}]`
		if err != nil || string(body) != want {
			t.Errorf("got  %s %v\nwant %s", body, err, want)
		}
	})
	t.Run("of a list that is damaged are no payments", func(t *testing.T) {
		t.Parallel()
		for _, field := range []string{"1", "1|2", "1|2|3|4|5|6", "x|2|M||", "1|x|M||", "1|-2|M||", "1|2|M|x|", "1|2|M|9999999999999|", "1|2|%|1|", "1|2|M||%x", "1|2|M||;"} {
			_, err := ledger.DecodeEvent(mchid, "1700000000123-4", map[string]any{"type": "order.paid", "no": "A", "state": "paid", "payments": field})
			if err == nil {
				t.Errorf("%q is read", field)
			}
		}
	})
}

// Whatever part of an order's payments each message lists, and in whatever order
// and however often messages come: the list is all that were ever said.
func TestPaymentsMerge(t *testing.T) {
	s := newSetup(t)
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		no := fmt.Sprintf("M%d", n)
		s.open(no)
		var all []ledger.Payment
		for i := range rapid.IntRange(1, 6).Draw(t, "payments") {
			tx := fmt.Sprint("t", i) + rapid.StringMatching(`[|;%/? +a-zé\n]{0,4}`).Draw(t, "transaction_id")
			p := through(int64(i+1), int64(rapid.IntRange(1, 3).Draw(t, "amount")), tx)
			if rapid.Bool().Draw(t, "elsewhere") {
				p = elsewhere(p.Seq, p.Amount)
			}
			all = append(all, p)
		}
		var seen []ledger.Payment
		for range rapid.IntRange(1, 6).Draw(t, "messages") {
			list := rapid.Permutation(all).Draw(t, "list")[:rapid.IntRange(1, len(all)).Draw(t, "how many")]
			for _, p := range list {
				if !slices.Contains(seen, p) {
					seen = append(seen, p)
				}
			}
			if _, _, err := s.ledger.Notice(s.Context(), saying(no, said(1000, list...))); err != nil {
				t.Fatal(err)
			}
			o, err := s.ledger.Get(s.Context(), no)
			if err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(seen, func(a, b ledger.Payment) int { return int(a.Seq - b.Seq) })
			if diff := cmp.Diff(seen, o.Payments); diff != "" {
				t.Fatalf("%s lists (-said +record)\n%s", no, diff)
			}
		}
	})
}

// What billing says of an order is passed on as such, and never as signed.
func TestBillingSays(t *testing.T) {
	s := newSetup(t)
	since := time.UnixMilli(1_790_000_000_123).UTC()
	enqueue := func(o tasks.Order, want tasks.Status) {
		t.Helper()
		o.Payload = payload("A")
		if res, err := s.producer.Enqueue(t.Context(), o); err != nil || res.Status != want {
			t.Fatalf("%+v %v", res, err)
		}
	}
	check := func(what string, amount int64, since time.Time) {
		t.Helper()
		events, o := s.stream(), s.get("A")
		e := events[len(events)-1]
		if o.TotalAmount != nil || e.TotalAmount != nil {
			t.Errorf("%s: counted as signed", what)
		}
		if o.BillingAmount == nil || *o.BillingAmount != amount || !o.OwedSince.Equal(since) {
			t.Errorf("%s: %+v", what, o)
		}
		if e.BillingAmount == nil || *e.BillingAmount != amount || !e.OwedSince.Equal(since) {
			t.Errorf("%s: the event has %+v", what, e)
		}
	}
	enqueue(tasks.Order{Amount: 1250, OwedSince: since}, tasks.Accepted)
	check("opened", 1250, since)
	enqueue(tasks.Order{Amount: 99}, tasks.Duplicate)
	check("a duplicate", 1250, since)
	s.withdraw("A")
	check("withdrawn", 1250, since)
	enqueue(tasks.Order{Amount: 1000, Reopen: true}, tasks.Accepted)
	check("reopened with another amount", 1000, since)
	s.open("B")
	body, err := json.Marshal(s.get("B"))
	if err != nil || strings.Contains(string(body), "billing_amount") || strings.Contains(string(body), "owed_since") || strings.Contains(string(body), "payments") {
		t.Errorf("%s %v", body, err)
	}
}
