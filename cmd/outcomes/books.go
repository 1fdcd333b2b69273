package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"payscore-collector/internal/books"
	"payscore-collector/internal/config"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/ordercsv"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/signer"
)

type booksCommand struct {
	config.MerchantFlags
	Date  string `name:"date" xor:"day" placeholder:"YYYY-MM-DD" help:"The day, in Shanghai (default: yesterday)."`
	From  string `name:"from" xor:"day" placeholder:"YYYY-MM-DD" help:"The first day of several."`
	To    string `name:"to" placeholder:"YYYY-MM-DD" help:"The last day of several (default: yesterday)."`
	File  string `name:"file" placeholder:"BILL" help:"Read this bill, which was downloaded, plain or gzip, instead of asking WeChat Pay. It takes no keys."`
	JSON  bool   `name:"json" xor:"format" help:"One JSON object a day; amounts in fen."`
	CSV   bool   `name:"csv" xor:"format" help:"The exceptions as CSV with a header; amounts in fen."`
	Excel bool   `name:"excel" help:"With --csv, for Excel and WPS: UTF-8 with BOM, amounts in yuan, and long numbers as text."`

	now         time.Time
	mchid       string
	first, last time.Time
	merchants   []config.Merchant
}

// exitExceptions is the exit status where there are exceptions.
const exitExceptions = 5

// prepare is called before judge, with what is no flag of its own.
func (b *booksCommand) prepare(mchid string, now time.Time) { b.mchid, b.now = mchid, now }

func (b *booksCommand) judge(c *config.Collector) {
	yesterday := books.Day(b.now).AddDate(0, 0, -1)
	day := func(flag, value string, otherwise time.Time) time.Time {
		if value == "" {
			return otherwise
		}
		t, err := time.ParseInLocation(time.DateOnly, value, books.China)
		if err != nil {
			c.Problem(flag, "is %q: write a day such as %s", value, yesterday.Format(time.DateOnly))
			return time.Time{}
		}
		err = books.ValidDay(t, b.now)
		if b.File != "" && t.Before(yesterday) { // a downloaded bill may be of any age
			err = nil
		}
		if err != nil {
			c.Problem(flag, "%v", err)
			return time.Time{}
		}
		return t
	}
	b.first = day("--date", b.Date, yesterday)
	b.last = b.first
	if b.From != "" || b.To != "" {
		if b.From == "" {
			c.Problem("--to", "needs --from, the first day")
		}
		if b.Date != "" {
			c.Problem("--date", "is one day, and --from and --to are several: write the one or the others")
		}
		if b.File != "" {
			c.Problem("--file", "is the bill of one day: write --date instead of --from and --to")
		}
		b.first, b.last = day("--from", b.From, yesterday), day("--to", b.To, yesterday)
		if !b.first.IsZero() && b.last.Before(b.first) && !b.last.IsZero() {
			c.Problem("--to", "is before --from")
		}
	}
	if b.Excel && !b.CSV {
		c.Problem("--excel", "is a form of --csv: write both")
	}
	if b.File == "" {
		b.merchants = b.MerchantFlags.Resolve(c, config.Order{MchID: b.mchid})
	}
}

// source returns the merchant whose books are closed, and what finds its bills.
func (b *booksCommand) source(ctx context.Context, s *session) (l *ledger.Ledger, of func(day time.Time) books.Source, end func(), err error) {
	usage := func(format string, args ...any) error {
		return &statusError{config.ExitUsage, fmt.Sprintf(format, args...)}
	}
	if b.File != "" {
		ledgers, err := s.ledgers(ctx)
		if err != nil {
			return nil, nil, nil, err
		}
		if len(ledgers) != 1 {
			return nil, nil, nil, usage("say whose bill it is with --mchid (merchants: %s)", orNone(mchids(ledgers)))
		}
		if _, err := os.Stat(b.File); err != nil {
			return nil, nil, nil, usage("--file cannot be read: %v", errors.Unwrap(err))
		}
		return ledgers[0], func(day time.Time) books.Source {
			return func(_ context.Context, of time.Time) (*books.Bill, error) {
				if !of.Equal(day) {
					return nil, nil
				}
				return &books.Bill{Open: func(context.Context) (io.ReadCloser, error) { return os.Open(filepath.Clean(b.File)) }}, nil
			}
		}, func() {}, nil
	}
	var found []config.Merchant
	var names []string
	for _, m := range b.merchants {
		names = append(names, m.MchID)
		if s.mchid == "" || m.MchID == s.mchid {
			found = append(found, m)
		}
	}
	if len(found) != 1 {
		return nil, nil, nil, usage("say whose books to close with --mchid (merchants: %s)", strings.Join(names, ", "))
	}
	client, err := newBillClient(found[0])
	if err != nil {
		return nil, nil, nil, err
	}
	l = ledger.New(s.rdb, found[0].MchID)
	paced := books.Paced{Client: client, Await: func(ctx context.Context) error { return awaitSlot(ctx, l) }}
	return l, func(day time.Time) books.Source { return books.Fetch(paced, day, b.now) }, client.Close, nil
}

// awaitSlot waits for a slot of the rate that the merchant's workers keep to. Without a
// worker there is no other call.
func awaitSlot(ctx context.Context, l *ledger.Ledger) error {
	workers, now, err := l.Workers(ctx)
	if err != nil {
		return err
	}
	for _, w := range workers {
		if w.Alive(now) && w.Settings.Rate > 0 {
			return l.AwaitSlot(ctx, w.Settings.Rate)
		}
	}
	return nil
}

// newBillClient returns a client that only asks for bills.
func newBillClient(m config.Merchant) (*payscore.Client, error) {
	sign, err := signer.New(signer.Auto, m.PrivateKey)
	if err != nil {
		return nil, err
	}
	return payscore.New(payscore.Config{
		MchID: m.MchID, SerialNo: m.SerialNo, Signer: sign, PublicKeyID: m.PublicKeyID, PublicKey: m.PublicKey, APIV3Key: m.APIV3Key.Reveal(),
		BaseURL: m.BaseURL, BackupURL: m.BackupURL, Timeout: 30 * time.Second, Connections: 1,
	})
}

func (b *booksCommand) run(ctx context.Context, s *session) error {
	l, source, end, err := b.source(ctx, s)
	if err != nil {
		return err
	}
	defer end()
	workers, _, err := l.Workers(ctx)
	if err != nil {
		return err
	}
	at := books.UsualAt
	for _, w := range workers {
		if set, err := config.ParseBooksAt(w.Settings.BooksAt); err == nil && set.On {
			at = set.Clock
			break
		}
	}
	var lines *bookLines
	if b.CSV {
		lines = newBookLines(s.out, b.Excel, s.people)
	}
	exceptions := int64(0)
	var failed error
	for day := b.first; !day.After(b.last); day = day.AddDate(0, 0, 1) {
		r, err := books.Close(ctx, s.rdb, l, day, source(day), at, time.Time{})
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			err = fmt.Errorf("%s: %w", day.Format(time.DateOnly), noBill(err))
			if b.first.Equal(b.last) {
				return err
			}
			fmt.Fprintln(s.errOut, "outcomes:", err)
			failed = errors.Join(failed, err)
			continue
		}
		if !r.Agrees() {
			exceptions++
		}
		switch {
		case b.JSON:
			err = writeJSON(s.out, r)
		case b.CSV:
			err = lines.write(r)
		default:
			err = tellBooks(s.out, s.people, r)
			if err == nil && day.Before(b.last) {
				_, err = fmt.Fprintln(s.out)
			}
		}
		if err != nil {
			return fmt.Errorf("write the books: %w", err)
		}
	}
	if lines != nil {
		if err := lines.close(); err != nil {
			return fmt.Errorf("write the books: %w", err)
		}
	}
	switch {
	case failed != nil:
		return errors.New("some days could not be closed")
	case exceptions > 0:
		return &statusError{status: exitExceptions}
	}
	return nil
}

// noBill adds what to do where there is no bill.
func noBill(err error) error {
	var refused *payscore.BillError
	switch {
	case !errors.As(err, &refused):
		return err
	case refused.State == payscore.NotReady:
		return fmt.Errorf("the bill is not made yet: ask again in half an hour (%w)", err)
	case refused.State == payscore.TryAgain:
		return fmt.Errorf("the bill cannot be had now: ask again later (%w)", err)
	}
	return fmt.Errorf("WeChat Pay refuses the bill; it can be downloaded from pay.weixin.qq.com and read with --file (%w)", err)
}

// tellBooks writes a day for people.
func tellBooks(w io.Writer, t explain.Teller, r books.Result) error {
	waiting := books.Tally{}
	if r.Waiting != nil {
		waiting = *r.Waiting
	}
	fmt.Fprintf(w, "%s\n\n", t.BookTitle(r.MchID, r.Date))
	var facts grid
	for _, f := range t.BookFacts(r.Bill.Rows, r.Bill.PayScoreRows, r.Bill.Amount, r.Ledger.Orders, r.Ledger.Amount, r.Matched.Orders, r.Matched.Amount, waiting.Orders, waiting.Amount) {
		facts.add(f.Name, f.Words)
	}
	if err := facts.write(w); err != nil {
		return err
	}
	counts := r.Counts()
	information := counts[explain.Refunded]
	fmt.Fprintf(w, "\n%s\n", t.BookCount(int64(len(r.Exceptions))-information+r.LeftOut, information))
	for _, kind := range explain.BookKinds {
		if counts[kind] == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s: %s (%d)\n%s\n", kind, t.BookWord(kind), counts[kind], t.BookRemedy(kind))
		list := grid{right: func(i int) bool { return i == 2 || i == 3 }}
		list.add(t.BookHeads()...)
		for _, e := range r.Exceptions {
			if e.Kind != kind {
				continue
			}
			list.add(explain.OrDash(explain.Printable(e.OutOrderNo)), explain.OrDash(string(e.State)), yuanOrDash(e.BillAmount), yuanOrDash(e.LedgerAmount),
				explain.OrDash(explain.Printable(e.TransactionID)), t.BookDetail(e.Facts))
			if e.Refund != nil {
				list.add(t.BookRefund() + " " + e.Refund.String())
			}
		}
		if err := writeBookList(w, &list); err != nil {
			return err
		}
	}
	if r.LeftOut > 0 {
		fmt.Fprintf(w, "\n%s\n", t.BookLeftOut(r.LeftOut))
	}
	return nil
}

// writeBookList writes a list whose lines of one cell do not widen its first column.
func writeBookList(w io.Writer, list *grid) error {
	rows := list.rows
	for _, row := range rows {
		if len(row) > 1 {
			for i, cell := range row {
				if i == len(list.widths) {
					list.widths = append(list.widths, 0)
				}
				list.widths[i] = max(list.widths[i], explain.Width(cell))
			}
		}
	}
	for _, row := range rows {
		line := row[0]
		if len(row) > 1 {
			line = list.line(row)
		}
		if _, err := io.WriteString(w, line+"\n"); err != nil {
			return err
		}
	}
	return nil
}

func yuanOrDash(fen int64) string {
	if fen == 0 {
		return "-"
	}
	return explain.Yuan(fen)
}

// bookLines writes exceptions as CSV: for programs, or for a spreadsheet.
type bookLines struct {
	w      *csv.Writer
	excel  bool
	people explain.Teller
}

func newBookLines(w io.Writer, excel bool, people explain.Teller) *bookLines {
	bill, signed := "bill_amount", "ledger_amount"
	if excel {
		_, _ = io.WriteString(w, ordercsv.BOM) // else Excel takes it for an old encoding
		bill, signed = bill+" (yuan)", signed+" (yuan)"
	}
	b := &bookLines{csv.NewWriter(w), excel, people}
	_ = b.w.Write([]string{"mchid", "date", "kind", "out_order_no", "order_id", "transaction_id", bill, signed, "state", "detail", "other_transaction_ids", "refund"}) // close reports it
	return b
}

func (b *bookLines) write(r books.Result) error {
	text, money := ordercsv.Unformula, func(fen int64) string { return strconv.FormatInt(fen, 10) }
	if b.excel {
		text = ordercsv.AsText
		money = func(fen int64) string { return strings.Replace(explain.Yuan(fen), "¥", "", 1) }
	}
	for _, e := range r.Exceptions {
		refund := ""
		if e.Refund != nil {
			refund = e.Refund.String()
		}
		number := text
		if !b.excel {
			number = func(s string) string { return s } // an out_order_no may begin with a dash, as in outcomes list
		}
		detail := e.Detail
		if b.excel { // which people read, in their language
			detail = b.people.BookDetail(e.Facts)
		}
		err := b.w.Write([]string{
			text(r.MchID), r.Date, string(e.Kind), number(e.OutOrderNo), text(e.OrderID), text(e.TransactionID), money(e.BillAmount), money(e.LedgerAmount),
			string(e.State), ordercsv.Unformula(detail), text(strings.Join(e.Others, " ")), refund,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bookLines) close() error {
	b.w.Flush()
	return b.w.Error()
}
