package console

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"payscore-collector/internal/api"
	"payscore-collector/internal/books"
	"payscore-collector/internal/config"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// matter is what an operator must look at, and may have acknowledged. A form names it, and
// which occurrence of it the page has shown.
type matter struct {
	MchID      string
	ID         ledger.Matter
	Occurrence string
	Title      string
	Merchant   string // of an order; the title of another matter has it
	URL        string
	Words      []string
	At         time.Time   // when it arose, about
	Ack        *ledger.Ack // of this occurrence
}

func (v *view) orderMatter(o ledger.Order) matter {
	return matter{MchID: o.MchID, ID: ledger.OrderMatter(o.OutOrderNo), Occurrence: o.Occurrence(), Title: o.OutOrderNo, Merchant: o.MchID,
		URL: orderURL(o.MchID, o.OutOrderNo), Words: v.Tell.Alarms(o), At: alarmedAt(o)}
}

// hookWait is how many orders of a merchant have webhooks that billing has not accepted,
// and since when the oldest waits.
type hookWait struct {
	MchID  string
	Orders int64
	Since  time.Time
}

// late reports whether an operator must look at it.
func (w hookWait) late(now time.Time) bool { return w.Orders > 0 && now.Sub(w.Since) > time.Minute }

func (v *view) hookMatter(w hookWait) matter {
	return matter{MchID: w.MchID, ID: ledger.HookMatter, Occurrence: strconv.FormatInt(w.Since.UnixMilli(), 10), Title: v.word("overview.webhooks", w.MchID),
		URL: "/webhooks", Words: []string{v.word("overview.webhooks_wait", number(w.Orders), v.Tell.Age(w.Since))}, At: w.Since}
}

// hooksOf reads what waits at a merchant's webhooks.
func hooksOf(ctx context.Context, l *ledger.Ledger) (hookWait, error) {
	w := hookWait{MchID: l.MchID()}
	var err error
	if w.Since, err = l.OldestHook(ctx); err != nil || w.Since.IsZero() {
		return w, err
	}
	w.Orders, _, err = l.HooksWaiting(ctx)
	return w, err
}

func (v *view) bookMatter(d bookDay) matter {
	m := matter{MchID: d.MchID, ID: ledger.BookMatter(d.Date), Occurrence: d.Occurrence, Title: v.Tell.BookTitle(d.MchID, string(d.Date)),
		URL: booksURL(d.MchID, d.Date), At: d.At}
	if d.Unreadable {
		m.Words = []string{v.word("books.unreadable", d.Date, d.MchID, d.Date)}
	}
	for _, kind := range explain.BookKinds {
		if n := d.Counts[kind]; n > 0 && !kind.Alone() {
			m.Words = append(m.Words, v.word("overview.book_kind", v.Tell.BookWord(kind), number(n)))
		}
	}
	return m
}

func booksURL(mchid string, date ledger.BookDate) string {
	return "/books?" + url.Values{"mchid": {mchid}, "date": {string(date)}}.Encode()
}

// hookURL is the page of what a webhook that waits is about: an order, or the books of a day.
func hookURL(mchid, name string) string {
	if date, ok := ledger.HookBook(name); ok {
		return booksURL(mchid, date)
	}
	return orderURL(mchid, name)
}

// bookDay is a day whose books were closed.
type bookDay struct {
	MchID      string
	Date       ledger.BookDate
	At         time.Time // when they were closed
	Counts     map[explain.BookKind]int64
	Exceptions int64  // but for refunds, which are information
	Unreadable bool   // what is stored of it
	Occurrence string // another one where other payments do not agree
}

func (d bookDay) needsAttention() bool { return d.Exceptions > 0 || d.Unreadable }

// loadBook reads a day; of one that cannot be read, the result has only its name. A day that
// was not closed is ledger.ErrNotFound.
func loadBook(ctx context.Context, l *ledger.Ledger, date ledger.BookDate) (bookDay, books.Result, error) {
	r, err := books.Load(ctx, l, date)
	if errors.Is(err, books.ErrUnreadable) {
		return bookDay{MchID: r.MchID, Date: date, At: r.ClosedAt, Unreadable: true, Occurrence: "unreadable " + r.ClosedAt.Format(time.RFC3339Nano)}, r, nil
	}
	return bookDayOf(l.MchID(), r), r, err
}

func bookDayOf(mchid string, r books.Result) bookDay {
	d := bookDay{MchID: mchid, Date: ledger.BookDate(r.Date), At: r.ClosedAt, Counts: r.Counts()}
	d.Exceptions = r.LeftOut
	var facts []string
	for _, e := range r.Exceptions {
		if !e.Kind.Alone() {
			d.Exceptions++
			facts = append(facts, fmt.Sprintf("%s %q %q %d %d", e.Kind, e.OutOrderNo, e.TransactionID, e.BillAmount, e.LedgerAmount))
		}
	}
	slices.Sort(facts)
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %v", r.LeftOut, facts))
	d.Occurrence = hex.EncodeToString(sum[:8])
	return d
}

// booksDays is for how many days the attention list shows what does not agree.
const booksDays = 30

// surveyBooks reads the days of a merchant whose books were closed. Results can be large:
// what was read of a day before is not read again.
func surveyBooks(ctx context.Context, l *ledger.Ledger, now time.Time, known map[ledger.BookDate]bookDay) (map[ledger.BookDate]bookDay, error) {
	dates, err := l.BookDates(ctx, ledger.BookDateOf(now.AddDate(0, 0, -booksDays)))
	if err != nil {
		return nil, err
	}
	closed, err := l.BooksAt(ctx, dates)
	if err != nil {
		return nil, err
	}
	days := map[ledger.BookDate]bookDay{}
	for i, date := range dates {
		if d, ok := known[date]; ok && d.At.Equal(closed[i]) {
			days[date] = d
			continue
		}
		d, _, err := loadBook(ctx, l, date)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
		case err != nil:
			return nil, err
		default:
			days[date] = d
		}
	}
	return days, nil
}

// acknowledged adds to matters what was acknowledged of them.
func (c *Console) acknowledged(ctx context.Context, matters []matter) error {
	of := map[string][]ledger.Matter{}
	for _, m := range matters {
		of[m.MchID] = append(of[m.MchID], m.ID)
	}
	found, err := ledger.AcksOf(ctx, c.redis, of)
	if err != nil {
		return err
	}
	for i, m := range matters {
		if ack, ok := found[m.MchID][m.ID]; ok && ack.Occurrence == m.Occurrence {
			matters[i].Ack = &ack
		}
	}
	return nil
}

// newestFirst sorts matters.
func newestFirst(matters []matter) {
	slices.SortStableFunc(matters, func(a, b matter) int { return b.At.Compare(a.At) })
}

// matterNow is a matter as it stands; its ID is empty where nothing asks for attention.
func (v *view) matterNow(l *ledger.Ledger, id ledger.Matter) (matter, error) {
	switch no, date := id.Order(), id.Book(); {
	case no != "" && tasks.ValidateOutOrderNo(no) == nil:
		o, err := l.Get(v.ctx(), no)
		if err != nil || !o.Alarmed() {
			return matter{}, absent(err)
		}
		return v.orderMatter(o), nil
	case date != "":
		if _, err := date.Start(); err != nil {
			return matter{}, nil
		}
		d, _, err := loadBook(v.ctx(), l, date)
		if err != nil || !d.needsAttention() {
			return matter{}, absent(err)
		}
		return v.bookMatter(d), nil
	case id == ledger.HookMatter:
		w, err := hooksOf(v.ctx(), l)
		if err != nil || w.Orders == 0 {
			return matter{}, err
		}
		return v.hookMatter(w), nil
	}
	return matter{}, nil
}

// absent makes no error of what the ledger does not have.
func absent(err error) error {
	if errors.Is(err, ledger.ErrNotFound) {
		return nil
	}
	return err
}

// acknowledge records that the caller has seen a matter.
func (c *Console) acknowledge(v *view) error {
	if !v.can(config.Billing) {
		return problem(http.StatusForbidden, v.word("role.needs", v.word("role.billing")))
	}
	mchid := v.r.PostFormValue("mchid")
	if mchid == "" {
		return problem(http.StatusUnprocessableEntity, v.word("ack.gone"))
	}
	ledgers, err := v.ledgers(mchid)
	if err != nil {
		return err
	}
	note := v.r.PostFormValue("reason")
	if err := tasks.ValidateReason(note); err != nil {
		return api.Invalid(err)
	}
	m, err := v.matterNow(ledgers[0], ledger.Matter(v.r.PostFormValue("matter")))
	switch {
	case err != nil:
		return err
	case m.ID == "":
		return problem(http.StatusConflict, v.word("ack.gone"))
	case m.Occurrence != v.r.PostFormValue("occurrence"):
		return problem(http.StatusConflict, v.word("ack.other"))
	}
	if err := ledgers[0].Acknowledge(v.ctx(), ledger.Deed{By: v.Caller.By(), Reason: note}, m.ID, m.Occurrence); err != nil {
		return err
	}
	return v.done(cmp.Or(local(v.r.PostFormValue("back")), "/"))
}

// ackForm is what the template of the form shows.
type ackForm struct {
	matter
	Back string
	May  bool
	view *view
}

// When is that of the page.
func (f ackForm) When(at time.Time) template.HTML { return f.view.When(at) }

// AckForm is the form, or what was acknowledged, of a matter on a page.
func (v *view) AckForm(m matter) ackForm {
	back := "/"
	if v.r.Method == http.MethodGet {
		back = v.r.URL.RequestURI()
	}
	return ackForm{m, back, v.Billing(), v}
}
