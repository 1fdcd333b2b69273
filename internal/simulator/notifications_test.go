package simulator

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Each kind of payment is notified once, by the simulator itself, as a query
// would have shown it.
func TestNotifications_EveryPayment(t *testing.T) {
	const no = "A|1*"
	tests := map[string]struct {
		fate   Fate
		faults Faults
		act    func(b *bench)
		paid   []int64 // the amounts paid, as the notifications tell of them
		by     string
	}{
		"by a collect":                {FatePays, Faults{}, func(b *bench) { b.collect(no) }, []int64{1000}, PaidTypeNewton},
		"some time after the collect": {FatePays, Faults{PayDelay: Duration(time.Hour)}, func(b *bench) { b.collect(no); b.clock.pass(time.Hour) }, []int64{1000}, PaidTypeNewton},
		"by a deduction that takes":   {FateUserPaying(time.Hour), Faults{}, func(b *bench) { b.collect(no); b.clock.pass(time.Hour) }, []int64{1000}, PaidTypeNewton},
		"by the user himself":         {FateUserPays(time.Hour), Faults{}, func(b *bench) { b.clock.pass(time.Hour) }, []int64{1000}, PaidTypeNewton},
		"elsewhere, by sync":          {FateNever, Faults{}, func(b *bench) { b.sync(no) }, []int64{1000}, PaidTypeMch},
		"in parts":                    {FatePartial(300), Faults{}, func(b *bench) { b.collect(no); b.clock.pass(time.Hour); b.collect(no) }, []int64{300, 1000}, PaidTypeNewton},
		"though the reply was lost":   {FatePays, Faults{DropAfter: 1}, func(b *bench) { b.collect(no) }, []int64{1000}, PaidTypeNewton},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := setup(t)
			r := receive(t, b.sim.Merchant(), nil)
			b.notify(Notifications{URL: r.url})
			b.fail(tt.faults)
			if err := b.sim.AddOrders(Order{OutOrderNo: no, TotalAmount: 1000, Fate: tt.fate}); err != nil {
				t.Fatal(err)
			}
			tt.act(b)
			report := b.settled(int64(len(tt.paid)))
			got := r.all()
			slices.SortFunc(got, func(x, y received) int { // two at once may overtake each other
				return int(x.entity.Collection.PaidAmount - y.entity.Collection.PaidAmount)
			})
			if len(got) != len(tt.paid) {
				t.Fatalf("%d notifications, want %d", len(got), len(tt.paid))
			}
			for i, paid := range tt.paid {
				e := got[i].entity
				if got[i].err != nil || got[i].event.EventType != EventUserPaid || e.OutOrderNo != no || e.NotifyURL != r.url {
					t.Fatalf("got %+v, %v", got[i].event, got[i].err)
				}
				c := e.Collection
				state, collection := StateDone, CollectionUserPaid
				if paid < 1000 {
					state, collection = StateDoing, CollectionUserPaying
				}
				if e.State != state || c.State != collection || c.PaidAmount != paid || c.PayingAmount != 1000-paid || len(c.Details) != i+1 || c.Details[i].PaidType != tt.by {
					t.Errorf("payment %d: got %s, %+v", i+1, e.State, c)
				}
			}
			b.fail(Faults{})
			if diff := cmp.Diff(b.entity(no), got[len(got)-1].entity, sameJSON); diff != "" {
				t.Errorf("query and last notification differ (-query +notification):\n%s", diff)
			}
			n := int64(len(tt.paid))
			if want := (NotificationReport{Events: n, Deliveries: n, Taken: n, ByStatus: map[int]int64{204: n}}); cmp.Diff(want, report) != "" {
				t.Errorf("the report says %+v", report)
			}
			if got := b.truth(no).Audit.Notified; got != n {
				t.Errorf("notified %d times", got)
			}
			if got := b.sim.Report().Orders[0].Notified; got != n {
				t.Errorf("notified %d times by the report", got)
			}
		})
	}
}

// With the machine's own clock, what is due is notified when it is due.
func TestNotifications_InTime(t *testing.T) {
	b := setupWith(t, Options{})
	r := receive(t, b.sim.Merchant(), nil)
	b.notify(Notifications{URL: r.url})
	b.fail(Faults{PayDelay: Duration(100 * time.Millisecond)})
	start := time.Now()
	if err := b.sim.AddOrders(Order{OutOrderNo: "HIMSELF", Fate: FateUserPays(150 * time.Millisecond)}, Order{OutOrderNo: "LATER", Fate: FateUserPays(time.Hour)},
		Order{OutOrderNo: "COLLECTED"}, Order{OutOrderNo: "TAKES", Fate: FateUserPaying(120 * time.Millisecond)}); err != nil {
		t.Fatal(err)
	}
	b.collect("COLLECTED")
	b.collect("TAKES")
	b.settled(3)
	for _, got := range r.all() {
		least := map[string]time.Duration{"HIMSELF": 150 * time.Millisecond, "COLLECTED": 100 * time.Millisecond, "TAKES": 120 * time.Millisecond}[got.entity.OutOrderNo]
		if took := got.at.Sub(start); least == 0 || took < least {
			t.Errorf("%s was notified after %v, want %v or more", got.entity.OutOrderNo, took, least)
		}
	}
}

func TestNotifications_URL(t *testing.T) {
	b := setup(t)
	general, own := receive(t, b.sim.Merchant(), nil), receive(t, b.sim.Merchant(), nil)
	if err := b.sim.AddOrders(Order{OutOrderNo: "NONE"}, Order{OutOrderNo: "OWN", NotifyURL: own.url}, Order{OutOrderNo: "GENERAL"}); err != nil {
		t.Fatal(err)
	}
	b.collect("NONE") // no notification: there is no URL yet
	b.notify(Notifications{URL: general.url})
	b.collect("OWN")
	b.collect("GENERAL")
	b.settled(2)
	if g, o := general.all(), own.all(); len(g) != 1 || g[0].entity.OutOrderNo != "GENERAL" || len(o) != 1 || o[0].entity.OutOrderNo != "OWN" {
		t.Errorf("the settings' URL got %d, the order's own got %d", len(g), len(o))
	}
	b.notify(Notifications{})
	for no, want := range map[string]string{"OWN": own.url, "NONE": "https://merchant.example/notify"} {
		if got := b.entity(no).NotifyURL; got != want {
			t.Errorf("%s shows %s, want %s", no, got, want)
		}
	}
	t.Run("from the options", func(t *testing.T) {
		b := setupWith(t, Options{NotifyURL: general.url})
		if got := b.sim.Notifications().URL; got != general.url {
			t.Errorf("got %q", got)
		}
		if _, err := New(Options{NotifyURL: "merchant"}); err == nil || !strings.Contains(err.Error(), "notify URL must be http") {
			t.Errorf("got %v", err)
		}
	})
}

func TestNotifications_Certificate(t *testing.T) {
	b := setup(t, Order{OutOrderNo: "A1"})
	m := b.sim.Merchant()
	r := receive(t, m, nil)
	b.notify(Notifications{URL: r.url, Serial: SerialCertificate})
	b.collect("A1")
	b.settled(1)
	if got := r.all()[0]; got.err != nil || got.header.Get("Wechatpay-Serial") != m.CertificateSerialNo {
		t.Errorf("signed as %s, %v", got.header.Get("Wechatpay-Serial"), got.err)
	}
	n, err := b.sim.Notification("A1", NotificationOptions{})
	if err != nil || n.Header.Get("Wechatpay-Serial") != m.CertificateSerialNo {
		t.Errorf("one made by hand is signed as %s, %v", n.Header.Get("Wechatpay-Serial"), err)
	}
}

func TestNotifications_Retry(t *testing.T) {
	t.Run("is the same event, signed afresh", func(t *testing.T) {
		b := setup(t, Order{OutOrderNo: "A1"})
		r := receive(t, b.sim.Merchant(), answerInTurn(500, 404, 302, 201, 202, 200))
		b.notify(Notifications{URL: r.url, Retry: slices.Repeat([]Duration{Duration(time.Millisecond)}, 10)})
		b.collect("A1")
		report := b.settled(1)
		want := NotificationReport{
			Events: 1, Deliveries: 6, Taken: 1, Refused: 5,
			ByStatus: map[int]int64{500: 1, 404: 1, 302: 1, 201: 1, 202: 1, 200: 1},
		}
		if diff := cmp.Diff(want, report); diff != "" {
			t.Errorf("the report differs (-want +got):\n%s", diff)
		}
		got := r.all()
		seen := map[string]int{}
		for _, g := range got {
			if g.err != nil || g.event.ID != got[0].event.ID {
				t.Errorf("event %s, want %s; %v", g.event.ID, got[0].event.ID, g.err)
			}
			for _, name := range []string{"Wechatpay-Nonce", "Wechatpay-Signature", "Request-Id"} {
				seen[g.header.Get(name)]++
			}
		}
		if len(seen) != 3*6 {
			t.Errorf("nonces, signatures or Request-IDs were used again: %v", seen)
		}
	})
	t.Run("has an end", func(t *testing.T) {
		b := setup(t, Order{OutOrderNo: "A1"})
		r := receive(t, b.sim.Merchant(), answerInTurn(503))
		b.notify(Notifications{URL: r.url, Retry: []Duration{0, 0}})
		b.collect("A1")
		if report := b.settled(1); report.Deliveries != 3 || report.GaveUp != 1 || report.Refused != 3 || report.Taken != 0 {
			t.Errorf("the report says %+v", report)
		}
		if got := b.truth("A1").Audit.Notified; got != 0 {
			t.Errorf("notified %d times", got)
		}
	})
	t.Run("waits as long as Retry-After says", func(t *testing.T) {
		b := setup(t, Order{OutOrderNo: "A1"})
		r := receive(t, b.sim.Merchant(), answerInTurn(503, 204))
		b.notify(Notifications{URL: r.url, Retry: []Duration{Duration(100 * time.Millisecond)}})
		b.collect("A1")
		b.settled(1)
		if got := r.all(); got[1].at.Sub(got[0].at) < 100*time.Millisecond {
			t.Errorf("the second came %v after the first", got[1].at.Sub(got[0].at))
		}
	})
	t.Run("follows an answer that does not come in time", func(t *testing.T) {
		b := setup(t, Order{OutOrderNo: "A1"})
		r := receive(t, b.sim.Merchant(), func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() })
		b.notify(Notifications{URL: r.url, Timeout: Duration(50 * time.Millisecond), Retry: []Duration{0}})
		b.collect("A1")
		if report := b.settled(1); report.ByStatus[0] != 2 || report.GaveUp != 1 {
			t.Errorf("the report says %+v", report)
		}
	})
	t.Run("follows a receiver that is not there", func(t *testing.T) {
		b := setup(t, Order{OutOrderNo: "A1"})
		b.notify(Notifications{URL: "http://127.0.0.1:1/notify", Retry: []Duration{0}})
		b.collect("A1")
		if report := b.settled(1); report.ByStatus[0] != 2 || report.GaveUp != 1 {
			t.Errorf("the report says %+v", report)
		}
	})
	t.Run("is not at another address", func(t *testing.T) {
		b := setup(t, Order{OutOrderNo: "A1"})
		elsewhere := receive(t, b.sim.Merchant(), nil)
		r := receive(t, b.sim.Merchant(), func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, elsewhere.url, http.StatusTemporaryRedirect)
		})
		b.notify(Notifications{URL: r.url, Retry: []Duration{}})
		b.collect("A1")
		if report := b.settled(1); report.ByStatus[307] != 1 || report.GaveUp != 1 || len(elsewhere.all()) != 0 {
			t.Errorf("the report says %+v, and elsewhere got %d", report, len(elsewhere.all()))
		}
	})
	t.Run("does not wait for the end of an endless answer", func(t *testing.T) {
		b := setup(t, Order{OutOrderNo: "A1"})
		r := receive(t, b.sim.Merchant(), func(w http.ResponseWriter, _ *http.Request) {
			for chunk := make([]byte, 32<<10); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		})
		b.notify(Notifications{URL: r.url})
		b.collect("A1")
		if report := b.settled(1); report.Taken != 1 {
			t.Errorf("the report says %+v", report)
		}
	})
}

func TestNotifications_Lose(t *testing.T) {
	b := setup(t, Order{OutOrderNo: "A1"})
	r := receive(t, b.sim.Merchant(), nil)
	b.notify(Notifications{URL: r.url, Lose: 1})
	b.collect("A1")
	if report := b.settled(1); report.Lost != 1 || report.Deliveries != 0 || len(r.all()) != 0 {
		t.Errorf("the report says %+v, and %d came", report, len(r.all()))
	}
}

func TestNotifications_Duplicate(t *testing.T) {
	t.Run("though the first was taken", func(t *testing.T) {
		b := setup(t, Order{OutOrderNo: "A1"})
		r := receive(t, b.sim.Merchant(), nil)
		b.notify(Notifications{URL: r.url, Duplicate: 1})
		b.collect("A1")
		report := b.settled(1)
		got := r.all()
		if report.Deliveries != 2 || report.Taken != 2 || report.Duplicates != 1 || got[0].event.ID != got[1].event.ID ||
			got[0].header.Get("Wechatpay-Nonce") == got[1].header.Get("Wechatpay-Nonce") {
			t.Errorf("the report says %+v, and the events are %s and %s", report, got[0].event.ID, got[1].event.ID)
		}
		if got := b.truth("A1").Audit.Notified; got != 2 {
			t.Errorf("notified %d times", got)
		}
	})
	t.Run("is not insisted on", func(t *testing.T) {
		b := setup(t, Order{OutOrderNo: "A1"})
		r := receive(t, b.sim.Merchant(), answerInTurn(500, 200, 500))
		b.notify(Notifications{URL: r.url, Duplicate: 1, Retry: []Duration{0}})
		b.collect("A1")
		if report := b.settled(1); report.Deliveries != 3 || report.Duplicates != 1 || report.GaveUp != 0 {
			t.Errorf("the report says %+v", report)
		}
	})
}

func TestNotifications_Delay(t *testing.T) {
	t.Run("before the first delivery, and longer where it is late", func(t *testing.T) {
		for name, n := range map[string]Notifications{
			"delay": {Delay: Duration(100 * time.Millisecond)}, "late": {Late: 1, LateBy: Duration(100 * time.Millisecond)},
		} {
			b := setup(t, Order{OutOrderNo: "A1"})
			r := receive(t, b.sim.Merchant(), nil)
			n.URL = r.url
			b.notify(n)
			start := time.Now()
			b.collect("A1")
			b.settled(1)
			if took := r.all()[0].at.Sub(start); took < 100*time.Millisecond {
				t.Errorf("%s: it came after %v", name, took)
			}
		}
	})
	t.Run("with jitter puts them out of order", func(t *testing.T) {
		b := setup(t)
		r := receive(t, b.sim.Merchant(), nil)
		b.notify(Notifications{URL: r.url, DelayJitter: Duration(200 * time.Millisecond)})
		var nos []string
		for i := range 20 {
			nos = append(nos, fmt.Sprint("A", i))
			if err := b.sim.AddOrders(Order{OutOrderNo: nos[i]}); err != nil {
				t.Fatal(err)
			}
			b.collect(nos[i])
		}
		b.settled(20)
		var came []string
		for _, got := range r.all() {
			came = append(came, got.entity.OutOrderNo)
		}
		if slices.Equal(nos, came) {
			t.Error("they came in the order of the payments")
		}
		slices.Sort(nos)
		slices.Sort(came)
		if !slices.Equal(nos, came) {
			t.Errorf("got %v", came)
		}
	})
}

func TestNotifications_SignTest(t *testing.T) {
	b := setup(t, Order{OutOrderNo: "A1"})
	verifies := func(w http.ResponseWriter, req *http.Request) {
		if strings.HasPrefix(req.Header.Get("Wechatpay-Signature"), "WECHATPAY/SIGNTEST/") {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}
	r := receive(t, b.sim.Merchant(), verifies)
	b.notify(Notifications{URL: r.url, SignTest: 1})
	b.collect("A1")
	report := b.settled(1)
	got := r.all()
	if len(got) != 2 || !isSignTest(got[0]) || got[0].err == nil || isSignTest(got[1]) || got[1].err != nil {
		t.Fatalf("got %d requests: %+v", len(got), got)
	}
	want := NotificationReport{Events: 1, Deliveries: 1, Taken: 1, SignTests: 1, ByStatus: map[int]int64{200: 1}}
	if diff := cmp.Diff(want, report); diff != "" {
		t.Errorf("the report differs (-want +got):\n%s", diff)
	}
	t.Run("tells of a merchant who does not verify", func(t *testing.T) {
		b := setup(t, Order{OutOrderNo: "A1"})
		r := receive(t, b.sim.Merchant(), nil)
		b.notify(Notifications{URL: r.url, SignTest: 1})
		b.collect("A1")
		if report := b.settled(1); report.SignTests != 1 || report.SignTestsTaken != 1 || report.Taken != 1 || b.truth("A1").Audit.Notified != 1 {
			t.Errorf("the report says %+v", report)
		}
	})
}

func TestNotifications_OtherEvents(t *testing.T) {
	var orders []Order
	for i := range 20 {
		orders = append(orders, Order{OutOrderNo: fmt.Sprint("A", i), Fate: FateNever})
	}
	b := setup(t, orders...)
	r := receive(t, b.sim.Merchant(), answerInTurn(500, 204)) // one of them is refused once, and sent again
	b.notify(Notifications{URL: r.url, OtherEvents: 1, Retry: []Duration{0}})
	for _, o := range orders {
		b.sync(o.OutOrderNo)
	}
	report := b.settled(20)
	if report.OtherEvents != 20 || report.Taken != 40 || report.Refused != 1 || report.GaveUp != 0 {
		t.Errorf("the report says %+v", report)
	}
	types, before := map[string]int{}, 0
	paid := map[string]bool{}
	for _, got := range r.all() {
		types[got.event.EventType]++
		switch got.event.EventType {
		case EventUserPaid:
			paid[got.entity.OutOrderNo] = true
		case EventUserConfirm:
			if got.entity.StateDescription != DescriptionUserConfirm || got.entity.Collection != nil || got.entity.TotalAmount != 0 {
				t.Errorf("at the confirmation: %+v", got.entity)
			}
			if !paid[got.entity.OutOrderNo] {
				before++
			}
		case EventRefundSuccess:
			if got.event.Resource.OriginalType != "refund" || !strings.Contains(got.event.Resource.Plaintext, `"refund_status":"SUCCESS"`) {
				t.Errorf("a refund: %s", got.event.Resource.Plaintext)
			}
		}
	}
	if types[EventUserPaid] < 20 || types[EventUserConfirm] == 0 || types[EventRefundSuccess] == 0 || before == 0 {
		t.Errorf("got %v, %d of them before the payment", types, before)
	}
	for _, o := range b.sim.Report().Orders {
		if o.Notified != 1 {
			t.Errorf("%s was notified %d times; other events do not count", o.OutOrderNo, o.Notified)
		}
	}
}

// The same seed loses the same notifications, in whatever order orders are paid.
func TestNotifications_Reproducible(t *testing.T) {
	var nos []string
	for i := range 30 {
		nos = append(nos, fmt.Sprint("A", i))
	}
	run := func(seed uint64, nos []string) []string {
		b := setup(t)
		r := receive(t, b.sim.Merchant(), nil)
		b.fail(Faults{Seed: &seed})
		b.notify(Notifications{URL: r.url, Lose: 0.5})
		for _, no := range nos {
			if err := b.sim.AddOrders(Order{OutOrderNo: no}); err != nil {
				t.Fatal(err)
			}
			b.collect(no)
		}
		b.settled(int64(len(nos)))
		var came []string
		for _, got := range r.all() {
			came = append(came, got.entity.OutOrderNo)
		}
		slices.Sort(came)
		return came
	}
	first := run(7, nos)
	backwards := slices.Clone(nos)
	slices.Reverse(backwards)
	if again := run(7, backwards); !slices.Equal(first, again) {
		t.Errorf("the same seed brought\n%v\nand then\n%v", first, again)
	}
	if other := run(8, nos); slices.Equal(first, other) {
		t.Error("another seed brought the same")
	}
}

// Shares are what they say, and no two uses go together.
func TestMailing_DrawUniform(t *testing.T) {
	const n = 20000
	count := map[string]int{}
	for i := range n {
		m := mailing{event: event{kind: EventUserPaid}, order: &order{no: fmt.Sprint("A", i)}, payment: 1, seed: 1}
		lost, late := m.draw("lose", 0) < 0.3, m.draw("late", 0) < 0.5
		count[fmt.Sprint(lost, late)]++
	}
	for both, share := range map[string]float64{"true true": 0.15, "true false": 0.15, "false true": 0.35, "false false": 0.35} {
		if got := float64(count[both]) / n; math.Abs(got-share) > 0.02 {
			t.Errorf("lost and late are %s in %.3f of them, want %.2f", both, got, share)
		}
	}
}

func TestNotifications_Validate(t *testing.T) {
	tests := map[string]struct {
		n    Notifications
		want string
	}{
		"a share above 1":     {Notifications{Lose: 1.1}, "lose is 1.1"},
		"a share below 0":     {Notifications{Duplicate: -0.1}, "duplicate is -0.1"},
		"no number":           {Notifications{OtherEvents: math.NaN()}, "other_events is NaN"},
		"a negative delay":    {Notifications{Delay: -1}, "delay is -1ns"},
		"a negative time-out": {Notifications{Timeout: -1}, "timeout is -1ns"},
		"a negative retry":    {Notifications{Retry: []Duration{0, -1}}, "retry 2 is -1ns"},
		"an unknown serial":   {Notifications{Serial: "cert"}, `serial "cert" is not known`},
		"no URL":              {Notifications{URL: "merchant/notify"}, "url must be http:// or https://"},
		"no host":             {Notifications{URL: "http://:80/notify"}, "url must be http:// or https://"},
		"another scheme":      {Notifications{URL: "ftp://merchant/notify"}, "url must be http:// or https://"},
		"nothing readable":    {Notifications{URL: "http://a b:s3cret@h/"}, "url cannot be read"},
		"a password":          {Notifications{URL: "http://u:s3cret@h/"}, "url must hold nothing that is secret"},
		"a query":             {Notifications{URL: "http://h/?k=s3cret"}, "url must hold nothing that is secret"},
		"a fragment":          {Notifications{URL: "http://h/#s3cret"}, "url must hold nothing that is secret"},
	}
	b := setup(t)
	b.notify(Notifications{Lose: 0.5})
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := b.sim.SetNotifications(tt.n)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("got %v, want an error that says %q and no secret", err, tt.want)
			}
			if b.sim.Notifications().Lose != 0.5 {
				t.Error("refused settings replaced those in force")
			}
		})
	}
	t.Run("all shares at 1", func(t *testing.T) {
		b.notify(Notifications{URL: "https://merchant.example/notify", Lose: 1, Duplicate: 1, Late: 1, SignTest: 1, OtherEvents: 1})
	})
}

func TestControl_Notifications(t *testing.T) {
	b := setup(t)
	const all = `{"url":"http://127.0.0.1:8080/notify","serial":"certificate","delay":"20ms","delay_jitter":"1.5s","lose":0.1,"duplicate":0.2,` +
		`"late":0.3,"late_by":"1m0s","sign_test":0.4,"other_events":0.5,"timeout":"2s","retry":["1s","2s"]}`
	const defaults = `{"url":"","serial":"public_key","delay":"0s","delay_jitter":"0s","lose":0,"duplicate":0,` +
		`"late":0,"late_by":"5s","sign_test":0,"other_events":0,"timeout":"5s","retry":["15s","15s","30s","3m0s"]}`
	if status, body := b.control(http.MethodPut, "/_sim/notifications", all); status != 200 || body != all {
		t.Errorf("put: %d %s, want 200 and the same back", status, body)
	}
	if _, got := b.control(http.MethodGet, "/_sim/notifications", ""); got != all {
		t.Errorf("get: %s", got)
	}
	for name, tt := range map[string]struct{ body, want string }{
		"an unknown field":        {`{"looses":0.1}`, `notifications: field "looses" is not known`},
		"a duration without unit": {`{"delay":"20"}`, `"20" is not a duration`},
		"a retry that is none":    {`{"retry":["1s","soon"]}`, `"soon" is not a duration`},
		"a wrong type":            {`{"retry":"1s"}`, "retry must not be a JSON string"},
		"a share above 1":         {`{"lose":2}`, "notifications: lose is 2; a share must be from 0 to 1"},
		"a URL that is none":      {`{"url":"merchant"}`, "notifications: url must be http"},
		"two values":              {`{} {}`, "behind the end"},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := b.control(http.MethodPut, "/_sim/notifications", tt.body)
			var e struct{ Error string }
			if err := json.Unmarshal([]byte(body), &e); err != nil || status != 400 || !strings.Contains(e.Error, tt.want) {
				t.Errorf("got %d %s, want 400 with %s", status, body, tt.want)
			}
		})
	}
	if status, body := b.control(http.MethodPut, "/_sim/notifications", `{}`); status != 200 || body != defaults {
		t.Errorf("an empty object must bring back the defaults: %d %s", status, body)
	}
	if status, body := b.control(http.MethodPut, "/_sim/notifications", `{"retry":[]}`); status != 200 || !strings.Contains(body, `"retry":[]`) {
		t.Errorf("no retry: %d %s", status, body)
	}
	if status, body := b.control(http.MethodPost, "/_sim/orders", `[{"out_order_no":"A1","notify_url":"merchant"}]`); status != 400 || !strings.Contains(body, `order \"A1\": notify_url must be http`) {
		t.Errorf("a bad notify_url: %d %s", status, body)
	}
	if status, body := b.control(http.MethodPost, "/_sim/orders", `[{"out_order_no":"A1","notify_url":"http://h/n"}]`); status != 201 {
		t.Errorf("a good notify_url: %d %s", status, body)
	}
	if _, body := b.control(http.MethodGet, "/_sim/report", ""); !strings.Contains(body, `"notifications":{"events":0,"other_events":0,"pending":0,"deliveries":0,"taken":0,"refused":0,"lost":0,"gave_up":0,"sign_tests":0,"sign_tests_taken":0,"duplicates":0,"by_status":{}}`) ||
		!strings.Contains(body, `"notified":0`) {
		t.Errorf("the report: %s", body)
	}
}
