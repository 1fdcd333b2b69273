// Package owner says whose an order is. It is a leaf: payscore, tasks and ledger use
// it, and it uses none of them.
package owner

// An Owner is whose an order is: the merchant, and the application and service under
// which the user agreed to pay. WeChat Pay wants all three in every call for an order.
type Owner struct {
	MchID     string `json:"mchid"`
	AppID     string `json:"appid,omitempty"`
	ServiceID string `json:"service_id,omitempty"`
}
