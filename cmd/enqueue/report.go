package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/intake"
	"payscore-collector/internal/textsafe"
	"payscore-collector/tasks"
)

// mostListed is how many bad rows are spelt out on standard error.
const mostListed = 20

// reporter tells what became of each order, and keeps count.
type reporter struct {
	p      process
	out    *bufio.Writer
	asJSON bool

	// Of a file: its name, where its refused rows go (may be nil), and the
	// progress bar (may be nil).
	file    string
	rejects *intake.Rejects
	bar     *progress

	counts   map[tasks.Status]int64
	rows     int64
	listed   int64
	unlisted int64
	broken   error // standard output or the rejects file cannot be written
}

func newReporter(p process, asJSON bool) *reporter {
	return &reporter{p: p, out: bufio.NewWriter(p.Stdout), asJSON: asJSON, counts: map[tasks.Status]int64{}}
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
func (r *reporter) result(it item, res tasks.Result) {
	r.rows++
	r.counts[res.Status]++
	good := res.Status == tasks.Accepted || res.Status == tasks.Duplicate || res.Status == statusValid
	why := reason(res)
	switch {
	case r.asJSON:
		r.json(answer{it.order.MchID, it.order.OutOrderNo, res.Status, res.State, why, it.row.Line})
	case !good || !r.brief():
		r.line("%s %s", label(it.order.OutOrderNo), words(res, why, it.row.Line))
	}
	if good || it.row.Line == 0 {
		return
	}
	if res.Status != tasks.Failed { // the row is not to blame; see handover.trouble
		r.list(it.row.Line, words(res, why, 0))
	}
	if r.rejects != nil {
		text := words(res, why, 0)
		if res.Status == tasks.Invalid {
			text = why
		}
		r.note(r.rejects.Write(it.row, text))
	}
}

// brief: a person at a terminal is shown what needs attention, and for the
// rest the bar.
func (r *reporter) brief() bool { return r.file != "" && r.p.StdoutTerminal && !r.asJSON }

// list spells a bad row out on standard error, unless the same person has just
// been shown it.
func (r *reporter) list(line int64, text string) {
	if r.brief() && r.p.StderrTerminal {
		return
	}
	if r.listed == mostListed {
		r.unlisted++
		return
	}
	r.listed++
	r.say("%s: line %d: %s", r.file, line, text)
}

// reason says why, in one line.
func reason(res tasks.Result) string {
	switch {
	case res.Status == tasks.Failed && refusal(res.Err) != nil:
		return refusal(res.Err).Advice()
	case res.Err != nil:
		return strings.ReplaceAll(res.Err.Error(), "\n", "; ")
	case res.Status == tasks.Conflict:
		return "open already under another appid or service_id"
	}
	return ""
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

// label is an order number as the first word of a line. What cannot be an
// order number may be anything at all, and is quoted; none at all is "?".
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
	if r.bar != nil && r.p.StdoutTerminal {
		r.bar.clear()
	}
	_, err := fmt.Fprintln(r.out, textsafe.Clean(fmt.Sprintf(format, args...)))
	r.note(err)
	if r.p.StdoutTerminal {
		r.flush()
	}
}

// flush brings out what standard output has been told.
func (r *reporter) flush() { r.note(r.out.Flush()) }

// say tells the person, on standard error.
func (r *reporter) say(format string, args ...any) {
	if r.bar != nil {
		r.bar.clear()
	}
	r.p.Say(fmt.Sprintf(format, args...))
}

// note keeps the first failure of writing, and says it at once: the orders go
// in all the same.
func (r *reporter) note(err error) {
	if err != nil && r.broken == nil {
		r.broken = err
		r.say("%v", err)
	}
}

// summary says what became of a file.
func (r *reporter) summary(elapsed time.Duration) {
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
	for _, s := range []tasks.Status{statusValid, tasks.Accepted, tasks.Duplicate, tasks.Conflict, tasks.Ended, tasks.Invalid, tasks.Failed} {
		if n := r.counts[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	rate := float64(r.rows) / max(elapsed.Seconds(), 1e-3)
	r.say("%s: %d rows in %.1fs (%.0f rows/s): %s", r.file, r.rows, elapsed.Seconds(), rate, strings.Join(parts, ", "))
}

// status is the exit status that the answers make.
func (r *reporter) status() int {
	switch {
	case r.broken != nil || r.counts[tasks.Failed] > 0:
		return exitFailed
	case r.counts[tasks.Invalid]+r.counts[tasks.Conflict]+r.counts[tasks.Ended] > 0:
		return exitRefused
	}
	return config.ExitOK
}
