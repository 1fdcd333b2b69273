package console

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"time"

	"payscore-collector/internal/api"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
)

// recoveryWeeks is how many weeks the page covers by default, this one
// included.
const recoveryWeeks = 12

type recoveryBody struct {
	Merchants []string
	MchID     string
	api.AnalyticsView
	Tables  []weekTable // the share of the amounts, and of the orders
	Tries   []endedRow
	Causes  []endedRow
	Hours   []paidRow
	Sources []paidRow
}

// weekTable is a share by week, and what a script draws of it.
type weekTable struct {
	ID, Title, Curves string
	Days              []string
	Rows              []weekRow
}

type weekRow struct {
	api.WeekCount
	Shares []weekShare
	All    string // the share of all that came in
}

// weekShare is a share; Early: not all orders of the week have had so much time.
type weekShare struct {
	Words string
	Early bool
}

// endedRow is a line of what ended orders brought.
type endedRow struct {
	Name, Code string
	api.EndedCount
}

// paidRow is a line of payments, with their share of the largest one, in percent.
type paidRow struct {
	Name, Words string
	api.PaidCount
	Share int64
}

// recovery shows what came in of the orders that billing enqueued in a time, and how.
func (c *Console) recovery(v *view) error {
	ledgers, err := v.ledgers("")
	if err != nil {
		return err
	}
	q := v.r.URL.Query()
	b := recoveryBody{Merchants: mchidsOf(ledgers), MchID: q.Get("mchid")}
	asked := url.Values{"mchid": {b.MchID}, "from": {q.Get("from")}, "to": {q.Get("to")}}
	if asked.Get("from") == "" && asked.Get("to") == "" {
		today := startOfDay(v.Tell.Now)
		monday := today.AddDate(0, 0, -(int(today.Weekday())+6)%7)
		asked.Set("from", monday.AddDate(0, 0, -7*(recoveryWeeks-1)).Format(time.DateOnly))
	}
	if err := v.call(http.MethodGet, address("/v1/analytics", asked), nil, &b.AnalyticsView); err != nil {
		return err
	}
	fen := v.weekTable("h-fen", v.word("recovery.weeks_fen"), b.Weeks, func(w api.WeekCount) int64 { return w.Amount }, func(w api.WeekCount) int64 { return w.PaidAmount }, func(d api.DayCount) int64 { return d.PaidAmount })
	orders := v.weekTable("h-orders", v.word("recovery.weeks_orders"), b.Weeks, func(w api.WeekCount) int64 { return w.Orders }, func(w api.WeekCount) int64 { return w.PaidOrders }, func(d api.DayCount) int64 { return d.PaidOrders })
	b.Tables = []weekTable{fen, orders}
	for _, t := range b.Attempts {
		name := number(t.Attempts)
		if t.Attempts == ledger.MostAttempts {
			name = v.word("recovery.or_more", t.Attempts)
		}
		b.Tries = append(b.Tries, endedRow{Name: name, EndedCount: t.EndedCount})
	}
	for _, d := range b.Declines {
		row := endedRow{EndedCount: d.EndedCount}
		switch d.Code {
		case "":
			row.Name = v.word("recovery.no_decline")
		case "unknown":
			row.Name = v.word("recovery.unknown_decline")
		case "declined":
			row.Name = v.word("recovery.no_code")
		default:
			row.Name, row.Code = v.Tell.ErrorCause(ledger.LastError{Code: d.Code}), explain.Printable(d.Code)
		}
		b.Causes = append(b.Causes, row)
	}
	for _, h := range b.AnalyticsView.Hours {
		b.Hours = append(b.Hours, paidRow{Name: fmt.Sprintf("%02d:00–%02d:00", h.Hour, h.Hour+1), PaidCount: h.PaidCount})
	}
	for _, s := range b.PaidBy {
		b.Sources = append(b.Sources, paidRow{Name: v.word("recovery.by." + s.By), Words: v.word("recovery.rule." + s.By), PaidCount: s.PaidCount})
	}
	for _, rows := range [][]paidRow{b.Hours, b.Sources} {
		most := int64(1)
		for _, r := range rows {
			most = max(most, r.PaidAmount)
		}
		for i := range rows {
			rows[i].Share = rows[i].PaidAmount * 100 / most
		}
	}
	return v.show("recovery", b)
}

// weekTable shows a share by week: of what whole returns, what was paid in all and by day.
func (v *view) weekTable(id, title string, weeks []api.WeekCount, whole, all func(api.WeekCount) int64, paid func(api.DayCount) int64) weekTable {
	t := weekTable{ID: id, Title: title}
	curves := struct {
		Weeks  []ledger.BookDate `json:"weeks"`
		Names  []string          `json:"names"`
		Shares [][]*float64      `json:"shares"` // percent, by day and week
	}{Names: []string{v.word("recovery.week")}}
	for _, days := range ledger.RecoveryLags {
		t.Days = append(t.Days, v.word("recovery.by_day", days))
	}
	curves.Names = append(curves.Names, t.Days...)
	curves.Shares = make([][]*float64, len(ledger.RecoveryLags))
	for _, w := range weeks {
		row := weekRow{WeekCount: w, All: percent(all(w), whole(w))}
		monday, _ := w.Week.Start() // the API has made it of a time
		curves.Weeks = append(curves.Weeks, w.Week)
		for i, d := range w.ByDay {
			row.Shares = append(row.Shares, weekShare{percent(paid(d), whole(w)), v.Tell.Now.Before(monday.AddDate(0, 0, 7+d.Day))})
			var share *float64
			if whole(w) > 0 {
				f := math.Round(1000*float64(paid(d))/float64(whole(w))) / 10
				share = &f
			}
			curves.Shares[i] = append(curves.Shares[i], share)
		}
		t.Rows = append(t.Rows, row)
	}
	slices.Reverse(t.Rows) // the newest week first
	text, err := json.Marshal(curves)
	if err != nil {
		panic(err) // numbers and words
	}
	t.Curves = string(text)
	return t
}
