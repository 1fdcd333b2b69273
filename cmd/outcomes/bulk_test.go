package main

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/control"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/tasks"
)

// works does what a worker does with bulk actions, until the test ends.
func (s store) works() {
	ctx, cancel := context.WithCancel(s.t.Context())
	var working sync.WaitGroup
	s.t.Cleanup(func() {
		cancel()
		working.Wait()
	})
	working.Go(func() {
		for ctx.Err() == nil {
			parts, _ := ledger.ListedBulks(ctx, s.rdb)
			for _, part := range parts {
				if _, _, err := control.WorkOnBulk(ctx, s.rdb, part, func() bool { return false }, time.Second); err != nil && ctx.Err() == nil {
					s.t.Error(err)
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
}

func TestBulk(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for _, no := range []string{"BIKE-1", "BIKE-2", "BIKE-3", "CAR-1"} {
		s.open(mchA, no)
	}
	s.settle(mchA, "BIKE-9", paid(120))
	s.open(mchB, "BIKE-1")
	state := func(mchid, no string) tasks.State {
		o, err := ledger.New(s.rdb, mchid).Get(t.Context(), no)
		if err != nil {
			t.Fatal(err)
		}
		return o.State
	}

	o := s.run("bulk", "withdraw", "--mchid", mchA, "--prefix", "BIKE-", "--reason", "waived", "--dry-run")
	o.wantStatus(t, config.ExitOK)
	wantContains(t, "stdout", o.stdout, "orders that match: 4, ¥1.20 in all; nothing was changed")
	o = s.run("bulk", "withdraw", "--prefix", "BIKE-", "--state", "queued,awaiting", "--reason", "waived", "--dry-run", "--json")
	if o.wantStatus(t, config.ExitOK); o.stdout != `{"matched":4,"total_amount":0}`+"\n" {
		t.Errorf("dry run: %s", o.stdout)
	}
	if state(mchA, "BIKE-1") != tasks.Queued {
		t.Error("a dry run has changed an order")
	}

	// Without a worker it waits, and is begun all the same.
	o = s.run("bulk", "withdraw", "--mchid", mchA, "--prefix", "BIKE-", "--reason", "waived", "--no-wait", "--json")
	o.wantStatus(t, config.ExitOK)
	var p ledger.BulkProgress
	if err := json.Unmarshal([]byte(o.stdout), &p); err != nil || p.Stage != ledger.BulkCounting || p.Action != ledger.ActWithdraw || p.By != config.By() {
		t.Errorf("%v: %s", err, o.stdout)
	}
	wantContains(t, "stderr", o.stderr, "outcomes bulk show "+p.ID)
	s.works()
	testkit.Eventually(t, "a worker to do it", func() bool { return strings.Contains(s.run("bulk", "show", p.ID).stdout, "all 4 orders") })
	o = s.run("bulk", "show", p.ID)
	o.wantStatus(t, config.ExitOK)
	wantContains(t, "stdout", o.stdout, "withdrawn: all 4 orders, ¥1.20 in all: 3 done, 0 with nothing left to do, 1 refused", config.By()+`: "waived"`)
	wantContains(t, "stdout", s.run("--lang", "zh", "bulk", "show", p.ID).stdout, "已执行 3", "操作人")
	if a, b, c := state(mchA, "BIKE-1"), state(mchB, "BIKE-1"), state(mchA, "CAR-1"); a != tasks.Withdrawn || b != tasks.Queued || c != tasks.Queued {
		t.Errorf("%s %s %s", a, b, c)
	}

	// Of every merchant, and until it is done.
	o = s.run("bulk", "reopen", "--state", "withdrawn", "--order-reason", "waived", "--reason", "a mistake")
	o.wantStatus(t, config.ExitOK)
	wantContains(t, "stdout", o.stdout, "reopened: all 3 orders", "3 done")
	o = s.run("bulk", "collect-now", "--since", "1h", "--service-id", "500001", "--reason", "topped up", "--json")
	o.wantStatus(t, exitRefused) // the paid one
	wantContains(t, "stderr", o.stderr, "orders refused: 1")
	if err := json.Unmarshal([]byte(o.stdout), &p); err != nil || p.Matched != 6 || p.Refused != 1 || len(p.Merchants) != 2 {
		t.Errorf("%v: %s", err, o.stdout)
	}
	wantContains(t, "stdout", s.run("audit", "--limit", "0").stdout, "bulk action", p.ID+": collect-now")

	// What is wrong is named, and nothing is begun.
	for want, args := range map[string][]string{
		"--reason":       {"bulk", "withdraw", "--reason", " "},
		"--state":        {"bulk", "withdraw", "--reason", "x", "--state", "open"},
		"--since":        {"bulk", "withdraw", "--reason", "x", "--since", "soon"},
		"--opened-to":    {"bulk", "withdraw", "--reason", "x", "--opened-to", "soon"},
		"--prefix":       {"bulk", "reopen", "--reason", "x", "--prefix", "a b"},
		"--paid-at":      {"bulk", "withdraw", "--reason", "x", "--paid-at", "2090-01-01T00:00:00Z"},
		"no such orders": {"bulk", "withdraw", "--reason", "x", "--mchid", "1900000009"},
		"missing flags":  {"bulk", "withdraw"},
	} {
		o := s.run(args...)
		o.wantStatus(t, config.ExitUsage)
		wantContains(t, "stderr", o.stderr, want)
	}
	o = s.run("bulk", "show", "1")
	o.wantStatus(t, exitNoOrder)
	wantContains(t, "stderr", o.stderr, "no bulk action")
	if n := s.rdb.SCard(t.Context(), ledger.BulksKey).Val(); n != 0 {
		t.Errorf("%d bulk actions are left", n)
	}
}

// Ctrl-C ends the output, and not the bulk action.
func TestBulkProcess_CtrlC(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.open(mchA, "A")
	var out lines
	p := startProcess(t, []string{"REDIS_URL=" + s.url}, &out, "bulk", "withdraw", "--reason", "waived")
	testkit.Eventually(t, "it to begin", func() bool {
		return s.rdb.SCard(t.Context(), ledger.BulksKey).Val() == 1 && strings.Contains(p.Log.String(), "counting")
	})
	if status := p.Stop(os.Interrupt); status != 0 {
		t.Errorf("exit status %d\n%s", status, p.Log)
	}
	s.works()
	testkit.Eventually(t, "a worker to do it", func() bool { return s.rdb.SCard(t.Context(), ledger.BulksKey).Val() == 0 })
}
