// Package ledger is the truth about what is owed: a record for each order, an index by
// due time, a log of calls, a stream of events and counters, all in Redis. Every change
// is one atomic Lua script on Redis's own clock. record.go lists the fields of a record,
// keys.go the keys, and each script in scripts/ says what it does and returns. The
// package makes no calls; internal/collect decides what to record.
package ledger

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// LogEntries is how many of an order's newest calls its log keeps.
const LogEntries = 50

// Ledger is the ledger of one merchant. It is safe for concurrent use.
type Ledger struct {
	rdb   redis.UniversalClient
	mchid string
	keys  Keys

	introduced atomic.Bool // the merchant is in the directory of ledgers
}

// New returns the ledger of a merchant. It does not own rdb.
func New(rdb redis.UniversalClient, mchid string) *Ledger {
	return &Ledger{rdb: rdb, mchid: mchid, keys: KeysOf(mchid)}
}

// MchID returns the merchant whose ledger this is.
func (l *Ledger) MchID() string { return l.mchid }

// Plan is what the next step on an order begins with.
type Plan string

// The plans of an open order.
const (
	// Collect: call collect at once. Only for orders that never were.
	Collect Plan = "collect"
	// Recheck: query; collect if the order still waits for payment.
	Recheck Plan = "recheck"
	// Confirm: query; a collect was accepted, or a deduction is running.
	Confirm Plan = "confirm"
	// Resolve: query; the effect of the last call is unknown, or the order
	// could not be found.
	Resolve Plan = "resolve"
	// Inspect: query; a collect was refused with a word about the order.
	Inspect Plan = "inspect"
	// Final: query; the policy has run out, and this is the last query.
	Final Plan = "final"
	// TellPaid: call sync at once. Only for orders that billing has withdrawn,
	// because the user paid elsewhere. Their other plans are those above, with
	// sync where an open order is collected.
	TellPaid Plan = "sync"
)

// Plans lists every plan.
var Plans = []Plan{Collect, Recheck, Confirm, Resolve, Inspect, Final, TellPaid}

// Limits are what a claim must keep to, on behalf of the merchant.
type Limits struct {
	Lease   time.Duration // from the moment of the call to the lease's end
	Rate    float64       // calls a second
	Horizon time.Duration // how long a claim may wait for its slot
	MinGap  time.Duration // between two collect calls of one order
	// Windows are the next collection windows, from and to in turn; empty
	// where collecting is allowed at any time.
	Windows []time.Time
	// Terms are what MinGap and Windows were chosen by: Unnamed, or what a claim has
	// returned; empty where they hold for every order. ByAmount: an order's amount is
	// among its terms.
	Terms    string
	ByAmount bool
	// Most is the time between two probes of a hold at the most.
	Most time.Duration
	// Sure is the earliest that Redis's clock can be without a jump ahead, by a
	// clock of the caller's that does not jump. No lease has run out before. Zero
	// where the caller has none.
	Sure time.Time
}

// Unnamed are the terms of an order that names no schedule, and of which no amount is
// known.
func Unnamed(serviceID string, byAmount bool) string {
	terms := " " + serviceID
	if byAmount {
		terms += " "
	}
	return terms
}

// Code is a script's answer to a claim, a permit or a settle.
type Code string

// The codes that scripts return; each script's header says which it can.
const (
	Granted   Code = "granted"
	Absent    Code = "absent"
	HasEnded  Code = "ended"
	Leased    Code = "leased"
	Early     Code = "early"
	Stale     Code = "stale"
	Postponed Code = "postponed"
	Held      Code = "held"
	Parked    Code = "parked"
	Paused    Code = "paused"
	Paced     Code = "paced"
	Unlike    Code = "unlike"
	Lost      Code = "lost"
	Settled   Code = "settled"
	Repeat    Code = "repeat"
	Reopened  Code = "reopened"
)

// Claim is the answer to a claim. Everything below Wait is filled only where
// Code is Granted, and Order also where it is Unlike: the limits were chosen by other
// terms than the order's, which are Terms.
type Claim struct {
	Code Code
	Now  time.Time     // Redis's clock
	Wait time.Duration // see claim.lua for what it means under each code

	Terms string // of an Unlike claim
	Token string
	Plan  Plan
	Probe bool // this step tests whether a hold may end
	Order Snapshot
}

// NewToken returns a token for one claim, or one delivery of a notification. The ledger compares tokens only for
// equality, and only with those of the same order, so being unique there is all
// that fencing needs; and as the claimer makes it, a claim whose answer was lost
// can be repeated. It is a number, which Redis keeps in 9 bytes.
func NewToken() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return strconv.FormatUint(binary.BigEndian.Uint64(b[:])>>1, 10)
}

// headroom keeps the slots a little further apart than the rate asks for.
// Calls leave some milliseconds after their slots, not all equally late, and
// the platform counts when they arrive: without it, a second could see one
// more than the rate.
const headroom = 0.05

type limitArgs struct {
	No       string  `json:"no"`
	Token    string  `json:"token"`
	Lease    int64   `json:"lease"`
	Interval int64   `json:"interval"`
	Horizon  int64   `json:"horizon"`
	Gap      int64   `json:"gap"`
	Windows  []int64 `json:"windows,omitempty"`
	Most     int64   `json:"most"`
	Sure     int64   `json:"sure"`
}

// sureMS is a Sure in ms as the scripts take it.
func sureMS(t time.Time) int64 {
	if t.IsZero() {
		return 1 << 52 // beyond any clock
	}
	return t.UnixMilli()
}

// interval is the distance of two slots in us.
func interval(rate float64) int64 { return int64(1e6 / rate * (1 + headroom)) }

func (lim Limits) args(no, token string) limitArgs {
	a := limitArgs{
		No: no, Token: token,
		Lease:    lim.Lease.Milliseconds(),
		Interval: interval(lim.Rate),
		Horizon:  lim.Horizon.Microseconds(),
		Gap:      lim.MinGap.Milliseconds(),
		Windows:  make([]int64, 0, len(lim.Windows)),
		Most:     lim.Most.Milliseconds(),
		Sure:     sureMS(lim.Sure),
	}
	for _, t := range lim.Windows {
		a.Windows = append(a.Windows, t.UnixMilli())
	}
	return a
}

// NoRound is the round of a task that does not carry one.
const NoRound = -1

// Claim tries to take the lease of an order. It can be repeated with the same
// token.
func (l *Ledger) Claim(ctx context.Context, no, token string, round int64, lim Limits) (Claim, error) {
	r := run(ctx, l.rdb, claimScript,
		[]string{l.keys.Order(no), l.keys.Due(), l.keys.Gate(), l.keys.Hold(), l.keys.Paused(), l.keys.Sweep()},
		struct {
			limitArgs
			Round   int64  `json:"round"`
			Terms   string `json:"terms,omitempty"`
			Amounts bool   `json:"amounts,omitempty"`
		}{lim.args(no, token), round, lim.Terms, lim.ByAmount})
	c := Claim{Code: Code(r.str()), Now: r.time(), Wait: time.Duration(r.int()) * time.Microsecond}
	switch c.Code {
	case Granted:
		c.Token = token
		c.Plan, c.Probe = Plan(r.str()), r.int() == 1
	case Unlike:
		c.Terms = r.str()
	default:
		return c, r.err
	}
	snapshot, ok := l.snapshot(no, r.list())
	if !ok {
		return c, errReply
	}
	c.Order = snapshot
	return c, r.err
}

// Permit asks under a claim whether the order may be collected as well.
type Permit struct {
	Code Code
	Now  time.Time
	Wait time.Duration
}

// Permit checks everything again after a query, and takes a slot for the collect call.
func (l *Ledger) Permit(ctx context.Context, c Claim, lim Limits) (Permit, error) {
	probe := 0
	if c.Probe {
		probe = 1
	}
	r := run(ctx, l.rdb, permitScript,
		[]string{l.keys.Order(c.Order.OutOrderNo), l.keys.Due(), l.keys.Gate(), l.keys.Hold()},
		struct {
			limitArgs
			Probe int    `json:"probe,omitempty"`
			Life  string `json:"life,omitempty"`
			Sync  bool   `json:"sync,omitempty"`
		}{lim.args(c.Order.OutOrderNo, c.Token), probe, c.Order.Life, c.Order.Sync})
	p := Permit{Code: Code(r.str()), Now: r.time(), Wait: time.Duration(r.int()) * time.Microsecond}
	return p, r.err
}

func atoi(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64) // fields that are not set are ""
	return n
}

// unixMS is a time in ms; 0 for none.
func unixMS(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func millis(s string) time.Time {
	if n := atoi(s); n > 0 {
		return time.UnixMilli(n)
	}
	return time.Time{}
}
