package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/status"
	"payscore-collector/tasks"
)

// waitFlag is --wait or --wait=TIMEOUT.
type waitFlag struct {
	on    bool
	limit time.Duration // 0: none
}

// Decode reads a value only where it stands behind an equals sign: the next
// argument is an order number.
func (w *waitFlag) Decode(ctx *kong.DecodeContext) error {
	w.on = true
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		return nil
	}
	value := ctx.Scan.Pop().String()
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 {
		return fmt.Errorf("%q is not a time-out: write a number with a unit, such as --wait=30s or --wait=5m", value)
	}
	w.limit = d
	return nil
}

// IsBool tells kong that the flag can stand alone.
func (w *waitFlag) IsBool() bool { return true }

// How often an order is looked at: often at first, because an order that pays
// at once does so within a second.
const (
	firstLook = 200 * time.Millisecond
	laterLook = time.Second
	// lookTime is for one look; sayEvery is between complaints about looks
	// that fail.
	lookTime = 5 * time.Second
	sayEvery = 30 * time.Second
	// whyAfter is how long orders are waited for before it is said why they do not
	// end; whyEvery is between further looks for a reason. A due time that is less
	// than whyLeast away is how work goes.
	whyAfter = time.Second
	whyEvery = 10 * time.Second
	whyLeast = 30 * time.Second
)

// waiter waits for orders to end.
type waiter struct {
	r     *reporter
	limit time.Duration // 0: none
	get   func(context.Context, tasks.Payload) (ledger.Order, error)
	// situation is why a merchant's orders are not collected; nil: it is not told.
	situation func(ctx context.Context, mchid string) (explain.Situation, error)

	said time.Time // when it last complained
	told map[waitReason]bool
}

// waitReason is why an order does not end yet: each is told once.
type waitReason struct {
	pl    tasks.Payload
	code  explain.Code
	until int64 // Unix seconds of when a due time or a window comes
}

// ending is how an order ended, as JSON. The names are part of the interface.
type ending struct {
	MchID      string      `json:"mchid"`
	OutOrderNo string      `json:"out_order_no"`
	State      tasks.State `json:"state"`
	Reason     string      `json:"reason,omitempty"`
}

// situationIn reads merchants' situations from Redis.
func situationIn(client redis.UniversalClient) func(context.Context, string) (explain.Situation, error) {
	return func(ctx context.Context, mchid string) (explain.Situation, error) {
		return status.Read(ctx, client, ledger.New(client, mchid), status.FullMemory(ctx, client))
	}
}

// run prints how each order ended, when it has. It reports whether all have,
// and says which have not. A Redis that is away only prolongs the waiting.
func (w *waiter) run(ctx context.Context, orders []tasks.Payload) bool {
	if w.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.limit)
		defer cancel()
	}
	open, gone := unique(orders), false
	why := time.Now().Add(whyAfter)
	for pause := firstLook; ; pause = min(pause*5/4, laterLook) {
		var still []tasks.Payload
		var waiting []ledger.Order
		for _, pl := range open {
			o, ended, err := w.look(ctx, pl)
			switch {
			case errors.Is(err, ledger.ErrNotFound):
				gone = true
				w.r.say("%s: %v any more", pl.OutOrderNo, err)
			case !ended:
				still = append(still, pl)
				if err == nil {
					waiting = append(waiting, o)
				}
			}
		}
		open = still
		if len(open) == 0 {
			return !gone
		}
		if time.Now().After(why) {
			w.tellWhy(ctx, waiting)
			why = time.Now().Add(whyEvery)
		}
		select {
		case <-ctx.Done():
			w.giveUp(ctx.Err(), open)
			return false
		case <-time.After(pause):
		}
	}
}

func (w *waiter) look(ctx context.Context, pl tasks.Payload) (o ledger.Order, ended bool, err error) {
	if ctx.Err() != nil {
		return o, false, nil
	}
	get, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	o, err = w.get(get, pl)
	if err != nil {
		if !errors.Is(err, ledger.ErrNotFound) && ctx.Err() == nil && time.Since(w.said) >= sayEvery {
			w.said = time.Now()
			if r := refusal(err); r != nil {
				w.r.say("%s; still waiting", r.Advice())
			} else {
				w.r.say("Redis fails (%v); still waiting", err)
			}
		}
		return o, false, err
	}
	if o.State.Open() {
		return o, false, nil
	}
	if w.r.asJSON {
		w.r.json(ending{o.MchID, o.OutOrderNo, o.State, o.Reason})
	} else {
		w.r.line("%s", strings.TrimSpace(o.OutOrderNo+" "+string(o.State)+" "+strings.ReplaceAll(o.Reason, "\n", "; ")))
	}
	w.r.flush()
	return o, true, nil
}

// tellWhy says of each order what keeps it from being collected, and when that begins,
// as far as it was not said before. A look that fails is left to the next one.
func (w *waiter) tellWhy(ctx context.Context, orders []ledger.Order) {
	if w.situation == nil || ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	situations := map[string]explain.Situation{}
	said := map[string][]string{} // the orders that wait, by why
	var list []string
	for _, o := range orders {
		s, ok := situations[o.MchID]
		if !ok {
			var err error
			if s, err = w.situation(ctx, o.MchID); err != nil {
				return
			}
			situations[o.MchID] = s
		}
		teller := explain.Teller{Now: s.Holds.Now, Zone: tasks.China}
		if s.Window.Location != nil {
			teller.Zone = s.Window.Location
		}
		for _, c := range teller.WhyOrder(s, o) {
			why := waitReason{pl: tasks.Payload{MchID: o.MchID, OutOrderNo: o.OutOrderNo}, code: c.Code}
			if c.Code == explain.NotDue || c.Code == explain.OutsideWindow {
				why.until = c.Until.Unix()
			}
			if w.told[why] || c.Code == explain.NotDue && c.Until.Sub(s.Holds.Now) < whyLeast {
				continue
			}
			if w.told == nil {
				w.told = map[waitReason]bool{}
			}
			w.told[why] = true
			if said[c.Words] == nil {
				list = append(list, c.Words)
			}
			said[c.Words] = append(said[c.Words], o.OutOrderNo)
		}
	}
	for _, words := range list {
		w.r.say("still waiting for %s: %s", someOf(said[words]), words)
	}
}

// someOf names orders, and of many a few.
func someOf(numbers []string) string {
	const most = 5
	if more := len(numbers) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(numbers[:most], ", "), more)
	}
	return strings.Join(numbers, ", ")
}

func (w *waiter) giveUp(why error, open []tasks.Payload) {
	names := make([]string, len(open))
	for i, pl := range open {
		names[i] = pl.OutOrderNo
	}
	after := "interrupted"
	if errors.Is(why, context.DeadlineExceeded) {
		after = fmt.Sprintf("the %v are over", w.limit)
	}
	w.r.say("%s, and still open: %s (they go on being collected)", after, strings.Join(names, ", "))
}

// unique drops orders that were named before.
func unique(orders []tasks.Payload) []tasks.Payload {
	seen := map[tasks.Payload]bool{}
	var list []tasks.Payload
	for _, pl := range orders {
		if !seen[pl] {
			seen[pl] = true
			list = append(list, pl)
		}
	}
	return list
}
