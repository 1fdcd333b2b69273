package metrics_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// TestDocuments compares docs/metrics.md with the metrics that the source declares,
// with their labels.
func TestDocuments(t *testing.T) {
	const document = "docs/metrics.md"
	text, err := os.ReadFile(filepath.Join(root, document))
	if err != nil {
		t.Fatal(err)
	}
	declared := declarations(t)
	documented := map[string]bool{}
	for _, span := range regexp.MustCompile("`(payscore_[a-z_]+)(?:\\{([a-z,]+)\\})?`").FindAllStringSubmatch(string(text), -1) {
		name, labels := span[1], span[2]
		d, ok := declared[name]
		switch {
		case !ok && !documented[name]:
			t.Errorf("%s has the metric %s, which no package declares", document, name)
		case ok && labels != "" && sorted(labels) != sorted(d.labels):
			t.Errorf("%s: %s has the labels {%s}, and %s says {%s}", d.where, name, d.labels, document, labels)
		case ok && labels == "" && d.labels != "" && !documented[name] && !strings.Contains(string(text), "`"+name+"{"):
			t.Errorf("%s: %s has the labels {%s}, and %s does not say so", d.where, name, d.labels, document)
		}
		documented[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		if !documented[name] {
			t.Errorf("%s: the metric %s is not in %s", declared[name].where, name, document)
		}
	}
}

func sorted(labels string) string {
	all := strings.Split(labels, ",")
	slices.Sort(all)
	return strings.Join(all, ",")
}

// declaration is where a metric is declared, and its labels, joined by commas.
type declaration struct{ where, labels string }

var (
	metricName  = regexp.MustCompile(`^payscore_[a-z_]+$`)
	constructor = regexp.MustCompile(`^New(Counter|Gauge|Histogram|Summary|Untyped|Desc)`)
)

// declarations finds the metrics in the production code. Each must be declared with its
// name in full, as a string literal.
func declarations(t *testing.T) map[string]declaration {
	t.Helper()
	all := map[string]declaration{}
	fset := token.NewFileSet()
	for _, dir := range []string{"cmd", "internal", "tasks"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && (d.Name() == "testkit" || path == filepath.Join(root, "internal/metrics")):
				return filepath.SkipDir
			case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			file, err := parser.ParseFile(fset, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				where, _ := filepath.Rel(root, path)
				if n != nil {
					where = fmt.Sprintf("%s:%d", where, fset.Position(n.Pos()).Line)
				}
				if sum, ok := n.(*ast.BinaryExpr); ok && strings.HasPrefix(literal(sum.X), "payscore_") {
					t.Errorf("%s: write the name of the metric in full", where)
				}
				call, ok := n.(*ast.CallExpr)
				if !ok || len(call.Args) == 0 {
					return true
				}
				name, labels := read(call)
				sel, isSel := call.Fun.(*ast.SelectorExpr)
				switch {
				case name != "" && all[name].where != "":
					t.Errorf("%s and %s declare the same metric %s", where, all[name].where, name)
				case name != "":
					all[name] = declaration{where, strings.Join(labels, ",")}
				case isSel && constructor.MatchString(sel.Sel.Name) && fmt.Sprint(sel.X) == "prometheus":
					t.Errorf("%s: a metric whose name is not the literal payscore_…", where)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < 30 {
		t.Fatalf("found %d metrics, want 30 at least", len(all))
	}
	return all
}

// read returns the name and the labels of the metric that a call declares; the name is
// empty where it declares none. It knows calls such as
//
//	set.Counter("payscore_x", help, metrics.Known("kind", …))
//	metrics.Desc("payscore_x", help, "state")
//	prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "payscore_x", …}, []string{"kind"})
func read(call *ast.CallExpr) (name string, labels []string) {
	if name = literal(call.Args[0]); name != "" {
		if !metricName.MatchString(name) || len(call.Args) < 2 {
			return "", nil
		}
		labels = []string{"mchid"}
		for _, arg := range call.Args[2:] {
			if label, ok := arg.(*ast.CallExpr); ok && len(label.Args) > 0 {
				arg = label.Args[0]
			}
			if label := literal(arg); label != "" {
				labels = append(labels, label)
			}
		}
		return name, labels
	}
	opts, ok := call.Args[0].(*ast.CompositeLit)
	if !ok {
		return "", nil
	}
	for _, element := range opts.Elts {
		kv, ok := element.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		if fmt.Sprint(kv.Key) == "Name" {
			name = literal(kv.Value)
		}
		if constant, ok := kv.Value.(*ast.CompositeLit); ok && fmt.Sprint(kv.Key) == "ConstLabels" {
			for _, l := range constant.Elts {
				labels = append(labels, literal(l.(*ast.KeyValueExpr).Key))
			}
		}
	}
	if !metricName.MatchString(name) {
		return "", nil
	}
	for _, arg := range call.Args[1:] {
		if list, ok := arg.(*ast.CompositeLit); ok {
			for _, l := range list.Elts {
				labels = append(labels, literal(l))
			}
		}
	}
	return name, labels
}

func literal(x ast.Expr) string {
	lit, ok := x.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	text, _ := strconv.Unquote(lit.Value)
	return text
}
