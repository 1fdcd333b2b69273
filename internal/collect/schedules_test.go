package collect

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// Whatever the defaults and the order: its own name goes first, then the first default
// that fits, and what does not exist is never silent.
func TestSchedulesName(t *testing.T) {
	t.Parallel()
	r := seeded(t)
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	for range 20_000 {
		s := Schedules{Named: map[string]Policy{"a": {}, "b": {}}}
		for range r.IntN(4) {
			s.Defaults = append(s.Defaults, config.ScheduleDefault{
				ServiceID: pick("", "s1", "s2"), AtLeast: r.Int64N(3) * 100, Below: r.Int64N(3) * 200, Schedule: pick("a", "b"),
			})
		}
		o := Terms{Schedule: pick("", "", "a", "b", "gone"), ServiceID: pick("s1", "s2", "s3"), Amount: r.Int64N(5) * 100}
		want, known := o.Schedule, o.Schedule != "gone"
		if want == "" {
			for _, d := range s.Defaults {
				service := d.ServiceID == "" || d.ServiceID == o.ServiceID
				amount := d.AtLeast == 0 && d.Below == 0 || o.Amount > 0 && o.Amount >= d.AtLeast && (d.Below == 0 || o.Amount < d.Below)
				if service && amount {
					want = d.Schedule
					break
				}
			}
		}
		if name, ok := s.Name(o); name != want || ok != known {
			t.Fatalf("%+v of %+v: %q %t, want %q %t", s.Defaults, o, name, ok, want, known)
		}
	}
}

// gentle is a policy that is unlike testPolicy in everything.
func gentle() Policy {
	p := testPolicy()
	p.Schedule = []time.Duration{48 * hour}
	p.MinGap = 36 * hour
	p.GiveUp = 2000 * hour
	return p
}

// The schedule of an order decides its window, its gap, its waits and its age, in the
// ledger's checks as in the policy; the orders beside it keep to the merchant's.
func TestStep_BySchedule(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	openAs := func(b *fixture, no, schedule string, amount int64) {
		t.Helper()
		if _, err := b.ledger.Open(t.Context(), ledger.Opening{Owner: b.payload(no).Owner(), OutOrderNo: no, Schedule: schedule, Amount: amount}); err != nil {
			t.Fatal(err)
		}
	}
	with := func(p Policy, defaults ...config.ScheduleDefault) func(*Settings) {
		return func(s *Settings) {
			s.Schedules = Schedules{Named: map[string]Policy{"gentle": p}, Defaults: defaults}
		}
	}
	declines := func(b *fixture) *fixture {
		b.platform.collect = says(collectReply(payscore.Declined))
		return b
	}
	// wantDue checks when an order is due, to the jitter of its wait.
	wantDue := func(b *fixture, no string, in time.Duration) {
		t.Helper()
		got := time.Until(b.get(no).NextDueAt)
		if got < in*85/100 || got > in*115/100 {
			t.Errorf("%s is due in %s, want %s", no, got, in)
		}
	}

	t.Run("its waits are the schedule's", func(t *testing.T) {
		b := declines(parallel(t, srv, with(gentle())))
		openAs(b, "G", "gentle", 0)
		openAs(b, "A", "", 0)
		for _, no := range []string{"G", "A"} {
			if err := b.run(no); err != nil {
				t.Fatal(err)
			}
			b.wants(no, tasks.Awaiting, ledger.Recheck, "collect")
		}
		wantDue(b, "G", 48*hour)
		wantDue(b, "A", testPolicy().Schedule[0])
	})
	t.Run("a claim keeps to its window, a first one too", func(t *testing.T) {
		p := gentle()
		p.Window = windowAround(2*hour, 3*hour)
		b := declines(parallel(t, srv, with(p)))
		openAs(b, "G", "gentle", 0)
		openAs(b, "A", "", 0)
		for _, no := range []string{"G", "A"} {
			if err := b.run(no); err != nil {
				t.Fatal(err)
			}
		}
		b.wants("G", tasks.Queued, ledger.Collect, "collect") // A's
		b.wants("A", tasks.Awaiting, ledger.Recheck, "")
		if due := time.Until(b.get("G").NextDueAt); due < hour || due > 2*hour {
			t.Errorf("due in %s, want the opening of its window", due)
		}
	})
	t.Run("an order may collect where the merchant's others may not", func(t *testing.T) {
		b := declines(parallel(t, srv, with(gentle())))
		b.settings.Policy.Window = windowAround(2*hour, 3*hour)
		openAs(b, "G", "gentle", 0)
		openAs(b, "A", "", 0)
		for _, no := range []string{"G", "A"} {
			if err := b.run(no); err != nil {
				t.Fatal(err)
			}
		}
		b.wants("G", tasks.Awaiting, ledger.Recheck, "collect")
		b.wants("A", tasks.Queued, ledger.Collect, "")
	})
	t.Run("the permit keeps to its gap", func(t *testing.T) {
		b := declines(parallel(t, srv, with(gentle())))
		openAs(b, "G", "gentle", 0)
		if err := b.run("G"); err != nil {
			t.Fatal(err)
		}
		b.makeDue("G")
		last := time.Now().Add(-hour)
		b.set("G", "collected", last.UnixMilli())
		b.platform.made()
		if err := b.run("G"); err != nil {
			t.Fatal(err)
		}
		b.wants("G", tasks.Awaiting, ledger.Recheck, "query")
		if due := b.get("G").NextDueAt; due.Sub(last).Round(time.Second) != 36*hour {
			t.Errorf("due %s after its last collect", due.Sub(last))
		}
	})
	t.Run("its age is the schedule's", func(t *testing.T) {
		b := declines(parallel(t, srv, with(gentle())))
		for _, no := range []string{"G", "A"} {
			openAs(b, no, map[string]string{"G": "gentle"}[no], 0)
			if err := b.run(no); err != nil {
				t.Fatal(err)
			}
			b.makeDue(no)
			old := time.Now().Add(-testPolicy().GiveUp - hour).UnixMilli()
			b.set(no, "since", old, "opened", old, "collected", old+1000)
		}
		b.platform.made()
		for _, no := range []string{"G", "A"} {
			if err := b.run(no); err != nil {
				t.Fatal(err)
			}
		}
		b.wants("A", tasks.Exhausted, "", "query collect query")
		b.wants("G", tasks.Awaiting, ledger.Recheck, "")
	})
	t.Run("a default gives it by service and amount, and its own name goes first", func(t *testing.T) {
		other := testPolicy()
		other.Schedule = []time.Duration{96 * hour}
		b := declines(parallel(t, srv, with(gentle(), config.ScheduleDefault{ServiceID: "500", AtLeast: 1000, Schedule: "gentle"})))
		b.named.Load().Named["other"] = other
		openAs(b, "LARGE", "", 1000)
		openAs(b, "SMALL", "", 999)
		openAs(b, "NOT-SAID", "", 0)
		openAs(b, "OWN", "other", 1000)
		for no, wait := range map[string]time.Duration{"LARGE": 48 * hour, "SMALL": 10 * minute, "NOT-SAID": 10 * minute, "OWN": 96 * hour} {
			if err := b.run(no); err != nil {
				t.Fatal(err)
			}
			b.wants(no, tasks.Awaiting, ledger.Recheck, "collect")
			wantDue(b, no, wait)
		}
	})
	t.Run("a changed schedule holds from the next step on", func(t *testing.T) {
		b := declines(parallel(t, srv, with(gentle())))
		openAs(b, "G", "gentle", 0)
		if err := b.run("G"); err != nil {
			t.Fatal(err)
		}
		changed := gentle()
		changed.Schedule = []time.Duration{200 * hour}
		b.SetSchedules(Schedules{Named: map[string]Policy{"gentle": changed}})
		b.makeDue("G")
		if err := b.run("G"); err != nil {
			t.Fatal(err)
		}
		b.wants("G", tasks.Awaiting, ledger.Recheck, "collect query collect")
		wantDue(b, "G", 200*hour)
	})
	t.Run("one that does not exist is the merchant's, and said loudly", func(t *testing.T) {
		for name, change := range map[string]func(*Settings){"with a file": with(gentle()), "without one": func(*Settings) {}} {
			t.Run(name, func(t *testing.T) {
				b := declines(parallel(t, srv, change))
				for _, no := range []string{"G", "H"} {
					openAs(b, no, "gone", 0)
					if err := b.run(no); err != nil {
						t.Fatal(err)
					}
					b.wants(no, tasks.Awaiting, ledger.Recheck, "collect")
					wantDue(b, no, testPolicy().Schedule[0])
				}
				if n := b.count(b.metrics.UnknownSchedule); n != 2 {
					t.Errorf("counted %v times", n)
				}
				if n := strings.Count(b.logs.String(), `"event":"schedule_unknown"`); n != 1 {
					t.Errorf("logged %d times:\n%s", n, b.logs.String())
				}
			})
		}
	})
	t.Run("another client's task may name it", func(t *testing.T) {
		b := declines(parallel(t, srv, with(gentle())))
		p := b.payload("F")
		p.Schedule = "gentle"
		body, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Process(t.Context(), asynq.NewTask(tasks.TypeCollect, body)); err != nil {
			t.Fatal(err)
		}
		b.wants("F", tasks.Awaiting, ledger.Recheck, "collect")
		if o := b.get("F"); o.Schedule != "gentle" {
			t.Errorf("%+v", o)
		}
		wantDue(b, "F", 48*hour)
	})
}

// Orders that leave the ledger after RETENTION have passed every gap that they must keep,
// should they be enqueued again at once.
func TestLongestGap(t *testing.T) {
	t.Parallel()
	for range 100 {
		c := &Collector{merchant: &merchant{settings: Settings{Policy: Policy{MinGap: rand.N(hour)}}}}
		longest, named := c.settings.Policy.MinGap, map[string]Policy{}
		for i := range rand.IntN(5) {
			p := Policy{MinGap: rand.N(hour)}
			named[fmt.Sprint(i)], longest = p, max(longest, p.MinGap)
		}
		c.SetSchedules(Schedules{Named: named})
		if got := c.longestGap(); got != longest {
			t.Fatalf("%s, want %s", got, longest)
		}
	}
}

// Whatever the schedules, and however they change between the steps of orders that name
// them: each step keeps to what stands behind its order's name then. It collects only in
// that window and after that gap, and the next attempt comes after that wait.
func TestStep_ByScheduleProperty(t *testing.T) {
	r := seeded(t)
	srv := redistest.Start(t)
	b := parallel(t, srv)
	b.platform.collect = says(collectReply(payscore.Declined))
	windows := []Window{{Always: true}, windowAround(-hour, hour), windowAround(2*hour, 3*hour)}
	draw := func() Policy {
		p := testPolicy()
		p.Schedule = []time.Duration{time.Duration(1+r.IntN(90)) * 24 * hour}
		p.GiveUp = 5000 * hour
		p.Window, p.MinGap = windows[r.IntN(len(windows))], time.Duration(r.IntN(4))*hour
		return p
	}
	names := []string{"", "a", "b", "c"} // c comes and goes
	var schedules Schedules
	change := func() {
		schedules = Schedules{Named: map[string]Policy{"a": draw(), "b": draw()}}
		if r.IntN(2) == 0 {
			schedules.Named["c"] = draw()
		}
		if r.IntN(2) == 0 {
			schedules.Defaults = []config.ScheduleDefault{{AtLeast: 500, Schedule: "b"}}
		}
		b.SetSchedules(schedules)
	}
	of := map[string]Terms{}
	for i := range 12 {
		no, terms := fmt.Sprintf("P-%d", i), Terms{Schedule: names[i%len(names)], ServiceID: "500", Amount: int64(i%3) * 400}
		if _, err := b.ledger.Open(t.Context(), ledger.Opening{Owner: b.payload(no).Owner(), OutOrderNo: no, Schedule: terms.Schedule, Amount: terms.Amount}); err != nil {
			t.Fatal(err)
		}
		of[no] = terms
	}
	changes, outside, tooSoon, collects := 0, 0, 0, 0
	for i := range 120 {
		if i%4 == 0 {
			change()
			changes++
		}
		no := fmt.Sprintf("P-%d", r.IntN(len(of)))
		p, name := b.settings.Policy, of[no].Schedule
		if name == "" && len(schedules.Defaults) > 0 && of[no].Amount >= 500 {
			name = "b"
		}
		if named, ok := schedules.Named[name]; ok {
			p = named
		}
		b.makeDue(no)
		last := time.Now().Add(-time.Duration(1+2*r.IntN(4)) * hour / 2) // half an hour from every gap
		b.set(no, "collected", last.UnixMilli())
		before := b.get(no)
		b.platform.made()
		if err := b.run(no); err != nil {
			t.Fatal(err)
		}
		after := b.get(no)
		open, gap := p.Window.Contains(time.Now()), time.Since(last) >= p.MinGap
		collected := after.CollectCalls > before.CollectCalls
		if collected != (open && gap) {
			t.Fatalf("step %d of %s by %q: collected %t, with its window open %t and its gap kept %t", i, no, name, collected, open, gap)
		}
		switch {
		case collected:
			collects++
			if wait := time.Until(after.NextDueAt); wait < p.Schedule[0]*85/100-24*hour || wait > p.Schedule[0]*115/100+24*hour {
				t.Fatalf("step %d of %s by %q: due in %s, want %s", i, no, name, wait, p.Schedule[0])
			}
		case !open:
			outside++
		default:
			tooSoon++
			earliest := last.Add(p.MinGap).Truncate(time.Millisecond)
			if due := after.NextDueAt; due.Before(earliest) || due.After(earliest) && p.Window.Contains(earliest) || !p.Window.Contains(due) {
				t.Fatalf("step %d of %s by %q: due at %s, want %s, or when its window opens", i, no, name, due, earliest)
			}
		}
	}
	if collects < 3 || outside < 3 || tooSoon < 3 {
		t.Errorf("%d changes of the schedules, %d collects, %d steps outside the window, %d too soon: the test has tried too little", changes, collects, outside, tooSoon)
	}
	t.Logf("%d changes of the schedules, %d collects, %d steps outside the window, %d too soon", changes, collects, outside, tooSoon)
}
