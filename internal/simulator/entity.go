package simulator

import "time"

// The order states of WeChat Pay (docs, merchant/4012587902). State, description
// and collection state together say where an order stands.
const (
	StateCreated = "CREATED"
	StateDoing   = "DOING"
	StateDone    = "DONE"
	StateRevoked = "REVOKED"
	StateExpired = "EXPIRED"

	DescriptionUserConfirm = "USER_CONFIRM"
	DescriptionMchComplete = "MCH_COMPLETE"

	CollectionUserPaying = "USER_PAYING"
	CollectionUserPaid   = "USER_PAID"

	PaidTypeNewton = "NEWTON" // through PayScore
	PaidTypeMch    = "MCH"    // elsewhere, as the merchant reported by sync
)

// Entity is the service order as a query shows it. Amounts are in fen.
type Entity struct {
	AppID               string      `json:"appid"`
	MchID               string      `json:"mchid"`
	OutOrderNo          string      `json:"out_order_no"`
	ServiceID           string      `json:"service_id"`
	OrderID             string      `json:"order_id"`
	OpenID              string      `json:"openid"`
	State               string      `json:"state"`
	StateDescription    string      `json:"state_description,omitempty"`
	ServiceIntroduction string      `json:"service_introduction"`
	TotalAmount         int64       `json:"total_amount,omitempty"`
	PostPayments        []Payment   `json:"post_payments,omitempty"`
	RiskFund            RiskFund    `json:"risk_fund"`
	TimeRange           TimeRange   `json:"time_range"`
	Attach              string      `json:"attach"`
	NotifyURL           string      `json:"notify_url"`
	NeedCollection      bool        `json:"need_collection"`
	Collection          *Collection `json:"collection,omitempty"`
	// Undocumented stands for the fields that the platform adds without notice:
	// clients must ignore them.
	Undocumented map[string]any `json:"x_undocumented"`
}

// Payment is one item of what is owed.
type Payment struct {
	Name   string `json:"name"`
	Amount int64  `json:"amount"`
	Count  int    `json:"count"`
}

// RiskFund is the amount at risk that the user agreed to.
type RiskFund struct {
	Name   string `json:"name"`
	Amount int64  `json:"amount"`
}

// TimeRange is when the service was used, as yyyyMMddHHmmss in China.
type TimeRange struct {
	StartTime string `json:"start_time"`
	EndTime   string `json:"end_time,omitempty"`
}

// Collection shows how much of the money owed has been paid.
type Collection struct {
	State        string          `json:"state"`
	TotalAmount  int64           `json:"total_amount"`
	PayingAmount int64           `json:"paying_amount"`
	PaidAmount   int64           `json:"paid_amount"`
	Details      []PaymentDetail `json:"details,omitempty"`
}

// PaymentDetail is one payment.
type PaymentDetail struct {
	Seq             int         `json:"seq"`
	Amount          int64       `json:"amount"`
	PaidType        string      `json:"paid_type"`
	PaidTime        string      `json:"paid_time"`
	TransactionID   string      `json:"transaction_id,omitempty"`
	PromotionDetail []Promotion `json:"promotion_detail,omitempty"`
}

// Promotion is a coupon that covered part of a payment.
type Promotion struct {
	CouponID string `json:"coupon_id"`
	Name     string `json:"name"`
	Scope    string `json:"scope"`
	Type     string `json:"type"`
	Amount   int64  `json:"amount"`
}

// chinaTime is the zone of every time in an order's body. A fixed offset, so
// that no machine needs a time zone database: China has had no summer time
// since 1991.
var chinaTime = time.FixedZone("Asia/Shanghai", 8*60*60)

const bodyTime = "20060102150405"

func formatTime(t time.Time) string { return t.In(chinaTime).Format(bodyTime) }
