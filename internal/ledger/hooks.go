package ledger

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Webhooks report the final states of orders to billing. The ledger keeps what is not
// delivered yet, in a list an order; the queue only carries the work, and may lose it.

// endTypes are the types of the events that webhooks report: final states, and closed
// books.
var endTypes = func() []string {
	types := []string{BooksClosed}
	for _, t := range EventTypes {
		if (Event{Type: t}).End() {
			types = append(types, t)
		}
	}
	return types
}()

// bookHook is what stands before a day in the name of the list in which its closed books
// wait for billing. No out_order_no has a colon; a worker of a release before the books
// refuses the task, and the list waits for one of this release.
const bookHook = "books:"

// ValidHook reports whether webhooks wait under a name other than an order's.
func ValidHook(name string) bool {
	_, ok := HookBook(name)
	return ok
}

// HookBook is the day whose closed books wait under a name; ok is false for an order's.
func HookBook(name string) (date BookDate, ok bool) {
	text, ok := strings.CutPrefix(name, bookHook)
	_, err := BookDate(text).Start()
	return BookDate(text), ok && err == nil
}

// DueHook is an order whose webhooks are due.
type DueHook struct {
	OutOrderNo string
	Round      int64 // of its task
}

// HookRelay is what one call of Ledger.RelayHooks brought.
type HookRelay struct {
	More    bool  // the stream may have more to take
	Foreign int64 // entries of such a type that have no valid out_order_no
	Orders  []DueHook
}

// HookRelayArgs says how to relay; see hooks.lua.
type HookRelayArgs struct {
	Scan, Take, Most int
	Grace            time.Duration
}

// RelayHooks moves final states from the stream to the lists of their orders, and
// returns orders whose delivery is due. The first call ever begins with the oldest
// event of the stream. Any number of workers may call it.
func (l *Ledger) RelayHooks(ctx context.Context, a HookRelayArgs) (HookRelay, error) {
	r := run(ctx, l.rdb, hooksScript,
		[]string{l.keys.Outcomes(), l.keys.Hooks(), l.keys.HookDue(), l.keys.HookWaiting()},
		map[string]any{
			"ends": endTypes, "scan": a.Scan, "take": a.Take, "most": a.Most, "grace": a.Grace.Milliseconds(),
		})
	ends := r.str() == "ends"
	relay := HookRelay{More: r.int() == 1, Foreign: r.int()}
	if ends {
		r = l.takeHooks(ctx, r, a)
		relay.More = r.str() == "moved" || relay.More
	}
	for r.more() {
		relay.Orders = append(relay.Orders, DueHook{r.str(), r.int()})
	}
	return relay, r.err
}

// takeHooks takes the ends that hooks.lua has found: the lists that they go into
// are keys of the call.
func (l *Ledger) takeHooks(ctx context.Context, found reader, a HookRelayArgs) reader {
	before, cursor := found.str(), found.str()
	keys := []string{l.keys.Hooks(), l.keys.HookDue(), l.keys.HookWaiting()}
	var ids, nos []string
	var fields []any
	for found.more() {
		id, no := found.str(), found.str()
		ids, nos, fields = append(ids, id), append(nos, no), append(fields, found.str())
		keys = append(keys, l.keys.Hook(no))
	}
	if found.err != nil {
		return found
	}
	return run(ctx, l.rdb, hookTakeScript, keys, map[string]any{
		"before": before, "cursor": cursor, "ids": ids, "nos": nos, "take": a.Take, "grace": a.Grace.Milliseconds(),
	}, fields...)
}

// HookClaim is the answer to a claim of an order's webhooks, or to a settlement that
// continues with the next one. The fields after Now are only filled if Code is Granted.
type HookClaim struct {
	Code Code // Granted, Absent, Leased or Stale; of settlements Granted, Absent, Settled or Lost
	Now  time.Time

	EntryID string // in the stream
	Fails   int64  // deliveries of it that have failed
	Event   Event
	// EventErr, an ErrEvent, says that the entry is not an event and can never be
	// delivered; else nil.
	EventErr error
}

// ClaimHook tries to take the lease of an order's webhooks, to deliver the oldest
// one. It can be repeated with the same token.
func (l *Ledger) ClaimHook(ctx context.Context, no, token string, round int64, lease time.Duration) (HookClaim, error) {
	return l.hook(ctx, hookClaimScript, no, map[string]any{
		"no": no, "token": token, "round": round, "lease": lease.Milliseconds(),
	})
}

// HookSettlement is what became of one delivery.
type HookSettlement struct {
	OutOrderNo, Token, EntryID string

	Done   bool          // delivered, or given up; else it is tried again
	Failed bool          // not Done, and to be counted
	Status int           // Failed: billing's HTTP status; 0 where it did not answer
	Why    string        // Failed: in a few words, for people
	Wait   time.Duration // not Done: until it is tried again
	Lease  time.Duration // Done: of the order's next end; 0 to leave that to others
}

// SettleHook writes a delivery down. It can be repeated.
func (l *Ledger) SettleHook(ctx context.Context, s HookSettlement) (HookClaim, error) {
	return l.hook(ctx, hookSettleScript, s.OutOrderNo, map[string]any{
		"no": s.OutOrderNo, "token": s.Token, "id": s.EntryID, "done": s.Done, "failed": s.Failed,
		"why":  strconv.Itoa(s.Status) + " " + s.Why,
		"wait": s.Wait.Milliseconds(), "lease": s.Lease.Milliseconds(),
	})
}

func (l *Ledger) hook(ctx context.Context, script *redis.Script, no string, args any) (HookClaim, error) {
	r := run(ctx, l.rdb, script, []string{l.keys.Hook(no), l.keys.Hooks(), l.keys.HookDue(), l.keys.HookWaiting()}, args)
	c := HookClaim{Code: Code(r.str()), Now: r.time()}
	head := r.str()
	c.Fails = r.int()
	if c.Code != Granted || r.err != nil {
		return c, r.err
	}
	id, body, _ := strings.Cut(head, " ")
	var list []string
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		list = nil // it was not written by the ledger: DecodeEvent reports that
	}
	fields := make(map[string]any, len(list)/2)
	for i := 0; i+1 < len(list); i += 2 {
		fields[list[i]] = list[i+1]
	}
	c.EntryID = id
	c.Event, c.EventErr = DecodeEvent(l.mchid, id, fields)
	return c, nil
}
