package audit_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/audit"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/tasks"
)

const minGap = 1200 * time.Millisecond

func fen(n int64) *int64 { return &n }

// pair is an order from both sides.
type pair struct {
	recorded ledger.Order
	truth    simulator.OrderReport
}

// agreeing returns an order of each fate, recorded as the platform knows it.
func agreeing() map[string]pair {
	order := func(state tasks.State, platform string) pair {
		words := append(strings.Fields(platform), "", "")
		return pair{
			ledger.Order{State: state, CollectCalls: 1, QueryCalls: 1},
			simulator.OrderReport{State: words[0], StateDescription: words[1], CollectionState: words[2], CollectCalls: 1, QueryCalls: 1, MostAtOnce: 1},
		}
	}
	pairs := map[string]pair{
		"revoked":       order(tasks.Closed, "REVOKED"),
		"expired":       order(tasks.Closed, "EXPIRED"),
		"unknown":       order(tasks.Rejected, "NOT_EXIST"),
		"created":       order(tasks.Rejected, "CREATED"),
		"not completed": order(tasks.Rejected, "DOING USER_CONFIRM"),
		"nothing owed":  order(tasks.Rejected, "DONE"),
	}
	paid := order(tasks.Paid, "DONE")
	paid.truth.CollectionState = simulator.CollectionUserPaid
	paid.truth.TotalAmount, paid.truth.PaidAmount, paid.truth.LeastGapMS = 1230, 1230, fen(1200)
	paid.truth.Payments = []simulator.PaymentDetail{
		{Seq: 1, Amount: 230, PaidType: "NEWTON", PaidTime: "20261123120000", TransactionID: "T1"},
		{Seq: 2, Amount: 1000, PaidType: "NEWTON", PaidTime: "20261123120000", TransactionID: "T2"},
	}
	paid.recorded.TotalAmount, paid.recorded.PaidAmount, paid.recorded.TransactionID = fen(1230), fen(1230), "T2"
	paid.recorded.Payments = []ledger.Payment{newton("T1", 230), newton("T2", 1000)}
	pairs["paid"] = paid

	owed := order(tasks.Exhausted, "DOING MCH_COMPLETE USER_PAYING")
	owed.truth.TotalAmount, owed.recorded.TotalAmount = 1230, fen(1230)
	owed.truth.PaidAmount, owed.recorded.PaidAmount = 100, fen(100) // a part came in
	owed.truth.Payments = []simulator.PaymentDetail{{Seq: 1, Amount: 100, PaidType: "MCH", PaidTime: "20261123120000"}}
	owed.recorded.Payments = []ledger.Payment{elsewhere(1, 100)}
	pairs["owed"] = owed
	return pairs
}

func TestOrder_Agrees(t *testing.T) {
	for fate, p := range agreeing() {
		if found := audit.Order(p.recorded, p.truth, minGap); len(found) > 0 {
			t.Errorf("%s: found %v, want nothing", fate, found)
		}
	}
}

func TestOrder_WrongStates(t *testing.T) {
	for fate, p := range agreeing() {
		right := p.recorded.State
		for _, state := range tasks.States {
			p.recorded.State = state
			kind := audit.WrongState
			if state.Open() {
				kind = audit.Unfinished
			}
			found := audit.Order(p.recorded, p.truth, minGap)
			if seen := slices.ContainsFunc(found, func(d audit.Difference) bool { return d.Kind == kind }); seen != (state != right) {
				t.Errorf("%s, recorded as %s: found %v, want a difference: %v", fate, state, found, state != right)
			}
		}
	}
}

func TestOrder_Catches(t *testing.T) {
	for name, c := range map[string]struct {
		order string
		spoil func(*pair)
		kind  audit.Kind
		want  string
	}{
		"an open order":                         {"paid", func(p *pair) { p.recorded.State = tasks.Awaiting }, audit.Unfinished, "has not ended: it is awaiting, and the platform says DONE USER_PAID"},
		"a wrong state":                         {"owed", func(p *pair) { p.recorded.State = tasks.Paid }, audit.WrongState, "is recorded as paid, and the platform says DOING MCH_COMPLETE USER_PAYING"},
		"a fen less":                            {"paid", func(p *pair) { p.recorded.PaidAmount = fen(1229) }, audit.WrongAmount, "has 1229 fen recorded as paid, and the platform 1230"},
		"no amount":                             {"paid", func(p *pair) { p.recorded.PaidAmount = nil }, audit.WrongAmount, "has 0 fen recorded as paid"},
		"a part payment that is not recorded":   {"owed", func(p *pair) { p.recorded.PaidAmount = nil }, audit.WrongAmount, "has 0 fen recorded as paid, and the platform 100"},
		"another total":                         {"paid", func(p *pair) { p.recorded.TotalAmount = fen(1) }, audit.WrongAmount, "has a total of 1 fen recorded, and the platform 1230"},
		"no total":                              {"paid", func(p *pair) { p.recorded.TotalAmount = nil }, audit.WrongAmount, "has a total of 0 fen recorded"},
		"another payment's transaction_id":      {"paid", func(p *pair) { p.recorded.TransactionID = "T1" }, audit.Differs, `has transaction_id "T1" recorded, and the platform "T2"`},
		"no transaction_id":                     {"paid", func(p *pair) { p.recorded.TransactionID = "" }, audit.Differs, "has transaction_id"},
		"a payment that is not listed":          {"paid", func(p *pair) { p.recorded.Payments = p.recorded.Payments[1:] }, audit.Missing, "payment T1 of 230 fen"},
		"a payment of another number":           {"owed", func(p *pair) { p.recorded.Payments[0].Seq = 2 }, audit.Invented, "the platform does not have it"},
		"a collect call that is not recorded":   {"paid", func(p *pair) { p.truth.CollectCalls = 2 }, audit.Uncounted, "was called more often than recorded: collect 2, recorded 1; query 1, recorded 1"},
		"a query that is not recorded":          {"paid", func(p *pair) { p.truth.QueryCalls = 2 }, audit.Uncounted, "more often than recorded"},
		"two calls at once":                     {"owed", func(p *pair) { p.truth.MostAtOnce = 2 }, audit.AtOnce, "had 2 calls in flight at once"},
		"a call after the final state":          {"revoked", func(p *pair) { p.truth.CallsAfterEnd = 1 }, audit.AfterEnd, "was called 1 times after its final state"},
		"collects closer together than MIN_GAP": {"paid", func(p *pair) { p.truth.LeastGapMS = fen(1199) }, audit.TooSoon, "was collected again after 1199 ms, and MIN_GAP is 1.2s"},
	} {
		t.Run(name, func(t *testing.T) {
			p := agreeing()[c.order]
			c.spoil(&p)
			found := audit.Order(p.recorded, p.truth, minGap)
			if !slices.ContainsFunc(found, func(d audit.Difference) bool { return d.Kind == c.kind && strings.Contains(d.Text, c.want) }) {
				t.Errorf("found %v, want %s: %s", found, c.kind, c.want)
			}
		})
	}
}

func TestStats(t *testing.T) {
	orders := []ledger.Order{{State: tasks.Paid, PaidAmount: fen(1230)}, {State: tasks.Exhausted, PaidAmount: fen(100)}}
	for name, c := range map[string]struct {
		spoil func(*ledger.Stats)
		want  string
	}{
		"right":              {func(*ledger.Stats) {}, ""},
		"a final state":      {func(s *ledger.Stats) { s.Orders[tasks.Closed]++ }, "the ledger counts 1 closed orders, and has 0"},
		"an open state":      {func(s *ledger.Stats) { s.Orders[tasks.Queued] = -1 }, "the ledger counts -1 queued orders, and has 0"},
		"the money":          {func(s *ledger.Stats) { s.PaidAmount-- }, "the ledger counts 1229 fen paid, and its orders have 1230"},
		"a part of the owed": {func(s *ledger.Stats) { s.PaidAmount += 100 }, "the ledger counts 1330 fen paid, and its orders have 1230"},
	} {
		t.Run(name, func(t *testing.T) {
			stats := ledger.Stats{Orders: map[tasks.State]int64{tasks.Paid: 1, tasks.Exhausted: 1}, PaidAmount: 1230}
			c.spoil(&stats)
			var got []string
			for _, d := range audit.Stats(stats, orders) {
				got = append(got, d.Text)
			}
			if strings.Join(got, "; ") != c.want {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}
