package worker_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/internal/worker"
	"payscore-collector/tasks"
)

// A new merchant's set-up is wrong in two ways, and one is mended after the other.
// It has one service: no order of another can show that all is well.
func TestFaultsOneAfterTheOtherMendThemselves(t *testing.T) {
	t.Parallel()
	signature, permission, outage := simulator.Faults{SignError: true}, simulator.Faults{NoAuth: true}, simulator.Faults{Down: true}
	for name, tt := range map[string]struct {
		first, second simulator.Faults
		service       bool // what the second one holds: the service, or the merchant
	}{
		"the signature, then the permission": {signature, permission, true},
		"the permission, then the signature": {permission, signature, false},
		"the permission, then an outage":     {permission, outage, false},
		"an outage, then the permission":     {outage, permission, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := workertest.New(t)
			r.FaultsExpected = true
			nos := workertest.Numbers("TWO", 20)
			for _, no := range nos {
				r.Add(simulator.Order{OutOrderNo: no, Fate: "pays"})
			}
			set := func(f simulator.Faults) {
				t.Helper()
				if err := r.Sim.SetFaults(f); err != nil {
					t.Fatal(err)
				}
			}
			held := func() (merchant, service bool) {
				h, err := r.Ledger.Holds(context.Background())
				return err == nil && h.Merchant.Kind != ledger.HoldNone, err == nil && len(h.Services) > 0
			}
			set(tt.first)
			r.Work()
			r.Enqueue(nos...)
			r.Eventually("the first fault to stop the calls", func() bool {
				merchant, service := held()
				return merchant || service
			})
			calls := r.Sim.Report().Calls
			set(tt.second)
			r.Until(90*time.Second, "the second fault to be met", func() bool {
				merchant, service := held()
				return tt.service && service || !tt.service && (merchant || r.Sim.Report().Calls > calls)
			})
			set(simulator.Faults{})
			r.AllEnded()
			r.Audit()
			if s, _ := r.Ledger.Stats(t.Context()); s.Orders[tasks.Paid] != int64(len(nos)) {
				t.Errorf("%d of %d paid once both faults were gone", s.Orders[tasks.Paid], len(nos))
			}
		})
	}
}

// What a clock that was eight hours ahead has left in Redis.
func TestAClockThatWentBackHoldsNoCallBack(t *testing.T) {
	t.Parallel()
	r := workertest.New(t)
	for _, no := range []string{"BEFORE", "AFTER"} {
		r.Add(simulator.Order{OutOrderNo: no, Fate: "pays"})
	}
	r.Work()
	r.Enqueue("BEFORE")
	r.Eventually("the first order to be paid", func() bool { return r.Get("BEFORE").State == tasks.Paid })
	k, ahead := ledger.KeysOf(r.Sim.Merchant().MchID), time.Now().Add(8*time.Hour)
	r.Redis.Client.HSet(t.Context(), k.Gate(), "tat", ahead.UnixMicro(), "ticket", ahead.UnixMicro())
	r.Redis.Client.HSet(t.Context(), k.Sweep(), "at", ahead.UnixMilli(), "last", ahead.UnixMilli())
	r.Enqueue("AFTER")
	r.Eventually("the second order to be paid", func() bool { return r.Get("AFTER").State == tasks.Paid })
	r.Eventually("the jump to be said", func() bool {
		h, err := r.Ledger.Holds(context.Background())
		return err == nil && h.Jump.By < -7*time.Hour
	})
}

func TestCheckNamesAJumpOfRedissClock(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		by   time.Duration
		want string
	}{
		"none":  {0, ""},
		"ahead": {3 * time.Hour, "Redis's clock jumped ahead by 3 hours"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := workertest.New(t)
			if tt.by != 0 {
				if err := r.Ledger.Jumped(t.Context(), tt.by, ledger.Expected{}); err != nil {
					t.Fatal(err)
				}
			}
			var out bytes.Buffer
			worker.Check(t.Context(), r.Cfg, nil, &out)
			if text := out.String(); !strings.Contains(text, tt.want) || strings.Contains(text, "clock jumped") != (tt.want != "") {
				t.Errorf("the check should say %q:\n%s", tt.want, text)
			}
		})
	}
}
