package main

import (
	"encoding/csv"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/books"
	"payscore-collector/internal/config"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/tasks"
)

// bookkeeper is a store beside a platform whose orders live yesterday.
type bookkeeper struct {
	store
	sim   *simulator.Simulator
	env   map[string]string
	mchid string
	date  string
}

func newBookkeeper(t *testing.T) bookkeeper {
	noon := books.Day(time.Now()).AddDate(0, 0, -1).Add(12 * time.Hour)
	sim, err := simulator.New(simulator.Options{Clock: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	server := httptest.NewServer(sim.Handler())
	t.Cleanup(server.Close)
	dir := t.TempDir()
	if err := sim.WriteMerchantDir(dir, server.URL); err != nil {
		t.Fatal(err)
	}
	b := bookkeeper{store: newStore(t), sim: sim, mchid: sim.Merchant().MchID, date: noon.In(books.China).Format(time.DateOnly)}
	b.env = map[string]string{"REDIS_URL": b.url}
	text, err := os.ReadFile(filepath.Join(dir, simulator.FileEnvironment))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			b.env[name] = strings.Trim(value, "'\"")
		}
	}
	return b
}

// pay has an order paid on the platform, and known to the ledger as told.
func (b bookkeeper) pay(no string, fen int64, known bool) {
	b.t.Helper()
	if err := b.sim.AddOrders(simulator.Order{OutOrderNo: no, TotalAmount: fen}); err != nil {
		b.t.Fatal(err)
	}
	if err := b.sim.Pay(no, 0, simulator.PaidTypeNewton); err != nil {
		b.t.Fatal(err)
	}
	if !known {
		b.open(b.mchid, no)
		return
	}
	truth, _ := b.sim.Order(no)
	d := truth.Entity.Collection.Details[0]
	at, err := time.ParseInLocation("20060102150405", d.PaidTime, books.China)
	if err != nil {
		b.t.Fatal(err)
	}
	set := paid(fen)
	set.Facts.OrderID, set.Facts.TransactionID = truth.Entity.OrderID, d.TransactionID
	set.Facts.Payments = []ledger.Payment{{TransactionID: d.TransactionID, Amount: fen, PaidType: "NEWTON", PaidAt: at, Seq: 1}}
	b.settle(b.mchid, no, set)
}

func (b bookkeeper) books(args ...string) outcome {
	b.t.Helper()
	return runWith(b.t, b.env, append([]string{"books"}, args...)...)
}

func (b bookkeeper) lie(lie simulator.Bill) {
	b.t.Helper()
	if err := b.sim.SetBill(lie); err != nil {
		b.t.Fatal(err)
	}
}

func TestBooks(t *testing.T) {
	b := newBookkeeper(t)
	b.pay("A|1", 1250, true)
	b.pay("A2", 500, true)
	l := ledger.New(b.rdb, b.mchid)

	t.Run("all agrees: exit 0, and the documented JSON", func(t *testing.T) {
		o := b.books("--date", b.date, "--json")
		o.wantStatus(t, config.ExitOK)
		var got map[string]any
		if err := json.Unmarshal([]byte(o.stdout), &got); err != nil {
			t.Fatal(err)
		}
		bill := got["bill"].(map[string]any)
		if sum, _ := bill["sha1"].(string); len(sum) != 40 {
			t.Errorf("the sha1 is %q", sum)
		}
		delete(bill, "sha1")
		delete(got, "closed_at")
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		want := `{"bill":{"amount":1750,"payscore_rows":2,"rows":4},"date":"` + b.date + `","exceptions":[],"ledger":{"amount":1750,"orders":2},"matched":{"amount":1750,"orders":2},"mchid":"` + b.mchid + `"}`
		if string(text) != want {
			t.Errorf("the JSON is\n%s\nwant\n%s", text, want)
		}
	})
	t.Run("the result is stored", func(t *testing.T) {
		r, err := books.Load(t.Context(), l, ledger.BookDate(b.date))
		if err != nil || r.Matched.Amount != 1750 || r.ClosedAt.IsZero() {
			t.Errorf("%+v, %v", r, err)
		}
	})
	t.Run("for people, of yesterday, in both languages", func(t *testing.T) {
		o := b.books()
		o.wantStatus(t, config.ExitOK)
		wantContains(t, "stdout", o.stdout, "Books of "+b.date, "4 rows, of which 2 of PayScore orders: ¥17.50", "0 exceptions")
		o = b.books("--lang", "zh")
		o.wantStatus(t, config.ExitOK)
		wantContains(t, "stdout", o.stdout, "对账", "0 项差异")
	})
	t.Run("exceptions: exit 5, each with what to do", func(t *testing.T) {
		b.pay("A3", 900, false)
		b.lie(simulator.Bill{PaidTwice: 1, UnknownOrders: 1, Refunds: 1})
		o := b.books("--date", b.date)
		o.wantStatus(t, exitExceptions)
		if o.stderr != "" {
			t.Errorf("stderr: %s", o.stderr)
		}
		wantContains(t, "stdout", o.stdout, "3 exceptions, 1 refunds for information", "paid_twice: paid more than once (1)", `refund: POST /v3/refund/domestic/refunds {"transaction_id":"43000`,
			"paid_in_bill_only", "unknown_order", "refunded", "NEVER-ADDED-0", "¥12.50")
		bookkeeping, err := l.Bookkeeping(t.Context())
		if err != nil || len(bookkeeping.Asks) != 0 {
			t.Errorf("orders that no worker queries: %+v, %v", bookkeeping, err)
		}
		// It is due at once, and its first step is a query.
		c, err := l.Claim(t.Context(), "A3", ledger.NewToken(), ledger.NoRound, ledger.Limits{Lease: time.Minute, Rate: 1e6, Horizon: time.Minute, Most: time.Second})
		if err != nil || c.Plan != ledger.Inspect {
			t.Errorf("the next step of A3: %+v, %v", c, err)
		}
		if o, err := l.Get(t.Context(), "A3"); err != nil || o.State != tasks.Queued {
			t.Errorf("the bill alone has made A3 %s, %v", o.State, err)
		}
	})
	t.Run("CSV, and for a spreadsheet", func(t *testing.T) {
		o := b.books("--date", b.date, "--csv")
		o.wantStatus(t, exitExceptions)
		rows, err := csv.NewReader(strings.NewReader(o.stdout)).ReadAll()
		if err != nil || len(rows) != 5 {
			t.Fatalf("%d rows, %v:\n%s", len(rows), err, o.stdout)
		}
		if got := rows[1][:4]; !slices.Equal(got, []string{b.mchid, b.date, "paid_twice", "A|1"}) || rows[1][6] != "1250" {
			t.Errorf("the first row is %q", rows[1])
		}
		o = b.books("--date", b.date, "--csv", "--excel")
		o.wantStatus(t, exitExceptions)
		wantContains(t, "stdout", o.stdout, "\ufeff", "bill_amount (yuan)", `"=""A|1"""`, `12.50`)
		if plain, err := csv.NewReader(strings.NewReader(o.stdout)).ReadAll(); err != nil || plain[1][9] != rows[1][9] {
			t.Errorf("the detail is %q, and without --excel %q (%v)", plain[1][9], rows[1][9], err)
		}
		o = b.books("--date", b.date, "--csv", "--excel", "--lang", "zh")
		wantContains(t, "stdout", o.stdout, "bill_amount (yuan)", "paid_twice", "订单金额为 ¥12.50")
		if strings.Contains(strings.ReplaceAll(o.stdout, `\"`, ""), "=HYPERLINK") {
			t.Error("a formula")
		}
	})
	t.Run("no bill yet, and a bill that is refused: exit 1", func(t *testing.T) {
		b.lie(simulator.Bill{Creating: true})
		o := b.books("--date", b.date)
		o.wantStatus(t, exitFailed)
		wantContains(t, "stderr", o.stderr, "ask again in half an hour", "STATEMENT_CREATING")
		b.lie(simulator.Bill{WrongSummary: true})
		o = b.books("--date", b.date)
		o.wantStatus(t, exitFailed)
		wantContains(t, "stderr", o.stderr, "the bill is refused at line ")
		b.lie(simulator.Bill{WrongHash: true})
		o = b.books("--date", b.date)
		o.wantStatus(t, exitFailed)
		wantContains(t, "stderr", o.stderr, "its SHA1 is")
	})
	t.Run("several days", func(t *testing.T) {
		b.lie(simulator.Bill{})
		last, err := ledger.BookDate(b.date).Start()
		if err != nil {
			t.Fatal(err)
		}
		o := b.books("--from", last.AddDate(0, 0, -2).Format(time.DateOnly), "--to", b.date, "--json")
		o.wantStatus(t, exitExceptions) // A3 is not signed yet
		if n := strings.Count(o.stdout, "\n"); n != 3 {
			t.Errorf("%d days:\n%s", n, o.stdout)
		}
	})
}

// A day that was closed by hand is compared again by workers as one that they have closed:
// after its orders were queried, and when the next day's bill is made. Another comparison by
// hand plans no other time, and removes no plan of a day that does not agree.
func TestBooks_PlansTheNextComparison(t *testing.T) {
	b := newBookkeeper(t)
	b.pay("ASKED", 900, false)
	l := ledger.New(b.rdb, b.mchid)
	day, err := ledger.BookDate(b.date).Start()
	if err != nil {
		t.Fatal(err)
	}
	midnight := day.AddDate(0, 0, 1)
	compare := func() outcome {
		t.Helper()
		return runAt(t, midnight.Add(11*time.Hour), b.env, "books", "--date", b.date)
	}
	planned := func() time.Time {
		t.Helper()
		k, err := l.Bookkeeping(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return k.Again[ledger.BookDate(b.date)]
	}
	compare().wantStatus(t, exitExceptions)
	first := planned()
	if wait := time.Until(first); wait < 0 || wait > 10*time.Minute {
		t.Fatalf("the day is compared again in %s, want ten minutes", wait)
	}
	compare().wantStatus(t, exitExceptions)
	if at := planned(); !at.Equal(first) {
		t.Errorf("after another comparison by hand it is compared again at %s, want %s", at, first)
	}
	b.pay("AGREES", 500, true)
	truth, _ := b.sim.Order("ASKED")
	detail := truth.Entity.Collection.Details[0]
	at, err := time.ParseInLocation("20060102150405", detail.PaidTime, books.China)
	if err != nil {
		t.Fatal(err)
	}
	n := ledger.Notice{OutOrderNo: "ASKED", Token: ledger.NewToken(), Paid: true, Facts: paid(900).Facts, Entry: ledger.Entry{Call: "notification", Verdict: "paid"}}
	n.Facts.TransactionID = detail.TransactionID
	n.Facts.Payments = []ledger.Payment{{TransactionID: detail.TransactionID, Amount: 900, PaidType: "NEWTON", PaidAt: at, Seq: 1}}
	if _, _, err := l.Notice(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	compare().wantStatus(t, config.ExitOK)
	if at := planned(); !at.IsZero() {
		t.Errorf("a day that agrees is compared again at %s", at)
	}

	// What was paid just before midnight may be in today's bill, which workers ask for at
	// BOOKS_AT.
	if err := l.Beat(t.Context(), "w", time.Minute, ledger.Settings{BooksAt: "14:00"}, false); err != nil {
		t.Fatal(err)
	}
	set := paid(100)
	set.Facts.TransactionID = "4200009"
	set.Facts.Payments = []ledger.Payment{{TransactionID: "4200009", Amount: 100, PaidType: "NEWTON", PaidAt: midnight.Add(-time.Second), Seq: 1}}
	b.settle(b.mchid, "LATE", set)
	compare().wantStatus(t, config.ExitOK)
	if at, want := planned(), midnight.AddDate(0, 0, 1).Add(14*time.Hour); at.Sub(want).Abs() > time.Minute {
		t.Errorf("the day is compared again at %s, want %s", at, want)
	}
}

// A downloaded bill takes no keys. The ledger's merchant is the only one, or --mchid says.
func TestBooks_File(t *testing.T) {
	s := newStore(t)
	const mchid = "1230000109"
	set := paid(1234)
	set.Facts.Payments = []ledger.Payment{{
		TransactionID: "4200001234202611260000000001", Amount: 1234, PaidType: "NEWTON", PaidAt: time.Date(2026, 11, 25, 16, 0, 7, 0, time.UTC), Seq: 1,
	}}
	s.settle(mchid, "RENT-0001", set)
	file := filepath.Join("..", "..", "internal", "books", "testdata", "all.csv.gz")
	run := func(args ...string) outcome {
		t.Helper()
		return runAt(t, time.Date(2026, 11, 27, 2, 0, 0, 0, time.UTC), map[string]string{"REDIS_URL": s.url}, append([]string{"books", "--file", file}, args...)...)
	}
	o := run("--date", "2026-11-26", "--json")
	o.wantStatus(t, exitExceptions)
	var r books.Result
	if err := json.Unmarshal([]byte(o.stdout), &r); err != nil {
		t.Fatal(err)
	}
	var kinds []explain.BookKind
	for _, e := range r.Exceptions {
		kinds = append(kinds, e.Kind)
	}
	if !slices.Equal(kinds, []explain.BookKind{explain.UnknownOrder, explain.UnknownOrder, explain.Refunded}) || r.Matched.Amount != 1234 {
		t.Errorf("%v of %+v", kinds, r)
	}
	o = run("--date", "2026-11-25")
	o.wantStatus(t, exitFailed)
	wantContains(t, "stderr", o.stderr, "no row of it is of 2026-11-25; its first one is of 2026-11-26")
	s.open("1230000110", "B1")
	o = run("--date", "2026-11-26")
	o.wantStatus(t, config.ExitUsage)
	wantContains(t, "stderr", o.stderr, "--mchid", mchid)
	o = run("--date", "2026-11-26", "--mchid", "1230000110")
	o.wantStatus(t, exitFailed)
	wantContains(t, "stderr", o.stderr, "another merchant's bill")
}

func TestBooks_Usage(t *testing.T) {
	now := time.Date(2026, 11, 26, 16, 30, 0, 0, time.UTC) // half past midnight of the 27th in Shanghai
	env := map[string]string{"REDIS_URL": "redis://127.0.0.1:1"}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--date", "2026-11-27"}, "is not over in Shanghai: write a day before 2026-11-27"},
		{[]string{"--date", "2026-11-28", "--file", "x"}, "is not over in Shanghai"},
		{[]string{"--date", "2027-01-01"}, "is not over in Shanghai"},
		{[]string{"--date", "26.11.2026"}, "write a day such as 2026-11-26"},
		{[]string{"--date", "2026-01-01"}, "bills of three months"},
		{[]string{"--to", "2026-11-26"}, "needs --from"},
		{[]string{"--from", "2026-11-26", "--to", "2026-11-25"}, "is before --from"},
		{[]string{"--from", "2026-11-20", "--file", "x"}, "is the bill of one day"},
		{[]string{"--excel", "--file", "x"}, "is a form of --csv"},
		{[]string{"--date", "2026-11-26"}, "WECHATPAY_PRIVATE_KEY_FILE"},
	} {
		o := runAt(t, now, env, append([]string{"books"}, tt.args...)...)
		o.wantStatus(t, config.ExitUsage)
		wantContains(t, "stderr", o.stderr, tt.want)
	}
}
