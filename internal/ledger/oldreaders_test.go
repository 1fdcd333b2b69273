package ledger_test

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// The rules by which releases before the books read an entry of the stream. This is a
// fixture: it stays as those releases were.
var (
	oldTypes = []string{
		"order.opened", "order.attempted", "order.paid", "order.closed", "order.rejected",
		"order.withdrawn", "order.exhausted", "order.reopened",
	}
	oldEnds    = []string{"order.paid", "order.closed", "order.rejected", "order.withdrawn", "order.exhausted"}
	oldStates  = []string{"queued", "awaiting", "paid", "closed", "rejected", "withdrawn", "exhausted"}
	oldOrderNo = regexp.MustCompile(`^[0-9A-Za-z_|*-]{1,32}$`)
	oldAmounts = []string{"seq", "total", "paid", "attempts", "billing", "opened", "ended", "late", "owed"}
)

// oldReads reports whether such a release takes the entry for an event. Their readers log
// any other as event_unreadable, skip it and acknowledge it with the batch.
func oldReads(fields map[string]any) bool {
	text := func(name string) string { s, _ := fields[name].(string); return s }
	for _, name := range oldAmounts {
		if s := text(name); s != "" {
			if n, err := strconv.ParseInt(s, 10, 64); err != nil || n < 0 {
				return false
			}
		}
	}
	return oldOrderNo.MatchString(text("no")) && slices.Contains(oldStates, text("state")) && slices.Contains(oldTypes, text("type"))
}

// Readers of releases before the books skip the event of closed books: they take it for no
// order's, and every event around it as before.
func TestOldReadersSkipClosedBooks(t *testing.T) {
	s := newSetup(t)
	now := time.Now().Truncate(time.Second)
	day := ledger.BookDateOf(now.Add(-24 * time.Hour))
	book := func(n string) {
		t.Helper()
		text := []byte(`{"date":"` + string(day) + `","exceptions":[],"n":` + n + `}`)
		if _, err := s.ledger.CloseBook(t.Context(), day, text, text, nil, nil, ledger.BookPlan{}); err != nil {
			t.Fatal(err)
		}
	}
	book("1")
	s.open("A")
	book("2")
	book("2") // a repetition is no event
	s.settle(s.granted("A"), paidBy(tasks.Paid, "T1", 100, now))
	book("3")
	entries, err := s.redis.Client.XRange(t.Context(), ledger.KeysOf(mchid).Outcomes(), "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	var before, after []string
	for _, entry := range entries {
		if kind, _ := entry.Values["type"].(string); oldReads(entry.Values) {
			before = append(before, kind)
		}
		e, err := ledger.DecodeEvent(mchid, entry.ID, entry.Values)
		if err != nil {
			t.Fatal(err)
		}
		after = append(after, e.Type)
	}
	if want := []string{"order.opened", "order.paid"}; !slices.Equal(before, want) {
		t.Errorf("an old reader gets %q, want %q", before, want)
	}
	if want := []string{"books.closed", "order.opened", "books.closed", "order.paid", "books.closed"}; !slices.Equal(after, want) {
		t.Errorf("this one gets %q, want %q", after, want)
	}

	// Their relay of webhooks passes over what is no order's final state. Of a task that a
	// relay of this release has made, their worker refuses the out_order_no before it claims
	// anything, so that the event waits for a worker of this release.
	if slices.Contains(oldEnds, ledger.BooksClosed) {
		t.Error("an old relay takes closed books")
	}
	if _, err := s.ledger.RelayHooks(t.Context(), ledger.HookRelayArgs{Scan: 100, Take: 10, Most: 100, Grace: time.Minute}); err != nil {
		t.Fatal(err)
	}
	nos, err := s.redis.Client.ZRange(t.Context(), ledger.KeysOf(mchid).HookWaiting(), 0, -1).Result()
	if err != nil || len(nos) != 2 {
		t.Fatalf("waiting: %q, %v", nos, err)
	}
	for _, no := range nos {
		if old := oldOrderNo.MatchString(no); old == strings.HasPrefix(no, "books:") || old == ledger.ValidHook(no) {
			t.Errorf("%q is an out_order_no to an old worker: %t", no, old)
		}
	}
}
