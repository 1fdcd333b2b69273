package audit_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"payscore-collector/internal/audit"
	"payscore-collector/internal/simulator"
)

var noon = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)

func newton(id string, fen int64) audit.Payment {
	return audit.Payment{TransactionID: id, Amount: fen, PaidType: "NEWTON", PaidAt: noon}
}

func elsewhere(fen int64) audit.Payment {
	return audit.Payment{Amount: fen, PaidType: "MCH", PaidAt: noon}
}

func TestPayments(t *testing.T) {
	list := func(p ...audit.Payment) []audit.Payment { return p }
	late := newton("T1", 400)
	late.PaidAt = noon.Add(time.Second)
	shanghai := newton("T1", 400)
	shanghai.PaidAt = noon.In(time.FixedZone("", 8*60*60))
	other := newton("T1", 400)
	other.PaidType = "MCH"
	for name, tt := range map[string]struct {
		recorded, platform []audit.Payment
		want               string // a kind and some words a difference
	}{
		"nothing":                       {nil, nil, ""},
		"equal":                         {list(newton("T1", 400), elsewhere(600)), list(newton("T1", 400), elsewhere(600)), ""},
		"in another order":              {list(elsewhere(600), newton("T1", 400)), list(newton("T1", 400), elsewhere(600)), ""},
		"the same time in another zone": {list(shanghai), list(newton("T1", 400)), ""},
		"two elsewhere, alike":          {list(elsewhere(5), elsewhere(5)), list(elsewhere(5), elsewhere(5)), ""},
		"only the last of two":          {list(newton("T2", 600)), list(newton("T1", 400), newton("T2", 600)), "missing: the payment T1 of 400 fen, NEWTON at 2026-11-23T04:00:00Z is not recorded"},
		"the sum under the last":        {list(newton("T2", 1000)), list(newton("T1", 400), newton("T2", 600)), "differs: T2 of 1000 fen|missing: T1"},
		"elsewhere hides PayScore":      {list(elsewhere(1000)), list(newton("T1", 400), elsewhere(600)), "invented: without transaction_id of 1000 fen|missing: T1|missing: without transaction_id of 600 fen"},
		"twice":                         {list(newton("T1", 400), newton("T1", 400)), list(newton("T1", 400)), "twice: T1"},
		"elsewhere twice":               {list(elsewhere(5), elsewhere(5)), list(elsewhere(5)), "twice: without transaction_id of 5 fen"},
		"a fen too little":              {list(newton("T1", 399)), list(newton("T1", 400)), "differs: T1 of 399 fen"},
		"another time":                  {list(late), list(newton("T1", 400)), "differs: 04:00:01Z is recorded"},
		"another type":                  {list(other), list(newton("T1", 400)), "differs: MCH at"},
		"made up":                       {list(newton("T9", 400)), nil, "invented: T9"},
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
	got := audit.Platform([]simulator.PaymentDetail{{Seq: 1, Amount: 400, PaidType: "NEWTON", PaidTime: "20261123120000", TransactionID: "T1"}})
	if want := newton("T1", 400); len(got) != 1 || got[0].String() != want.String() {
		t.Errorf("got %v", got)
	}
}

// Equal lists in any order agree, and after one change of any kind they do not.
func TestPayments_SeesEveryChange(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var platform []audit.Payment
		for i := range rapid.IntRange(1, 6).Draw(r, "payments") {
			p := elsewhere(rapid.Int64Range(1, 3).Draw(r, "fen"))
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
