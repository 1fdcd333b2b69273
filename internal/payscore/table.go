package payscore

import "strings"

// This file decides what an error reply means. It can be read beside WeChat
// Pay's own tables: the error codes of the collect call (merchant/4013394596)
// and the finer codes that its Request-ID ends with.

// ruling is what one row says.
type ruling struct {
	verdict Verdict
	scope   Scope
}

// byDetail is the finer code behind the Request-ID; it is asked first, for it
// tells apart what shares one code.
var byDetail = map[string]ruling{
	"271316574": {Declined, ScopeNone},          // the deduction failed
	"271316657": {NotCollectable, ScopeNone},    // only while waiting for payment
	"271316754": {InProgress, ScopeNone},        // a deduction is running
	"271302262": {NotCollectable, ScopeNone},    // state not allowed
	"271302332": {NotCollectable, ScopeNone},    // still to be confirmed or completed
	"271302333": {NotCollectable, ScopeNone},    // cancelled
	"271317510": {NotFound, ScopeNone},          // order not found
	"268435472": {Throttled, ScopeNone},         // too frequent
	"268503786": {MerchantFault, ScopeService},  // no permission
	"270924332": {MerchantFault, ScopeMerchant}, // Authorization invalid
	"271302144": {MerchantFault, ScopeMerchant}, // mchid unknown
	"271302149": {MerchantFault, ScopeService},  // mchid and appid not bound
	"268435464": {BadRequest, ScopeNone},        // parameter out of range
}

// byCode is the error code of the reply's body.
var byCode = map[string]ruling{
	"PARAM_ERROR":         {BadRequest, ScopeNone},
	"INVALID_REQUEST":     {NotCollectable, ScopeNone},
	"INVALID_ORDER_STATE": {NotCollectable, ScopeNone},
	"ORDER_DONE":          {NotCollectable, ScopeNone}, // the word is unsigned: look at the order
	"ORDER_CANCELED":      {NotCollectable, ScopeNone}, // likewise
	"SIGN_ERROR":          {MerchantFault, ScopeMerchant},
	"NO_AUTH":             {MerchantFault, ScopeService},
	"TRADE_ERROR":         {Declined, ScopeNone},
	"ORDER_NOT_EXIST":     {NotFound, ScopeNone},
	"FREQUENCY_LIMITED":   {Throttled, ScopeNone},
	"RATELIMIT_EXCEEDED":  {Throttled, ScopeNone},
	"SYSTEM_ERROR":        {Unavailable, ScopeNone},
}

// ruleError decides a reply that is not 2xx. WeChat Pay's own words are taken
// without a signature, since it does not always sign errors; none of them ends
// an order as paid or closed. Words that are not its own count only with one:
// gateways speak JSON too.
func ruleError(call Call, status int, code, detail string, verified bool) ruling {
	switch {
	case status == 429:
		return ruling{Throttled, ScopeNone}
	case status >= 500:
		// Whatever it says: it may have taken effect.
		return ruling{Unavailable, ScopeNone}
	case code == "":
		// Without WeChat Pay's error object it is not WeChat Pay that speaks,
		// but a proxy or a gateway; a 404 page is no missing order.
		return ruling{Unavailable, ScopeNone}
	}
	r, ok := byDetail[detail]
	if !ok {
		r, ok = byCode[code]
	}
	switch {
	case !ok && !verified:
		return ruling{Unavailable, ScopeNone}
	case !ok && status == 401:
		return ruling{MerchantFault, ScopeMerchant}
	case !ok:
		// A refusal in words we do not know is about this order, as far as
		// anybody can tell. It is looked at; it decides nothing.
		r = ruling{NotCollectable, ScopeNone}
	case call == CallQuery && (r.verdict == Declined || r.verdict == InProgress),
		call == CallSync && r.verdict == Declined:
		// Words about a deduction make no sense in a query's error, nor that one
		// failed in a sync's.
		r = ruling{NotCollectable, ScopeNone}
	}
	if call == CallQuery && r.verdict == NotCollectable && !verified {
		// There is no further look that could tell whether it is true.
		return ruling{Unavailable, ScopeNone}
	}
	return r
}

// detailCode returns the digits behind the last "-" of a Request-ID, or "".
// Some Request-IDs have none, and "-0" says that nothing went wrong.
func detailCode(requestID string) string {
	i := strings.LastIndexByte(requestID, '-')
	if i < 0 {
		return ""
	}
	d := requestID[i+1:]
	if d == "" || d == "0" || strings.Trim(d, "0123456789") != "" {
		return ""
	}
	return d
}
