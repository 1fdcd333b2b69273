package audit_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"payscore-collector/internal/audit"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
)

var noon = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)

func newton(id string, fen int64) ledger.Payment {
	return ledger.Payment{TransactionID: id, Amount: fen, PaidType: "NEWTON", PaidAt: noon}
}

func elsewhere(seq, fen int64) ledger.Payment {
	return ledger.Payment{Seq: seq, Amount: fen, PaidType: "MCH", PaidAt: noon}
}

func TestPayments(t *testing.T) {
	list := func(p ...ledger.Payment) []ledger.Payment { return p }
	with := func(p ledger.Payment, set func(*ledger.Payment)) ledger.Payment { set(&p); return p }
	for name, tt := range map[string]struct {
		recorded, platform []ledger.Payment
		want               string // a kind and some words a difference
	}{
		"nothing":                       {nil, nil, ""},
		"equal":                         {list(newton("T1", 400), elsewhere(2, 600)), list(newton("T1", 400), elsewhere(2, 600)), ""},
		"in another order":              {list(elsewhere(2, 600), newton("T1", 400)), list(newton("T1", 400), elsewhere(2, 600)), ""},
		"the same time in another zone": {list(with(newton("T1", 400), func(p *ledger.Payment) { p.PaidAt = noon.In(time.FixedZone("", 8*60*60)) })), list(newton("T1", 400)), ""},
		"a seq beside a transaction_id": {list(newton("T1", 400)), list(with(newton("T1", 400), func(p *ledger.Payment) { p.Seq = 1 })), ""},
		"two elsewhere, alike":          {list(elsewhere(1, 5), elsewhere(2, 5)), list(elsewhere(1, 5), elsewhere(2, 5)), ""},
		"only the last of two":          {list(newton("T2", 600)), list(newton("T1", 400), newton("T2", 600)), "missing: payment T1 of 400 fen, NEWTON at 2026-11-23T04:00:00Z is not recorded"},
		"the sum under the last":        {list(newton("T2", 1000)), list(newton("T1", 400), newton("T2", 600)), "differs: T2 of 1000 fen|missing: T1"},
		"elsewhere hides PayScore":      {list(elsewhere(2, 1000)), list(newton("T1", 400), elsewhere(2, 600)), "differs: payment 2, without transaction_id, of 1000 fen|missing: T1"},
		"twice":                         {list(newton("T1", 400), newton("T1", 400)), list(newton("T1", 400)), "twice: T1"},
		"elsewhere twice":               {list(elsewhere(1, 5), elsewhere(1, 5)), list(elsewhere(1, 5)), "twice: payment 1, without transaction_id, of 5 fen"},
		"a fen too little":              {list(newton("T1", 399)), list(newton("T1", 400)), "differs: T1 of 399 fen"},
		"another time":                  {list(with(newton("T1", 400), func(p *ledger.Payment) { p.PaidAt = noon.Add(time.Second) })), list(newton("T1", 400)), "differs: 04:00:01Z is recorded"},
		"another type":                  {list(with(newton("T1", 400), func(p *ledger.Payment) { p.PaidType = "MCH" })), list(newton("T1", 400)), "differs: MCH at"},
		"made up":                       {list(newton("T9", 400)), nil, "invented: T9"},
		"made up twice":                 {list(newton("T9", 400), newton("T9", 400)), nil, "invented: T9|twice: T9"},
	} {
		t.Run(name, func(t *testing.T) {
			found := audit.Payments(tt.recorded, tt.platform)
			var want []string
			if tt.want != "" {
				want = strings.Split(tt.want, "|")
			}
			if len(found) != len(want) {
				t.Fatalf("found %v, want %q", found, want)
			}
			for i, d := range found {
				kind, text, _ := strings.Cut(want[i], ": ")
				if string(d.Kind) != kind || !strings.Contains(d.Text, text) {
					t.Errorf("found %v, want %s", d, want[i])
				}
			}
		})
	}
}

func TestPlatform(t *testing.T) {
	got := audit.Platform([]simulator.PaymentDetail{
		{Seq: 1, Amount: 400, PaidType: "NEWTON", PaidTime: "20261123120000", TransactionID: "T1"}, {Seq: 2, Amount: 5, PaidType: "MCH", PaidTime: "20261123120000"},
	})
	if found := audit.Payments([]ledger.Payment{newton("T1", 400), elsewhere(2, 5)}, got); len(found) > 0 {
		t.Errorf("%v", found)
	}
}

// Equal lists agree in any order, and differ after any one change.
func TestPayments_SeesEveryChange(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var platform []ledger.Payment
		for i := range rapid.Int64Range(1, 6).Draw(r, "payments") {
			p := elsewhere(i+1, rapid.Int64Range(1, 3).Draw(r, "fen"))
			if rapid.Bool().Draw(r, "through PayScore") {
				p = newton(string(rune('A'+i)), p.Amount)
			}
			platform = append(platform, p)
		}
		recorded := rapid.Permutation(platform).Draw(r, "recorded")
		if found := audit.Payments(recorded, platform); len(found) > 0 {
			r.Fatalf("equal, and found %v", found)
		}
		i := rapid.IntRange(0, len(recorded)-1).Draw(r, "which")
		recorded = slices.Clone(recorded)
		switch rapid.SampledFrom([]string{"amount", "type", "time", "id", "lost", "twice"}).Draw(r, "change") {
		case "amount":
			recorded[i].Amount += 10
		case "type":
			recorded[i].PaidType += "?"
		case "time":
			recorded[i].PaidAt = recorded[i].PaidAt.Add(time.Hour)
		case "id":
			recorded[i].TransactionID += "9"
		case "lost":
			recorded = slices.Delete(recorded, i, i+1)
		case "twice":
			recorded = append(recorded, recorded[i])
		}
		if len(audit.Payments(recorded, platform)) == 0 {
			r.Fatalf("recorded %v, the platform has %v, and nothing was found", recorded, platform)
		}
	})
}
