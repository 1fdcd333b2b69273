package main

import (
	"strings"
	"testing"

	"payscore-collector/internal/simulator"
)

func TestMakeOrders(t *testing.T) {
	t.Run("a dozen orders have every kind of fate", func(t *testing.T) {
		kinds := map[string]bool{}
		for _, o := range makeOrders(12) {
			kind, _, _ := strings.Cut(string(o.Fate), ":")
			kinds[kind] = true
		}
		for _, kind := range []string{
			"pays", "declines", "userpaying", "user_pays", "never", "partial",
			"not_completed", "created", "revoked", "expired", "nothing_owed", "unknown",
		} {
			if !kinds[kind] {
				t.Errorf("no order %s", kind)
			}
		}
	})
	t.Run("the platform takes the most that are allowed", func(t *testing.T) {
		sim, err := simulator.New(simulator.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(sim.Close)
		if err := sim.AddOrders(makeOrders(maxOrders)...); err != nil {
			t.Error(err)
		}
	})
}

func TestBilled(t *testing.T) {
	orders := makeOrders(25)
	seen := map[string]int{}
	for o := range billed(orders, simulator.Merchant{MchID: "1900000109", AppID: "wx1", ServiceID: "500001"}) {
		if err := o.Validate(); err != nil {
			t.Error(err)
		}
		seen[o.OutOrderNo]++
	}
	twice := 0
	for _, o := range orders {
		if seen[o.OutOrderNo] == 0 {
			t.Errorf("%s is not enqueued", o.OutOrderNo)
		}
		if seen[o.OutOrderNo] == 2 {
			twice++
		}
	}
	if twice != 3 {
		t.Errorf("%d orders are enqueued twice, want 3", twice)
	}
	// The iterator stops with its loop.
	for o := range billed(orders, simulator.Merchant{}) {
		if o.OutOrderNo != orders[0].OutOrderNo {
			t.Fatal("the loop continued behind its break")
		}
		break
	}
}
