package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/eventstream"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/textsafe"
	"payscore-collector/tasks"
)

const (
	tagTrail    = "Trail"
	tagWebhooks = "Webhooks and readers"
)

// addStreams adds who reads the streams of events and of changes.
func (a *API) addStreams() {
	add(a, op{
		id: "list-actions", method: http.MethodGet, path: "/v1/audit", tag: tagTrail, role: config.Viewer,
		summary: "Read who has changed what", reply: `{"actions":[{"id":"1900000109-1767319200000-0","mchid":"1900000109","out_order_no":"BIKE-1001","at":"2026-01-02T02:00:00Z","by":"api:billing-php","action":"withdraw","reason":"paid at the counter"}],"next":"1767319200000-0-1900000109"}`,
		doc: "What people and programs have changed, newest first, through the API and the commands: `outcomes audit` prints the same. Kept for `RETENTION` and at least as long as the order. Entries stay where they are while others are added.",
	}, a.audit)
	add(a, op{
		id: "list-webhooks", method: http.MethodGet, path: "/v1/webhooks", tag: tagWebhooks, role: config.Viewer,
		summary: "List the orders whose webhooks wait", reply: `{"webhooks":[{"mchid":"1900000109","out_order_no":"BIKE-1001","events":1,"oldest_at":"2026-01-02T02:00:00Z","tries":3,"next_try_at":"2026-01-02T02:05:00Z","last_failure":{"at":"2026-01-02T02:01:00Z","http_status":500,"reason":"HTTP 500"}}]}`,
		doc: "Orders with final states that billing's receiver has not accepted, by merchant and the time of the oldest one, with the last failure. `outcomes webhooks` prints the same.",
	}, a.webhooks)
	add(a, op{
		id: "retry-webhooks", method: http.MethodPost, path: "/v1/webhooks/retry", tag: tagWebhooks, role: config.Operator,
		summary: "Deliver waiting webhooks now", send: `{"mchid":"1900000109","out_order_nos":["BIKE-1001"]}`, reply: `{"mchid":"1900000109","retried":1}`,
		refusals: map[int]string{http.StatusNotFound: noMerchant},
		doc:      "Makes the webhooks of some orders due at once; without `out_order_nos`, those of all orders that wait. `not_waiting` names the orders for which billing has accepted everything.",
		again:    "It can be sent again without harm: a delivery that is under way is not begun again.",
	}, a.retryWebhooks)
	add(a, op{
		id: "replay-webhooks", method: http.MethodPost, path: "/v1/webhooks/replay", tag: tagWebhooks, role: config.Operator,
		summary: "Deliver the webhooks since a time again", send: `{"mchid":"1900000109","since":"2026-01-02T00:00:00Z"}`, reply: `{"mchid":"1900000109","since":"2026-01-02T00:00:00Z","first_event_at":"2026-01-02T01:00:00Z","last_event_at":"2026-01-02T02:00:00Z"}`,
		refusals: map[int]string{http.StatusConflict: "Webhooks have never run for the merchant."},
		doc:      "Delivers the final states since a time to billing once more, as far as Redis still has them, with the ids that they had, so that a receiver which has kept some ignores those. New ones follow.",
		again:    "It can be sent again without harm: it begins the replay again, and the receiver knows the ids.",
	}, a.replayWebhooks)
	add(a, op{
		id: "list-readers", method: http.MethodGet, path: "/v1/readers", tag: tagWebhooks, role: config.Viewer,
		summary: "List the readers of events", reply: `{"readers":[{"mchid":"1900000109","group":"billing","lag":0,"pending":2,"oldest_pending_at":"2026-01-02T02:00:00Z","oldest_at":"2026-01-02T02:00:00Z","members":1,"last_seen_at":"2026-01-02T02:00:01Z"}]}`,
		doc: "Every reader that keeps its place in Redis (`outcomes follow`, `outcomes sink`, the webhooks), and how far it is. Events that a reader has not read stay in Redis. Callers of `/v1/events` keep their own place and are not among them. `outcomes readers` prints the same.",
	}, a.readers)
	add(a, op{
		id: "destroy-reader", method: http.MethodDelete, path: "/v1/readers/{mchid}/{group}", tag: tagWebhooks, role: config.Operator,
		summary: "Forget a reader that is no longer used", reply: `{"mchid":"1900000109","group":"old-dashboard","pending":0,"oldest_at":"2026-01-02T02:00:00Z","members":0}`,
		refusals: map[int]string{http.StatusNotFound: "There is no such reader; perhaps it was destroyed already.", http.StatusConflict: "The reader is running: stop it first."},
		doc:      "Forgets a reader's place, so that events which only it has not read can leave Redis. A reader of the same name that starts later begins with the oldest event. The answer says where it stood.",
		again:    "It can be sent again without harm: a reader that is gone is answered with 404.",
	}, a.destroyReader)
}

// ledgers returns those of the merchants that a request is about.
func (a *API) ledgers(ctx context.Context, named string) ([]*ledger.Ledger, error) {
	mchids, err := a.mchids(ctx, named)
	list := make([]*ledger.Ledger, len(mchids))
	for i, mchid := range mchids {
		list[i] = ledger.New(a.Redis, mchid)
	}
	return list, err
}

// pagingInput is what the lists of a merchant's things take.
type pagingInput struct {
	MchID  string `query:"mchid" doc:"Only this merchant; without it, every merchant of the token." example:"1900000109"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Entries in a page at most."`
	Cursor string `query:"cursor" doc:"next of the page before, for the same merchants."`
}

// ActionPage is a page of the trail.
type ActionPage struct {
	Actions []ledger.Audited `json:"actions" doc:"What was done, newest first."`
	Next    string           `json:"next,omitempty" doc:"The cursor of the next page; absent after the last one."`
}

func (a *API) audit(ctx context.Context, in *pagingInput) (*reply[ActionPage], error) {
	ledgers, err := a.ledgers(ctx, in.MchID)
	if err != nil {
		return nil, err
	}
	list, next, err := ledger.Audit(ctx, ledgers, in.Limit, in.Cursor)
	return replied(ActionPage{append([]ledger.Audited{}, list...), next}, err)
}

// WebhookPage is a page of orders whose webhooks wait.
type WebhookPage struct {
	Webhooks []ledger.HookWait `json:"webhooks" doc:"The orders."`
	Next     string            `json:"next,omitempty" doc:"The cursor of the next page; absent after the last one."`
}

func (a *API) webhooks(ctx context.Context, in *pagingInput) (*reply[WebhookPage], error) {
	ledgers, err := a.ledgers(ctx, in.MchID)
	if err != nil {
		return nil, err
	}
	at, cursor, ok := strings.Cut(in.Cursor, ":") // the merchant, and where its page begins
	if in.Cursor != "" && (!ok || tasks.ValidateMchID(at) != nil) {
		return nil, badCursor()
	}
	page := WebhookPage{Webhooks: []ledger.HookWait{}}
	for _, l := range ledgers {
		if l.MchID() < at {
			continue
		}
		if l.MchID() > at {
			cursor = ""
		}
		if len(page.Webhooks) == in.Limit {
			page.Next = l.MchID() + ":"
			break
		}
		list, next, err := l.HookWaits(ctx, cursor, in.Limit-len(page.Webhooks))
		if err != nil {
			return nil, err
		}
		page.Webhooks = append(page.Webhooks, list...)
		if next != "" {
			page.Next = l.MchID() + ":" + next
			break
		}
	}
	return replied(page, nil)
}

// merchantNamed checks the merchant that a body names.
func merchantNamed(ctx context.Context, mchid string) error {
	if mchid == "" {
		return refuse(http.StatusUnprocessableEntity, "mchid", "is missing: write whose webhooks")
	}
	if err := tasks.ValidateMchID(mchid); err != nil {
		return Invalid(err)
	}
	return callerOf(ctx).may(mchid)
}

type retryInput struct {
	Body struct {
		MchID       string   `json:"mchid" doc:"Merchant number." example:"1900000109"`
		OutOrderNos []string `json:"out_order_nos,omitempty" maxItems:"1000" doc:"The orders; without them, every order whose webhooks wait."`
		_           struct{} `additionalProperties:"false"`
	}
}

func (a *API) retryWebhooks(ctx context.Context, in *retryInput) (*reply[ledger.HookRetry], error) {
	if err := merchantNamed(ctx, in.Body.MchID); err != nil {
		return nil, err
	}
	nos := in.Body.OutOrderNos
	if nos != nil && len(nos) == 0 || len(nos) > 1000 {
		return nil, refuse(http.StatusUnprocessableEntity, "out_order_nos", "has %d numbers: name 1 to 1000, or leave it out for every order that waits", len(nos))
	}
	for _, no := range nos {
		if err := tasks.ValidateOutOrderNo(no); err != nil && !ledger.ValidHook(no) {
			return nil, refuse(http.StatusUnprocessableEntity, "out_order_nos", "has a number that %s", strings.TrimPrefix(err.Error(), "out_order_no "))
		}
	}
	if err := a.knows(ctx, in.Body.MchID); err != nil {
		return nil, err
	}
	return replied(ledger.New(a.Redis, in.Body.MchID).RetryHooks(ctx, ledger.Deed{By: callerOf(ctx).By()}, nos))
}

type replayInput struct {
	Body struct {
		MchID string   `json:"mchid" doc:"Merchant number." example:"1900000109"`
		Since string   `json:"since" format:"date-time" doc:"The time of the first event that billing must get again."`
		_     struct{} `additionalProperties:"false"`
	}
}

func (a *API) replayWebhooks(ctx context.Context, in *replayInput) (*reply[ledger.HookReplay], error) {
	if err := merchantNamed(ctx, in.Body.MchID); err != nil {
		return nil, err
	}
	since, err := timeOf("since", in.Body.Since)
	switch {
	case err != nil:
		return nil, err
	case since.IsZero():
		return nil, refuse(http.StatusUnprocessableEntity, "since", "is missing: write the time of the first event that billing must get again")
	case since.After(time.Now().Add(time.Minute)):
		return nil, refuse(http.StatusUnprocessableEntity, "since", "lies in the future: write the time of the first event that billing must get again")
	}
	done, err := ledger.New(a.Redis, in.Body.MchID).ReplayHooks(ctx, ledger.Deed{By: callerOf(ctx).By()}, since, false)
	if errors.Is(err, ledger.ErrNoHooks) {
		return nil, newProblem(http.StatusConflict, "mchid is "+in.Body.MchID+", for which webhooks have never run: start a worker with BILLING_WEBHOOK_URL first")
	}
	return replied(done, err)
}

// ReaderList is the readers of events.
type ReaderList struct {
	Readers []eventstream.Standing `json:"readers" doc:"The readers, by merchant and name."`
}

func (a *API) readers(ctx context.Context, in *merchantInput) (*reply[ReaderList], error) {
	ledgers, err := a.ledgers(ctx, in.MchID)
	if err != nil {
		return nil, err
	}
	list := []eventstream.Standing{}
	for _, l := range ledgers {
		readers, err := eventstream.Readers(ctx, a.Redis, l)
		if err != nil {
			return nil, err
		}
		list = append(list, readers...)
	}
	return replied(ReaderList{list}, nil)
}

type readerInput struct {
	MchID  string `path:"mchid" doc:"Merchant number." example:"1900000109"`
	Group  string `path:"group" doc:"The reader's name; webhooks switches them off for good." example:"old-dashboard"`
	Reason string `query:"reason" doc:"Why, in your own words, for those who ask later."`
}

func (a *API) destroyReader(ctx context.Context, in *readerInput) (*reply[eventstream.Standing], error) {
	if in.Reason != "" {
		if err := tasks.ValidateReason(in.Reason); err != nil {
			return nil, Invalid(err)
		}
	}
	gone, err := eventstream.Destroy(ctx, a.Redis, ledger.New(a.Redis, in.MchID), in.Group, ledger.Deed{By: callerOf(ctx).By(), Reason: in.Reason})
	switch {
	case errors.Is(err, eventstream.ErrReading):
		return nil, newProblem(http.StatusConflict, textsafe.Clip(err.Error(), 300))
	case errors.Is(err, eventstream.ErrNoReader):
		return nil, newProblem(http.StatusNotFound, "group is "+clip(in.Group)+", and merchant "+in.MchID+" has no such reader: GET /v1/readers lists them")
	}
	return replied(gone, err)
}
