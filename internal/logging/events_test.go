package logging_test

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
	"strings"
	"testing"
)

// TestEvents compares docs/logs.md with the log lines of the source: every line
// names its event, and the document has every event, by its levels.
func TestEvents(t *testing.T) {
	const document = "docs/logs.md"
	documented := documentedEvents(t, document)
	source, without := sourceEvents(t)
	for _, problem := range without {
		t.Error(problem)
	}
	for _, name := range slices.Sorted(maps.Keys(source)) {
		e := source[name]
		row, ok := documented[name]
		wrong := func(level string) bool { return len(e.levels) > 0 && !e.levels[level] }
		switch {
		case !snakeCase.MatchString(name):
			t.Errorf("%s: event %q is not snake_case", e.where, name)
		case !ok:
			t.Errorf("%s: event %s has no row in %s", e.where, name, document)
		case slices.ContainsFunc(row, wrong):
			t.Errorf("%s: event %s is written at one of %v, and %s says %v", e.where, name, slices.Sorted(maps.Keys(e.levels)), document, row)
		}
	}
	for name := range documented {
		if _, ok := source[name]; !ok {
			t.Errorf("%s has the event %s, which no log line carries", document, name)
		}
	}
}

var (
	snakeCase = regexp.MustCompile(`^[a-z]+(_[a-z0-9]+)*$`)
	eventRow  = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([a-z, ]+) \\|")
)

// documentedEvents returns the levels of each event, in alphabetical order.
func documentedEvents(t *testing.T, document string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, document))
	if err != nil {
		t.Fatal(err)
	}
	events := map[string][]string{}
	for _, row := range eventRow.FindAllStringSubmatch(string(text), -1) {
		levels := strings.Split(row[2], ", ")
		slices.Sort(levels)
		if events[row[1]] != nil {
			t.Errorf("%s has the event %s twice", document, row[1])
		}
		events[row[1]] = levels
	}
	return events
}

const root = "../.."

// event is one name and where it is written.
type event struct {
	where  string          // file:line of its first line
	levels map[string]bool // empty where they cannot be told
}

// sourceEvents returns the events that production code writes, and a sentence for
// each log line without one.
func sourceEvents(t *testing.T) (events map[string]*event, without []string) {
	t.Helper()
	events = map[string]*event{}
	for _, pkg := range productionPackages(t) {
		for _, file := range pkg.files {
			for _, decl := range file.Decls {
				ast.Inspect(decl, func(n ast.Node) bool {
					call, ok := n.(*ast.CallExpr)
					if !ok || !writesLine(call) {
						return true
					}
					where := pkg.where(call)
					line := readLine(call, decl)
					var names []string
					for _, value := range line.events {
						names = append(names, pkg.names(value, decl)...)
					}
					if len(names) == 0 {
						without = append(without, where+`: a log line without .Str(logging.FieldEvent, "name") in its statement, or with a name that this test cannot read`)
					}
					for _, name := range names {
						if events[name] == nil {
							events[name] = &event{where: where, levels: map[string]bool{}}
						}
						for _, level := range line.levels {
							events[name].levels[level] = true
						}
					}
					return true
				})
			}
		}
	}
	return events, without
}

// writesLine reports whether the call writes a zerolog line.
func writesLine(call *ast.CallExpr) bool {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	return ok && (sel.Sel.Name == "Msg" || sel.Sel.Name == "Msgf" || sel.Sel.Name == "MsgFunc")
}

// line is what a statement says of a log line.
type line struct {
	events []ast.Expr // the values of FieldEvent; none where a way to the line has none
	levels []string
}

var levelOf = map[string]string{"Debug": "debug", "Info": "info", "Warn": "warn", "Error": "error"}

// readLine follows a chain of calls from its end to its beginning. A chain that
// begins with a variable begins with each of the values that decl assigns to it.
func readLine(x ast.Expr, decl ast.Decl) (l line) {
	switch x := x.(type) {
	case *ast.CallExpr:
		sel, ok := x.Fun.(*ast.SelectorExpr)
		if !ok {
			for _, arg := range x.Args { // a helper that adds fields to a line
				if l = readLine(arg, decl); l.levels != nil {
					return l
				}
			}
			return l
		}
		l = readLine(sel.X, decl)
		if level, ok := levelOf[sel.Sel.Name]; ok && len(x.Args) == 0 {
			l.levels = append(l.levels, level)
		}
		if sel.Sel.Name == "Str" && len(x.Args) == 2 && isFieldEvent(x.Args[0]) {
			l.events = []ast.Expr{x.Args[1]}
		}
	case *ast.Ident:
		missing := false
		for _, value := range assigned(x.Name, decl) {
			from := readLine(value, decl)
			missing = missing || from.levels != nil && from.events == nil
			l.events = append(l.events, from.events...)
			l.levels = append(l.levels, from.levels...)
		}
		if missing {
			l.events = nil
		}
	}
	return l
}

func isFieldEvent(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.SelectorExpr:
		return x.Sel.Name == "FieldEvent"
	case *ast.Ident:
		return x.Name == "FieldEvent"
	}
	return false
}

// assigned returns the values that decl assigns to the variable.
func assigned(name string, decl ast.Decl) (values []ast.Expr) {
	ast.Inspect(decl, func(n ast.Node) bool {
		if a, ok := n.(*ast.AssignStmt); ok && len(a.Lhs) == len(a.Rhs) {
			for i, left := range a.Lhs {
				if id, ok := left.(*ast.Ident); ok && id.Name == name && !mentions(a.Rhs[i], name) {
					values = append(values, a.Rhs[i])
				}
			}
		}
		return true
	})
	return values
}

func mentions(x ast.Expr, name string) (found bool) {
	ast.Inspect(x, func(n ast.Node) bool {
		id, ok := n.(*ast.Ident)
		found = found || ok && id.Name == name
		return !found
	})
	return found
}

// names returns the names that an event's expression can have: a literal; a variable
// to which decl assigns literals; a field or a constant whose literals stand in the
// package. It returns none where a value cannot be read.
func (p *sourcePackage) names(x ast.Expr, decl ast.Decl) []string {
	switch x := x.(type) {
	case *ast.BasicLit:
		return []string{strings.Trim(x.Value, `"`)}
	case *ast.Ident:
		var names []string
		for _, value := range assigned(x.Name, decl) {
			if lit, ok := value.(*ast.BasicLit); ok {
				names = append(names, strings.Trim(lit.Value, `"`))
			} else if field, ok := value.(*ast.SelectorExpr); ok {
				names = append(names, p.fieldLiterals(field.Sel.Name)...)
			} else {
				return nil
			}
		}
		return names
	case *ast.SelectorExpr:
		return p.fieldLiterals(x.Sel.Name)
	}
	return nil
}

// fieldLiterals returns the literals that the package gives to fields of that name.
func (p *sourcePackage) fieldLiterals(field string) (literals []string) {
	for _, file := range p.files {
		ast.Inspect(file, func(n ast.Node) bool {
			if kv, ok := n.(*ast.KeyValueExpr); ok {
				key, isIdent := kv.Key.(*ast.Ident)
				if value, ok := kv.Value.(*ast.BasicLit); ok && isIdent && key.Name == field && value.Kind == token.STRING {
					literals = append(literals, strings.Trim(value.Value, `"`))
				}
			}
			return true
		})
	}
	return literals
}

// sourcePackage is a directory of production code.
type sourcePackage struct {
	fset  *token.FileSet
	files []*ast.File
}

// where is the node's file, as seen from the module's directory, and its line.
func (p *sourcePackage) where(n ast.Node) string {
	at := p.fset.Position(n.Pos())
	name, _ := filepath.Rel(root, at.Filename)
	return fmt.Sprintf("%s:%d", name, at.Line)
}

// productionPackages parses the packages that the commands consist of.
func productionPackages(t *testing.T) []*sourcePackage {
	t.Helper()
	all := map[string]*sourcePackage{}
	for _, dir := range []string{"cmd", "internal", "tasks"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && d.Name() == "testkit":
				return filepath.SkipDir
			case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			p := all[filepath.Dir(path)]
			if p == nil {
				p = &sourcePackage{fset: token.NewFileSet()}
				all[filepath.Dir(path)] = p
			}
			file, err := parser.ParseFile(p.fset, path, nil, 0)
			p.files = append(p.files, file)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < 20 {
		t.Fatalf("found %d packages, want 20 at least", len(all))
	}
	return slices.Collect(maps.Values(all))
}
