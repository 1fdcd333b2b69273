package worker_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/books"
	"payscore-collector/internal/config"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/tasks"
)

// Of several workers, one closes a day's books once. An order in a final state that only
// the bill calls paid is queried; the payment is recorded by WeChat Pay's signed reply, and
// when the day is compared again, all agrees.
func TestBooksAreClosedDaily(t *testing.T) {
	t.Parallel()
	addr := testkit.FreeAddr(t)
	r := workertest.NewYesterday(t, func(c *config.Worker) { c.AdminAddr = addr })
	r.Add(simulator.Order{OutOrderNo: "PAID", TotalAmount: 1250}, simulator.Order{OutOrderNo: "LOST", TotalAmount: 900, Fate: simulator.FateNever})
	stop := r.Work()
	r.Enqueue("PAID", "LOST")
	r.Eventually("the orders are tried", func() bool {
		return r.Get("PAID").State == tasks.Paid && r.Get("LOST").CollectCalls > 0
	})
	// The user pays after billing has stopped the collection, and no notification comes.
	if res := r.Withdraw("LOST", time.Time{}); res.Status != tasks.Accepted {
		t.Fatalf("withdraw: %+v", res)
	}
	stop() // no step is under way that could learn of it
	if err := r.Sim.Pay("LOST", 0, simulator.PaidTypeNewton); err != nil {
		t.Fatal(err)
	}
	day := r.Get("PAID").Payments[0].PaidAt
	date := ledger.BookDateOf(day)
	if err := r.Ledger.BeginBooks(t.Context(), date); err != nil {
		t.Fatal(err)
	}
	r.Cfg.BooksAt = config.BooksAt{On: true}
	r.Work()
	r.Work()
	var result books.Result
	r.Eventually("the books are closed", func() bool {
		var err error
		result, err = books.Load(t.Context(), r.Ledger, date)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			t.Fatal(err)
		}
		return err == nil
	})
	if len(result.Exceptions) != 1 || result.Exceptions[0].Kind != explain.PaidInBillOnly || result.Exceptions[0].OutOrderNo != "LOST" {
		t.Errorf("the exceptions are %+v", result.Exceptions)
	}
	if result.Matched != (books.Tally{Orders: 1, Amount: 1250}) {
		t.Errorf("matched: %+v", result.Matched)
	}
	r.Eventually("WeChat Pay's word on the order is recorded", func() bool {
		return len(r.Get("LOST").Payments) == 1
	})
	if o := r.Get("LOST"); o.State != tasks.Withdrawn || o.LatePaymentAt.IsZero() {
		t.Errorf("the order is %+v", o)
	}
	r.Eventually("nothing is left to ask", func() bool {
		b, err := r.Ledger.Bookkeeping(t.Context())
		return err == nil && len(b.Asks) == 0
	})
	name := `payscore_books_exceptions{kind="paid_in_bill_only",mchid="` + r.Ledger.MchID() + `"} 1`
	r.Eventually("the metric shows it", func() bool {
		resp, err := http.Get("http://" + addr + "/metrics")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return err == nil && strings.Contains(string(text), name)
	})
	if n := strings.Count(r.Logs.String(), `"event":"books_exceptions"`); n != 1 {
		t.Errorf("the books of the day were closed %d times", n)
	}
	// Compared again.
	b, err := r.Ledger.Bookkeeping(t.Context())
	if err != nil || b.Again[date].IsZero() {
		t.Errorf("the day is not compared again: %+v, %v", b, err)
	}
}

// A day whose bill is not made yet is asked for later, by no worker before.
func TestBooksAreTriedAgain(t *testing.T) {
	t.Parallel()
	r := workertest.NewYesterday(t, func(c *config.Worker) { c.BooksAt = config.BooksAt{On: true} })
	if err := r.Sim.SetBill(simulator.Bill{Creating: true}); err != nil {
		t.Fatal(err)
	}
	date := ledger.BookDateOf(time.Now().AddDate(0, 0, -1))
	if err := r.Ledger.BeginBooks(t.Context(), date); err != nil {
		t.Fatal(err)
	}
	r.Work()
	r.Eventually("the day is put off", func() bool {
		b, err := r.Ledger.Bookkeeping(t.Context())
		return err == nil && time.Until(b.Again[date]) > 20*time.Minute
	})
	if _, _, err := r.Ledger.Book(t.Context(), date); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("the day is closed: %v", err)
	}
	// Put off by a clock of Redis that was ahead by a month, and went back.
	if err := r.Sim.SetBill(simulator.Bill{}); err != nil {
		t.Fatal(err)
	}
	if err := r.Ledger.EndBookTurn(t.Context(), ledger.NewToken(), date, 30*24*time.Hour); err != nil {
		t.Fatal(err)
	}
	r.Eventually("the books are closed", func() bool {
		_, _, err := r.Ledger.Book(t.Context(), date)
		return err == nil
	})
	// The comparison is repeated, and WeChat Pay refuses the bill: the stored result stays.
	if err := r.Sim.SetFaults(simulator.Faults{NoAuth: true}); err != nil {
		t.Fatal(err)
	}
	if err := r.Ledger.EndBookTurn(t.Context(), ledger.NewToken(), date, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	r.Eventually("the day is compared no more", func() bool {
		b, err := r.Ledger.Bookkeeping(t.Context())
		return err == nil && b.Again[date].IsZero()
	})
}

// A payment around midnight may be in the next day's bill, which is not made yet: the day is
// compared again the day after, at BOOKS_AT.
func TestBooksWaitForTheNextBill(t *testing.T) {
	t.Parallel()
	var today time.Time
	var clock time.Duration
	r := workertest.NewYesterday(t, func(c *config.Worker) {
		now := time.Now()
		today = books.Day(now)
		clock = now.Sub(today) / 2
		c.BooksAt = config.BooksAt{On: true, Clock: clock}
	})
	r.Enqueue("LATE")
	amount := int64(1250)
	if _, _, err := r.Ledger.Notice(t.Context(), ledger.Notice{
		OutOrderNo: "LATE", Token: ledger.NewToken(), Paid: true, Entry: ledger.Entry{Call: "notification", Verdict: "paid"},
		Facts: ledger.Facts{OrderID: "1000", Total: &amount, Paid: &amount, Known: true, Done: true, Payments: []ledger.Payment{
			{TransactionID: "4200", Amount: amount, PaidType: simulator.PaidTypeNewton, PaidAt: today.Add(-time.Minute)},
		}},
	}); err != nil {
		t.Fatal(err)
	}
	date := ledger.BookDateOf(today.Add(-time.Minute))
	if err := r.Ledger.BeginBooks(t.Context(), date); err != nil {
		t.Fatal(err)
	}
	r.Work()
	var result books.Result
	comparedAfter := func(before time.Time) {
		t.Helper()
		r.Eventually("the books are closed", func() bool {
			var err error
			result, err = books.Load(t.Context(), r.Ledger, date)
			if err != nil && !errors.Is(err, ledger.ErrNotFound) {
				t.Fatal(err)
			}
			return err == nil && result.ClosedAt.After(before)
		})
		if result.Waiting == nil || *result.Waiting != (books.Tally{Orders: 1, Amount: amount}) {
			t.Errorf("waiting: %+v, exceptions: %+v", result.Waiting, result.Exceptions)
		}
		b, err := r.Ledger.Bookkeeping(t.Context())
		if want := today.AddDate(0, 0, 1).Add(clock); err != nil || b.Again[date].Sub(want).Abs() > testkit.Patience {
			t.Errorf("the day is compared again at %v, want %v; %v", b.Again[date], want, err)
		}
	}
	comparedAfter(time.Time{})
	// The time has come.
	token := ledger.NewToken()
	r.Eventually("the worker's turn to end", func() bool {
		mine, err := r.Ledger.BookTurn(t.Context(), token, time.Minute)
		return err == nil && mine
	})
	if err := r.Ledger.EndBookTurn(t.Context(), token, date, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	comparedAfter(result.ClosedAt)
}
