package pgsink

import (
	_ "embed"
	"reflect"
	"slices"
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
var insertActions string

//go:embed payments.sql
var upsertPayments string

//go:embed replaced.sql
var deleteReplaced string

//go:embed derived.sql
var derivePayments string

// row is an event as the statements read it.
type row struct {
	ledger.Event
	N        int64  `json:"n"`               // see Event.Position
	Attempts int64  `json:"attempts"`        // also where it is 0
	Parts    []part `json:"parts,omitempty"` // Event.Payments, for the table payments
}

// part is one of the event's payments. Unlike the event's own JSON it always has
// the seq, by which a payment is known until it has a transaction_id.
type part ledger.Payment

// ofEventAlone are the columns of events that say nothing of the order: what the call
// was, who acted, and the payments, which have a table. orders.sql names id, type, at and
// n itself.
var ofEventAlone = []string{"id", "type", "at", "n", "payments", "by", "call", "verdict", "code", "detail_code"}

var (
	insertEvents = fill(eventsSQL, columns(nil))
	upsertOrders = fill(ordersSQL, columns(ofEventAlone))
)

type column struct{ name, kind string }

// columns are those of events, but for some.
func columns(without []string) []column {
	var list []column
	for _, f := range reflect.VisibleFields(reflect.TypeFor[row]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.Anonymous && name != "parts" && !slices.Contains(without, name) {
			list = append(list, column{name, kindOf(f.Type)})
		}
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

// fill puts lists of columns into a statement: their names, what orders have of them,
// the names with their types, and what an update takes over of a row that is there already.
func fill(sql string, columns []column) string {
	var names, values, types, updates []string
	for _, c := range columns {
		names = append(names, c.name)
		value := c.name
		if c.name == "reason" { // that of a reopening says nothing of where the order stands
			value = "case type when 'order.reopened' then null else reason end"
		}
		values = append(values, value)
		types = append(types, c.name+" "+c.kind)
		if c.name != "mchid" && c.name != "out_order_no" { // the key of orders
			updates = append(updates, c.name+" = excluded."+c.name)
		}
	}
	list := func(items []string) string { return strings.Join(items, ", ") }
	return strings.NewReplacer("{columns}", list(names), "{values}", list(values), "{types}", list(types), "{updates}", list(updates)).Replace(sql)
}
