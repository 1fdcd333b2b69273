package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/api"
	"payscore-collector/internal/ledger"
)

// What a caller gets is what the ledger has counted, of the merchants of its token.
func TestAnalytics(t *testing.T) {
	f := newFixture(t, withTokens(t))
	f.token = "viewer"
	world(f)
	l := ledger.New(f.redis.Client, mchA)
	f.settle(mchB, "PAID-B", paid(30))
	for _, mchid := range []string{mchA, mchB} {
		if _, err := ledger.New(f.redis.Client, mchid).FillRecovery(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	o, err := l.Get(t.Context(), "PAID")
	if err != nil {
		t.Fatal(err)
	}
	opened := o.OpenedAt.In(ledger.China)
	week := ledger.BookDateOf(opened.AddDate(0, 0, -(int(opened.Weekday())+6)%7))
	read := func(query string) (v api.AnalyticsView) {
		t.Helper()
		a := f.call(http.MethodGet, "/v1/analytics"+query, "")
		if a.Status != http.StatusOK {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
		if err := json.Unmarshal([]byte(a.Body), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	paidOne, none := api.EndedCount{Orders: 1, Amount: 120, PaidOrders: 1, PaidAmount: 120}, api.EndedCount{Orders: 1}
	both := api.EndedCount{Orders: 2, Amount: 120, PaidOrders: 1, PaidAmount: 120}
	in := api.PaidCount{PaidOrders: 1, PaidAmount: 120}
	v := read("?mchid=" + mchA)
	want := api.AnalyticsView{
		From: v.From, To: v.To, Complete: true, Total: both,
		States:   []api.StateCount{{State: ledger.Paid, EndedCount: paidOne}, {State: ledger.Rejected, EndedCount: none}},
		Weeks:    []api.WeekCount{{Week: week, EndedCount: both}},
		Attempts: []api.TryCount{{Attempts: 0, EndedCount: none}, {Attempts: 1, EndedCount: paidOne}},
		Declines: []api.CauseCount{{EndedCount: both}},
		Hours:    []api.HourCount{{Hour: o.EndedAt.In(ledger.China).Hour(), PaidCount: in}},
		PaidBy:   []api.SourceCount{{By: "user", PaidCount: in}},
	}
	for _, days := range ledger.RecoveryLags {
		want.Weeks[0].ByDay = append(want.Weeks[0].ByDay, api.DayCount{Day: days, PaidCount: in})
	}
	if diff := cmp.Diff(want, v); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if start, err := v.To.Start(); err != nil || v.From != ledger.BookDateOf(start.AddDate(0, 0, -83)) {
		t.Errorf("%s to %s", v.From, v.To)
	}
	if all := read(""); all.Total.Orders != 3 || all.Total.PaidAmount != 150 {
		t.Errorf("all merchants: %+v", all.Total)
	}
	if old := read("?to=2020-01-01"); old.Total.Orders != 0 || len(old.Weeks) != 0 {
		t.Errorf("%+v", old)
	}
	day := v.To // the tests' orders were enqueued on it
	for _, query := range []string{"?from=" + string(day) + "&to=" + string(day), "?from=" + string(day) + "T00:00:00%2B08:00&to=" + string(day) + "T23:59:59+08:00", "?from=&to="} {
		if got := read(query); got.To != day || got.Total != read("").Total {
			t.Errorf("%s: %+v", query, got)
		}
	}
	for query, field := range map[string]string{
		"?from=2026-02-30": "from", "?to=yesterday": "to", "?to=9999-12-31T23:59:59Z": "to", "?from=2026-01-02&to=2026-01-01": "from is after to", "?mchid=x": "mchid", "?days=3": "days",
	} {
		if a := f.call(http.MethodGet, "/v1/analytics"+query, ""); a.Status != http.StatusUnprocessableEntity || !strings.Contains(a.Body, field) {
			t.Errorf("%s: %d %s", query, a.Status, a.Body)
		}
	}
	f.token = "only-b"
	if got := read("").Total; got.Orders != 1 || got.PaidAmount != 30 {
		t.Errorf("a token of one merchant gets %+v", got)
	}
	if a := f.call(http.MethodGet, "/v1/analytics?mchid="+mchA, ""); a.Status != http.StatusForbidden {
		t.Errorf("%d %s", a.Status, a.Body)
	}
}
