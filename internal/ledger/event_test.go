package ledger_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// stream decodes the whole stream.
func (s *setup) stream() []ledger.Event {
	s.Helper()
	entries, err := s.redis.Client.XRange(s.Context(), ledger.KeysOf(mchid).Outcomes(), "-", "+").Result()
	if err != nil {
		s.Fatal(err)
	}
	var events []ledger.Event
	for _, entry := range entries {
		e, err := ledger.DecodeEvent(mchid, entry.ID, entry.Values)
		if err != nil {
			s.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

func TestDecodeEvent(t *testing.T) {
	t.Run("says of an order what the ledger says", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		c := s.granted("A")
		total, paid := int64(1234), int64(1234)
		s.settle(c, ledger.Settlement{
			State: tasks.Paid, AddAttempts: 1, Collected: c.Now, Log: []ledger.Entry{entry("query", "paid")},
			Call: "query", Verdict: "paid", Code: "OK", DetailCode: "0",
			Facts: ledger.Facts{OrderID: "1", TransactionID: "42", PaidType: "NEWTON", Total: &total, Paid: &paid},
		})
		events, o := s.stream(), s.get("A")
		if len(events) != 2 {
			t.Fatalf("%d events", len(events))
		}
		last := events[1]
		want := ledger.Event{
			ID: last.ID, Type: "order.paid", At: last.At, MchID: mchid, OutOrderNo: "A", Seq: 2, State: tasks.Paid,
			AppID: "wx1", ServiceID: "s1", OrderID: "1", TransactionID: "42", PaidType: "NEWTON",
			TotalAmount: &total, PaidAmount: &paid, Attempts: 1, OpenedAt: o.OpenedAt, EndedAt: o.EndedAt,
			PaidBy: ledger.PaidByUser, Call: "query", Verdict: "paid", Code: "OK", DetailCode: "0",
		}
		if diff := cmp.Diff(want, last); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if !events[0].EndedAt.IsZero() || events[0].End() || !last.End() {
			t.Errorf("only the second is an end: %+v", events)
		}
		ms, n := last.Position()
		if ms0, n0 := events[0].Position(); ms < ms0 || ms == ms0 && n <= n0 {
			t.Errorf("the end stands at %d-%d, behind it the opening at %d-%d", ms, n, ms0, n0)
		}
	})
	t.Run("a payment after another end leaves the end's time alone", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		if _, err := s.producer.Withdraw(s.Context(), tasks.Withdrawal{MchID: mchid, OutOrderNo: "A", Reason: "paid in cash"}); err != nil {
			t.Fatal(err)
		}
		ended := s.get("A").EndedAt
		s.until(func() bool { // so that the two times differ
			now, err := s.redis.Client.Time(s.Context()).Result()
			return err == nil && now.UnixMilli() > ended.UnixMilli()
		})
		paid := int64(500)
		if _, _, err := s.ledger.Notice(s.Context(), ledger.Notice{OutOrderNo: "A", Paid: true, Facts: ledger.Facts{PaidType: "NEWTON", Total: &paid, Paid: &paid}}); err != nil {
			t.Fatal(err)
		}
		events, o := s.stream(), s.get("A")
		last := events[len(events)-1]
		if last.Type != "order.paid" || last.State != tasks.Withdrawn || !last.EndedAt.Equal(ended) ||
			last.LatePaymentAt.IsZero() || !last.LatePaymentAt.Equal(o.LatePaymentAt) {
			t.Errorf("event %+v of the order %+v", last, o)
		}
		if err := openOrder(s.Context(), s.ledger, tasks.Order{Payload: payload("A"), Reopen: true}); err != nil {
			t.Fatal(err)
		}
		events = s.stream()
		last = events[len(events)-1]
		if last.Type != "order.reopened" || !last.EndedAt.IsZero() || !last.LatePaymentAt.IsZero() {
			t.Errorf("after the reopening: %+v", last)
		}
	})
	t.Run("reads what 0.1.0 wrote", func(t *testing.T) {
		got, err := ledger.DecodeEvent(mchid, "1700000000123-4", map[string]any{
			"type": "order.paid", "no": "A|1", "state": "paid", "verdict": "paid", "transaction_id": "42", "total": "5", "paid": "5",
		})
		if err != nil {
			t.Fatal(err)
		}
		at := time.UnixMilli(1700000000123).UTC()
		five := int64(5)
		want := ledger.Event{
			ID: mchid + "-1700000000123-4", Type: "order.paid", At: at, MchID: mchid, OutOrderNo: "A|1", State: tasks.Paid,
			TransactionID: "42", TotalAmount: &five, PaidAmount: &five, EndedAt: at, Verdict: "paid",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("refuses what is no event, and does not quote it", func(t *testing.T) {
		good := map[string]any{"type": "order.opened", "no": "A", "state": "queued"}
		for name, c := range map[string]struct {
			mchid, id, field string
			value            any
		}{
			"an ID without a place":           {mchid, "1700000000123", "", nil},
			"an ID with a sign":               {mchid, "+1700000000123-0", "", nil},
			"an ID with a leading zero":       {mchid, "1700000000123-00", "", nil},
			"an ID after the year 9999":       {mchid, "253402300800000-0", "", nil},
			"a merchant with a letter":        {"19000x", "1-0", "", nil},
			"an order number with a space":    {mchid, "1-0", "no", "secret A"},
			"an order number that is no text": {mchid, "1-0", "no", 7},
			"a state of no release":           {mchid, "1-0", "state", "secret"},
			"a type of no release":            {mchid, "1-0", "type", "secret"},
			"a negative amount":               {mchid, "1-0", "paid", "-1"},
			"an amount in yuan":               {mchid, "1-0", "total", "12.50"},
			"a time after the year 9999":      {mchid, "1-0", "opened", "253402300800000"},
		} {
			fields := map[string]any{}
			for k, v := range good {
				fields[k] = v
			}
			if c.field != "" {
				fields[c.field] = c.value
			}
			e, err := ledger.DecodeEvent(c.mchid, c.id, fields)
			if !errors.Is(err, ledger.ErrEvent) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %+v, %v", name, e, err)
			}
		}
	})
	t.Run("an event of a type of a newer release is skipped, even if its fields are invalid", func(t *testing.T) {
		e, err := ledger.DecodeEvent(mchid, "1-0", map[string]any{"type": "refund.made", "no": "secret A", "state": "secret"})
		if !errors.Is(err, ledger.ErrNewer) || errors.Is(err, ledger.ErrEvent) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v, %v", e, err)
		}
	})
	t.Run("closed books are of no order", func(t *testing.T) {
		e, err := ledger.DecodeEvent(mchid, "1700000000123-0", map[string]any{"type": "books.closed", "date": "2026-11-26", "books": `{"date": "2026-11-26", "x": "<"}`})
		if err != nil || e.End() {
			t.Fatal(err)
		}
		// out_order_no and state are there: receivers read them.
		want := `{"id":"` + mchid + `-1700000000123-0","type":"books.closed","at":"2023-11-14T22:13:20.123Z","mchid":"` + mchid +
			`","out_order_no":"","state":"","books":{"date":"2026-11-26","x":"\u003c"}}`
		if text, err := json.Marshal(e); err != nil || string(text) != want {
			t.Errorf("%s, %v\nwant %s", text, err, want)
		}
		for _, books := range []any{"", "null", "[1]", "{", nil} {
			if e, err := ledger.DecodeEvent(mchid, "1-0", map[string]any{"type": "books.closed", "books": books}); !errors.Is(err, ledger.ErrEvent) {
				t.Errorf("%v: %+v, %v", books, e, err)
			}
		}
	})
	t.Run("text that no reader could write is made such that all can", func(t *testing.T) {
		e, err := ledger.DecodeEvent(mchid, "1-0", map[string]any{
			"type": "order.rejected", "no": "A", "state": "rejected", "reason": "a\x00b\xffc 订单",
		})
		if err != nil || e.Reason != "a\uFFFDb\uFFFDc 订单" {
			t.Errorf("%q, %v", e.Reason, err)
		}
	})
}

// FuzzDecodeEvent: whatever stands in the stream, reading it does not panic; what
// is taken for an event can be written as JSON and read again without a loss, by
// billing and by PostgreSQL; and its ID is its place in the stream.
func FuzzDecodeEvent(f *testing.F) {
	f.Add(mchid, "1700000000123-4", "type=order.opened\nno=A\nstate=queued\nseq=1\nappid=wx1\nopened=1700000000123")
	f.Add(mchid, "1700000000123-0", "type=order.paid\nno=A|1*\nstate=withdrawn\nreason=现金\ntotal=1\npaid=9223372036854775807\nended=1\nlate=2\nsync=done")
	f.Add("0", "0-0", "type=order.rejected\nno=_\nstate=rejected\nreason=\x00\xff\ncode=\xc3")
	f.Add(mchid, "1-1", "type=books.closed\ndate=2026-11-26\nbooks={\"date\": \"2026-11-26\", \"x\": [\"<\xff\"]}")
	f.Add(mchid, "-1-0", "type=order.opened")
	f.Add(mchid, "1-9223372036854775808", "no=A\nstate=paid\ntype=order.paid\nopened=253402300799999")
	f.Fuzz(func(t *testing.T, mchid, id, text string) {
		fields := map[string]any{}
		for line := range strings.SplitSeq(text, "\n") {
			name, value, _ := strings.Cut(line, "=")
			fields[name] = value
		}
		e, err := ledger.DecodeEvent(mchid, id, fields)
		if err != nil {
			if !errors.Is(err, ledger.ErrEvent) && !errors.Is(err, ledger.ErrNewer) {
				t.Fatalf("%v is not an ErrEvent", err)
			}
			if diff := cmp.Diff(ledger.Event{}, e); diff != "" {
				t.Fatalf("an event with the error: %s", diff)
			}
			return
		}
		ms, n := e.Position()
		if e.ID != mchid+"-"+id || e.MchID != mchid || e.At.UnixMilli() != ms || ms < 0 || n < 0 {
			t.Fatalf("entry %s is at %d-%d, %s, with the ID %s", id, ms, n, e.At, e.ID)
		}
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatalf("it cannot be written: %v", err)
		}
		if strings.ContainsAny(string(line), "\n\x00") || strings.Contains(string(line), `\u0000`) && !strings.Contains(text, `\u0000`) {
			t.Fatalf("not a readable line: %s", line)
		}
		var again ledger.Event
		if err := json.Unmarshal(line, &again); err != nil {
			t.Fatalf("%s cannot be read: %v", line, err)
		}
		if diff := cmp.Diff(e, again); diff != "" {
			t.Fatalf("read again it is another (-written +read):\n%s", diff)
		}
		for _, amount := range []*int64{e.TotalAmount, e.PaidAmount, &e.Seq, &e.Attempts} {
			if amount != nil && *amount < 0 {
				t.Fatalf("a negative number in %s", line)
			}
		}
	})
}
