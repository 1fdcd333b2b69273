package control_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/control"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/owner"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// shop is one merchant's ledger with orders in every state.
type shop struct {
	*testing.T
	rdb   *redis.Client
	mchid string
	l     *ledger.Ledger
}

func newShop(t *testing.T, server *redistest.Server, mchid string) shop {
	return shop{t, server.Client, mchid, ledger.New(server.Client, mchid)}
}

func (s shop) open(no string, fen int64) {
	s.Helper()
	_, err := s.l.Open(s.Context(), ledger.Opening{
		Owner: owner.Owner{MchID: s.mchid, AppID: "wx1", ServiceID: "s1"}, OutOrderNo: no, Amount: fen, At: time.Now().Add(time.Hour),
	})
	if err != nil {
		s.Fatal(err)
	}
}

func (s shop) end(no string, state tasks.State) {
	s.Helper()
	res, err := s.l.CollectNow(s.Context(), no, ledger.Deed{By: "go:test", Reason: "setup"}, ledger.Earliest{}, 0)
	if err != nil || res.Code != ledger.Accepted {
		s.Fatal(res, err)
	}
	c, err := s.l.Claim(s.Context(), no, ledger.NewToken(), ledger.NoRound, ledger.Limits{Lease: 10 * time.Second, Rate: 1e6, Horizon: time.Second, Most: 30 * time.Second})
	if err != nil || c.Code != ledger.Granted {
		s.Fatal(c, err)
	}
	if _, err := s.l.Settle(s.Context(), c, ledger.Settlement{State: state, Reason: "TEST", VerifiedPaid: state == tasks.Paid, First: time.Second, Most: time.Second, Failures: 5}); err != nil {
		s.Fatal(err)
	}
}

func (s shop) withdraw(no string) {
	s.Helper()
	if _, err := s.l.Withdraw(s.Context(), no, ledger.Deed{By: "go:test", Reason: "setup"}, time.Time{}, 0); err != nil {
		s.Fatal(err)
	}
}

// fill makes orders O-… that are open, E-… exhausted, P-… paid and W-… withdrawn.
func (s shop) fill(each int) {
	s.Helper()
	for i := range each {
		n := strconv.Itoa(i)
		s.open("O-"+n, 100)
		s.open("E-"+n, 10)
		s.end("E-"+n, tasks.Exhausted)
		s.open("P-"+n, 1)
		s.end("P-"+n, tasks.Paid)
		s.open("W-"+n, 1000)
		s.withdraw("W-" + n)
	}
}

func (s shop) get(no string) ledger.Order {
	s.Helper()
	o, err := s.l.Get(s.Context(), no)
	if err != nil {
		s.Fatal(no, err)
	}
	return o
}

func (s shop) start(r control.BulkRequest) string {
	s.Helper()
	r.MchIDs, r.By, r.Reason = []string{s.mchid}, "api:ops", "a storm"
	id, err := control.StartBulk(s.Context(), s.rdb, r)
	if err != nil {
		s.Fatal(err)
	}
	return id
}

func never() bool { return false }

// finish works on a bulk action until it is done.
func (s shop) finish(id string) ledger.BulkProgress {
	s.Helper()
	b, left, err := control.WorkOnBulk(s.Context(), s.rdb, ledger.BulkPart{MchID: s.mchid, ID: id}, never, time.Minute)
	if err != nil || left {
		s.Fatal(b, left, err)
	}
	p, err := ledger.ProgressOfBulk(s.Context(), s.rdb, []string{s.mchid}, id)
	if err != nil || p.Stage != ledger.BulkDone || p.Finished.IsZero() {
		s.Fatalf("%+v %v", p, err)
	}
	if listed, err := ledger.ListedBulks(s.Context(), s.rdb); err != nil || len(listed) != 0 {
		s.Errorf("a bulk action that is done is still in the directory: %v %v", listed, err)
	}
	return p
}

// deeds returns how often the trail has an action of this bulk action, by order.
func (s shop) deeds(action string) map[string]int {
	s.Helper()
	found := map[string]int{}
	for cursor := ""; ; {
		list, next, err := ledger.Audit(s.Context(), []*ledger.Ledger{s.l}, 1000, cursor)
		if err != nil {
			s.Fatal(err)
		}
		for _, a := range list {
			if a.By == "api:ops" && a.Reason == "a storm" && a.Action.Action == action {
				found[a.OutOrderNo]++
			}
		}
		if cursor = next; next == "" {
			return found
		}
	}
}

func once(n int, prefixes ...string) map[string]int {
	want := map[string]int{}
	for _, prefix := range prefixes {
		for i := range n {
			want[prefix+strconv.Itoa(i)] = 1
		}
	}
	return want
}

func TestBulk(t *testing.T) {
	t.Parallel()
	const each = 7
	for name, c := range map[string]struct {
		r     control.BulkRequest
		want  ledger.BulkCounts
		acted map[string]int
		check func(shop)
	}{
		"withdraw what is open": {
			control.BulkRequest{Action: ledger.ActWithdraw, Query: ledger.Query{States: []tasks.State{tasks.Queued, tasks.Awaiting}}},
			ledger.BulkCounts{Matched: each, Total: 100 * each, Done: each}, once(each, "O-"),
			func(s shop) {
				if o := s.get("O-3"); o.State != tasks.Withdrawn || o.Reason != "a storm" || o.Sync != nil {
					s.Errorf("%+v", o)
				}
			},
		},
		"withdraw everything": {
			control.BulkRequest{Action: ledger.ActWithdraw},
			ledger.BulkCounts{Matched: 4 * each, Total: 1111 * each, Done: each, Duplicate: each, Refused: 2 * each}, once(each, "O-"),
			func(s shop) {
				if o := s.get("P-3"); o.State != tasks.Paid {
					s.Errorf("%+v", o)
				}
			},
		},
		"withdraw what was paid elsewhere": {
			control.BulkRequest{Action: ledger.ActWithdraw, Query: ledger.Query{Prefix: "O-"}, PaidAt: time.Now().Add(-time.Hour)},
			ledger.BulkCounts{Matched: each, Total: 100 * each, Done: each}, once(each, "O-"),
			func(s shop) {
				if o := s.get("O-3"); o.Sync == nil || o.Sync.State != ledger.SyncPending || time.Until(o.NextDueAt) > time.Second {
					s.Errorf("%+v", o)
				}
			},
		},
		"reopen what was given up": {
			control.BulkRequest{Action: ledger.ActReopen, Query: ledger.Query{States: []tasks.State{tasks.Exhausted}, Reason: "TEST"}},
			ledger.BulkCounts{Matched: each, Total: 10 * each, Done: each}, once(each, "E-"),
			func(s shop) {
				if o := s.get("E-3"); o.State != tasks.Queued || o.AppID != "wx1" || o.ServiceID != "s1" || len(o.Past) != 1 {
					s.Errorf("%+v", o)
				}
			},
		},
		"reopen by prefix": {
			control.BulkRequest{Action: ledger.ActReopen, Query: ledger.Query{Prefix: "P-"}},
			ledger.BulkCounts{Matched: each, Total: each, Refused: each}, map[string]int{}, func(shop) {},
		},
		"collect now": {
			control.BulkRequest{Action: ledger.ActCollectNow},
			ledger.BulkCounts{Matched: 4 * each, Total: 1111 * each, Done: each, Refused: 3 * each}, once(each, "O-"),
			func(s shop) {
				if o := s.get("O-3"); o.State != tasks.Queued || time.Until(o.NextDueAt) > time.Second {
					s.Errorf("%+v", o)
				}
			},
		},
		"nothing matches": {
			control.BulkRequest{Action: ledger.ActReopen, Query: ledger.Query{ServiceID: "none"}},
			ledger.BulkCounts{}, map[string]int{}, func(shop) {},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, redistest.Start(t), "1900000001")
			s.fill(each)
			preview, err := control.PreviewBulk(t.Context(), s.rdb, []string{s.mchid}, c.r.Query)
			if err != nil || preview != (control.Preview{Matched: c.want.Matched, Total: c.want.Total}) {
				t.Errorf("preview %+v, %v", preview, err)
			}
			id := s.start(c.r)
			p := s.finish(id)
			if diff := cmp.Diff(c.want, p.BulkCounts); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.acted, s.deeds(c.r.Action)); diff != "" {
				t.Errorf("the trail (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(map[string]int{"": 1}, s.deeds(ledger.ActBulk)); diff != "" {
				t.Errorf("the trail has of the bulk action itself (-want +got)\n%s", diff)
			}
			c.check(s)
			if n := s.rdb.Exists(t.Context(), ledger.KeysOf(s.mchid).BulkTodo(id)).Val(); n != 0 {
				t.Error("the set of orders is still there")
			}
			if ttl := s.rdb.TTL(t.Context(), ledger.KeysOf(s.mchid).Bulk(id)).Val(); ttl < 29*24*time.Hour {
				t.Errorf("it is kept for %s", ttl)
			}
			// Asked for again it finds everything done.
			again := s.finish(s.start(c.r))
			if again.Done != 0 || again.Left != 0 {
				t.Errorf("again: %+v", again.BulkCounts)
			}
		})
	}
}

// Orders that are enqueued after the orders were counted, and those that do not match any
// more when their turn comes, are left alone.
func TestBulk_TakesOnlyWhatMatches(t *testing.T) {
	t.Parallel()
	s := newShop(t, redistest.Start(t), "1900000001")
	for i := range 3 {
		s.open("A-"+strconv.Itoa(i), 5)
		s.end("A-"+strconv.Itoa(i), tasks.Rejected)
	}
	id := s.start(control.BulkRequest{Action: ledger.ActReopen, Query: ledger.Query{States: []tasks.State{tasks.Rejected}}})
	calls := 0
	part := ledger.BulkPart{MchID: s.mchid, ID: id}
	counted := func() bool { calls++; return calls > 1 } // it stops after it has counted
	b, left, err := control.WorkOnBulk(t.Context(), s.rdb, part, counted, time.Minute)
	if err != nil || !left || b.Stage != ledger.BulkRunning {
		t.Fatal(b, left, err)
	}
	s.open("A-9", 5)
	s.end("A-9", tasks.Rejected)
	if _, err := s.l.Open(t.Context(), ledger.Opening{Owner: s.get("A-0").Owner(), OutOrderNo: "A-0", Reopen: true, Deed: ledger.Deed{By: "cli:anna"}}); err != nil {
		t.Fatal(err)
	}
	s.withdraw("A-0") // a reopening by the bulk action would undo it
	p := s.finish(id)
	if want := (ledger.BulkCounts{Matched: 3, Total: 15, Done: 2, Refused: 1}); p.BulkCounts != want {
		t.Errorf("%+v, want %+v", p.BulkCounts, want)
	}
	if a, b := s.get("A-0").State, s.get("A-9").State; a != tasks.Withdrawn || b != tasks.Rejected {
		t.Errorf("A-0 is %s, A-9 %s", a, b)
	}
}

// dying is a worker's connection that ends for good with its nth command: before it takes
// effect, or after, and then only its answer is lost.
type dying struct {
	redistest.Hook
	mu     sync.Mutex
	left   int
	effect bool
}

var errDead = errors.New("the worker is dead")

// dies reports whether a command fails, and whether it takes effect all the same.
func (d *dying) dies() (dead, effect bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left--
	return d.left <= 0, d.left == 0 && d.effect
}

func (d *dying) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		dead, effect := d.dies()
		if dead && !effect {
			cmd.SetErr(errDead)
			return errDead
		}
		err := next(ctx, cmd)
		if dead {
			cmd.SetErr(errDead)
			return errDead
		}
		return err
	}
}

// A worker dies at each of its commands: another one continues, and every order was acted
// on once, stands in the trail once and is counted once.
func TestBulk_SurvivesAWorkersDeathAtEachCommand(t *testing.T) {
	t.Parallel()
	const each = 3
	for action, want := range map[string]struct {
		counts ledger.BulkCounts
		acted  map[string]int
	}{
		ledger.ActWithdraw:   {ledger.BulkCounts{Matched: 4 * each, Total: 1111 * each, Done: each, Duplicate: each, Refused: 2 * each}, once(each, "O-")},
		ledger.ActReopen:     {ledger.BulkCounts{Matched: 4 * each, Total: 1111 * each, Done: 2 * each, Duplicate: each, Refused: each}, once(each, "E-", "W-")},
		ledger.ActCollectNow: {ledger.BulkCounts{Matched: 4 * each, Total: 1111 * each, Done: each, Refused: 3 * each}, once(each, "O-")},
	} {
		for _, effect := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, effect %t", action, effect), func(t *testing.T) {
				t.Parallel()
				server := redistest.Start(t)
				deaths := 0
				for n := 1; ; n++ {
					s := newShop(t, server, strconv.Itoa(1900000000+n))
					s.fill(each)
					id := s.start(control.BulkRequest{Action: action})
					mortal := redis.NewClient(&redis.Options{Addr: server.Client.Options().Addr, MaxRetries: -1})
					mortal.AddHook(&dying{left: n, effect: effect})
					_, _, err := control.WorkOnBulk(t.Context(), mortal, ledger.BulkPart{MchID: s.mchid, ID: id}, never, time.Minute)
					_ = mortal.Close()
					if err != nil {
						deaths++
						s.rdb.HDel(t.Context(), ledger.KeysOf(s.mchid).Bulk(id), "lease") // it has run out
					}
					p := s.finish(id)
					if diff := cmp.Diff(want.counts, p.BulkCounts); diff != "" {
						t.Errorf("death at command %d: %s", n, diff)
					}
					if diff := cmp.Diff(want.acted, s.deeds(action)); diff != "" {
						t.Errorf("death at command %d: the trail (-want +got)\n%s", n, diff)
					}
					if err == nil {
						break
					}
				}
				if deaths < 10 {
					t.Errorf("only %d deaths", deaths)
				}
			})
		}
	}
}

// Workers that work on the same bulk action at once, as after a lease that ran out under a
// worker that still lives, count each order once.
func TestBulk_TwoWorkersAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t, redistest.Start(t), "1900000001")
	const n = 400
	for i := range n {
		s.open("O-"+strconv.Itoa(i), 1)
	}
	id := s.start(control.BulkRequest{Action: ledger.ActWithdraw})
	key := ledger.KeysOf(s.mchid).Bulk(id)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for {
				// Each one breaks the other's lease.
				s.rdb.HDel(t.Context(), key, "lease")
				b, _, err := control.WorkOnBulk(t.Context(), s.rdb, ledger.BulkPart{MchID: s.mchid, ID: id}, never, time.Minute)
				if err != nil {
					t.Error(err)
					return
				}
				if stage := s.rdb.HGet(t.Context(), key, "stage").Val(); b.Stage == ledger.BulkDone || stage == string(ledger.BulkDone) {
					return
				}
			}
		})
	}
	workers.Wait()
	p := s.finish(id)
	if want := (ledger.BulkCounts{Matched: n, Total: n, Done: n}); p.BulkCounts != want {
		t.Errorf("%+v, want %+v", p.BulkCounts, want)
	}
	if diff := cmp.Diff(once(n, "O-"), s.deeds(ledger.ActWithdraw)); diff != "" {
		t.Error(diff)
	}
}

func TestBulkRequest_Validate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		r     control.BulkRequest
		field string
	}{
		"an action that does not exist":  {control.BulkRequest{Action: "delete", Reason: "x"}, "action"},
		"no reason":                      {control.BulkRequest{Action: ledger.ActReopen}, "reason"},
		"a time of payment to reopen":    {control.BulkRequest{Action: ledger.ActReopen, Reason: "x", PaidAt: time.Now()}, "paid_at"},
		"a time of payment to come":      {control.BulkRequest{Action: ledger.ActWithdraw, Reason: "x", PaidAt: time.Now().Add(time.Hour)}, "paid_at"},
		"a withdrawal with all it takes": {control.BulkRequest{Action: ledger.ActWithdraw, Reason: "x", PaidAt: time.Now()}, ""},
	} {
		var field *tasks.FieldError
		if err := c.r.Validate(); errors.As(err, &field) != (c.field != "") || c.field != "" && field.Field != c.field {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A process that dies while it begins a bulk action leaves no part that workers do not find:
// what the trail has is done.
func TestStartBulk_SurvivesADeathAtEachCommand(t *testing.T) {
	t.Parallel()
	for _, effect := range []bool{false, true} {
		server := redistest.Start(t)
		for n := 1; ; n++ {
			shops := []shop{newShop(t, server, strconv.Itoa(1900000000+2*n)), newShop(t, server, strconv.Itoa(1900000001+2*n))}
			for _, s := range shops {
				s.open("O-1", 1)
			}
			mortal := redis.NewClient(&redis.Options{Addr: server.Client.Options().Addr, MaxRetries: -1})
			mortal.AddHook(&dying{left: n, effect: effect})
			_, err := control.StartBulk(t.Context(), mortal, control.BulkRequest{
				Action: ledger.ActWithdraw, MchIDs: []string{shops[0].mchid, shops[1].mchid}, By: "api:ops", Reason: "a storm",
			})
			_ = mortal.Close()
			listed, listErr := ledger.ListedBulks(t.Context(), server.Client)
			if listErr != nil {
				t.Fatal(listErr)
			}
			for _, part := range listed {
				if _, _, err := control.WorkOnBulk(t.Context(), server.Client, part, never, time.Minute); err != nil {
					t.Fatal(err)
				}
			}
			for _, s := range shops {
				trail, _, auditErr := ledger.Audit(t.Context(), []*ledger.Ledger{s.l}, 10, "")
				if auditErr != nil {
					t.Fatal(auditErr)
				}
				begun := slices.ContainsFunc(trail, func(a ledger.Audited) bool { return a.Action.Action == ledger.ActBulk })
				if done := s.get("O-1").State == tasks.Withdrawn; done != begun || err == nil && !done {
					t.Errorf("effect %t, death at command %d: merchant %s has begun %t, done %t", effect, n, s.mchid, begun, done)
				}
			}
			if err == nil {
				if n < 4 {
					t.Errorf("only %d deaths", n-1)
				}
				break
			}
		}
	}
}
