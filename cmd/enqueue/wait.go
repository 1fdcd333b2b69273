package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"payscore-collector/internal/ledger"
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
)

// waiter waits for orders to end.
type waiter struct {
	r     *reporter
	limit time.Duration // 0: none
	get   func(context.Context, tasks.Payload) (ledger.Order, error)
	said  time.Time // when it last complained
}

// ending is how an order ended, as JSON. The names are part of the interface.
type ending struct {
	MchID      string      `json:"mchid"`
	OutOrderNo string      `json:"out_order_no"`
	State      tasks.State `json:"state"`
	Reason     string      `json:"reason,omitempty"`
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
	for pause := firstLook; ; pause = min(pause*5/4, laterLook) {
		var still []tasks.Payload
		for _, pl := range open {
			ended, err := w.look(ctx, pl)
			switch {
			case errors.Is(err, ledger.ErrNotFound):
				gone = true
				w.r.say("%s: %v any more", pl.OutOrderNo, err)
			case !ended:
				still = append(still, pl)
			}
		}
		open = still
		if len(open) == 0 {
			return !gone
		}
		select {
		case <-ctx.Done():
			w.giveUp(ctx.Err(), open)
			return false
		case <-time.After(pause):
		}
	}
}

func (w *waiter) look(ctx context.Context, pl tasks.Payload) (ended bool, err error) {
	if ctx.Err() != nil {
		return false, nil
	}
	get, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	o, err := w.get(get, pl)
	if err != nil {
		if !errors.Is(err, ledger.ErrNotFound) && ctx.Err() == nil && time.Since(w.said) >= sayEvery {
			w.said = time.Now()
			if r := refusal(err); r != nil {
				w.r.say("%s; still waiting", r.Advice())
			} else {
				w.r.say("Redis fails (%v); still waiting", err)
			}
		}
		return false, err
	}
	if o.State.Open() {
		return false, nil
	}
	if w.r.asJSON {
		w.r.json(ending{o.MchID, o.OutOrderNo, o.State, o.Reason})
	} else {
		w.r.line("%s", strings.TrimSpace(o.OutOrderNo+" "+string(o.State)+" "+strings.ReplaceAll(o.Reason, "\n", "; ")))
	}
	w.r.flush()
	return true, nil
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
