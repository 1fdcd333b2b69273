package ledger_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// book is a receiver that follows the rule of docs/events.md: book each payment
// once, under its transaction_id, and one without under its order and seq. Which
// type an event has, and how often it comes, does not matter.
type book map[string]int64

func (b book) take(e ledger.Event) {
	for _, p := range e.Payments {
		if key := paymentKey(e.OutOrderNo, p); b[key] == 0 {
			b[key] = p.Amount
		}
	}
}

func paymentKey(no string, p ledger.Payment) string {
	if p.TransactionID != "" {
		return p.TransactionID
	}
	return fmt.Sprintf("%s/%s/%d", mchid, no, p.Seq)
}

// platform is WeChat Pay's side of one order, and all that may befall it.
type platform struct {
	t        *rapid.T
	l        *ledger.Ledger
	producer *tasks.Producer
	redis    *redistest.Server
	mchid    string

	total   int64
	list    []ledger.Payment
	notices []ledger.Notice // that were sent, in their order
	done    bool
	steps   []underway
}

// underway is a step whose reply is there and whose settlement is not.
type underway struct {
	ledger.Claim
	facts ledger.Facts
}

const bookedNo = "A"

func (p *platform) paid() (sum int64) {
	for _, x := range p.list {
		sum += x.Amount
	}
	return sum
}

func (p *platform) facts() ledger.Facts {
	f := said(p.total, slices.Clone(p.list)...)
	f.Done, f.Known = p.done, true
	return f
}

// changed ends the order where nothing is left to pay, and notifies.
func (p *platform) changed(payment bool) {
	p.done = p.done || p.paid() == p.total
	if payment || p.done {
		n := paidNotice(bookedNo)
		n.ID, n.Paid, n.Facts = fmt.Sprint("EV-", len(p.notices)), p.done, p.facts()
		p.notices = append(p.notices, n)
	}
}

func (p *platform) owed() int64 {
	if p.done {
		p.t.Skip("nothing is owed")
	}
	return p.total - p.paid()
}

func (p *platform) Pay(t *rapid.T) {
	p.t = t
	amount := rapid.Int64Range(1, p.owed()).Draw(t, "amount")
	if rapid.Bool().Draw(t, "all of it") {
		amount = p.owed()
	}
	seq := int64(len(p.list) + 1)
	p.list = append(p.list, through(seq, amount, fmt.Sprint("T", seq)))
	p.changed(true)
}

func (p *platform) PayElsewhere(t *rapid.T) {
	p.t = t
	p.list = append(p.list, elsewhere(int64(len(p.list)+1), p.owed()))
	p.changed(true)
}

func (p *platform) Lower(t *rapid.T) {
	p.t = t
	by := rapid.Int64Range(0, p.owed()).Draw(t, "by")
	if by == p.total {
		t.Skip("an order of nothing")
	}
	p.total -= by
	p.changed(false)
}

// watch runs what brings a message to the ledger, and sees that a payment through
// PayScore is reported as late exactly where it was not known and the order had ended
// otherwise, and that amounts which agree are no alarm.
func (p *platform) watch(t *rapid.T, message func() []ledger.News) {
	t.Helper()
	before, err := p.l.Get(context.Background(), bookedNo)
	if err != nil {
		t.Fatal(err)
	}
	news := message()
	after, err := p.l.Get(context.Background(), bookedNo)
	if err != nil {
		t.Fatal(err)
	}
	late := false
	for _, x := range after.Payments {
		known := slices.ContainsFunc(before.Payments, func(k ledger.Payment) bool { return k.TransactionID == x.TransactionID })
		mine := x.PaidType == "NEWTON" || before.State != tasks.Withdrawn
		late = late || !known && mine && !before.State.Open() && before.State != tasks.Paid
	}
	if got := slices.Contains(news, ledger.Late); got != late {
		t.Fatalf("told as late: %t, want %t\nbefore %+v\nafter %+v", got, late, before.Payments, after.Payments)
	}
	if slices.Contains(news, ledger.Differs) || after.AmountDiffers != nil {
		t.Fatalf("amounts that agree are an alarm: %+v", after.AmountDiffers)
	}
	if late && after.LatePaymentAt.IsZero() {
		t.Fatalf("%+v", after)
	}
}

// Notify brings any notification that was sent, whether it came before or not.
func (p *platform) Notify(t *rapid.T) {
	if len(p.notices) == 0 {
		t.Skip("no such order or claim")
	}
	n := rapid.SampledFrom(p.notices).Draw(t, "notification")
	p.notify(t, n)
}

func (p *platform) notify(t *rapid.T, n ledger.Notice) {
	t.Helper()
	lost := rapid.Bool().Draw(t, "the answer is lost")
	p.watch(t, func() []ledger.News {
		code, news, err := p.l.Notice(context.Background(), n)
		if err != nil {
			t.Fatal(err)
		}
		if lost {
			again, told, err := p.l.Notice(context.Background(), n)
			if want := answer(code, news); err != nil || answer(again, told) != want && len(news) > 0 {
				t.Fatalf("repeating %s answers %s, %v", want, answer(again, told), err)
			}
		}
		if err := p.l.NoticeTold(context.Background(), n); err != nil {
			t.Fatal(err)
		}
		return news
	})
}

// Query claims the order and asks for it.
func (p *platform) Query(t *rapid.T) {
	ctx := context.Background()
	for _, no := range p.redis.Client.ZRange(ctx, ledger.KeysOf(p.mchid).Due(), 0, -1).Val() {
		p.redis.Client.HSet(ctx, ledger.KeysOf(p.mchid).Order(no), "due", 1)
	}
	c, err := p.l.Claim(ctx, bookedNo, ledger.NewToken(), ledger.NoRound, limits())
	if err != nil {
		t.Fatal(err)
	}
	if c.Code == ledger.Granted {
		p.steps = append(p.steps, underway{c, p.facts()})
	}
}

// Settle settles any step that is under way, or was.
func (p *platform) Settle(t *rapid.T) {
	if len(p.steps) == 0 {
		t.Skip("no such order or claim")
	}
	p.settle(t, rapid.SampledFrom(p.steps).Draw(t, "step"))
}

func (p *platform) settle(t *rapid.T, s underway) {
	t.Helper()
	set := shows(s.Claim, s.facts)
	if s.Order.Sync {
		set.State, set.Sync = tasks.Withdrawn, ledger.SyncPending
		if s.facts.Done {
			set.Sync = ledger.SyncDone
		}
	} else if !s.facts.Done && rapid.IntRange(0, 4).Draw(t, "given up") == 0 {
		set.State = tasks.Exhausted
	}
	if !set.Open() {
		set.Next, set.Due = "", time.Time{}
	}
	again := rapid.Bool().Draw(t, "the answer is lost")
	first := true
	p.watch(t, func() []ledger.News {
		res, err := p.l.Settle(context.Background(), s.Claim, set)
		if err != nil {
			t.Fatal(err)
		}
		first = res.Code != ledger.Repeat
		if again && res.Code != ledger.Lost {
			if r, err := p.l.Settle(context.Background(), s.Claim, set); err != nil || !slices.Equal(r.News, res.News) {
				t.Fatalf("repeating %+v answers %+v, %v", res, r, err)
			}
		}
		if !first {
			return nil // the first one has reported it
		}
		return res.News
	})
}

func (p *platform) Expire(t *rapid.T) {
	p.redis.Client.HSet(context.Background(), ledger.KeysOf(p.mchid).Order(bookedNo), "lease", 1)
	p.redis.Client.ZAddXX(context.Background(), ledger.KeysOf(p.mchid).Due(), zAt(1, bookedNo))
	if _, err := p.l.Sweep(context.Background(), ledger.SweepArgs{Limit: 10, Closed: 10, Grace: time.Hour}); err != nil {
		t.Fatal(err)
	}
}

func (p *platform) Withdraw(t *rapid.T) {
	w := tasks.Withdrawal{MchID: p.mchid, OutOrderNo: bookedNo, Reason: "waived"}
	if rapid.Bool().Draw(t, "paid elsewhere") {
		w.PaidAt = paidInCash
	}
	if _, err := p.producer.Withdraw(context.Background(), w); err != nil {
		t.Fatal(err)
	}
}

func (p *platform) Reopen(t *rapid.T) {
	o := tasks.Order{Payload: payload(bookedNo), Reopen: true}
	o.MchID = p.mchid
	if rapid.Bool().Draw(t, "later") {
		o.At = time.Now().Add(time.Hour)
	}
	if _, err := p.producer.Enqueue(context.Background(), o); err != nil {
		t.Fatal(err)
	}
}

// Whatever befalls an order (payments in parts and elsewhere, lowered totals,
// withdrawals, reopenings, messages that come late, twice or never, lost answers,
// lost leases), a receiver that follows the rule books the platform's own list, to
// the fen, and the ledger's sums are the platform's.
func TestBookingFromEvents(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	run, lates := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		ctx := context.Background()
		p := &platform{t: t, redis: srv, mchid: fmt.Sprintf("18%08d", run), producer: tasks.NewProducer(srv.Client), total: 1000}
		p.l = ledger.New(srv.Client, p.mchid)
		o := tasks.Order{Payload: payload(bookedNo)}
		o.MchID = p.mchid
		if _, err := p.producer.Enqueue(ctx, o); err != nil {
			t.Fatal(err)
		}
		t.Repeat(map[string]func(*rapid.T){
			"pay": p.Pay, "pay elsewhere": p.PayElsewhere, "lower": p.Lower, "notify": p.Notify,
			"query": p.Query, "settle": p.Settle, "expire": p.Expire, "withdraw": p.Withdraw, "reopen": p.Reopen,
		})
		// WeChat Pay's last word comes in the end, by the one way or the other.
		for _, s := range p.steps {
			p.settle(t, s)
		}
		if len(p.notices) > 0 {
			p.notify(t, p.notices[len(p.notices)-1])
		}

		all, ends := book{}, book{}
		state := tasks.State("")
		for _, x := range srv.Client.XRange(ctx, ledger.KeysOf(p.mchid).Outcomes(), "-", "+").Val() {
			e, err := ledger.DecodeEvent(p.mchid, x.ID, x.Values)
			if err != nil {
				t.Fatal(err)
			}
			all.take(e)
			if e.End() {
				ends.take(e)
			}
			state = e.State
			if e.Type == "order.paid" && e.State != tasks.Paid {
				lates++
			}
		}
		want, wantEnds := book{}, book{}
		for _, x := range p.list {
			want[paymentKey(bookedNo, x)] = x.Amount
			// Webhooks carry the ends alone. They are silent while an order is open,
			// and where WeChat Pay repeats what billing has said itself.
			if !state.Open() && (x.PaidType == "NEWTON" || state != tasks.Withdrawn) {
				wantEnds[paymentKey(bookedNo, x)] = x.Amount
			}
		}
		if diff := gocmp.Diff(want, all); diff != "" {
			t.Fatalf("(-platform +booked)\n%s", diff)
		}
		for key, amount := range wantEnds {
			if ends[key] != amount {
				t.Fatalf("by the ends alone %v is booked, and the platform has %v", ends, wantEnds)
			}
		}
		rec, err := p.l.Get(ctx, bookedNo)
		if err != nil {
			t.Fatal(err)
		}
		byOrder := func(a, b ledger.Payment) int { return cmp.Compare(a.Seq, b.Seq) }
		if diff := gocmp.Diff(slices.SortedFunc(slices.Values(p.list), byOrder), rec.Payments); diff != "" || value(rec.PaidAmount) != p.paid() {
			t.Fatalf("(-platform +record)\n%s%+v", diff, rec)
		}
		st, err := p.l.Stats(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if sum := map[bool]int64{true: p.paid()}[rec.State == tasks.Paid]; st.PaidAmount != sum {
			t.Fatalf("counted %d, paid %d", st.PaidAmount, sum)
		}
	})
	if lates == 0 {
		t.Error("no order was paid after another end: the test shows too little")
	}
}
