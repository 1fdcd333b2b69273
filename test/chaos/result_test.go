package chaos

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/tasks"
)

// The rows of breaches, in the order in which the table shows them. Each must be
// zero.
const (
	rowLost     = "orders lost"
	rowOpen     = "orders that did not end in time"
	rowWrong    = "orders wrongly ended"
	rowUnsigned = "paid or closed on unsigned word"
	rowAmounts  = "amounts that are not the platform's"
	rowPayments = "payments that differ from the platform's list"
	rowBooked   = "booked twice or missed by a receiver following the rule"
	rowAtOnce   = "called twice at once"
	rowAfterEnd = "called after their end"
	rowSoon     = "collected sooner than MIN_GAP"
	rowWindow   = "collected outside the window"
	rowPaused   = "collect calls granted during a pause"
	rowBlind    = "collected again without a look"
	rowRate     = "calls beyond the rate"
	rowAttempts = "attempts used up by a fault not the order's"
	rowTrail    = "deeds that the trail does not have once"
	rowEvents   = "orders whose events do not tell their story"
	rowStats    = "counters that are wrong"
	rowTrouble  = "workers in trouble, or the harness"
	rowFaults   = "faults too few"
)

var rows = []string{
	rowLost, rowOpen, rowWrong, rowUnsigned, rowAmounts, rowPayments, rowBooked, rowAtOnce, rowAfterEnd, rowSoon, rowWindow, rowPaused,
	rowBlind, rowRate, rowAttempts, rowTrail, rowEvents, rowStats, rowTrouble, rowFaults,
}

// result is what a run comes to.
type result struct {
	e           *env
	breaches    map[string][]string // by row, each in words
	beyond      map[string]*excused // by row and proven cause
	orders      map[string]ledger.Order
	recorded    map[string]ledger.Order // the same, with the times of Redis's clock
	truth       map[string]simulator.OrderReport
	calls       map[string][]simulator.Seen // by order, as they began
	ends        map[tasks.State]int
	fromEvents  books                   // what billing books from all events
	fromEnds    books                   // what it books from those that are sent as webhooks
	withdrawals map[string]ledger.Event // by order: the last one's
	most        int                     // calls in a second
	late        int                     // payments beside another end
	payments    int
	inParts     int // orders with more than one
	lowered     int // orders whose total was
	counters    int // of the recovery
	told        simulator.NotificationReport
}

// excused counts what no program can prevent.
type excused struct {
	times int
	most  time.Duration // the largest of them
}

func (res *result) excuse(row, cause string, size time.Duration) {
	x := res.beyond[row+": "+cause]
	if x == nil {
		x = &excused{}
		res.beyond[row+": "+cause] = x
	}
	x.times++
	x.most = max(x.most, size)
}

// judge compares the ledger with the platform.
func (e *env) judge() *result {
	res := &result{
		e: e, withdrawals: map[string]ledger.Event{}, breaches: map[string][]string{}, beyond: map[string]*excused{},
		orders: map[string]ledger.Order{}, recorded: map[string]ledger.Order{}, truth: map[string]simulator.OrderReport{}, calls: map[string][]simulator.Seen{}, ends: map[tasks.State]int{},
	}
	for _, c := range e.calls {
		if c.OutOrderNo != "" {
			res.calls[c.OutOrderNo] = append(res.calls[c.OutOrderNo], c)
		}
	}
	for _, calls := range res.calls {
		slices.SortFunc(calls, func(a, b simulator.Seen) int { return a.Began.Compare(b.Began) })
	}
	for _, o := range e.sim.Report().Orders {
		res.truth[o.OutOrderNo] = o
	}
	res.readLedger()
	res.judgeEnds()
	res.judgeNotifications()
	res.judgeEvents()
	res.judgeTrail()
	res.judgePayments()
	res.judgeRate()
	var suspicions []suspicion
	for no := range res.truth {
		suspicions = append(suspicions, res.suspect(no, res.calls[no])...)
	}
	res.explain(suspicions)
	for _, trouble := range e.journal.trouble {
		res.breach(rowTrouble, "%s", trouble)
	}
	res.judgeFaults()
	return res
}

func (res *result) breach(row, format string, args ...any) {
	res.breaches[row] = append(res.breaches[row], fmt.Sprintf(format, args...))
}

// breachOf is breach with the timeline of the order, for the breaches that are
// shown.
func (res *result) breachOf(row, no, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if len(res.breaches[row]) < shown {
		ev := res.e.gather(map[string]bool{no: true})
		text += "\n" + res.timeline(ev, no, ev.trace(no, res.calls[no]))
	}
	res.breach(row, "%s", text)
}

// explain looks for the causes of what looks like a breach.
func (res *result) explain(all []suspicion) {
	nos := map[string]bool{}
	for _, s := range all {
		nos[s.no] = true
	}
	ev := res.e.gather(nos)
	for _, s := range all {
		s.calls = ev.trace(s.no, res.calls[s.no])
		excuse := ""
		for _, proven := range s.kind.causes {
			if excuse = proven(ev, &s); excuse != "" {
				break
			}
		}
		switch {
		case excuse == "":
			res.breach(s.kind.row, "%s: %s\n%s", s.no, s.text, res.timeline(ev, s.no, s.calls))
			continue
		case *keepFlag:
			res.e.t.Logf("%s: %s: %s: %s\n%s", s.kind.row, excuse, s.no, s.text, res.timeline(ev, s.no, s.calls))
		}
		res.excuse(s.kind.row, excuse, s.size)
	}
}

// timeline is all that is known of an order, for the search for a breach.
func (res *result) timeline(ev evidence, no string, calls []call) string {
	type line struct {
		at   time.Time
		text string
	}
	var lines []line
	for _, c := range calls {
		lines = append(lines, line{c.Began, fmt.Sprintf("platform: %s from %s, over after %s, answered %v %d, fault %q, owed %v, ended %v",
			c.Call, c.process, c.Over.Sub(c.Began).Round(time.Millisecond), c.Answered, c.Status, c.Fault, c.Owed, c.Ended)})
	}
	for _, m := range ev.marks[no] {
		lines = append(lines, line{m.at, m.process + " " + string(m.point)})
	}
	for _, entry := range res.orders[no].Log {
		lines = append(lines, line{entry.At, fmt.Sprintf("ledger: %s %s %d", entry.Call, entry.Verdict, entry.HTTPStatus)})
	}
	for _, f := range res.e.journal.freezes {
		lines = append(lines, line{f.from, f.process + " freezes"}, line{f.to, f.process + " thaws"})
	}
	for _, d := range res.e.journal.deaths {
		lines = append(lines, line{d.at, d.process + " dead"})
	}
	for _, j := range res.e.journal.jumps {
		lines = append(lines, line{j.at, fmt.Sprintf("Redis's clock is set: %s off", j.offset)})
	}
	for _, o := range res.e.journal.outages {
		lines = append(lines, line{o.from, o.what}, line{o.to, "over: " + o.what})
	}
	slices.SortStableFunc(lines, func(a, b line) int { return a.at.Compare(b.at) })
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "    %9.3fs %s\n", l.at.Sub(res.e.started).Seconds(), l.text)
	}
	o := res.orders[no]
	fmt.Fprintf(&b, "    ledger: %s %s, ended at %.3fs", o.State, o.Reason, o.EndedAt.Sub(res.e.started).Seconds())
	return b.String()
}

// judgeFaults sees that the run was an attack at all.
func (res *result) judgeFaults() {
	b := &res.e.journal
	if len(b.deaths) < res.e.profile.minKills {
		res.breach(rowFaults, "%d workers killed, %d at least", len(b.deaths), res.e.profile.minKills)
	}
	if !res.e.profile.everyFault || res.e.profile.minKills == 0 {
		return
	}
	for _, l := range res.e.nemesis.tracks {
		for _, d := range l.faults {
			if b.hits[d.name] == 0 && !slices.Contains(res.breaches[rowFaults], d.name) {
				res.breaches[rowFaults] = append(res.breaches[rowFaults], d.name)
			}
		}
	}
}

// shown is how many breaches of a row are printed in full.
const shown = 3

func (res *result) demandZeros(t *testing.T) {
	t.Helper()
	for _, row := range rows {
		all := res.breaches[row]
		if len(all) == 0 {
			continue
		}
		t.Errorf("%d %s; the first of them:\n  %s", len(all), row, strings.Join(all[:min(len(all), shown)], "\n  "))
	}
}
