package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/intake"
	"payscore-collector/internal/textsafe"
	"payscore-collector/tasks"
)

const (
	// mostListed is how many bad rows standard error lists.
	mostListed = 20
	// progressEvery is the time between two lines that say how far a file is.
	progressEvery = 10 * time.Second
)

// reporter tells what became of each order, and counts.
type reporter struct {
	p      process
	out    *bufio.Writer
	asJSON bool

	// Of a file: its name, its size (0: not known), and where its refused rows go (may
	// be nil).
	file    string
	size    int64
	rejects *intake.Rejects

	start    time.Time
	told     time.Time // when progress was last told
	counts   map[tasks.Status]int64
	rows     int64
	last     intake.Item
	listed   int64
	unlisted int64
	failed   *intake.Item // the first order that Redis failed for good; nil: none
	why      error        // what Redis said about it
	broken   error        // standard output or the rejects file cannot be written
}

func newReporter(p process, asJSON bool) *reporter {
	now := time.Now()
	return &reporter{p: p, out: bufio.NewWriter(p.Stdout), asJSON: asJSON, counts: map[tasks.Status]int64{}, start: now, told: now}
}

// answer is an order's result as JSON. The names are part of the interface.
type answer struct {
	MchID      string       `json:"mchid"`
	OutOrderNo string       `json:"out_order_no"`
	Result     tasks.Status `json:"result"`
	State      tasks.State  `json:"state,omitempty"`
	Reason     string       `json:"reason,omitempty"`
	Line       int64        `json:"line,omitempty"`
}

// result reports one order.
func (r *reporter) result(it intake.Item, res tasks.Result) {
	r.rows++
	r.last = it
	r.counts[res.Status]++
	if res.Status == tasks.Failed && r.failed == nil {
		r.failed, r.why = &it, res.Err
	}
	good := res.Status == tasks.Accepted || res.Status == tasks.Duplicate || res.Status == intake.Valid
	why, line := intake.Detail(res), it.Row.Line
	switch {
	case r.asJSON:
		r.json(answer{it.Order.MchID, it.Order.OutOrderNo, res.Status, res.State, why, line})
	case !good || !r.brief():
		r.line("%s %s", label(it.Order.OutOrderNo), words(res, why, line))
	}
	if good || line == 0 {
		return
	}
	text := words(res, why, 0)
	if res.Status != tasks.Failed { // the row is not to blame; see stopped
		r.list(line, text)
	}
	if r.rejects != nil {
		if res.Status == tasks.Invalid {
			text = why
		}
		r.note(r.rejects.Write(it.Row, text))
	}
}

// brief reports whether a person at a terminal is shown only what needs attention.
func (r *reporter) brief() bool { return r.file != "" && r.p.StdoutTerminal && !r.asJSON }

// list writes a bad row to standard error, unless the same person has just seen it.
func (r *reporter) list(line int64, text string) {
	switch {
	case r.brief() && r.p.StderrTerminal:
	case r.listed == mostListed:
		r.unlisted++
	default:
		r.listed++
		r.say("%s: line %d: %s", r.file, line, text)
	}
}

// words is a result as a line of text has it behind the order number.
func words(res tasks.Result, why string, line int64) string {
	switch res.Status {
	case tasks.Ended:
		return string(res.Status) + " " + string(res.State)
	case tasks.Invalid, tasks.Failed:
		if line > 0 {
			why = fmt.Sprintf("line %d: %s", line, why)
		}
		return string(res.Status) + " " + why
	default:
		return string(res.Status)
	}
}

// label is an order number as the first word of a line. What cannot be an order number
// may be any text, and is quoted; an empty one is "?".
func label(no string) string {
	switch {
	case no == "":
		return "?"
	case tasks.ValidateOutOrderNo(no) == nil:
		return no
	}
	const most = 2 * tasks.MaxOutOrderNo
	if runes := []rune(no); len(runes) > most {
		no = string(runes[:most]) + "…"
	}
	if quoted := strconv.Quote(no); strings.Contains(no, " ") || quoted != `"`+no+`"` {
		return quoted
	}
	return no
}

func (r *reporter) json(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		r.note(err)
		return
	}
	r.line("%s", b)
}

func (r *reporter) line(format string, args ...any) {
	_, err := fmt.Fprintln(r.out, textsafe.Clean(fmt.Sprintf(format, args...)))
	r.note(err)
	if r.p.StdoutTerminal {
		r.flush()
	}
}

// flush writes out what standard output has buffered.
func (r *reporter) flush() { r.note(r.out.Flush()) }

// say tells the person, on standard error.
func (r *reporter) say(format string, args ...any) { r.p.Say(fmt.Sprintf(format, args...)) }

// note keeps the first failure of writing and tells it at once; the orders are still
// enqueued.
func (r *reporter) note(err error) {
	if err != nil && r.broken == nil {
		r.broken = err
		r.say("%v", err)
	}
}

// unreachable reports orders whose Redis could not be used.
func (r *reporter) unreachable(nos []string, of tasks.Payload, err error) (int, error) {
	for _, no := range nos {
		of.OutOrderNo = no
		r.result(intake.Item{Order: tasks.Order{Payload: of}}, tasks.Result{Status: tasks.Failed, Err: errors.New("cannot use Redis")})
	}
	r.flush()
	return exitFailed, err
}

// end ends the report of a command line's orders, and reports whether no signal cut it
// short.
func (r *reporter) end(orders int) (status int, whole bool) {
	r.flush()
	if err := r.stopped(); err != nil {
		r.say("%v", err)
	} else if r.rows < int64(orders) {
		r.say("interrupted: run the same command again")
		return exitFailed, false
	}
	return r.status(), true
}

// stopped says where Redis failed for good, and what to do; nil where it did not.
func (r *reporter) stopped() error {
	const again = "run the same command again: what is done already is answered with duplicate"
	if r.failed == nil {
		return nil
	}
	where := "order " + label(r.failed.Order.OutOrderNo)
	if r.failed.Row.Line > 0 {
		where = fmt.Sprintf("line %d", r.failed.Row.Line)
	}
	if refusal := intake.Refusal(r.why); refusal != nil {
		return fmt.Errorf("stopped at %s, because Redis refuses it: %s. Then %s", where, refusal.Advice(), again)
	}
	return fmt.Errorf("stopped at %s, because Redis failed (%v). When Redis is back, %s", where, r.why, again)
}

// progress says every progressEvery how far a file is. Offset is how much of it has been read.
func (r *reporter) progress(offset int64) {
	if time.Since(r.told) < progressEvery {
		return
	}
	r.told = time.Now()
	part := ""
	if r.size > 0 {
		part = fmt.Sprintf(", %d %% of the file", 100*offset/r.size)
	}
	r.say("%s: %d rows so far (%.0f rows/s)%s", r.file, r.rows, r.rate(), part)
}

func (r *reporter) rate() float64 {
	return float64(r.rows) / max(time.Since(r.start).Seconds(), 1e-3)
}

// summary says what became of a file.
func (r *reporter) summary() {
	if r.unlisted > 0 {
		lists := "--rejects FILE lists them all"
		if r.rejects != nil {
			lists = "all of them are in the rejects file"
		}
		r.say("... and %d more; %s", r.unlisted, lists)
	}
	if r.rows == 0 {
		r.say("%s: no orders in it", r.file)
		return
	}
	var parts []string
	for _, s := range []tasks.Status{intake.Valid, tasks.Accepted, tasks.Duplicate, tasks.Conflict, tasks.Ended, tasks.Invalid, tasks.Failed} {
		if n := r.counts[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	r.say("%s: %d rows in %.1fs (%.0f rows/s): %s", r.file, r.rows, time.Since(r.start).Seconds(), r.rate(), strings.Join(parts, ", "))
}

// status is the exit status that the results make.
func (r *reporter) status() int {
	switch {
	case r.broken != nil || r.counts[tasks.Failed] > 0:
		return exitFailed
	case r.counts[tasks.Invalid]+r.counts[tasks.Conflict]+r.counts[tasks.Ended] > 0:
		return exitRefused
	}
	return config.ExitOK
}
