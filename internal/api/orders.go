package api

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"payscore-collector/internal/config"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/intake"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/status"
	"payscore-collector/tasks"
)

const tagOrders = "Orders"

func (a *API) addOrders() {
	absent := map[int]string{http.StatusNotFound: "The ledger has no such order."}
	forbidden := map[int]string{http.StatusNotFound: "The ledger has no such order.", http.StatusConflict: "The order's state forbids it; detail says which it is."}
	add(a, op{
		id: "get-order", method: http.MethodGet, path: "/v1/orders/{mchid}/{out_order_no}", tag: tagOrders, role: config.Viewer,
		summary: "Read one order", refusals: absent, reply: exampleOrder,
		doc: "Everything that is known of an order, with its calls (`log`), and in words where it stands and what comes next (`explain`). The same as `outcomes get --json`. The characters `|` and `*` of an out_order_no may stand in the path as they are or percent-encoded.",
	}, a.getOrder)
	add(a, op{
		id: "list-orders", method: http.MethodGet, path: "/v1/orders", tag: tagOrders, role: config.Viewer,
		summary: "List orders", reply: `{"orders":[` + exampleListed + `],"next":"eyJtIjoiMTkwMDAwMDEwOSJ9"}`,
		doc: "Orders page by page, merchant by merchant: open ones first, in no order, then those in each final state, newest first. `next` is the cursor of the next page; without it, this page was the last one. A page can be short, or empty, and have a `next`. Pages miss no order that matches all the time, although orders move; one that changes its state between two pages can come twice.",
	}, a.listOrders)
	add(a, op{
		id: "enqueue-orders", method: http.MethodPost, path: "/v1/orders", tag: tagOrders, role: config.Billing,
		summary: "Enqueue orders", body: mostBody, within: 30 * time.Second,
		send:  `{"orders":[{"out_order_no":"BIKE-1001","amount":1250},{"out_order_no":"BIKE 1002"}]}`,
		reply: `{"results":[{"mchid":"1900000109","out_order_no":"BIKE-1001","result":"accepted","state":"queued"},{"mchid":"1900000109","out_order_no":"BIKE 1002","result":"invalid","detail":"out_order_no has ' ' at position 5; only digits, letters and _ | * - are allowed"}]}`,
		doc:   "Up to 10,000 orders in 8 MiB. The answer has a result for each, in the same order: `accepted` (the order is in the ledger, and will reach a final state), `duplicate` (open already; nothing changed), `ended` (see `state`; nothing changed), `conflict` (open under another appid or service_id; nothing changed), `invalid` (see `detail`; a bad row does not keep the good ones out), `failed` (Redis did not take it: send it again). A row without mchid, appid or service_id gets those of the token's only merchant, of the worker's settings, or of its only merchant.",
		again: "It can be sent again without harm: what is in already is answered with `duplicate`.",
	}, a.enqueue)
	add(a, op{
		id: "withdraw-order", method: http.MethodPost, path: "/v1/orders/{mchid}/{out_order_no}/withdraw", tag: tagOrders, role: config.Billing,
		summary: "Stop collecting an order", refusals: forbidden, send: `{"reason":"paid at the counter","paid_at":"2026-01-02T10:00:00+08:00"}`, reply: exampleOrder,
		doc:   "Ends an open order as `withdrawn`, at once. With `paid_at`, a worker also tells WeChat Pay that the user has paid elsewhere, which then stops deducting; without it, WeChat Pay continues.",
		again: "It can be sent again without harm: an order that is withdrawn already stays as it is, and is returned.",
	}, a.withdraw)
	add(a, op{
		id: "reopen-order", method: http.MethodPost, path: "/v1/orders/{mchid}/{out_order_no}/reopen", tag: tagOrders, role: config.Billing,
		summary: "Collect an order again that has ended", refusals: forbidden, send: `{"reason":"the user disputes the payment at the counter"}`, reply: exampleOrder,
		doc:   "Opens an order again that is closed, rejected, withdrawn or exhausted, with the same appid and service_id. A paid one is never opened again. It is queried before it is collected.",
		again: "It can be sent again without harm: an order that is open already stays as it is, and is returned.",
	}, a.reopen)
	a.addImport()
}

// OrderView is an order, and what it means in words.
type OrderView struct {
	ledger.Order
	Explain Explanation `json:"explain" doc:"Where the order stands, in words for people."`
}

// Explanation is an order in words.
type Explanation struct {
	State  string   `json:"state" doc:"The state and what it means." example:"awaiting: tried; the money is not in"`
	Next   string   `json:"next" doc:"What comes next and when; empty if nothing does."`
	Causes []string `json:"causes" doc:"Why it is not worked on now, besides its own due time."`
	Alarms []string `json:"alarms" doc:"What an operator must not overlook."`
}

// OrderPath names an order.
type OrderPath struct {
	MchID      string `path:"mchid" doc:"Merchant number." example:"1900000109"`
	OutOrderNo string `path:"out_order_no" doc:"The order's number: 1 to 32 digits, letters and _ | * -." example:"BIKE-1001"`
	Lang       string `header:"Accept-Language" doc:"The language of explain: en (default) or zh." example:"zh-CN"`
}

func (a *API) getOrder(ctx context.Context, in *OrderPath) (*reply[OrderView], error) {
	l := ledger.New(a.Redis, in.MchID)
	o, s, hooks, err := status.ReadOrder(ctx, a.Redis, l, in.OutOrderNo)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return nil, absentOrder(in.MchID, in.OutOrderNo)
	case err != nil:
		return nil, err
	}
	return replied(OrderView{o, explanation(teller(in.Lang, s), o, s, hooks)}, nil)
}

func absentOrder(mchid, no string) error {
	return newProblem(http.StatusNotFound, fmt.Sprintf("out_order_no is %s, and the ledger of merchant %s has no such order: check both, or enqueue it first", no, mchid))
}

func explanation(t explain.Teller, o ledger.Order, s explain.Situation, hooks ledger.HookWait) Explanation {
	causes := t.WhyOrder(s, o)
	e := Explanation{State: t.State(o), Next: t.Next(s, o, causes), Causes: t.HeldBack(causes), Alarms: t.Alarms(o)}
	if text := t.ScheduleUnknown(o, s); text != "" {
		e.Alarms = append(e.Alarms, text)
	}
	if w := t.Webhook(hooks); w != "" {
		e.Causes = append(e.Causes, w)
	}
	if e.Causes == nil {
		e.Causes = []string{}
	}
	if e.Alarms == nil {
		e.Alarms = []string{}
	}
	return e
}

// teller returns the words for a header Accept-Language, by the clock of the merchant's
// collection window.
func teller(accept string, s explain.Situation) explain.Teller {
	return explain.Teller{Now: time.Now(), Zone: cmp.Or(s.Window.Location, tasks.China), Lang: Language(accept)}
}

// Language returns the language that a header Accept-Language prefers.
func Language(accept string) explain.Language {
	chosen, best := explain.English, 0.0
	for part := range strings.SplitSeq(accept, ",") {
		tag, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		q := 1.0
		if value, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			if n, _ := fmt.Sscan(value, &q); n != 1 {
				q = 0
			}
		}
		tag, _, _ = strings.Cut(strings.ToLower(tag), "-")
		if lang := explain.Language(tag); q > best && (lang == explain.English || lang == explain.Chinese) {
			chosen, best = lang, q
		}
	}
	return chosen
}

// Filter says which orders are meant.
type Filter struct {
	MchID  string   `query:"mchid" json:"mchid,omitempty" doc:"Only orders of this merchant; without it, of every merchant of the token." example:"1900000109"`
	States []string `query:"state" json:"state,omitempty" enum:"queued,awaiting,paid,closed,rejected,withdrawn,exhausted" doc:"Only orders in these states; several with commas between; in a query also state several times."`
	MoreFilter
}

// MoreFilter is the part of a filter that a query and a body have in the same form.
type MoreFilter struct {
	Reason     string `query:"reason" json:"reason,omitempty" doc:"Only orders with exactly this reason, such as NOTENOUGH." example:"ORDER_EXPIRED"`
	Q          string `query:"q" json:"q,omitempty" doc:"Only orders whose out_order_no begins so." example:"BIKE-"`
	OpenedFrom string `query:"opened_from" json:"opened_from,omitempty" doc:"Only orders that were opened at this time or later; RFC 3339." example:"2026-01-01T00:00:00Z"`
	OpenedTo   string `query:"opened_to" json:"opened_to,omitempty" doc:"Only orders that were opened before this time; RFC 3339." example:"2026-02-01T00:00:00Z"`
	ServiceID  string `query:"service_id" json:"service_id,omitempty" doc:"Only orders of this PayScore service." example:"500001"`
	Code       string `query:"code" json:"code,omitempty" doc:"Only orders whose last error has this code, or this detail code." example:"TRADE_ERROR"`
	AmountFrom int64  `query:"amount_from" json:"amount_from,omitempty" minimum:"0" doc:"Only orders that come to so many fen or more: by WeChat Pay's signed word, else by billing's. An order of which neither is known does not match." example:"1000"`
	AmountTo   int64  `query:"amount_to" json:"amount_to,omitempty" minimum:"0" doc:"Only orders that come to less than so many fen; 0: no bound." example:"5000"`
}

// Query returns the filter as the ledger takes it.
func (f Filter) Query() (q ledger.Query, err error) {
	for _, s := range f.States {
		if !tasks.State(s).Valid() {
			return q, refuse(http.StatusUnprocessableEntity, "state", "is %q: write queued, awaiting, paid, closed, rejected, withdrawn or exhausted", clip(s))
		}
		if !slices.Contains(q.States, tasks.State(s)) {
			q.States = append(q.States, tasks.State(s))
		}
	}
	q.Reason, q.Prefix = f.Reason, f.Q
	q.ServiceID, q.Code, q.AmountFrom, q.AmountTo = f.ServiceID, f.Code, f.AmountFrom, f.AmountTo
	for name, text := range map[string]string{"service_id": f.ServiceID, "code": f.Code} {
		if len(text) > 64 {
			return q, refuse(http.StatusUnprocessableEntity, name, "is %d bytes long; at most 64 are allowed", len(text))
		}
	}
	if f.AmountFrom < 0 || f.AmountTo < 0 {
		return q, refuse(http.StatusUnprocessableEntity, "amount_from", "and amount_to cannot be negative: write fen, or leave them out")
	}
	if q.OpenedFrom, err = timeOf("opened_from", f.OpenedFrom); err != nil {
		return q, err
	}
	if q.OpenedTo, err = timeOf("opened_to", f.OpenedTo); err != nil {
		return q, err
	}
	if q.Prefix != "" {
		if err := tasks.ValidateOutOrderNo(q.Prefix); err != nil {
			return q, refuse(http.StatusUnprocessableEntity, "q", "cannot begin an out_order_no, which %s", strings.TrimPrefix(err.Error(), "out_order_no "))
		}
	}
	return q, nil
}

// timeOf reads a time that may be left out.
func timeOf(field, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := intake.ParseTime(text)
	if err != nil && len(text) > 10 && strings.Contains(text[10:], " ") {
		// A plus sign in a query that was not encoded arrives as a blank.
		t, err = intake.ParseTime(text[:10] + strings.ReplaceAll(text[10:], " ", "+"))
	}
	if err != nil {
		return t, refuse(http.StatusUnprocessableEntity, field, "%v", err)
	}
	return t, nil
}

type listInput struct {
	Filter
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Orders in a page at most."`
	Cursor string `query:"cursor" doc:"next of the page before, with the same filter."`
}

// Resolve takes every state of a query that names it several times, as the command's
// --state; huma takes the first one alone. Query refuses those that are unknown.
func (in *listInput) Resolve(ctx huma.Context) []error {
	u := ctx.URL()
	if states := u.Query()["state"]; len(states) > 1 {
		in.States = strings.Split(strings.Join(states, ","), ",")
	}
	return nil
}

// OrderPage is a page of orders.
type OrderPage struct {
	Orders []ledger.Order `json:"orders" doc:"The orders, as outcomes list --json has them: without log."`
	Next   string         `json:"next,omitempty" doc:"The cursor of the next page; absent after the last one."`
}

func (a *API) listOrders(ctx context.Context, in *listInput) (*reply[OrderPage], error) {
	q, err := in.Query()
	if err != nil {
		return nil, err
	}
	mchids, err := a.mchids(ctx, in.MchID)
	if err != nil {
		return nil, err
	}
	at := cursor{Filter: in.fingerprint()}
	if in.Cursor != "" {
		if at, err = readCursor(in.Cursor, in.fingerprint()); err != nil {
			return nil, err
		}
	}
	page := OrderPage{Orders: []ledger.Order{}}
	for _, mchid := range mchids {
		if mchid < at.MchID {
			continue
		}
		from := ledger.Place{}
		if mchid == at.MchID {
			from = at.Place
		}
		if len(page.Orders) == in.Limit {
			page.Next = cursor{MchID: mchid, Filter: at.Filter}.String()
			break
		}
		orders, next, err := ledger.New(a.Redis, mchid).Page(ctx, q, from, in.Limit-len(page.Orders))
		if err != nil {
			return nil, err
		}
		page.Orders = append(page.Orders, orders...)
		if next != nil {
			page.Next = cursor{MchID: mchid, Place: *next, Filter: at.Filter}.String()
			break
		}
	}
	return replied(page, nil)
}

// mchids returns the merchants that a request is about: the one that is named, or all that
// have a ledger and that the caller may read, by number.
func (a *API) mchids(ctx context.Context, named string) ([]string, error) {
	if named != "" {
		return []string{named}, nil
	}
	all, err := ledger.Merchants(ctx, a.Redis)
	if err != nil {
		return nil, err
	}
	caller := callerOf(ctx)
	return slices.DeleteFunc(all, func(mchid string) bool { return caller.may(mchid) != nil || tasks.ValidateMchID(mchid) != nil }), nil
}

// cursor is where a page of orders begins.
type cursor struct {
	MchID  string       `json:"m,omitempty"`
	Place  ledger.Place `json:"p,omitzero"`
	Filter string       `json:"f"` // of the pages, see fingerprint
}

func (c cursor) String() string {
	b, _ := json.Marshal(c) // texts and numbers can always be encoded
	return base64.RawURLEncoding.EncodeToString(b)
}

func (f Filter) fingerprint() string {
	h := fnv.New32a()
	b, _ := json.Marshal(f)
	_, _ = h.Write(b)
	return fmt.Sprintf("%x", h.Sum32())
}

func readCursor(text, filter string) (cursor, error) {
	var c cursor
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	switch {
	case err != nil || tasks.ValidateMchID(c.MchID) != nil || c.Place.Part != "" && !c.Place.Part.Valid():
		return c, badCursor()
	case c.Filter != filter:
		return c, refuse(http.StatusUnprocessableEntity, "cursor", "belongs to pages with another filter: repeat the parameters of the first page, or leave it out")
	}
	return c, nil
}

type withdrawInput struct {
	OrderPath
	Body struct {
		Reason string   `json:"reason" minLength:"1" maxLength:"200" doc:"Why, in your own words, for those who ask later."`
		PaidAt *string  `json:"paid_at,omitempty" format:"date-time" doc:"When the user paid elsewhere; WeChat Pay is then told."`
		_      struct{} `additionalProperties:"false"`
	}
}

// paidAtOf reads the paid_at of a withdrawal. An empty one is a mistake of the caller: to
// take it for none would leave WeChat Pay deducting.
func paidAtOf(text *string) (time.Time, error) {
	switch {
	case text == nil:
		return time.Time{}, nil
	case *text == "":
		return time.Time{}, refuse(http.StatusUnprocessableEntity, "paid_at", "is empty: write when the user paid elsewhere, or leave it out if WeChat Pay must not be notified")
	}
	return timeOf("paid_at", *text)
}

func (a *API) withdraw(ctx context.Context, in *withdrawInput) (*reply[OrderView], error) {
	paidAt, err := paidAtOf(in.Body.PaidAt)
	if err != nil {
		return nil, err
	}
	res, err := a.producer.Withdraw(ctx, tasks.Withdrawal{MchID: in.MchID, OutOrderNo: in.OutOrderNo, Reason: in.Body.Reason, PaidAt: paidAt, By: callerOf(ctx).By()})
	return a.changed(ctx, &in.OrderPath, res, err, "withdraw")
}

type reasonInput struct {
	OrderPath
	Body struct {
		Reason string   `json:"reason" minLength:"1" maxLength:"200" doc:"Why, in your own words, for those who ask later."`
		_      struct{} `additionalProperties:"false"`
	}
}

func (a *API) reopen(ctx context.Context, in *reasonInput) (*reply[OrderView], error) {
	if err := tasks.ValidateReason(in.Body.Reason); err != nil {
		return nil, Invalid(err)
	}
	o, err := ledger.New(a.Redis, in.MchID).Get(ctx, in.OutOrderNo)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return nil, absentOrder(in.MchID, in.OutOrderNo)
	case err != nil:
		return nil, err
	}
	res, err := a.producer.Enqueue(ctx, tasks.Order{
		Payload: tasks.Payload{MchID: in.MchID, OutOrderNo: in.OutOrderNo, AppID: o.AppID, ServiceID: o.ServiceID}, Reopen: true,
		Reason: in.Body.Reason, By: callerOf(ctx).By(),
	})
	return a.changed(ctx, &in.OrderPath, res, err, "reopen")
}

// changed answers a change of one order with the order, or says why it was refused.
func (a *API) changed(ctx context.Context, in *OrderPath, res tasks.Result, err error, what string) (*reply[OrderView], error) {
	switch {
	case err != nil:
		return nil, err
	case res.Status == tasks.Invalid:
		return nil, Invalid(res.Err)
	case res.Status == tasks.Absent:
		return nil, absentOrder(in.MchID, in.OutOrderNo)
	case res.Status == tasks.Ended && what == "withdraw" && res.State == tasks.Exhausted:
		return nil, newProblem(http.StatusConflict, "state is exhausted, and forbids to withdraw the order: reopen it first, and withdraw it then")
	case res.Status == tasks.Ended:
		return nil, newProblem(http.StatusConflict, fmt.Sprintf("state is %s, and forbids to %s the order: nothing was changed", res.State, what))
	}
	return a.getOrder(ctx, in)
}
