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

// billing is what the billing system does meanwhile, and the answers that it got.
type billing struct {
	mu        sync.Mutex
	accepted  []string               // order numbers, in the order in which they went in
	enqueued  map[string]time.Time   // by number: when the ledger accepted them
	withdrawn map[string]time.Time   // by number: when the ledger accepted that
	synced    map[string]bool        // withdrawn with a time of payment
	paidAt    map[string][]time.Time // the times of payment that billing gave
	forgotten map[string]time.Time   // when an order was accepted again: the ledger had forgotten it
	reopened  map[string]bool        // when it had been withdrawn
	collected map[string]time.Time   // when a withdrawal was repeated in vain: the ledger had forgotten it, and the order had ended

	// Notifications that lie, each with what is wrong with it.
	forgeriesTaken   []string
	forgeriesRefused int
}

// recent draws an order that was enqueued, mostly a new one, which a worker may be
// processing. It is "" before the first.
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
	at       time.Duration // when it is enqueued
	withdraw time.Duration // so long after that it is withdrawn; 0: never
	sync     bool          // and a sync follows
	reopen   time.Duration // so long after its withdrawal that it is opened again; 0: never
}

// plans draws all orders of a run.
func plans(f profile, r *rand.Rand) []plan {
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
// same orders again, tasks that billing did not ask for, withdrawals. Others send the
// workers forged notifications.
func (e *env) bill(ctx context.Context) {
	e.billing.enqueued, e.billing.withdrawn, e.billing.synced = map[string]time.Time{}, map[string]time.Time{}, map[string]bool{}
	e.billing.paidAt = map[string][]time.Time{}
	e.billing.forgotten, e.billing.collected, e.billing.reopened = map[string]time.Time{}, map[string]time.Time{}, map[string]bool{}
	ctx, done := context.WithCancel(ctx)
	var others sync.WaitGroup
	others.Go(func() { e.repeat(ctx) })
	others.Go(func() { e.forge(ctx) })
	due := make(chan plan, e.profile.orders)
	others.Go(func() { e.withdraw(due) })
	all := plans(e.profile, e.random("plans"))
	for len(all) > 0 {
		n, _ := slices.BinarySearchFunc(all, time.Since(e.started), func(p plan, age time.Duration) int {
			if p.at <= age {
				return -1
			}
			return 1
		})
		batch := all[:min(n, 500)]
		all = all[len(batch):]
		e.enqueue(batch)
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
	if left := e.profile.attack - time.Since(e.started); left > 0 {
		<-time.After(left)
	}
	done()
	others.Wait()
}

// enqueue gives the platform new orders, and hands them over until each is
// known to be in: where Redis failed, an order may be in or not, and the same
// again is what docs/operations.md asks for.
func (e *env) enqueue(batch []plan) {
	if len(batch) == 0 {
		return
	}
	add := make([]simulator.Order, len(batch))
	left := make([]tasks.Order, len(batch))
	for i, p := range batch {
		add[i], left[i] = p.order, e.order(p.order.OutOrderNo)
	}
	if err := e.sim.AddOrders(add...); err != nil {
		e.journal.fail("the simulator refuses orders: %v", err)
		return
	}
	for deadline := time.Now().Add(2 * time.Minute); len(left) > 0; {
		if time.Now().After(deadline) {
			e.journal.fail("%d orders could not be enqueued for two minutes", len(left))
			return
		}
		var again []tasks.Order
		var in []string
		for o, res := range e.producer.EnqueueAll(context.Background(), slices.Values(left)) {
			switch res.Status {
			case tasks.Accepted, tasks.Duplicate, tasks.Ended:
				in = append(in, o.OutOrderNo) // ended: an enqueue whose answer was lost, long ago
			default:
				again = append(again, o)
			}
		}
		e.billing.mu.Lock()
		e.billing.accepted = append(e.billing.accepted, in...)
		for _, no := range in {
			e.billing.enqueued[no] = time.Now()
		}
		e.billing.mu.Unlock()
		if left = again; len(left) > 0 {
			<-time.After(100 * time.Millisecond)
		}
	}
}

func (e *env) order(no string) tasks.Order {
	m := e.sim.Merchant()
	return tasks.Order{Payload: tasks.Payload{MchID: m.MchID, OutOrderNo: no, AppID: m.AppID, ServiceID: m.ServiceID}}
}

// repeat enqueues orders again, and puts tasks into the queue that billing never
// asked for: of rounds that are over or yet to come, and of some other asynq
// client that knows nothing of rounds.
func (e *env) repeat(ctx context.Context) {
	r := e.random("repeat")
	foreign := asynq.NewClientFromRedisClient(e.rdb)
	every := max(e.profile.repeatEvery, time.Millisecond)
	for ctx.Err() == nil {
		<-time.After(every)
		no := e.billing.recent(r)
		if no == "" {
			continue
		}
		o := e.order(no)
		kind := r.IntN(3)
		if e.profile.foreignOnly {
			kind = 1
		}
		switch kind {
		case 0:
			_ = queue.New(e.rdb).Push(ctx, queue.Task{Type: queue.TypeCollect, MchID: o.MchID, OutOrderNo: o.OutOrderNo, Round: r.Int64N(4), Payload: o.Payload})
			continue
		case 1:
			if body, err := o.Encode(); err == nil {
				_, _ = foreign.EnqueueContext(ctx, asynq.NewTask(tasks.TypeCollect, body), asynq.Queue(tasks.QueueName(o.MchID)))
			}
			continue
		}
		if res, err := e.producer.Enqueue(ctx, o); err == nil && res.Status == tasks.Accepted {
			e.billing.noteForgotten(no)
		}
	}
}

// withdraw withdraws orders when their time has come; the channel has them by
// when they were enqueued.
func (e *env) withdraw(due <-chan plan) {
	var all sync.WaitGroup
	for p := range due {
		all.Go(func() {
			<-time.After(p.withdraw)
			wd := e.withdrawal(p.order.OutOrderNo, p.sync)
			e.retry("withdraw an order", func(ctx context.Context) error {
				res, err := e.producer.Withdraw(ctx, wd)
				if err == nil && (res.Status == tasks.Accepted || res.Status == tasks.Duplicate) {
					e.billing.mu.Lock()
					e.billing.withdrawn[wd.OutOrderNo] = time.Now()
					e.billing.synced[wd.OutOrderNo] = p.sync
					e.billing.mu.Unlock()
				}
				return err
			})
			if p.reopen > 0 {
				<-time.After(p.reopen)
				e.reopen(p.order.OutOrderNo)
			}
		})
	}
	all.Wait()
}

// withdrawal is a withdrawal; with sync, a worker must notify WeChat Pay of it.
func (e *env) withdrawal(no string, sync bool) tasks.Withdrawal {
	wd := tasks.Withdrawal{MchID: e.sim.Merchant().MchID, OutOrderNo: no, Reason: "paid elsewhere"}
	if sync {
		wd.PaidAt = time.Now().Add(-time.Minute)
		e.billing.mu.Lock()
		e.billing.paidAt[no] = append(e.billing.paidAt[no], wd.PaidAt)
		e.billing.mu.Unlock()
	}
	return wd
}

// reopen opens an order again that was withdrawn.
func (e *env) reopen(no string) {
	e.billing.mu.Lock()
	_, withdrawn := e.billing.withdrawn[no]
	e.billing.mu.Unlock()
	if !withdrawn {
		return // it had ended before
	}
	o := e.order(no)
	o.Reopen = true
	e.retry("reopen an order", func(ctx context.Context) error {
		res, err := e.producer.Enqueue(ctx, o)
		if err == nil && (res.Status == tasks.Accepted || res.Status == tasks.Duplicate) {
			e.billing.mu.Lock()
			delete(e.billing.withdrawn, no)
			e.billing.reopened[no] = true
			e.billing.mu.Unlock()
		}
		return err
	})
}
