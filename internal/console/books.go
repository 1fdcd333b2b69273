package console

import (
	"errors"
	"time"

	"payscore-collector/internal/books"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// mostExceptions is how many exceptions of a day the page lists; the API has all.
const mostExceptions = 500

type booksBody struct {
	Merchants   []string
	MchID, Date string
	Closed      bool
	Unreadable  bool // what is stored of the day
	Result      books.Result
	Title       string
	Facts       []explain.Fact
	Count       string
	Exceptions  []exception
	LeftOut     int64
	Matter      []matter // of the exceptions, or of what cannot be read, if there are any
}

type exception struct {
	books.Exception
	Kind, Remedy, Words string
}

// books shows what came of comparing a day with WeChat Pay's bill.
func (c *Console) books(v *view) error {
	all, err := v.ledgers("")
	if err != nil {
		return err
	}
	q := v.r.URL.Query()
	b := booksBody{Merchants: mchidsOf(all), MchID: q.Get("mchid"), Date: q.Get("date")}
	if b.MchID == "" && len(b.Merchants) > 0 {
		b.MchID = b.Merchants[0]
	}
	day, err := time.ParseInLocation(time.DateOnly, b.Date, tasks.China)
	if err != nil {
		day = startOfDay(v.Tell.Now).AddDate(0, 0, -1)
	}
	b.Date = day.Format(time.DateOnly)
	if b.MchID == "" {
		return v.show("books", b)
	}
	ledgers, err := v.ledgers(b.MchID)
	if err != nil {
		return err
	}
	d, r, err := loadBook(v.ctx(), ledgers[0], ledger.BookDate(b.Date))
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return v.show("books", b)
	case err != nil:
		return err
	}
	if d.needsAttention() {
		b.Matter = []matter{v.bookMatter(d)}
		if err := c.acknowledged(v.ctx(), b.Matter); err != nil {
			return err
		}
	}
	if b.Unreadable = d.Unreadable; b.Unreadable {
		return v.show("books", b)
	}
	waiting := books.Tally{}
	if r.Waiting != nil {
		waiting = *r.Waiting
	}
	b.Closed, b.Result, b.Title = true, r, v.Tell.BookTitle(r.MchID, r.Date)
	b.Facts = v.Tell.BookFacts(r.Bill.Rows, r.Bill.PayScoreRows, r.Bill.Amount, r.Ledger.Orders, r.Ledger.Amount, r.Matched.Orders, r.Matched.Amount, waiting.Orders, waiting.Amount)
	information := r.Counts()[explain.Refunded]
	b.Count = v.Tell.BookCount(int64(len(r.Exceptions))-information+r.LeftOut, information)
	b.LeftOut = r.LeftOut
	for i, e := range r.Exceptions {
		if i == mostExceptions {
			b.LeftOut += int64(len(r.Exceptions) - i)
			break
		}
		b.Exceptions = append(b.Exceptions, exception{e, v.Tell.BookWord(e.Kind), v.Tell.BookRemedy(e.Kind), v.Tell.BookDetail(e.Facts)})
	}
	return v.show("books", b)
}
