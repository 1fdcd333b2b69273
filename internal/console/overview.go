package console

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"payscore-collector/internal/api"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/status"
	"payscore-collector/tasks"
)

// overviewMost is how many orders of the attention list the overview shows.
const overviewMost = 20

// cause is a line of the causes of the last failures.
type cause struct {
	Words, Codes string
	Orders       int64
}

// merchantRow is a merchant's state.
type merchantRow struct {
	api.MerchantView
	Causes []string
	Stops  bool
	Waits  int64 // orders whose webhooks billing has not accepted
	Since  time.Time
}

type overviewBody struct {
	Many        bool // merchants
	Stats       map[tasks.State]int64
	Open        int64
	Ended       int64
	PaidOrders  int64
	Paid        int64 // fen, of the paid orders
	Bars        []bar
	CameIn      [3]int64 // orders, by the index
	Survey      survey
	Ages        []bar
	Causes      []cause
	Attention   []matter
	Count       int // of what needs attention, acknowledged matters apart
	Others      int // matters that are not shown
	Acked       int // acknowledged matters
	ShowAcked   bool
	Exceptions  int64           // of the books of the last days
	NewestBook  ledger.BookDate // empty for none
	NewestMchID string
	Rows        []merchantRow
	More        int // merchants that are not shown
}

// bar is a line of a table with its share of the longest one, in percent.
type bar struct {
	Name   string
	State  tasks.State
	Orders int64
	Sum    sum
	Share  int64
}

func (c *Console) overview(v *view) error {
	ledgers, err := v.ledgers("")
	if err != nil {
		return err
	}
	b := overviewBody{Stats: map[tasks.State]int64{}, Many: len(ledgers) > 1}
	var stats map[string]map[string]int64
	if err := v.call(http.MethodGet, "/v1/stats", nil, &stats); err != nil {
		return err
	}
	for _, s := range stats {
		for _, state := range tasks.States {
			b.Stats[state] += s[string(state)]
		}
		b.Paid += s["paid_amount"]
	}
	for _, state := range tasks.States {
		n := b.Stats[state]
		if state.Open() {
			b.Open += n
		} else {
			b.Ended += n
		}
		if state == tasks.Paid {
			b.PaidOrders = n
		}
		b.Bars = append(b.Bars, bar{Name: v.Tell.StateWords(state), State: state, Orders: n})
	}
	share(b.Bars)
	if b.CameIn, err = cameIn(v.ctx(), c.redis, ledgers, v.Tell.Now); err != nil {
		return err
	}
	b.Survey = c.surveyOf(v.ctx(), ledgers)
	for i, s := range b.Survey.Ages {
		name := v.word("overview.older", ages[len(ages)-1])
		if i == 0 {
			name = v.word("overview.to_day")
		} else if i < len(ages) {
			name = v.word("overview.to_days", ages[i])
		}
		b.Ages = append(b.Ages, bar{Name: name, Orders: s.Orders, Sum: s})
	}
	share(b.Ages)
	b.Causes = causesOf(v.Tell, v.word("overview.unanswered"), b.Survey.Causes)
	shown, err := v.pressing(ledgers, b.Survey.Hooks)
	if err != nil {
		return err
	}
	b.More = len(ledgers) - len(shown)
	if b.Rows, err = v.merchantRows(shown); err != nil {
		return err
	}
	if err := v.attention(&b); err != nil {
		return err
	}
	v.Live = everyMerchant
	return v.show("overview", b)
}

// attention fills in what needs attention: the books and the webhooks first, since each
// stands for many orders, then orders, the newest alarm first.
func (v *view) attention(b *overviewBody) error {
	var days, hooks, orders []matter
	for _, d := range b.Survey.Books {
		b.Exceptions += d.Exceptions
		if d.Date > b.NewestBook && !d.Unreadable {
			b.NewestBook, b.NewestMchID = d.Date, d.MchID
		}
		if d.needsAttention() {
			days = append(days, v.bookMatter(d))
		}
	}
	// Of the merchants on the page it is known what waits now, of the others what their
	// surveys have found.
	shown := map[string]bool{}
	for _, row := range b.Rows {
		shown[row.MchID] = true
		if row.Waits > 0 && v.Tell.Now.Sub(row.Since) > time.Minute {
			w, err := hooksOf(v.ctx(), ledger.New(v.c.redis, row.MchID))
			if err != nil {
				return err
			}
			if w.late(v.Tell.Now) {
				hooks = append(hooks, v.hookMatter(w))
			}
		}
	}
	for _, w := range b.Survey.Hooks {
		if !shown[w.MchID] && w.late(v.Tell.Now) {
			hooks = append(hooks, v.hookMatter(w))
		}
	}
	for _, o := range b.Survey.Attention {
		orders = append(orders, v.orderMatter(o))
	}
	for _, list := range [][]matter{days, hooks, orders} {
		newestFirst(list)
	}
	all := slices.Concat(days, hooks, orders)
	if err := v.c.acknowledged(v.ctx(), all); err != nil {
		return err
	}
	b.ShowAcked = v.r.URL.Query().Get("acknowledged") != ""
	for _, m := range all {
		if m.Ack == nil {
			b.Count++
		} else {
			b.Acked++
		}
		switch {
		case (m.Ack != nil) != b.ShowAcked:
		case len(b.Attention) == overviewMost:
			b.Others++
		default:
			b.Attention = append(b.Attention, m)
		}
	}
	return nil
}

func share(bars []bar) {
	most := int64(1)
	for _, b := range bars {
		most = max(most, b.Orders)
	}
	for i := range bars {
		bars[i].Share = bars[i].Orders * 100 / most
	}
}

// cameIn counts the paid orders by the time of their final state: today, in 7 days and in
// 30, today included.
func cameIn(ctx context.Context, rdb redis.UniversalClient, ledgers []*ledger.Ledger, now time.Time) (sums [3]int64, err error) {
	today := startOfDay(now)
	for part := range slices.Chunk(ledgers, 200) {
		pipe := rdb.Pipeline()
		var counts []*redis.IntCmd
		for _, l := range part {
			for _, days := range []int{0, 6, 29} {
				from := strconv.FormatInt(today.AddDate(0, 0, -days).UnixMilli(), 10)
				counts = append(counts, pipe.ZCount(ctx, ledger.KeysOf(l.MchID()).Ended(tasks.Paid), from, "+inf"))
			}
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return sums, err
		}
		for i, n := range counts {
			sums[i%3] += n.Val()
		}
	}
	return sums, nil
}

// causesOf are the causes of failures in words, the most frequent ones first.
func causesOf(t explain.Teller, unanswered string, counts map[ledger.LastError]int64) []cause {
	byWords := map[string]*cause{}
	for e, n := range counts {
		words := t.ErrorCause(e)
		codes := explain.CodesText(e.HTTPStatus, e.Code, e.DetailCode)
		if words == "" {
			words = unanswered // a survey keeps no messages
		}
		if byWords[words] == nil {
			byWords[words] = &cause{Words: words, Codes: explain.Printable(codes)}
		} else if byWords[words].Codes > codes {
			byWords[words].Codes = explain.Printable(codes)
		}
		byWords[words].Orders += n
	}
	var list []cause
	for _, c := range byWords {
		list = append(list, *c)
	}
	slices.SortFunc(list, func(a, b cause) int {
		return cmp.Or(cmp.Compare(b.Orders, a.Orders), cmp.Compare(a.Words, b.Words))
	})
	return list[:min(len(list), 10)]
}

// mostMerchants is how many merchants a page shows.
const mostMerchants = 50

// pressing returns the merchants that the overview shows: where there are too many, first
// those whose calls are stopped, then those of which some services are, then those whose
// webhooks are late.
func (v *view) pressing(ledgers []*ledger.Ledger, waits []hookWait) ([]*ledger.Ledger, error) {
	if len(ledgers) <= mostMerchants {
		return ledgers, nil
	}
	stops, err := ledger.Stops(v.ctx(), v.c.redis, mchidsOf(ledgers))
	if err != nil {
		return nil, err
	}
	late := map[string]int{}
	for _, w := range waits {
		if w.late(v.Tell.Now) {
			late[w.MchID] = 1
		}
	}
	first := slices.Clone(ledgers)
	slices.SortStableFunc(first, func(a, b *ledger.Ledger) int {
		return cmp.Or(cmp.Compare(stops[b.MchID()], stops[a.MchID()]), cmp.Compare(late[b.MchID()], late[a.MchID()]))
	})
	return first[:mostMerchants], nil
}

// merchantRows are the states of merchants, of those that are stopped first.
func (v *view) merchantRows(ledgers []*ledger.Ledger) ([]merchantRow, error) {
	list := make([]merchantRow, len(ledgers))
	g, ctx := errgroup.WithContext(v.ctx())
	g.SetLimit(8)
	for i := range list {
		g.Go(func() (err error) {
			list[i], err = v.merchantRow(ctx, ledgers[i])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(list, func(a, b merchantRow) int {
		switch {
		case a.Stops == b.Stops:
			return 0
		case a.Stops:
			return -1
		}
		return 1
	})
	return list, nil
}

func (v *view) merchantRow(ctx context.Context, l *ledger.Ledger) (merchantRow, error) {
	s, err := status.Read(ctx, v.c.redis, l, explain.Memory{})
	if err != nil {
		return merchantRow{}, err
	}
	m, err := v.c.api.Merchant(ctx, s)
	row := merchantRow{MerchantView: m, Waits: s.HooksWaiting, Since: s.HooksSince}
	for _, c := range v.Tell.Why(s) {
		row.Stops = row.Stops || c.Stops && c.Code != explain.NotDue && c.Code != explain.OutsideWindow
		row.Causes = append(row.Causes, v.Tell.Nothing(c))
	}
	return row, err
}
