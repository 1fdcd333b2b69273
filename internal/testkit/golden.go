package testkit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// UpdateVariable is the environment variable that, set to 1, makes Golden write its
// files instead of comparing them.
const UpdateVariable = "PAYSCORE_TEST_UPDATE"

// Golden compares a text with testdata/NAME.golden, and names the first line that
// differs.
func Golden(t testing.TB, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", filepath.FromSlash(name)+".golden")
	if os.Getenv(UpdateVariable) == "1" {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; write it with %s=1 go test -run '%s'", err, UpdateVariable, t.Name())
	}
	want := string(text)
	if got == want {
		return
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(want, "\n")
	n := 0
	for n < len(gotLines) && n < len(wantLines) && gotLines[n] == wantLines[n] {
		n++
	}
	at := func(lines []string) string {
		if n < len(lines) {
			return lines[n]
		}
		return "(the text ends before it)"
	}
	t.Errorf("%s, line %d:\n got %q\nwant %q\nwhole text:\n%s\nIf it is right, write it with %s=1 go test -run '%s'",
		file, n+1, at(gotLines), at(wantLines), got, UpdateVariable, t.Name())
}
