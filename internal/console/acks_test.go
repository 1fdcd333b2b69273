package console

import (
	"html"
	"regexp"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/tasks"
)

// ackFields are the fields of the forms for acknowledgements on a page, by the matter.
func ackFields(p page) map[string][]string {
	forms := map[string][]string{}
	for _, form := range strings.Split(p.Body, `action="/acknowledge"`)[1:] {
		form, _, _ = strings.Cut(form, "</form>")
		var fields []string
		for _, m := range regexp.MustCompile(`type="hidden" name="([a-z]+)" value="([^"]*)"`).FindAllStringSubmatch(form, -1) {
			fields = append(fields, m[1], html.UnescapeString(m[2]))
		}
		forms[fields[3]] = fields
	}
	return forms
}

// bookOf closes the books of yesterday with an exception of an amount.
func (f *fixture) bookOf(mchid string, fen string) ledger.BookDate {
	f.Helper()
	date := ledger.BookDateOf(time.Now().Add(-24 * time.Hour))
	result := `{"mchid":"` + mchid + `","date":"` + string(date) + `","bill":{"rows":2,"payscore_rows":2,"amount":1,"sha1":"x"},"ledger":{"orders":1,"amount":1},"matched":{"orders":0,"amount":0},"exceptions":[` +
		`{"kind":"amount_differs","out_order_no":"BIKE-PAID-1","transaction_id":"4200001","bill_amount":` + fen + `,"ledger_amount":1250,"state":"paid","detail":"x"},{"kind":"refunded","out_order_no":"GONE","transaction_id":"4200002","bill_amount":100,"detail":"x"}]}`
	if _, err := f.ledger(mchid).CloseBook(f.Context(), date, []byte(result), []byte("{}"), nil, nil, ledger.BookPlan{}); err != nil {
		f.Fatal(err)
	}
	return date
}

// attends waits until the overview's heading has a count: it is of the newest survey.
func (f *fixture) attends(heading string) {
	f.Helper()
	testkit.Eventually(f, heading, func() bool { return strings.Contains(f.get("/").Body, ">"+heading+"<") }, f.logs)
}

// What needs attention leaves the list when a person has acknowledged it, for everyone, and
// is back when something new happens to it.
func TestAcknowledge(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.world()
	date := f.bookOf(mchA, "1260")
	f.waitedLong()
	// Books that cannot be read hide nothing else, and must be closed again.
	broken := ledger.BookDateOf(time.Now().Add(-72 * time.Hour))
	if _, err := f.ledger(mchA).CloseBook(t.Context(), broken, []byte(`{"date":`), []byte("{}"), nil, nil, ledger.BookPlan{}); err != nil {
		t.Fatal(err)
	}
	f.get("/books?date="+string(broken)+"&mchid="+mchA).wants(t, 200, "cannot be read", "outcomes books --mchid "+mchA+" --date "+string(broken)+" does")
	f.get("/books?date="+string(broken)+"&mchid="+mchA, "Accept-Language: zh").wants(t, 200, "无法读取", "outcomes books --mchid "+mchA+" --date "+string(broken))
	f.surveyed()
	f.attends("Needs attention: 6")
	p := f.get("/")
	p.wants(t, 200, "Books of "+string(date), booksLink(date), "the amounts differ: 1", "Webhooks of merchant",
		"Books of "+string(broken), booksLink(broken), "cannot be read", "outcomes books --mchid "+mchA+" --date "+string(broken)+" does")
	f.get("/", "Accept-Language: zh").wants(t, 200, booksLink(broken), "无法读取", "outcomes books --mchid "+mchA+" --date "+string(broken))
	forms := ackFields(p)
	if form := forms[string(ledger.BookMatter(broken))]; form == nil {
		t.Errorf("the day that cannot be read cannot be acknowledged: %v", forms)
	} else {
		f.post("/acknowledge", append(form, "reason", "the bill is asked for")).wants(t, 200, "Needs attention: 5")
		f.get("/books?date="+string(broken)+"&mchid="+mchA).wants(t, 200, "cannot be read", "the bill is asked for")
	}
	for _, want := range []ledger.Matter{ledger.OrderMatter("BIKE-LATE"), ledger.OrderMatter("BIKE-DIFFERS"), ledger.OrderMatter("BIKE-SYNC"), ledger.BookMatter(date), ledger.HookMatter} {
		if forms[string(want)] == nil {
			t.Errorf("%s cannot be acknowledged: %v", want, forms)
		}
	}

	late := forms["order BIKE-LATE"]
	f.post("/acknowledge", append(late, "reason", "")).wants(t, 422, "reason")
	f.post("/acknowledge", append(late, "reason", "refunded <b>by hand</b>")).wants(t, 200, "Needs attention: 4", "Show what was acknowledged: 2")
	p = f.get("/")
	if p.wants(t, 200); strings.Contains(p.Body, ">BIKE-LATE<") {
		t.Error("what was acknowledged is still on the list")
	}
	f.get("/?acknowledged=yes").wants(t, 200, "Acknowledged: 2", ">BIKE-LATE<", "console:local", "refunded &lt;b&gt;by hand&lt;/b&gt;")
	f.get("/orders/"+mchA+"/BIKE-LATE").wants(t, 200, "PAID AFTER ITS END", "Acknowledged by console:local")
	f.get("/trail").wants(t, 200, "acknowledged", "refunded &lt;b&gt;by hand&lt;/b&gt;", "/orders/"+mchA+"/BIKE-LATE")
	f.get("/?acknowledged=yes", "Accept-Language: zh").wants(t, 200, "已确认：2 项", "console:local 已确认")

	// The others, from their own pages too.
	if got := ackFields(f.get("/orders/" + mchA + "/BIKE-DIFFERS"))["order BIKE-DIFFERS"]; got == nil {
		t.Error("the order's page has no form")
	} else if p := f.post("/acknowledge", append(got, "reason", "asked WeChat Pay")); p.Path != "/orders/"+mchA+"/BIKE-DIFFERS" {
		t.Errorf("it leads to %s", p.Path)
	}
	day := "/books?" + "date=" + string(date) + "&mchid=" + mchA
	if got := ackFields(f.get(day))["books "+string(date)]; got == nil {
		t.Error("the day's page has no form")
	} else {
		f.post("/acknowledge", append(got, "reason", "a known fault")).wants(t, 200, "Acknowledged by console:local: “a known fault”")
	}
	f.post("/acknowledge", append(forms["webhooks"], "reason", "the billing team knows")).wants(t, 200, "Needs attention: 1")

	// Broken once more, the day is back.
	f.get("/books?date="+string(broken)+"&mchid="+mchA).wants(t, 200, "the bill is asked for")
	if _, err := f.ledger(mchA).CloseBook(t.Context(), broken, []byte(`{"date":`), []byte("{}"), nil, nil, ledger.BookPlan{}); err != nil {
		t.Fatal(err)
	}
	if p := f.get("/books?date=" + string(broken) + "&mchid=" + mchA); strings.Contains(p.Body, "the bill is asked for") {
		t.Error("what was stored since counts as acknowledged")
	}
	// The same books once more are nothing new; another amount is.
	f.bookOf(mchA, "1260")
	f.get(day).wants(t, 200, "a known fault")
	f.bookOf(mchA, "1270")
	if p := f.get(day); strings.Contains(p.Body, "a known fault") {
		t.Error("other exceptions count as acknowledged")
	}
	// So is another payment, and a page from before it acknowledges nothing.
	facts := paid(9400).Facts
	facts.TransactionID, facts.Payments[0].TransactionID, facts.Payments[0].Seq = "42000020261127000000000002", "42000020261127000000000002", 2
	if _, _, err := f.ledger(mchA).Notice(t.Context(), ledger.Notice{OutOrderNo: "BIKE-LATE", ID: "n9", Token: ledger.NewToken(), Paid: true, Facts: facts, Entry: ledger.Entry{Call: "notification", Verdict: "paid"}}); err != nil {
		t.Fatal(err)
	}
	if p := f.get("/orders/" + mchA + "/BIKE-LATE"); strings.Contains(p.Body, "Acknowledged by") {
		t.Error("another payment counts as acknowledged")
	}
	f.post("/acknowledge", append(late, "reason", "x")).wants(t, 409, "Something new has happened")
	for _, wrong := range [][]string{
		{"mchid", mchA, "matter", "order BIKE-PAID-1", "occurrence", ""}, {"mchid", mchA, "matter", "order NONE"}, {"mchid", mchA, "matter", "books 2020-01-01"},
		{"mchid", mchA, "matter", "books x"}, {"mchid", mchA, "matter", "order a/b"}, {"mchid", mchA, "matter", "everything"}, {"mchid", mchB, "matter", "webhooks"},
	} {
		f.post("/acknowledge", append(wrong, "reason", "x")).wants(t, 409, "nothing left to acknowledge")
	}
	f.post("/acknowledge", []string{"matter", "webhooks", "reason", "x"}).wants(t, 422)
}

func booksLink(date ledger.BookDate) string {
	return `href="/books?date=` + string(date) + `&amp;mchid=` + mchA + `"`
}

// waitedLong makes the webhooks that wait an hour old.
func (f *fixture) waitedLong() {
	f.Helper()
	key := ledger.KeysOf(mchA).HookWaiting()
	nos, err := f.redis.Client.ZRange(f.Context(), key, 0, -1).Result()
	if err != nil || len(nos) == 0 {
		f.Fatal(nos, err)
	}
	for _, no := range nos {
		if err := f.redis.Client.ZIncrBy(f.Context(), key, -float64(time.Hour.Milliseconds()), no).Err(); err != nil {
			f.Fatal(err)
		}
	}
}

func TestAcknowledge_Roles(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withTokens(t))
	f.world()
	form := []string{"mchid", mchA, "matter", "order BIKE-LATE", "reason", "x", "occurrence", ""}
	order, err := f.ledger(mchA).Get(t.Context(), "BIKE-LATE")
	if err != nil {
		t.Fatal(err)
	}
	form[7] = order.Occurrence()
	f.post("/acknowledge", form).wants(t, 401)
	for token, want := range map[string]int{"viewer": 403, "only-b": 403, "billing": 200} {
		f.client = browserOf(t)
		f.post("/signin", []string{"token", token}).wants(t, 200)
		f.post("/acknowledge", form).wants(t, want)
		p := f.get("/orders/" + mchA + "/BIKE-DIFFERS")
		if has := ackFields(p)["order BIKE-DIFFERS"] != nil; has != (want == 200) {
			t.Errorf("%s is offered the form: %t", token, has)
		}
	}
	f.post("/acknowledge", form, "Sec-Fetch-Site: cross-site").wants(t, 403)
	late := ledger.OrderMatter("BIKE-LATE")
	if acks, err := ledger.AcksOf(t.Context(), f.redis.Client, map[string][]ledger.Matter{mchA: {late}}); err != nil || acks[mchA][late].By != "console:billing" {
		t.Errorf("%+v, %v", acks, err)
	}
}

// An order that has an alarm in words is one that the list has, and the other way round.
func TestAlarmed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.world()
	alarmed := 0
	for _, state := range tasks.States {
		for o, err := range f.ledger(mchA).Select(t.Context(), ledger.Filter{State: state}) {
			if err != nil {
				t.Fatal(err)
			}
			if words := (explain.Teller{Zone: tasks.China}).Alarms(o); (len(words) > 0) != o.Alarmed() || o.Alarmed() != (o.Occurrence() != "") {
				t.Errorf("%s: %v, alarmed: %t, %q", o.OutOrderNo, words, o.Alarmed(), o.Occurrence())
			}
			if o.Alarmed() {
				alarmed++
			}
		}
	}
	if alarmed != 3 {
		t.Errorf("%d orders are alarmed, want 3", alarmed)
	}
}
