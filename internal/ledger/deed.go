package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/owner"
)

// Deed is a change that a person, or billing, makes: who makes it, and why. The script
// that makes the change records it, in the same step.
type Deed struct {
	// By is api:NAME, console:NAME, cli:USER, or go:NAME of a program that uses package
	// tasks.
	By     string
	Reason string
	// Token is the deed's own; see NewToken. Repeated with it, the deed is done and
	// recorded once. Without one, each call is a deed of its own.
	Token string
}

// args are a deed as the scripts take it; see audit.lua.
func (d Deed) args() []string {
	if d.Token == "" {
		d.Token = NewToken()
	}
	return []string{d.By, d.Reason, d.Token}
}

// text is a deed as an argument of its own.
func (d Deed) text() string {
	b, _ := json.Marshal(d.args()) // texts can always be encoded
	return string(b)
}

// ActionsKept is how many actions an order's record keeps, the newest; audit.lua has the
// same.
const ActionsKept = 20

// The names of actions. They are stored, and never renamed.
const (
	ActWithdraw   = "withdraw"
	ActReopen     = "reopen"
	ActCollectNow = "collect-now"
	ActPause      = "pause"
	ActResume     = "resume"
	ActBulk       = "bulk"

	ActRetryWebhooks  = "retry-webhooks"
	ActReplayWebhooks = "replay-webhooks"
	ActDestroyReader  = "destroy-reader"

	ActAcknowledge = "acknowledge"
)

// Action is what somebody has done to an order.
type Action struct {
	At     time.Time `json:"at"` // Redis's clock
	By     string    `json:"by"` // see Deed
	Action string    `json:"action"`
	Reason string    `json:"reason,omitempty"`
}

// parseActions reads the actions of a record; audit.lua has the form.
func parseActions(s string) ([]Action, error) {
	if s == "" {
		return nil, nil
	}
	var raw [][]any
	if json.Unmarshal([]byte(s), &raw) != nil {
		return nil, errReply
	}
	list := make([]Action, len(raw))
	for i, r := range raw {
		if len(r) < 4 {
			return nil, errReply
		}
		at, ok := r[0].(float64)
		by, ok1 := r[1].(string)
		action, ok2 := r[2].(string)
		reason, ok3 := r[3].(string)
		if !ok || !ok1 || !ok2 || !ok3 {
			return nil, errReply
		}
		list[i] = Action{At: time.UnixMilli(int64(at)).UTC(), By: by, Action: action, Reason: reason}
	}
	return list, nil
}

// Audited is an entry of a merchant's trail: an action, and what it was done to.
type Audited struct {
	ID    string `json:"id"` // unique; "<mchid>-<ms>-<n>"
	MchID string `json:"mchid"`
	// OutOrderNo is empty for what concerns no single order.
	OutOrderNo string `json:"out_order_no,omitempty"`
	Action
	Detail string `json:"detail,omitempty"` // such as a reader's group, or the id of a bulk action
}

// Audit returns the trails of some merchants as one, newest first: at most limit entries
// of those that follow the cursor. next is the cursor of the next page, and empty after
// the last one. Entries stay where they are while others are added.
func Audit(ctx context.Context, ledgers []*Ledger, limit int, cursor string) (list []Audited, next string, err error) {
	from, after := "+", ""
	if cursor != "" {
		// The cursor is where an entry stands in its trail, and its merchant.
		at := strings.LastIndexByte(cursor, '-')
		if at < 0 {
			return nil, "", ErrCursor
		}
		from, after = cursor[:at], cursor[at+1:]
		if _, _, ok := parsePosition(from); !ok || !mchidForm.MatchString(after) {
			return nil, "", ErrCursor
		}
	}
	oldest := "-" // what is older has no place in the page
	for _, l := range ledgers {
		from := from
		if cursor != "" && l.mchid <= after { // those that stand equal are in the order of their merchants
			from = "(" + from
		}
		entries, err := l.rdb.XRevRangeN(ctx, l.keys.Audit(), from, oldest, int64(limit)+1).Result()
		if err != nil {
			return nil, "", fmt.Errorf("ledger: read the trail of merchant %s: %w", l.mchid, err)
		}
		if len(entries) == 0 {
			continue
		}
		for _, e := range entries {
			list = append(list, l.audited(e))
		}
		slices.SortFunc(list, func(a, b Audited) int {
			ms, n := a.position()
			ms2, n2 := b.position()
			return cmp.Or(cmp.Compare(ms2, ms), cmp.Compare(n2, n), cmp.Compare(a.MchID, b.MchID))
		})
		// One more than the page has shows that there is a next page.
		if len(list) > limit {
			list = slices.Delete(list, limit+1, len(list))
			oldest = strings.TrimPrefix(list[limit].ID, list[limit].MchID+"-")
		}
	}
	if len(list) > limit {
		list = list[:limit]
		last := list[limit-1]
		next = last.Position() + "-" + last.MchID
	}
	return list, next, nil
}

// TrailsAfter returns the trails of some merchants, oldest first: of each at most limit
// entries behind its place, which is a Position; without one, from the oldest entry on.
func TrailsAfter(ctx context.Context, rdb redis.UniversalClient, mchids []string, places map[string]string, limit int64) ([][]Audited, error) {
	cmds := make([]*redis.XMessageSliceCmd, len(mchids))
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, mchid := range mchids {
			from := "-"
			if place := places[mchid]; place != "" {
				from = "(" + place
			}
			cmds[i] = p.XRangeN(ctx, KeysOf(mchid).Audit(), from, "+", limit)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ledger: read the trails: %w", err)
	}
	trails := make([][]Audited, len(mchids))
	for i, cmd := range cmds {
		l := New(rdb, mchids[i])
		for _, e := range cmd.Val() {
			trails[i] = append(trails[i], l.audited(e))
		}
	}
	return trails, nil
}

// Position is where the entry stands in its merchant's trail, for TrailsAfter.
func (a Audited) Position() string { return strings.TrimPrefix(a.ID, a.MchID+"-") }

func (a Audited) position() (ms, n int64) {
	ms, n, _ = parsePosition(a.Position())
	return ms, n
}

func (l *Ledger) audited(e redis.XMessage) Audited {
	f := make(values, len(e.Values))
	for name, value := range e.Values {
		text, _ := value.(string)
		f[name] = readable(text)
	}
	return Audited{
		ID: l.mchid + "-" + e.ID, MchID: l.mchid, OutOrderNo: f["no"], Detail: f["detail"],
		Action: Action{At: f.time("at").UTC(), By: f["by"], Action: f["action"], Reason: f["reason"]},
	}
}

// Record records a deed in the merchant's trail that no script of the ledger does, once
// for its token. no is empty for what concerns no single order.
func (l *Ledger) Record(ctx context.Context, d Deed, action, no, detail string) error {
	args := d.args()
	return recordScript.Run(ctx, l.rdb, []string{l.keys.Audit()}, action, no, detail, args[0], args[1], args[2]).Err()
}

// Earliest says how soon an order may be collected again, by the settings of its workers.
type Earliest struct {
	MinGap  time.Duration
	Windows []time.Time // as in Limits
}

// CollectNow brings the next collect of an open order forward to now, or to the earliest
// time that e allows. The answer is Accepted, Duplicate (it is due as soon as may be, or a
// worker has it; nothing changed), Ended or NoOrder. The sweep leaves an order that is due
// now to the caller's task for grace.
func (l *Ledger) CollectNow(ctx context.Context, no string, d Deed, e Earliest, grace time.Duration) (Hastened, error) {
	windows := make([]int64, 0, len(e.Windows))
	for _, t := range e.Windows {
		windows = append(windows, t.UnixMilli())
	}
	r := run(ctx, l.rdb, collectNowScript, []string{l.keys.Order(no), l.keys.Due(), l.keys.Audit(), l.keys.Sweep()}, map[string]any{
		"no": no, "deed": d.args(), "gap": e.MinGap.Milliseconds(), "windows": windows, "grace": grace.Milliseconds(),
	})
	h := Hastened{Code: OpenCode(r.str()), State: State(r.str()), Round: r.int()}
	if due := r.int(); due > 0 && h.State.Open() {
		h.Due = time.UnixMilli(due)
	}
	h.Owner = owner.Owner{MchID: l.mchid, AppID: r.str(), ServiceID: r.str()}
	return h, r.err
}

// Hastened is the answer to CollectNow.
type Hastened struct {
	Code  OpenCode
	State State
	Round int64
	Due   time.Time // zero where the order has ended
	Owner owner.Owner
}
