package ledger

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"payscore-collector/internal/owner"
)

// A Field is one field of an order's record, which is a hash in Redis.
type Field struct {
	// Name is the field's name in the hash. It can never be renamed: workers of two
	// releases share the records during an upgrade.
	Name string
	// JSON is its name in Order and Event, "" where neither has it.
	JSON string
	// Event is its name in an entry of the stream of events, "" where events do not
	// have it. It can never be renamed either.
	Event string
	// Signed: WeChat Pay has signed what it says.
	Signed bool
	// Text: a signed text that each newer message replaces, with no other rule.
	Text bool
	// Step: a granted claim returns it to the worker; see Snapshot.
	Step bool
	// By are the scripts that write it, and Doc is its meaning.
	By, Doc string
}

// Record lists every field of an order's record. The scripts' lists of fields are
// generated from it, Order and Event are decoded by it, and tests compare it with the
// structs, the documentation and the records that the scripts write.
//
// A new text that WeChat Pay signs takes a line in payscore.Order.Texts, a row here with
// Signed and Text, a field with the row's JSON name in Facts, Order and Event below, a
// column in the migrations of pgsink, and a row of the documentation. A test names each
// of them that is missing. Rows with Event stay in their order, and new ones follow them:
// a stream stores the names of its fields only once while they are the same.
var Record = []Field{
	{Name: "state", JSON: "state", Event: "state", Step: true, By: "open settle notice withdraw", Doc: "where the order stands; see State"},
	{Name: "reason", JSON: "reason", Event: "reason", By: "settle withdraw", Doc: "why it stands there: WeChat Pay's, the policy's or billing's word"},
	{Name: "appid", JSON: "appid", Event: "appid", Step: true, By: "open", Doc: "the owner's application"},
	{Name: "svc", JSON: "service_id", Event: "service_id", Step: true, By: "open", Doc: "the owner's service"},
	{Name: "oid", JSON: "order_id", Event: "order_id", Signed: true, Step: true, By: "settle notice", Doc: "WeChat Pay's number of the order"},
	{Name: "tx", JSON: "transaction_id", Event: "transaction_id", Signed: true, Text: true, By: "settle notice", Doc: "WeChat Pay's number of the last payment"},
	{Name: "pt", JSON: "paid_type", Event: "paid_type", Signed: true, Text: true, By: "settle notice", Doc: "how the last payment was made: NEWTON through PayScore, MCH elsewhere"},
	{Name: "total", JSON: "total_amount", Event: "total", Signed: true, Step: true, By: "settle notice", Doc: "what the order comes to, in fen"},
	{Name: "paid", JSON: "paid_amount", Event: "paid", Signed: true, By: "settle notice", Doc: "what has come in, in fen; it only grows"},
	{Name: "attempts", JSON: "attempts", Event: "attempts", Step: true, By: "settle", Doc: "collect calls that were answered about the order itself"},
	{Name: "opened", JSON: "opened_at", Event: "opened", By: "open settle claim", Doc: "ms, when billing enqueued it first"},
	{Name: "sync", JSON: "sync", Event: "sync", Step: true, By: "withdraw settle", Doc: "how far WeChat Pay is notified of a payment elsewhere; see SyncState"},
	{Name: "ended", JSON: "ended_at", Event: "ended", By: "settle notice withdraw", Doc: "ms, when it reached its final state"},
	{Name: "late", JSON: "late_payment_at", Event: "late", By: "settle notice", Doc: "ms, when a payment was learnt after another final state"},
	{Name: "pays", JSON: "payments", Event: "payments", Signed: true, By: "settle notice", Doc: "every payment; payment.go has the form"},
	{Name: "bill", JSON: "billing_amount", Event: "billing", Step: true, By: "open", Doc: "what is owed by billing's word, in fen"},
	{Name: "owed", JSON: "owed_since", Event: "owed", By: "open", Doc: "ms, since when it is owed by billing's word"},

	{Name: "pby", JSON: "paid_by", Event: "paid_by", By: "settle notice", Doc: "whose doing the last payment through PayScore was: collect or user; see recovery.lua"},

	{Name: "known", Signed: true, Step: true, By: "settle notice", Doc: "1: WeChat Pay has spoken of the order, without its order_id"},
	{Name: "differs", Signed: true, JSON: "amount_differs", By: "settle notice", Doc: "the last alarms about signed amounts: \"<ms> <field> <known> <said>\", joined by ;"},
	{Name: "lowered", JSON: "total_lowered", By: "settle notice", Doc: "the last time the merchant lowered the total: \"<ms> <from> <to>\""},
	{Name: "collects", JSON: "collect_calls", By: "claim permit settle", Doc: "collect calls, those under way included"},
	{Name: "queries", JSON: "query_calls", By: "claim settle", Doc: "query calls, likewise"},
	{Name: "syncs", By: "claim permit settle", Doc: "sync calls, likewise"},
	{Name: "syncwhy", By: "settle", Doc: "why sync stands where it does"},
	{Name: "paidat", Step: true, By: "withdraw", Doc: "when the user paid elsewhere, yyyyMMddHHmmss of China"},
	{Name: "schedule", JSON: "schedule", Step: true, By: "open", Doc: "the schedule that billing has named for it, of SCHEDULES_FILE"},
	{Name: "past", JSON: "past", By: "open claim", Doc: "the final states before each reopening, a JSON array"},
	{Name: "acts", JSON: "actions", By: "open withdraw collectnow", Doc: "what people have done to it, the last 20 times, a JSON array; see audit.lua"},
	{Name: "events", By: "open settle notice withdraw", Doc: "how many events were written; the last one's seq"},

	{Name: "next", By: "open claim permit settle withdraw collectnow ask", Doc: "what the next step begins with; see Plan"},
	{Name: "due", JSON: "next_due_at", Step: true, By: "open claim settle withdraw mend collectnow unpause ask", Doc: "ms, before which no step begins"},
	{Name: "off", By: "claim settle collectnow unpause open ask", Doc: "1: due was put off, or set without a call; see mend.lua. 2: a pause has put it off"},
	{Name: "since", Step: true, By: "open claim settle withdraw collectnow", Doc: "ms, from when its age counts"},
	{Name: "round", Step: true, By: "open settle take rewind withdraw collectnow ask", Doc: "the round whose task may work on it"},
	{Name: "life", Step: true, By: "open", Doc: "its epoch: a reopening begins the next one"},
	{Name: "token", By: "claim ask", Doc: "of the claim that has the lease"},
	{Name: "lease", By: "claim permit settle take mend ask told", Doc: "ms, when the lease ends"},
	{Name: "doing", By: "claim permit", Doc: "the plan of the step under way; recollect or resync after a permit"},
	{Name: "done", By: "settle", Doc: "the token of the last settled claim, and its answer where that says more"},
	{Name: "collected", Step: true, By: "claim permit settle mend", Doc: "ms, when the last collect call was over at the latest"},
	{Name: "declines", Step: true, By: "settle", Doc: "its place in COLLECT_SCHEDULE"},
	{Name: "confirms", Step: true, By: "settle", Doc: "its place in CONFIRM_SCHEDULE"},
	{Name: "fails", Step: true, By: "settle", Doc: "calls in a row without a proper answer"},
	{Name: "missing", Step: true, By: "settle", Doc: "replies in a row that there is no such order"},
	{Name: "cause", By: "settle notice withdraw fill", Doc: "the code of the first collect call that was declined; _ if it is not known"},
	{Name: "accepted", By: "settle", Doc: "\"<ms> <ms>\": when a collect call was accepted last, or got no clear answer, and how long a payment counts as ours before and after"},
	{Name: "tally", By: "settle notice withdraw fill", Doc: "what the counters of the recovery count of it; see recovery.lua"},
	{Name: "last", By: "compact", Doc: "ms, the last attempt, if the log does not say it"},
	{Name: "err", By: "compact", Doc: "the entry of the last failed call in the log, if the log does not have it"},
	{Name: "k", By: "compact", Doc: "of a compact record: what its other fields said; kept.lua has the form"},
	{Name: "k2", By: "compact", Doc: "what of k is behind its first 64 bytes"},
	{Name: "k3", By: "compact", Doc: "likewise"},
	{Name: "k4", By: "compact", Doc: "likewise"},
}

// fields returns the rows of Record that satisfy is.
func fields(is func(Field) bool) []Field {
	var list []Field
	for _, f := range Record {
		if is(f) {
			list = append(list, f)
		}
	}
	return list
}

var (
	eventFields = fields(func(f Field) bool { return f.Event != "" })
	stepFields  = fields(func(f Field) bool { return f.Step })
	signed      = fields(func(f Field) bool { return f.Signed })
	tallyFields = fields(func(f Field) bool {
		return slices.Contains(strings.Fields("state opened ended attempts total bill paid pays pt tx pby cause tally"), f.Name)
	})
	signedTexts = fields(func(f Field) bool { return f.Signed && f.Text })
)

// The scripts call these as if they were functions of Lua, and generated code takes
// their places. Loops over the fields would cost a tenth of a step's time in Redis.
//
//	FIELDS(key, a, b, …)  a table of the record's fields a, b, … by name. SIGNED, STEP,
//	                      EVENT and TALLY stand for all that are signed, that a claim
//	                      returns, that events have, that are counted; x=y is the field
//	                      named by y, as x
//	STEP(r)               the values of the fields that a claim returns
//	EVENT(r)              names and values of the fields that events have
//	TEXTS(set, f)         set(name, value) of each signed text of the message f
var generated = regexp.MustCompile(`\b(FIELDS|STEP|EVENT|TEXTS)\(([^()]*)\)`)

// generate puts the lists of fields into the source of a script. It panics where a
// script names a field that Record does not have.
func generate(script, source string) string {
	return generated.ReplaceAllStringFunc(source, func(call string) string {
		m := generated.FindStringSubmatch(call)
		args := strings.FieldsFunc(m[2], func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
		var parts []string
		switch m[1] {
		case "FIELDS":
			return generateRead(script, args[0], args[1:])
		case "STEP":
			for _, f := range stepFields {
				parts = append(parts, fmt.Sprintf("%s.%s or ''", args[0], f.Name))
			}
		case "EVENT":
			for _, f := range eventFields {
				parts = append(parts, fmt.Sprintf("'%s', %s.%s or ''", f.Event, args[0], f.Name))
			}
		case "TEXTS":
			for _, f := range signedTexts {
				parts = append(parts, fmt.Sprintf("%s('%s', %s.%s)", args[0], f.Name, args[1], f.JSON))
			}
			return strings.Join(parts, " ")
		}
		return strings.Join(parts, ", ")
	})
}

func generateRead(script, key string, names []string) string {
	groups := map[string][]Field{"SIGNED": signed, "STEP": stepFields, "EVENT": eventFields, "TALLY": tallyFields}
	var table, read []string
	seen := map[string]bool{}
	add := func(name, expr string) {
		if !seen[name] {
			seen[name] = true
			read = append(read, expr)
			table = append(table, fmt.Sprintf("%s = v[%d]", name, len(read)))
		}
	}
	for _, name := range names {
		if as, expr, ok := strings.Cut(name, "="); ok {
			add(as, expr)
			continue
		}
		list, ok := groups[name]
		if !ok {
			list = fields(func(f Field) bool { return f.Name == name })
		}
		if len(list) == 0 {
			panic(script + ".lua reads " + name + ", which Record does not have")
		}
		for _, f := range list {
			add(f.Name, "'"+f.Name+"'")
		}
	}
	return "(function(v) return { " + strings.Join(table, ", ") + " } end)(redis.call('HMGET', " + key + ", " + strings.Join(read, ", ") + "))"
}

// values are fields of a record, or of an event's entry, by name.
type values map[string]string

// pairs reads names and values in turn, as HGETALL returns them.
func pairs(list []any) values {
	v := make(values, len(list)/2)
	for i := 0; i+1 < len(list); i += 2 {
		name, _ := list[i].(string)
		v[name], _ = list[i+1].(string)
	}
	return v
}

func (v values) int(name string) int64 { return atoi(v[name]) }

func (v values) time(name string) time.Time { return millis(v[name]) }

// Snapshot is what a step needs to know of an order's past: the fields of Record that
// have Step.
type Snapshot struct {
	owner.Owner
	OutOrderNo string
	State      State
	Round      int64
	Collected  time.Time // when the last collect call before this claim was over, at the latest; zero for none
	Attempts   int64
	Declines   int64
	Confirms   int64
	Fails      int64
	Missing    int64
	Since      time.Time // opened, or reopened
	Due        time.Time // when this step was due
	Total      int64     // fen; 0 while WeChat Pay has not said
	Known      bool      // WeChat Pay has spoken of the order under its signature
	Life       string
	// Sync: billing has withdrawn the order, and WeChat Pay must be notified that the
	// user paid elsewhere, at PaidAt (yyyyMMddHHmmss, as sync takes it).
	Sync   bool
	PaidAt string
	// Schedule is the name that billing has given, or empty.
	Schedule string
	Billing  int64 // fen, by billing's word; 0 where it has not said
}

// Amount is what the order is about, in fen: by billing's word, or else by WeChat Pay's; 0
// where neither is known.
func (s Snapshot) Amount() int64 { return cmp.Or(s.Billing, s.Total) }

// snapshot reads what a granted claim returns.
func (l *Ledger) snapshot(no string, list []any) (Snapshot, bool) {
	if len(list) != len(stepFields) {
		return Snapshot{}, false
	}
	v := make(values, len(list))
	for i, f := range stepFields {
		v[f.Name], _ = list[i].(string)
	}
	return Snapshot{
		Owner:      owner.Owner{MchID: l.mchid, AppID: v["appid"], ServiceID: v["svc"]},
		OutOrderNo: no, State: State(v["state"]), Round: v.int("round"),
		Collected: v.time("collected"), Attempts: v.int("attempts"),
		Declines: v.int("declines"), Confirms: v.int("confirms"), Fails: v.int("fails"), Missing: v.int("missing"),
		Since: v.time("since"), Due: v.time("due"), Total: v.int("total"),
		Known: v["oid"] != "" || v["known"] != "", Life: v["life"],
		Sync: v["sync"] == string(SyncPending), PaidAt: v["paidat"],
		Schedule: v["schedule"], Billing: v.int("bill"),
	}, true
}

// Facts are what WeChat Pay has said about an order under its signature.
type Facts struct {
	OrderID       string `json:"order_id"`
	TransactionID string `json:"transaction_id"`
	PaidType      string `json:"paid_type"`

	Total, Paid *int64 // fen; nil where nothing was said
	Payments    []Payment
	// Done: the order is finished and paid, by its state and its collection's;
	// what was paid should be the total.
	Done bool
	// Known: WeChat Pay has the order. No unsigned word that there is no such
	// order ends it from then on.
	Known bool
}

// SetTexts fills the signed texts of f by their JSON names.
func (f *Facts) SetTexts(texts map[string]string) {
	_ = decode(f, factsDecoding, func(field Field) string { return texts[field.JSON] })
}

// TextNames lists the JSON names of the signed texts.
func TextNames() []string {
	var names []string
	for _, d := range factsDecoding {
		names = append(names, d.field.JSON)
	}
	return names
}

// texts returns the signed texts of f by their JSON names.
func (f Facts) texts() map[string]string {
	texts := map[string]string{}
	for _, d := range factsDecoding {
		if s := reflect.ValueOf(f).Field(d.index).String(); s != "" {
			texts[d.field.JSON] = s
		}
	}
	return texts
}

var factsDecoding = decodingOf[Facts]()

// Order is what the ledger knows of an order. Its JSON is part of the
// interface: amounts in fen, times RFC 3339, absent fields left out.
type Order struct {
	MchID         string     `json:"mchid"`
	OutOrderNo    string     `json:"out_order_no"`
	AppID         string     `json:"appid"`
	ServiceID     string     `json:"service_id"`
	State         State      `json:"state"`
	Reason        string     `json:"reason,omitempty"`
	OrderID       string     `json:"order_id,omitempty"`
	TransactionID string     `json:"transaction_id,omitempty"`
	PaidType      string     `json:"paid_type,omitempty"`
	TotalAmount   *int64     `json:"total_amount,omitempty"`
	PaidAmount    *int64     `json:"paid_amount,omitempty"`
	Attempts      int64      `json:"attempts"`
	CollectCalls  int64      `json:"collect_calls"`
	QueryCalls    int64      `json:"query_calls"`
	OpenedAt      time.Time  `json:"opened_at,omitzero"`
	LastAttemptAt time.Time  `json:"last_attempt_at,omitzero"`
	NextDueAt     time.Time  `json:"next_due_at,omitzero"`
	EndedAt       time.Time  `json:"ended_at,omitzero"`
	LastError     *LastError `json:"last_error,omitempty"`

	// Payments are the payments that WeChat Pay has signed, by their seq: every one,
	// merged over all its messages, whatever their order. They never become fewer.
	// PaidAmount is their sum, where WeChat Pay lists them all.
	Payments []Payment `json:"payments,omitempty"`
	// BillingAmount is what the order is about by billing's word, in fen, and
	// OwedSince is since when it is owed. WeChat Pay has signed neither.
	BillingAmount *int64    `json:"billing_amount,omitempty"`
	OwedSince     time.Time `json:"owed_since,omitzero"`
	// PaidBy says whose doing the last payment through PayScore was: PaidByCollect or
	// PaidByUser; empty where none is known.
	PaidBy string `json:"paid_by,omitempty"`
	// Schedule is the schedule of SCHEDULES_FILE that billing has named for it.
	Schedule string `json:"schedule,omitempty"`

	// LatePaymentAt is when a verified payment was learnt of an order in
	// another final state; transaction_id and paid_amount are that payment's.
	LatePaymentAt time.Time `json:"late_payment_at,omitzero"`
	// AmountDiffers is the newest contradiction between WeChat Pay's signed amounts
	// that was an alarm: a total that was raised, or that changed after the order
	// was paid; more paid than the total, or less though the order is done; payments
	// that do not add up to what was paid. A total that is lowered while the order
	// waits is not one: the merchant modified it.
	AmountDiffers *Difference `json:"amount_differs,omitempty"`
	// TotalLowered is the last time that the merchant lowered what the order comes
	// to, while it waited.
	TotalLowered *Lowering `json:"total_lowered,omitempty"`
	// Sync is what became of telling WeChat Pay; nil where billing did not ask
	// for that.
	Sync *Sync `json:"sync,omitempty"`

	// Past are the final states before the order was reopened; the latest ones,
	// oldest first.
	Past []PastEnd `json:"past,omitempty"`
	// Actions are what people have done to the order, the newest ActionsKept of them,
	// oldest first.
	Actions []Action `json:"actions,omitempty"`
	Log     []Entry  `json:"log,omitempty"` // oldest first

	Next Plan `json:"-"`
	// LogGone: the order ended so long ago that its log is not kept; see Ledger.Compact.
	LogGone bool `json:"-"`
}

// Event is one thing that happened to an order, with all that was known of the
// order after it: the newest event of an order is the order. Its JSON is part of
// the interface: amounts in fen, times RFC 3339, absent fields left out.
type Event struct {
	ID         string    `json:"id"`   // unique; "<mchid>-<ms>-<n>", which is the order of a merchant's events
	Type       string    `json:"type"` // see EventTypes
	At         time.Time `json:"at"`   // Redis's clock
	MchID      string    `json:"mchid"`
	OutOrderNo string    `json:"out_order_no"`
	Seq        int64     `json:"seq,omitempty"` // of the order's events, from 1 on, without a gap; absent before 0.2
	State      State     `json:"state"`
	Reason     string    `json:"reason,omitempty"`

	AppID         string    `json:"appid,omitempty"`
	ServiceID     string    `json:"service_id,omitempty"`
	OrderID       string    `json:"order_id,omitempty"`
	TransactionID string    `json:"transaction_id,omitempty"`
	PaidType      string    `json:"paid_type,omitempty"`
	TotalAmount   *int64    `json:"total_amount,omitempty"`
	PaidAmount    *int64    `json:"paid_amount,omitempty"`
	Attempts      int64     `json:"attempts,omitempty"`
	OpenedAt      time.Time `json:"opened_at,omitzero"`
	EndedAt       time.Time `json:"ended_at,omitzero"`        // of the order, not of the event: absent while it is open
	LatePaymentAt time.Time `json:"late_payment_at,omitzero"` // see Order
	Sync          SyncState `json:"sync,omitempty"`

	Payments      []Payment `json:"payments,omitempty"`       // every one that is known, see Order
	BillingAmount *int64    `json:"billing_amount,omitempty"` // see Order
	OwedSince     time.Time `json:"owed_since,omitzero"`      // see Order
	PaidBy        string    `json:"paid_by,omitempty"`        // see Order

	// Books is what came of comparing a day with WeChat Pay's bill, of an event
	// BooksClosed: what outcomes books --json prints, with at most BooksListed exceptions.
	// Such an event is of no order: OutOrderNo and State are empty.
	Books json.RawMessage `json:"books,omitempty"`

	By string `json:"by,omitempty"` // of withdrawn and reopened: who did it; Reason says why

	// Of the call (or notification) that it came from.
	Call       string `json:"call,omitempty"`
	Verdict    string `json:"verdict,omitempty"`
	Code       string `json:"code,omitempty"`
	DetailCode string `json:"detail_code,omitempty"`
}

// decoding is what decode needs to know of one type.
type decoding struct {
	field Field
	index int
}

func decodingOf[T any]() []decoding {
	var list []decoding
	t := reflect.TypeFor[T]()
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		for _, f := range Record {
			if f.JSON != "" && f.JSON == name && decodable(t.Field(i).Type) {
				list = append(list, decoding{f, i})
			}
		}
	}
	return list
}

var timeType = reflect.TypeFor[time.Time]()

func decodable(t reflect.Type) bool {
	return t.Kind() == reflect.String || t.Kind() == reflect.Int64 || t == timeType ||
		t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Int64
}

// decode fills the fields of dst (an *Order, *Event) that Record has by their JSON
// names, each as its type says: texts, counts, amounts in fen (nil where the field is
// absent) and times in ms. It reports whether every number was one.
func decode(dst any, plan []decoding, get func(Field) string) (ok bool) {
	ok = true
	v := reflect.ValueOf(dst).Elem()
	for _, d := range plan {
		s := get(d.field)
		to := v.Field(d.index)
		if to.Kind() == reflect.String {
			to.SetString(s)
			continue
		}
		if s == "" {
			continue
		}
		n, err := strconv.ParseInt(s, 10, 64)
		ok = ok && err == nil && n >= 0
		switch {
		case to.Kind() == reflect.Int64:
			to.SetInt(n)
		case to.Kind() == reflect.Pointer:
			to.Set(reflect.ValueOf(&n))
		case n > 0:
			ok = ok && n <= latestMS
			to.Set(reflect.ValueOf(time.UnixMilli(n).UTC()))
		}
	}
	return ok
}

// latestMS is the end of the year 9999: RFC 3339 cannot write a later time.
const latestMS = 253402300799999
