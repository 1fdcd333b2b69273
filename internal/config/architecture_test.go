package config_test

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
)

// section returns the text of a document under a heading of the second level.
func section(t *testing.T, text, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("there is no heading %q", heading)
	}
	body, _, _ := strings.Cut(rest, "\n## ")
	return body
}

// rows returns the cells of the first table in a text, without its two heading rows.
func rows(t *testing.T, text string) [][]string {
	t.Helper()
	var all [][]string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "|") {
			if len(all) > 0 {
				break
			}
			continue
		}
		var cells []string
		for _, cell := range strings.Split(strings.Trim(line, "|"), "|") {
			cells = append(cells, strings.Trim(cell, " `"))
		}
		all = append(all, cells)
	}
	if len(all) < 3 {
		t.Fatalf("there is no table in %q", text)
	}
	return all[2:]
}

// first returns the first cell of each row.
func first(rows [][]string) (cells []string) {
	for _, row := range rows {
		cells = append(cells, row[0])
	}
	return cells
}

// TestArchitecture compares the pictures and tables of docs/architecture.md with the
// code.
func TestArchitecture(t *testing.T) {
	text := read(t, "docs/architecture.md")

	t.Run("states", func(t *testing.T) {
		want, got := map[string]string{}, map[string]string{}
		for _, from := range ledger.States {
			for _, to := range from.Next() {
				label := ""
				if !from.Open() {
					label = "reopen"
				}
				want[string(from)+" --> "+string(to)] = label
			}
		}
		arrow := regexp.MustCompile(`(?m)^  (\w+ --> \w+)(?:: (\w+))?$`)
		for _, m := range arrow.FindAllStringSubmatch(section(t, text, "States"), -1) {
			got[m[1]] = m[2]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the picture of the states differs from State.Next (-code +document):\n%s", diff)
		}
	})

	t.Run("plans", func(t *testing.T) {
		var want []string
		for _, p := range ledger.Plans {
			want = append(want, string(p))
		}
		if diff := cmp.Diff(want, first(rows(t, section(t, text, "Plans")))); diff != "" {
			t.Errorf("the table of plans differs from ledger.Plans (-code +document):\n%s", diff)
		}
	})

	t.Run("verdicts", func(t *testing.T) {
		yes := func(is bool) string {
			if is {
				return "yes"
			}
			return ""
		}
		var want [][]string
		for _, v := range payscore.Verdicts {
			r := payscore.Reply{Call: payscore.CallCollect, Verdict: v, Verified: true}
			failed := yes(r.Failed())
			if r.Code = "CODE"; failed == "" && r.Failed() {
				failed = "with a code"
			}
			r.Code = ""
			want = append(want, []string{
				string(v), yes(r.Attempts() > 0), yes(r.Trouble()), yes(r.Disowns()), yes(r.Knows()), yes(r.MayPay()), failed, string(r.Signal()),
			})
		}
		if diff := cmp.Diff(want, rows(t, section(t, text, "Verdicts"))); diff != "" {
			t.Errorf("the table of verdicts differs from their traits (-code +document):\n%s", diff)
		}
	})

	t.Run("record", func(t *testing.T) {
		yes := map[bool]string{true: "yes"}
		var want [][]string
		for _, f := range ledger.Record {
			want = append(want, []string{f.Name, f.JSON, f.Event, yes[f.Signed], yes[f.Step], f.By, f.Doc})
		}
		if diff := cmp.Diff(want, rows(t, section(t, text, "The record"))); diff != "" {
			t.Errorf("the table of the record's fields differs from ledger.Record (-code +document):\n%s", diff)
		}
	})

	t.Run("keys", func(t *testing.T) {
		want := []string{ledger.MerchantsKey, ledger.BulksKey}
		keys := reflect.ValueOf(ledger.KeysOf("<mchid>"))
		for i := range keys.NumMethod() {
			method := keys.Method(i)
			var in []reflect.Value
			for j := range method.Type().NumIn() {
				arg := map[reflect.Type]string{
					reflect.TypeFor[string](): "<out_order_no>", reflect.TypeFor[ledger.State](): "<state>", reflect.TypeFor[ledger.BookDate](): "<date>",
				}[method.Type().In(j)]
				if strings.HasPrefix(keys.Type().Method(i).Name, "Bulk") {
					arg = "<id>"
				}
				in = append(in, reflect.ValueOf(arg).Convert(method.Type().In(j)))
			}
			want = append(want, method.Call(in)[0].String())
		}
		got := first(rows(t, section(t, text, "Keys")))
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the table of keys differs from the Keys (-code +document):\n%s", diff)
		}
	})

	t.Run("the glossary has at most thirty terms", func(t *testing.T) {
		if n := len(rows(t, section(t, text, "Glossary"))); n > 30 {
			t.Errorf("the glossary has %d terms, want at most 30", n)
		}
	})
}
