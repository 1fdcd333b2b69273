package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"payscore-collector/internal/config"
	"payscore-collector/internal/control"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

const tagBulk = "Bulk actions"

// bulkWithin is how long a preview may count.
const bulkWithin = time.Minute

// addBulk adds what is done to many orders at once.
func (a *API) addBulk() {
	add(a, op{
		id: "start-bulk", method: http.MethodPost, path: "/v1/bulk", tag: tagBulk, role: config.Operator, status: http.StatusAccepted, within: bulkWithin,
		summary: "Withdraw, reopen or collect many orders",
		send:    `{"action":"withdraw","filter":{"state":["exhausted","awaiting"],"q":"BIKE-","opened_to":"2026-01-01T00:00:00Z"},"reason":"waived after the storm","dry_run":true}`,
		doc:     "Does the same to every order that matches `filter`, which is that of `GET /v1/orders`: `withdraw` and `reopen` as for one order, `collect-now` likewise. With `dry_run` it only counts the orders, and what they come to. Without, it answers with the `id` of a bulk action, which workers do, however often one of them dies: they first count the orders that match, and then act on each once, unless it does not match any more when its turn comes. Orders that are enqueued after they were counted are not touched. The calls that follow keep to the merchant's rate. The filter `{}` is every order of every merchant of the token.",
		again:   "It can be sent again without harm: a second bulk action finds the orders withdrawn, open or due, and leaves them as they are (`duplicate`); one that was reopened and has ended again in between is reopened again. `GET /v1/audit` shows whether the first one has begun, with its id.",
	}, a.startBulk)
	add(a, op{
		id: "get-bulk", method: http.MethodGet, path: "/v1/bulk/{id}", tag: tagBulk, role: config.Viewer,
		summary: "Read how far a bulk action is", refusals: map[int]string{http.StatusNotFound: "There is no such bulk action; they are kept for 30 days after they are done."},
		reply: `{"id":"4611686018427387904","action":"withdraw","filter":{"state":["exhausted","awaiting"],"q":"BIKE-"},"reason":"waived after the storm","by":"api:ops","state":"running","created_at":"2026-01-02T02:00:00Z","matched":1200,"total_amount":1500000,"done":700,"duplicate":0,"refused":4,"left":496,"merchants":[{"mchid":"1900000109","state":"running","matched":1200,"total_amount":1500000,"done":700,"duplicate":0,"refused":4,"left":496}]}`,
		doc:   "What a bulk action does, and how far it is: `matched` is `done`, `duplicate` (nothing was left to do), `refused` (the order's state forbids it, or it does not match any more) and `left`. While `state` is `counting`, `matched` still grows. Only the token's merchants are counted.",
	}, a.getBulk)
	answers := a.huma.OpenAPI().Paths["/v1/bulk"].Post.Responses
	schemas := a.huma.OpenAPI().Components.Schemas
	answers["200"] = &huma.Response{Description: "A dry run: so many orders match. Nothing was changed.", Content: map[string]*huma.MediaType{
		jsonType: {Schema: schemaOf[control.Preview](schemas), Example: example(`{"matched":1200,"total_amount":1500000}`)},
	}}
	answers["202"] = &huma.Response{Description: "It has begun.", Content: map[string]*huma.MediaType{
		jsonType: {Schema: schemaOf[BulkStarted](schemas), Example: example(`{"id":"4611686018427387904"}`)},
	}}
}

// BulkStarted answers the start of a bulk action.
type BulkStarted struct {
	ID string `json:"id" doc:"Its id, for GET /v1/bulk/{id}." example:"4611686018427387904"`
}

// BulkFilter is Filter in a body.
type BulkFilter struct {
	MchID string   `json:"mchid,omitempty" doc:"Only orders of this merchant; without it, of every merchant of the token." example:"1900000109"`
	State stateSet `json:"state,omitempty" doc:"Only orders in these states: a list, or a text with commas between."`
	MoreFilter
	_ struct{} `additionalProperties:"false"`
}

// stateSet is a list of states as it was sent.
type stateSet struct{ json.RawMessage }

// Schema implements huma.SchemaProvider.
func (stateSet) Schema(huma.Registry) *huma.Schema {
	one := &huma.Schema{Type: huma.TypeString}
	for _, state := range tasks.States {
		one.Enum = append(one.Enum, string(state))
	}
	list := &huma.Schema{Type: huma.TypeArray, Items: one}
	s := &huma.Schema{AnyOf: []*huma.Schema{list, {Type: huma.TypeString}}}
	one.PrecomputeMessages()
	s.PrecomputeMessages()
	return s
}

func (s stateSet) list() (states []string, err error) {
	var text string
	switch raw := bytes.TrimSpace(s.RawMessage); {
	case len(raw) == 0 || string(raw) == "null" || string(raw) == `""`:
		return nil, nil
	case json.Unmarshal(raw, &text) == nil:
		return strings.Split(text, ","), nil
	case json.Unmarshal(raw, &states) == nil:
		return states, nil
	}
	return nil, refuse(http.StatusUnprocessableEntity, "state", `is neither a text nor a list of texts: write ["exhausted"]`)
}

// query returns the filter as the ledger takes it.
func (f BulkFilter) query() (ledger.Query, error) {
	states, err := f.State.list()
	if err != nil {
		return ledger.Query{}, err
	}
	// The filter is stored, and stands in the trail. Reasons are codes, or billing's words.
	if n := utf8.RuneCountInString(f.Reason); n > tasks.MaxReason {
		return ledger.Query{}, refuse(http.StatusUnprocessableEntity, "reason", "is %d characters long; at most %d are allowed", n, tasks.MaxReason)
	}
	return Filter{States: states, MoreFilter: f.MoreFilter}.Query()
}

// inFilter returns the problem of a field of the filter under the name that the body has
// for it. Other errors stay as they are.
func inFilter(err error) error {
	if p, ok := errors.AsType[*Problem](err); ok && len(p.Errors) == 1 {
		p.Errors[0].Field, p.Detail = "filter."+p.Errors[0].Field, "filter."+p.Detail
	}
	return err
}

type bulkInput struct {
	Body struct {
		Action string      `json:"action" enum:"withdraw,reopen,collect-now" doc:"What to do to each order."`
		Filter *BulkFilter `json:"filter" doc:"Which orders are meant; {} is every order."`
		Reason string      `json:"reason" minLength:"1" maxLength:"200" doc:"Why, in your own words; it is recorded with each order."`
		PaidAt *string     `json:"paid_at,omitempty" format:"date-time" doc:"Of withdrawals: when the users paid elsewhere; WeChat Pay is then told."`
		DryRun bool        `json:"dry_run,omitempty" doc:"Only count the orders that match."`
		_      struct{}    `additionalProperties:"false"`
	}
}

type bulkReply struct {
	Status int
	Body   any
}

func (a *API) startBulk(ctx context.Context, in *bulkInput) (*bulkReply, error) {
	body := in.Body
	if body.Filter == nil {
		return nil, refuse(http.StatusUnprocessableEntity, "filter", "is missing: say which orders, as GET /v1/orders does; {} is every order")
	}
	paidAt, err := paidAtOf(body.PaidAt)
	if err != nil {
		return nil, err
	}
	r := control.BulkRequest{Action: body.Action, By: callerOf(ctx).By(), Reason: body.Reason, PaidAt: paidAt}
	if err := r.Validate(); err != nil {
		return nil, Invalid(err)
	}
	if r.Query, err = body.Filter.query(); err != nil {
		return nil, inFilter(err)
	}
	if r.MchIDs, err = a.bulkMerchants(ctx, body.Filter.MchID); err != nil {
		return nil, inFilter(err)
	}
	if body.DryRun {
		p, err := control.PreviewBulk(ctx, a.Redis, r.MchIDs, r.Query)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return nil, refuse(http.StatusUnprocessableEntity, "filter", "leaves more orders to look through than can be counted in %s: narrow it, such as by mchid or state", bulkWithin)
		case err != nil:
			return nil, err
		}
		return &bulkReply{http.StatusOK, p}, nil
	}
	if len(r.MchIDs) == 0 {
		return nil, refuse(http.StatusUnprocessableEntity, "filter", "cannot match an order: this Redis has no ledger of a merchant that it names and the token may use")
	}
	id, err := control.StartBulk(ctx, a.Redis, r)
	if err != nil {
		return nil, err
	}
	return &bulkReply{http.StatusAccepted, BulkStarted{id}}, nil
}

// bulkMerchants returns the merchants that a filter is about and that have a ledger.
func (a *API) bulkMerchants(ctx context.Context, named string) ([]string, error) {
	if named == "" {
		return a.mchids(ctx, "")
	}
	if err := tasks.ValidateMchID(named); err != nil {
		return nil, Invalid(err)
	}
	if err := callerOf(ctx).may(named); err != nil {
		return nil, err
	}
	known, err := a.Redis.SIsMember(ctx, ledger.MerchantsKey, named).Result()
	if err != nil || !known {
		return nil, err
	}
	return []string{named}, nil
}

type bulkPath struct {
	ID string `path:"id" doc:"The id of a bulk action." example:"4611686018427387904"`
}

func (a *API) getBulk(ctx context.Context, in *bulkPath) (*reply[ledger.BulkProgress], error) {
	absent := newProblem(http.StatusNotFound, fmt.Sprintf("id is %q, and there is no such bulk action of a merchant of this token: they are kept for 30 days after they are done", clip(in.ID)))
	if !ledger.ValidBulkID(in.ID) {
		return nil, absent
	}
	mchids, err := a.mchids(ctx, "")
	if err != nil {
		return nil, err
	}
	p, err := ledger.ProgressOfBulk(ctx, a.Redis, mchids, in.ID)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, absent
	}
	return replied(p, err)
}
