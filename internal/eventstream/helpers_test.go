package eventstream_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/eventstream"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

const (
	mchA = "1900000001"
	mchB = "1900000002"
)

// TestMain keeps go-redis from logging the failures that the tests provoke.
func TestMain(m *testing.M) {
	redisconn.RedirectLog(zerolog.Nop())
	os.Exit(m.Run())
}

// rig is a Redis with orders.
type rig struct {
	*testing.T
	redis *redistest.Server
	rdb   redis.UniversalClient
	log   *testkit.LogBuffer
}

func newRig(t *testing.T) *rig { return rigOn(t, redistest.Start(t)) }

func rigOn(t *testing.T, s *redistest.Server) *rig {
	return &rig{T: t, redis: s, rdb: s.Client, log: &testkit.LogBuffer{}}
}

// tell writes so many events of an order, which is opened and withdrawn in turn.
func (r *rig) tell(mchid, no string, events int) {
	r.Helper()
	for n := range events {
		r.tellOne(mchid, no, n)
	}
}

// tellOne writes the event behind the first n of an order.
func (r *rig) tellOne(mchid, no string, n int) {
	r.Helper()
	var err error
	if n%2 == 0 {
		_, err = ledger.New(r.rdb, mchid).Open(r.Context(), ledger.Opening{Owner: tasks.Owner{AppID: "wx1", ServiceID: "s1"}, OutOrderNo: no, Reopen: n > 0})
	} else {
		_, err = tasks.NewProducer(r.rdb).Withdraw(r.Context(), tasks.Withdrawal{MchID: mchid, OutOrderNo: no, Reason: "paid in cash"})
	}
	if err != nil {
		r.Fatal(err)
	}
}

// options has short waits.
func options(consumer string) eventstream.Options {
	return eventstream.Options{
		Group: "g", Consumer: consumer, Batch: 7,
		Idle: 100 * time.Millisecond, Block: 50 * time.Millisecond, Lookup: 20 * time.Millisecond, Pause: 20 * time.Millisecond,
	}
}

// taken is what a reader has delivered.
type taken struct {
	mu     sync.Mutex
	events []ledger.Event
}

func (k *taken) handle(_ context.Context, events []ledger.Event) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.events = append(k.events, events...)
	return nil
}

func (k *taken) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.events)
}

// seqs returns each order's events by seq, as they were delivered.
func (k *taken) seqs() map[string][]int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	seqs := map[string][]int64{}
	for _, e := range k.events {
		seqs[e.MchID+" "+e.OutOrderNo] = append(seqs[e.MchID+" "+e.OutOrderNo], e.Seq)
	}
	return seqs
}

// wantAll fails where an event is missing, out of order or, with once, delivered twice.
func (k *taken) wantAll(t *testing.T, once bool, want map[string]int) {
	t.Helper()
	got := k.seqs()
	for order, n := range want {
		next := int64(1)
		for _, seq := range got[order] {
			if seq > next || once && seq < next {
				t.Errorf("%s came as %v", order, got[order])
				break
			}
			next = max(next, seq+1)
		}
		if int(next) != n+1 {
			t.Errorf("%s: %d of %d events came: %v", order, next-1, n, got[order])
		}
	}
	if len(got) != len(want) {
		t.Errorf("events of %d orders, want %d", len(got), len(want))
	}
}

// running is a reader that runs until stop.
type running struct {
	cancel context.CancelFunc
	done   chan error
}

func (r *rig) start(rdb redis.UniversalClient, opt eventstream.Options, handle eventstream.Handler) *running {
	ctx, cancel := context.WithCancel(r.Context())
	run := &running{cancel, make(chan error, 1)}
	reader := eventstream.NewReader(rdb, opt, zerolog.New(r.log))
	go func() { run.done <- reader.Run(ctx, handle) }()
	r.Cleanup(cancel)
	return run
}

// stop ends the reader and fails the test where it ends with an error.
func (run *running) stop(t *testing.T) {
	t.Helper()
	run.cancel()
	if err := run.wait(t); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func (run *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-run.done:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("the reader does not end")
		return nil
	}
}

func (r *rig) until(what string, ok func() bool) {
	r.Helper()
	testkit.Eventually(r, what, ok, r.log)
}

// holds gives so many events to a member, which does not acknowledge them.
func (r *rig) holds(mchid, member string, n int64) (ids []string) {
	r.Helper()
	key := ledger.KeysOf(mchid).Outcomes()
	if err := r.rdb.XGroupCreate(r.Context(), key, "g", "0").Err(); err != nil && !strings.HasPrefix(err.Error(), "BUSYGROUP") {
		r.Fatal(err)
	}
	streams, err := r.rdb.XReadGroup(r.Context(), &redis.XReadGroupArgs{Group: "g", Consumer: member, Streams: []string{key, ">"}, Count: n, Block: -1}).Result()
	if err != nil {
		r.Fatal(err)
	}
	for _, m := range streams[0].Messages {
		ids = append(ids, m.ID)
	}
	return ids
}

// ids returns the IDs of all of a merchant's events.
func (r *rig) ids(mchid string) (ids []string) {
	r.Helper()
	all, err := r.rdb.XRange(r.Context(), ledger.KeysOf(mchid).Outcomes(), "-", "+").Result()
	if err != nil {
		r.Fatal(err)
	}
	for _, m := range all {
		ids = append(ids, m.ID)
	}
	return ids
}

// pending returns how many events each member of the group holds.
func (r *rig) pending(mchid string) map[string]int64 {
	r.Helper()
	p, err := r.rdb.XPending(r.Context(), ledger.KeysOf(mchid).Outcomes(), "g").Result()
	if err != nil {
		r.Fatal(err)
	}
	return p.Consumers
}

// members returns the names of the group's members.
func (r *rig) members(mchid string) string {
	r.Helper()
	all, err := r.rdb.XInfoConsumers(r.Context(), ledger.KeysOf(mchid).Outcomes(), "g").Result()
	if err != nil && !strings.Contains(err.Error(), "NOGROUP") {
		r.Fatal(err)
	}
	var names []string
	for _, c := range all {
		names = append(names, c.Name)
	}
	return strings.Join(names, " ")
}

var errDead = errors.New("killed")

// dies is a handler whose process dies with the events.
func dies(context.Context, []ledger.Event) error { return errDead }

func number(i int) string { return fmt.Sprintf("ORDER-%03d", i) }
