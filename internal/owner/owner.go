// Package owner says whose an order is. It is a leaf: payscore, tasks and ledger use
// it, and it uses none of them.
package owner

import "strings"

// An Owner is whose an order is: the merchant, and the application and service under
// which the user agreed to pay. WeChat Pay wants all three in every call for an order.
type Owner struct {
	MchID     string `json:"mchid"`
	AppID     string `json:"appid,omitempty"`
	ServiceID string `json:"service_id,omitempty"`
}

// Scope names the service within its merchant: "appid:service_id". Holds, metrics and
// messages use it. The scripts make the same name with service in hold.lua.
func (o Owner) Scope() string { return o.AppID + ":" + o.ServiceID }

// OfScope returns the owner of a merchant's service that Scope has named.
func OfScope(mchid, scope string) Owner {
	appid, service, _ := strings.Cut(scope, ":")
	return Owner{MchID: mchid, AppID: appid, ServiceID: service}
}
