package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"payscore-collector/internal/api"
	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// For random orders, the queries give the numbers of GET /v1/analytics, to the fen.
func TestQueries_RecoveryIsTheAPIs(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	srv := redistest.Start(t)
	l, ctx := ledger.New(srv.Client, mchA), t.Context()
	if err := ledger.Introduce(ctx, srv.Client, mchA); err != nil {
		t.Fatal(err)
	}
	for i := range 150 {
		story(t, l, rng, fmt.Sprintf("ORDER-%d", i))
	}
	var events []ledger.Event
	for _, x := range srv.Client.XRange(ctx, ledger.KeysOf(mchA).Outcomes(), "-", "+").Val() {
		e, err := ledger.DecodeEvent(mchA, x.ID, x.Values)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	conn := filled(t, events)

	a := api.New(api.Options{Redis: srv.Client, Loopback: true, Merchants: func() []config.Order { return nil }, Log: zerolog.New(zerolog.NewTestWriter(t))})
	defer a.Stop()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1/v1/analytics?mchid="+mchA, nil)
	r.RemoteAddr = "127.0.0.1:1"
	a.ServeHTTP(w, r)
	var v api.AnalyticsView
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != http.StatusOK || v.Total.PaidOrders == 0 {
		t.Fatalf("%d %v %s", w.Code, err, w.Body)
	}
	yuan := func(fen int64) string { // as numeric writes it
		if fen == 0 {
			return "0.00"
		}
		return fmt.Sprintf("%d.%02d", fen/100, fen%100)
	}
	whole := func(c api.EndedCount) string {
		return fmt.Sprintf("%d | %s | %d | %s", c.Orders, yuan(c.Amount), c.PaidOrders, yuan(c.PaidAmount))
	}
	part := func(c api.PaidCount) string { return fmt.Sprintf("0 | 0 | %d | %s", c.PaidOrders, yuan(c.PaidAmount)) }
	var weeks, rest []string
	for _, week := range v.Weeks {
		line := fmt.Sprintf("%s | %s | %s", mchA, week.Week, whole(week.EndedCount))
		for _, d := range week.ByDay {
			line += fmt.Sprintf(" | %d | %s", d.PaidOrders, yuan(d.PaidAmount))
		}
		weeks = append(weeks, line)
	}
	if diff := cmp.Diff(weeks, answer(t, conn, query(t, "recovery-by-week.sql"))); diff != "" {
		t.Errorf("by week (-API +SQL):\n%s", diff)
	}
	for _, c := range v.Attempts {
		rest = append(rest, fmt.Sprintf("%s | attempts | %d | %s", mchA, c.Attempts, whole(c.EndedCount)))
	}
	for _, c := range v.Declines {
		rest = append(rest, fmt.Sprintf("%s | first_decline | %s | %s", mchA, c.Code, whole(c.EndedCount)))
	}
	for _, c := range v.Hours {
		rest = append(rest, fmt.Sprintf("%s | hour | %d | %s", mchA, c.Hour, part(c.PaidCount)))
	}
	for _, c := range v.PaidBy {
		rest = append(rest, fmt.Sprintf("%s | paid_by | %s | %s", mchA, c.By, part(c.PaidCount)))
	}
	slices.Sort(rest)
	got := answer(t, conn, query(t, "recovery-by-cause.sql"))
	slices.Sort(got)
	if diff := cmp.Diff(rest, got); diff != "" {
		t.Errorf("the rest (-API +SQL):\n%s", diff)
	}
}

// story takes an order through a few steps, notifications, withdrawals and reopenings.
func story(t *testing.T, l *ledger.Ledger, rng *rand.Rand, no string) {
	t.Helper()
	ctx, o := t.Context(), tasks.Payload{MchID: mchA, OutOrderNo: no, AppID: "wx1", ServiceID: "s1"}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	open := func(reopen bool) {
		_, err := l.Open(ctx, ledger.Opening{Owner: o.Owner(), OutOrderNo: no, Reopen: reopen, Amount: rng.Int64N(2) * 700, Deed: ledger.Deed{By: "cli:x", Reason: "r"}})
		ok(err)
	}
	open(false)
	total := 1 + rng.Int64N(900)
	var list []ledger.Payment
	facts := func() ledger.Facts {
		f := ledger.Facts{OrderID: "1", Total: &total, Payments: slices.Clone(list)}
		var paid int64
		for _, p := range list {
			paid, f.PaidType = paid+p.Amount, p.PaidType
			if p.TransactionID != "" {
				f.TransactionID = p.TransactionID
			}
		}
		if paid > 0 {
			f.Paid = &paid
		}
		return f
	}
	// The user pays: sometimes a part, sometimes elsewhere, around now or days later.
	pay := func() {
		p := ledger.Payment{Seq: int64(len(list)) + 1, Amount: 1 + rng.Int64N(total), PaidType: "NEWTON", TransactionID: fmt.Sprintf("%s-%d", no, len(list)),
			PaidAt: time.Now().Add(time.Duration(rng.IntN(40)-5) * time.Second).Truncate(time.Second).UTC()}
		if rng.IntN(2) == 0 {
			p.PaidAt = p.PaidAt.Add(time.Duration(rng.IntN(40*24)) * time.Hour)
		}
		if rng.IntN(3) == 0 {
			p.PaidType, p.TransactionID = "MCH", ""
		}
		list = append(list, p)
	}
	for range 1 + rng.IntN(7) {
		switch rng.IntN(5) {
		case 0:
			pay()
			n := ledger.Notice{OutOrderNo: no, ID: ledger.NewToken(), Token: ledger.NewToken(), Paid: rng.IntN(2) == 0, Facts: facts(), Entry: ledger.Entry{Call: "notification", Verdict: "paid"}}
			_, _, err := l.Notice(ctx, n)
			ok(err)
		case 1:
			if rng.IntN(2) == 0 {
				_, err := l.Withdraw(ctx, no, ledger.Deed{By: "cli:x", Reason: "waived", Token: ledger.NewToken()}, time.Time{}, 0)
				ok(err)
			}
			open(true)
		default:
			c, err := l.Claim(ctx, no, ledger.NewToken(), ledger.NoRound, ledger.Limits{Lease: time.Minute, Rate: 1e6, Horizon: time.Minute, Most: time.Second})
			ok(err)
			if c.Code != ledger.Granted {
				continue
			}
			s := ledger.Settlement{State: tasks.Awaiting, Next: ledger.Recheck, Due: c.Now, Call: "collect", AddAttempts: 1, Verdict: "accepted", Accepted: 10 * time.Second}
			switch rng.IntN(4) {
			case 0:
				s.Verdict, s.Accepted, s.Code = "declined", 0, "TRADE_ERROR"
				s.DetailCode = []string{"", "271316574", "271299627"}[rng.IntN(3)]
			case 1:
				pay()
				s.Call, s.AddAttempts, s.Verdict, s.Accepted, s.Facts = "query", 0, "owed", 0, facts()
				if rng.IntN(2) == 0 {
					s.State, s.VerifiedPaid = tasks.Paid, true
				}
			case 2:
				s.State, s.Reason, s.Call, s.Verdict, s.Accepted = tasks.Exhausted, "gave_up", "query", "owed", 0
			}
			if s.Accepted > 0 {
				s.Collected = c.Now
			}
			s.Log, s.First, s.Most, s.Failures = []ledger.Entry{{Call: s.Call, Verdict: s.Verdict}}, time.Second, time.Second, 5
			_, err = l.Settle(ctx, c, s)
			ok(err)
		}
	}
}
