package pgsink

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"payscore-collector/internal/ledger"
)

// The tables have the fields of the events' JSON as their columns, under the same
// names. The statements take the lists from there, so that a new field of events needs
// a migration and nothing else here.

//go:embed events.sql
var eventsSQL string

//go:embed orders.sql
var ordersSQL string

//go:embed actions.sql
var actionsSQL string

//go:embed payments.sql
var upsertPayments string

//go:embed replaced.sql
var deleteReplaced string

//go:embed derived.sql
var derivePayments string

// row is an event as the statements read it.
type row struct {
	ledger.Event
	N        int64 `json:"n"`        // see Event.Position
	Attempts int64 `json:"attempts"` // also where it is 0
}

// ofEventAlone are the columns of events that say nothing of the order: what the call
// was, who acted, and the payments, which have a table.
var ofEventAlone = []string{"id", "type", "at", "n", "payments", "by", "call", "verdict", "code", "detail_code"}

var (
	ofEvents  = columns(func(string) bool { return true })
	ofOrders  = columns(func(name string) bool { return !slices.Contains(ofEventAlone, name) })
	ofActions = columns(among("id", "type", "at", "mchid", "out_order_no", "by", "reason"))
	ofNewest  = columns(among("id", "type", "at", "n")) // orders.sql names them itself

	insertEvents  = fill(eventsSQL, nil, ofEvents)
	upsertOrders  = fill(ordersSQL, ofNewest, ofOrders)
	insertActions = fill(actionsSQL, nil, ofActions)
)

func among(names ...string) func(name string) bool {
	return func(name string) bool { return slices.Contains(names, name) }
}

// column is one of the tables' columns, and the field of row that it has.
type column struct {
	name, kind string
	index      []int
	omitted    bool // null where the field is zero, as it is missing in JSON
	at         int  // its place among those of events, and in valued
}

// columns are those of events that are wanted, in the order of row's fields.
func columns(wanted func(name string) bool) []column {
	var list []column
	at := 0
	for _, f := range reflect.VisibleFields(reflect.TypeFor[row]()) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || name == "books" { // closed books have tables of their own
			continue
		}
		if wanted(name) {
			list = append(list, column{name, kindOf(f.Type), f.Index, options != "", at})
		}
		at++
	}
	return list
}

// kindOf is PostgreSQL's type of a field.
func kindOf(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "timestamptz"
	case t.Kind() == reflect.Int64:
		return "bigint"
	case t.Kind() == reflect.String:
		return "text"
	}
	return "jsonb"
}

// of returns the column's value in a row, nil for null.
func (c column) of(r *row) (any, error) {
	v := reflect.ValueOf(r).Elem().FieldByIndex(c.index)
	if c.omitted && v.IsZero() {
		return nil, nil
	}
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch c.kind {
	case "text":
		return v.String(), nil
	case "bigint":
		return v.Int(), nil
	case "timestamptz":
		return v.Interface().(time.Time), nil
	}
	body, err := json.Marshal(v.Interface())
	if err != nil {
		return nil, fmt.Errorf("column %s: %w", c.name, err)
	}
	return string(body), nil
}

// valued are the values of an event's columns, in the order of ofEvents.
type valued []any

func (r *row) valued() (valued, error) {
	v := make(valued, len(ofEvents))
	for i, c := range ofEvents {
		var err error
		if v[i], err = c.of(r); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// arrays returns columns of events, each as an array in PostgreSQL's words: that
// costs PostgreSQL a fraction of reading JSON, and this process a fraction of what arrays
// of Go's cost it.
func arrays(events []valued, columns ...[]column) (args []any) {
	for _, c := range slices.Concat(columns...) {
		array := make([]byte, 0, 16*len(events))
		for _, e := range events {
			array = append(array, ',')
			switch v := e[c.at].(type) {
			case nil:
				array = append(array, "null"...)
			case int64:
				array = strconv.AppendInt(array, v, 10)
			case time.Time:
				array = append(v.UTC().AppendFormat(append(array, '"'), "2006-01-02 15:04:05.999999Z"), '"')
			case string:
				array = append(append(append(array, '"'), quoting.Replace(v)...), '"')
			}
		}
		args = append(args, "{"+string(array[min(1, len(array)):])+"}")
	}
	return args
}

var quoting = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// fill puts lists of columns into a statement: their names, what orders have of them,
// their arrays behind those of the columns before, and what an update takes over of a row
// that is there already.
func fill(sql string, before, columns []column) string {
	var names, values, arrays, updates []string
	for i, c := range slices.Concat(before, columns) {
		array := fmt.Sprintf("$%d::%s[]", i+1, c.kind)
		if c.kind == "jsonb" {
			array = fmt.Sprintf("$%d::text[]::jsonb[]", i+1)
		}
		arrays = append(arrays, array)
	}
	for _, c := range columns {
		names = append(names, c.name)
		value := c.name
		if c.name == "reason" { // that of a reopening says nothing of where the order stands
			value = "case type when 'order.reopened' then null else reason end"
		}
		values = append(values, value)
		if c.name != "mchid" && c.name != "out_order_no" { // the key of orders
			updates = append(updates, c.name+" = excluded."+c.name)
		}
	}
	list := func(items []string) string { return strings.Join(items, ", ") }
	return strings.NewReplacer("{columns}", list(names), "{values}", list(values), "{arrays}", list(arrays), "{updates}", list(updates)).Replace(sql)
}
