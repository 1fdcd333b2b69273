package ledger_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// testdata/takeover is what an earlier release wrote for nine orders before its worker was
// killed: every key of the ledger, and what its "outcomes get --json" said of each.
const earlierMchID = "1900000109"

// earlierStopped is a little after the earlier worker was killed.
var earlierStopped = time.UnixMilli(1795741109000)

// earlierLedger is that ledger, in a Redis whose scripts have the time of then.
func earlierLedger(t *testing.T) (*ledger.Ledger, *redistest.Server) {
	t.Parallel()
	srv := redistest.Start(t)
	redistest.ScriptClock(t, srv.Client).Set(earlierStopped)
	body, err := os.ReadFile("testdata/takeover/ledger.json")
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]struct {
		Hash, Zset map[string]string
		List       []string
		Stream     [][]string
	}
	if err := json.Unmarshal(body, &keys); err != nil {
		t.Fatal(err)
	}
	raw := func(s string) string {
		if digits, ok := strings.CutPrefix(s, "hex:"); ok {
			b, err := hex.DecodeString(digits)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		return s
	}
	ctx, pipe := t.Context(), srv.Client.Pipeline()
	for key, v := range keys {
		for field, value := range v.Hash {
			pipe.HSet(ctx, key, field, raw(value))
		}
		for _, value := range v.List {
			pipe.RPush(ctx, key, raw(value))
		}
		for member, score := range v.Zset {
			n, err := strconv.ParseFloat(score, 64)
			if err != nil {
				t.Fatal(err)
			}
			pipe.ZAdd(ctx, key, redis.Z{Score: n, Member: member})
		}
		for _, entry := range v.Stream {
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: key, ID: entry[0], Values: entry[1:]})
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	return ledger.New(srv.Client, earlierMchID), srv
}

// All that the earlier release said of an order, this one says too.
func TestTakeover_EarlierRecordsAreReadAlike(t *testing.T) {
	l, srv := earlierLedger(t)
	body, err := os.ReadFile("testdata/takeover/get.json")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		var want, got map[string]any
		if err := json.Unmarshal([]byte(line), &want); err != nil {
			t.Fatal(err)
		}
		no := want["out_order_no"].(string)
		o, err := l.Get(t.Context(), no)
		if err != nil {
			t.Fatalf("%s: %v", no, err)
		}
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		for name := range got {
			if _, ok := want[name]; !ok {
				delete(got, name) // this release says more
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s is read differently (-then +now):\n%s", no, diff)
		}
	}
	entries, err := srv.Client.XRange(t.Context(), ledger.KeysOf(earlierMchID).Outcomes(), "-", "+").Result()
	if err != nil || len(entries) == 0 {
		t.Fatal(len(entries), err)
	}
	for _, e := range entries {
		if _, err := ledger.DecodeEvent(earlierMchID, e.ID, e.Values); err != nil {
			t.Error(err)
		}
	}
}

// This release continues where the earlier worker was killed, and what it writes has the
// names and the forms that the earlier release reads.
func TestTakeover_IsContinuedAndGivenBack(t *testing.T) {
	l, srv := earlierLedger(t)
	ctx := t.Context()
	k := ledger.KeysOf(earlierMchID)
	for _, no := range []string{"NEW", "AGAIN"} {
		pipe := srv.Client.Pipeline()
		pipe.HSet(ctx, k.Order(no), "due", earlierStopped.UnixMilli())
		pipe.ZAdd(ctx, k.Due(), redis.Z{Score: float64(earlierStopped.UnixMilli()), Member: no})
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
	}
	swept, err := l.Sweep(ctx, ledger.SweepArgs{Limit: 10, Closed: 10, Grace: time.Second})
	if err != nil || len(swept.Orders) != 2 {
		t.Fatalf("the sweep takes %+v, %v; want the two orders that are due", swept.Orders, err)
	}
	lim := limits()
	for _, no := range []string{"NEW", "AGAIN"} {
		c, err := l.Claim(ctx, no, ledger.NewToken(), ledger.NoRound, lim)
		if err != nil || c.Code != ledger.Granted {
			t.Fatalf("%s: claim %q, %v; want granted", no, c.Code, err)
		}
		fen := int64(700)
		facts := ledger.Facts{
			OrderID: "10000000000000000005", TransactionID: "4200020261127000000000000501", PaidType: "NEWTON", Total: &fen, Paid: &fen, Done: true,
			Payments: []ledger.Payment{{Seq: 1, TransactionID: "4200020261127000000000000501", Amount: 700, PaidType: "NEWTON", PaidAt: earlierStopped}},
		}
		set := ledger.Settlement{State: tasks.Paid, Facts: facts, VerifiedPaid: true, Call: "query", Verdict: "paid", First: time.Second, Most: time.Second, Failures: 5,
			Log: []ledger.Entry{{Call: "query", Verdict: "paid", HTTPStatus: 200}}}
		if no == "NEW" {
			set.State, set.Facts, set.VerifiedPaid, set.Verdict = tasks.Awaiting, ledger.Facts{}, false, "declined"
			set.Next, set.Due, set.Collected, set.Declines, set.AddAttempts = ledger.Recheck, earlierStopped.Add(time.Hour), earlierStopped, 1, 1
		}
		if res, err := l.Settle(ctx, c, set); err != nil || res.Code != ledger.Settled {
			t.Fatalf("%s: settle %q, %v; want settled", no, res.Code, err)
		}
	}
	if o, err := l.Get(ctx, "AGAIN"); err != nil || o.State != tasks.Paid || *o.PaidAmount != 700 || len(o.Past) != 1 {
		t.Errorf("the order that was reopened is %+v, %v; want paid, with its past", o, err)
	}
	earlierReads(t, srv.Client, k)
}

// earlierForms are the forms of a record's fields that the earlier release reads. It passes
// over fields that are not among them.
var earlierForms = func() map[string]*regexp.Regexp {
	forms := map[string]*regexp.Regexp{
		"state": regexp.MustCompile(`^(queued|awaiting|paid|closed|rejected|withdrawn|exhausted)$`),
		"next":  regexp.MustCompile(`^(collect|recheck|confirm|resolve|inspect|final|sync)$`),
		"sync":  regexp.MustCompile(`^(pending|done|failed|not_needed)$`),
		"done":  regexp.MustCompile(`^\d+( |$)`),
		"past":  regexp.MustCompile(`^\[\{.*"state":.*\}\]$`), "paidat": regexp.MustCompile(`^\d{14}$`),
	}
	for name := range strings.FieldsSeq("due round since opened events collects queries syncs attempts declines confirms fails missing collected lease token ended late life total paid bill owed") {
		forms[name] = regexp.MustCompile(`^\d+$`)
	}
	return forms
}()

// earlierReads fails where a record of a ledger has what the earlier release cannot read.
func earlierReads(t testing.TB, rdb *redis.Client, k ledger.Keys) {
	t.Helper()
	ctx := context.Background()
	orders, err := rdb.Keys(ctx, k.Order("*")).Result()
	if err != nil || len(orders) == 0 {
		t.Fatal(len(orders), err)
	}
	for _, key := range orders {
		for name, value := range rdb.HGetAll(ctx, key).Val() {
			if form := earlierForms[name]; form != nil && !form.MatchString(value) {
				t.Errorf("%s has %s %q, which the earlier release cannot read: it wants %s", key, name, value, form)
			}
		}
	}
}
