package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// EventTypes lists the types of events. An event whose type is a final state and whose
// State is another one reports a payment after that final state.
var EventTypes = []string{
	"order.opened", "order.attempted", "order.paid", "order.closed", "order.rejected",
	"order.withdrawn", "order.exhausted", "order.reopened", BooksClosed,
}

// BooksClosed is the type of the event that the books of a day were closed, or closed again
// with another result.
const BooksClosed = "books.closed"

// BooksListed is how many exceptions a BooksClosed lists at most.
const BooksListed = 100

// End reports whether the event is an order's final state, or a payment after one.
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

// The forms of an mchid and an out_order_no; package tasks explains them to people.
var (
	mchidForm   = regexp.MustCompile(`^[0-9]{1,32}$`)
	orderNoForm = regexp.MustCompile(`^[0-9A-Za-z_|*-]{1,32}$`)
)

// ErrEvent reports an entry of the stream that is not an event.
var ErrEvent = errors.New("the entry is not an event that this program wrote")

// ErrNewer reports an event of a type that this release does not know. A newer release
// wrote it, and readers pass over it.
var ErrNewer = errors.New("the event is of a type that this release does not know")

// typeForm is the form of the types of events.
var typeForm = regexp.MustCompile(`^[a-z]{1,32}\.[a-z_]{1,32}$`)

// DecodeEvent reads an entry of a merchant's stream, as the scripts write it. For an event
// of a type that it does not know it returns an ErrNewer, for any other entry an ErrEvent;
// their texts quote only the entry's ID. It ignores unknown fields, so that an older
// program can read a newer one's stream.
func DecodeEvent(mchid, entryID string, fields map[string]any) (Event, error) {
	bad := func(what string) (Event, error) {
		return Event{}, fmt.Errorf("event %s of merchant %s: %s: %w", clipID(entryID), clipID(mchid), what, ErrEvent)
	}
	ms, _, ok := parsePosition(entryID)
	if !ok {
		return bad("its ID is not one of a stream")
	}
	text := func(name string) string {
		s, _ := fields[name].(string)
		return readable(s)
	}
	kind := text("type")
	switch known := slices.Contains(EventTypes, kind); {
	case !mchidForm.MatchString(mchid):
		return bad("its mchid is invalid")
	case !known && typeForm.MatchString(kind):
		return Event{}, fmt.Errorf("event %s of merchant %s: %w", clipID(entryID), mchid, ErrNewer)
	case kind == BooksClosed:
		// Marshal compacts it, so that it is written the same each time it is read.
		result, err := json.Marshal(json.RawMessage(text("books")))
		if err != nil || result[0] != '{' {
			return bad("its books are not a JSON object")
		}
		return Event{ID: mchid + "-" + entryID, Type: BooksClosed, At: time.UnixMilli(ms).UTC(), MchID: mchid, Books: result}, nil
	}
	seq, numbers := int64(0), true
	if n := text("seq"); n != "" {
		var err error
		seq, err = strconv.ParseInt(n, 10, 64)
		numbers = err == nil && seq >= 0
	}
	e := Event{
		ID: mchid + "-" + entryID, Type: kind, At: time.UnixMilli(ms).UTC(), MchID: mchid, OutOrderNo: text("no"), Seq: seq,
		Call: text("call"), Verdict: text("verdict"), Code: text("code"), DetailCode: text("detail"), By: text("by"),
	}
	numbers = decode(&e, eventDecoding, func(field Field) string { return text(field.Event) }) && numbers
	payments, _ := fields["payments"].(string)
	list, ok := parsePayments(payments)
	e.Payments, numbers = list, numbers && ok
	switch {
	case !numbers:
		return bad("a numeric field is not a number")
	case !orderNoForm.MatchString(e.OutOrderNo):
		return bad("its out_order_no is invalid")
	case !e.State.Valid():
		return bad("its state is unknown")
	case !slices.Contains(EventTypes, e.Type):
		return bad("its type is unknown")
	}
	if e.EndedAt.IsZero() && e.Type == "order."+string(e.State) {
		e.EndedAt = e.At // 0.1.0 did not write it, and had no other event of an ended order
	}
	return e, nil
}

var eventDecoding = decodingOf[Event]()

// readable is a text that every reader can take. WeChat Pay's words are passed on
// unchanged, but neither JSON nor PostgreSQL can write broken UTF-8, and PostgreSQL
// cannot write NUL.
func readable(s string) string {
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	}
	return s
}

// parsePosition reads the ID of a stream's entry, "<ms>-<n>", as Redis writes it
// and in no other form: one event must not have two IDs.
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
