package api

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"payscore-collector/internal/config"
	"payscore-collector/internal/intake"
	"payscore-collector/internal/textsafe"
	"payscore-collector/tasks"
)

// Limits of POST /v1/orders.
const (
	mostRows = 10_000
	mostBody = 8 << 20
)

// row is one order of a request, as it was sent. What is wrong with it concerns it alone.
type row json.RawMessage

// UnmarshalJSON keeps the row.
func (r *row) UnmarshalJSON(b []byte) error {
	*r = append((*r)[:0], b...)
	return nil
}

// Schema implements huma.SchemaProvider.
func (row) Schema(r huma.Registry) *huma.Schema { return schemaOf[OrderRow](r) }

// OrderRow describes a row. The names are those of intake's columns.
type OrderRow struct {
	OutOrderNo string   `json:"out_order_no" doc:"The order's number at WeChat Pay: 1 to 32 digits, letters and _ | * -." example:"BIKE-1001"`
	MchID      string   `json:"mchid,omitempty" doc:"Merchant number." example:"1900000109"`
	AppID      string   `json:"appid,omitempty" doc:"The application of the order." example:"wxd678efh567hg6787"`
	ServiceID  string   `json:"service_id,omitempty" doc:"The PayScore service of the order." example:"500001"`
	At         string   `json:"at,omitempty" format:"date-time" doc:"When to start; without it, at once." example:"2026-01-02T10:00:00+08:00"`
	Amount     int64    `json:"amount,omitempty" minimum:"0" doc:"What is owed by billing's word, in fen. It is shown and passed on." example:"1250"`
	OwedSince  string   `json:"owed_since,omitempty" format:"date-time" doc:"Since when it is owed, by billing's word. It is shown and passed on."`
	Schedule   string   `json:"schedule,omitempty" doc:"The schedule of SCHEDULES_FILE by which it is collected; without it, the file's default for it, or the worker's settings." example:"gentle"`
	_          struct{} `additionalProperties:"true"`
}

type enqueueInput struct {
	Body struct {
		Orders []row    `json:"orders" maxItems:"10000" doc:"The orders."`
		Reopen bool     `json:"reopen,omitempty" doc:"Open orders again that have ended in any state but paid."`
		_      struct{} `additionalProperties:"false"`
	}
}

// RowResult is what became of one row.
type RowResult struct {
	MchID      string       `json:"mchid" doc:"Merchant number; empty where neither the row nor a setting has one."`
	OutOrderNo string       `json:"out_order_no" doc:"The order's number, as far as the row has one."`
	Result     tasks.Status `json:"result" doc:"What became of it." enum:"accepted,duplicate,ended,conflict,invalid,failed"`
	State      tasks.State  `json:"state,omitempty" doc:"Where the order stands."`
	Detail     string       `json:"detail,omitempty" doc:"Why, where the result does not say all."`
}

type enqueueReply struct {
	Body struct {
		Results []RowResult `json:"results" doc:"A result for each order of the request, in the same order."`
	}
}

func (a *API) enqueue(ctx context.Context, in *enqueueInput) (*enqueueReply, error) {
	rows := in.Body.Orders
	switch {
	case rows == nil:
		return nil, refuse(http.StatusUnprocessableEntity, "orders", "is missing: send a list of orders")
	case len(rows) > mostRows:
		return nil, newProblem(http.StatusRequestEntityTooLarge, "orders has more than 10000 rows: send them in several requests, or use POST /v1/orders/import")
	}
	caller := callerOf(ctx)
	items := make([]intake.Item, len(rows))
	for i, raw := range rows {
		items[i] = a.item(caller, intake.ReadObject(string(raw)))
		items[i].Order.Reopen, items[i].Order.By = in.Body.Reopen, caller.By()
		// Before anything is enqueued: a token is for its merchants.
		if err := caller.may(items[i].Order.MchID); err != nil && items[i].Order.MchID != "" {
			return nil, err
		}
	}
	reply := &enqueueReply{}
	results := make([]RowResult, 0, len(rows))
	var down error // of Redis
	taken := false // by Redis, any order
	for it, res := range (intake.Submitter{Producer: a.producer, Schedule: a.Schedules.Check}).Submit(ctx, slices.Values(items)) {
		results = append(results, resultOf(it, res))
		if res.Status == tasks.Failed {
			down = cmp.Or(down, res.Err)
		}
		taken = taken || res.Status != tasks.Failed && res.Status != tasks.Invalid
	}
	if down != nil && !taken {
		return nil, redisFailed(down)
	}
	for _, it := range items[len(results):] { // Redis has failed before them
		results = append(results, resultOf(it, tasks.Result{Status: tasks.Failed, Err: down}))
	}
	reply.Body.Results = results
	return reply, nil
}

// item returns the order of a row. What the row does not say comes from the token's only
// merchant, from the settings of the row's merchant in this process, from the settings
// for orders, or from the process's only merchant.
func (a *API) item(caller Caller, r intake.Row) intake.Item {
	known := a.Merchants()
	defaults := tasks.Owner{MchID: a.Order.MchID, AppID: a.Order.AppID, ServiceID: a.Order.ServiceID}
	switch {
	case len(caller.MchIDs) == 1:
		defaults.MchID = caller.MchIDs[0]
	case defaults.MchID == "" && len(known) == 1:
		defaults.MchID = known[0].MchID
	}
	mchid := cmp.Or(r.MchID, defaults.MchID)
	if i := slices.IndexFunc(known, func(m config.Order) bool { return m.MchID == mchid }); i >= 0 {
		defaults.AppID, defaults.ServiceID = cmp.Or(known[i].AppID, defaults.AppID), cmp.Or(known[i].ServiceID, defaults.ServiceID)
	}
	return r.Item(defaults)
}

// resultOf words a result as the command does. Texts that are no valid number, appid or
// service_id may be anything, and are cut.
func resultOf(it intake.Item, res tasks.Result) RowResult {
	return RowResult{
		MchID: clip(it.Order.MchID), OutOrderNo: clip(it.Order.OutOrderNo),
		Result: res.Status, State: res.State, Detail: textsafe.Clip(intake.Detail(res), 300),
	}
}

// clip cuts a text from a request so that it can be repeated.
func clip(s string) string { return textsafe.Clip(s, 2*tasks.MaxOutOrderNo) }
