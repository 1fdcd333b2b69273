package books

import (
	"encoding/json"
	"slices"
	"time"

	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
)

// Tally counts orders and what they come to, in fen.
type Tally struct {
	Orders int64 `json:"orders" doc:"Orders." example:"2"`
	Amount int64 `json:"amount" doc:"Fen." example:"1750"`
}

// Result is what comes of comparing a day. Its JSON is part of the interface; amounts are
// in fen.
type Result struct {
	MchID string `json:"mchid" doc:"Merchant number." example:"1900000109"`
	Date  string `json:"date" doc:"The day, in Shanghai." example:"2026-01-01"`
	Bill  struct {
		Rows         int64  `json:"rows" doc:"Rows of the bill."`
		PayScoreRows int64  `json:"payscore_rows" doc:"Payments and refunds of PayScore orders."` // payments and refunds of PayScore orders
		Amount       int64  `json:"amount" doc:"Fen." example:"1750"`                             // of those payments
		SHA1         string `json:"sha1" doc:"SHA1 of the uncompressed bill; empty for a day without transactions."`
	} `json:"bill" doc:"WeChat Pay's trade bill of the day; its amount is that of PayScore payments."`
	// Ledger are the day's payments that WeChat Pay has signed, without those elsewhere
	// (MCH), and Matched are those of them that a bill has with the same amount.
	Ledger  Tally `json:"ledger" doc:"The day's payments that WeChat Pay has signed, without those elsewhere."`
	Matched Tally `json:"matched" doc:"Those of them that a bill has with the same amount."`
	// Waiting are payments around midnight that may be in the bill of a neighbouring day,
	// which could not be had.
	Waiting *Tally `json:"waiting,omitempty" doc:"Payments around midnight that may be in a neighbouring bill, which could not be had."`
	// Exceptions is never nil. LeftOut is how many more than MaxExceptions there are.
	Exceptions []Exception `json:"exceptions" nullable:"false" doc:"What does not agree."`
	LeftOut    int64       `json:"exceptions_left_out,omitempty" doc:"How many more exceptions there are than are listed."`
	// Ask are the orders, not paid yet, of which the bill has a payment that the ledger has
	// not: they must be queried.
	Ask      []string  `json:"-"`
	ClosedAt time.Time `json:"closed_at,omitzero" doc:"When the day was compared."`
}

// Exception is one thing in which the bill and the ledger do not agree.
type Exception struct {
	Kind          explain.BookKind `json:"kind" enum:"paid_in_bill_only,paid_in_ledger_only,amount_differs,paid_twice,refunded,unknown_order" doc:"What does not agree; refunded is information."`
	OutOrderNo    string           `json:"out_order_no,omitempty" doc:"The order."`
	OrderID       string           `json:"order_id,omitempty" doc:"WeChat Pay's number of the order."`
	TransactionID string           `json:"transaction_id,omitempty" doc:"WeChat Pay's number of the payment."`
	BillAmount    int64            `json:"bill_amount,omitempty" doc:"Fen, by the bill."`
	LedgerAmount  int64            `json:"ledger_amount,omitempty" doc:"Fen, by WeChat Pay's signed word."`
	State         ledger.State     `json:"state,omitempty" doc:"The order's state; absent where the ledger does not have it."`
	Detail        string           `json:"detail" doc:"In words."`
	// Of a paid_twice: the other transaction_ids, and the refund that would mend it.
	Others []string `json:"other_transaction_ids,omitempty" doc:"Of a paid_twice: the order's other payments."`
	Refund *Refund  `json:"refund,omitempty" doc:"Of a paid_twice: the body of POST /v3/refund/domestic/refunds that would mend it."`

	Facts explain.BookException `json:"-"` // for words in another language
}

// Refund is the body of POST /v3/refund/domestic/refunds that gives back what was paid too
// much. Nothing here sends it.
type Refund struct {
	TransactionID string       `json:"transaction_id" doc:"The payment to refund."`
	OutRefundNo   string       `json:"out_refund_no" doc:"The merchant's number of the refund."`
	Reason        string       `json:"reason" doc:"Why."`
	Amount        RefundAmount `json:"amount" doc:"How much."`
}

// RefundAmount is in fen: what is refunded, and what the payment came to.
type RefundAmount struct {
	Refund   int64  `json:"refund" doc:"Fen to refund."`
	Total    int64  `json:"total" doc:"Fen of the payment."`
	Currency string `json:"currency" doc:"CNY."`
}

// String is the refund as it is copied.
func (r Refund) String() string {
	text, _ := json.Marshal(r) // cannot fail: texts and numbers
	return string(text)
}

// MaxExceptions is how many exceptions of a day are listed.
const MaxExceptions = 10_000

// Counts returns how many exceptions are listed of each kind.
func (r Result) Counts() map[explain.BookKind]int64 {
	counts := make(map[explain.BookKind]int64, len(explain.BookKinds))
	for _, k := range explain.BookKinds {
		counts[k] = 0
	}
	for _, e := range r.Exceptions {
		counts[e.Kind]++
	}
	return counts
}

// Agrees reports whether nothing asks for an action.
func (r Result) Agrees() bool {
	return r.LeftOut == 0 && !slices.ContainsFunc(r.Exceptions, func(e Exception) bool { return !e.Kind.Alone() })
}
