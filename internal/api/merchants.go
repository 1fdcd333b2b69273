package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sync/errgroup"

	"payscore-collector/internal/config"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/status"
	"payscore-collector/tasks"
)

const tagMerchants = "Merchants"

func (a *API) addMerchants() {
	add(a, op{
		id: "get-stats", method: http.MethodGet, path: "/v1/stats", tag: tagMerchants, role: config.Viewer,
		summary: "Count orders", reply: `{"1900000109":{"queued":1,"awaiting":2,"paid":40,"closed":0,"rejected":1,"withdrawn":0,"exhausted":0,"paid_amount":52000}}`,
		doc: "How many orders of each merchant are in each state, and what the paid ones have paid. The same as `outcomes stats --json`. The counters are kept, so that reading them costs the same whatever the number of orders.",
	}, a.stats)
	add(a, op{
		id: "list-merchants", method: http.MethodGet, path: "/v1/merchants", tag: tagMerchants, role: config.Viewer,
		summary: "Read what slows or stops merchants", reply: "[" + exampleMerchant + "]",
		doc: "Every merchant that has a ledger, by number: whether WeChat Pay's refusals hold its calls, the rate, the collection window, what is due, and how many workers live.",
	}, a.merchants)
}

type merchantInput struct {
	MchID string `query:"mchid" doc:"Only this merchant; without it, every merchant of the token." example:"1900000109"`
}

// StatsView is ledger.Stats, with a schema.
type StatsView struct{ ledger.Stats }

// Schema implements huma.SchemaProvider.
func (StatsView) Schema(huma.Registry) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeObject, Properties: map[string]*huma.Schema{}, AdditionalProperties: true}
	count := func(name, doc string) {
		s.Properties[name] = &huma.Schema{Type: huma.TypeInteger, Format: "int64", Description: doc}
		s.Required = append(s.Required, name)
	}
	for _, state := range tasks.States {
		count(string(state), "Orders that are "+string(state)+".")
	}
	count("paid_amount", "What the paid orders have paid, in fen.")
	return s
}

func (a *API) stats(ctx context.Context, in *merchantInput) (*reply[map[string]StatsView], error) {
	mchids, err := a.mchids(ctx, in.MchID)
	if err != nil {
		return nil, err
	}
	all := make(map[string]StatsView, len(mchids))
	for _, mchid := range mchids {
		s, err := ledger.New(a.Redis, mchid).Stats(ctx)
		if err != nil {
			return nil, err
		}
		all[mchid] = StatsView{s}
	}
	return replied(all, nil)
}

// MerchantView is what slows or stops the calls of a merchant.
type MerchantView struct {
	MchID            string        `json:"mchid" doc:"Merchant number." example:"1900000109"`
	Hold             HoldView      `json:"hold" doc:"What stops all calls of the merchant, except probes."`
	ServicesHeld     []ServiceHold `json:"services_held" doc:"Services whose calls are stopped on their own."`
	Paused           *PauseView    `json:"paused" doc:"Who has paused collecting, and why; null where it is not paused."`
	Rate             RateView      `json:"rate" doc:"The rate of calls, over all workers."`
	Window           WindowView    `json:"window" doc:"The collection window."`
	DueNow           int64         `json:"due_now" doc:"Orders whose next step is due." example:"12"`
	OldestDueSeconds int64         `json:"oldest_due_seconds" doc:"For how long the first of them has been due." example:"3"`
	Workers          int           `json:"workers" doc:"Worker processes that live." example:"2"`
}

// HoldView is the hold of a merchant.
type HoldView struct {
	State     string    `json:"state" enum:"none,fault,down,throttled" doc:"none; fault: WeChat Pay refuses every call; down: it does not answer properly; throttled: it throttles every call."`
	Since     time.Time `json:"since,omitzero" doc:"Since when."`
	Detail    string    `json:"detail,omitempty" doc:"Why, in words."`
	NextProbe time.Time `json:"next_probe,omitzero" doc:"The earliest time of the next call that tests whether the cause is gone."`
}

// ServiceHold is the hold of one appid and service_id.
type ServiceHold struct {
	AppID     string    `json:"appid" doc:"The application."`
	ServiceID string    `json:"service_id" doc:"The PayScore service."`
	Since     time.Time `json:"since,omitzero" doc:"Since when."`
	NextProbe time.Time `json:"next_probe,omitzero" doc:"The earliest time of the next probe."`
}

// PauseView is a pause that a person has made.
type PauseView struct {
	Reason string    `json:"reason" doc:"Why, in their words."`
	By     string    `json:"by" doc:"Who: api:NAME, console:NAME or cli:USER."`
	Since  time.Time `json:"since" doc:"Since when."`
	Until  time.Time `json:"until,omitzero" doc:"When it ends by itself; absent where it does not."`
}

// RateView is a merchant's rate.
type RateView struct {
	Limit float64 `json:"limit" doc:"Calls a second by COLLECT_RATE; 0 while no worker has reported." example:"50"`
	Now   float64 `json:"now" doc:"Calls a second now: less while WeChat Pay throttles." example:"50"`
}

// WindowView is a merchant's collection window.
type WindowView struct {
	Open      bool      `json:"open" doc:"Whether collect calls are made now. Queries are made at any time."`
	ChangesAt time.Time `json:"changes_at,omitzero" doc:"When that changes; absent where it does not, or is not known."`
}

func (a *API) merchants(ctx context.Context, in *merchantInput) (*reply[[]MerchantView], error) {
	mchids, err := a.mchids(ctx, in.MchID)
	if err != nil {
		return nil, err
	}
	if in.MchID != "" {
		known, err := ledger.New(a.Redis, in.MchID).Known(ctx)
		if err != nil {
			return nil, err
		}
		if !known {
			mchids = nil
		}
	}
	list := make([]MerchantView, len(mchids))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i, mchid := range mchids {
		g.Go(func() (err error) {
			list[i], err = a.merchant(gctx, mchid)
			return err
		})
	}
	return replied(list, g.Wait())
}

func (a *API) merchant(ctx context.Context, mchid string) (MerchantView, error) {
	s, err := status.Read(ctx, a.Redis, ledger.New(a.Redis, mchid), explain.Memory{})
	if err != nil {
		return MerchantView{}, err
	}
	return a.Merchant(ctx, s)
}

// Merchant returns what slows or stops the merchant of a situation.
func (a *API) Merchant(ctx context.Context, s explain.Situation) (MerchantView, error) {
	mchid, l := s.MchID, ledger.New(a.Redis, s.MchID)
	now := s.Holds.Now
	due, err := a.Redis.ZCount(ctx, ledger.KeysOf(mchid).Due(), "-inf", strconv.FormatInt(now.UnixMilli(), 10)).Result()
	if err != nil {
		return MerchantView{}, err
	}
	lag, err := l.Lag(ctx)
	if err != nil {
		return MerchantView{}, err
	}
	m := MerchantView{
		MchID: mchid, Hold: HoldView{State: "none"}, ServicesHeld: []ServiceHold{},
		Rate: RateView{Limit: s.Rate, Now: s.Rate * s.Holds.Share}, Window: WindowView{Open: true},
		DueNow: due, OldestDueSeconds: int64(lag / time.Second), Workers: s.Workers,
	}
	if h := s.Holds.Merchant; h.Kind != ledger.HoldNone {
		m.Hold = HoldView{State: string(h.Kind), Since: h.Since.UTC(), NextProbe: h.NextProbe.UTC()}
		for _, c := range teller("", s).Why(s) {
			if c.Code == explain.Code(fmt.Sprintf("hold_%s", h.Kind)) {
				m.Hold.Detail = c.Words
			}
		}
	}
	if p := s.Holds.Pause; p != nil {
		m.Paused = &PauseView{Reason: p.Reason, By: p.By, Since: p.Since, Until: p.Until}
	}
	for _, h := range s.Holds.Services {
		m.ServicesHeld = append(m.ServicesHeld, ServiceHold{h.AppID, h.ServiceID, h.Since.UTC(), h.NextProbe.UTC()})
	}
	if s.Window.Location != nil && !s.Window.Always {
		m.Window.Open = s.Window.Contains(now)
		m.Window.ChangesAt = s.Window.Changes(now).UTC()
	}
	return m, nil
}
