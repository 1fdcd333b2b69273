package ledger_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

const mchid = "1900000001"

// setup is a ledger on a Redis of its own.
type setup struct {
	*testing.T
	redis    *redistest.Server
	ledger   *ledger.Ledger
	producer *tasks.Producer
}

func newSetup(t *testing.T) *setup {
	t.Parallel()
	return newSetupSerial(t)
}

// newSetupSerial is newSetup for tests that need several ledgers.
func newSetupSerial(t *testing.T) *setup {
	r := redistest.Start(t)
	return &setup{T: t, redis: r, ledger: ledger.New(r.Client, mchid), producer: tasks.NewProducer(r.Client)}
}

// timed is a setup whose scripts have a clock that only the test moves.
type timed struct {
	*setup
	clock redistest.Scripted
	now   time.Time
}

func newTimed(t *testing.T) *timed {
	s := &timed{setup: newSetup(t), now: time.Now().Truncate(time.Millisecond)}
	s.clock = redistest.ScriptClock(t, s.redis.Client)
	s.pass(0)
	return s
}

// pass moves the clock, ahead or back.
func (s *timed) pass(d time.Duration) {
	s.Helper()
	s.now = s.now.Add(d)
	s.clock.Set(s.now)
}

// openOrder opens an order and enqueues nothing.
func openOrder(ctx context.Context, l *ledger.Ledger, o tasks.Order) error {
	_, err := l.Open(ctx, ledger.Opening{
		Owner: o.Owner(), OutOrderNo: o.OutOrderNo, At: o.At, Reopen: o.Reopen, Amount: o.Amount, OwedSince: o.OwedSince,
	})
	return err
}

func payload(no string) tasks.Payload {
	return tasks.Payload{MchID: mchid, OutOrderNo: no, AppID: "wx1", ServiceID: "s1"}
}

func (s *setup) open(no string) {
	s.Helper()
	if err := openOrder(s.Context(), s.ledger, tasks.Order{Payload: payload(no)}); err != nil {
		s.Fatal(err)
	}
}

// limits are such that nothing keeps a claim back.
func limits() ledger.Limits {
	return ledger.Limits{Lease: 10 * time.Second, Rate: 1e6, Horizon: time.Second, Most: 30 * time.Second}
}

func (s *setup) claim(no string, lim ledger.Limits) ledger.Claim {
	s.Helper()
	c, err := s.ledger.Claim(s.Context(), no, ledger.NewToken(), ledger.NoRound, lim)
	if err != nil {
		s.Fatal(err)
	}
	return c
}

func (s *setup) granted(no string) ledger.Claim {
	s.Helper()
	c := s.claim(no, limits())
	if c.Code != ledger.Granted {
		s.Fatalf("claim of %s: %s", no, c.Code)
	}
	return c
}

func (s *setup) settle(c ledger.Claim, set ledger.Settlement) (ledger.Code, ledger.GateChange) {
	s.Helper()
	if set.First == 0 {
		set.First = 5 * time.Second
	}
	if set.Most == 0 {
		set.Most = 30 * time.Second
	}
	if set.Failures == 0 {
		set.Failures = 10
	}
	res, err := s.ledger.Settle(s.Context(), c, set)
	if err != nil {
		s.Fatal(err)
	}
	return res.Code, res.Gate
}

func (s *setup) get(no string) ledger.Order {
	s.Helper()
	o, err := s.ledger.Get(s.Context(), no)
	if err != nil {
		s.Fatal(err)
	}
	return o
}

func (s *setup) stats() map[tasks.State]int64 {
	s.Helper()
	st, err := s.ledger.Stats(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	for state, n := range st.Orders {
		if n == 0 {
			delete(st.Orders, state)
		}
	}
	return st.Orders
}

func entry(call, verdict string) ledger.Entry { return ledger.Entry{Call: call, Verdict: verdict} }

// back gives an order back, due at once.
func back(c ledger.Claim, next ledger.Plan) ledger.Settlement {
	return ledger.Settlement{State: tasks.Awaiting, Next: next, Due: c.Now, Log: []ledger.Entry{entry("collect", "declined")}}
}

func (s *setup) until(ok func() bool) {
	s.Helper()
	testkit.Eventually(s, "the condition", ok)
}

func TestGetAndList(t *testing.T) {
	s := newSetup(t)
	if _, err := s.ledger.Get(t.Context(), "NONE"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("%v", err)
	}
	s.open("A|B*C")
	c := s.granted("A|B*C")
	set := back(c, ledger.Recheck)
	set.AddAttempts = 1
	set.Log = []ledger.Entry{{
		Call: "collect", Verdict: "declined", HTTPStatus: 403, Code: "TRADE_ERROR", DetailCode: "271316574",
		Message: "扣款失败", RequestID: "08F-271316574", ElapsedMS: 12, Failed: true,
	}}
	s.settle(c, set)
	o := s.get("A|B*C")
	want := &ledger.LastError{HTTPStatus: 403, Code: "TRADE_ERROR", DetailCode: "271316574", Message: "扣款失败", RequestID: "08F-271316574"}
	if diff := cmp.Diff(want, o.LastError); diff != "" {
		t.Error(diff)
	}
	body, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(body, &fields); err != nil {
		t.Fatal(err)
	}
	for _, absent := range []string{"reason", "order_id", "transaction_id", "paid_type", "total_amount", "paid_amount", "ended_at"} {
		if _, there := fields[absent]; there {
			t.Errorf("%s is not known, and is written: %s", absent, body)
		}
	}
	for _, present := range []string{"mchid", "out_order_no", "appid", "service_id", "state", "attempts", "collect_calls", "query_calls", "opened_at", "last_attempt_at", "next_due_at", "last_error", "log"} {
		if _, there := fields[present]; !there {
			t.Errorf("%s is missing: %s", present, body)
		}
	}
	var listed []string
	for o, err := range s.ledger.Select(t.Context(), ledger.Filter{State: tasks.Awaiting}) {
		if err != nil {
			t.Fatal(err)
		}
		if o.Log != nil || o.LastError == nil {
			t.Errorf("%+v", o)
		}
		listed = append(listed, o.OutOrderNo)
	}
	if diff := cmp.Diff([]string{"A|B*C"}, listed); diff != "" {
		t.Error(diff)
	}
	for o := range s.ledger.Select(t.Context(), ledger.Filter{State: tasks.Queued}) {
		t.Errorf("listed as queued: %+v", o)
	}
}

// Redis Cluster runs a script only where all its keys are in one slot.
func TestAllKeysOfAMerchantShareOneHashTag(t *testing.T) {
	k := ledger.KeysOf(mchid)
	for _, key := range []string{k.Order("A"), k.Log("A"), k.Due(), k.Ended(tasks.Paid), k.Outcomes(), k.Stats(), k.Gate(), k.Workers(), k.Hooks(), k.Hook("A"), k.HookDue(), k.HookWaiting()} {
		open, end := strings.IndexByte(key, '{'), strings.IndexByte(key, '}')
		if open < 0 || key[open+1:end] != mchid {
			t.Errorf("%s", key)
		}
	}
}
