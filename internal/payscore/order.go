package payscore

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"payscore-collector/internal/owner"
)

// MaxAmount is the largest amount, in fen, that is read from a message: a
// hundred thousand million yuan. PayScore's own limits are a millionth of it, and
// sums of fifty such amounts are exact in a double, which Redis's Lua calculates with.
const MaxAmount = 10_000_000_000_000

// Integer is a whole number from 0 to MaxAmount. In messages it may be in quotes, as
// in some of WeChat Pay's samples.
type Integer int64

// UnmarshalJSON reads 123 and "123"; null changes nothing.
func (n *Integer) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	if len(b) >= 2 && b[0] == '"' {
		b = b[1 : len(b)-1]
	}
	v, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil || v < 0 || v > MaxAmount {
		return fmt.Errorf("a number is not a whole one from 0 to %d", int64(MaxAmount))
	}
	*n = Integer(v)
	return nil
}

// Order is WeChat Pay's order entity, as a query's reply and a notification
// carry it (merchant/4012587902), without what this software must not know,
// such as the openid. Unknown fields are ignored. Amounts are fen.
type Order struct {
	AppID            string      `json:"appid"`
	MchID            string      `json:"mchid"`
	OutOrderNo       string      `json:"out_order_no"`
	ServiceID        string      `json:"service_id"`
	OrderID          string      `json:"order_id"`
	State            string      `json:"state"`
	StateDescription string      `json:"state_description"`
	TotalAmount      Integer     `json:"total_amount"`
	NeedCollection   bool        `json:"need_collection"`
	Collection       *Collection `json:"collection"`
}

// Owner returns whose the order is, as far as the message says.
func (o *Order) Owner() owner.Owner {
	return owner.Owner{MchID: o.MchID, AppID: o.AppID, ServiceID: o.ServiceID}
}

// Collection is what is owed and what has come in, in fen.
type Collection struct {
	State        string   `json:"state"`
	TotalAmount  Integer  `json:"total_amount"`
	PayingAmount Integer  `json:"paying_amount"`
	PaidAmount   Integer  `json:"paid_amount"`
	Details      []Detail `json:"details"`

	silent bool // neither an amount nor details say what has come in
}

// UnmarshalJSON reads a collection. An absent paid_amount is not zero: it is then the
// sum of the details, if there are any.
func (c *Collection) UnmarshalJSON(b []byte) error {
	type plain Collection
	v := struct {
		*plain
		PaidAmount *Integer `json:"paid_amount"`
	}{plain: (*plain)(c)}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	// A key that occurs twice is read into the same value twice.
	c.PaidAmount, c.silent = 0, v.PaidAmount == nil && len(c.Details) == 0
	if v.PaidAmount != nil {
		c.PaidAmount = *v.PaidAmount
		return nil
	}
	for _, d := range c.Details {
		c.PaidAmount += d.Amount
	}
	if c.PaidAmount > MaxAmount {
		return fmt.Errorf("the payments come to more than %d", int64(MaxAmount))
	}
	return nil
}

// PaidTypeMCH is the paid_type of a payment that was made elsewhere, as the merchant
// reported by sync. NEWTON is that of one through PayScore.
const PaidTypeMCH = "MCH"

// Detail is one payment towards a collection, as the platform writes it.
type Detail struct {
	Seq           Integer `json:"seq"`
	Amount        Integer `json:"amount"`
	PaidType      string  `json:"paid_type"`
	PaidTime      string  `json:"paid_time"`
	TransactionID string  `json:"transaction_id"`
}

// Payment is one payment of an order.
type Payment struct {
	TransactionID string    // refunds and bills use it; empty for MCH
	Amount        int64     // fen
	PaidType      string    // NEWTON or PaidTypeMCH
	PaidAt        time.Time // to the second; zero if not given
	Seq           int64     // its place among the order's payments, from 1 on
}

// Payments returns the order's payments by their seq. A payment without a seq gets its
// place in the list; one without an amount is left out.
func (o *Order) Payments() []Payment {
	return slices.DeleteFunc(o.details(), func(p Payment) bool { return p.Amount == 0 })
}

func (o *Order) details() []Payment {
	if o.Collection == nil {
		return nil
	}
	var list []Payment
	for i, d := range o.Collection.Details {
		if d.Seq == 0 {
			d.Seq = Integer(i) + 1
		}
		list = append(list, Payment{clip(d.TransactionID), int64(d.Amount), clip(d.PaidType), paidAt(d.PaidTime), int64(d.Seq)})
	}
	slices.SortStableFunc(list, func(a, b Payment) int { return cmp.Compare(a.Seq, b.Seq) })
	return list
}

// china is the time zone of the times in orders' bodies.
var china = time.FixedZone("Asia/Shanghai", 8*60*60)

// paidAt reads a paid_time: yyyyMMddHHmmss on the clock of China, or RFC 3339.
// It returns zero for anything else.
func paidAt(s string) time.Time {
	t, err := time.ParseInLocation("20060102150405", s, china)
	if err != nil {
		t, err = time.Parse(time.RFC3339, s)
	}
	if err != nil || t.Unix() <= 0 {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Second)
}

// Total returns what the order comes to, in fen.
func (o *Order) Total() int64 {
	if o.Collection != nil && o.Collection.TotalAmount != 0 {
		return int64(o.Collection.TotalAmount)
	}
	return int64(o.TotalAmount)
}

// Paid returns what has come in, in fen. If the platform says USER_PAID without an
// amount, that is the total.
func (o *Order) Paid() int64 {
	switch {
	case o.Collection == nil:
		return 0
	case o.Collection.silent && o.Collection.State == "USER_PAID":
		return o.Total()
	}
	return int64(o.Collection.PaidAmount)
}

// LastPayment returns the latest payment by seq, or the zero Payment. If it has no
// transaction_id, it gets that of the latest payment that has one, since refunds need
// it: a user can pay a part through PayScore and the rest elsewhere, as the merchant
// then reports by sync.
func (o *Order) LastPayment() Payment {
	var last Payment
	for _, p := range o.details() {
		if p.TransactionID == "" {
			p.TransactionID = last.TransactionID
		}
		last = p
	}
	return last
}

// Texts returns the texts of the order that WeChat Pay signs, by the names that records
// and events have for them; an empty one says nothing. The ledger lists them in
// ledger.Record.
func (o *Order) Texts() map[string]string {
	last := o.LastPayment()
	return map[string]string{
		"order_id": o.OrderID, "transaction_id": last.TransactionID, "paid_type": last.PaidType,
	}
}

// Done reports whether the order is finished as paid, by its state and its
// collection's state, whatever its amounts are.
func (o *Order) Done() bool {
	return o.State == "DONE" && o.Collection != nil && o.Collection.State == "USER_PAID"
}

// Judge decides what a signed order means, by its three state fields together
// (state, state_description, collection.state) and its amounts. DONE is final, so an
// order that is DONE and USER_PAID is paid, even if the sum that came in is not its
// total: no further query or collect call will change that. It is not paid while it
// says itself that more is to come, or that nothing has come.
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
		// Completed or paid by one field and not by another: it is changing from
		// one state to the next.
		return InProgress, "changing"
	case "DONE":
		switch {
		case collection == "" && o.Paid() == 0 && !o.NeedCollection:
			return NotCollectable, ReasonNothingOwed
		case collection == "USER_PAID" && o.Collection.PayingAmount == 0 && (o.Paid() > 0 || o.Total() == 0):
			return Paid, "" // a total of 0 was not given
		case collection == "USER_PAID":
			return InProgress, "partly_paid"
		}
	}
	return Unknown, "contradictory_state"
}
