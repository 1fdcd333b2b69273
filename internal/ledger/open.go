package ledger

import (
	"cmp"
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/owner"
)

// Opening is an order to open. See tasks.Order for the fields that package tasks has
// as well.
type Opening struct {
	owner.Owner
	OutOrderNo string
	At         time.Time
	Reopen     bool
	Amount     int64
	OwedSince  time.Time
	Schedule   string
	// Grace is how long the sweep leaves the order to the task that the caller is
	// about to enqueue.
	Grace time.Duration
	// Deed is a reopening's.
	Deed Deed
}

// OpenCode is what became of an Opening.
type OpenCode string

// The codes of open.lua and withdraw.lua; their headers say more.
const (
	Accepted  OpenCode = "accepted"  // written
	Duplicate OpenCode = "duplicate" // open, or withdrawn, already
	Conflict  OpenCode = "conflict"  // open under another owner
	Ended     OpenCode = "ended"     // the order has ended
	NoOrder   OpenCode = "absent"    // withdraw.lua: there is no such order
)

// Opened is the answer to an Opening.
type Opened struct {
	Code  OpenCode
	State State
	Round int64
	Due   time.Time // zero where the order has ended
	Now   bool      // the order is due now
	Err   error     // not nil where Redis failed; the order may have been opened all the same
}

// openTogether is how many orders one call of open.lua opens. Redis serves no other
// client meanwhile, for one or two milliseconds.
const openTogether = 50

// reopened are the states whose orders can be opened again; open.lua has the same.
var reopened = []State{Closed, Rejected, Withdrawn, Exhausted}

// Open opens orders, of any merchants, in one pipeline and returns the answer for
// each. It enqueues nothing.
func Open(ctx context.Context, rdb redis.UniversalClient, orders []Opening) []Opened {
	type kind struct {
		mchid  string
		reopen bool
		grace  time.Duration
		deed   Deed // of a reopening
	}
	type call struct {
		kind
		at  []int // the orders' places
		cmd *redis.Cmd
	}
	filling := map[kind]*call{}
	var calls []*call
	for i, o := range orders {
		k := kind{mchid: o.MchID, reopen: o.Reopen, grace: o.Grace}
		if o.Reopen {
			k.deed = o.Deed
		}
		c := filling[k]
		if c == nil || len(c.at) == openTogether {
			c = &call{kind: k}
			filling[k], calls = c, append(calls, c)
		}
		c.at = append(c.at, i)
	}
	args := func(c *call) ([]string, []any) {
		keys := KeysOf(c.mchid)
		names := append(make([]string, 0, 7+len(reopened)+len(c.at)), keys.Due(), keys.Outcomes(), keys.Stats(), keys.Sweep())
		args := append(make([]any, 0, 2+7*len(c.at)), c.grace.Milliseconds(), "")
		if c.reopen {
			args[1] = c.deed.text()
			for _, state := range reopened {
				names = append(names, keys.Ended(state))
			}
			names = append(names, keys.Audit(), keys.Words(), keys.Recovery())
		}
		for _, i := range c.at {
			names, args = append(names, keys.Order(orders[i].OutOrderNo)), append(args, orders[i].args()...)
		}
		return names, args
	}
	if len(calls) > 1 {
		pipe := rdb.Pipeline()
		for _, c := range calls {
			keys, args := args(c)
			c.cmd = openScript.EvalSha(ctx, pipe, keys, args...)
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
	}
	opened := make([]Opened, len(orders))
	for _, c := range calls {
		// A node that does not know the script has run nothing.
		if c.cmd == nil || redis.HasErrorPrefix(c.cmd.Err(), "NOSCRIPT") {
			keys, args := args(c)
			c.cmd = openScript.Run(ctx, rdb, keys, args...)
		}
		reply, err := c.cmd.Slice()
		if err == nil && len(reply) != 1+len(c.at) {
			err = errReply
		}
		for n, i := range c.at {
			if opened[i].Err = err; err == nil {
				opened[i] = readOpened(reply[0], reply[1+n])
			}
		}
	}
	return opened
}

// args are an order's arguments of open.lua.
func (o Opening) args() []any {
	var amount, owed any = "", ""
	if o.Amount > 0 {
		amount = o.Amount
	}
	if !o.OwedSince.IsZero() {
		owed = o.OwedSince.UnixMilli()
	}
	return []any{o.OutOrderNo, o.AppID, o.ServiceID, max(0, unixMS(o.At)), amount, owed, o.Schedule}
}

// readOpened reads what open.lua says of one order: the due time of a new one, else
// how the order stands.
func readOpened(now, said any) Opened {
	o, due := Opened{Code: Accepted, State: Queued, Round: 1}, int64(0)
	r := reader{vals: []any{now, said}}
	at := r.int()
	if n, isNew := said.(int64); isNew {
		due = n
	} else {
		old := reader{vals: r.list()}
		o.Code, o.State, o.Round, due = OpenCode(old.str()), State(old.str()), old.int(), old.int()
		r.err = cmp.Or(r.err, old.err)
	}
	o.Now, o.Err = due <= at, r.err
	if due > 0 {
		o.Due = time.UnixMilli(due)
	}
	return o
}

// Open opens an order of this ledger's merchant, whatever o says of the merchant. It
// enqueues nothing.
func (l *Ledger) Open(ctx context.Context, o Opening) (Opened, error) {
	if !l.introduced.Load() {
		if err := Introduce(ctx, l.rdb, l.mchid); err != nil {
			return Opened{}, err
		}
		l.introduced.Store(true)
	}
	o.MchID = l.mchid
	opened := Open(ctx, l.rdb, []Opening{o})[0]
	return opened, opened.Err
}

// Introduce enters merchants in the directory of ledgers.
func Introduce(ctx context.Context, rdb redis.UniversalClient, mchids ...any) error {
	return rdb.SAdd(ctx, MerchantsKey, mchids...).Err()
}

// Withdrawing is the answer to a withdrawal.
type Withdrawing struct {
	Code  OpenCode // Accepted, Duplicate, Ended or NoOrder
	State State
	Round int64
	Owner owner.Owner
}

// Withdraw ends an open order on billing's word; see tasks.Producer. The sweep leaves
// an order of which WeChat Pay must be notified to the caller's task for grace.
func (l *Ledger) Withdraw(ctx context.Context, no string, d Deed, paidAt time.Time, grace time.Duration) (Withdrawing, error) {
	deed := d.args()
	at := ""
	if !paidAt.IsZero() {
		at = paidAt.In(China).Format(PaidTime)
	}
	r := replyTo(withdrawScript.Run(ctx, l.rdb,
		[]string{l.keys.Order(no), l.keys.Due(), l.keys.Outcomes(), l.keys.Stats(), l.keys.Ended(Withdrawn), l.keys.Audit(), l.keys.Words(), l.keys.Sweep(), l.keys.Recovery(), l.keys.Log(no)},
		no, d.Reason, at, grace.Milliseconds(), deed[0], deed[2]))
	w := Withdrawing{Code: OpenCode(r.str()), State: State(r.str()), Round: r.int()}
	w.Owner = owner.Owner{MchID: l.mchid, AppID: r.str(), ServiceID: r.str()}
	return w, r.err
}

// PaidTime is how WeChat Pay writes the time of a payment in a body, on China's clock.
const PaidTime = "20060102150405"

// China is the time zone of WeChat Pay's bodies. It has had no daylight saving time
// since 1991, and a fixed zone needs no time zone database.
var China = time.FixedZone("Asia/Shanghai", 8*60*60)

// MaxAmount is the largest amount that the ledger takes, in fen: a hundred thousand
// million yuan.
const MaxAmount = 10_000_000_000_000
