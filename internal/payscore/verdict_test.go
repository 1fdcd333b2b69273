package payscore

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"
)

// TestVerdictsHaveRows names every constant of type Verdict that has no row of
// traits.
func TestVerdictsHaveRows(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "verdict.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	constants := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != "Verdict" {
			return true
		}
		for i, name := range spec.Names {
			constants++
			value, err := strconv.Unquote(spec.Values[i].(*ast.BasicLit).Value)
			if err != nil || !slices.Contains(Verdicts, Verdict(value)) {
				t.Errorf("the verdict %s (%q) has no row in verdicts", name, value)
			}
		}
		return true
	})
	if constants == 0 || constants != len(traitsOf) {
		t.Errorf("%d constants and %d rows", constants, len(traitsOf))
	}
}

// A verdict without a row must not be taken for one that says nothing.
func TestVerdictWithoutARow(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("a verdict without a row has traits")
		}
	}()
	_ = Reply{Verdict: "unheard_of"}.Signal()
}

// The traits agree with one another.
func TestTraits(t *testing.T) {
	t.Parallel()
	for v, row := range traitsOf {
		if row.trouble && (row.attempt || row.disowns || row.knows) {
			t.Errorf("%s says nothing about the order, and yet it does: %+v", v, row)
		}
		if row.trouble == (row.signal == SignalOK) {
			t.Errorf("%s: trouble %t and the signal %q", v, row.trouble, row.signal)
		}
		if row.disowns && row.knows {
			t.Errorf("%s both knows and disowns the order", v)
		}
		if !slices.Contains(Signals, row.signal) {
			t.Errorf("%s has the signal %q, which is not in Signals", v, row.signal)
		}
	}
}
