package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Pause stops the collect calls of a merchant until a person resumes them, or its time is
// up. Queries, notifications, withdrawals and syncs continue. Its JSON is part of the
// interface.
type Pause struct {
	Reason string    `json:"reason"`
	By     string    `json:"by"`
	Since  time.Time `json:"since"`          // Redis's clock
	Until  time.Time `json:"until,omitzero"` // zero: only a person ends it
}

// readPause reads what holds.lua says of a pause.
func readPause(since, until int64, why string) *Pause {
	if since < 0 {
		return nil
	}
	p := &Pause{Since: time.UnixMilli(since).UTC()}
	if until > 0 {
		p.Until = time.UnixMilli(until).UTC()
	}
	var said []string
	if json.Unmarshal([]byte(why), &said) == nil && len(said) >= 2 {
		p.By, p.Reason = said[0], said[1]
	}
	return p
}

// Pause stops the collect calls of the merchant: no claim and no permit grants one from
// now on, whichever worker asks. A call that was granted before, up to five seconds ago,
// is under way. The pause ends by itself after length; 0 means that only Resume ends it.
// Repeated with the deed's token it changes nothing; a pause of a paused merchant replaces
// the earlier one.
func (l *Ledger) Pause(ctx context.Context, d Deed, length time.Duration) (Pause, error) {
	by, detail := d.args(), ""
	if length > 0 {
		length = max(length, time.Millisecond)
		detail = "for " + length.String()
	}
	if err := Introduce(ctx, l.rdb, l.mchid); err != nil {
		return Pause{}, err
	}
	r := replyTo(pauseScript.Run(ctx, l.rdb, []string{l.keys.Hold(), l.keys.Audit()},
		length.Milliseconds(), by[0], by[1], by[2], detail))
	p := readPause(r.int(), r.int(), "")
	if r.err != nil || p == nil {
		return Pause{}, cmp.Or(r.err, errReply)
	}
	p.By, p.Reason = d.By, d.Reason
	return *p, nil
}

// Resume ends the pause of the merchant, and makes the orders due that it has put off. It
// reports whether the merchant was paused; otherwise it changes nothing. What it cannot
// finish, the next sweep does.
func (l *Ledger) Resume(ctx context.Context, d Deed) (was bool, err error) {
	by := d.args()
	n, err := resumeScript.Run(ctx, l.rdb, []string{l.keys.Hold(), l.keys.Audit()}, by[0], by[1], by[2]).Int64()
	if err != nil {
		return false, fmt.Errorf("ledger: %w", err)
	}
	_, _ = l.Unpause(ctx)
	return n == 1, nil
}

// unpausePage is how many orders one call of unpause.lua makes due: few enough not to
// block Redis.
const unpausePage = 200

// Unpause makes the orders due that a pause has put off, until none is left, ctx ends, or
// the merchant is paused again; it returns how many. Any number of callers may do so at
// once.
func (l *Ledger) Unpause(ctx context.Context) (made int64, err error) {
	for {
		nos, err := l.rdb.ZRange(ctx, l.keys.Paused(), 0, unpausePage-1).Result()
		if err != nil || len(nos) == 0 {
			return made, err
		}
		keys := []string{l.keys.Paused(), l.keys.Due(), l.keys.Hold(), l.keys.Sweep()}
		for _, no := range nos {
			keys = append(keys, l.keys.Order(no))
		}
		r := run(ctx, l.rdb, unpauseScript, keys, map[string]any{"nos": nos})
		code := r.str()
		made += r.int()
		if r.err != nil || code == "paused" {
			return made, r.err
		}
	}
}
