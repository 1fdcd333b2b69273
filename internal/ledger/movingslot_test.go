package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// A node of Redis Cluster whose slot moves to another node has some of a merchant's
// keys, and the other node the rest. Every script must be refused before it has
// written anything, or do all that it does.
func TestASlotThatMovesBreaksNoScript(t *testing.T) {
	t.Parallel()
	m := newMovingSlot(t)
	seen := map[string]bool{}
	for name, op := range m.operations() {
		t.Run(name, func(t *testing.T) {
			m.t = t
			for i := 0; ; i++ {
				m.fresh()
				op.prepare()
				keys := m.from.Client.Keys(t.Context(), "payscore:{*").Val()
				slices.Sort(keys)
				if i == len(keys) {
					break
				}
				m.move(keys[i])
				m.watching = true
				_ = op.do() // refused, or done: what it may not be is half done
				m.watching = false
			}
		})
		for script := range m.refused {
			seen[script] = true
		}
	}
	for _, script := range []string{"claim", "permit", "settle", "sweep", "take", "list", "notice", "retain", "stream", "hooks", "hooktake", "hookclaim", "hooksettle", "mend", "jumped", "holds", "get", "open", "withdraw", "pause", "resume", "unpause", "collectnow"} {
		if !seen[script] {
			t.Errorf("%s was never refused: the test does not try it", script)
		}
	}
}

type movingSlot struct {
	redistest.Hook
	*setup
	t        *testing.T
	from, to *redistest.Server
	slot     int64
	watching bool
	refused  map[string]bool // scripts that were refused, without a trace
}

func newMovingSlot(t *testing.T) *movingSlot {
	start := func() *redistest.Server {
		return redistest.StartNode(t, "--cluster-require-full-coverage", "no", "--appendonly", "no")
	}
	m := &movingSlot{t: t, from: start(), to: start(), refused: map[string]bool{}}
	m.do(m.from, "cluster", "addslotsrange", 0, 16383)
	_, port, _ := net.SplitHostPort(m.to.Client.Options().Addr)
	bus := m.do(m.to, "config", "get", "cluster-port")
	if list, ok := bus.([]any); ok {
		bus = list[1]
	} else if pairs, ok := bus.(map[any]any); ok {
		bus = pairs["cluster-port"]
	}
	m.slot = m.do(m.from, "cluster", "keyslot", ledger.KeysOf(mchid).Due()).(int64)
	deadline := time.Now().Add(2 * time.Minute)
	for i := 0; ; i++ {
		// A handshake that took too long is given up: another MEET begins it again. One that
		// is under way would be disturbed by it.
		if i%30 == 0 {
			m.do(m.from, "cluster", "meet", "127.0.0.1", port, bus)
		}
		known := fmt.Sprint(m.do(m.from, "cluster", "info")) + fmt.Sprint(m.do(m.to, "cluster", "info"))
		if strings.Count(known, "cluster_known_nodes:2") == 2 && strings.Count(known, "cluster_state:ok") == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the two nodes do not meet:\n%s", known)
		}
		<-time.After(100 * time.Millisecond)
	}
	client := redis.NewClient(m.from.Client.Options())
	t.Cleanup(func() { _ = client.Close() })
	client.AddHook(m)
	if err := ledger.LoadScripts(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	m.setup = &setup{T: t, redis: m.from, ledger: ledger.New(client, mchid), producer: tasks.NewProducer(client)}
	return m
}

func (m *movingSlot) do(s *redistest.Server, words ...any) any {
	m.t.Helper()
	said, err := s.Client.Do(context.Background(), words...).Result()
	if err != nil {
		m.t.Fatalf("%v: %v", words, err)
	}
	return said
}

// fresh makes both nodes empty, and the slot one node's.
func (m *movingSlot) fresh() {
	m.watching = false
	m.do(m.from, "flushall")
	m.do(m.to, "flushall")
	m.do(m.from, "cluster", "setslot", m.slot, "stable")
	m.do(m.to, "cluster", "setslot", m.slot, "stable")
}

// move begins to move the slot, and moves one key.
func (m *movingSlot) move(key string) {
	m.t.Helper()
	m.do(m.to, "cluster", "setslot", m.slot, "importing", m.do(m.from, "cluster", "myid"))
	m.do(m.from, "cluster", "setslot", m.slot, "migrating", m.do(m.to, "cluster", "myid"))
	host, port, _ := net.SplitHostPort(m.to.Client.Options().Addr)
	m.do(m.from, "migrate", host, port, key, 0, 5000)
}

// snapshot is everything that the two nodes have.
func (m *movingSlot) snapshot() string {
	var b strings.Builder
	for _, s := range []*redistest.Server{m.from, m.to} {
		keys := s.Client.Keys(context.Background(), "payscore:{*").Val()
		slices.Sort(keys)
		for _, key := range keys {
			conn := s.Client.Conn()
			if s == m.to {
				conn.Do(context.Background(), "asking")
			}
			fmt.Fprintf(&b, "%s %q\n", key, conn.Do(context.Background(), "dump", key).Val())
			_ = conn.Close()
		}
	}
	return b.String()
}

func (m *movingSlot) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if !m.watching || cmd.Name() != "evalsha" && cmd.Name() != "eval" {
			return next(ctx, cmd)
		}
		before := m.snapshot()
		err := next(ctx, cmd)
		if err == nil || errors.Is(err, redis.Nil) || strings.HasPrefix(err.Error(), "NOSCRIPT") {
			return err
		}
		name := ledger.ScriptName(cmd.Args()[1].(string))
		if text := err.Error(); !strings.HasPrefix(text, "TRYAGAIN") && !strings.HasPrefix(text, "ASK ") {
			m.t.Errorf("%s is refused with %v", name, err)
		}
		if after := m.snapshot(); after != before {
			m.t.Errorf("%s was refused (%v) and has changed\n%s\nto\n%s", name, err, before, after)
		}
		m.refused[name] = true
		return err
	}
}

type slotOperation struct {
	prepare func()
	do      func() error
}

// operations are what uses the scripts.
func (m *movingSlot) operations() map[string]slotOperation {
	ctx := context.Background()
	// there makes keys that would be made only later: a script is refused for any
	// key that a node which is losing the slot does not have.
	there := func() {
		k := ledger.KeysOf(mchid)
		m.redis.Client.HSet(ctx, k.Sweep(), "at", 0)
		m.redis.Client.HSet(ctx, k.Hold(), "row", "1 A")
		m.redis.Client.ZAdd(ctx, k.Paused(), zAt(1, "X"))
		m.redis.Client.XAdd(ctx, &redis.XAddArgs{Stream: k.Audit(), ID: "1-1", Values: []string{"token", "x"}})
		for _, state := range []tasks.State{tasks.Paid, tasks.Closed, tasks.Rejected, tasks.Exhausted} {
			m.redis.Client.ZAdd(ctx, k.Ended(state), zAt(1e15, "X"))
		}
	}
	opened := func() {
		m.open("A")
		m.open("B")
	}
	withdrawn := func() {
		opened()
		m.withdrawFor("A", "waived")
	}
	var claim ledger.Claim
	looked := func() {
		opened()
		c := m.granted("A")
		m.settle(c, back(c, ledger.Recheck))
		claim = m.granted("A")
	}
	settle := func(set ledger.Settlement) error {
		set.First, set.Most, set.Failures = time.Second, time.Second, 3
		_, err := m.ledger.Settle(ctx, claim, set)
		return err
	}
	relay := func() error {
		_, err := m.ledger.RelayHooks(ctx, ledger.HookRelayArgs{Scan: 10, Take: 10, Most: 100, Grace: time.Minute})
		return err
	}
	relayed := func() {
		withdrawn()
		if err := relay(); err != nil {
			m.t.Fatal(err)
		}
	}
	return map[string]slotOperation{
		"opening":   {opened, func() error { return openOrder(ctx, m.ledger, tasks.Order{Payload: payload("C")}) }},
		"reopening": {withdrawn, func() error { return openOrder(ctx, m.ledger, tasks.Order{Payload: payload("A"), Reopen: true}) }},
		"withdrawal": {opened, func() error {
			_, err := m.producer.Withdraw(ctx, tasks.Withdrawal{MchID: mchid, OutOrderNo: "A", Reason: "waived"})
			return err
		}},
		"a pause": {there, func() error { _, err := m.ledger.Pause(ctx, ledger.Deed{By: "x", Reason: "y"}, 0); return err }},
		"a pause that ends": {func() {
			opened()
			there()
			m.redis.Client.ZAdd(ctx, ledger.KeysOf(mchid).Paused(), zAt(1, "A"), zAt(1, "B"))
			m.redis.Client.HSet(ctx, ledger.KeysOf(mchid).Hold(), "pause", "1 0")
		}, func() error { _, err := m.ledger.Resume(ctx, ledger.Deed{By: "x", Reason: "y"}); return err }},
		"collecting now": {func() {
			opened()
			there()
			m.redis.Client.HSet(ctx, ledger.KeysOf(mchid).Order("A"), "due", "9000000000000")
		}, func() error {
			_, err := m.ledger.CollectNow(ctx, "A", ledger.Deed{By: "x", Reason: "y"}, ledger.Earliest{}, 0)
			return err
		}},
		"claim": {opened, func() error {
			_, err := m.ledger.Claim(ctx, "A", ledger.NewToken(), ledger.NoRound, limits())
			return err
		}},
		"permit":                      {looked, func() error { _, err := m.ledger.Permit(ctx, claim, limits()); return err }},
		"settle":                      {looked, func() error { return settle(back(claim, ledger.Recheck)) }},
		"a settle that begins a hold": {looked, func() error { return settle(fault(claim, ledger.GateService)) }},
		"a settle that ends the order": {looked, func() error {
			return settle(ledger.Settlement{State: tasks.Paid, VerifiedPaid: true, Facts: ledger.Facts{Paid: fen(10)}, Log: []ledger.Entry{entry("query", "paid")}})
		}},
		"sweep": {func() {
			opened()
			there()
			m.redis.Client.ZAdd(ctx, ledger.KeysOf(mchid).Due(), zAt(1, "A"), zAt(1, "B"))
		}, func() error {
			_, err := m.ledger.Sweep(ctx, ledger.SweepArgs{Interval: time.Second, Limit: 10, Grace: time.Minute})
			return err
		}},
		"mending": {func() {
			opened()
			if err := m.ledger.Jumped(ctx, -time.Hour, ledger.Expected{Now: time.Now().Add(time.Hour)}); err != nil {
				m.t.Fatal(err)
			}
		}, func() error { _, err := m.ledger.Mend(ctx, time.Time{}); return err }},
		"a jump":       {opened, func() error { return m.ledger.Jumped(ctx, time.Hour, ledger.Expected{}) }},
		"notification": {opened, func() error { _, _, err := m.ledger.Notice(ctx, paidNotice("A")); return err }},
		"retention": {func() {
			withdrawn()
			there()
		}, func() error { _, err := m.ledger.Retain(ctx, 0, 0, time.Time{}); return err }},
		"trimming": {withdrawn, func() error { _, err := m.ledger.Trim(ctx, time.Hour); return err }},
		"reading": {withdrawn, func() error {
			_, _ = m.ledger.Holds(ctx)
			_, _ = m.ledger.Get(ctx, "A")
			for _, err := range m.ledger.Select(ctx, ledger.Filter{State: tasks.Withdrawn}) {
				if err != nil {
					return err
				}
			}
			return nil
		}},
		"webhooks": {func() {
			relayed()
			m.reopen("A")
			m.withdrawFor("A", "waived")
		}, relay},
		"a delivery": {relayed, func() error {
			_, err := m.ledger.ClaimHook(ctx, "A", "token", 1, time.Minute)
			return err
		}},
		"a delivery that is done": {func() {
			relayed()
			if _, err := m.ledger.ClaimHook(ctx, "A", "token", 1, time.Minute); err != nil {
				m.t.Fatal(err)
			}
		}, func() error {
			_, err := m.ledger.SettleHook(ctx, ledger.HookSettlement{OutOrderNo: "A", Token: "token", EntryID: "1-1", Done: true})
			return err
		}},
	}
}
