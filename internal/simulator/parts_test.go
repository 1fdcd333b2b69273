package simulator

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// The signed order and the report list every payment, in parts and mixed.
func TestPayments_AreListed(t *testing.T) {
	b := setup(t, Order{OutOrderNo: "A1", TotalAmount: 1000, Fate: FateMixed("PMP")})
	for range 3 {
		b.collect("A1")
		b.clock.pass(time.Second)
	}
	want := []PaymentDetail{
		{Seq: 1, Amount: 333, PaidType: PaidTypeNewton, PaidTime: "20261123120000", TransactionID: "4200020261123000000000000101", PromotionDetail: []Promotion{}},
		{Seq: 2, Amount: 333, PaidType: PaidTypeMch, PaidTime: "20261123120001"},
		{Seq: 3, Amount: 334, PaidType: PaidTypeNewton, PaidTime: "20261123120002", TransactionID: "4200020261123000000000000103", PromotionDetail: []Promotion{}},
	}
	if diff := cmp.Diff(want, b.entity("A1").Collection.Details, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the signed order (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, b.sim.Report().Orders[0].Payments); diff != "" {
		t.Errorf("the report (-want +got):\n%s", diff)
	}
}

func TestControl_PayAndLower(t *testing.T) {
	const owed, done = `"state":"DOING"`, `"state":"DONE"`
	type call struct {
		path, body string
		status     int
		want       string
	}
	for name, tt := range map[string]struct {
		fate  Fate
		calls []call
	}{
		"the user pays all": {FateNever, []call{{"pay", `{}`, 200, done}, {"pay", `{}`, 409, "does not wait for payment"}}},
		"in parts, and elsewhere": {FateNever, []call{
			{"pay", `{"amount":300}`, 200, owed},
			{"pay", `{"amount":300,"paid_type":"MCH"}`, 200, owed},
			{"pay", `{"amount":401}`, 409, "from 1 to the 400 fen"},
			{"pay", `{"amount":-1}`, 409, "from 1 to the 400 fen"},
			{"pay", `{"amount":1,"paid_type":"CASH"}`, 409, "write NEWTON"},
			{"pay", `{"paid_type":"MCH"}`, 200, done},
		}},
		"lowered to what is paid": {FateNever, []call{
			{"pay", `{"amount":300}`, 200, owed},
			{"lower", `{"total_amount":299}`, 409, "at least the 300 fen"},
			{"lower", `{"total_amount":700}`, 200, `"total_amount":700`},
			{"lower", `{"total_amount":700}`, 409, "below the present 700 fen"},
			{"lower", `{}`, 409, "above 0"},
			{"lower", `{"total_amount":300}`, 200, done},
			{"lower", `{"total_amount":200}`, 409, "does not wait for payment"},
		}},
		"a deduction under way": {FateUserPaying(time.Minute), []call{
			{"pay", `{}`, 409, "deduction under way"}, {"lower", `{"total_amount":1}`, 409, "deduction under way"},
		}},
		"an order that is not owed": {FateRevoked, []call{{"pay", `{}`, 409, "does not wait"}, {"lower", `{"total_amount":1}`, 409, "does not wait"}}},
		"an order unknown":          {FateUnknown, []call{{"pay", `{}`, 409, "no such order"}}},
		"what cannot be read": {FateNever, []call{
			{"pay", `{"total_amount":5}`, 400, `field "total_amount" is not known`}, {"pay", ``, 400, "ends too early"}, {"lower", `{"total_amount":"5"}`, 400, "must not be a JSON string"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := setup(t, Order{OutOrderNo: "A1", TotalAmount: 1000, Fate: tt.fate})
			b.collect("A1")
			for i, c := range tt.calls {
				status, body := b.control(http.MethodPost, "/_sim/orders/A1/"+c.path, c.body)
				if body = strings.ReplaceAll(body, `\"`, `"`); status != c.status || !strings.Contains(body, c.want) {
					t.Errorf("call %d: %s %s: got %d %s, want %d with %s", i+1, c.path, c.body, status, body, c.status, c.want)
				}
			}
		})
	}
	b := setup(t)
	if status, body := b.control(http.MethodPost, "/_sim/orders/A9/pay", `{}`); status != 404 || !strings.Contains(body, "was never added") {
		t.Errorf("an order never added: %d %s", status, body)
	}
}

// Whatever is done to an order, its payments add up to what is paid, never to
// more than is owed; none is ever changed or taken away, and each through
// PayScore has a transaction_id of its own.
func TestPayments_AlwaysAddUp(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		total := rapid.Int64Range(20, 5000).Draw(r, "total")
		fate := rapid.SampledFrom([]Fate{
			FatePays, FateNever, FateParts(2), FateParts(20), "mixed", FateMixed("MM"), FateMixed("PPM"),
			FateLower(total / 2), FatePartial(total / 3), FateUserPaying(2 * time.Second), FateUserPays(5 * time.Second),
		}).Draw(r, "fate")
		clock := newClock()
		sim, err := New(Options{Clock: clock.Now})
		if err != nil {
			r.Fatal(err)
		}
		defer sim.Close()
		if err := sim.AddOrders(Order{OutOrderNo: "A1", TotalAmount: total, Fate: fate}); err != nil {
			r.Fatal(err)
		}
		faults := Faults{PayDelay: Duration(rapid.IntRange(0, 2).Draw(r, "delay")) * Duration(time.Second)}
		var before []PaymentDetail
		for range 20 {
			switch rapid.SampledFrom([]string{"collect", "sync", "pay", "lower", "wait"}).Draw(r, "deed") {
			case "collect":
				sim.find("A1").collect(sim.id.Merchant, faults, clock.Now())
			case "sync":
				if rapid.IntRange(0, 9).Draw(r, "lot") == 0 {
					sim.find("A1").sync(sim.id.Merchant, clock.Now(), clock.Now())
				}
			case "pay": // an error is a refusal, which changes nothing
				_ = sim.Pay("A1", rapid.Int64Range(1, total).Draw(r, "fen"), rapid.SampledFrom([]string{PaidTypeNewton, PaidTypeMch}).Draw(r, "type"))
			case "lower":
				_ = sim.Lower("A1", rapid.Int64Range(1, total).Draw(r, "fen"))
			}
			clock.pass(time.Second)
			truth, _ := sim.Order("A1")
			a, c := truth.Audit, truth.Entity.Collection
			var sum, moved int64
			ids := map[string]bool{}
			for i, p := range a.Payments {
				sum += p.Amount
				if p.PaidType == PaidTypeNewton {
					moved += p.Amount
					ids[p.TransactionID] = true
				} else {
					ids[fmt.Sprint(p.Seq)] = true
				}
				if p.Amount <= 0 || p.Seq != i+1 || len(ids) != i+1 {
					r.Fatalf("payment %d of %+v", i+1, a.Payments)
				}
			}
			if sum != a.PaidAmount || sum > a.TotalAmount || moved != a.MoneyMoved || (sum == a.TotalAmount) != (a.State == StateDone) ||
				c.PaidAmount != sum || c.PayingAmount != a.TotalAmount-sum || len(a.Payments) < len(before) {
				r.Fatalf("it does not add up: %+v %+v", a, c)
			}
			if diff := cmp.Diff(before, a.Payments[:len(before)], cmpopts.EquateEmpty()); diff != "" {
				r.Fatalf("a payment has changed: %s", diff)
			}
			before = a.Payments
		}
	})
}
