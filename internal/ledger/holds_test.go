package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/tasks"
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
	if got, want := h.Services[0].Owner, payload("A").Owner(); got != want {
		t.Errorf("the owner of the service's hold is %+v, want %+v", got, want)
	}
	soon("the service", serviceHold(h, "wx1:s1"), ledger.HoldService)
	if other := serviceHold(h, "wx1:s2"); other.Kind != ledger.HoldNone {
		t.Errorf("another service: %+v", other)
	}
}

// serviceHold is the hold of a service, by its owner's Scope; the zero Hold where there is
// none.
func serviceHold(h ledger.Holds, scope string) ledger.Hold {
	for _, s := range h.Services {
		if s.Scope() == scope {
			return s
		}
	}
	return ledger.Hold{}
}

// How much of each merchant is stopped is what its holds say, with one command a merchant.
func TestStops(t *testing.T) {
	s := newSetup(t)
	others := map[string]*ledger.Ledger{}
	for _, mchid := range []string{"1900000011", "1900000012", "1900000013", "1900000014"} {
		others[mchid] = ledger.New(s.redis.Client, mchid)
	}
	pause := func(mchid string, length time.Duration) {
		if _, err := others[mchid].Pause(t.Context(), ledger.Deed{By: "cli:x", Reason: "x", Token: ledger.NewToken()}, length); err != nil {
			t.Fatal(err)
		}
	}
	pause("1900000011", 0)
	pause("1900000012", time.Hour)
	pause("1900000013", time.Millisecond)
	stops := func(want ledger.Stop) {
		t.Helper()
		testkit.Eventually(t, "the pause of a millisecond to end", func() bool {
			got, err := ledger.Stops(t.Context(), s.redis.Client, []string{"1900000011", mchid, "1900000012", "1900000013", "1900000014"})
			if err != nil {
				t.Fatal(err)
			}
			if got["1900000011"] != ledger.StopMerchant || got["1900000012"] != ledger.StopMerchant || got["1900000014"] != ledger.StopNone || got[mchid] != want {
				t.Fatalf("%v, want %v of %s", got, want, mchid)
			}
			return got["1900000013"] == ledger.StopNone
		})
	}
	for _, no := range []string{"A", "B", "C"} {
		s.open(no)
	}
	a, b, c := s.granted("A"), s.granted("B"), s.granted("C")
	row := fault(a, ledger.GateDown) // the first failure of a row is no hold yet
	row.Failures = 3
	s.settle(a, row)
	stops(ledger.StopNone)
	s.settle(b, fault(b, ledger.GateService))
	stops(ledger.StopServices)
	s.settle(c, fault(c, ledger.GateFault))
	stops(ledger.StopMerchant)
}

// Of every hold of the merchant, with and without one of the service, and every
// reply to a probe.
func TestWhatAProbesReplyDoesToTheHolds(t *testing.T) {
	const none, refused, down, throttled, service = ledger.HoldNone, ledger.HoldFault, ledger.HoldDown, ledger.HoldThrottled, ledger.HoldService
	for _, tt := range []struct {
		merchant ledger.HoldKind
		reply    ledger.GateSignal
		want     ledger.HoldKind // of the merchant
		service  ledger.HoldKind // where it was not held before
		change   ledger.GateChange
	}{
		{refused, ledger.GateOK, none, none, ledger.GateOpened},
		{refused, ledger.GateService, none, service, ledger.GateClosed},
		{refused, ledger.GateFault, refused, none, ""},
		{refused, ledger.GateDown, refused, none, ""},
		{refused, ledger.GateThrottled, refused, none, ledger.GateSlowed},
		{refused, ledger.GateNothing, refused, none, ""},
		{down, ledger.GateOK, none, none, ledger.GateOpened},
		{down, ledger.GateService, none, service, ledger.GateClosed},
		{down, ledger.GateFault, refused, none, ledger.GateClosed},
		{down, ledger.GateDown, down, none, ""},
		{down, ledger.GateThrottled, down, none, ledger.GateSlowed},
		{down, ledger.GateNothing, down, none, ""},
		{throttled, ledger.GateOK, none, none, ledger.GateOpened},
		{throttled, ledger.GateService, none, service, ledger.GateClosed},
		{throttled, ledger.GateFault, refused, none, ledger.GateClosed},
		{throttled, ledger.GateDown, throttled, none, ""},
		{throttled, ledger.GateThrottled, throttled, none, ledger.GateSlowed},
		{throttled, ledger.GateNothing, throttled, none, ""},
	} {
		for _, both := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %s %t", tt.merchant, tt.reply, both), func(t *testing.T) {
				s := newTimed(t)
				s.open("A")
				s.open("B")
				hold := func(kind ledger.HoldKind) string {
					return fmt.Sprintf("%s %d %d 5000 0", kind, s.now.UnixMilli(), s.now.UnixMilli())
				}
				key := ledger.KeysOf(mchid).Hold()
				s.redis.Client.HSet(t.Context(), key, "merchant", hold(tt.merchant))
				if both {
					s.redis.Client.HSet(t.Context(), key, "service:wx1:s1", hold(service))
				}
				s.pass(time.Second)
				c := s.granted("A")
				if !c.Probe {
					t.Error("no probe")
				}
				set := answered(c, tt.reply)
				change := tt.change
				if both && tt.reply == ledger.GateService {
					change = ledger.GateOpened // of the merchant; the service is held as before
				}
				if _, got := s.settle(c, set); got != change {
					t.Errorf("change %q, want %q", got, change)
				}
				want := tt.service
				if both && tt.reply != ledger.GateOK {
					want = service
				}
				h, err := s.ledger.Holds(t.Context())
				if err != nil || h.Merchant.Kind != tt.want || serviceHold(h, "wx1:s1").Kind != want {
					t.Errorf("%+v (%v), want %q and %q", h, err, tt.want, want)
				}
				// A reply that says nothing of a hold leaves its probe to another order at
				// once; one that refuses it, to one after twice the time.
				says := map[ledger.GateSignal][2]bool{
					ledger.GateService: {false, true}, ledger.GateFault: {true, false}, ledger.GateDown: {true, false}, ledger.GateThrottled: {true, false},
				}[tt.reply]
				if in := h.Merchant.NextProbe.Sub(s.now); tt.want == tt.merchant && (in == 10*time.Second) != says[0] {
					t.Errorf("the merchant's next probe is in %s", in)
				}
				if in := serviceHold(h, "wx1:s1").NextProbe.Sub(s.now); both && want == service && (in == 10*time.Second) != says[1] {
					t.Errorf("the service's next probe is in %s", in)
				}
			})
		}
	}
}

// answered is the settlement of a call that was made just now.
func answered(c ledger.Claim, reply ledger.GateSignal) ledger.Settlement {
	set := fault(c, reply)
	if reply == ledger.GateNothing {
		set.CalledAt = time.Time{}
	}
	return set
}

// A reply to a call for one service says nothing of the service under which its order was
// reopened meanwhile.
func TestAReplyDoesNotHoldTheServiceOfAReopening(t *testing.T) {
	s := newSetup(t)
	s.open("A")
	c := s.granted("A")
	s.withdraw("A")
	other := payload("A")
	other.ServiceID = "another"
	if err := openOrder(t.Context(), s.ledger, tasks.Order{Payload: other, Reopen: true}); err != nil {
		t.Fatal(err)
	}
	s.settle(c, fault(c, ledger.GateService))
	h, err := s.ledger.Holds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, held := range h.Services {
		if held.ServiceID == other.ServiceID {
			t.Errorf("%+v was never called, and is held", held)
		}
	}
}
