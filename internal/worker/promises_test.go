package worker_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/queue"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/tasks"
)

// The six promises, each attacked through the real worker. docs/promises.md lists
// them in plain words.

// Promise 1: for one order, never two calls in flight, whatever the number of
// workers, retries, sweeps and duplicate tasks.
func TestPromiseOneAtATime(t *testing.T) {
	t.Parallel()
	r := workertest.New(t, func(c *config.Worker) { c.GiveUpAfter = testkit.Form(4*time.Second, 8*time.Second) })
	nos := workertest.Numbers("ONE", testkit.Form(24, 40))
	fates := []simulator.Fate{"pays", "declines:2", "userpaying:1s", "never"}
	for i, no := range nos {
		r.Add(simulator.Order{OutOrderNo: no, Fate: fates[i%len(fates)]})
	}
	if err := r.Sim.SetFaults(simulator.Faults{
		Latency: simulator.Duration(20 * time.Millisecond), LatencyJitter: simulator.Duration(20 * time.Millisecond),
		Error5xx: 0.05, DropAfter: 0.05, WrongSignature: 0.05,
	}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		r.Work()
	}
	var producers sync.WaitGroup
	for range 12 {
		producers.Go(func() {
			for _, no := range nos {
				if _, err := r.Producer.Enqueue(t.Context(), r.Order(no)); err != nil {
					t.Error(err)
				}
				// And tasks that know nothing of the ledger's rounds.
				_ = push(t, r, no, 1)
			}
		})
	}
	producers.Wait()
	r.AllEnded()
	r.Audit()
}

// Promise 2: paid and closed are recorded only from a verified message, never from a 2xx
// of collect or the text of an error.
func TestPromiseNoMoneyOnUnsignedWord(t *testing.T) {
	t.Parallel()
	r := workertest.New(t, func(c *config.Worker) { c.GiveUpAfter = 4 * time.Second })
	reply := func(call simulator.Call, kind simulator.ReplyKind, http int, code, detail string) simulator.ScriptedReply {
		return simulator.ScriptedReply{Call: call, Times: 100, Kind: kind, HTTP: http, Code: code, DetailCode: detail}
	}
	lies := map[string][]simulator.ScriptedReply{
		"FORGED-QUERY":   {reply("query", "ok_unsigned", 0, "", "")},
		"FORGED-SIGNED":  {reply("query", "ok_wrong_signature", 0, "", "")},
		"FORGED-COLLECT": {reply("collect", "ok_unsigned", 0, "", "")},
		"FORGED-BOTH":    {reply("any", "ok_wrong_signature", 0, "", "")},
		"SAYS-DONE":      {reply("collect", "unsigned_error", 400, "ORDER_DONE", "271316657")},
		"SAYS-DONE-SIGN": {reply("collect", "error", 400, "ORDER_DONE", "271316657")},
		"SAYS-CANCELED":  {reply("collect", "error", 400, "ORDER_CANCELED", "271302333")},
		"EMPTY-200":      {reply("collect", "empty", 200, "", "")},
		"USERPAYING":     {{Call: "collect", Times: 100, Kind: "body", HTTP: 200, Body: `{"trade_state":"USERPAYING"}`}},
		"ACCEPTED-ONLY":  {{Call: "collect", Times: 100, Kind: "body", HTTP: 200, Body: `{}`}},
		"204-ONLY":       {{Call: "collect", Times: 100, Kind: "body", HTTP: 204}},
	}
	for no, script := range lies {
		r.Add(simulator.Order{OutOrderNo: no, Fate: "never", Replies: script})
		r.Enqueue(no)
	}
	r.Work()
	// Longer than GIVE_UP_AFTER, until the platform has sent every false reply.
	r.Eventually("every false reply to be sent", func() bool {
		for no := range lies {
			o := r.Get(no)
			if o.State.Open() && o.CollectCalls+o.QueryCalls < 3 {
				return false
			}
		}
		return true
	})
	for no := range lies {
		if o := r.Get(no); o.State == tasks.Paid || o.State == tasks.Closed {
			t.Errorf("%s was recorded as %s on unsigned word", no, o.State)
		}
		if moved := r.Report(no).MoneyMoved; moved != 0 {
			t.Fatalf("%s: the platform moved %d fen; the test is not what it says", no, moved)
		}
	}
}

// Promise 3: once accepted, an order reaches a final state although the whole queue is
// lost. (Killed workers and a restarted Redis are in process_test.go.)
func TestPromiseNothingLost(t *testing.T) {
	t.Parallel()
	r := workertest.New(t)
	nos := workertest.Numbers("LOST", 200)
	for i, no := range nos {
		r.Add(simulator.Order{OutOrderNo: no, Fate: []simulator.Fate{"pays", "declines:1", "userpaying:500ms"}[i%3]})
	}
	r.Enqueue(nos[:100]...)
	for range 2 { // two sweepers
		r.Work()
	}
	r.Enqueue(nos[100:]...)
	r.Eventually("some orders to be paid", func() bool {
		s, err := r.Ledger.Stats(context.Background())
		return err == nil && s.Orders[tasks.Paid] >= 10
	})
	keys, err := r.Redis.Client.Keys(t.Context(), "asynq:*").Result()
	if err != nil || len(keys) == 0 {
		t.Fatalf("keys: %v %v", keys, err)
	}
	if err := r.Redis.Client.Del(t.Context(), keys...).Err(); err != nil {
		t.Fatal(err)
	}
	r.AllEnded()
	r.Audit()
	if s, _ := r.Ledger.Stats(t.Context()); s.Orders[tasks.Paid] != int64(len(nos)) {
		t.Errorf("%d of %d paid", s.Orders[tasks.Paid], len(nos))
	}
}

// Promise 4: after a final state, no further call for that order; only an explicit
// reopening undoes it, and nothing undoes paid.
func TestPromiseEndsAreFinal(t *testing.T) {
	t.Parallel()
	r := workertest.New(t)
	r.Add(simulator.Order{OutOrderNo: "PAID", Fate: "pays"}, simulator.Order{OutOrderNo: "REVOKED", Fate: "revoked"})
	r.Enqueue("PAID", "REVOKED")
	r.Work()
	r.AllEnded()
	before := r.Sim.Report().Calls

	for _, no := range []string{"PAID", "REVOKED"} {
		res, err := r.Producer.Enqueue(t.Context(), r.Order(no))
		if err != nil || res.Status != tasks.Ended {
			t.Errorf("%s enqueued again: %+v %v", no, res, err)
		}
		for round := range int64(4) {
			_ = push(t, r, no, round)
		}
	}
	paid := r.Order("PAID")
	paid.Reopen = true
	if res, _ := r.Producer.Enqueue(t.Context(), paid); res.Status != tasks.Ended || res.State != tasks.Paid {
		t.Errorf("a paid order was reopened: %+v", res)
	}
	r.Eventually("the tasks to be done with", func() bool {
		return r.Queued() == 0
	})
	if after := r.Sim.Report().Calls; after != before {
		t.Errorf("%d calls after the ends", after-before)
	}

	// An explicit reopening queries first, and ends in the same state.
	r.Reopen("REVOKED")
	r.AllEnded()
	if o := r.Get("REVOKED"); o.State != tasks.Closed || o.CollectCalls != 1 {
		t.Errorf("reopened: %+v", o)
	}
}

// Promise 5: a merchant's rate, an order's gap and the collection window hold
// over all workers and over restarts.
func TestPromisePolite(t *testing.T) {
	// Not in parallel: the rate is measured by the millisecond.
	n := testkit.Form(80, 120)
	r := workertest.New(t, func(c *config.Worker) { c.Rate, c.GiveUpAfter = 40, 10*time.Second })
	nos := workertest.Numbers("POLITE", n)
	for i, no := range nos {
		r.Add(simulator.Order{OutOrderNo: no, Fate: []simulator.Fate{"pays", "declines:1"}[i%2]})
	}
	r.Enqueue(nos...)
	r.Work()
	stop := r.Work()
	r.Eventually("half to be called", func() bool { return r.Sim.Report().Calls > int64(n/2) })
	stop() // a restart
	r.Work()
	r.AllEnded()
	r.Audit()
}

// Promise 5, continued: nothing is collected outside the window.
func TestPromisePoliteOutsideTheWindow(t *testing.T) {
	t.Parallel()
	r := workertest.New(t)
	r.Add(simulator.Order{OutOrderNo: "NIGHT", Fate: "pays"})
	r.Enqueue("NIGHT")
	// The worker has ten seconds for its start and the postponement.
	opens := time.Now().UTC().Add(11 * time.Second).Truncate(time.Second)
	midnight := time.Date(opens.Year(), opens.Month(), opens.Day(), 0, 0, 0, 0, time.UTC)
	from := opens.Sub(midnight)
	r.Cfg.Window = config.Window{From: from, To: (from + time.Hour) % (24 * time.Hour)}
	r.Work()
	r.Eventually("the order to be postponed to the window", func() bool {
		return r.Get("NIGHT").NextDueAt.Equal(opens)
	})
	r.AllEnded()
	if o := r.Get("NIGHT"); o.State != tasks.Paid || o.Log[0].At.Before(opens) {
		t.Errorf("state %s, called at %v; want paid, and a call after %v, when the window opens", o.State, o.Log[0].At, opens)
	}
}

// Promise 6: a merchant's fault uses up no order's attempts and ends none; the calls
// stop except for a probe, and collecting resumes by itself.
func TestPromiseAMerchantsFaultIsNotTheOrders(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]simulator.Faults{
		"wrong key":     {SignError: true},
		"no permission": {NoAuth: true},
		"outage":        {Down: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := workertest.New(t, func(c *config.Worker) { c.GiveUpAfter = 3 * time.Second })
			nos := workertest.Numbers("FAULT", 60)
			for _, no := range nos {
				r.Add(simulator.Order{OutOrderNo: no, Fate: "pays"})
			}
			r.FaultsExpected = true
			if err := r.Sim.SetFaults(fault); err != nil {
				t.Fatal(err)
			}
			r.Enqueue(nos...)
			r.Work()
			r.Eventually("the hold to begin", func() bool {
				h, err := r.Ledger.Holds(context.Background())
				return err == nil && (h.Merchant.Kind != ledger.HoldNone || len(h.Services) > 0)
			})
			// Calls that were in flight when the hold began have ended: the platform has seen no call for a while.
			before := int64(-1)
			for calls := r.Sim.Report().Calls; calls != before; calls = r.Sim.Report().Calls {
				before = calls
				<-time.After(1500 * time.Millisecond)
			}
			// Longer than GIVE_UP_AFTER; in the long form until the second probe.
			watched, most := testkit.Form(5500*time.Millisecond, 9*time.Second), testkit.Form[int64](2, 4)
			<-time.After(watched)
			if calls := r.Sim.Report().Calls - before; calls > most {
				t.Errorf("%d calls in %s of a hold, want %d at most: probes come after 5 s and after 10 s, two calls each", calls, watched, most)
			} else if calls == 0 {
				t.Error("no probe was sent")
			}
			for _, no := range nos {
				if o := r.Get(no); !o.State.Open() || o.Attempts != 0 {
					t.Fatalf("%s: %s after %d attempts", no, o.State, o.Attempts)
				}
			}
			if !r.Logs.HasEvent("calls_stopped") {
				t.Error("the log has no calls_stopped")
			}
			if err := r.Sim.SetFaults(simulator.Faults{}); err != nil {
				t.Fatal(err)
			}
			r.AllEnded()
			r.Audit()
			if s, _ := r.Ledger.Stats(t.Context()); s.Orders[tasks.Paid] != int64(len(nos)) {
				t.Errorf("%d of %d paid once the fault was gone", s.Orders[tasks.Paid], len(nos))
			}
		})
	}
	// In the long form, also a COLLECT_RATE far beyond what the platform takes: the rate
	// is slow to settle, and every order still ends with one attempt.
	for name, tt := range map[string]struct {
		rate    float64
		maxRate int
		long    bool
	}{"throttling, 4 times too fast": {200, 50, false}, "throttling, 25 times too fast": {500, 20, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.long {
				testkit.NeedLong(t)
			}
			r := workertest.New(t, func(c *config.Worker) { c.Rate = tt.rate })
			nos := workertest.Numbers("FAST", 60)
			for _, no := range nos {
				r.Add(simulator.Order{OutOrderNo: no, Fate: "pays"})
			}
			if err := r.Sim.SetFaults(simulator.Faults{MaxRate: tt.maxRate}); err != nil {
				t.Fatal(err)
			}
			r.Enqueue(nos...)
			r.Work()
			r.AllEnded()
			for _, no := range nos {
				if o := r.Get(no); o.State != tasks.Paid || o.Attempts != 1 {
					t.Errorf("%s: %s after %d attempts, of %d collects", no, o.State, o.Attempts, o.CollectCalls)
				}
			}
			// A machine that is busy with the other tests may not reach 50 a second.
			if met := r.Sim.Report().Faults["max_rate"]; met > 0 && !r.Logs.HasEvent("rate_halved") && !r.Logs.HasEvent("calls_stopped") {
				t.Errorf("%d calls were throttled, and nothing in the log says so", met)
			} else if met == 0 && tt.maxRate < 50 {
				t.Error("nothing was throttled: the test shows nothing")
			}
		})
	}
}

// push enqueues the task of one round of an order.
func push(t *testing.T, r *workertest.Rig, no string, round int64) error {
	p := r.Order(no).Payload
	return queue.New(r.Redis.Client).Push(t.Context(), queue.Task{Type: queue.TypeCollect, MchID: p.MchID, OutOrderNo: no, Round: round, Payload: p})
}
