package payscore

// Verdict is what a call to WeChat Pay came to. The set is closed: every reply, and
// every missing reply, is one of these, decided once, in this package.
type Verdict string

// The verdicts. Those marked "signed" are only given to a reply whose WeChat Pay
// signature was verified.
const (
	// Accepted (signed): the platform took the collect or sync request. It is not
	// a payment.
	Accepted Verdict = "accepted"
	// InProgress: a deduction is running.
	InProgress Verdict = "in_progress"
	// Declined: the deduction failed, for the user's reasons.
	Declined Verdict = "declined"
	// Owed (signed): a query shows that the order still waits for payment.
	Owed Verdict = "owed"
	// Paid (signed): a query shows DONE and USER_PAID.
	Paid Verdict = "paid"
	// Closed (signed): a query shows REVOKED or EXPIRED.
	Closed Verdict = "closed"
	// NotCollectable: a signed order shows that nothing can be collected (not
	// confirmed, not completed, nothing owed, another service's); or a call was
	// refused with an error about the order, which is unsigned and decides nothing.
	// Reply.Order tells the two apart.
	NotCollectable Verdict = "not_collectable"
	// NotFound: the platform knows no such order for this mchid.
	NotFound Verdict = "not_found"
	// BadRequest: this order's data are malformed, and a retry will not help.
	BadRequest Verdict = "bad_request"
	// Throttled: too fast. The order is not to blame.
	Throttled Verdict = "throttled"
	// MerchantFault: key, certificate, clock or permission; Reply.Scope says
	// which calls fail with it. The order is not to blame.
	MerchantFault Verdict = "merchant_fault"
	// Unavailable: the platform is in trouble, or a proxy answered instead of it.
	// The call may have taken effect unless Reply.Sent is false.
	Unavailable Verdict = "unavailable"
	// Unknown: no answer, or a 2xx that is not WeChat Pay's or contradicts itself.
	// The call may have taken effect.
	Unknown Verdict = "unknown"
)

// traits are what a verdict implies in every context. collect.Policy decides what
// follows for the order.
type traits struct {
	// attempt: given to a collect call, it uses up one of the order's attempts,
	// since it is about the order itself.
	attempt bool
	// trouble: it says nothing about the order, which therefore cannot end. The
	// call is retried.
	trouble bool
	// disowns: it says that WeChat Pay has no such order or cannot have it.
	disowns bool
	// knows: under a signature, it shows that WeChat Pay has the order.
	knows bool
	// mayPay: a collect call with this verdict may still bring a payment.
	mayPay bool
	// names: the error code is the reason for the verdict.
	names bool
	// failed: the reply is an error to show to an operator.
	failed failure
	// signal is what the reply says about the merchant as a whole.
	signal Signal
}

// failure says which replies of a verdict are errors.
type failure int

const (
	never failure = iota
	withCode
	always
)

// Signal is what a reply says about the merchant as a whole, for the hold on its
// calls.
type Signal string

// The signals.
const (
	SignalNone      Signal = ""          // nothing
	SignalOK        Signal = "ok"        // set-up, permission and platform work
	SignalFault     Signal = "fault"     // every call of the merchant fails
	SignalService   Signal = "service"   // every call for the appid and service_id fails
	SignalDown      Signal = "down"      // the platform gave no proper answer
	SignalThrottled Signal = "throttled" // too fast
)

// Signals lists every signal.
var Signals = []Signal{SignalNone, SignalOK, SignalFault, SignalService, SignalDown, SignalThrottled}

// verdicts has one row for each verdict.
var verdicts = []struct {
	Verdict
	traits
}{
	{Accepted, traits{attempt: true, knows: true, mayPay: true, signal: SignalOK}},
	{InProgress, traits{attempt: true, knows: true, mayPay: true, failed: withCode, signal: SignalOK}},
	{Declined, traits{attempt: true, knows: true, failed: always, signal: SignalOK}},
	{Owed, traits{signal: SignalOK}},
	{Paid, traits{signal: SignalOK}},
	{Closed, traits{signal: SignalOK}},
	{NotCollectable, traits{attempt: true, names: true, failed: withCode, signal: SignalOK}},
	{NotFound, traits{attempt: true, disowns: true, names: true, failed: always, signal: SignalOK}},
	{BadRequest, traits{attempt: true, disowns: true, names: true, failed: always, signal: SignalOK}},
	{Throttled, traits{trouble: true, failed: always, signal: SignalThrottled}},
	{MerchantFault, traits{trouble: true, failed: always, signal: SignalFault}},
	{Unavailable, traits{trouble: true, failed: always, signal: SignalDown}},
	{Unknown, traits{trouble: true, mayPay: true, failed: always, signal: SignalDown}},
}

// Verdicts lists every verdict.
var Verdicts, traitsOf = func() ([]Verdict, map[Verdict]traits) {
	list, rows := make([]Verdict, 0, len(verdicts)), make(map[Verdict]traits, len(verdicts))
	for _, row := range verdicts {
		list, rows[row.Verdict] = append(list, row.Verdict), row.traits
	}
	return list, rows
}()

// traits returns the verdict's row. It panics for a verdict without one: a guess would
// settle orders and holds wrongly, and a step that panics is retried later.
func (v Verdict) traits() traits {
	t, ok := traitsOf[v]
	if !ok {
		panic("payscore: the verdict " + string(v) + " has no row in verdicts")
	}
	return t
}

// Trouble reports whether the reply says nothing about the order, only about the
// merchant, the platform or the network. It then ends no order. An Unknown with an
// order is about the order: it is signed, and contradicts itself.
func (r Reply) Trouble() bool {
	return r.Verdict.traits().trouble && (r.Verdict != Unknown || r.Order == nil)
}

// Attempts returns how many of an order's attempts a collect call's reply uses up:
// one where it is about the order itself.
func (r Reply) Attempts() int64 {
	if r.Call == CallCollect && r.Verdict.traits().attempt {
		return 1
	}
	return 0
}

// Disowns reports whether WeChat Pay says that it has no such order or cannot have
// it.
func (r Reply) Disowns() bool { return r.Verdict.traits().disowns || r.RefusedQuery() }

// RefusedQuery reports whether a query was refused with an error about the order.
// There is no other call that could show more.
func (r Reply) RefusedQuery() bool {
	return r.Call == CallQuery && r.Verdict == NotCollectable && r.Order == nil
}

// MayPay reports whether the reply is to a collect call that may still bring a
// payment.
func (r Reply) MayPay() bool { return r.Call == CallCollect && r.Verdict.traits().mayPay }

// Knows reports whether WeChat Pay has said, under its signature, that it has the
// order: by the order itself, or by an answer that it gives only for orders that it
// has.
func (r Reply) Knows() bool {
	switch {
	case r.Order != nil, r.OrderID != "":
		return true
	case !r.Verified:
		return false
	case r.Verdict == NotCollectable && r.Call != CallQuery:
		return byCode[r.Code].knows
	}
	return r.Verdict.traits().knows
}

// Failed reports whether the reply is an error that an operator may ask about.
func (r Reply) Failed() bool {
	failed := r.Verdict.traits().failed
	return failed == always || failed == withCode && r.Code != ""
}

// Signal returns what the reply says about the merchant as a whole.
func (r Reply) Signal() Signal {
	signal := r.Verdict.traits().signal
	switch {
	case signal == SignalFault && r.Scope == ScopeService:
		return SignalService
	case signal == SignalDown && r.Order != nil:
		return SignalOK // it answered, though with a contradictory order
	case signal == SignalDown && r.Reason == ReasonGivenUp:
		return SignalNone // this side gave up; the platform is not to blame
	}
	return signal
}
