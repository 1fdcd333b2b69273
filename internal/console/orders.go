package console

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"payscore-collector/internal/api"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/ordercsv"
	"payscore-collector/tasks"
)

const (
	pageSize = 50
	// A page looks through more numbers at a time the more orders it may show.
	searchSize = 150
	// searchTime is for how long a page continues to search where few orders match.
	searchTime = 30 * time.Millisecond
)

// filter is what a list of orders is limited to, as it stands in the address.
type filter struct {
	MchID, Reason, Q, From, To  string
	Service, Code, Least, Below string // amounts in yuan
	States                      []string
	Sort                        string // of the page that is shown; see sorts
}

// sorts are the orders in which a page can be put, and which comes first. The ledger has no
// index by them over all orders: a page is sorted, not the list.
var sorts = map[string]func(a, b ledger.Order) int{
	"amount": func(a, b ledger.Order) int { return cmp.Compare(fenOr(b), fenOr(a)) },
	"age":    func(a, b ledger.Order) int { return a.OpenedAt.Compare(b.OpenedAt) },
	"due": func(a, b ledger.Order) int {
		if a.NextDueAt.IsZero() != b.NextDueAt.IsZero() { // what has ended comes last
			if a.NextDueAt.IsZero() {
				return 1
			}
			return -1
		}
		return a.NextDueAt.Compare(b.NextDueAt)
	},
}

// fenOr is what an order comes to; less than nothing where that is not known.
func fenOr(o ledger.Order) int64 {
	if total := cmp.Or(o.TotalAmount, o.BillingAmount); total != nil {
		return *total
	}
	return -1
}

func filterOf(q url.Values) filter {
	text := func(name string) string { return strings.TrimSpace(q.Get(name)) }
	f := filter{
		MchID: q.Get("mchid"), Reason: text("reason"), Q: text("q"), From: q.Get("from"), To: q.Get("to"),
		Service: text("service"), Code: text("code"), Least: text("least"), Below: text("below"),
	}
	if sorts[q.Get("sort")] != nil {
		f.Sort = q.Get("sort")
	}
	for _, s := range q["state"] {
		for s := range strings.SplitSeq(s, ",") {
			if s != "" && !slices.Contains(f.States, s) {
				f.States = append(f.States, s)
			}
		}
	}
	return f
}

// values are the filter as a page's address has it.
func (f filter) values() url.Values {
	return url.Values{
		"mchid": {f.MchID}, "reason": {f.Reason}, "q": {f.Q}, "from": {f.From}, "to": {f.To}, "state": f.States,
		"service": {f.Service}, "code": {f.Code}, "least": {f.Least}, "below": {f.Below}, "sort": {f.Sort},
	}
}

// asked is the filter as the API takes it. Dates are days of Shanghai, the last one
// included.
func (f filter) asked() (asked api.Filter, err error) {
	asked = api.Filter{MchID: f.MchID, States: f.States, MoreFilter: api.MoreFilter{
		Reason: f.Reason, Q: f.Q, OpenedFrom: f.From, OpenedTo: f.To, ServiceID: f.Service, Code: f.Code,
	}}
	if from, err := time.ParseInLocation(time.DateOnly, f.From, tasks.China); err == nil {
		asked.OpenedFrom = from.Format(time.RFC3339)
	}
	if to, err := time.ParseInLocation(time.DateOnly, f.To, tasks.China); err == nil {
		asked.OpenedTo = to.AddDate(0, 0, 1).Format(time.RFC3339)
	}
	if asked.AmountFrom, err = fenOf(f.Least); err == nil {
		asked.AmountTo, err = fenOf(f.Below)
	}
	return asked, err
}

var errYuan = errors.New("not an amount in yuan")

// fenOf reads an amount in yuan; 0 for none.
func fenOf(yuan string) (int64, error) {
	yuan = strings.TrimPrefix(yuan, "¥")
	if yuan == "" {
		return 0, nil
	}
	whole, part, _ := strings.Cut(yuan, ".")
	fen, err := strconv.ParseUint(whole+(part + "00")[:2], 10, 53)
	if err != nil || len(part) > 2 || strings.ContainsAny(part, "+-") {
		return 0, errYuan
	}
	return int64(fen), nil
}

// asked is the filter as the API takes it, or the problem of what is no amount.
func (v *view) asked(f filter) (api.Filter, error) {
	asked, err := f.asked()
	if err != nil {
		return asked, problem(http.StatusUnprocessableEntity, v.word("problem.yuan"))
	}
	return asked, nil
}

// digits is a number as a parameter; empty for 0.
func digits(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// query is a request for a page of the API.
func query(f api.Filter, limit int, cursor string) string {
	return address("/v1/orders", url.Values{
		"mchid": {f.MchID}, "state": {strings.Join(f.States, ",")}, "reason": {f.Reason}, "q": {f.Q}, "opened_from": {f.OpenedFrom}, "opened_to": {f.OpenedTo},
		"service_id": {f.ServiceID}, "code": {f.Code}, "amount_from": {digits(f.AmountFrom)}, "amount_to": {digits(f.AmountTo)},
		"limit": {strconv.Itoa(limit)}, "cursor": {cursor},
	})
}

type ordersBody struct {
	Filter    filter
	Merchants []string
	Exact     []ledger.Order // those of the very number that is searched for
	Orders    []ledger.Order
	pages
	CSV    string
	cursor string
}

// SortURL is the address of the same page in another order; without any order if it is in
// that one.
func (b ordersBody) SortURL(by string) string {
	f := b.Filter
	if f.Sort == by {
		by = ""
	}
	f.Sort = by
	q := f.values()
	q.Set("cursor", b.cursor)
	return address("/orders", q)
}

// sorter is the head of a column by which a page can be sorted.
type sorter struct {
	By, Word, URL string
	Now           bool
}

// Many reports whether there is more than one merchant to choose from.
func (b ordersBody) Many() bool { return len(b.Merchants) > 1 }

func (c *Console) orders(v *view) error {
	q := v.r.URL.Query()
	all, err := v.ledgers("")
	if err != nil {
		return err
	}
	cursor := q.Get("cursor")
	b := ordersBody{Filter: filterOf(q), Merchants: mchidsOf(all), cursor: cursor}
	if b.Filter.Q != "" && cursor == "" && tasks.ValidateOutOrderNo(b.Filter.Q) == nil {
		ledgers, err := v.ledgers(b.Filter.MchID)
		if err != nil {
			return err
		}
		if b.Exact, err = findAll(v.ctx(), ledgers, b.Filter.Q); err != nil {
			return err
		}
	}
	asked, err := v.asked(b.Filter)
	if err != nil {
		return err
	}
	size := pageSize
	if b.Filter.Q != "" || b.Filter.Sort != "" {
		size = searchSize
	}
	for until := time.Now().Add(searchTime); ; {
		var page api.OrderPage
		if err := v.call(http.MethodGet, query(asked, size-len(b.Orders), cursor), nil, &page); err != nil {
			return err
		}
		b.Orders = append(b.Orders, page.Orders...)
		if cursor = page.Next; cursor == "" || len(b.Orders) == size || time.Now().After(until) {
			break
		}
	}
	if by := sorts[b.Filter.Sort]; by != nil {
		slices.SortStableFunc(b.Orders, by)
	}
	b.pages = pagesOf("/orders", b.Filter.values(), b.cursor, cursor)
	b.CSV = address("/orders.csv", b.Filter.values())
	v.Live = cmp.Or(b.Filter.MchID, everyMerchant)
	return v.show("orders", b)
}

// findAll returns the orders of a number, of any of the merchants.
func findAll(ctx context.Context, ledgers []*ledger.Ledger, no string) ([]ledger.Order, error) {
	found := make([][]ledger.Found, len(ledgers))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i, l := range ledgers {
		g.Go(func() (err error) {
			found[i], err = ledger.Find(ctx, []*ledger.Ledger{l}, no)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var list []ledger.Order
	for _, f := range slices.Concat(found...) {
		list = append(list, f.Order)
	}
	return list, nil
}

// find leads from the number of an order to its page, or to those that begin so.
func (c *Console) find(v *view) error {
	no := strings.TrimSpace(v.r.FormValue("q"))
	if no == "" {
		return v.done("/orders")
	}
	if tasks.ValidateOutOrderNo(no) == nil {
		ledgers, err := v.ledgers("")
		if err != nil {
			return err
		}
		found, err := findAll(v.ctx(), ledgers, no)
		if err != nil {
			return err
		}
		if len(found) == 1 {
			return v.done(orderURL(found[0].MchID, no))
		}
	}
	return v.done("/orders?q=" + url.QueryEscape(no))
}

// ordersCSV writes every order of a filter: for programs, or for a spreadsheet.
func (c *Console) ordersCSV(v *view) error {
	q := v.r.URL.Query()
	asked, err := v.asked(filterOf(q))
	if err != nil {
		return err
	}
	excel := q.Get("excel") != ""
	control := http.NewResponseController(v.w)
	lines, begun := ordercsv.Writer{}, false
	for cursor := ""; ; {
		var page api.OrderPage
		err := v.call(http.MethodGet, query(asked, 1000, cursor), nil, &page)
		switch {
		case err != nil && !begun:
			return err
		case err != nil:
			panic(http.ErrAbortHandler) // a file that ends too early must not look whole
		case !begun:
			begun = true
			h := v.w.Header()
			h.Set("Content-Type", "text/csv; charset=utf-8")
			h.Set("Content-Disposition", `attachment; filename="orders-`+v.Tell.Now.In(tasks.China).Format("20060102-150405")+`.csv"`)
			lines = ordercsv.New(v.w, excel)
		}
		_ = control.SetWriteDeadline(time.Now().Add(30 * time.Second))
		for _, o := range page.Orders {
			if err := lines.Write(o); err != nil {
				return nil // the browser has left
			}
		}
		if cursor = page.Next; cursor == "" {
			_ = lines.Close()
			return nil
		}
	}
}
