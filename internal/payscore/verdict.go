package payscore

import "time"

// Verdict is what a call to WeChat Pay came to. The set is closed: whatever
// comes back, or does not, is one of these, decided once, in this package.
type Verdict string

// The verdicts. Those marked "signed" are only ever given to a reply whose
// WeChat Pay signature was verified.
const (
	// Accepted (signed): the platform took the collect request. It is not a
	// payment.
	Accepted Verdict = "accepted"
	// InProgress: a deduction is under way.
	InProgress Verdict = "in_progress"
	// Declined: the deduction failed, for the user's reasons.
	Declined Verdict = "declined"
	// Owed (signed): a query shows that the order still waits for payment.
	Owed Verdict = "owed"
	// Paid (signed): a query shows DONE and USER_PAID.
	Paid Verdict = "paid"
	// Closed (signed): a query shows REVOKED or EXPIRED.
	Closed Verdict = "closed"
	// NotCollectable: nothing can be collected, says a signed order (not
	// confirmed, not completed, nothing owed, another service's); or a
	// collect or query was refused with a word about the order, which is
	// unsigned and decides nothing. Reply.Order tells the two apart.
	NotCollectable Verdict = "not_collectable"
	// NotFound: the platform knows no such order for this mchid.
	NotFound Verdict = "not_found"
	// BadRequest: this order's data are malformed, and will be next time.
	BadRequest Verdict = "bad_request"
	// Throttled: too fast. The order is not to blame.
	Throttled Verdict = "throttled"
	// MerchantFault: key, certificate, clock or permission; Reply.Scope says
	// which calls fail with it. The order is not to blame.
	MerchantFault Verdict = "merchant_fault"
	// Unavailable: the platform is in trouble, or something between us and it
	// answered. The call may have taken effect unless Reply.Sent is false.
	Unavailable Verdict = "unavailable"
	// Unknown: no answer, or a 2xx that is not WeChat Pay's, or one that
	// contradicts itself. The call may have taken effect.
	Unknown Verdict = "unknown"
)

// Verdicts lists every verdict.
var Verdicts = []Verdict{
	Accepted, InProgress, Declined, Owed, Paid, Closed, NotCollectable,
	NotFound, BadRequest, Throttled, MerchantFault, Unavailable, Unknown,
}

// ReasonGivenUp is the reason of a call that this side gave up: it says
// nothing about the platform.
const ReasonGivenUp = "given_up"

// Scope is how far a MerchantFault reaches.
type Scope string

// The scopes of a merchant's fault.
const (
	ScopeNone     Scope = ""
	ScopeMerchant Scope = "merchant" // every call of the mchid
	ScopeService  Scope = "service"  // every call for the appid and service_id
)

// Call names an endpoint.
type Call string

// The calls.
const (
	CallCollect Call = "collect"
	CallQuery   Call = "query"
	CallSync    Call = "sync"
	// CallNotification is none of ours: WeChat Pay has called.
	CallNotification Call = "notification"
)

// Reply is a decided answer. It holds nothing secret: no header but the
// Request-ID, no openid, no body.
type Reply struct {
	Call    Call
	Verdict Verdict
	Scope   Scope
	Reason  string // one word for why, where the verdict alone does not say: REVOKED, not_completed, …

	Order   *Order // what the platform said of the order; nil unless signed
	OrderID string // WeChat Pay's number of the order, from a signed reply to a collect

	HTTPStatus int    // 0 where there was no answer
	Code       string // WeChat Pay's error code
	DetailCode string // the finer code: digits behind the last "-" of the Request-ID
	Message    string // WeChat Pay's words, or ours where it said nothing; at most 256 characters
	RequestID  string // whole, as WeChat Pay's support asks for it

	// Verified: the reply carried WeChat Pay's signature. Always so where
	// Order is set or the verdict is Accepted; error replies need not.
	Verified bool
	// Forged: it carried a signature, and not one that our key verifies.
	Forged bool
	// NeedsAPIV3Key: it named a platform certificate, and without an APIv3 key
	// none can be downloaded.
	NeedsAPIV3Key bool

	Sent    bool // false: the request certainly never left
	Elapsed time.Duration
}

// Knows reports whether WeChat Pay has said, under its signature, that it has the
// order: by the order itself, or by an answer to a call that it gives for no order
// that it does not have.
func (r Reply) Knows() bool {
	switch {
	case r.Order != nil, r.OrderID != "":
		return true
	case !r.Verified:
		return false
	case r.Verdict == NotCollectable && r.Call != CallQuery:
		return r.Code == "ORDER_DONE" || r.Code == "ORDER_CANCELED" || r.Code == "INVALID_ORDER_STATE"
	}
	return r.Verdict == Accepted || r.Verdict == InProgress || r.Verdict == Declined
}

// Failed reports whether the reply is an error that an operator may ask about.
func (r Reply) Failed() bool {
	switch r.Verdict {
	case Accepted, Owed, Paid, Closed:
		return false
	case InProgress, NotCollectable:
		return r.Code != ""
	}
	return true
}
