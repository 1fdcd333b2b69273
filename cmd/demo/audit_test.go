package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/tasks"
)

func fen(n int64) *int64 { return &n }

// agreed is an order of each end, recorded as the platform knows it.
func agreed() map[string]pair {
	entity := func(state, description string) *simulator.Entity {
		return &simulator.Entity{State: state, StateDescription: description}
	}
	order := func(no string, state tasks.State, e *simulator.Entity) pair {
		return pair{
			recorded: &ledger.Order{OutOrderNo: no, State: state, CollectCalls: 1, QueryCalls: 1},
			truth: simulator.OrderTruth{Entity: e, Audit: simulator.OrderReport{
				OutOrderNo: no, State: simulator.StateNotExist, CollectCalls: 1, QueryCalls: 1, MostAtOnce: 1,
			}},
		}
	}
	pairs := map[string]pair{
		"paid":          order("paid", tasks.Paid, entity(simulator.StateDone, "")),
		"revoked":       order("revoked", tasks.Closed, entity(simulator.StateRevoked, "")),
		"expired":       order("expired", tasks.Closed, entity(simulator.StateExpired, "")),
		"unknown":       order("unknown", tasks.Rejected, nil),
		"created":       order("created", tasks.Rejected, entity(simulator.StateCreated, "")),
		"not completed": order("not completed", tasks.Rejected, entity(simulator.StateDoing, simulator.DescriptionUserConfirm)),
		"nothing owed":  order("nothing owed", tasks.Rejected, entity(simulator.StateDone, "")),
		"owed":          order("owed", tasks.Exhausted, entity(simulator.StateDoing, simulator.DescriptionMchComplete)),
	}
	for name, p := range pairs {
		if p.truth.Entity != nil {
			p.truth.Audit.State, p.truth.Audit.StateDescription = p.truth.Entity.State, p.truth.Entity.StateDescription
		}
		if name == "paid" || name == "owed" {
			p.truth.Audit.TotalAmount = 1230
			p.recorded.TotalAmount = fen(1230)
		}
		if name == "paid" {
			p.truth.Entity.Collection = &simulator.Collection{
				State: simulator.CollectionUserPaid,
				Details: []simulator.PaymentDetail{
					{Seq: 1, Amount: 230, TransactionID: "4200001"}, {Seq: 2, Amount: 1000, TransactionID: "4200002"},
				},
			}
			p.truth.Audit.Payments = p.truth.Entity.Collection.Details
			p.recorded.Payments = []ledger.Payment{{Seq: 1, Amount: 230, TransactionID: "4200001"}, {Seq: 2, Amount: 1000, TransactionID: "4200002"}}
			p.truth.Audit.PaidAmount = 1230
			p.truth.Audit.LeastGapMS = fen(1200)
			p.recorded.PaidAmount, p.recorded.TransactionID = fen(1230), "4200002"
		}
		if name == "owed" { // a part of it came in
			p.truth.Audit.PaidAmount, p.recorded.PaidAmount = 100, fen(100)
			p.truth.Audit.Payments = []simulator.PaymentDetail{{Seq: 1, Amount: 100, PaidType: "MCH"}}
			p.recorded.Payments = []ledger.Payment{{Seq: 1, Amount: 100, PaidType: "MCH"}}
		}
		pairs[name] = p
	}
	return pairs
}

// evidenceOf counts the orders as the ledger would.
func evidenceOf(pairs map[string]pair) evidence {
	e := evidence{minGap: 1200 * time.Millisecond, stats: ledger.Stats{Orders: map[tasks.State]int64{}}}
	for _, p := range pairs {
		e.orders = append(e.orders, p)
		if p.recorded != nil {
			e.stats.Orders[p.recorded.State]++
			if p.recorded.State == tasks.Paid {
				e.stats.PaidAmount += recordedPaid(*p.recorded)
			}
		}
	}
	return e
}

func TestAuditAgrees(t *testing.T) {
	e := evidenceOf(agreed())
	found := e.audit()
	var b bytes.Buffer
	if !writeAudit(&b, len(e.orders), found) || b.String() != "\naudit: 8 of 8 agree\n" {
		t.Errorf("a right ledger is found wrong:\n%s", b.String())
	}
}

// TestAuditCatches: a check that cannot fail is no check.
func TestAuditCatches(t *testing.T) {
	for name, c := range map[string]struct {
		order string
		spoil func(*pair)
		want  string
	}{
		"an order that is missing":                  {"paid", func(p *pair) { p.recorded = nil }, "is not in the ledger"},
		"an order that has not ended":               {"paid", func(p *pair) { p.recorded.State = tasks.Awaiting }, "has not ended: it is awaiting, and the platform says DONE"},
		"an open order that is owed":                {"owed", func(p *pair) { p.recorded.State = tasks.Queued }, "has not ended"},
		"paid, and it is owed":                      {"owed", func(p *pair) { p.recorded.State = tasks.Paid }, "is recorded as paid, and the platform says DOING MCH_COMPLETE"},
		"paid, and it is revoked":                   {"revoked", func(p *pair) { p.recorded.State = tasks.Paid }, "is recorded as paid"},
		"paid, and nothing was owed":                {"nothing owed", func(p *pair) { p.recorded.State = tasks.Paid }, "is recorded as paid"},
		"paid, and unknown":                         {"unknown", func(p *pair) { p.recorded.State = tasks.Paid }, "the platform says NOT_EXIST"},
		"closed, and it is paid":                    {"paid", func(p *pair) { p.recorded.State = tasks.Closed }, "is recorded as closed"},
		"closed, and it is owed":                    {"owed", func(p *pair) { p.recorded.State = tasks.Closed }, "is recorded as closed"},
		"rejected, and it is owed":                  {"owed", func(p *pair) { p.recorded.State = tasks.Rejected }, "is recorded as rejected"},
		"rejected, and it is expired":               {"expired", func(p *pair) { p.recorded.State = tasks.Rejected }, "is recorded as rejected"},
		"exhausted, and it is paid":                 {"paid", func(p *pair) { p.recorded.State = tasks.Exhausted }, "is recorded as exhausted"},
		"exhausted, and it is not completed":        {"not completed", func(p *pair) { p.recorded.State = tasks.Exhausted }, "is recorded as exhausted"},
		"exhausted, and it is not confirmed":        {"created", func(p *pair) { p.recorded.State = tasks.Exhausted }, "is recorded as exhausted"},
		"withdrawn, which nobody asked for":         {"owed", func(p *pair) { p.recorded.State = tasks.Withdrawn }, "is recorded as withdrawn"},
		"a fen less":                                {"paid", func(p *pair) { p.recorded.PaidAmount = fen(1229) }, "has ¥12.29 recorded as paid, and the platform ¥12.30"},
		"no amount":                                 {"paid", func(p *pair) { p.recorded.PaidAmount = nil }, "has ¥0.00 recorded as paid"},
		"a part payment that is not recorded":       {"owed", func(p *pair) { p.recorded.PaidAmount = nil }, "has ¥0.00 recorded as paid, and the platform ¥1.00"},
		"another total":                             {"paid", func(p *pair) { p.recorded.TotalAmount = fen(1) }, "another total"},
		"no total":                                  {"paid", func(p *pair) { p.recorded.TotalAmount = nil }, "another total"},
		"another payment's transaction_id":          {"paid", func(p *pair) { p.recorded.TransactionID = "4200001" }, `transaction_id "4200001" recorded, and the platform "4200002"`},
		"no transaction_id":                         {"paid", func(p *pair) { p.recorded.TransactionID = "" }, "transaction_id"},
		"a part that is not listed":                 {"paid", func(p *pair) { p.recorded.Payments = p.recorded.Payments[1:] }, "payment 4200001 of 230 fen"},
		"a part that the platform does not have":    {"owed", func(p *pair) { p.recorded.Payments[0].Seq = 2 }, "the platform does not have it"},
		"two parts as one":                          {"paid", func(p *pair) { p.recorded.Payments[0].Amount, p.recorded.Payments[1].Amount = 229, 1001 }, "payment 4200001 of 229 fen"},
		"a collect call that is not recorded":       {"paid", func(p *pair) { p.truth.Audit.CollectCalls = 2 }, "more often than recorded"},
		"a query that is not recorded":              {"paid", func(p *pair) { p.truth.Audit.QueryCalls = 2 }, "more often than recorded"},
		"two calls at once":                         {"owed", func(p *pair) { p.truth.Audit.MostAtOnce = 2 }, "had 2 calls in flight at once"},
		"a call after the end":                      {"revoked", func(p *pair) { p.truth.Audit.CallsAfterEnd = 1 }, "was called 1 times after its end"},
		"two collects closer together than MIN_GAP": {"paid", func(p *pair) { p.truth.Audit.LeastGapMS = fen(1199) }, "collected again after 1199 ms, and MIN_GAP is 1.2s"},
	} {
		t.Run(name, func(t *testing.T) {
			pairs := agreed()
			p := pairs[c.order]
			c.spoil(&p)
			pairs[c.order] = p
			e := evidenceOf(pairs)
			var b bytes.Buffer
			if writeAudit(&b, len(e.orders), e.audit()) {
				t.Fatal("nothing was found")
			}
			for _, want := range []string{"DIFFERENCE: " + c.order + " ", c.want, "audit: 7 of 8 agree\n"} {
				if !strings.Contains(b.String(), want) {
					t.Errorf("the audit does not say %q:\n%s", want, b.String())
				}
			}
		})
	}
}

func TestAuditCatchesWrongSums(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*evidence)
		want  string
	}{
		"a state's counter":                {func(e *evidence) { e.stats.Orders[tasks.Closed]++ }, "the ledger counts 3 closed orders, and has 2"},
		"an order left in an open counter": {func(e *evidence) { e.stats.Orders[tasks.Queued] = -1 }, "the ledger counts -1 queued orders, and has 0"},
		"the money":                        {func(e *evidence) { e.stats.PaidAmount-- }, "the ledger counts ¥12.29 paid, and its orders have ¥12.30"},
		"our own signature":                {func(e *evidence) { e.platform.RejectedSignatures = 2 }, "refused 2 of our signatures"},
	} {
		t.Run(name, func(t *testing.T) {
			e := evidenceOf(agreed())
			c.spoil(&e)
			var b bytes.Buffer
			if writeAudit(&b, len(e.orders), e.audit()) || !strings.Contains(b.String(), c.want) {
				t.Errorf("the audit does not say %q:\n%s", c.want, b.String())
			}
		})
	}
}
