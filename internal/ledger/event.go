package ledger

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"payscore-collector/tasks"
)

// Event is one thing that happened to an order, with all that was known of the
// order after it: the newest event of an order is the order. Its JSON is part of
// the interface: amounts in fen, times RFC 3339, absent fields left out.
type Event struct {
	ID         string      `json:"id"`   // unique; "<mchid>-<ms>-<n>", which is the order of a merchant's events
	Type       string      `json:"type"` // see EventTypes
	At         time.Time   `json:"at"`   // Redis's clock
	MchID      string      `json:"mchid"`
	OutOrderNo string      `json:"out_order_no"`
	Seq        int64       `json:"seq,omitempty"` // of the order's events, from 1 on, without a gap; absent before 0.2
	State      tasks.State `json:"state"`
	Reason     string      `json:"reason,omitempty"`

	AppID         string    `json:"appid,omitempty"`
	ServiceID     string    `json:"service_id,omitempty"`
	OrderID       string    `json:"order_id,omitempty"`
	TransactionID string    `json:"transaction_id,omitempty"`
	PaidType      string    `json:"paid_type,omitempty"`
	TotalAmount   *int64    `json:"total_amount,omitempty"`
	PaidAmount    *int64    `json:"paid_amount,omitempty"`
	Attempts      int64     `json:"attempts,omitempty"`
	OpenedAt      time.Time `json:"opened_at,omitzero"`
	Sync          SyncState `json:"sync,omitempty"`

	// Of the call (or notification) that it came from.
	Call       string `json:"call,omitempty"`
	Verdict    string `json:"verdict,omitempty"`
	Code       string `json:"code,omitempty"`
	DetailCode string `json:"detail_code,omitempty"`
}

// EventTypes lists the types of events. An event whose type is an end and whose
// State is another one is a payment that came after that end.
var EventTypes = []string{
	"order.opened", "order.attempted", "order.paid", "order.closed", "order.rejected",
	"order.withdrawn", "order.exhausted", "order.reopened",
}

// End reports whether the event is an order's end, or a payment after one.
func (e Event) End() bool {
	switch e.Type {
	case "order.paid", "order.closed", "order.rejected", "order.withdrawn", "order.exhausted":
		return true
	}
	return false
}

// Position is where the event stands in its merchant's stream: milliseconds, and
// the place within the millisecond. Of two events of an order, the later one has
// the greater position.
func (e Event) Position() (ms, n int64) {
	ms, n, _ = parsePosition(strings.TrimPrefix(e.ID, e.MchID+"-"))
	return ms, n
}

// ErrEvent: an entry of the stream is not an event of ours.
var ErrEvent = errors.New("the entry is not an event that this program wrote")

// DecodeEvent reads an entry of a merchant's stream, as the scripts write it. Any
// entry that is not of that form is an ErrEvent; fields that it does not know are
// let through, so that an older program can read a newer one's stream.
func DecodeEvent(mchid, entryID string, fields map[string]any) (Event, error) {
	bad := func(what string) (Event, error) {
		return Event{}, fmt.Errorf("event %s of merchant %s: %s: %w", clipID(entryID), mchid, what, ErrEvent)
	}
	ms, _, ok := parsePosition(entryID)
	if !ok {
		return bad("its ID is not one of a stream")
	}
	str := func(name string) string { s, _ := fields[name].(string); return s }
	numbers := true
	num := func(name string) *int64 {
		s := str(name)
		if s == "" {
			return nil
		}
		n, err := strconv.ParseInt(s, 10, 64)
		numbers = numbers && err == nil && n >= 0
		return &n
	}
	count := func(name string) int64 {
		if n := num(name); n != nil {
			return *n
		}
		return 0
	}
	e := Event{
		ID: mchid + "-" + entryID, Type: str("type"), At: time.UnixMilli(ms).UTC(),
		MchID: mchid, OutOrderNo: str("no"), Seq: count("seq"),
		State: tasks.State(str("state")), Reason: str("reason"),
		AppID: str("appid"), ServiceID: str("service_id"),
		OrderID: str("order_id"), TransactionID: str("transaction_id"), PaidType: str("paid_type"),
		TotalAmount: num("total"), PaidAmount: num("paid"), Attempts: count("attempts"),
		Sync: SyncState(str("sync")),
		Call: str("call"), Verdict: str("verdict"), Code: str("code"), DetailCode: str("detail"),
	}
	if opened := count("opened"); opened > 0 {
		e.OpenedAt = time.UnixMilli(opened).UTC()
	}
	switch {
	case !numbers:
		return bad("one of its numbers is none")
	case tasks.ValidateOutOrderNo(e.OutOrderNo) != nil:
		return bad("its out_order_no cannot be one")
	case !e.State.Valid():
		return bad("its state is not known")
	case !knownType(e.Type):
		return bad("its type is not known")
	}
	return e, nil
}

func knownType(t string) bool {
	for _, known := range EventTypes {
		if t == known {
			return true
		}
	}
	return false
}

// parsePosition reads the ID of a stream's entry, "<ms>-<n>".
func parsePosition(id string) (ms, n int64, ok bool) {
	left, right, found := strings.Cut(id, "-")
	ms, err := strconv.ParseInt(left, 10, 64)
	n, err2 := strconv.ParseInt(right, 10, 64)
	// Later than the year 9999 no time can be written in RFC 3339.
	const latest = 253402300799999
	return ms, n, found && err == nil && err2 == nil && ms >= 0 && ms <= latest && n >= 0
}

func clipID(id string) string {
	if len(id) > 48 {
		id = id[:48] + "…"
	}
	return strconv.Quote(id)
}
