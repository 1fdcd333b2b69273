package ledger

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Event is one thing that happened to an order, with all that was known of the
// order after it: the newest event of an order is the order. Its JSON is part of
// the interface: amounts in fen, times RFC 3339, absent fields left out.
type Event struct {
	ID         string    `json:"id"`   // unique; "<mchid>-<ms>-<n>", which is the order of a merchant's events
	Type       string    `json:"type"` // see EventTypes
	At         time.Time `json:"at"`   // Redis's clock
	MchID      string    `json:"mchid"`
	OutOrderNo string    `json:"out_order_no"`
	Seq        int64     `json:"seq,omitempty"` // of the order's events, from 1 on, without a gap; absent before 0.2
	State      State     `json:"state"`
	Reason     string    `json:"reason,omitempty"`

	AppID         string    `json:"appid,omitempty"`
	ServiceID     string    `json:"service_id,omitempty"`
	OrderID       string    `json:"order_id,omitempty"`
	TransactionID string    `json:"transaction_id,omitempty"`
	PaidType      string    `json:"paid_type,omitempty"`
	TotalAmount   *int64    `json:"total_amount,omitempty"`
	PaidAmount    *int64    `json:"paid_amount,omitempty"`
	Attempts      int64     `json:"attempts,omitempty"`
	OpenedAt      time.Time `json:"opened_at,omitzero"`
	EndedAt       time.Time `json:"ended_at,omitzero"`        // of the order, not of the event: absent while it is open
	LatePaymentAt time.Time `json:"late_payment_at,omitzero"` // see Order
	Sync          SyncState `json:"sync,omitempty"`

	Payments      []Payment `json:"payments,omitempty"`       // every one that is known, see Order
	BillingAmount *int64    `json:"billing_amount,omitempty"` // see Order
	OwedSince     time.Time `json:"owed_since,omitzero"`      // see Order

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

// What an mchid and an out_order_no look like; package tasks says it to people.
var (
	mchidForm   = regexp.MustCompile(`^[0-9]{1,32}$`)
	orderNoForm = regexp.MustCompile(`^[0-9A-Za-z_|*-]{1,32}$`)
)

// ErrEvent: an entry of the stream is not an event of ours.
var ErrEvent = errors.New("the entry is not an event that this program wrote")

// DecodeEvent reads an entry of a merchant's stream, as the scripts write it. Any
// entry that is not of that form is an ErrEvent, whose text quotes nothing of the
// entry but its ID; fields that it does not know are let through, so that an older
// program can read a newer one's stream.
func DecodeEvent(mchid, entryID string, fields map[string]any) (Event, error) {
	bad := func(what string) (Event, error) {
		return Event{}, fmt.Errorf("event %s of merchant %s: %s: %w", clipID(entryID), clipID(mchid), what, ErrEvent)
	}
	ms, _, ok := parsePosition(entryID)
	if !ok {
		return bad("its ID is not one of a stream")
	}
	f := entryFields{fields: fields}
	e := Event{
		ID: mchid + "-" + entryID, Type: f.str("type"), At: time.UnixMilli(ms).UTC(),
		MchID: mchid, OutOrderNo: f.str("no"), Seq: f.count("seq"),
		State: State(f.str("state")), Reason: f.str("reason"),
		AppID: f.str("appid"), ServiceID: f.str("service_id"),
		OrderID: f.str("order_id"), TransactionID: f.str("transaction_id"), PaidType: f.str("paid_type"),
		TotalAmount: f.num("total"), PaidAmount: f.num("paid"), Attempts: f.count("attempts"),
		OpenedAt: f.time("opened"), EndedAt: f.time("ended"), LatePaymentAt: f.time("late"),
		Sync:     SyncState(f.str("sync")),
		Payments: f.payments("payments"), BillingAmount: f.num("billing"), OwedSince: f.time("owed"),
		Call: f.str("call"), Verdict: f.str("verdict"), Code: f.str("code"), DetailCode: f.str("detail"),
	}
	switch {
	case f.bad:
		return bad("one of its numbers is none")
	case !mchidForm.MatchString(mchid):
		return bad("its merchant cannot be one")
	case !orderNoForm.MatchString(e.OutOrderNo):
		return bad("its out_order_no cannot be one")
	case !e.State.Valid():
		return bad("its state is not known")
	case !slices.Contains(EventTypes, e.Type):
		return bad("its type is not known")
	}
	if e.EndedAt.IsZero() && e.Type == "order."+string(e.State) {
		e.EndedAt = e.At // 0.1.0 did not write it, and had no other event of an ended order
	}
	return e, nil
}

// entryFields takes the fields of an entry apart, and remembers whether each
// number was one.
type entryFields struct {
	fields map[string]any
	bad    bool
}

// str is a text that every reader can take: WeChat Pay's words are passed on as
// they came, but neither JSON nor PostgreSQL has a way to write broken UTF-8, and
// PostgreSQL none for NUL.
func (f *entryFields) str(name string) string {
	s, _ := f.fields[name].(string)
	return readable(s)
}

func readable(s string) string {
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	}
	return s
}

// payments is a list of payments; nil where the field is empty or absent.
func (f *entryFields) payments(name string) []Payment {
	s, _ := f.fields[name].(string)
	list, ok := parsePayments(s)
	f.bad = f.bad || !ok
	return list
}

// num is a count or an amount; nil where the field is empty or absent.
func (f *entryFields) num(name string) *int64 {
	s, _ := f.fields[name].(string)
	if s == "" {
		return nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	f.bad = f.bad || err != nil || n < 0
	return &n
}

// count is a num that is 0 where the field is empty or absent.
func (f *entryFields) count(name string) int64 {
	if n := f.num(name); n != nil {
		return *n
	}
	return 0
}

// time is a moment in Unix milliseconds; zero where the field is empty or absent.
func (f *entryFields) time(name string) time.Time {
	ms := f.count(name)
	f.bad = f.bad || ms > latestMS
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// latestMS is the end of the year 9999: RFC 3339 cannot write a later time.
const latestMS = 253402300799999

// parsePosition reads the ID of a stream's entry, "<ms>-<n>", as Redis writes it
// and in no other way: one event must not have two IDs.
func parsePosition(id string) (ms, n int64, ok bool) {
	left, right, _ := strings.Cut(id, "-")
	ms, err := strconv.ParseInt(left, 10, 64)
	n, err2 := strconv.ParseInt(right, 10, 64)
	ok = err == nil && err2 == nil && ms >= 0 && ms <= latestMS && n >= 0 &&
		id == strconv.FormatInt(ms, 10)+"-"+strconv.FormatInt(n, 10)
	return ms, n, ok
}

func clipID(id string) string {
	if len(id) > 48 {
		id = id[:48] + "…"
	}
	return strconv.Quote(id)
}
