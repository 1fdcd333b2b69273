package api

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

const tagAnalytics = "Analytics"

// analyticsDays is how many days GET /v1/analytics covers where the caller names none:
// twelve weeks.
const analyticsDays = 84

func (a *API) addAnalytics() {
	add(a, op{
		id: "get-analytics", method: http.MethodGet, path: "/v1/analytics", tag: tagAnalytics, role: config.Viewer,
		summary: "Read what came in, and how", reply: exampleAnalytics,
		doc: "What came in of the orders that billing enqueued first on the days from `from` to `to`, as numbers: by week, by number of attempts, by the first decline, by hour of the day, and by whose doing. " +
			"Only orders that have ended count, each once and as it stands; a reopening takes its order out until it ends again. Open orders are in no number, so recent weeks look better than they will in the end. " +
			"The counters are kept for 400 days from the day of enqueueing, also beyond RETENTION. They are read in pages: an order that ends meanwhile can be in some of the numbers only.",
	}, a.analytics)
}

const exampleAnalytics = `{"from":"2026-11-16","to":"2026-11-22","complete":true,"total":{"orders":10,"amount":12500,"paid_orders":8,"paid_amount":10000},` +
	`"states":[{"state":"paid","orders":8,"amount":10000,"paid_orders":8,"paid_amount":10000},{"state":"exhausted","orders":2,"amount":2500,"paid_orders":0,"paid_amount":0}],` +
	`"weeks":[{"week":"2026-11-16","orders":10,"amount":12500,"paid_orders":8,"paid_amount":10000,"by_day":[{"day":1,"paid_orders":5,"paid_amount":6250},{"day":3,"paid_orders":7,"paid_amount":8750},{"day":7,"paid_orders":8,"paid_amount":10000},{"day":14,"paid_orders":8,"paid_amount":10000},{"day":30,"paid_orders":8,"paid_amount":10000}]}],` +
	`"attempts":[{"attempts":1,"orders":6,"amount":7500,"paid_orders":6,"paid_amount":7500},{"attempts":4,"orders":4,"amount":5000,"paid_orders":2,"paid_amount":2500}],` +
	`"first_declines":[{"code":"","orders":6,"amount":7500,"paid_orders":6,"paid_amount":7500},{"code":"271316574","orders":4,"amount":5000,"paid_orders":2,"paid_amount":2500}],` +
	`"hours":[{"hour":8,"paid_orders":5,"paid_amount":6250},{"hour":19,"paid_orders":3,"paid_amount":3750}],` +
	`"paid_by":[{"by":"collect","paid_orders":6,"paid_amount":7500},{"by":"user","paid_orders":2,"paid_amount":2500}]}`

// EndedCount is what ended orders brought.
type EndedCount struct {
	Orders     int64 `json:"orders" doc:"Orders that have ended." example:"10"`
	Amount     int64 `json:"amount" doc:"What they came to, in fen: WeChat Pay's signed total, else billing's amount, else 0." example:"12500"`
	PaidOrders int64 `json:"paid_orders" doc:"Those of them that are paid." example:"8"`
	PaidAmount int64 `json:"paid_amount" doc:"What came in of all of them, in fen: also in part, and after another end." example:"10000"`
}

// PaidCount is what came in by payments.
type PaidCount struct {
	PaidOrders int64 `json:"paid_orders" doc:"Paid orders; each by its last payment." example:"5"`
	PaidAmount int64 `json:"paid_amount" doc:"Payments, in fen." example:"6250"`
}

func (c *EndedCount) plus(o ledger.RecoveryCount) {
	c.Orders += o.Orders
	c.Amount += o.Owed
	c.PaidOrders += o.Paid
	c.PaidAmount += o.Fen
}

func (c *PaidCount) plus(o ledger.RecoveryCount) {
	c.PaidOrders += o.Paid
	c.PaidAmount += o.Fen
}

// AnalyticsView is what came in of the orders that billing enqueued in a time.
type AnalyticsView struct {
	From ledger.BookDate `json:"from" doc:"The first day of enqueueing, in Shanghai." example:"2026-11-16"`
	To   ledger.BookDate `json:"to" doc:"The last one." example:"2026-11-22"`
	// Complete: see ledger.Recovery.
	Complete bool          `json:"complete" doc:"False after an upgrade, until the workers have counted the orders that had ended before."`
	Total    EndedCount    `json:"total" doc:"All of them."`
	States   []StateCount  `json:"states" doc:"By final state."`
	Weeks    []WeekCount   `json:"weeks" doc:"By the week in which billing enqueued them first, oldest first."`
	Attempts []TryCount    `json:"attempts" doc:"By the number of collect calls that WeChat Pay answered about the order."`
	Declines []CauseCount  `json:"first_declines" doc:"By the cause of the first collect call that was declined, the most frequent first."`
	Hours    []HourCount   `json:"hours" doc:"By the hour in Shanghai of the payments."`
	PaidBy   []SourceCount `json:"paid_by" doc:"By whose doing the payments were."`
}

// StateCount is EndedCount by final state.
type StateCount struct {
	State ledger.State `json:"state" doc:"The final state." example:"paid"`
	EndedCount
}

// WeekCount is EndedCount by week.
type WeekCount struct {
	Week ledger.BookDate `json:"week" doc:"Its Monday." example:"2026-11-16"`
	EndedCount
	ByDay []DayCount `json:"by_day" doc:"What was paid within so many days of enqueueing."`
}

// DayCount is PaidCount up to a day.
type DayCount struct {
	Day int `json:"day" doc:"Within so many times 24 hours of enqueueing." example:"1"`
	PaidCount
}

// TryCount is EndedCount by attempts.
type TryCount struct {
	Attempts int `json:"attempts" doc:"10: ten or more." example:"1"`
	EndedCount
}

// CauseCount is EndedCount by the first decline.
type CauseCount struct {
	Code string `json:"code" doc:"WeChat Pay's detail code, else its code; empty: none was declined; unknown: the order ended before that was recorded." example:"271316574"`
	EndedCount
}

// HourCount is PaidCount by hour.
type HourCount struct {
	Hour int `json:"hour" doc:"8 is from 08:00 to 09:00." example:"8"`
	PaidCount
}

// SourceCount is PaidCount by whose doing.
type SourceCount struct {
	By string `json:"by" enum:"collect,user,elsewhere,unknown" doc:"collect: after our collect, which is a payment within CONFIRM_SCHEDULE's first interval of a collect call that WeChat Pay accepted or that got no clear answer, or while a collect call was under way; all that an order paid through PayScore counts as its last such payment. user: by the user or the platform itself, through PayScore. elsewhere: the merchant told WeChat Pay so (MCH). unknown: through PayScore, and the order ended before this was recorded." example:"collect"`
	PaidCount
}

var sources = []struct{ by, value string }{
	{"collect", ledger.ByCollect}, {"user", ledger.ByUser}, {"elsewhere", ledger.ByElsewhere}, {"unknown", ledger.ByUnknown},
}

type analyticsInput struct {
	MchID string `query:"mchid" doc:"Only this merchant; without it, every merchant of the token together." example:"1900000109"`
	From  string `query:"from" doc:"The first day of enqueueing, in Shanghai, or a time on it; without it, 83 days before to." example:"2026-11-16"`
	To    string `query:"to" doc:"The last day of enqueueing, or a time on it; without it, today." example:"2026-11-22"`
}

// A merchant's counters of a year are some hundred kilobytes, so that few are read at once:
// those of analyticsTogether merchants, for each of mostAnalyses requests. The others wait.
const (
	analyticsTogether = 8
	mostAnalyses      = 2
)

func (a *API) analytics(ctx context.Context, in *analyticsInput) (*reply[AnalyticsView], error) {
	from, err := dayOf("from", in.From)
	if err != nil {
		return nil, err
	}
	to, err := dayOf("to", in.To)
	if err != nil {
		return nil, err
	}
	to = cmp.Or(to, ledger.BookDateOf(time.Now()))
	if from == "" {
		end, _ := to.Start()
		from = ledger.BookDateOf(end.AddDate(0, 0, 1-analyticsDays))
	}
	if from > to {
		return nil, refuse(http.StatusUnprocessableEntity, "from", "is after to: from is the first day, and to the last one")
	}
	ledgers, err := a.ledgers(ctx, in.MchID)
	if err != nil {
		return nil, err
	}
	select {
	case a.analyses <- struct{}{}:
		defer func() { <-a.analyses }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	all, adding := ledger.Recovery{Counts: map[ledger.RecoveryKey]ledger.RecoveryCount{}, Filled: true}, sync.Mutex{}
	reading, ctx := errgroup.WithContext(ctx)
	reading.SetLimit(analyticsTogether)
	for _, l := range ledgers {
		reading.Go(func() error {
			r, err := l.Recovery(ctx, from, to)
			adding.Lock()
			defer adding.Unlock()
			all.Plus(r)
			return err
		})
	}
	if err := reading.Wait(); err != nil {
		return nil, err
	}
	return replied(analyticsOf(from, to, all), nil)
}

// dayOf reads a day, or a time, of which it returns the day in Shanghai. Of an empty text it
// returns an empty day.
func dayOf(field, text string) (ledger.BookDate, error) {
	date := ledger.BookDate(text)
	if t, err := timeOf(field, text); err == nil && !t.IsZero() {
		date = ledger.BookDateOf(t)
	}
	if start, err := date.Start(); text != "" && (err != nil || ledger.BookDateOf(start) != date) {
		return "", refuse(http.StatusUnprocessableEntity, field, "is not a day: write it as 2026-01-01")
	}
	return date, nil
}

// analyticsOf adds up counters.
func analyticsOf(from, to ledger.BookDate, r ledger.Recovery) AnalyticsView {
	v := AnalyticsView{From: from, To: to, Complete: r.Filled}
	states, attempts, declines := map[string]*StateCount{}, map[int]*TryCount{}, map[string]*CauseCount{}
	weeks, hours, whose := map[ledger.BookDate]*WeekCount{}, map[int]*HourCount{}, map[string]*SourceCount{}
	for key, c := range r.Counts {
		switch key.Kind {
		case ledger.RecoveryState:
			v.Total.plus(c)
			of(states, key.Value).plus(c)
			of(weeks, monday(key.Day)).EndedCount.plus(c)
		case ledger.RecoveryAttempts:
			n, _ := strconv.Atoi(key.Value)
			of(attempts, n).plus(c)
		case ledger.RecoveryCause:
			of(declines, key.Value).plus(c)
		case ledger.RecoveryLag:
			w := of(weeks, monday(key.Day))
			if w.ByDay == nil {
				w.ByDay = noDays()
			}
			lag, _ := strconv.Atoi(key.Value)
			for i, days := range ledger.RecoveryLags {
				if lag > 0 && lag <= days {
					w.ByDay[i].plus(c)
				}
			}
		case ledger.RecoveryHour:
			n, _ := strconv.Atoi(key.Value)
			of(hours, n).plus(c)
		case ledger.RecoveryWhose:
			of(whose, key.Value).plus(c)
		}
	}
	for _, state := range tasks.States {
		if c := states[string(state[:1])]; c != nil && !state.Open() {
			c.State = state
			v.States = append(v.States, *c)
		}
	}
	v.Weeks = sorted(weeks, func(week ledger.BookDate, c *WeekCount) {
		if c.Week = week; c.ByDay == nil {
			c.ByDay = noDays()
		}
	})
	v.Attempts = sorted(attempts, func(n int, c *TryCount) { c.Attempts = n })
	v.Hours = sorted(hours, func(n int, c *HourCount) { c.Hour = n })
	v.Declines = sorted(declines, func(code string, c *CauseCount) {
		if c.Code = code; code == ledger.CauseUnknown {
			c.Code = "unknown"
		}
	})
	slices.SortStableFunc(v.Declines, func(a, b CauseCount) int { return cmp.Compare(b.Orders, a.Orders) })
	v.PaidBy = []SourceCount{}
	for _, s := range sources {
		if c := whose[s.value]; c != nil {
			c.By = s.by
			v.PaidBy = append(v.PaidBy, *c)
		}
	}
	if v.States == nil {
		v.States = []StateCount{}
	}
	return v
}

// of returns the map's entry for key, and adds a zero one if the key is missing.
func of[K comparable, V any](m map[K]*V, key K) *V {
	if m[key] == nil {
		m[key] = new(V)
	}
	return m[key]
}

// sorted returns the values of a map by their keys, after name has named each.
func sorted[K cmp.Ordered, V any](m map[K]*V, name func(K, *V)) []V {
	list := make([]V, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		name(key, m[key])
		list = append(list, *m[key])
	}
	return list
}

func noDays() []DayCount {
	list := make([]DayCount, len(ledger.RecoveryLags))
	for i, days := range ledger.RecoveryLags {
		list[i].Day = days
	}
	return list
}

// monday is the first day of a day's week.
func monday(day ledger.BookDate) ledger.BookDate {
	t, err := day.Start()
	if err != nil {
		return day // cannot be: the ledger has read it
	}
	return ledger.BookDateOf(t.AddDate(0, 0, -(int(t.Weekday())+6)%7))
}
