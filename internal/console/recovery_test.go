package console

import (
	"encoding/json"
	"fmt"
	"html"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/api"
	"payscore-collector/internal/collect"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/tasks"
)

// recovered ends orders of two merchants in every way that the page tells apart.
func (f *fixture) recovered() {
	f.Helper()
	f.settle(mchA, "R-1", ledger.Settlement{State: tasks.Awaiting, Next: ledger.Confirm, Due: time.Now(), AddAttempts: 1, NewRound: true, Call: "collect", Verdict: "accepted", Accepted: 10 * time.Minute, Collected: time.Now()})
	ours := paid(1250)
	ours.AddAttempts, ours.Facts.Payments[0].PaidAt = 0, time.Now().Truncate(time.Second)
	f.step(mchA, "R-1", ours)
	declined := failed("declined", 403, "TRADE_ERROR", "271316574", "")
	declined.Due, declined.Call, declined.Verdict, declined.Code, declined.DetailCode = time.Now(), "collect", "declined", "TRADE_ERROR", "271316574"
	f.settle(mchA, "R-2", declined)
	f.step(mchA, "R-2", paid(4750))
	f.settle(mchA, "R-3", declined)
	f.step(mchA, "R-3", ended(tasks.Exhausted, collect.ReasonGaveUp))
	elsewhere := paid(2750)
	elsewhere.Facts.PaidType, elsewhere.Facts.Payments[0].PaidType = "MCH", "MCH"
	f.settle(mchA, "R-4", elsewhere)
	declined.DetailCode = "271299627"
	f.settle(mchA, "R-OPEN", declined)
	declined.Code, declined.DetailCode = "", ""
	f.settle(mchB, "R-6", declined)
	f.step(mchB, "R-6", ended(tasks.Exhausted, collect.ReasonGaveUp))
	f.settle(mchB, "R-5", paid(77))
}

// counted counts what had ended before the counters existed, as workers do.
func (f *fixture) counted() {
	f.Helper()
	for _, mchid := range []string{mchA, mchB} {
		if _, err := f.ledger(mchid).FillRecovery(f.Context(), time.Now()); err != nil {
			f.Fatal(err)
		}
	}
}

// section is the part of a page below a heading's id.
func (p page) section(t *testing.T, id string) string {
	t.Helper()
	_, text, ok := strings.Cut(p.Body, `<section aria-labelledby="`+id+`">`)
	text, _, end := strings.Cut(text, "</section>")
	if !ok || !end {
		t.Fatalf("there is no section %s:\n%s", id, p.Body)
	}
	return text
}

// The page has the numbers of GET /v1/analytics, in words, for the merchants of the token.
func TestRecovery(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withTokens(t))
	f.client = browserOf(t)
	f.post("/signin", []string{"token", "viewer"}).wants(t, 200)
	f.get("/recovery").wants(t, 200, "None of the orders that billing enqueued in these days has ended.")
	f.recovered()
	f.get("/recovery").wants(t, 200, "Workers have not counted all orders yet")
	f.counted()
	all := f.get("/recovery")
	all.wants(t, 200, `<a href="/recovery" aria-current="page">Recovery</a>`, "of 6 orders that have ended", "¥88.27", "4 paid of 6 orders that have ended", "66.7 %", "WeChat Pay named no code",
		"Open orders are in no number, so recent weeks look better than they will in the end.")
	if strings.Contains(all.Body, "Workers have not counted") || strings.Contains(all.Body, "271299627") {
		t.Error("the page has open orders, or says that orders are not counted")
	}

	p := f.get("/recovery?mchid=" + mchA)
	p.wants(t, 200, `<option selected>`+mchA+`</option>`, "<dt>Amount</dt><dd>¥100.00</dd>", "<dt>Came in</dt><dd>¥87.50</dd>", "<dt>Share of ¥</dt><dd>87.5 %</dd>", "<dt>Share of orders</dt><dd>75.0 %</dd>")
	wants := func(p page, id string, words ...string) {
		t.Helper()
		section := html.UnescapeString(p.section(t, id))
		for _, w := range words {
			if !strings.Contains(section, w) {
				t.Errorf("%s lacks %q:\n%s", id, w, section)
			}
		}
	}
	o, err := f.ledger(mchA).Get(t.Context(), "R-1")
	if err != nil {
		t.Fatal(err)
	}
	opened := o.OpenedAt.In(tasks.China)
	week := opened.AddDate(0, 0, -(int(opened.Weekday())+6)%7).Format(time.DateOnly)
	wants(p, "h-fen", `<th scope="row" class="n">`+week+`</th><td class="n">4</td>`+strings.Repeat(`<td class="n">87.5 %*</td>`, 5)+`<td class="n">87.5 %</td>`,
		`data-curves="{"weeks":["`+week+`"],"names":["Week from","day 1","day 3","day 7","day 14","day 30"],"shares":[[87.5],[87.5],[87.5],[87.5],[87.5]]}"`)
	wants(p, "h-orders", `<th scope="row" class="n">`+week+`</th><td class="n">4</td>`+strings.Repeat(`<td class="n">75.0 %*</td>`, 5)+`<td class="n">75.0 %</td>`)
	wants(p, "h-whose", `after our collect <span class="words">within CONFIRM_SCHEDULE’s first interval of a collect call that was accepted or got no clear answer</span></th><td class="n">1</td><td class="n">¥12.50</td><td class="n">14.3 %</td>`,
		`by the user or the platform itself <span class="words">through PayScore, without such a call</span></th><td class="n">1</td><td class="n">¥47.50</td><td class="n">54.3 %</td>`,
		"elsewhere", "the merchant told WeChat Pay so (MCH)", `<td class="n">1</td><td class="n">¥27.50</td><td class="n">31.4 %</td>`,
		"The rule: a payment is after our collect if it came within CONFIRM_SCHEDULE’s first interval of a collect call that WeChat Pay accepted")
	wants(p, "h-attempts", `<th scope="row">1</th><td class="n">3</td><td class="n">¥52.50</td><td class="n">¥40.00</td><td class="n">76.2 %</td><td class="n">66.7 %</td>`,
		`<th scope="row">2</th><td class="n">1</td><td class="n">¥47.50</td><td class="n">¥47.50</td><td class="n">100.0 %</td><td class="n">100.0 %</td>`)
	wants(p, "h-declines", `no collect call was declined <span class="words"></span></th><td class="n">2</td><td class="n">¥40.00</td>`,
		`the deduction failed: balance, card or risk control <span class="words">271316574</span></th><td class="n">2</td><td class="n">¥60.00</td><td class="n">¥47.50</td>`)

	// Every number of the API, of whatever merchants, is on the page.
	for _, query := range []string{"", "?mchid=" + mchA, "?mchid=" + mchB, "?from=" + week} {
		var v api.AnalyticsView
		if err := json.Unmarshal([]byte(f.get("/v1/analytics"+query, "Authorization: Bearer viewer").Body), &v); err != nil {
			t.Fatal(err)
		}
		p := f.get("/recovery" + query)
		for _, h := range v.Hours {
			wants(p, "h-hours", fmt.Sprintf(`<th scope="row">%02d:00–%02d:00</th><td class="n">%d</td><td class="n">%s</td>`, h.Hour, h.Hour+1, h.PaidOrders, explain.Yuan(h.PaidAmount)))
		}
		for _, s := range v.PaidBy {
			wants(p, "h-whose", word(explain.English, "recovery.by."+s.By), fmt.Sprintf(`<td class="n">%d</td><td class="n">%s</td>`, s.PaidOrders, explain.Yuan(s.PaidAmount)))
		}
		if n := strings.Count(p.section(t, "h-hours"), `<th scope="row">`); n != len(v.Hours) || n == 0 {
			t.Errorf("%s: %d hours, want %d", query, n, len(v.Hours))
		}
	}

	t.Run("in Chinese", func(t *testing.T) {
		p := f.get("/recovery?mchid="+mchA, "Accept-Language: zh")
		p.wants(t, 200, "<h1>回收分析</h1>", "<dt>金额占比</dt><dd>87.5 %</dd>", "未结束的订单不计入任何数字，因此近几周的数字会好于最终结果。",
			"扣款失败：余额、银行卡或风控", "规则：在微信支付受理催收扣款（或未给出明确结果）前后 CONFIRM_SCHEDULE 的第一个间隔之内到账", "商户告知微信支付用户已付款（MCH）")
		if strings.Contains(p.section(t, "h-whose"), "elsewhere") {
			t.Error("English words on a page in Chinese")
		}
		f.get("/recovery?from=yesterday", "Accept-Language: zh").wants(t, 422, "入队起始日：不是有效的日期")
		f.get("/recovery?from=2026-01-02&to=2026-01-01", "Accept-Language: zh").wants(t, 422, "入队起始日：晚于截止日")
	})
	t.Run("other days", func(t *testing.T) {
		p := f.get("/recovery?to=2026-01-31&from=2026-01-01")
		p.wants(t, 200, `name="from" value="2026-01-01"`, `name="to" value="2026-01-31"`, "None of the orders")
		f.get("/recovery?from=&to=&mchid="+mchB).wants(t, 200, "<dt>Came in</dt><dd>¥0.77</dd>")
		f.get("/recovery?from=2026-01-02&to=2026-01-01").wants(t, 422, "from is after to")
	})
	t.Run("merchants", func(t *testing.T) {
		f.client = browserOf(t)
		f.post("/signin", []string{"token", "only-b"}).wants(t, 200)
		for _, lang := range []string{"en", "zh"} {
			p := f.get("/recovery", "Accept-Language: "+lang)
			if p.wants(t, 200, "¥0.77", "50.0 %"); strings.Contains(p.Body, mchA) || strings.Contains(p.Body, "¥88.27") || strings.Contains(p.Body, "271316574") {
				t.Error("the page shows another merchant")
			}
			f.get("/recovery?mchid="+mchA, "Accept-Language: "+lang).wants(t, 403)
		}
	})
}

// A share counts as final only when every order of its week has had that time.
func TestRecovery_Early(t *testing.T) {
	day := api.DayCount{Day: 1, PaidCount: api.PaidCount{PaidOrders: 1, PaidAmount: 25}}
	longer := api.DayCount{Day: 3, PaidCount: api.PaidCount{PaidOrders: 1, PaidAmount: 120}}
	weeks := []api.WeekCount{
		{Week: "2026-01-05", EndedCount: api.EndedCount{Orders: 4, Amount: 100, PaidOrders: 2, PaidAmount: 130}, ByDay: []api.DayCount{day, longer}},
		{Week: "2026-01-12", EndedCount: api.EndedCount{Orders: 1}, ByDay: []api.DayCount{{Day: 1}, {Day: 3}}},
	}
	v := &view{Lang: explain.English, Tell: explain.Teller{Now: time.Date(2026, 1, 14, 0, 0, 0, 0, tasks.China)}}
	table := v.weekTable("x", "x", weeks, func(w api.WeekCount) int64 { return w.Amount }, func(w api.WeekCount) int64 { return w.PaidAmount }, func(d api.DayCount) int64 { return d.PaidAmount })
	if got, want := fmt.Sprint(table.Rows[1].Shares, table.Rows[1].All), "[{25.0 % false} {120.0 % true}]130.0 %"; got != want {
		t.Errorf("the older week has %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(table.Rows[0].Shares, table.Rows[0].All), "[{- true} {- true}]-"; got != want {
		t.Errorf("a week without amounts has %s, want %s", got, want)
	}
	if want := `"shares":[[25,null],[120,null],null,null,null]`; !strings.Contains(table.Curves, want) {
		t.Errorf("%s lacks %s", table.Curves, want)
	}
}

// Scripts draw a curve for each table by week, of its numbers; the policy lets them.
func TestBrowser_Recovery(t *testing.T) {
	f := newFixture(t)
	b := newBrowser(t, f)
	f.recovered()
	f.counted()
	tab := b.tab()
	tab.visit("/recovery")
	for _, id := range []string{"h-fen", "h-orders"} {
		tab.sees(`[aria-labelledby="`+id+`"] .u-legend`, "day 30")
	}
	const drawn = `Array.from(document.querySelectorAll('.curves canvas')).filter(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v > 0)).length`
	testkit.Eventually(t, "two curves", func() bool { return evaluate[int](tab, drawn) == 2 }, f.logs)
	tab.accessible("/recovery with curves")
}
