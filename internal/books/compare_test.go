package books_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/books"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/tasks"
)

const mchid = "1230000109"

// orders is a ledger in memory.
type orders []ledger.Order

func (orders) MchID() string { return mchid }

func (l orders) PaidSince(_ context.Context, since time.Time) iter.Seq2[ledger.Order, error] {
	return func(yield func(ledger.Order, error) bool) {
		for _, o := range l {
			if len(o.Payments) > 0 && (o.State != tasks.Paid || !o.EndedAt.Before(since)) && !yield(o, nil) {
				return
			}
		}
	}
}

func (l orders) Records(_ context.Context, nos []string) ([]ledger.Order, error) {
	found := make([]ledger.Order, len(nos))
	for i, no := range nos {
		found[i].OutOrderNo = no
		for _, o := range l {
			if o.OutOrderNo == no {
				found[i] = o
			}
		}
	}
	return found, nil
}

// day is the day of the tests' bills.
var day = time.Date(2026, 11, 26, 0, 0, 0, 0, books.China)

// pay is a payment of the day, by the hour and minute.
func pay(tx string, amount int64, clock string) ledger.Payment {
	when, err := time.ParseInLocation("2006-01-02 15:04:05", "2026-11-26 "+clock, books.China)
	if err != nil {
		panic(err)
	}
	return ledger.Payment{TransactionID: tx, Amount: amount, PaidType: "NEWTON", PaidAt: when.UTC()}
}

func order(no string, state ledger.State, total int64, payments ...ledger.Payment) ledger.Order {
	o := ledger.Order{MchID: mchid, OutOrderNo: no, OrderID: "1" + no, State: state, Payments: payments}
	if total > 0 {
		o.TotalAmount = &total
	}
	for _, p := range payments {
		if p.PaidAt.After(o.EndedAt) {
			o.EndedAt = p.PaidAt.Add(time.Second)
		}
	}
	return o
}

// line is a row of a bill.
type line struct {
	tx, no string
	amount int64
	clock  string // with a date, or on the day
	user   bool   // JSAPI, not AUTH
	refund int64
	mchid  string
	kind   string
}

func yuan(fen int64) string { return fmt.Sprintf("%d.%02d", fen/100, fen%100) }

func billOf(lines ...line) io.Reader {
	var b strings.Builder
	b.WriteString("交易时间,商户号,特约商户号,微信订单号,商户订单号,交易类型,交易状态,微信退款单号,商户数据包,订单金额,申请退款金额\n")
	sum, refunds := int64(0), int64(0)
	for _, l := range lines {
		when, kind, no, attach, status, of := l.clock, "AUTH", "wx"+l.tx, "wxzff|156|"+l.no, "SUCCESS", l.mchid
		if when == "" {
			when = "12:00:00"
		}
		if len(when) < 10 {
			when = "2026-11-26 " + when
		}
		if l.user {
			kind, no, attach = "JSAPI", l.no, ""
		}
		if l.kind != "" {
			kind, no, attach = l.kind, l.no, ""
		}
		if l.refund > 0 {
			status = "REFUND"
		}
		if of == "" {
			of = mchid
		}
		fmt.Fprintf(&b, "`%s,`%s,`0,`%s,`%s,`%s,`%s,`0,`%s,`%s,`%s\n", when, of, l.tx, no, kind, status, attach, yuan(l.amount), yuan(l.refund))
		sum, refunds = sum+l.amount, refunds+l.refund
	}
	fmt.Fprintf(&b, "总交易单数,订单总金额,申请退款总金额\n`%d,`%s,`%s\n", len(lines), yuan(sum), yuan(refunds))
	return strings.NewReader(b.String())
}

// told are the exceptions of a day without what only people read.
func told(r books.Result) (list []string) {
	for _, e := range r.Exceptions {
		s := fmt.Sprintf("%s %s %s bill %d ledger %d %s", e.Kind, e.OutOrderNo, e.TransactionID, e.BillAmount, e.LedgerAmount, e.State)
		if e.Refund != nil {
			s += fmt.Sprintf(" others %v refund %s %d of %d", e.Others, e.Refund.TransactionID, e.Refund.Amount.Refund, e.Refund.Amount.Total)
		}
		list = append(list, s)
	}
	return list
}

func tally(t books.Tally) string { return fmt.Sprintf("%d orders %d fen", t.Orders, t.Amount) }

// of is the source of a bill alone.
func of(bill io.Reader) books.Source {
	return func(_ context.Context, d time.Time) (*books.Bill, error) {
		if !d.Equal(day) {
			return nil, nil
		}
		return &books.Bill{Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bill), nil }}, nil
	}
}

func TestCompare(t *testing.T) {
	other := line{tx: "X1", no: "SHOP-1", amount: 99, user: true}
	native := line{tx: "X2", no: "A1", amount: 7, kind: "NATIVE"}
	yesterday := func(p ledger.Payment) ledger.Payment { p.PaidAt = p.PaidAt.AddDate(0, 0, -1); return p }
	elsewhere := func(amount int64, clock string) ledger.Payment {
		return ledger.Payment{Amount: amount, PaidType: "MCH", PaidAt: pay("", 0, clock).PaidAt, Seq: 1}
	}
	billing := func(o ledger.Order, amount int64) ledger.Order { o.BillingAmount = &amount; return o }
	for _, tt := range []struct {
		name    string
		ledger  orders
		bill    []line
		payment string // rows of PayScore, and what they come to
		has     string // of the ledger
		matched string
		want    []string
		ask     []string
		waiting string
		agrees  bool
	}{
		{
			name: "nothing", payment: "0 rows 0 fen", has: "0 orders 0 fen", matched: "0 orders 0 fen", agrees: true,
		},
		{
			name:    "all agrees: deducted, by the user, in parts; other business is left alone",
			ledger:  orders{order("A1", tasks.Paid, 100, pay("T1", 100, "09:00:00")), order("A2", tasks.Paid, 250, pay("T2", 250, "10:00:00")), order("A3", tasks.Awaiting, 90, pay("T3", 30, "11:00:00"), pay("T4", 20, "12:00:00"))},
			bill:    []line{{tx: "T1", no: "A1", amount: 100}, other, native, {tx: "T2", no: "A2", amount: 250, user: true}, {tx: "T3", no: "A3", amount: 30}, {tx: "T4", no: "A3", amount: 20}},
			payment: "4 rows 400 fen", has: "3 orders 400 fen", matched: "3 orders 400 fen", agrees: true,
		},
		{
			name:    "a number with |",
			ledger:  orders{order("A|1|*", tasks.Awaiting, 100)},
			bill:    []line{{tx: "T1", no: "A|1|*", amount: 100}},
			payment: "1 rows 100 fen", has: "0 orders 0 fen", matched: "0 orders 0 fen",
			want: []string{"paid_in_bill_only A|1|* T1 bill 100 ledger 0 awaiting"}, ask: []string{"A|1|*"},
		},
		{
			name:    "in the bill only: open, withdrawn, and of a paid order",
			ledger:  orders{order("A1", tasks.Queued, 0), order("A2", tasks.Withdrawn, 200), order("A3", tasks.Paid, 300, yesterday(pay("T3", 100, "09:00:00")))},
			bill:    []line{{tx: "T1", no: "A1", amount: 100}, {tx: "T2", no: "A2", amount: 200, user: true}, {tx: "T4", no: "A3", amount: 200}},
			payment: "3 rows 500 fen", has: "0 orders 0 fen", matched: "0 orders 0 fen",
			want: []string{"paid_in_bill_only A1 T1 bill 100 ledger 0 queued", "paid_in_bill_only A2 T2 bill 200 ledger 0 withdrawn", "paid_in_bill_only A3 T4 bill 200 ledger 0 paid"},
			ask:  []string{"A1", "A2"},
		},
		{
			name:    "in the ledger only; what was paid elsewhere is in no bill",
			ledger:  orders{order("A1", tasks.Paid, 100, pay("T1", 100, "09:00:00")), order("A2", tasks.Withdrawn, 70, elsewhere(70, "09:00:00"))},
			bill:    []line{other},
			payment: "0 rows 0 fen", has: "1 orders 100 fen", matched: "0 orders 0 fen",
			want: []string{"paid_in_ledger_only A1 T1 bill 0 ledger 100 paid"},
		},
		{
			name:    "a payment without a transaction_id",
			ledger:  orders{order("A1", tasks.Paid, 100, pay("", 100, "09:00:00"))},
			payment: "0 rows 0 fen", has: "1 orders 100 fen", matched: "0 orders 0 fen",
			want: []string{"paid_in_ledger_only A1  bill 0 ledger 100 paid"},
		},
		{
			name:    "an amount off; another day's too",
			ledger:  orders{order("A1", tasks.Paid, 100, pay("T1", 100, "09:00:00")), order("A2", tasks.Paid, 50, yesterday(pay("T2", 50, "09:00:00")))},
			bill:    []line{{tx: "T1", no: "A1", amount: 101}, {tx: "T2", no: "A2", amount: 5, user: true}},
			payment: "2 rows 106 fen", has: "1 orders 100 fen", matched: "0 orders 0 fen",
			want: []string{"amount_differs A1 T1 bill 101 ledger 100 paid", "amount_differs A2 T2 bill 5 ledger 50 paid"},
		},
		{
			name:    "a row twice",
			ledger:  orders{order("A1", tasks.Paid, 100, pay("T1", 100, "09:00:00"))},
			bill:    []line{{tx: "T1", no: "A1", amount: 100}, {tx: "T1", no: "A1", amount: 100}},
			payment: "2 rows 200 fen", has: "1 orders 100 fen", matched: "0 orders 0 fen",
			want: []string{"amount_differs A1 T1 bill 200 ledger 100 paid"},
		},
		{
			name:    "paid twice: the bill has a second payment",
			ledger:  orders{order("A1", tasks.Paid, 100, pay("T1", 100, "09:00:00"))},
			bill:    []line{{tx: "T1", no: "A1", amount: 100}, {tx: "T2", no: "A1", amount: 100, user: true, clock: "13:00:00"}},
			payment: "2 rows 200 fen", has: "1 orders 100 fen", matched: "1 orders 100 fen",
			want: []string{"paid_twice A1 T2 bill 100 ledger 100 paid others [T1] refund T2 100 of 100"},
		},
		{
			name:    "paid twice: the first payment was another day's, or elsewhere",
			ledger:  orders{order("A1", tasks.Paid, 100, yesterday(pay("T1", 100, "09:00:00"))), order("A2", tasks.Withdrawn, 70, elsewhere(70, "09:00:00"))},
			bill:    []line{{tx: "T2", no: "A1", amount: 100}, {tx: "T3", no: "A2", amount: 70}},
			payment: "2 rows 170 fen", has: "0 orders 0 fen", matched: "0 orders 0 fen",
			want: []string{"paid_twice A1 T2 bill 100 ledger 100 paid others [T1] refund T2 100 of 100", "paid_twice A2 T3 bill 70 ledger 70 withdrawn others [-] refund T3 70 of 70"},
			ask:  []string{"A2"},
		},
		{
			name:    "paid twice: an open order, by two rows, by billing's word on the amount",
			ledger:  orders{billing(order("A1", tasks.Queued, 0), 100)},
			bill:    []line{{tx: "T1", no: "A1", amount: 100, clock: "09:00:00"}, {tx: "T2", no: "A1", amount: 100, user: true, clock: "10:00:00"}},
			payment: "2 rows 200 fen", has: "0 orders 0 fen", matched: "0 orders 0 fen",
			want: []string{"paid_twice A1 T2 bill 200 ledger 0 queued others [T1] refund T2 100 of 100"}, ask: []string{"A1"},
		},
		{
			name:    "paid twice: WeChat Pay has signed both",
			ledger:  orders{order("A1", tasks.Paid, 100, pay("T1", 100, "09:00:00"), pay("T2", 40, "10:00:00"))},
			bill:    []line{{tx: "T1", no: "A1", amount: 100}, {tx: "T2", no: "A1", amount: 40}},
			payment: "2 rows 140 fen", has: "1 orders 140 fen", matched: "1 orders 140 fen",
			want: []string{"paid_twice A1 T2 bill 0 ledger 140 paid others [T1] refund T2 40 of 40"},
		},
		{
			name:    "paid twice, and refunded already",
			ledger:  orders{order("A1", tasks.Paid, 100, pay("T1", 100, "09:00:00"), pay("T2", 100, "10:00:00"))},
			bill:    []line{{tx: "T1", no: "A1", amount: 100}, {tx: "T2", no: "A1", amount: 100}, {tx: "T2", no: "A1", refund: 100}},
			payment: "3 rows 200 fen", has: "1 orders 200 fen", matched: "1 orders 200 fen",
			want: []string{"refunded A1 T2 bill 100 ledger 0 paid"}, agrees: true,
		},
		{
			name:    "refunds are information; those of other business are none",
			ledger:  orders{order("A1", tasks.Paid, 100, yesterday(pay("T1", 100, "09:00:00")))},
			bill:    []line{{tx: "T1", no: "A1", refund: 30}, {tx: "X1", no: "SHOP-1", refund: 5, user: true}},
			payment: "1 rows 0 fen", has: "0 orders 0 fen", matched: "0 orders 0 fen",
			want: []string{"refunded A1 T1 bill 30 ledger 0 paid"}, agrees: true,
		},
		{
			name:    "an order that was never enqueued",
			bill:    []line{{tx: "T1", no: "A9", amount: 100}},
			payment: "1 rows 100 fen", has: "0 orders 0 fen", matched: "0 orders 0 fen",
			want: []string{"unknown_order A9 T1 bill 100 ledger 0 "},
		},
		{
			name:    "around midnight: the row is in this bill, the payment the day before's",
			ledger:  orders{order("A1", tasks.Paid, 100, yesterday(pay("T1", 100, "23:59:59")))},
			bill:    []line{{tx: "T1", no: "A1", amount: 100, clock: "00:00:01"}},
			payment: "1 rows 100 fen", has: "0 orders 0 fen", matched: "0 orders 0 fen", agrees: true,
		},
		{
			name:    "around midnight: without the neighbouring bills",
			ledger:  orders{order("A1", tasks.Paid, 100, pay("T1", 100, "23:59:59")), order("A2", tasks.Paid, 70, pay("T2", 70, "00:00:00"))},
			payment: "0 rows 0 fen", has: "2 orders 170 fen", matched: "0 orders 0 fen", waiting: "2 orders 170 fen", agrees: true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := books.Compare(t.Context(), tt.ledger, day.Add(13*time.Hour), of(billOf(tt.bill...)))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range r.Exceptions {
				if e.Detail == "" || strings.Contains(e.Detail, "%!") {
					t.Errorf("the detail is %q", e.Detail)
				}
				if e.Kind != explain.UnknownOrder && e.Kind != explain.Refunded && e.OrderID != "1"+e.OutOrderNo {
					t.Errorf("the order_id of %s is %q", e.OutOrderNo, e.OrderID)
				}
			}
			if diff := cmp.Diff(tt.want, told(r)); diff != "" {
				t.Error("the exceptions differ (-want +got):\n" + diff)
			}
			if diff := cmp.Diff(tt.ask, r.Ask); diff != "" {
				t.Error("the orders to query differ (-want +got):\n" + diff)
			}
			payment := fmt.Sprintf("%d rows %d fen", r.Bill.PayScoreRows, r.Bill.Amount)
			waiting := ""
			if r.Waiting != nil {
				waiting = tally(*r.Waiting)
			}
			have := []string{payment, tally(r.Ledger), tally(r.Matched), waiting, fmt.Sprint(r.Agrees()), r.MchID, r.Date, fmt.Sprint(r.Bill.Rows)}
			want := []string{tt.payment, tt.has, tt.matched, tt.waiting, fmt.Sprint(tt.agrees), mchid, "2026-11-26", fmt.Sprint(len(tt.bill))}
			if diff := cmp.Diff(want, have); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What is around midnight is looked for in the neighbouring day's bill, if that can be had.
func TestCompare_Midnight(t *testing.T) {
	l := orders{
		order("A1", tasks.Paid, 100, pay("T1", 100, "23:59:59")), order("A2", tasks.Paid, 70, pay("T2", 70, "00:00:00")),
		order("A3", tasks.Paid, 50, pay("T3", 50, "23:59:00")), order("A4", tasks.Paid, 20, pay("T4", 20, "23:58:00")),
	}
	var opened []string
	r, err := books.Compare(t.Context(), l, day, func(ctx context.Context, d time.Time) (*books.Bill, error) {
		opened = append(opened, d.Format(time.DateOnly))
		switch d.Day() {
		case 25:
			return nil, nil
		case 26:
			return of(billOf())(ctx, day)
		}
		return of(billOf(line{tx: "T1", no: "A1", amount: 100, clock: "2026-11-27 00:00:00"}, line{tx: "T4", no: "A4", amount: 21, clock: "2026-11-27 00:00:00"}))(ctx, day)
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"amount_differs A4 T4 bill 21 ledger 20 paid", "paid_in_ledger_only A3 T3 bill 0 ledger 50 paid"}
	if diff := cmp.Diff(want, told(r)); diff != "" || len(opened) != 3 {
		t.Errorf("opened %v\n%s", opened, diff)
	}
	if r.Waiting == nil || tally(*r.Waiting) != "1 orders 70 fen" || tally(r.Matched) != "1 orders 100 fen" {
		t.Errorf("waiting %+v, matched %+v", r.Waiting, r.Matched)
	}
	broken := errors.New("no network")
	_, err = books.Compare(t.Context(), l, day, func(ctx context.Context, d time.Time) (*books.Bill, error) {
		if d.Equal(day) {
			return of(billOf())(ctx, d)
		}
		return nil, broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("the neighbour's error is lost: %v", err)
	}
}

// A bill whose hash is not the one that WeChat Pay signed is refused; on a day that
// WeChat Pay has signed to be without transactions, every payment is missing.
func TestCompare_Signed(t *testing.T) {
	l := orders{order("A1", tasks.Paid, 100, pay("T1", 100, "09:00:00"))}
	signed := func(sum string) (books.Result, error) {
		return books.Compare(t.Context(), l, day, func(ctx context.Context, d time.Time) (*books.Bill, error) {
			b, err := of(billOf(line{tx: "T1", no: "A1", amount: 100}))(ctx, d)
			b.SHA1 = sum
			return b, err
		})
	}
	var refused *books.Error
	_, err := signed("0000000000000000000000000000000000000000")
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "its SHA1 is") {
		t.Fatalf("the error is %v", err)
	}
	_, sum, err := read(billOf(line{tx: "T1", no: "A1", amount: 100}))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := signed(strings.ToUpper(sum.SHA1)); err != nil || !r.Agrees() || r.Bill.SHA1 != sum.SHA1 {
		t.Errorf("%+v, %v", r, err)
	}
	r, err := books.Compare(t.Context(), l, day, func(context.Context, time.Time) (*books.Bill, error) { return &books.Bill{}, nil })
	if err != nil || len(r.Exceptions) != 1 || r.Exceptions[0].Kind != explain.PaidInLedgerOnly {
		t.Errorf("%+v, %v", r, err)
	}
}

// learning is a ledger that learns of its orders' payments after their rows were looked up.
type learning struct {
	orders
	asked int
}

func (*learning) PaidSince(context.Context, time.Time) iter.Seq2[ledger.Order, error] {
	return func(func(ledger.Order, error) bool) {}
}

func (l *learning) Records(ctx context.Context, nos []string) ([]ledger.Order, error) {
	found, err := l.orders.Records(ctx, nos)
	if l.asked++; l.asked == 1 {
		for i := range found {
			found[i].State, found[i].Payments = tasks.Awaiting, nil
		}
	}
	return found, err
}

// What is signed while the bill is compared is no exception: only what differs is.
func TestCompare_SignedMeanwhile(t *testing.T) {
	l := &learning{orders: orders{
		order("A1", tasks.Paid, 100, pay("T1", 100, "09:00:00")),
		order("A2", tasks.Paid, 100, pay("T2", 100, "09:00:00")),
		order("A3", tasks.Paid, 100, pay("T3", 100, "09:00:00"), pay("T4", 100, "09:00:01")),
		order("A4", tasks.Awaiting, 100),
	}}
	r, err := books.Compare(t.Context(), l, day, of(billOf(
		line{tx: "T1", no: "A1", amount: 100}, line{tx: "T2", no: "A2", amount: 101},
		line{tx: "T3", no: "A3", amount: 100}, line{tx: "T4", no: "A3", amount: 100, user: true}, line{tx: "T5", no: "A4", amount: 100},
	)))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"paid_twice A3 T4 bill 0 ledger 200 paid others [T3] refund T4 100 of 100",
		"amount_differs A2 T2 bill 101 ledger 100 paid",
		"paid_in_bill_only A4 T5 bill 100 ledger 0 awaiting",
	}
	if diff := cmp.Diff(want, told(r)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"A4"}, r.Ask); diff != "" {
		t.Error(diff)
	}
	if r.Bill.PayScoreRows != 5 || r.Bill.Amount != 501 || r.Matched.Amount != 300 || r.Ledger.Amount != 400 {
		t.Errorf("the bill is %+v, matched %+v of %+v", r.Bill, r.Matched, r.Ledger)
	}
}

// A bill that is not this merchant's or not this day's is refused: every payment of the
// ledger would be missing in it.
func TestCompare_WrongBill(t *testing.T) {
	for _, tt := range []struct {
		row  line
		want string
	}{
		{line{tx: "T1", no: "A1", amount: 1, mchid: "1230000110"}, "another merchant's bill"},
		{line{tx: "T1", no: "A1", amount: 1, clock: "2026-11-25 12:00:00"}, "no row of it is of 2026-11-26; its first one is of 2026-11-25"},
	} {
		_, err := books.Compare(t.Context(), orders{}, day, of(billOf(tt.row)))
		var refused *books.Error
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v; want …%s…", err, tt.want)
		}
	}
}

// A layout without 订单金额 says what is settled and what a coupon paid: both amounts can be
// the order's.
func TestCompare_Coupons(t *testing.T) {
	l := orders{
		order("RENT|00*2_x", tasks.Paid, 1000, pay("4200001234202611260000000002", 1000, "09:12:44")),
		order("RENT-0007", tasks.Paid, 100, pay("4200001234202611260000000007", 100, "15:30:00")), // 0.00 is settled
	}
	for _, name := range []string{"all.csv", "old.csv", "oldest.csv"} {
		r, err := books.Compare(t.Context(), l, day, of(bytes.NewReader(file(t, name))))
		if err != nil {
			t.Fatal(name, err)
		}
		if tally(r.Matched) != "2 orders 1100 fen" {
			t.Errorf("%s: matched %+v of %+v", name, r.Matched, r.Ledger)
		}
	}
}

// Refunds are those that were asked for, a coupon's part too: of the day's payments, of an
// earlier one, of numbers with |. Those of other business are left alone.
func TestCompare_Refunds(t *testing.T) {
	l := orders{
		order("RENT-1001", tasks.Paid, 2000, pay("4200001234202611260000000101", 2000, "08:00:00")),
		order("RENT|1002|*", tasks.Paid, 330, pay("4200001234202611260000000102", 330, "09:00:00")),
	}
	r, err := books.Compare(t.Context(), l, day, of(bytes.NewReader(file(t, "refunds.csv"))))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"refunded RENT-1001 4200001234202611260000000101 bill 800 ledger 0 paid",
		"refunded RENT|1002|* 4200001234202611260000000102 bill 330 ledger 0 paid",
		"refunded RENT|0990 4200001234202611250000000990 bill 45 ledger 0 ",
	}
	if diff := cmp.Diff(want, told(r)); diff != "" {
		t.Error(diff)
	}
	if !r.Agrees() || tally(r.Matched) != "2 orders 2330 fen" || r.Bill.Rows != 7 || r.Bill.PayScoreRows != 5 || r.Bill.Amount != 2330 {
		t.Errorf("matched %+v of %+v", r.Matched, r.Bill)
	}
}

// subMerchant is the ledger of a merchant of a service provider.
type subMerchant struct{ orders }

func (subMerchant) MchID() string { return "1900000109" }

// The bill of a service provider has all its merchants; a ledger's is one of them.
func TestCompare_ServiceProvider(t *testing.T) {
	l := subMerchant{orders{
		order("RENT-0001", tasks.Paid, 1234, pay("4200001234202611260000000001", 1234, "00:00:07")),
		order("RENT-0003", tasks.Paid, 560, pay("4200001234202611260000000003", 560, "10:33:12")),
	}}
	r, err := books.Compare(t.Context(), l, day, of(bytes.NewReader(file(t, "provider.csv"))))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Exceptions) > 0 || tally(r.Matched) != "2 orders 1794 fen" || r.Bill.Rows != 3 || r.Bill.PayScoreRows != 2 || r.Bill.Amount != 1794 {
		t.Errorf("%+v of %+v: %+v", r.Matched, r.Bill, r.Exceptions)
	}
}

// A million payments that agree fit into 64 MiB, the ledger's side and the bill's.
func TestCompare_Memory(t *testing.T) {
	n := testkit.Form(1_000_000, 100_000) // CI's long form is under the race detector, which takes twenty times as long
	var most uint64
	var m runtime.MemStats
	look := func() {
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapInuse)
	}
	runtime.GC()
	look()
	before := most
	r, err := books.Compare(t.Context(), many{n, look}, day, of(bigBill(n)))
	if err != nil {
		t.Fatal(err)
	}
	if want := (books.Tally{Orders: int64(n), Amount: int64(n) * 100}); r.Matched != want || r.Ledger != want || !r.Agrees() {
		t.Fatalf("matched %+v of %+v, and %d exceptions", r.Matched, r.Ledger, len(r.Exceptions))
	}
	t.Logf("%d payments: %d MiB in use at most", n, (most-before)>>20)
	if most-before > 64<<20 {
		t.Errorf("%d MiB are in use", (most-before)>>20)
	}
}

// many is a ledger of n orders, each of which is paid; look is called now and then.
type many struct {
	n    int
	look func()
}

func (many) MchID() string { return mchid }

func (m many) PaidSince(context.Context, time.Time) iter.Seq2[ledger.Order, error] {
	return func(yield func(ledger.Order, error) bool) {
		for i := range m.n {
			if i%10_000 == 0 {
				m.look()
			}
			no := fmt.Sprintf("RENT-%d", i)
			if !yield(order(no, tasks.Paid, 100, pay(fmt.Sprintf("42000012342026112%011d", i), 100, "10:33:12")), nil) {
				return
			}
		}
	}
}

func (m many) Records(_ context.Context, nos []string) ([]ledger.Order, error) {
	m.look()
	return make([]ledger.Order, len(nos)), nil
}

func BenchmarkCompare(b *testing.B) {
	for b.Loop() {
		if _, err := books.Compare(b.Context(), many{1_000_000, func() {}}, day, of(bigBill(1_000_000))); err != nil {
			b.Fatal(err)
		}
	}
}
