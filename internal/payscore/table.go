package payscore

import (
	"maps"
	"slices"
	"strings"
)

// This file decides what an error reply means. It can be read beside WeChat
// Pay's own tables: the error codes of the collect call (merchant/4013394596)
// and the detail codes that its Request-ID ends with.

// ruling is what one row says.
type ruling struct {
	verdict Verdict
	scope   Scope
	// knows: signed, and in reply to a collect or sync, the error shows that
	// WeChat Pay has the order.
	knows bool
}

// byDetail has the detail codes behind the Request-ID. They take precedence, since
// they distinguish cases that share one code.
var byDetail = map[string]ruling{
	"271316574": {verdict: Declined},                            // the deduction failed
	"271300099": {verdict: Declined},                            // risk assessment refused
	"271299627": {verdict: Declined},                            // the user has overdue orders
	"268560785": {verdict: Declined},                            // teen mode
	"271316656": {verdict: NotCollectable},                      // above the risk amount
	"271316598": {verdict: NotCollectable},                      // the same number with other parameters
	"271316657": {verdict: NotCollectable},                      // only while waiting for payment
	"271316754": {verdict: InProgress},                          // a deduction is running
	"271302262": {verdict: NotCollectable},                      // state not allowed
	"271302332": {verdict: NotCollectable},                      // not confirmed or not completed yet
	"271302333": {verdict: NotCollectable},                      // cancelled
	"271317510": {verdict: NotFound},                            // order not found
	"268435472": {verdict: Throttled},                           // too frequent
	"268503786": {verdict: MerchantFault, scope: ScopeService},  // no permission
	"270924332": {verdict: MerchantFault, scope: ScopeMerchant}, // Authorization invalid
	"271302144": {verdict: MerchantFault, scope: ScopeMerchant}, // mchid unknown
	"271302149": {verdict: MerchantFault, scope: ScopeService},  // mchid and appid not bound
	"268435464": {verdict: BadRequest},                          // parameter out of range
}

// byCode has the error codes of the reply's body.
var byCode = map[string]ruling{
	"PARAM_ERROR":         {verdict: BadRequest},
	"INVALID_REQUEST":     {verdict: NotCollectable},
	"INVALID_ORDER_STATE": {verdict: NotCollectable, knows: true},
	"ORDER_DONE":          {verdict: NotCollectable, knows: true}, // unsigned, so it proves nothing: query the order
	"ORDER_CANCELED":      {verdict: NotCollectable, knows: true}, // likewise
	"SIGN_ERROR":          {verdict: MerchantFault, scope: ScopeMerchant},
	"NO_AUTH":             {verdict: MerchantFault, scope: ScopeService},
	"TRADE_ERROR":         {verdict: Declined},
	"ORDER_NOT_EXIST":     {verdict: NotFound},
	"FREQUENCY_LIMITED":   {verdict: Throttled},
	"RATELIMIT_EXCEEDED":  {verdict: Throttled},
	"SYSTEM_ERROR":        {verdict: Unavailable},
}

// Codes lists the error codes and the detail codes that this package knows, each
// sorted. Tests compare explanations for people with them.
func Codes() (codes, details []string) {
	return slices.Sorted(maps.Keys(byCode)), slices.Sorted(maps.Keys(byDetail))
}

// ruleError decides a reply that is not 2xx. WeChat Pay does not sign every error,
// so its own codes are taken without a signature; none of them ends an order as
// paid or closed. A code that is not WeChat Pay's counts only with a signature:
// gateways speak JSON too.
func ruleError(call Call, status int, code, detail string, verified bool) ruling {
	switch {
	case status == 429:
		return ruling{verdict: Throttled}
	case status >= 500:
		// Whatever the code, the call may have taken effect.
		return ruling{verdict: Unavailable}
	case code == "":
		// Without WeChat Pay's error object the reply is a proxy's or a gateway's;
		// a 404 page is not a missing order.
		return ruling{verdict: Unavailable}
	}
	r, ok := byDetail[detail]
	if !ok {
		r, ok = byCode[code]
	}
	switch {
	case !ok && !verified:
		return ruling{verdict: Unavailable}
	case !ok && status == 401:
		return ruling{verdict: MerchantFault, scope: ScopeMerchant}
	case !ok:
		// An unknown refusal is presumably about this order. The order is queried;
		// the refusal decides nothing.
		r = ruling{verdict: NotCollectable}
	case call == CallQuery && (r.verdict == Declined || r.verdict == InProgress),
		call == CallSync && r.verdict == Declined:
		// A query deducts nothing, and a sync cannot be declined.
		r = ruling{verdict: NotCollectable}
	}
	if call == CallQuery && r.verdict == NotCollectable && !verified {
		// No further query could tell whether it is true.
		return ruling{verdict: Unavailable}
	}
	return r
}

// ErrorIsTrouble reports whether an error that a record shows says nothing about the
// order: no answer (a status of 0), or the merchant's or the platform's trouble.
func ErrorIsTrouble(status int, code, detail string) bool {
	return status == 0 || ruleError(CallCollect, status, code, detail, true).verdict.traits().trouble
}

// detailCode returns the digits behind the last "-" of a Request-ID, or "".
// Some Request-IDs have none, and "-0" says that nothing went wrong.
func detailCode(requestID string) string {
	i := strings.LastIndexByte(requestID, '-')
	d := requestID[i+1:]
	if i < 0 || d == "0" || strings.Trim(d, "0123456789") != "" {
		return ""
	}
	return d
}
