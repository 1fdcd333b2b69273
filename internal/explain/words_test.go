package explain

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/collect"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/tasks"
)

func TestEverythingHasWords(t *testing.T) {
	wantWords(t, "state", tasks.States, states)
	wantWords(t, "plan", ledger.Plans, plans)
	wantWords(t, "due time of plan", ledger.Plans, plansDue)
	wantWords(t, "sync state", ledger.SyncStates, syncs)
	wantWords(t, "reason", append(slices.Clone(payscore.EndReasons), collect.ReasonGaveUp, collect.ReasonPaid), reasons)
	wantWords(t, "hold", []ledger.HoldKind{ledger.HoldFault, ledger.HoldDown, ledger.HoldThrottled}, holds)
	for _, v := range payscore.Verdicts {
		if verdicts[v][anyCall] == (text{}) {
			t.Errorf("verdict %s has no words", v)
		}
	}
	known, details := payscore.Codes()
	wantWords(t, "code", known, codes)
	wantWords(t, "detail code", details, codes)
}

func wantWords[K ~string](t *testing.T, what string, keys []K, words map[K]text) {
	t.Helper()
	for _, k := range keys {
		if words[k] == (text{}) {
			t.Errorf("%s %s has no words", what, k)
		}
	}
}

// verb is a verb of fmt's, with the number of its argument where it has one.
var verb = regexp.MustCompile(`%(\[\d+\])?[.\d]*[a-z%]`)

// Every English sentence of this package stands beside a Chinese one that fills in the
// same facts. A sentence that is missing would be an empty field, and one with other
// verbs would print its arguments raw.
func TestEverySentenceIsTranslated(t *testing.T) {
	fset := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	pairs := 0
	inspect := func(n ast.Node) bool {
		var pair []ast.Expr
		switch n := n.(type) {
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "say" {
				pair = n.Args[:2]
			}
		case *ast.CompositeLit: // in a map of texts it has no type of its own
			if name, ok := n.Type.(*ast.Ident); (n.Type == nil || ok && name.Name == "text") && len(n.Elts) == 2 {
				pair = n.Elts
			}
		}
		if pair == nil {
			return true
		}
		en, ok1 := literal(pair[0])
		zh, ok2 := literal(pair[1])
		if !ok1 || !ok2 {
			return true // a row of calls, in verdicts
		}
		pairs++
		place := fset.Position(n.Pos())
		if !strings.ContainsFunc(zh, func(r rune) bool { return unicode.Is(unicode.Han, r) || strings.ContainsRune("（）：；，", r) }) {
			t.Errorf("%s: %q has the Chinese words %q", place, en, zh)
		}
		if diff := cmp.Diff(verbs(en), verbs(zh)); diff != "" {
			t.Errorf("%s: the Chinese words of %q have other verbs (-en +zh)\n%s", place, en, diff)
		}
		return true
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, inspect)
	}
	if pairs < 150 {
		t.Errorf("found %d sentences: does this test still see them?", pairs)
	}
}

// verbs are a format's verbs, each with its argument's number.
func verbs(format string) []string {
	var list []string
	n := 0
	for _, m := range verb.FindAllStringSubmatch(format, -1) {
		v := m[0]
		if v == "%%" {
			continue
		}
		n++
		if m[1] == "" {
			v = "%[" + strconv.Itoa(n) + "]" + v[1:]
		}
		list = append(list, v)
	}
	slices.Sort(list)
	return list
}

func literal(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}
