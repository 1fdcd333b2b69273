package payscore

import "encoding/json"

// Order is WeChat Pay's order entity, as a query's reply and a notification
// carry it (merchant/4012587902), without what this software must not know,
// such as the openid. Fields it does not name are let through. Amounts are fen.
type Order struct {
	AppID            string      `json:"appid"`
	MchID            string      `json:"mchid"`
	OutOrderNo       string      `json:"out_order_no"`
	ServiceID        string      `json:"service_id"`
	OrderID          string      `json:"order_id"`
	State            string      `json:"state"`
	StateDescription string      `json:"state_description"`
	TotalAmount      int64       `json:"total_amount"`
	NeedCollection   bool        `json:"need_collection"`
	Collection       *Collection `json:"collection"`
}

// Collection is what is owed and what has come in, in fen.
type Collection struct {
	State        string   `json:"state"`
	TotalAmount  int64    `json:"total_amount"`
	PayingAmount int64    `json:"paying_amount"`
	PaidAmount   int64    `json:"paid_amount"`
	Details      []Detail `json:"details"`

	silent bool // nothing was said of what has come in
}

// UnmarshalJSON reads a collection. An amount that is absent is not nothing:
// what has come in is then the sum of the details, where there are any.
func (c *Collection) UnmarshalJSON(b []byte) error {
	type plain Collection
	v := struct {
		*plain
		PaidAmount *int64 `json:"paid_amount"`
	}{plain: (*plain)(c)}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	// A key that comes twice is read into the same value twice.
	c.PaidAmount, c.silent = 0, v.PaidAmount == nil && len(c.Details) == 0
	if v.PaidAmount != nil {
		c.PaidAmount = *v.PaidAmount
		return nil
	}
	for _, d := range c.Details {
		c.PaidAmount += d.Amount
	}
	return nil
}

// Detail is one payment towards a collection.
type Detail struct {
	Seq           int64  `json:"seq"`
	Amount        int64  `json:"amount"`
	PaidType      string `json:"paid_type"` // NEWTON: through PayScore; MCH: the merchant said so by sync
	PaidTime      string `json:"paid_time"`
	TransactionID string `json:"transaction_id"`
}

// Total returns what the order is about, in fen.
func (o *Order) Total() int64 {
	if o.Collection != nil && o.Collection.TotalAmount != 0 {
		return o.Collection.TotalAmount
	}
	return o.TotalAmount
}

// Paid returns what has come in, in fen. Where the platform says USER_PAID and
// no amount, that is the total.
func (o *Order) Paid() int64 {
	switch {
	case o.Collection == nil:
		return 0
	case o.Collection.silent && o.Collection.State == "USER_PAID":
		return o.Total()
	}
	return o.Collection.PaidAmount
}

// LastPayment returns the latest payment, or the zero Detail. Where it has no
// transaction_id, which is what refunds need, it has that of the latest one that
// does: a user can pay a part through PayScore, and the rest elsewhere, as the
// merchant then says by sync.
func (o *Order) LastPayment() Detail {
	var last Detail
	if o.Collection == nil {
		return last
	}
	for _, d := range o.Collection.Details {
		if d.TransactionID == "" {
			d.TransactionID = last.TransactionID
		}
		last = d
	}
	return last
}

// Judge decides what a signed order says, by its three state fields together
// (state, state_description, collection.state) and its amounts.
func (o *Order) Judge() (v Verdict, reason string) {
	collection := ""
	if o.Collection != nil {
		collection = o.Collection.State
	}
	switch o.State {
	case "CREATED":
		return NotCollectable, ReasonNotConfirmed
	case ReasonRevoked, ReasonExpired:
		return Closed, o.State
	case "DOING":
		switch {
		case o.StateDescription == "USER_CONFIRM" && collection == "":
			return NotCollectable, ReasonNotCompleted
		case o.StateDescription == "MCH_COMPLETE" && collection == "USER_PAYING":
			return Owed, ""
		}
		// Completed or paid by one field and not by another: on its way from
		// one state to the next.
		return InProgress, "changing"
	case "DONE":
		switch {
		case collection == "" && o.Paid() == 0 && !o.NeedCollection:
			return NotCollectable, ReasonNothingOwed
		case collection == "USER_PAID" && o.Collection.PayingAmount == 0 && (o.Paid() == o.Total() || o.Total() == 0):
			return Paid, "" // a total of 0 is one that was not said
		case collection == "USER_PAID":
			return InProgress, "partly_paid"
		}
	}
	return Unknown, "contradictory_state"
}
