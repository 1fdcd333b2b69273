package ledger_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

func TestSweep(t *testing.T) {
	t.Run("takes what is due, once within the grace, and leaves the rest", func(t *testing.T) {
		s := newSetup(t)
		// Opened for a time that has just come: no task was pushed for them.
		at := time.Now().Add(50 * time.Millisecond)
		for _, no := range []string{"A", "B"} {
			if err := openOrder(t.Context(), s.ledger, tasks.Order{Payload: payload(no), At: at}); err != nil {
				t.Fatal(err)
			}
		}
		if err := openOrder(t.Context(), s.ledger, tasks.Order{Payload: payload("LATER"), At: at.Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		args := ledger.SweepArgs{Limit: 10, Grace: time.Hour}
		var got []string
		s.until(func() bool {
			swept, err := s.ledger.Sweep(context.Background(), args)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range swept.Orders {
				got = append(got, o.OutOrderNo)
				if o.AppID != "wx1" || o.Round != 1 {
					t.Errorf("%+v", o)
				}
			}
			return len(got) >= 2
		})
		if diff := cmp.Diff([]string{"A", "B"}, got); diff != "" {
			t.Error(diff)
		}
		if swept, _ := s.ledger.Sweep(t.Context(), args); len(swept.Orders) != 0 {
			t.Errorf("taken twice: %+v", swept.Orders)
		}
	})
	t.Run("gives an order whose worker died a new round", func(t *testing.T) {
		s := newSetup(t)
		s.open("A")
		lim := limits()
		lim.Lease = time.Millisecond
		dead := s.claim("A", lim)
		var swept ledger.Sweep
		s.until(func() bool {
			var err error
			if swept, err = s.ledger.Sweep(context.Background(), ledger.SweepArgs{Limit: 10, Grace: time.Hour}); err != nil {
				t.Fatal(err)
			}
			return len(swept.Orders) == 1
		})
		if swept.Orders[0].Round != 2 {
			t.Errorf("round %d", swept.Orders[0].Round)
		}
		// It was not dead but slow, and no worker has claimed the order since.
		if code, _ := s.settle(dead, back(dead, ledger.Recheck)); code != ledger.Settled {
			t.Errorf("%s", code)
		}
	})
	t.Run("is let through soon where the interval was shortened", func(t *testing.T) {
		s := newSetup(t)
		if _, err := s.ledger.Sweep(t.Context(), ledger.SweepArgs{Interval: 24 * time.Hour, Limit: 1}); err != nil {
			t.Fatal(err)
		}
		swept, err := s.ledger.Sweep(t.Context(), ledger.SweepArgs{Interval: 15 * time.Second, Limit: 1})
		if err != nil || !swept.Taken {
			t.Errorf("taken %t, the next sweep in %s (%v)", swept.Taken, swept.Wait, err)
		}
	})
	t.Run("is let through once an interval", func(t *testing.T) {
		s := newSetup(t)
		args := ledger.SweepArgs{Interval: time.Hour, Limit: 10}
		first, err := s.ledger.Sweep(t.Context(), args)
		if err != nil || !first.Taken {
			t.Fatalf("%+v %v", first, err)
		}
		second, err := s.ledger.Sweep(t.Context(), args)
		if err != nil || second.Taken || second.Wait < 59*time.Minute {
			t.Errorf("%+v %v", second, err)
		}
	})
}

func TestRewind(t *testing.T) {
	s := newSetup(t)
	s.open("A")
	if _, ok, err := s.ledger.Rewind(t.Context(), "A", 7); err != nil || ok {
		t.Errorf("of another round: %v %v", ok, err)
	}
	if next, ok, err := s.ledger.Rewind(t.Context(), "A", 1); err != nil || !ok || next != 2 {
		t.Errorf("%d %v %v", next, ok, err)
	}
	s.granted("A")
	if _, ok, err := s.ledger.Rewind(t.Context(), "A", 2); err != nil || ok {
		t.Errorf("under a lease: %v %v", ok, err)
	}
}
