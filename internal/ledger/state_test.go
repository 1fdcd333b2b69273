package ledger_test

import (
	"os"
	"strings"
	"testing"

	"payscore-collector/internal/ledger"
)

// The drawing of the states in docs/architecture.md is what people reason by at night.
func TestArchitectureDrawsTheTransitions(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	drawn := map[string]string{}
	for line := range strings.Lines(string(text)) {
		from, to, ok := strings.Cut(strings.TrimSpace(line), "→")
		if from = strings.TrimSpace(from); !ok || !ledger.State(from).Valid() {
			continue
		}
		drawn[from] = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(to), ", by --reopen"))
	}
	for _, s := range ledger.States {
		var next []string
		for _, n := range s.Next() {
			next = append(next, string(n))
		}
		want := strings.Join(next, ", ")
		if want == "" {
			want = "(never left)"
		}
		if drawn[string(s)] != want {
			t.Errorf("docs/architecture.md draws %s → %q, and it is %q", s, drawn[string(s)], want)
		}
	}
}
