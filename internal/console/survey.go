package console

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/tasks"
)

// The ledger counts orders and what was paid, but not what is owed and how old it is. A
// survey reads a merchant's orders for that, in the background, while someone looks at the
// pages that show it. It reads no more than a bound, and says so.
const (
	surveyOpen  = 20_000 // open orders
	surveyPaid  = 20_000 // paid orders of the last 30 days
	surveyEnded = 2_000  // orders in each other final state, the newest
	surveyEvery = 30 * time.Second
	surveyWait  = 60 * time.Millisecond // for one that has just begun
	surveyTime  = 2 * time.Minute
)

// ages are the upper bounds of the classes of age, in days; the last class has none.
var ages = []int{1, 3, 7, 14, 30}

// sum is orders and what they amount to. The amount of some may not be known.
type sum struct{ Orders, Fen, Unknown int64 }

func (s *sum) add(fen *int64) {
	s.Orders++
	if fen == nil {
		s.Unknown++
		return
	}
	s.Fen += *fen
}

func (s *sum) plus(o sum) {
	s.Orders += o.Orders
	s.Fen += o.Fen
	s.Unknown += o.Unknown
}

// survey is what was found of one merchant, or of several.
type survey struct {
	At        time.Time // of the oldest part
	Owed      sum
	Ages      [6]sum
	Causes    map[ledger.LastError]int64 // of the last failures of open orders; only codes are set
	CameIn    [3]sum                     // today, in 7, in 30 days: by the time of the final state
	Attention []ledger.Order
	Books     []bookDay  // whose books were closed, in the last days
	Hooks     []hookWait // of merchants whose webhooks wait
	// More: there are more open orders than were read; MorePaid, MoreEnded likewise.
	More, MorePaid, MoreEnded bool
	Missing                   int // merchants of which no survey is finished yet
}

func (s *survey) plus(o survey) {
	if s.At.IsZero() || !o.At.IsZero() && o.At.Before(s.At) {
		s.At = o.At
	}
	s.Owed.plus(o.Owed)
	for i := range s.Ages {
		s.Ages[i].plus(o.Ages[i])
	}
	for i := range s.CameIn {
		s.CameIn[i].plus(o.CameIn[i])
	}
	for cause, n := range o.Causes {
		s.Causes[cause] += n
	}
	s.Attention = append(s.Attention, o.Attention...)
	s.Books = append(s.Books, o.Books...)
	s.Hooks = append(s.Hooks, o.Hooks...)
	s.More, s.MorePaid, s.MoreEnded = s.More || o.More, s.MorePaid || o.MorePaid, s.MoreEnded || o.MoreEnded
}

type surveys struct {
	mu   sync.Mutex
	of   map[string]*surveyed
	gate sync.Mutex // one survey at a time
}

// surveyed is the newest survey of a merchant.
type surveyed struct {
	last    survey
	books   map[ledger.BookDate]bookDay // of last
	running bool
	done    chan struct{} // closed when the first one is finished
}

// surveyOf returns what is known of some merchants, and begins new surveys where it is old.
func (c *Console) surveyOf(ctx context.Context, ledgers []*ledger.Ledger) survey {
	all := survey{Causes: map[ledger.LastError]int64{}}
	patience := time.After(surveyWait)
	for _, l := range ledgers {
		s := c.surveyed(l)
		select {
		case <-s.done:
		case <-ctx.Done():
		case <-patience:
			patience = closedTimer
		}
		c.surveys.mu.Lock()
		last := s.last
		c.surveys.mu.Unlock()
		if last.At.IsZero() {
			all.Missing++
			continue
		}
		all.plus(last)
	}
	return all
}

// closedTimer lets no more wait.
var closedTimer = func() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}()

func (c *Console) surveyed(l *ledger.Ledger) *surveyed {
	c.surveys.mu.Lock()
	defer c.surveys.mu.Unlock()
	s := c.surveys.of[l.MchID()]
	if s == nil {
		s = &surveyed{done: make(chan struct{})}
		c.surveys.of[l.MchID()] = s
	}
	if !s.running && time.Since(s.last.At) >= surveyEvery && c.stopping.Err() == nil {
		s.running = true
		go c.survey(l, s)
	}
	return s
}

func (c *Console) survey(l *ledger.Ledger, s *surveyed) {
	c.surveys.gate.Lock()
	defer c.surveys.gate.Unlock()
	ctx, cancel := context.WithTimeout(c.stopping, surveyTime)
	defer cancel()
	now := time.Now()
	found, err := surveyMerchant(ctx, l, now)
	var days map[ledger.BookDate]bookDay
	if err == nil {
		days, err = surveyBooks(ctx, l, now, s.books) // only surveys of the merchant use it, one at a time
		found.Books = slices.Collect(maps.Values(days))
	}
	if err == nil {
		var w hookWait
		if w, err = hooksOf(ctx, l); w.Orders > 0 {
			found.Hooks = []hookWait{w}
		}
	}
	c.surveys.mu.Lock()
	defer c.surveys.mu.Unlock()
	s.running = false
	if err != nil {
		if c.stopping.Err() == nil {
			c.log.Warn().Str(logging.FieldEvent, "console_survey_failed").Str(logging.FieldMchID, l.MchID()).Err(err).Msg("a merchant's orders could not be counted by age for the console")
		}
		return
	}
	first := s.last.At.IsZero()
	s.last, s.books = found, days
	if first {
		close(s.done)
	}
}

func surveyMerchant(ctx context.Context, l *ledger.Ledger, now time.Time) (survey, error) {
	s := survey{At: now, Causes: map[ledger.LastError]int64{}}
	attention := func(o ledger.Order) {
		if o.Alarmed() {
			s.Attention = append(s.Attention, o)
		}
	}
	var err error
	s.More, err = each(ctx, l, ledger.Query{States: []tasks.State{tasks.Queued, tasks.Awaiting}}, surveyOpen, func(o ledger.Order) bool {
		attention(o)
		owed := owedOf(o)
		s.Owed.add(owed)
		s.Ages[classOf(now.Sub(owedSince(o)))].add(owed)
		if e := o.LastError; e != nil {
			s.Causes[ledger.LastError{HTTPStatus: e.HTTPStatus, Code: e.Code, DetailCode: e.DetailCode}]++
		}
		return true
	})
	if err != nil {
		return s, err
	}
	today := startOfDay(now)
	windows := []time.Time{today, today.AddDate(0, 0, -6), today.AddDate(0, 0, -29)}
	s.MorePaid, err = each(ctx, l, ledger.Query{States: []tasks.State{tasks.Paid}}, surveyPaid, func(o ledger.Order) bool {
		attention(o)
		for i, from := range windows {
			if !o.EndedAt.Before(from) {
				s.CameIn[i].add(o.PaidAmount)
			}
		}
		return !o.EndedAt.Before(windows[2])
	})
	for _, state := range []tasks.State{tasks.Closed, tasks.Rejected, tasks.Withdrawn, tasks.Exhausted} {
		if err != nil {
			return s, err
		}
		var more bool
		more, err = each(ctx, l, ledger.Query{States: []tasks.State{state}}, surveyEnded, func(o ledger.Order) bool { attention(o); return true })
		s.MoreEnded = s.MoreEnded || more
	}
	return s, err
}

// each calls do for a query's orders, for most of them at most, until it returns false. It
// reports whether there are more.
func each(ctx context.Context, l *ledger.Ledger, q ledger.Query, most int, do func(ledger.Order) bool) (more bool, err error) {
	at := ledger.Place{}
	seen := map[string]bool{}
	for {
		orders, next, err := l.Page(ctx, q, at, 500)
		if err != nil {
			return false, err
		}
		for _, o := range orders {
			if seen[o.OutOrderNo] {
				continue // it has moved between two pages
			}
			if len(seen) == most {
				return true, nil
			}
			seen[o.OutOrderNo] = true
			if !do(o) {
				return false, nil
			}
		}
		if next == nil {
			return false, nil
		}
		at = *next
	}
}

func startOfDay(at time.Time) time.Time {
	y, m, d := at.In(tasks.China).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, tasks.China)
}

// owedOf is what is left of an order to pay; nil where that is not known.
func owedOf(o ledger.Order) *int64 {
	total := cmp.Or(o.TotalAmount, o.BillingAmount)
	if total == nil {
		return nil
	}
	left := *total
	if o.PaidAmount != nil {
		left = max(0, left-*o.PaidAmount)
	}
	return &left
}

func owedSince(o ledger.Order) time.Time {
	if !o.OwedSince.IsZero() {
		return o.OwedSince
	}
	return o.OpenedAt
}

// classOf is the place of an age in survey.Ages.
func classOf(age time.Duration) int {
	for i, days := range ages {
		if age < time.Duration(days)*24*time.Hour {
			return i
		}
	}
	return len(ages)
}

// alarmedAt is about when the newest alarm of an order arose.
func alarmedAt(o ledger.Order) time.Time {
	at := o.LatePaymentAt
	if d := o.AmountDiffers; d != nil && d.At.After(at) {
		at = d.At
	}
	if at.IsZero() {
		at = o.LastAttemptAt
	}
	return at
}
