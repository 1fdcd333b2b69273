package simulator

import (
	"cmp"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Options configures a [Simulator]. The zero value works.
type Options struct {
	// MchID, AppID and ServiceID are the merchant's; defaults
	// [DefaultMchID], [DefaultAppID] and [DefaultServiceID].
	MchID, AppID, ServiceID string
	// KeyBits is the size of the platform's RSA key; default [DefaultKeyBits],
	// which is what the real platform signs with.
	KeyBits int
	// FreshKeys makes keys that no other simulator has. By default all simulators
	// of a process share them, because generating them is slow.
	FreshKeys bool
	// Dir, where it holds what [Simulator.WriteMerchantDir] wrote, gives the
	// simulator that identity: keys, numbers and all. MchID, AppID and
	// ServiceID must then be empty or the same.
	Dir string
	// Seed decides, together with an order's number and how many calls or
	// payments it has had, which calls meet a fault and which notifications go
	// wrong. Every run with the same seed is the same.
	Seed uint64
	// Clock is the time of everything that orders do: fates, payments, the gap
	// between two collects. Default time.Now. Signatures, rates and the delays of
	// notifications always use the real time. What comes due by another Clock
	// happens within about 20 ms of real time, or at the next call. Clock must be
	// safe for concurrent use.
	Clock func() time.Time
	// Watch, where given, is called after each call, from many goroutines. The
	// call's connection waits for it.
	Watch func(Seen)
	// Signer, where given, makes what signs with the platform's key, by PKCS #1 v1.5.
	// Default the key itself.
	Signer func(*rsa.PrivateKey) (crypto.Signer, error)
	// NotifyURL is the initial [Notifications].URL; empty notifies nothing.
	NotifyURL string
}

func (o Options) withDefaults() Options {
	o.MchID = cmp.Or(o.MchID, DefaultMchID)
	o.AppID = cmp.Or(o.AppID, DefaultAppID)
	o.ServiceID = cmp.Or(o.ServiceID, DefaultServiceID)
	o.KeyBits = cmp.Or(o.KeyBits, DefaultKeyBits)
	if o.Clock == nil {
		o.Clock = time.Now
	}
	return o
}

// Simulator is one platform with one merchant. All its methods are safe for
// concurrent use. Payments that come due and notifications happen on their own,
// without a goroutine while nothing is due; Close ends that.
type Simulator struct {
	id            identity
	clock         func() time.Time
	foreignClock  bool // not the machine's
	watch         func(Seen)
	seed          atomic.Uint64
	faults        atomic.Pointer[Faults]
	notifications atomic.Pointer[Notifications] // defaults filled in
	bill          atomic.Pointer[Bill]
	files         files
	nonces        nonces
	pace          pace
	audit         audit

	mu       sync.RWMutex
	orders   map[string]*order
	list     []*order // in the order in which they were added; only ever appended to
	lastNo   int64
	notifier *notifier // of the orders above
	closed   bool
}

// New makes a simulator without orders and without faults. It fails where keys
// cannot be generated, where Dir holds an unusable identity, or where NotifyURL is
// invalid. The caller must close it.
func New(opts Options) (*Simulator, error) {
	id, found, err := readIdentity(opts)
	if err != nil {
		return nil, err
	}
	foreignClock := opts.Clock != nil
	opts = opts.withDefaults()
	if !found {
		if id, err = newIdentity(opts); err != nil {
			return nil, err
		}
	}
	if opts.Signer != nil {
		if id.signer, err = opts.Signer(id.platformKey); err != nil {
			return nil, fmt.Errorf("make the platform's signer: %w", err)
		}
	}
	s := &Simulator{id: id, clock: opts.Clock, foreignClock: foreignClock, watch: opts.Watch, orders: make(map[string]*order)}
	s.audit.reset()
	s.seed.Store(opts.Seed)
	s.faults.Store(&Faults{})
	s.bill.Store(&Bill{})
	if opts.NotifyURL != "" {
		if err := validNotifyURL(opts.NotifyURL); err != nil {
			return nil, fmt.Errorf("notify URL %w", err)
		}
	}
	notifications := Notifications{URL: opts.NotifyURL}.withDefaults()
	s.notifications.Store(&notifications)
	s.notifier = newNotifier(s)
	return s, nil
}

// Close ends all that the simulator does on its own: when it returns no
// notification is under way, and none is sent afterwards. Calls are still answered,
// and what is due happens at the next call. Closing again does nothing.
func (s *Simulator) Close() {
	s.mu.Lock()
	s.closed = true
	n := s.notifier
	s.mu.Unlock()
	n.close()
}

// Merchant returns what a client needs to call this simulator.
func (s *Simulator) Merchant() Merchant { return s.id.Merchant }

// Handler serves the platform under /v3/ and the control API under /_sim/.
// The control API has no authentication: bind it where only you can reach it.
func (s *Simulator) Handler() http.Handler {
	fromPath := func(r *http.Request) string { return r.PathValue("out_order_no") }
	fromQuery := func(r *http.Request) string { return r.URL.Query().Get("out_order_no") }
	none := func(*http.Request) string { return "" }
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v3/payscore/serviceorder/{out_order_no}/pay", s.platform(CallCollect, fromPath))
	mux.HandleFunc("POST /v3/payscore/serviceorder/{out_order_no}/sync", s.platform(CallSync, fromPath))
	mux.HandleFunc("GET /v3/payscore/serviceorder", s.platform(CallQuery, fromQuery))
	mux.HandleFunc("GET /v3/certificates", s.platform(CallCertificates, none))
	mux.HandleFunc("GET /v3/bill/tradebill", s.platform(CallBill, none))
	mux.HandleFunc("GET /v3/billdownload/file", s.platform(CallBillFile, none))
	mux.HandleFunc("/v3/", s.platform(CallOther, none))
	s.control(mux)
	return mux
}

// ErrDuplicateOrder is returned by [Simulator.AddOrders], wrapped in a sentence
// that names the order, where a number exists already.
var ErrDuplicateOrder = errors.New("out_order_no is there already; each order needs a number of its own")

// AddOrders adds all orders, or none, with an error that names the first invalid
// one.
func (s *Simulator) AddOrders(orders ...Order) error {
	s.mu.Lock()
	first := s.lastNo + 1
	s.lastNo += int64(len(orders))
	s.mu.Unlock()

	now := s.clock()
	added := make([]*order, 0, len(orders))
	inList := make(map[string]bool, len(orders))
	for i, o := range orders {
		rec, err := newOrder(o, first+int64(i), now)
		if err != nil {
			return err
		}
		if inList[o.OutOrderNo] {
			return fmt.Errorf("order %q: %w", o.OutOrderNo, ErrDuplicateOrder)
		}
		inList[o.OutOrderNo] = true
		added = append(added, rec)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rec := range added {
		if s.orders[rec.no] != nil {
			return fmt.Errorf("order %q: %w", rec.no, ErrDuplicateOrder)
		}
	}
	for _, rec := range added {
		rec.notifier = s.notifier
		s.orders[rec.no] = rec
		if rec.plan.kind == fateUserPays {
			s.notifier.alarms.set(rec, rec.added.Add(rec.plan.after))
		}
	}
	s.list = append(s.list, added...)
	return nil
}

// Reset forgets all orders, the audit, and pending notifications. Faults and the
// settings of notifications stay as they are.
func (s *Simulator) Reset() {
	next := newNotifier(s)
	s.mu.Lock()
	s.orders, s.list = make(map[string]*order), nil
	last := s.notifier
	s.notifier = next
	closed := s.closed
	s.mu.Unlock()
	s.audit.reset()
	last.close()
	if closed {
		next.close()
	}
}

func (s *Simulator) find(no string) *order {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.orders[no]
}

// Pay pays the order no without a collect: with [PaidTypeNewton] by the
// user in the app, with [PaidTypeMch] elsewhere, as the merchant reports it.
// amount is in fen; 0 stands for all that is left to pay. It returns an error
// where the order does not wait for payment or the amount is too large.
func (s *Simulator) Pay(no string, amount int64, paidType string) error {
	o := s.find(no)
	return s.changing(o, func(now time.Time) error { return o.payNow(amount, paidType, now) })
}

// Lower lowers the total amount of the order no to total, in fen, as a modify
// call of another system of the merchant's does. It returns an error where the
// order does not wait for payment, or total is not lower, or less is left than
// has been paid.
func (s *Simulator) Lower(no string, total int64) error {
	o := s.find(no)
	return s.changing(o, func(time.Time) error { return o.lower(total) })
}

// changing calls do with the order advanced and locked.
func (s *Simulator) changing(o *order, do func(now time.Time) error) error {
	if o == nil || !o.exists {
		return errors.New("the platform has no such order")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	now := s.clock()
	o.advance(now)
	return do(now)
}

// SetFaults replaces all faults. Its error names the invalid value.
func (s *Simulator) SetFaults(f Faults) error {
	if err := f.Validate(); err != nil {
		return err
	}
	if f.Seed != nil {
		s.seed.Store(*f.Seed)
	}
	s.faults.Store(&f)
	return nil
}

// Faults returns the faults in force.
func (s *Simulator) Faults() Faults { return *s.faults.Load() }
