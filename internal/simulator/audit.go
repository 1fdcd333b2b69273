package simulator

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// audit counts what clients did to the platform. Call reset first.
type audit struct {
	mu     sync.Mutex
	second window
	counts Report // without orders and notifications
}

// count calls do with the counters, which are locked.
func (a *audit) count(do func(*Report)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	do(&a.counts)
}

// countCall returns how many calls there were, this one included.
func (a *audit) countCall(c Call, now time.Time) (n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counts.Calls++
	switch c {
	case CallCollect:
		a.counts.CollectCalls++
	case CallQuery:
		a.counts.QueryCalls++
	}
	a.second.add(now)
	a.counts.MostCallsInASecond = int64(a.second.most)
	return a.counts.Calls
}

func (a *audit) reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.second, a.counts = window{}, Report{Faults: map[string]int64{}, Scripted: map[ReplyKind]int64{}}
}

// report returns a copy of the counters.
func (a *audit) report() Report {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.counts
	r.Faults, r.Scripted = maps.Clone(r.Faults), maps.Clone(r.Scripted)
	return r
}

// window counts the events of the last second, and finds the most in any second.
type window struct {
	recent []time.Time // oldest first
	most   int
}

// slide forgets what is older than a second, and returns how many events are left.
func (w *window) slide(now time.Time) int {
	for len(w.recent) > 0 && now.Sub(w.recent[0]) >= time.Second {
		w.recent = w.recent[1:]
	}
	return len(w.recent)
}

func (w *window) add(now time.Time) {
	w.most = max(w.most, w.slide(now)+1)
	w.recent = append(w.recent, now)
}

// pace limits the calls in any one second. The zero value is ready.
type pace struct {
	mu       sync.Mutex
	admitted window
}

// admit reports whether one more call fits. A refused call does not count, so that
// a client that keeps calling still gets its rate. A limit of 0 is no limit.
func (p *pace) admit(limit int, now time.Time) bool {
	if limit == 0 {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.admitted.slide(now) >= limit {
		return false
	}
	p.admitted.add(now)
	return true
}

// orderAudit counts the calls for one order; the order's mu guards it.
type orderAudit struct {
	calls, collects, queries, syncs int64
	inFlight, mostAtOnce            int64
	afterEnd                        int64
	lastCollect                     time.Time
	leastGap                        time.Duration // between two starts; valid from the second collect on
	endShown                        int           // replies that showed the order's end
	firstDecline                    string        // detail code of the first collect that was declined
}

// call is one call on its way.
type call struct {
	kind  Call
	no    string
	order *order // nil where no such order was added
	n     int64  // how many calls the order (or, without one, the platform) has had
	end   func() // ends the call in its order's audit; safe to call again
	seen  Seen
}

// begin counts a call that has arrived. The caller must call its end.
func (s *Simulator) begin(kind Call, no string) *call {
	n := s.audit.countCall(kind, time.Now())
	c := &call{kind: kind, no: no, order: s.find(no), n: n, seen: Seen{Call: kind, OutOrderNo: no, Began: time.Now()}}
	c.end = sync.OnceFunc(func() {
		c.seen.Over = time.Now()
		if c.order != nil {
			c.order.endCall()
		}
	})
	if c.order != nil {
		c.n = c.order.beginCall(kind, s.clock())
	}
	return c
}

func (o *order) beginCall(kind Call, now time.Time) int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	a := &o.audit
	a.calls++
	switch kind {
	case CallCollect:
		if gap := now.Sub(a.lastCollect); a.collects > 0 && (a.collects == 1 || gap < a.leastGap) {
			a.leastGap = gap
		}
		a.collects++
		a.lastCollect = now
	case CallQuery:
		a.queries++
	case CallSync:
		a.syncs++
	}
	a.inFlight++
	a.mostAtOnce = max(a.mostAtOnce, a.inFlight)
	if a.endShown > 0 {
		a.afterEnd++
	}
	return a.calls
}

func (o *order) endCall() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.audit.inFlight--
}

func (o *order) endShown(replies int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.audit.endShown += replies
}

// Report is the audit of all calls and notifications.
type Report struct {
	// Calls counts every call to /v3, also those that failed; CollectCalls and
	// QueryCalls are among them.
	Calls        int64 `json:"calls"`
	CollectCalls int64 `json:"collect_calls"`
	QueryCalls   int64 `json:"query_calls"`
	// MostCallsInASecond is over a sliding second.
	MostCallsInASecond int64 `json:"most_calls_in_a_second"`
	// RejectedSignatures counts the requests whose own signature was wrong.
	RejectedSignatures int64 `json:"rejected_signatures"`
	// SignedReplies counts the replies with a good signature.
	SignedReplies int64 `json:"signed_replies"`
	// Faults counts the calls that met a fault, by its name in the settings;
	// Scripted counts the scripted replies given, by kind.
	Faults   map[string]int64    `json:"faults"`
	Scripted map[ReplyKind]int64 `json:"scripted"`
	// Notifications are not among Calls: the platform sends them.
	Notifications NotificationReport `json:"notifications"`
	// Orders are in the order in which they were added.
	Orders []OrderReport `json:"orders"`
}

// OrderReport is the state of one order and the audit of its calls. Amounts are
// in fen.
type OrderReport struct {
	OutOrderNo string `json:"out_order_no"`
	// State, StateDescription and CollectionState are as a query shows them;
	// State is NOT_EXIST where the platform has no such order.
	State            string `json:"state"`
	StateDescription string `json:"state_description,omitempty"`
	CollectionState  string `json:"collection_state,omitempty"`
	Fate             Fate   `json:"fate"`
	TotalAmount      int64  `json:"total_amount"`
	PaidAmount       int64  `json:"paid_amount"`
	// Lowered is how often the total amount was lowered.
	Lowered int64 `json:"lowered,omitempty"`
	// Payments has every payment, in the order in which they arrived.
	Payments []PaymentDetail `json:"payments,omitempty"`
	// ByUser is the seq of each payment that no collect brought.
	ByUser []int `json:"by_user,omitempty"`
	// FirstDecline is the detail code of the first collect that was declined, by its fate
	// or by a scripted TRADE_ERROR.
	FirstDecline string `json:"first_decline,omitempty"`

	// The calls are counted as they arrive, before their signature is verified.
	CollectCalls int64 `json:"collect_calls"`
	QueryCalls   int64 `json:"query_calls"`
	SyncCalls    int64 `json:"sync_calls"`
	// MostAtOnce is the most calls in flight at the same time. A call whose
	// client has left counts until the server notices.
	MostAtOnce int64 `json:"most_at_once"`
	// CallsAfterEnd counts the calls that arrived after a query's truthful
	// and rightly signed reply had shown the order's end (DONE, REVOKED or
	// EXPIRED) to a client that was still connected when it was sent. The platform
	// cannot know whether that client lived long enough to record it.
	CallsAfterEnd int64 `json:"calls_after_end"`
	// LeastGapMS is the shortest time between the starts of two collect
	// calls, in milliseconds rounded down; absent where there were fewer.
	LeastGapMS *int64 `json:"least_gap_ms,omitempty"`
	// MoneyMoved is what the user paid through the platform.
	MoneyMoved int64 `json:"money_moved"`
	// Notified is how many notifications of its payments the merchant accepted,
	// duplicates included. They do not count as showing the order's end.
	Notified int64 `json:"notified"`
}

// StateNotExist is the state reported for an order of fate unknown.
const StateNotExist = "NOT_EXIST"

// OrderTruth is what the platform knows about one order. Entity is nil where
// the platform has no such order.
type OrderTruth struct {
	Entity *Entity     `json:"entity"`
	Audit  OrderReport `json:"audit"`
}

// Report returns the audit so far. It is safe to call at any time.
func (s *Simulator) Report() Report {
	s.mu.RLock()
	orders, notifier := s.list, s.notifier
	s.mu.RUnlock()
	r := s.audit.report()
	r.Orders = make([]OrderReport, 0, len(orders))
	now := s.clock()
	for _, o := range orders {
		o.mu.Lock()
		r.Orders = append(r.Orders, o.report(now))
		o.mu.Unlock()
	}
	notifier.reportTo(&r, orders)
	return r
}

// Order returns the platform's truth about one order, and whether such an
// order was ever added.
func (s *Simulator) Order(no string) (OrderTruth, bool) {
	o := s.find(no)
	if o == nil {
		return OrderTruth{}, false
	}
	return o.truth(s.id.Merchant, s.clock()), true
}

func (o *order) truth(m Merchant, now time.Time) OrderTruth {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := OrderTruth{Audit: o.report(now)}
	t.Audit.Notified = o.notifier.timesTold(o)
	if o.exists {
		e := o.entity(m)
		t.Entity = &e
	}
	return t
}

// report advances the order and returns its report, except for Notified. The
// caller holds o.mu.
func (o *order) report(now time.Time) OrderReport {
	o.advance(now)
	r := OrderReport{
		OutOrderNo: o.no, State: o.state, StateDescription: o.description, CollectionState: o.collectionState(),
		Fate: o.fate, TotalAmount: o.total, PaidAmount: o.paid, Lowered: o.lowered, Payments: slices.Clone(o.details),
		ByUser: slices.Clone(o.byUser), FirstDecline: o.audit.firstDecline,
		CollectCalls: o.audit.collects, QueryCalls: o.audit.queries, SyncCalls: o.audit.syncs,
		MostAtOnce: o.audit.mostAtOnce, CallsAfterEnd: o.audit.afterEnd, MoneyMoved: o.moneyMoved(),
	}
	if !o.exists {
		r.State = StateNotExist
	}
	if o.audit.collects > 1 {
		gap := o.audit.leastGap.Milliseconds()
		r.LeastGapMS = &gap
	}
	return r
}
