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

// The rows of the verdict, in the order in which they are shown. Each must be
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
	rowBlind    = "collected again without a look"
	rowRate     = "calls beyond the rate"
	rowAttempts = "attempts used up by a fault not the order's"
	rowEvents   = "orders whose events do not tell their story"
	rowStats    = "counters that are wrong"
	rowTrouble  = "workers in trouble, or the harness"
	rowDeeds    = "faults too few"
)

var rows = []string{
	rowLost, rowOpen, rowWrong, rowUnsigned, rowAmounts, rowPayments, rowBooked, rowAtOnce, rowAfterEnd, rowSoon, rowWindow,
	rowBlind, rowRate, rowAttempts, rowEvents, rowStats, rowTrouble, rowDeeds,
}

// verdict is what a run comes to.
type verdict struct {
	w           *world
	breaches    map[string][]string // by row, each in words
	beyond      map[string]*excused // by row and proven cause
	orders      map[string]ledger.Order
	truth       map[string]simulator.OrderReport
	calls       map[string][]simulator.Seen // by order, as they began
	ends        map[tasks.State]int
	events      books                   // what billing books from all events
	withdrawals map[string]ledger.Event // by order: the last one's
	most        int                     // calls in a second
	late        int                     // payments beside another end
	payments    int
	inParts     int // orders with more than one
	lowered     int // orders whose total was
	told        simulator.NotificationReport
}

// suspicion is something that looks like a breach, until its cause is proven.
type suspicion struct {
	row, no string
	text    string
	size    time.Duration // of the breach: how long before or after it would have been none
	// innocent returns the proven cause that nobody can prevent, or "".
	innocent func(e evidence, all []call) string
}

// excused is what nobody can prevent.
type excused struct {
	times int
	most  time.Duration // the largest of them
}

func (v *verdict) excuse(row, cause string, size time.Duration) {
	x := v.beyond[row+": "+cause]
	if x == nil {
		x = &excused{}
		v.beyond[row+": "+cause] = x
	}
	x.times++
	x.most = max(x.most, size)
}

// judge holds the ledger against the platform.
func (w *world) judge() *verdict {
	v := &verdict{
		w: w, withdrawals: map[string]ledger.Event{}, breaches: map[string][]string{}, beyond: map[string]*excused{},
		orders: map[string]ledger.Order{}, truth: map[string]simulator.OrderReport{}, calls: map[string][]simulator.Seen{}, ends: map[tasks.State]int{},
	}
	for _, c := range w.calls {
		if c.OutOrderNo != "" {
			v.calls[c.OutOrderNo] = append(v.calls[c.OutOrderNo], c)
		}
	}
	for _, calls := range v.calls {
		slices.SortFunc(calls, func(a, b simulator.Seen) int { return a.Began.Compare(b.Began) })
	}
	for _, o := range w.sim.Report().Orders {
		v.truth[o.OutOrderNo] = o
	}
	v.readLedger()
	v.judgeEnds()
	v.judgeNotifications()
	v.judgeEvents()
	v.judgePayments()
	v.judgeRate()
	var suspicions []suspicion
	for no, calls := range v.calls {
		suspicions = append(suspicions, v.suspect(no, calls)...)
	}
	v.weigh(suspicions)
	for _, trouble := range w.book.trouble {
		v.breach(rowTrouble, "%s", trouble)
	}
	v.judgeDeeds()
	return v
}

func (v *verdict) breach(row, format string, args ...any) {
	v.breaches[row] = append(v.breaches[row], fmt.Sprintf(format, args...))
}

// breachOf is a breach with the story of its order, for those that are shown.
func (v *verdict) breachOf(row, no, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if len(v.breaches[row]) < shown {
		e := v.w.gather(map[string]bool{no: true})
		text += "\n" + v.story(e, no, e.trace(no, v.calls[no]))
	}
	v.breach(row, "%s", text)
}

// weigh looks for the causes of what looks like a breach.
func (v *verdict) weigh(all []suspicion) {
	nos := map[string]bool{}
	for _, s := range all {
		nos[s.no] = true
	}
	e := v.w.gather(nos)
	for _, s := range all {
		calls := e.trace(s.no, v.calls[s.no])
		if cause := s.innocent(e, calls); cause != "" {
			v.excuse(s.row, cause, s.size)
			if *keepFlag {
				v.w.t.Logf("%s: %s: %s: %s\n%s", s.row, cause, s.no, s.text, v.story(e, s.no, calls))
			}
			continue
		}
		v.breach(s.row, "%s: %s\n%s", s.no, s.text, v.story(e, s.no, calls))
	}
}

// story is all that is known of an order, for whoever has to find out.
func (v *verdict) story(e evidence, no string, calls []call) string {
	type line struct {
		at   time.Time
		text string
	}
	var lines []line
	for _, c := range calls {
		lines = append(lines, line{c.Began, fmt.Sprintf("platform: %s from %s, over after %s, answered %v %d, fault %q, owed %v, ended %v",
			c.Call, c.process, c.Over.Sub(c.Began).Round(time.Millisecond), c.Answered, c.Status, c.Fault, c.Owed, c.Ended)})
	}
	for _, m := range e.marks[no] {
		lines = append(lines, line{m.at, m.process + " " + string(m.point)})
	}
	for _, entry := range v.orders[no].Log {
		lines = append(lines, line{entry.At, fmt.Sprintf("ledger: %s %s %d", entry.Call, entry.Verdict, entry.HTTPStatus)})
	}
	for _, f := range v.w.book.freezes {
		lines = append(lines, line{f.from, f.process + " freezes"}, line{f.to, f.process + " thaws"})
	}
	for _, d := range v.w.book.deaths {
		lines = append(lines, line{d.at, d.process + " dead"})
	}
	for _, j := range v.w.book.jumps {
		lines = append(lines, line{j.at, fmt.Sprintf("Redis's clock is set: %s off", j.offset)})
	}
	for _, o := range v.w.book.outages {
		lines = append(lines, line{o.from, o.what}, line{o.to, "over: " + o.what})
	}
	slices.SortStableFunc(lines, func(a, b line) int { return a.at.Compare(b.at) })
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "    %9.3fs %s\n", l.at.Sub(v.w.started).Seconds(), l.text)
	}
	o := v.orders[no]
	fmt.Fprintf(&b, "    ledger: %s %s, ended at %.3fs", o.State, o.Reason, o.EndedAt.Sub(v.w.started).Seconds())
	return b.String()
}

// judgeDeeds sees that the run was an attack at all.
func (v *verdict) judgeDeeds() {
	b := &v.w.book
	if len(b.deaths) < v.w.form.minKills {
		v.breach(rowDeeds, "%d workers killed, %d at least", len(b.deaths), v.w.form.minKills)
	}
	if !v.w.form.everyFault || v.w.form.minKills == 0 {
		return
	}
	for _, l := range v.w.nemesis.lanes {
		for _, d := range l.deeds {
			if b.faults[d.name] == 0 && !slices.Contains(v.breaches[rowDeeds], d.name) {
				v.breaches[rowDeeds] = append(v.breaches[rowDeeds], d.name)
			}
		}
	}
}

// shown is how many breaches of a row are told in full.
const shown = 3

func (v *verdict) demandZeros(t *testing.T) {
	t.Helper()
	for _, row := range rows {
		all := v.breaches[row]
		if len(all) == 0 {
			continue
		}
		t.Errorf("%d %s; the first of them:\n  %s", len(all), row, strings.Join(all[:min(len(all), shown)], "\n  "))
	}
}
