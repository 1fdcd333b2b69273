package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"payscore-collector/internal/config"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

type getCommand struct {
	No   string `arg:"" name:"no" help:"The order's out_order_no; behind -- where it begins with a dash."`
	JSON bool   `name:"json" help:"One JSON object with the log of calls; amounts in fen."`
}

func (g *getCommand) judge(c *config.Collector) {
	judgeField(c, "out_order_no", tasks.ValidateOutOrderNo(g.No))
}

// judgeField reports what is wrong with the value of an argument.
func judgeField(c *config.Collector, name string, wrong error) {
	if field, ok := errors.AsType[*tasks.FieldError](wrong); ok {
		c.Problem(name, "%s", field.Problem)
	}
}

func (g *getCommand) run(ctx context.Context, s *session) error {
	found, err := g.find(ctx, s)
	if err != nil {
		return err
	}
	l, o := found.Ledger, found.Order
	if g.JSON {
		return writeJSON(s.out, o)
	}
	situations, err := s.situations(ctx, l)
	if err != nil {
		return err
	}
	hooks, err := l.HookWaitOf(ctx, o.OutOrderNo)
	if err != nil {
		return fmt.Errorf("read the webhooks of order %s: %w", o.OutOrderNo, err)
	}
	return tell(s.out, s.teller(situations), o, situations[0], hooks)
}

// tell writes an order for people: its alarms, what is known of it, then its story.
func tell(w io.Writer, t explain.Teller, o ledger.Order, s explain.Situation, hooks ledger.HookWait) error {
	alarms := t.Alarms(o)
	if text := t.ScheduleUnknown(o, s); text != "" {
		alarms = append(alarms, text)
	}
	for _, text := range alarms {
		fmt.Fprintf(w, "!! %s\n\n", text)
	}
	var facts, story grid
	for _, f := range t.Facts(o, s, hooks) {
		facts.add(f.Name, f.Words)
	}
	facts.add() // an empty line
	if err := facts.write(w); err != nil {
		return err
	}
	story.add(t.StoryHeads()...)
	for _, m := range t.Story(o) {
		at, age := "-", ""
		if !m.At.IsZero() {
			at, age = t.At(m.At), t.Age(m.At)
		}
		story.add(at, age, m.What, m.Words, m.Codes, m.RequestID)
	}
	return story.write(w)
}

// find returns the only ledger in question that has the order.
func (g *getCommand) find(ctx context.Context, s *session) (ledger.Found, error) {
	ledgers, err := s.ledgers(ctx)
	if err != nil {
		return ledger.Found{}, err
	}
	found, err := ledger.Find(ctx, ledgers, g.No)
	switch {
	case err != nil:
		return ledger.Found{}, err
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		var in []*ledger.Ledger
		for _, f := range found {
			in = append(in, f.Ledger)
		}
		return ledger.Found{}, &statusError{config.ExitUsage, fmt.Sprintf(
			"order %s is in the ledgers of merchants %s: say which with --mchid", g.No, mchids(in))}
	case s.mchid != "":
		return ledger.Found{}, &statusError{exitNoOrder, fmt.Sprintf(
			"there is no order %s in the ledger of merchant %s", g.No, s.mchid)}
	default:
		return ledger.Found{}, &statusError{exitNoOrder, fmt.Sprintf(
			"there is no order %s in any ledger of this Redis (merchants: %s)", g.No, orNone(mchids(ledgers)))}
	}
}

func mchids(ledgers []*ledger.Ledger) string { return strings.Join(merchantsOf(ledgers), ", ") }

func orNone(s string) string { return cmp.Or(s, "none") }

// writeJSON writes v in one line, with & and < as they are.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
