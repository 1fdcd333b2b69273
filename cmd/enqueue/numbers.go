package main

import (
	"context"
	"errors"
	"slices"

	"github.com/alecthomas/kong"

	"payscore-collector/tasks"
)

// numbers are the order numbers of a command line.
type numbers []string

// Decode takes the arguments up to the next flag, and all that stand behind --.
// By itself kong would find the latter to be more than there can be, but where
// no other number or flag comes before them.
func (n *numbers) Decode(ctx *kong.DecodeContext) error {
	take := func(tokens []kong.Token) {
		for _, t := range tokens {
			*n = append(*n, t.String())
		}
	}
	take(ctx.Scan.PopWhile(kong.Token.IsValue))
	flags := ctx.Scan.PopUntil(func(t kong.Token) bool { return t.IsEOL() || t.Type == kong.UntypedToken && t.Value == "--" })
	ctx.Scan.Pop()
	take(ctx.Scan.PopUntil(kong.Token.IsEOL))
	for _, t := range slices.Backward(flags) { // they are for kong
		ctx.Scan.PushToken(t)
	}
	return nil
}

// unreachable reports orders of a command line whose Redis could not be used,
// and returns the exit status.
func (r *reporter) unreachable(items []item, err error) int {
	for _, it := range items {
		r.result(it, tasks.Result{Status: tasks.Failed, Err: errors.New("cannot use Redis")})
	}
	r.flush()
	return r.p.complain(exitFailed, err)
}

// handOverAll hands the orders of a command line to a sender, and reports each;
// also is told of each, too. It returns false where a signal cut it short.
func (r *reporter) handOverAll(ctx context.Context, to sender, items []item, also func(item, tasks.Result)) bool {
	h := handover{to: to, patience: r.p.patience, say: r.say, pause: r.flush}
	h.report = func(it item, res tasks.Result) {
		r.result(it, res)
		also(it, res)
	}
	h.run(ctx, slices.Values(items))
	if err := h.trouble(); err != nil {
		r.say("%v", err)
	} else if r.rows < int64(len(items)) {
		r.say("interrupted: run the same command again")
		return false
	}
	return true
}
