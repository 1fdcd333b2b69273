package payscore_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"payscore-collector/internal/payscore"
)

// The three state fields together, and the amounts.
func TestOrderJudge(t *testing.T) {
	t.Parallel()
	collection := func(state string, total, paying, paid payscore.Integer) *payscore.Collection {
		return &payscore.Collection{State: state, TotalAmount: total, PayingAmount: paying, PaidAmount: paid}
	}
	for _, tt := range []struct {
		name               string
		state, description string
		collection         *payscore.Collection
		needCollection     bool
		want               payscore.Verdict
		reason             string
	}{
		{"the user has not confirmed", "CREATED", "", nil, false, payscore.NotCollectable, "not_confirmed"},
		{"service under way", "DOING", "USER_CONFIRM", nil, false, payscore.NotCollectable, "not_completed"},
		{"completed, money owed", "DOING", "MCH_COMPLETE", collection("USER_PAYING", 100, 100, 0), true, payscore.Owed, ""},
		{"completed, part of it paid", "DOING", "MCH_COMPLETE", collection("USER_PAYING", 100, 40, 60), true, payscore.Owed, ""},
		{"paid", "DONE", "", collection("USER_PAID", 100, 0, 100), true, payscore.Paid, ""},
		{"paid, the last description still there", "DONE", "MCH_COMPLETE", collection("USER_PAID", 100, 0, 100), true, payscore.Paid, ""},
		{"called paid, but part of it is still to come", "DONE", "", collection("USER_PAID", 100, 40, 60), true, payscore.InProgress, "partly_paid"},
		{"called paid, and nothing has come", "DONE", "", collection("USER_PAID", 100, 0, 0), true, payscore.InProgress, "partly_paid"},
		{"paid and final, though less than the total came", "DONE", "", collection("USER_PAID", 100, 0, 60), true, payscore.Paid, ""},
		{"paid and final, though more than the total came", "DONE", "", collection("USER_PAID", 100, 0, 160), true, payscore.Paid, ""},
		{"nothing was owed", "DONE", "", nil, false, payscore.NotCollectable, "nothing_owed"},
		{"done, collection needed and not there", "DONE", "", nil, true, payscore.Unknown, "contradictory_state"},
		{"done, and still paying", "DONE", "", collection("USER_PAYING", 100, 100, 0), true, payscore.Unknown, "contradictory_state"},
		{"completed, the collection not there yet", "DOING", "MCH_COMPLETE", nil, false, payscore.InProgress, "changing"},
		{"paid by one field and not by another", "DOING", "MCH_COMPLETE", collection("USER_PAID", 100, 0, 100), true, payscore.InProgress, "changing"},
		{"not completed, and paying", "DOING", "USER_CONFIRM", collection("USER_PAYING", 100, 100, 0), true, payscore.InProgress, "changing"},
		{"cancelled", "REVOKED", "", nil, false, payscore.Closed, "REVOKED"},
		{"never confirmed", "EXPIRED", "", nil, false, payscore.Closed, "EXPIRED"},
		{"an unknown state", "FROZEN", "", nil, false, payscore.Unknown, "contradictory_state"},
		{"no state", "", "", nil, false, payscore.Unknown, "contradictory_state"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := payscore.Order{
				State: tt.state, StateDescription: tt.description, TotalAmount: 100,
				NeedCollection: tt.needCollection, Collection: tt.collection,
			}
			if v, reason := o.Judge(); v != tt.want || reason != tt.reason {
				t.Errorf("got %s %q, want %s %q", v, reason, tt.want, tt.reason)
			}
		})
	}
}

// Whatever the combination: money and ends are read out of one constellation
// each, and of no other.
func TestOrderJudgeEveryCombination(t *testing.T) {
	t.Parallel()
	amounts := [][3]payscore.Integer{{100, 100, 0}, {100, 40, 60}, {100, 0, 60}, {100, 0, 100}, {100, 100, 100}, {0, 0, 100}, {0, 0, 0}}
	n := 0
	for _, state := range []string{"", "CREATED", "DOING", "DONE", "REVOKED", "EXPIRED", "FROZEN"} {
		for _, description := range []string{"", "USER_CONFIRM", "MCH_COMPLETE", "OTHER"} {
			for _, cstate := range []string{"none", "", "USER_PAYING", "USER_PAID", "OTHER"} {
				for _, a := range amounts {
					for _, need := range []bool{false, true} {
						o := payscore.Order{State: state, StateDescription: description, TotalAmount: 100, NeedCollection: need}
						if cstate != "none" {
							o.Collection = &payscore.Collection{State: cstate, TotalAmount: a[0], PayingAmount: a[1], PaidAmount: a[2]}
						}
						v, reason := o.Judge()
						if (v == payscore.Closed || v == payscore.NotCollectable) && !slices.Contains(payscore.EndReasons, reason) {
							t.Errorf("%s for %q, which is not listed", v, reason)
						}
						paid := state == "DONE" && cstate == "USER_PAID" && a[1] == 0 && a[2] > 0
						closed := state == "REVOKED" || state == "EXPIRED"
						owed := state == "DOING" && description == "MCH_COMPLETE" && cstate == "USER_PAYING"
						if (v == payscore.Paid) != paid || (v == payscore.Closed) != closed || (v == payscore.Owed) != owed {
							t.Errorf("%q %q %q %v need %t: %s", state, description, cstate, a, need, v)
						}
						n++
					}
				}
			}
		}
	}
	if n != 7*4*5*7*2 {
		t.Fatalf("checked %d combinations", n)
	}
}

func TestOrderLastPayment(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		details []payscore.Detail
		want    string // transaction_id
		paid    string // paid_type
	}{
		{"none", nil, "", ""},
		{"one", []payscore.Detail{{TransactionID: "a", PaidType: "NEWTON"}}, "a", "NEWTON"},
		{"the later of two", []payscore.Detail{{TransactionID: "a", PaidType: "NEWTON"}, {TransactionID: "b", PaidType: "NEWTON"}}, "b", "NEWTON"},
		{"a part, and the rest by sync: the number stays, for refunds need it", []payscore.Detail{{TransactionID: "a", PaidType: "NEWTON"}, {PaidType: "MCH"}}, "a", "MCH"},
		{"the later by seq, wherever it stands", []payscore.Detail{{Seq: 2, TransactionID: "b", PaidType: "NEWTON"}, {Seq: 1, TransactionID: "a", PaidType: "NEWTON"}}, "b", "NEWTON"},
		{"by sync alone", []payscore.Detail{{PaidType: "MCH"}}, "", "MCH"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := payscore.Order{Collection: &payscore.Collection{Details: tt.details}}
			if got := o.LastPayment(); got.TransactionID != tt.want || got.PaidType != tt.paid {
				t.Errorf("got %+v", got)
			}
		})
	}
	none := payscore.Order{TotalAmount: 7}
	if none.LastPayment() != (payscore.Payment{}) || none.Paid() != 0 || none.Total() != 7 {
		t.Errorf("without a collection: %+v %d of %d", none.LastPayment(), none.Paid(), none.Total())
	}
}

func TestOrderPaid(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, collection string
		want             int64
	}{
		{"an amount", `{"state":"USER_PAID","total_amount":9,"paid_amount":7,"details":[{"amount":4}]}`, 7},
		{"details alone", `{"state":"USER_PAID","total_amount":9,"details":[{"amount":4},{"amount":3}]}`, 7},
		{"neither, and paid", `{"state":"USER_PAID","total_amount":9}`, 9},
		{"neither, and owed", `{"state":"USER_PAYING","total_amount":9}`, 0},
		{"given twice", `{"state":"USER_PAID","details":[{"amount":4}]},"collection":{"total_amount":8,"details":[{"amount":4}]}`, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var o payscore.Order
			if err := json.Unmarshal([]byte(`{"collection":`+tt.collection+`}`), &o); err != nil {
				t.Fatal(err)
			}
			if got := o.Paid(); got != tt.want {
				t.Errorf("%d fen, want %d", got, tt.want)
			}
		})
	}
}

func TestOrderPayments(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 4, 0, 10, 0, time.UTC)
	for _, tt := range []struct {
		name, details string
		want          []payscore.Payment
	}{
		{"none", `[]`, nil},
		{"of both kinds, by their seq, with numbers in quotes", `[
			{"seq":"2","amount":"600","paid_type":"MCH","paid_time":"2026-11-23T12:00:10+08:00"},
			{"seq":1,"amount":400,"paid_type":"NEWTON","paid_time":"20261123120010","transaction_id":"4200","promotion_detail":[{"amount":1}]}]`,
			[]payscore.Payment{
				{Seq: 1, TransactionID: "4200", Amount: 400, PaidType: "NEWTON", PaidAt: at},
				{Seq: 2, Amount: 600, PaidType: "MCH", PaidAt: at},
			}},
		{"without a seq: their places", `[{"amount":1,"transaction_id":"a"},{"amount":2,"transaction_id":"b"}]`,
			[]payscore.Payment{{Seq: 1, TransactionID: "a", Amount: 1}, {Seq: 2, TransactionID: "b", Amount: 2}}},
		{"an invalid time, and one without an amount", `[{"seq":1,"amount":1,"paid_time":"yesterday"},{"seq":2,"transaction_id":"b"}]`,
			[]payscore.Payment{{Seq: 1, Amount: 1}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var o payscore.Order
			if err := json.Unmarshal([]byte(`{"promotion_detail":[{"amount":1}],"total_amount":"1000","collection":{"total_amount":"1000","paid_amount":"1000","paying_amount":"0","details":`+tt.details+`}}`), &o); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, o.Payments(), cmpopts.EquateEmpty()); diff != "" || o.Total() != 1000 || o.Paid() != 1000 || o.TotalAmount != 1000 {
				t.Errorf("%s%+v", diff, o)
			}
		})
	}
}

// What no amount can be is refused as a whole: half a message is worse than none.
func TestOrderAmountOutOfRange(t *testing.T) {
	t.Parallel()
	for _, number := range []string{"-1", "10000000000001", "9007199254740993", "1e3", "1.5", `"x"`, `""`, `[]`, `true`} {
		for _, field := range []string{
			`{"total_amount":%s}`, `{"collection":{"total_amount":%s}}`, `{"collection":{"paid_amount":%s}}`,
			`{"collection":{"paying_amount":%s}}`, `{"collection":{"details":[{"amount":%s}]}}`, `{"collection":{"details":[{"seq":%s}]}}`,
		} {
			var o payscore.Order
			if err := json.Unmarshal(fmt.Appendf(nil, field, number), &o); err == nil {
				t.Errorf(field+" is read as %+v", number, o)
			}
		}
	}
	var o payscore.Order
	if err := json.Unmarshal([]byte(`{"collection":{"details":[{"amount":9999999999999},{"amount":9999999999999}]}}`), &o); err == nil {
		t.Errorf("a sum out of range: %+v", o)
	}
	o = payscore.Order{}
	if err := json.Unmarshal([]byte(`{"total_amount":null,"collection":{"total_amount":10000000000000}}`), &o); err != nil || o.Total() != payscore.MaxAmount {
		t.Errorf("%v %+v", err, o)
	}
}
