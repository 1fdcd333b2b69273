package ledger

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// jsonNames are the JSON names of a struct's fields.
func jsonNames[T any]() []string {
	var names []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}

// Order, Event and Facts have a field for each row of Record that they must have, and
// none that Record does not know.
func TestRecord_StructsFollowIt(t *testing.T) {
	type check struct {
		what  string
		names []string
		must  func(Field) bool
		other []string // what is not a field of the record
	}
	for _, c := range []check{
		{"Order", jsonNames[Order](), func(f Field) bool { return true }, []string{"mchid", "out_order_no", "last_attempt_at", "last_error", "log"}},
		{"Event", jsonNames[Event](), func(f Field) bool { return f.Event != "" }, []string{"id", "type", "at", "mchid", "out_order_no", "seq", "by", "call", "verdict", "code", "detail_code", "books"}},
		{"Facts", jsonNames[Facts](), func(f Field) bool { return f.Text }, []string{"order_id"}},
	} {
		var want []string
		for _, f := range Record {
			if f.JSON != "" && c.must(f) {
				want = append(want, f.JSON)
			}
		}
		for _, name := range want {
			if !slices.Contains(c.names, name) {
				t.Errorf("%s has no field with the JSON name %q, which Record has", c.what, name)
			}
		}
		for _, name := range c.names {
			if !slices.Contains(append(want, c.other...), name) {
				t.Errorf("%s has a field with the JSON name %q, which Record does not have", c.what, name)
			}
		}
	}
}

// reading matches what reads fields of a record, and the fields of an event.
var reading = regexp.MustCompile(`redis\.call\('HM?GET'[^()]*\)|'\w+', \w+\.\w+ or ''|\w+ = v\[\d+\]`)

func TestRecord_EachFieldStandsOnceAndSaysWhatItIs(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Record {
		if f.Doc == "" || f.By == "" {
			t.Errorf("field %q has Doc %q and By %q, want both", f.Name, f.Doc, f.By)
		}
		for _, name := range []string{"hash:" + f.Name, "json:" + f.JSON, "event:" + f.Event} {
			if seen[name] && !strings.HasSuffix(name, ":") {
				t.Errorf("%s stands twice in Record", name)
			}
			seen[name] = true
		}
		if f.Text && (!f.Signed || f.JSON == "" || f.Event == "") {
			t.Errorf("field %q is a signed text and must have Signed, JSON and Event", f.Name)
		}
		name := strings.TrimRight(f.Name, "234") // k2 to k4 are put together
		for _, script := range strings.Fields(f.By) {
			if script[0] == '(' {
				continue // an earlier release
			}
			writes := regexp.MustCompile(`'` + name + `'|\b` + name + ` =`)
			if _, err := sources.ReadFile("scripts/" + script + ".lua"); err != nil {
				t.Errorf("field %q is written by %q, which is no script", f.Name, script)
			} else if !writes.MatchString(reading.ReplaceAllString(loadedSource[script], "")) {
				t.Errorf("%s.lua does not write the field %q, and Record says that it does", script, f.Name)
			}
		}
	}
}

// The names that entries of the stream and records have are those of every release:
// workers of two releases share one Redis during an upgrade. Only additions may follow.
func TestRecord_StoredNamesStay(t *testing.T) {
	const hash = "appid attempts bill collected collects confirms declines differs doing done due ended events fails known last late lease life lowered missing next off oid opened owed paid paidat past pays pt queries reason round since state svc sync syncs syncwhy token total tx"
	const event = "state reason appid service_id order_id transaction_id paid_type total paid attempts opened sync ended late payments billing owed"
	var names, events []string
	for _, f := range Record {
		names, events = append(names, f.Name), append(events, f.Event)
	}
	for _, name := range strings.Fields(hash) {
		if !slices.Contains(names, name) {
			t.Errorf("Record has lost %q, which earlier releases write", name)
		}
	}
	events = slices.DeleteFunc(events, func(s string) bool { return s == "" })
	if want := strings.Fields(event); !slices.Equal(events[:min(len(events), len(want))], want) {
		t.Errorf("events begin with %v, want %v in this order", events, want)
	}
}
