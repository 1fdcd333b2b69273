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

// MaxAmount is the largest amount, in fen, that is read out of a message: a
// hundred thousand million yuan. PayScore's own limits are a millionth of it, and
// sums of fifty such amounts are exact in a double, which is what Redis's Lua
// reckons with.
const MaxAmount = 10_000_000_000_000

// integer is a whole number from 0 to MaxAmount. WeChat Pay's pages show some of
// them in quotes.
type integer int64

// UnmarshalJSON reads 123 and "123"; null leaves what is there.
func (n *integer) UnmarshalJSON(b []byte) error {
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
	*n = integer(v)
	return nil
}

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

// Owner returns whose the order is, as far as the message says.
func (o *Order) Owner() owner.Owner {
	return owner.Owner{MchID: o.MchID, AppID: o.AppID, ServiceID: o.ServiceID}
}

// UnmarshalJSON reads an order. Its amount may stand in quotes.
func (o *Order) UnmarshalJSON(b []byte) error {
	type plain Order
	v := struct {
		*plain
		TotalAmount integer `json:"total_amount"`
	}{plain: (*plain)(o)}
	err := json.Unmarshal(b, &v)
	o.TotalAmount = int64(v.TotalAmount)
	return err
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
		TotalAmount  integer  `json:"total_amount"`
		PayingAmount integer  `json:"paying_amount"`
		PaidAmount   *integer `json:"paid_amount"`
	}{plain: (*plain)(c)}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	c.TotalAmount, c.PayingAmount = int64(v.TotalAmount), int64(v.PayingAmount)
	// A key that comes twice is read into the same value twice.
	c.PaidAmount, c.silent = 0, v.PaidAmount == nil && len(c.Details) == 0
	if v.PaidAmount != nil {
		c.PaidAmount = int64(*v.PaidAmount)
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
	Seq           int64  `json:"seq"`
	Amount        int64  `json:"amount"`
	PaidType      string `json:"paid_type"`
	PaidTime      string `json:"paid_time"`
	TransactionID string `json:"transaction_id"`
}

// UnmarshalJSON reads a detail. Its numbers may stand in quotes.
func (d *Detail) UnmarshalJSON(b []byte) error {
	type plain Detail
	v := struct {
		*plain
		Seq    integer `json:"seq"`
		Amount integer `json:"amount"`
	}{plain: (*plain)(d)}
	err := json.Unmarshal(b, &v)
	d.Seq, d.Amount = int64(v.Seq), int64(v.Amount)
	return err
}

// Payment is one payment of an order.
type Payment struct {
	TransactionID string    // what refunds and bills go by; empty for MCH
	Amount        int64     // fen
	PaidType      string    // NEWTON or PaidTypeMCH
	PaidAt        time.Time // to the second; zero where it was not said
	Seq           int64     // its place among the order's payments, from 1 on
}

// Payments returns the order's payments, by their seq. One without a seq has its
// place in the list for it; one without an amount is left out.
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
			d.Seq = int64(i) + 1
		}
		list = append(list, Payment{clip(d.TransactionID), d.Amount, clip(d.PaidType), paidAt(d.PaidTime), d.Seq})
	}
	slices.SortStableFunc(list, func(a, b Payment) int { return cmp.Compare(a.Seq, b.Seq) })
	return list
}

// china is the zone of the times in orders' bodies.
var china = time.FixedZone("Asia/Shanghai", 8*60*60)

// paidAt reads a paid_time: yyyyMMddHHmmss on the clock of China, or RFC 3339.
// It is zero for anything else.
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

// LastPayment returns the latest payment by seq, or the zero Payment. Where it has
// no transaction_id, which is what refunds need, it has that of the latest one
// that does: a user can pay a part through PayScore, and the rest elsewhere, as
// the merchant then says by sync.
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

// Done reports whether the order is finished as paid, by its state and by its
// collection's, whatever its amounts are.
func (o *Order) Done() bool {
	return o.State == "DONE" && o.Collection != nil && o.Collection.State == "USER_PAID"
}

// Judge decides what a signed order says, by its three state fields together
// (state, state_description, collection.state) and its amounts. DONE is final, so
// that an order which is DONE and USER_PAID is paid, also where another sum than
// its total came in: no further query or collect call will change that. It is
// not while more is to come by its own word, or nothing at all has come.
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
		case collection == "USER_PAID" && o.Collection.PayingAmount == 0 && (o.Paid() > 0 || o.Total() == 0):
			return Paid, "" // a total of 0 is one that was not said
		case collection == "USER_PAID":
			return InProgress, "partly_paid"
		}
	}
	return Unknown, "contradictory_state"
}
