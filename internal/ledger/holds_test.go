package ledger_test

import (
	"testing"
	"time"

	"payscore-collector/internal/ledger"
)

func TestHoldsAreRead(t *testing.T) {
	s := newSetup(t)
	h, err := s.ledger.Holds(t.Context())
	if err != nil || h.Merchant.Kind != ledger.HoldNone || len(h.Services) != 0 || h.Share != 1 || h.Jump.By != 0 || time.Since(h.Now).Abs() > time.Minute {
		t.Fatalf("of a new merchant: %+v %v", h, err)
	}
	for _, no := range []string{"A", "B", "C"} {
		s.open(no)
	}
	a, b, c := s.granted("A"), s.granted("B"), s.granted("C")
	s.settle(a, fault(a, ledger.GateThrottled))
	s.settle(b, fault(b, ledger.GateService))
	s.settle(c, fault(c, ledger.GateFault))
	h, err = s.ledger.Holds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if h.Share < 0.5 || h.Share > 0.7 {
		t.Errorf("a merchant that was throttled once has %v of its rate, want a half and a little more", h.Share)
	}
	soon := func(what string, got ledger.Hold, kind ledger.HoldKind) {
		t.Helper()
		if got.Kind != kind || got.Since.After(h.Now) || h.Now.Sub(got.Since) > time.Minute || got.NextProbe.Sub(got.Since) != 5*time.Second {
			t.Errorf("%s: %+v, want a hold of kind %q since now with a probe after 5 s", what, got, kind)
		}
	}
	soon("the merchant", h.Merchant, ledger.HoldFault)
	soon("the service", h.Service("wx1", "s1"), ledger.HoldService)
	if other := h.Service("wx1", "s2"); other.Kind != ledger.HoldNone {
		t.Errorf("another service: %+v", other)
	}
}
