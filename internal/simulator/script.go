package simulator

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
)

// Call names one of the platform's calls.
type Call string

// The calls. CallAny stands for all of them in a scripted reply.
const (
	CallCollect      Call = "collect"
	CallQuery        Call = "query"
	CallSync         Call = "sync"
	CallCertificates Call = "certificates"
	CallBill         Call = "bill"
	CallBillFile     Call = "bill_file"
	CallOther        Call = "other" // a path that the platform does not know
	CallAny          Call = "any"
)

// ReplyKind says how a scripted reply differs from an honest one.
type ReplyKind string

// The kinds of scripted replies. Where a comment says "acts", the call takes effect
// before the reply goes wrong; otherwise it has no effect.
const (
	// KindError is the JSON error of HTTP, Code, Message and DetailCode, signed.
	KindError ReplyKind = "error"
	// KindUnsignedError is the same without a signature.
	KindUnsignedError ReplyKind = "unsigned_error"
	// KindHTML is a proxy's page with status HTTP (default 502) and none of
	// the platform's headers.
	KindHTML ReplyKind = "html"
	// KindEmpty is a reply with status HTTP (default 200), no body and no
	// signature. KindBody with an empty body is its signed counterpart.
	KindEmpty ReplyKind = "empty"
	// KindTruncated acts, promises the whole reply by Content-Length, sends
	// half of it and closes the connection.
	KindTruncated ReplyKind = "truncated"
	// KindOKUnsigned is a forgery: a plausible 200, which for a query claims
	// that the order is paid, without a signature.
	KindOKUnsigned ReplyKind = "ok_unsigned"
	// KindOKWrongSignature is the same forgery with a signature that starts
	// WECHATPAY/SIGNTEST/ and is wrong.
	KindOKWrongSignature ReplyKind = "ok_wrong_signature"
	// KindHang sends nothing until the client leaves, at most ten minutes.
	KindHang ReplyKind = "hang"
	// KindDropBefore resets the connection.
	KindDropBefore ReplyKind = "drop_before"
	// KindDropAfter acts, then resets the connection.
	KindDropAfter ReplyKind = "drop_after"
	// KindNoContent acts and answers 204, signed.
	KindNoContent ReplyKind = "no_content"
	// KindBody is the raw Body with status HTTP (default 200), signed.
	KindBody ReplyKind = "body"
)

// ScriptedReply is a reply that precedes the order's fate. It answers the next
// Times calls of the kind that Call names. A call of another kind is answered
// honestly.
type ScriptedReply struct {
	// Call is the call that it answers: collect, query, sync, or any (default).
	Call Call `json:"call,omitempty"`
	// Times is how many calls it answers; default 1.
	Times int `json:"times,omitempty"`
	// Kind is the kind of reply; default error.
	Kind ReplyKind `json:"kind,omitempty"`
	// HTTP is the status; needed for the two error kinds.
	HTTP int `json:"http,omitempty"`
	// Code is the error's word, such as TRADE_ERROR; needed for the two error kinds.
	Code string `json:"code,omitempty"`
	// Message is the error's text.
	Message string `json:"message,omitempty"`
	// DetailCode stands behind Request-ID's last dash; default 0.
	DetailCode string `json:"detail_code,omitempty"`
	// Body is what kind body sends.
	Body string `json:"body,omitempty"`
}

// normalise fills in the defaults and validates the rest. Its errors do not name
// the order; the caller adds that.
func (r ScriptedReply) normalise() (ScriptedReply, error) {
	r.Call, r.Times, r.Kind = cmp.Or(r.Call, CallAny), cmp.Or(r.Times, 1), cmp.Or(r.Kind, KindError)
	switch r.Call {
	case CallCollect, CallQuery, CallSync, CallAny:
	default:
		return r, fmt.Errorf("call %q is not known; use collect, query, sync or any", string(r.Call))
	}
	if r.Times < 0 {
		return r, fmt.Errorf("times is %d; it must be 1 or more", r.Times)
	}
	if strings.Trim(r.DetailCode, "0123456789") != "" {
		return r, fmt.Errorf("detail_code %q must be digits only", r.DetailCode)
	}
	r.DetailCode = cmp.Or(r.DetailCode, detailOK)
	lowest := http.StatusOK
	switch r.Kind {
	case KindError, KindUnsignedError:
		if r.Code == "" || r.HTTP == 0 {
			return r, fmt.Errorf("kind %s needs http and code, as in 403 and TRADE_ERROR", r.Kind)
		}
		lowest = http.StatusBadRequest
	case KindHTML:
		r.HTTP = cmp.Or(r.HTTP, http.StatusBadGateway)
	case KindEmpty, KindBody:
		r.HTTP = cmp.Or(r.HTTP, http.StatusOK)
	case KindTruncated, KindOKUnsigned, KindOKWrongSignature, KindHang, KindDropBefore, KindDropAfter, KindNoContent:
		if r.HTTP != 0 {
			return r, fmt.Errorf("kind %s takes no http: its status is not open to choice", r.Kind)
		}
		return r, nil
	default:
		return r, fmt.Errorf("kind %q is not known; use error, unsigned_error, html, empty, truncated, ok_unsigned, ok_wrong_signature, hang, drop_before, drop_after, no_content or body", string(r.Kind))
	}
	if r.HTTP < lowest || r.HTTP > 599 {
		return r, fmt.Errorf("http %d does not suit kind %s; use %d to 599", r.HTTP, r.Kind, lowest)
	}
	return r, nil
}

// answers reports whether the reply is meant for the call.
func (r ScriptedReply) answers(c Call) bool { return r.Call == CallAny || r.Call == c }
