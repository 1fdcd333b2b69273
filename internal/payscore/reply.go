package payscore

import (
	"time"

	"payscore-collector/internal/textsafe"
)

// Call names an endpoint.
type Call string

// The calls. A notification is not one of ours: WeChat Pay calls.
const (
	CallCollect      Call = "collect"
	CallQuery        Call = "query"
	CallSync         Call = "sync"
	CallNotification Call = "notification"
)

// Scope is how far a MerchantFault reaches.
type Scope string

// The scopes of a merchant's fault.
const (
	ScopeNone     Scope = ""
	ScopeMerchant Scope = "merchant" // every call of the mchid
	ScopeService  Scope = "service"  // every call for the appid and service_id
)

// The reasons of replies whose verdict is decided here and not by an error code.
const (
	// ReasonGivenUp: this side gave the call up. It says nothing about the platform.
	ReasonGivenUp = "given_up"
	// ReasonUnverified: a 2xx does not carry WeChat Pay's signature.
	ReasonUnverified = "unverified"

	reasonUnreadable   = "unreadable"
	reasonAnotherOrder = "another_order"
)

// The reasons of final states that a signed order gives. Where a refusal ends an
// order, the reason is its error code.
const (
	ReasonRevoked      = "REVOKED" // WeChat Pay's own words for the state
	ReasonExpired      = "EXPIRED"
	ReasonNotConfirmed = "not_confirmed" // by the user
	ReasonNotCompleted = "not_completed" // by the merchant
	ReasonNothingOwed  = "nothing_owed"
	ReasonWrongService = "wrong_appid_or_service_id"
)

// EndReasons lists the reasons above.
var EndReasons = []string{
	ReasonRevoked, ReasonExpired, ReasonNotConfirmed, ReasonNotCompleted, ReasonNothingOwed, ReasonWrongService,
}

// Reply is a decided answer. It holds nothing secret: no header but the
// Request-ID, no openid, no body.
type Reply struct {
	Call    Call
	Verdict Verdict
	Scope   Scope
	Reason  string // one word for why, where the verdict alone does not say: REVOKED, not_completed, …

	Order   *Order // the signed order; nil without one
	OrderID string // WeChat Pay's number of the order, from a signed reply to a collect or sync

	HTTPStatus int    // 0 without an answer
	Code       string // WeChat Pay's error code
	DetailCode string // the digits behind the last "-" of the Request-ID
	Message    string // WeChat Pay's words, or ours where it said nothing; at most 256 characters
	RequestID  string // whole, as WeChat Pay's support asks for it

	// Verified: the reply carried WeChat Pay's signature. It is always set where
	// Order is set or the verdict is Accepted; error replies may be unsigned.
	Verified bool
	// Forged: the reply carried a signature that our key does not verify.
	Forged bool
	// NeedsAPIV3Key: the reply named a platform certificate, which cannot be
	// downloaded without an APIv3 key.
	NeedsAPIV3Key bool

	Sent    bool // false: the request certainly never left
	Elapsed time.Duration
}

// decide sets the verdict with its reason and the message for people.
func (r *Reply) decide(v Verdict, reason, message string) {
	r.Verdict, r.Reason, r.Message = v, reason, message
}

// clip keeps text from outside short, and safe for a log line and a terminal.
func clip(s string) string { return textsafe.Clip(s, 256) }
