package ledger

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/owner"
)

// HoldKind says why the calls of a hold's scope are stopped.
type HoldKind string

// The kinds of a hold. A merchant's hold has one of the first three, a service's
// hold HoldService.
const (
	HoldNone      HoldKind = ""          // the calls are not stopped
	HoldFault     HoldKind = "fault"     // WeChat Pay refuses every call of the merchant
	HoldDown      HoldKind = "down"      // the platform does not answer properly
	HoldThrottled HoldKind = "throttled" // the platform throttles every call
	HoldService   HoldKind = "service"   // WeChat Pay refuses every call of this appid and service_id
)

// Hold stops the calls of one scope, a merchant or a service, except for a probe
// now and then. Times are Redis's clock.
type Hold struct {
	owner.Owner // AppID and ServiceID are empty for a merchant's hold
	Kind        HoldKind
	Since       time.Time // zero for HoldNone
	NextProbe   time.Time // the earliest time of the next probe; it may have passed; zero for HoldNone
}

// ClockJump is a jump of Redis's clock. By is positive for a jump ahead, and 0
// where no jump was seen. At is the time after the jump, by Redis's clock.
type ClockJump struct {
	By time.Duration
	At time.Time
}

// Holds is what slows or stops the calls of a merchant at the moment Now.
type Holds struct {
	Now      time.Time // Redis's clock
	Merchant Hold      // Kind is HoldNone where the merchant's calls are not stopped
	Services []Hold    // those that are held on their own, by appid and service_id
	// Share is the part of COLLECT_RATE that throttling has left, above 0 and at
	// most 1.
	Share float64
	// Jump is the last jump of Redis's clock that a worker has noticed.
	Jump ClockJump
	// Pause is nil where the merchant's collect calls are not paused.
	Pause *Pause
}

// Stop is how much of a merchant's calls is stopped.
type Stop int

// The stops, the least first.
const (
	StopNone     Stop = iota
	StopServices      // those of some services
	StopMerchant      // all of them, or by a pause all collect calls
)

// Stops returns how much of the calls of some merchants is stopped now, about, with one
// command a merchant. Holds says more of one merchant.
func Stops(ctx context.Context, rdb redis.UniversalClient, mchids []string) (map[string]Stop, error) {
	stops := make(map[string]Stop, len(mchids))
	for part := range slices.Chunk(mchids, listPage) {
		pipe := rdb.Pipeline()
		replies := make([]*redis.MapStringStringCmd, len(part))
		for i, mchid := range part {
			replies[i] = pipe.HGetAll(ctx, KeysOf(mchid).Hold())
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return nil, err
		}
		for i, reply := range replies {
			stop := StopNone
			for field, text := range reply.Val() {
				switch {
				case field == "merchant", field == "pause" && pausedNow(text):
					stop = StopMerchant
				case strings.HasPrefix(field, "service:"):
					stop = max(stop, StopServices)
				}
			}
			stops[part[i]] = stop
		}
	}
	return stops, nil
}

// pausedNow reports whether the field pause is of a pause that lasts, as pauseof in
// hold.lua, but by this machine's clock.
func pausedNow(text string) bool {
	since, length, ok := strings.Cut(text, " ")
	return ok && (length == "0" || atoi(since)+atoi(length) > time.Now().UnixMilli())
}

// Holds returns the merchant's holds, its present rate and the last jump of
// Redis's clock, in one round trip.
func (l *Ledger) Holds(ctx context.Context) (Holds, error) {
	return l.readHolds(holdsScript.Run(ctx, l.rdb, l.holdsKeys()))
}

// AskHolds asks what Holds returns.
func (l *Ledger) AskHolds(q *Questions) func() (Holds, error) {
	cmd := q.script(holdsScript, l.holdsKeys())
	return func() (Holds, error) { return l.readHolds(cmd) }
}

func (l *Ledger) holdsKeys() []string {
	return []string{l.keys.Hold(), l.keys.Gate(), l.keys.Sweep()}
}

func (l *Ledger) readHolds(cmd *redis.Cmd) (Holds, error) {
	reply, err := cmd.Slice()
	if err != nil {
		return Holds{}, err
	}
	r := reader{vals: reply}
	h := Holds{Now: time.UnixMilli(r.int()), Share: float64(r.int()) / 1e6}
	if by, at, ok := strings.Cut(r.str(), " "); ok {
		h.Jump = ClockJump{time.Duration(atoi(by)) * time.Millisecond, millis(at)}
	}
	h.Pause = readPause(r.int(), r.int(), r.str())
	for r.more() {
		scope := r.str()
		hold := Hold{Kind: HoldKind(r.str()), Since: time.UnixMilli(r.int()), NextProbe: time.UnixMilli(r.int())}
		if pair, ok := strings.CutPrefix(scope, "service:"); ok {
			hold.Owner = owner.OfScope(l.mchid, pair)
			h.Services = append(h.Services, hold)
		} else {
			hold.MchID = l.mchid
			h.Merchant = hold
		}
	}
	slices.SortFunc(h.Services, func(a, b Hold) int {
		return strings.Compare(a.Scope(), b.Scope())
	})
	return h, r.err
}
