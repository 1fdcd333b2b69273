package worker

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"payscore-collector/internal/books"
	"payscore-collector/internal/collect"
	"payscore-collector/internal/config"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/metrics"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/queue"
	"payscore-collector/tasks"
)

// bookkeeper closes the books of every merchant of the process, each day at BOOKS_AT, and
// queries orders in a final state of which a bill has a payment that the ledger has not.
// Redis decides which worker's turn it is. It works on one merchant at a time, apart from
// the merchants' own work.
type bookkeeper struct {
	r       *roster
	at      config.BooksAt
	rate    float64
	lease   time.Duration // of an order that is queried
	metrics *bookMetrics
	closed  map[string]map[ledger.BookDate]bool // by mchid, as far as known
}

// bookMetrics show what came of the books.
type bookMetrics struct {
	*metrics.Set
	exceptions, age *prometheus.GaugeVec
}

func newBookMetrics(reg prometheus.Registerer) *bookMetrics {
	s := metrics.New(reg)
	return &bookMetrics{
		Set:        s,
		exceptions: s.Gauge("payscore_books_exceptions", "Exceptions of the newest day whose books were closed, by kind.", metrics.Known("kind", explain.BookKinds...)),
		age:        s.Gauge("payscore_books_age_seconds", "Time since the end of the newest day whose books were closed; before the first one, since the first day that workers close."),
	}
}

const (
	// bookTurn is how long a worker may take for a merchant's day. Another one takes over
	// after a worker that died.
	bookTurn   = 20 * time.Minute
	bookWithin = bookTurn - time.Minute
	// bookAgain is when a day is tried again whose bill could not be had: WeChat Pay says,
	// in half an hour. A bill that is refused will hardly be another one so soon.
	bookAgain        = 30 * time.Minute
	bookRefusedAgain = 2 * time.Hour
	bookNever        = -time.Second
	// bookLongest is longer than any wait. What is further ahead was written before Redis's
	// clock went back, and counts as now.
	bookLongest = 3 * 24 * time.Hour
	// bookDays is how many days back missed days are made up for.
	bookDays = 30
)

func newBookkeeper(r *roster, reg prometheus.Registerer) *bookkeeper {
	return &bookkeeper{
		r: r, at: r.cfg.BooksAt, rate: r.cfg.Rate, lease: collect.Lease(r.cfg.CallTimeout),
		metrics: newBookMetrics(reg), closed: map[string]map[ledger.BookDate]bool{},
	}
}

// every is how often the bookkeeper looks: every minute at the default SWEEP_EVERY.
func (k *bookkeeper) every() time.Duration { return min(4*k.r.cfg.SweepEvery, time.Minute) }

// keep does for every merchant what is due.
func (k *bookkeeper) keep() {
	merchants := k.r.merchants()
	for len(merchants) > 0 {
		page := merchants[:min(len(merchants), lookTogether)]
		merchants = merchants[len(page):]
		mchids := make([]string, len(page))
		for i, m := range page {
			mchids[i] = m.config.MchID
		}
		all, err := ledger.Bookkeepings(k.r.ctx, k.r.conns.Ledger, mchids)
		if err != nil {
			return // Redis is away, which is said elsewhere
		}
		for i, m := range page {
			m.whileServed(func() { k.keepFor(m, all[i], time.Now()) })
			if k.r.ctx.Err() != nil {
				return
			}
		}
	}
}

// keepFor does for a merchant what is due by now.
func (k *bookkeeper) keepFor(m *merchant, b ledger.Bookkeeping, now time.Time) {
	if b.Since == "" {
		if k.at.On {
			b.Since = ledger.BookDateOf(now)
			_ = m.ledger.BeginBooks(k.r.ctx, b.Since) // the next look tries again
		}
	}
	k.show(m, b, now)
	days := k.due(m, b, now)
	if len(days) == 0 && len(b.Asks) == 0 {
		return
	}
	ctx, token := k.r.ctx, ledger.NewToken()
	if mine, err := m.ledger.BookTurn(ctx, token, bookTurn); err != nil || !mine {
		return
	}
	holds, err := m.ledger.Holds(ctx)
	held := err != nil || holds.Merchant.Kind != ledger.HoldNone // neither call would succeed, and neither is a probe
	date, again := ledger.BookDate(""), time.Duration(0)
	within, cancel := context.WithTimeout(ctx, bookWithin)
	defer cancel()
	if !held && len(days) > 0 {
		date = days[0] // the others at the next looks
		again = k.close(within, m, date, b.Again[date], now)
	}
	if !held {
		k.answer(within, m, token, b.Asks)
	}
	if again == 0 {
		date = ""
	}
	_ = m.ledger.EndBookTurn(context.WithoutCancel(ctx), token, date, again) // else it ends by itself
}

// show sets the metrics.
func (k *bookkeeper) show(m *merchant, b ledger.Bookkeeping, now time.Time) {
	if b.Since == "" && b.Last == "" {
		return
	}
	mchid := m.config.MchID
	for _, kind := range explain.BookKinds {
		k.metrics.exceptions.WithLabelValues(mchid, string(kind)).Set(float64(b.Counts[string(kind)]))
	}
	from, err := b.Since.Start()
	if last, lastErr := b.Last.Start(); lastErr == nil {
		from, err = last.AddDate(0, 0, 1), nil
	}
	if err == nil {
		k.metrics.age.WithLabelValues(mchid).Set(max(0, now.Sub(from).Seconds()))
	}
}

// due returns the days to close, oldest first: those that are over and were not closed, but
// for those that are tried later, and closed ones whose time to be compared again has come.
func (k *bookkeeper) due(m *merchant, b ledger.Bookkeeping, now time.Time) (days []ledger.BookDate) {
	first, err := b.Since.Start()
	if !k.at.On || err != nil {
		return nil
	}
	oldest := books.Day(now).AddDate(0, 0, -bookDays)
	if first.Before(oldest) {
		first = oldest
	}
	closed := k.closed[m.config.MchID]
	fresh := false
	for day := first; !now.Before(day.AddDate(0, 0, 1).Add(k.at.Clock)); day = day.AddDate(0, 0, 1) {
		date := ledger.BookDateOf(day)
		again, later := b.Again[date]
		if later && now.Before(again) && again.Before(now.Add(bookLongest)) {
			continue
		}
		if !closed[date] && !fresh {
			// Another worker may have closed it.
			dates, err := m.ledger.BookDates(k.r.ctx, ledger.BookDateOf(first))
			if err != nil {
				return nil
			}
			closed, fresh = map[ledger.BookDate]bool{}, true
			for _, d := range dates {
				closed[d] = true
			}
			k.closed[m.config.MchID] = closed
		}
		if !closed[date] || later {
			days = append(days, date)
		}
	}
	return days
}

// close closes a day, for which it may be planned. If that fails, it returns when to try
// again: a refused bill of a day that was closed before, such as by hand, never.
func (k *bookkeeper) close(ctx context.Context, m *merchant, date ledger.BookDate, planned, now time.Time) (again time.Duration) {
	day, err := date.Start()
	if err != nil {
		return 0
	}
	client := books.Paced{Client: m.client, Await: func(ctx context.Context) error { return m.ledger.AwaitSlot(ctx, k.rate) }}
	log := m.log.With().Str(logging.FieldDate, string(date)).Logger()
	r, err := books.Close(ctx, k.r.conns.Ledger, m.ledger, day, books.Fetch(client, day, now), k.at.Clock, planned)
	var bad *books.Error
	var refused *payscore.BillError
	switch {
	case k.r.ctx.Err() != nil:
		return 0
	case errors.As(err, &refused) && refused.State == payscore.NotReady:
		log.Info().Str(logging.FieldEvent, "books_not_ready").Msg("WeChat Pay has not made the day's bill yet; it is asked again in half an hour")
		return bookAgain
	case errors.As(err, &refused) && refused.State == payscore.BillRefused && k.closed[m.config.MchID][date]:
		log.Error().Str(logging.FieldEvent, "books_not_closed").Err(err).Msg("the day's bill is refused; the comparison that is stored stays, and is not repeated")
		return bookNever
	case errors.As(err, &bad), errors.As(err, &refused) && refused.State == payscore.BillRefused:
		log.Error().Str(logging.FieldEvent, "books_not_closed").Err(err).Msg("the day's bill is refused; it is tried again in two hours")
		return bookRefusedAgain
	case err != nil:
		log.Warn().Str(logging.FieldEvent, "books_not_closed").Err(err).Msg("the day's books could not be closed; they are tried again in half an hour")
		return bookAgain
	}
	if k.closed[m.config.MchID] == nil {
		k.closed[m.config.MchID] = map[ledger.BookDate]bool{}
	}
	k.closed[m.config.MchID][date] = true
	k.tell(log, r)
	return 0
}

func (k *bookkeeper) tell(log zerolog.Logger, r books.Result) {
	e, message := log.Info().Str(logging.FieldEvent, "books_closed"), "the day's books are closed, and all agrees"
	if !r.Agrees() {
		e, message = log.Error().Str(logging.FieldEvent, "books_exceptions"), "THE BOOKS HAVE EXCEPTIONS: outcomes books shows them, and what to do"
	}
	counts := r.Counts()
	for _, kind := range explain.BookKinds {
		if n := counts[kind]; n > 0 {
			e = e.Int64(string(kind), n)
		}
	}
	e.Int64("matched_orders", r.Matched.Orders).Int64("matched_amount", r.Matched.Amount).Msg(message)
}

// answer has orders queried. One in a final state has no steps: it is queried here, under a
// lease that keeps steps away, and what WeChat Pay signs is recorded as a notification's
// word is. These queries take slots of the rate, one after another.
func (k *bookkeeper) answer(ctx context.Context, m *merchant, token string, nos []string) {
	q := queue.New(k.r.conns.Queue)
	for len(nos) > 0 {
		no, asked := nos[0], time.Now()
		a, err := m.ledger.Ask(ctx, no, token, k.lease, tasks.EnqueueGrace, k.rate, m.collector.Sure())
		if a.Code != ledger.AskPaced {
			nos = nos[1:]
		}
		switch {
		case err != nil || ctx.Err() != nil:
			return
		case a.Code == ledger.AskOpen:
			books.PushAsked(ctx, q, no, a)
			_ = q.Wake(ctx, m.config.MchID)
			continue
		case a.Code != ledger.AskEnded && a.Code != ledger.AskPaced:
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(a.Wait):
		}
		// Counted from before the script ran: the lease began later.
		if a.Code == ledger.AskEnded && !k.query(ctx, m, no, token, a, asked.Add(a.Wait+k.lease)) {
			return // trouble that is not the order's; its lease ends by itself
		}
	}
}

// query queries an order in a final state, under a lease that lasts until end at least, and
// records what WeChat Pay has signed. It reports whether there was an answer about the
// order.
func (k *bookkeeper) query(ctx context.Context, m *merchant, no, token string, a ledger.Asked, end time.Time) bool {
	within, cancel := collect.Within(ctx, end)
	defer cancel()
	reply := m.client.Query(within, payscore.Request{Owner: a.Owner, OutOrderNo: no})
	if reply.Trouble() || !reply.Verified {
		m.log.Warn().Str(logging.FieldEvent, "books_query_failed").Str(logging.FieldOutOrderNo, no).Str(logging.FieldVerdict, string(reply.Verdict)).
			Str(logging.FieldCode, reply.Code).Str(logging.FieldRequestID, reply.RequestID).Msg("an order that a bill calls paid could not be queried; it is tried again")
		return false
	}
	if reply.Order != nil && reply.Order.Paid() > 0 {
		n := ledger.Notice{
			OutOrderNo: no, Token: ledger.NewToken(), Paid: reply.Verdict == payscore.Paid, Facts: collect.FactsOf(reply.Order),
			Entry: ledger.Entry{Call: string(payscore.CallQuery), Verdict: string(reply.Verdict), HTTPStatus: reply.HTTPStatus, RequestID: reply.RequestID, ElapsedMS: reply.Elapsed.Milliseconds()},
		}
		code, news, err := m.ledger.Notice(ctx, n)
		if err != nil {
			return false
		}
		m.collector.Noticed(n, code, news)
	}
	return m.ledger.Told(ctx, no, token) == nil
}
