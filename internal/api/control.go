package api

import (
	"context"
	"net/http"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/control"
	"payscore-collector/internal/ledger"
)

const noMerchant = "The merchant has no ledger and no worker; perhaps its number is mistyped."

// addControl adds what only an operator does.
func (a *API) addControl() {
	add(a, op{
		id: "collect-order-now", method: http.MethodPost, path: "/v1/orders/{mchid}/{out_order_no}/collect-now", tag: tagOrders, role: config.Operator,
		summary:  "Bring the next attempt of an order forward",
		refusals: map[int]string{http.StatusNotFound: "The ledger has no such order.", http.StatusConflict: "The order has ended; detail says how."},
		send:     `{"reason":"the user has topped up"}`, reply: exampleOrder,
		doc:   "Brings the next attempt forward as far as MIN_GAP, the collection window, the rate, holds and a pause allow, and uses up no step of the schedule. `next_due_at` says when it comes.",
		again: "It can be sent again without harm: an order that is due already stays as it is, and is returned.",
	}, a.collectNow)
	add(a, op{
		id: "pause-merchant", method: http.MethodPost, path: "/v1/merchants/{mchid}/pause", tag: tagMerchants, role: config.Operator,
		summary:  "Make no collect calls for a merchant",
		refusals: map[int]string{http.StatusNotFound: noMerchant}, send: `{"reason":"wrong amounts in last night's orders","for":"2h"}`,
		reply: exampleMerchant,
		doc:   "No worker makes a collect call for the merchant until it is resumed, or until `for` has passed. Queries, notifications, withdrawals and syncs continue, and orders keep their attempts and their places in the schedule. The pause stands in the ledger: it holds for every worker, and across restarts.",
		again: "It can be sent again without harm: a second pause takes the place of the first one.",
	}, a.pause)
	add(a, op{
		id: "resume-merchant", method: http.MethodPost, path: "/v1/merchants/{mchid}/resume", tag: tagMerchants, role: config.Operator,
		summary:  "End the pause of a merchant",
		refusals: map[int]string{http.StatusNotFound: noMerchant}, send: `{"reason":"amounts corrected"}`, reply: exampleMerchant,
		doc:   "The orders that the pause has put off are due at once, and the rate spaces their calls. A queue that was paused by asynq's own tools is resumed as well.",
		again: "It can be sent again without harm: a merchant that is not paused stays as it is.",
	}, a.resume)
}

func (a *API) collectNow(ctx context.Context, in *reasonInput) (*reply[OrderView], error) {
	h, err := control.NewHastener(ctx, a.Redis, in.MchID)
	if err != nil {
		return nil, err
	}
	res, err := h.CollectNow(ctx, in.OutOrderNo, ledger.Deed{By: callerOf(ctx).By(), Reason: in.Body.Reason, Token: ledger.NewToken()})
	return a.changed(ctx, &in.OrderPath, res, err, "collect")
}

type pauseInput struct {
	MchID string `path:"mchid" doc:"Merchant number." example:"1900000109"`
	Body  struct {
		Reason string   `json:"reason" minLength:"1" maxLength:"200" doc:"Why, in your own words, for those who ask later."`
		For    string   `json:"for,omitempty" doc:"After how long it ends by itself, such as 2h; without it, only a resume ends it." example:"2h"`
		_      struct{} `additionalProperties:"false"`
	}
}

func (a *API) pause(ctx context.Context, in *pauseInput) (*reply[MerchantView], error) {
	var length time.Duration
	if in.Body.For != "" {
		var err error
		if length, err = time.ParseDuration(in.Body.For); err != nil || length <= 0 {
			return nil, refuse(http.StatusUnprocessableEntity, "for", "is %q: write a duration such as 2h, or leave it out", clip(in.Body.For))
		}
	}
	if err := a.knows(ctx, in.MchID); err != nil {
		return nil, err
	}
	_, err := control.Pause(ctx, a.Redis, in.MchID, ledger.Deed{By: callerOf(ctx).By(), Reason: in.Body.Reason, Token: ledger.NewToken()}, length)
	return a.controlled(ctx, in.MchID, err)
}

type resumeInput struct {
	MchID string `path:"mchid" doc:"Merchant number." example:"1900000109"`
	Body  struct {
		Reason string   `json:"reason" minLength:"1" maxLength:"200" doc:"Why, in your own words, for those who ask later."`
		_      struct{} `additionalProperties:"false"`
	}
}

func (a *API) resume(ctx context.Context, in *resumeInput) (*reply[MerchantView], error) {
	if err := a.knows(ctx, in.MchID); err != nil {
		return nil, err
	}
	_, err := control.Resume(ctx, a.Redis, in.MchID, ledger.Deed{By: callerOf(ctx).By(), Reason: in.Body.Reason, Token: ledger.NewToken()})
	return a.controlled(ctx, in.MchID, err)
}

// knows returns the problem of a merchant that has no ledger and no worker: a mistyped number
// must not look as if the merchant were paused, or had no webhooks that wait.
func (a *API) knows(ctx context.Context, mchid string) error {
	known, err := ledger.New(a.Redis, mchid).Known(ctx)
	if err == nil && !known {
		err = refuse(http.StatusNotFound, "mchid", "is %s, and this Redis has no order and no worker of that merchant: check the number; GET /v1/merchants lists them", mchid)
	}
	return err
}

// controlled answers a change of a merchant with the merchant.
func (a *API) controlled(ctx context.Context, mchid string, err error) (*reply[MerchantView], error) {
	if err != nil {
		return nil, err
	}
	return replied(a.merchant(ctx, mchid))
}
