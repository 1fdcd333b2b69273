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
	"payscore-collector/internal/intake"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/status"
	"payscore-collector/tasks"
)

// waitFlag is --wait or --wait=TIMEOUT.
type waitFlag struct {
	on    bool
	limit time.Duration // 0: none
}

// Decode reads a value only behind an equals sign: the next argument is an order
// number.
func (w *waitFlag) Decode(ctx *kong.DecodeContext) error {
	w.on = true
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		return nil
	}
	value := ctx.Scan.Pop().String()
	var err error
	if w.limit, err = time.ParseDuration(value); err != nil || w.limit <= 0 {
		return fmt.Errorf("%q is not a time-out: write a number with a unit, such as --wait=30s or --wait=5m", value)
	}
	return nil
}

// IsBool tells kong that the flag can stand alone.
func (w *waitFlag) IsBool() bool { return true }

const (
	// Orders are read often at first, because an order that pays at once does so
	// within a second.
	firstRead = 200 * time.Millisecond
	laterRead = time.Second
	readTime  = 5 * time.Second // for one read
	// outageEvery is the time between two lines that say that Redis fails.
	outageEvery = 30 * time.Second
	// whyAfter is how long orders are waited for before it is said why they do not
	// end; whyEvery is the time between two searches for a reason. A due time within
	// whyLeast is no reason, since orders are paid that way.
	whyAfter = time.Second
	whyEvery = 10 * time.Second
	whyLeast = 30 * time.Second
)

// waiter waits for orders to end.
type waiter struct {
	r     *reporter
	limit time.Duration // 0: none
	get   func(context.Context, tasks.Payload) (ledger.Order, error)
	// situation is why a merchant's orders are not collected.
	situation func(ctx context.Context, mchid string) (explain.Situation, error)

	outageTold time.Time
	whyTold    map[string]bool // by order, cause and time
}

func newWaiter(r *reporter, limit time.Duration, client redis.UniversalClient) waiter {
	return waiter{
		r: r, limit: limit, whyTold: map[string]bool{},
		get: func(ctx context.Context, pl tasks.Payload) (ledger.Order, error) {
			return ledger.New(client, pl.MchID).Get(ctx, pl.OutOrderNo)
		},
		situation: func(ctx context.Context, mchid string) (explain.Situation, error) {
			return status.Read(ctx, client, ledger.New(client, mchid), status.FullMemory(ctx, client))
		},
	}
}

// ending is how an order ended, as JSON. The names are part of the interface.
type ending struct {
	MchID      string      `json:"mchid"`
	OutOrderNo string      `json:"out_order_no"`
	State      tasks.State `json:"state"`
	Reason     string      `json:"reason,omitempty"`
}

// run prints how each order ended, when it has. It reports whether all have, and says
// which have not. An outage of Redis only prolongs the wait.
func (w *waiter) run(ctx context.Context, open []tasks.Payload) bool {
	if w.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.limit)
		defer cancel()
	}
	gone := false
	why := time.Now().Add(whyAfter)
	for pause := firstRead; ; pause = min(pause*5/4, laterRead) {
		var still []tasks.Payload
		var waiting []ledger.Order
		for _, pl := range open {
			o, err := w.read(ctx, pl)
			switch {
			case errors.Is(err, ledger.ErrNotFound):
				gone = true
				w.r.say("%s: %v any more", pl.OutOrderNo, err)
			case err != nil:
				still = append(still, pl)
			case o.State.Open():
				still = append(still, pl)
				waiting = append(waiting, o)
			default:
				w.ended(o)
			}
		}
		if open = still; len(open) == 0 {
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

// read reads an order, and says every outageEvery that Redis fails.
func (w *waiter) read(ctx context.Context, pl tasks.Payload) (ledger.Order, error) {
	get, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	o, err := w.get(get, pl)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) && ctx.Err() == nil && time.Since(w.outageTold) >= outageEvery {
		w.outageTold = time.Now()
		if r := intake.Refusal(err); r != nil {
			w.r.say("%s; still waiting", r.Advice())
		} else {
			w.r.say("Redis fails (%v); still waiting", err)
		}
	}
	return o, err
}

func (w *waiter) ended(o ledger.Order) {
	if w.r.asJSON {
		w.r.json(ending{o.MchID, o.OutOrderNo, o.State, o.Reason})
	} else {
		w.r.line("%s", strings.TrimSpace(o.OutOrderNo+" "+string(o.State)+" "+strings.ReplaceAll(o.Reason, "\n", "; ")))
	}
	w.r.flush()
}

// tellWhy says what keeps each order from being collected, and until when, unless it
// has said so before. A situation that cannot be read is left to the next search.
func (w *waiter) tellWhy(ctx context.Context, orders []ledger.Order) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	situations := map[string]explain.Situation{}
	waiting := map[string][]string{} // the orders that wait, by why
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
			id := fmt.Sprint(o.MchID, " ", o.OutOrderNo, " ", c.Code)
			if c.Code == explain.NotDue || c.Code == explain.OutsideWindow {
				id += fmt.Sprint(" ", c.Until.Unix())
			}
			if w.whyTold[id] || c.Code == explain.NotDue && c.Until.Sub(s.Holds.Now) < whyLeast {
				continue
			}
			w.whyTold[id] = true
			if waiting[c.Words] == nil {
				list = append(list, c.Words)
			}
			waiting[c.Words] = append(waiting[c.Words], o.OutOrderNo)
		}
	}
	const most = 5
	for _, words := range list {
		nos, more := waiting[words], ""
		if n := len(nos) - most; n > 0 {
			nos, more = nos[:most], fmt.Sprintf(" and %d more", n)
		}
		w.r.say("still waiting for %s%s: %s", strings.Join(nos, ", "), more, words)
	}
}

func (w *waiter) giveUp(why error, open []tasks.Payload) {
	nos := make([]string, len(open))
	for i, pl := range open {
		nos[i] = pl.OutOrderNo
	}
	what := "interrupted"
	if errors.Is(why, context.DeadlineExceeded) {
		what = fmt.Sprintf("timed out after %v", w.limit)
	}
	w.r.say("%s; still open: %s (their collection continues)", what, strings.Join(nos, ", "))
}
