package payscore

import (
	"net/http"
	"net/url"

	"payscore-collector/internal/owner"
)

// endpoint is one of WeChat Pay's two sets of addresses for service orders. direct
// is that of direct merchants. That of service providers has the paths
// /v3/payscore/partner/serviceorder…, names a sub-merchant where direct names the
// appid, and answers collect and sync with 204.
type endpoint interface {
	collect(Request) request
	query(Request) request
	sync(r Request, paidTime string) request
	// owns compares the owner that a signed message names with the one that was
	// asked for. What the message leaves out does not count.
	owns(said, asked owner.Owner) ownership
}

// request is one HTTP request of an endpoint.
type request struct {
	method string
	path   string // escaped
	query  url.Values
	body   any // to be JSON; nil for none
}

// ownership is how the owner that a signed message names relates to the one that
// was asked for.
type ownership int

const (
	sameOwner       ownership = iota
	anotherMerchant           // a replayed or misdirected message
	anotherService            // this merchant's, under another appid or service_id
)

// direct is the endpoint of a direct merchant (merchant/4013394596, 4012587902,
// 4012587960).
type direct struct{ mchid string }

const directPath = "/v3/payscore/serviceorder"

func (direct) post(r Request, action string, body any) request {
	return request{method: http.MethodPost, path: directPath + "/" + url.PathEscape(r.OutOrderNo) + "/" + action, body: body}
}

func (d direct) collect(r Request) request {
	return d.post(r, "pay", struct {
		AppID     string `json:"appid"`
		ServiceID string `json:"service_id"`
	}{r.Owner.AppID, r.Owner.ServiceID})
}

func (direct) query(r Request) request {
	return request{method: http.MethodGet, path: directPath, query: url.Values{
		"out_order_no": {r.OutOrderNo}, "service_id": {r.Owner.ServiceID}, "appid": {r.Owner.AppID},
	}}
}

func (d direct) sync(r Request, paidTime string) request {
	type detail struct {
		PaidTime string `json:"paid_time"`
	}
	return d.post(r, "sync", struct {
		AppID     string `json:"appid"`
		ServiceID string `json:"service_id"`
		Type      string `json:"type"`
		Detail    detail `json:"detail"`
	}{r.Owner.AppID, r.Owner.ServiceID, "Order_Paid", detail{paidTime}})
}

func (d direct) owns(said, asked owner.Owner) ownership {
	differ := func(said, asked string) bool { return said != "" && said != asked }
	switch {
	case differ(said.MchID, d.mchid):
		return anotherMerchant
	case differ(said.ServiceID, asked.ServiceID), differ(said.AppID, asked.AppID):
		return anotherService
	}
	return sameOwner
}
