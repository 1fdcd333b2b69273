package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"payscore-collector/internal/queue"
	"payscore-collector/internal/simulator"
	"payscore-collector/tasks"
)

// billing is what the billing system does meanwhile, and what it was told.
type billing struct {
	mu        sync.Mutex
	accepted  []string             // order numbers, in the order in which they went in
	handed    map[string]time.Time // by number: when billing was told that they are in
	withdrawn map[string]time.Time // by number: when billing was told that they are
	synced    map[string]bool      // withdrawn with a time of payment
	forgotten map[string]time.Time // when an order was accepted again: the ledger had forgotten it
	reopened  map[string]bool      // when it had been withdrawn
	collected map[string]time.Time // when a withdrawal was repeated in vain: the ledger had forgotten it, and the order had ended

	// Notifications that lie, each with what is wrong with it.
	forgeriesTaken   []string
	forgeriesRefused int
}

// recent draws an order that was handed over, mostly a new one: those are being
// worked on. It is "" where there is none yet.
func (b *billing) recent(r *rand.Rand) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.accepted)
	if n == 0 {
		return ""
	}
	return b.accepted[n-1-min(n-1, int(r.ExpFloat64()*float64(1+n/10)))]
}

// plan is what becomes of one order, drawn before the run.
type plan struct {
	order    simulator.Order
	at       time.Duration // when it is handed over
	withdraw time.Duration // so long after that it is withdrawn; 0: never
	sync     bool          // and WeChat Pay is told
	reopen   time.Duration // so long after its withdrawal that it is opened again; 0: never
}

// plans draws all orders of a run.
func plans(f form, r *rand.Rand) []plan {
	out := make([]plan, f.orders)
	fate := drawFate
	if f.fate != nil {
		fate = f.fate
	}
	for i := range out {
		p := plan{at: f.feedFor * time.Duration(i) / time.Duration(f.orders)}
		p.order = simulator.Order{OutOrderNo: fmt.Sprintf("CHAOS-%06d", i), Fate: fate(r)}
		switch n := r.IntN(100); {
		case n < 2:
			p.order.Replies = drawLies(r)
		case n < 6:
			p.withdraw = time.Duration(r.Int64N(int64(f.confirm[len(f.confirm)-1] + 3*time.Second)))
			if p.sync = r.IntN(2) == 0; !p.sync && f.reopens && r.IntN(2) == 0 {
				p.reopen = time.Duration(r.Int64N(int64(2 * time.Second)))
			}
		}
		out[i] = p
	}
	return out
}

func drawFate(r *rand.Rand) simulator.Fate {
	switch n := r.IntN(1000); {
	case n < 540:
		return simulator.FatePays
	case n < 640:
		return drawParts(r)
	case n < 740:
		return simulator.FateDeclines(1)
	case n < 780:
		return simulator.FateDeclines(2)
	case n < 840:
		return simulator.FateUserPaying(time.Duration(200+r.IntN(1800)) * time.Millisecond)
	case n < 880:
		return simulator.FateUserPays(time.Duration(500+r.IntN(4000)) * time.Millisecond)
	case n < 905:
		return drawParts(r)
	case n < 925:
		return simulator.FateRevoked
	case n < 940:
		return simulator.FateExpired
	case n < 955:
		return simulator.FateNotCompleted
	case n < 965:
		return simulator.FateCreated
	case n < 980:
		return simulator.FateUnknown
	case n < 990:
		return simulator.FateNothingOwed
	}
	return simulator.FateNever
}

// drawLies are words that must not be believed: forged payments, signed and
// unsigned, and errors that say that all is done.
func drawLies(r *rand.Rand) []simulator.ScriptedReply {
	lies := []simulator.ScriptedReply{
		{Call: simulator.CallQuery, Kind: simulator.KindOKUnsigned, Times: 2},
		{Call: simulator.CallQuery, Kind: simulator.KindOKWrongSignature, Times: 2},
		{Call: simulator.CallCollect, Kind: simulator.KindOKUnsigned},
		{Call: simulator.CallAny, Kind: simulator.KindOKWrongSignature, Times: 2},
		{Call: simulator.CallCollect, Kind: simulator.KindUnsignedError, HTTP: 400, Code: "ORDER_DONE", DetailCode: "271316657"},
		{Call: simulator.CallCollect, Kind: simulator.KindError, HTTP: 400, Code: "ORDER_CANCELED", DetailCode: "271302333"},
		{Call: simulator.CallCollect, Kind: simulator.KindBody, Body: `{"trade_state":"USERPAYING"}`},
		{Call: simulator.CallCollect, Kind: simulator.KindTruncated},
	}
	return []simulator.ScriptedReply{lies[r.IntN(len(lies))]}
}

// bill hands all orders over, and does meanwhile what billing systems do: the
// same orders again, tasks that nobody asked for, withdrawals. Others send the
// workers forged notifications.
func (w *world) bill(ctx context.Context) {
	w.billing.handed, w.billing.withdrawn, w.billing.synced = map[string]time.Time{}, map[string]time.Time{}, map[string]bool{}
	w.billing.forgotten, w.billing.collected, w.billing.reopened = map[string]time.Time{}, map[string]time.Time{}, map[string]bool{}
	ctx, done := context.WithCancel(ctx)
	var others sync.WaitGroup
	others.Go(func() { w.repeat(ctx) })
	others.Go(func() { w.forge(ctx) })
	due := make(chan plan, w.form.orders)
	others.Go(func() { w.withdraw(due) })
	all := plans(w.form, w.random("plans"))
	for len(all) > 0 {
		n, _ := slices.BinarySearchFunc(all, time.Since(w.started), func(p plan, age time.Duration) int {
			if p.at <= age {
				return -1
			}
			return 1
		})
		batch := all[:min(n, 500)]
		all = all[len(batch):]
		w.handOver(batch)
		for _, p := range batch {
			if p.withdraw > 0 {
				due <- p
			}
		}
		if n == len(batch) {
			<-time.After(50 * time.Millisecond)
		}
	}
	close(due)
	if left := w.form.attack - time.Since(w.started); left > 0 {
		<-time.After(left)
	}
	done()
	others.Wait()
}

// handOver gives the platform new orders, and hands them over until each is
// known to be in: where Redis failed, an order may be in or not, and the same
// again is what docs/operations.md asks for.
func (w *world) handOver(batch []plan) {
	if len(batch) == 0 {
		return
	}
	add := make([]simulator.Order, len(batch))
	left := make([]tasks.Order, len(batch))
	for i, p := range batch {
		add[i], left[i] = p.order, w.order(p.order.OutOrderNo)
	}
	if err := w.sim.AddOrders(add...); err != nil {
		w.book.say("the simulator refuses orders: %v", err)
		return
	}
	for deadline := time.Now().Add(2 * time.Minute); len(left) > 0; {
		if time.Now().After(deadline) {
			w.book.say("%d orders could not be handed over for two minutes", len(left))
			return
		}
		var again []tasks.Order
		var in []string
		for o, res := range w.producer.EnqueueAll(context.Background(), slices.Values(left)) {
			switch res.Status {
			case tasks.Accepted, tasks.Duplicate, tasks.Ended:
				in = append(in, o.OutOrderNo) // ended: an enqueue whose answer was lost, long ago
			default:
				again = append(again, o)
			}
		}
		w.billing.mu.Lock()
		w.billing.accepted = append(w.billing.accepted, in...)
		for _, no := range in {
			w.billing.handed[no] = time.Now()
		}
		w.billing.mu.Unlock()
		if left = again; len(left) > 0 {
			<-time.After(100 * time.Millisecond)
		}
	}
}

func (w *world) order(no string) tasks.Order {
	m := w.sim.Merchant()
	return tasks.Order{Payload: tasks.Payload{MchID: m.MchID, OutOrderNo: no, AppID: m.AppID, ServiceID: m.ServiceID}}
}

// repeat hands orders over again, and puts tasks into the queue that nobody
// asked for: of rounds that are over or yet to come, and of some other asynq
// client that knows nothing of rounds.
func (w *world) repeat(ctx context.Context) {
	r := w.random("repeat")
	foreign := asynq.NewClientFromRedisClient(w.rdb)
	every := max(w.form.repeatEvery, time.Millisecond)
	for ctx.Err() == nil {
		<-time.After(every)
		no := w.billing.recent(r)
		if no == "" {
			continue
		}
		o := w.order(no)
		kind := r.IntN(3)
		if w.form.foreignOnly {
			kind = 1
		}
		switch kind {
		case 0:
			_ = queue.New(w.rdb).Push(ctx, queue.Task{Type: queue.TypeCollect, MchID: o.MchID, OutOrderNo: o.OutOrderNo, Round: r.Int64N(4), Payload: o.Payload})
			continue
		case 1:
			if body, err := o.Encode(); err == nil {
				_, _ = foreign.EnqueueContext(ctx, asynq.NewTask(tasks.TypeCollect, body), asynq.Queue(tasks.QueueName(o.MchID)))
			}
			continue
		}
		if res, err := w.producer.Enqueue(ctx, o); err == nil && res.Status == tasks.Accepted {
			w.billing.forgot(no)
		}
	}
}

// withdraw withdraws orders when their time has come; the channel has them by
// when they were handed over.
func (w *world) withdraw(due <-chan plan) {
	var all sync.WaitGroup
	for p := range due {
		all.Go(func() {
			<-time.After(p.withdraw)
			wd := tasks.Withdrawal{MchID: w.sim.Merchant().MchID, OutOrderNo: p.order.OutOrderNo, Reason: "paid elsewhere"}
			if p.sync {
				wd.PaidAt = time.Now().Add(-time.Minute)
			}
			w.insist("withdraw an order", func(ctx context.Context) error {
				res, err := w.producer.Withdraw(ctx, wd)
				if err == nil && (res.Status == tasks.Accepted || res.Status == tasks.Duplicate) {
					w.billing.mu.Lock()
					w.billing.withdrawn[wd.OutOrderNo] = time.Now()
					w.billing.synced[wd.OutOrderNo] = p.sync
					w.billing.mu.Unlock()
				}
				return err
			})
			if p.reopen > 0 {
				<-time.After(p.reopen)
				w.reopen(p.order.OutOrderNo)
			}
		})
	}
	all.Wait()
}

// reopen opens an order again that was withdrawn.
func (w *world) reopen(no string) {
	w.billing.mu.Lock()
	_, withdrawn := w.billing.withdrawn[no]
	w.billing.mu.Unlock()
	if !withdrawn {
		return // it had ended before
	}
	o := w.order(no)
	o.Reopen = true
	w.insist("reopen an order", func(ctx context.Context) error {
		res, err := w.producer.Enqueue(ctx, o)
		if err == nil && (res.Status == tasks.Accepted || res.Status == tasks.Duplicate) {
			w.billing.mu.Lock()
			delete(w.billing.withdrawn, no)
			w.billing.reopened[no] = true
			w.billing.mu.Unlock()
		}
		return err
	})
}
