package books_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"payscore-collector/internal/books"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/owner"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/simulator"
	"payscore-collector/tasks"
)

// platform is a simulator whose orders live yesterday, with a client.
type platform struct {
	*testing.T
	*simulator.Simulator
	client *payscore.Client
	day    time.Time
	nos    []string
}

// noon is the clock of a platform: noon of yesterday in Shanghai, also where the tests run
// past midnight.
var noon = sync.OnceValue(func() time.Time { return books.Day(time.Now()).AddDate(0, 0, -1).Add(12 * time.Hour) })

func newPlatform(t *testing.T, clock func() time.Time) *platform {
	sim, err := simulator.New(simulator.Options{KeyBits: 1024, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	server := httptest.NewServer(sim.Handler())
	t.Cleanup(server.Close)
	m := sim.Merchant()
	client, err := payscore.New(payscore.Config{
		MchID: m.MchID, SerialNo: m.SerialNo, Signer: m.PrivateKey, PublicKeyID: m.PublicKeyID, PublicKey: m.PublicKey,
		BaseURL: server.URL, Timeout: time.Minute, Connections: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &platform{T: t, Simulator: sim, client: client, day: books.Day(clock())}
}

// pay adds orders that are paid: by a deduction, or by the user.
func (p *platform) pay(n int) {
	p.Helper()
	for i := range n {
		no := fmt.Sprintf("RENT|%d", i+1)
		if err := p.AddOrders(simulator.Order{OutOrderNo: no, TotalAmount: int64(100 * (i + 1))}); err != nil {
			p.Fatal(err)
		}
		if i%3 == 2 {
			if err := p.Pay(no, 0, simulator.PaidTypeNewton); err != nil {
				p.Fatal(err)
			}
		} else if r := p.client.Collect(p.Context(), p.request(no)); r.Verdict != payscore.Accepted {
			p.Fatalf("collect of %s: %+v", no, r)
		}
		p.nos = append(p.nos, no)
	}
}

func (p *platform) request(no string) payscore.Request {
	m := p.Merchant()
	return payscore.Request{Owner: owner.Owner{MchID: m.MchID, AppID: m.AppID, ServiceID: m.ServiceID}, OutOrderNo: no}
}

// ledger is what WeChat Pay's signed replies say of the orders.
func (p *platform) ledger() (l signed) {
	p.Helper()
	l.mchid = p.Merchant().MchID
	for _, no := range p.nos {
		r := p.client.Query(p.Context(), p.request(no))
		if r.Verdict != payscore.Paid {
			p.Fatalf("query of %s: %+v", no, r)
		}
		total := r.Order.Total()
		o := ledger.Order{OutOrderNo: no, OrderID: r.OrderID, State: tasks.Paid, TotalAmount: &total, EndedAt: noon()}
		for _, paid := range r.Order.Payments() {
			o.Payments = append(o.Payments, ledger.Payment(paid))
		}
		l.orders = append(l.orders, o)
	}
	return l
}

type signed struct {
	orders
	mchid string
}

func (s signed) MchID() string { return s.mchid }

func (p *platform) compare(l books.Ledger) (books.Result, error) {
	return books.Compare(p.Context(), l, p.day, books.Fetch(p.client, p.day, time.Now()))
}

// Every lie of the simulator is found, and without one all agrees.
func TestFetch_Lies(t *testing.T) {
	p := newPlatform(t, noon)
	p.pay(7)
	l := p.ledger()
	none := 0
	for _, tt := range []struct {
		name  string
		bill  simulator.Bill
		want  []explain.BookKind
		state payscore.BillState
		error string
	}{
		{name: "the truth"},
		{name: "an old layout", bill: simulator.Bill{OldLayout: true}},
		{name: "no other business", bill: simulator.Bill{OtherBusiness: &none}},
		{name: "rows missing", bill: simulator.Bill{MissingRows: 2}, want: []explain.BookKind{explain.PaidInLedgerOnly, explain.PaidInLedgerOnly}},
		{name: "an amount off", bill: simulator.Bill{AmountsOff: 1}, want: []explain.BookKind{explain.AmountDiffers}},
		{name: "paid twice", bill: simulator.Bill{PaidTwice: 1}, want: []explain.BookKind{explain.PaidTwice}},
		{name: "refunded", bill: simulator.Bill{Refunds: 1}, want: []explain.BookKind{explain.Refunded}},
		{name: "never enqueued", bill: simulator.Bill{UnknownOrders: 1}, want: []explain.BookKind{explain.UnknownOrder}},
		{
			name: "everything at once", bill: simulator.Bill{MissingRows: 1, AmountsOff: 1, PaidTwice: 2, Refunds: 1, UnknownOrders: 1, OldLayout: true},
			want: []explain.BookKind{explain.PaidTwice, explain.PaidTwice, explain.AmountDiffers, explain.PaidInLedgerOnly, explain.UnknownOrder, explain.Refunded},
		},
		{name: "a summary that does not agree", bill: simulator.Bill{WrongSummary: true}, error: "the rows come to"},
		{name: "a wrong hash", bill: simulator.Bill{WrongHash: true}, error: "its SHA1 is"},
		{name: "not made yet", bill: simulator.Bill{Creating: true}, state: payscore.NotReady},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := p.SetBill(tt.bill); err != nil {
				t.Fatal(err)
			}
			r, err := p.compare(l)
			var refused *payscore.BillError
			switch {
			case tt.state != "":
				if !errors.As(err, &refused) || refused.State != tt.state {
					t.Fatalf("the error is %v", err)
				}
				return
			case tt.error != "":
				if err == nil || !strings.Contains(err.Error(), tt.error) {
					t.Fatalf("the error is %v", err)
				}
				return
			case err != nil:
				t.Fatal(err)
			}
			var got []explain.BookKind
			for _, e := range r.Exceptions {
				got = append(got, e.Kind)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("the exceptions are %v, not %v", got, tt.want)
			}
			if want := (books.Tally{Orders: 7, Amount: 2800}); r.Ledger != want {
				t.Errorf("the ledger has %+v", r.Ledger)
			}
		})
	}
}

// A day without transactions is closed by WeChat Pay's signed word.
func TestFetch_NoStatement(t *testing.T) {
	p := newPlatform(t, noon)
	if r, err := p.compare(signed{mchid: p.Merchant().MchID}); err != nil || !r.Agrees() || r.Bill.SHA1 != "" {
		t.Errorf("%+v, %v", r, err)
	}
}

// scripted is a Client that gives errors in turn.
type scripted struct {
	errs  []error
	asked int
}

func (s *scripted) AskBill(context.Context, time.Time) (payscore.Bill, error) {
	s.asked++
	if len(s.errs) == 0 {
		return payscore.Bill{SHA1: "x", URL: "https://api.mch.weixin.qq.com/x", At: time.Now()}, nil
	}
	err := s.errs[0]
	s.errs = s.errs[1:]
	return payscore.Bill{}, err
}

func (s *scripted) DownloadBill(context.Context, payscore.Bill) (io.ReadCloser, error) {
	return io.NopCloser(billOf()), nil
}

// Trouble that may pass is tried again, other refusals are not, and no bill is asked for
// of a day that is not over.
func TestFetch_Retries(t *testing.T) {
	now := day.Add(34 * time.Hour)
	trouble := &payscore.BillError{State: payscore.TryAgain, Message: "HTTP 500"}
	c := &scripted{errs: []error{trouble}}
	if b, err := books.Fetch(c, day, now)(t.Context(), day); err != nil || b == nil || c.asked != 2 {
		t.Errorf("asked %d times: %v, %v", c.asked, b, err)
	}
	for _, state := range []payscore.BillState{payscore.NotReady, payscore.BillRefused} {
		c := &scripted{errs: []error{&payscore.BillError{State: state}}}
		var refused *payscore.BillError
		if _, err := books.Fetch(c, day, now)(t.Context(), day); !errors.As(err, &refused) || refused.State != state || c.asked != 1 {
			t.Errorf("asked %d times: %v", c.asked, err)
		}
		c = &scripted{errs: []error{&payscore.BillError{State: state}}}
		if b, err := books.Fetch(c, day, now)(t.Context(), day.AddDate(0, 0, -1)); b != nil || err != nil {
			t.Errorf("of a neighbouring day: %v, %v", b, err)
		}
	}
	c = &scripted{}
	if b, err := books.Fetch(c, day, now)(t.Context(), day.AddDate(0, 0, 1)); b != nil || err != nil || c.asked != 0 {
		t.Errorf("of a day that is not over: %v, %v", b, err)
	}
}

// Every request for a bill waits for a slot of the rate, retries and downloads too; no
// request is sent without one.
func TestFetch_Paced(t *testing.T) {
	p := newPlatform(t, noon)
	p.pay(2)
	awaited := 0
	paced := books.Paced{Client: p.client, Await: func(context.Context) error { awaited++; return nil }}
	if _, err := books.Compare(t.Context(), p.ledger(), p.day, books.Fetch(paced, p.day, time.Now())); err != nil {
		t.Fatal(err)
	}
	if awaited != 2 {
		t.Errorf("%d slots for a request and a download", awaited)
	}
	c := &scripted{errs: []error{&payscore.BillError{State: payscore.TryAgain}}}
	awaited = 0
	if _, err := books.Fetch(books.Paced{Client: c, Await: paced.Await}, day, day.Add(34*time.Hour))(t.Context(), day); err != nil || awaited != c.asked || awaited != 2 {
		t.Errorf("%d slots for %d requests, %v", awaited, c.asked, err)
	}
	c, none := &scripted{}, errors.New("no slot")
	if _, err := books.Fetch(books.Paced{Client: c, Await: func(context.Context) error { return none }}, day, day.Add(34*time.Hour))(t.Context(), day); !errors.Is(err, none) || c.asked != 0 {
		t.Errorf("%d requests without a slot, %v", c.asked, err)
	}
}
