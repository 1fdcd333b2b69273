package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sync/errgroup"

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
type row struct{ json.RawMessage }

// Schema implements huma.SchemaProvider.
func (row) Schema(r huma.Registry) *huma.Schema { return schemaOf[OrderRow](r) }

// rows are those of a request. What is behind one too many is not kept: of 8 MiB of the
// shortest rows it would take hundreds.
type rows []row

// UnmarshalJSON implements json.Unmarshaler.
func (r *rows) UnmarshalJSON(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	if start, _ := dec.Token(); start != json.Delim('[') {
		return json.Unmarshal(b, (*[]row)(r)) // says what is wrong
	}
	for *r = (rows{}); dec.More() && len(*r) <= mostRows; {
		var one row
		if err := dec.Decode(&one); err != nil {
			return err
		}
		*r = append(*r, one)
	}
	return nil
}

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
		Orders rows     `json:"orders" maxItems:"10000" doc:"The orders."`
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
	complete := a.completion(caller)
	items, results := make([]intake.Item, len(rows)), make([]RowResult, len(rows))
	// Before anything is enqueued: a token is for its merchants.
	err := inBatches(len(rows), func(from, to int) error {
		for i := from; i < to; i++ {
			items[i] = complete(intake.ReadObject(string(rows[i].RawMessage)))
			items[i].Order.Reopen, items[i].Order.By = in.Body.Reopen, caller.By()
			if err := caller.may(items[i].Order.MchID); err != nil && items[i].Order.MchID != "" {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	down := a.submit(ctx, items, results) // of Redis
	if down != nil && !slices.ContainsFunc(results, func(r RowResult) bool { return r.Result != tasks.Failed && r.Result != tasks.Invalid }) {
		return nil, down
	}
	reply := &enqueueReply{}
	reply.Body.Results = results
	return reply, nil
}

// inBatches does the work on n rows in batches, two at once. It returns the first error.
func inBatches(n int, work func(from, to int) error) error {
	const batch, atOnce = 500, 2
	var g errgroup.Group
	g.SetLimit(atOnce)
	for from := 0; from < n; from += batch {
		g.Go(func() error { return work(from, min(from+batch, n)) })
	}
	return g.Wait()
}

// submit enqueues the rows of a page. The error is that of Redis, where it has failed an
// order. Submit stops at such an order; submit continues behind it as long as Redis takes
// others, since a single record can be the cause.
func (a *API) submit(ctx context.Context, items []intake.Item, results []RowResult) (down error) {
	n := 0
	for taken := true; taken && n < len(items); {
		taken = false
		for it, res := range (intake.Submitter{Producer: a.producer, Schedule: a.Schedules().Check}).Submit(ctx, slices.Values(items[n:])) {
			results[n] = resultOf(it, res)
			n++
			if res.Status == tasks.Failed {
				down = cmp.Or(down, res.Err)
			} else if res.Status != tasks.Invalid {
				taken = true
			}
		}
	}
	for ; n < len(items); n++ { // Redis has failed before them
		results[n] = resultOf(items[n], tasks.Result{Status: tasks.Failed, Err: down})
	}
	return down
}

// completion returns the orders of rows. What a row does not say comes from the token's
// only merchant, from the settings of the row's merchant in this process, from the
// settings for orders, or from the process's only merchant.
func (a *API) completion(caller Caller) func(intake.Row) intake.Item {
	all := a.Merchants()
	known := make(map[string]config.Order, len(all))
	for _, m := range all {
		known[m.MchID] = m
	}
	mchid := a.Order.MchID
	switch {
	case len(caller.MchIDs) == 1:
		mchid = caller.MchIDs[0]
	case mchid == "" && len(all) == 1:
		mchid = all[0].MchID
	}
	return func(r intake.Row) intake.Item {
		m := known[cmp.Or(r.MchID, mchid)]
		return r.Item(tasks.Owner{MchID: mchid, AppID: cmp.Or(m.AppID, a.Order.AppID), ServiceID: cmp.Or(m.ServiceID, a.Order.ServiceID)})
	}
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
