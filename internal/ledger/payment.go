package ledger

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Payment is one payment of an order, under WeChat Pay's signature. Its JSON is
// part of the interface. A payment is known by its TransactionID, and one without
// (MCH) by its Seq within the order.
type Payment struct {
	TransactionID string    `json:"transaction_id,omitempty"`
	Amount        int64     `json:"amount"`           // fen
	PaidType      string    `json:"paid_type"`        // NEWTON: through PayScore; MCH: elsewhere, says the merchant
	PaidAt        time.Time `json:"paid_at,omitzero"` // to the second
	Seq           int64     `json:"seq,omitempty"`    // in JSON only where there is no TransactionID
}

// MarshalJSON leaves Seq out of a payment that has a TransactionID to be known by.
func (p Payment) MarshalJSON() ([]byte, error) {
	type plain Payment
	if p.TransactionID != "" {
		p.Seq = 0
	}
	return json.Marshal(plain(p))
}

// MaxPayments is how many payments of an order are listed; MOST in money.lua is the
// same. A longer list does not add up to what was paid, and is reported as Differs when
// the order is done; what was paid counts in full.
const MaxPayments = 50

// ErrAmount reports an amount that cannot be one. Nothing was written.
var ErrAmount = fmt.Errorf("ledger: an amount is not from 0 to %d fen", int64(MaxAmount))

// moneyArgs are facts as the scripts take them; see money.lua.
type moneyArgs struct {
	Signed   map[string]string `json:"signed,omitempty"`
	Total    string            `json:"total,omitempty"`
	Paid     string            `json:"paid,omitempty"`
	Payments string            `json:"payments,omitempty"`
	Done     bool              `json:"done,omitempty"`
	Known    bool              `json:"known,omitempty"`
	Fresh    bool              `json:"fresh,omitempty"`
}

// args returns ErrAmount where an amount of f is out of range.
func (f Facts) args() (moneyArgs, error) {
	a := moneyArgs{Signed: f.texts(), Payments: packPayments(f.Payments), Done: f.Done, Known: f.Known}
	ok := true
	digits := func(n *int64) string {
		if n == nil {
			return ""
		}
		ok = ok && *n >= 0 && *n <= MaxAmount
		return strconv.FormatInt(*n, 10)
	}
	a.Total, a.Paid = digits(f.Total), digits(f.Paid)
	for _, p := range f.Payments {
		_ = digits(&p.Amount)
		ok = ok && p.Seq >= 0
	}
	if !ok {
		return moneyArgs{}, ErrAmount
	}
	return a, nil
}

// packPayments writes payments as they stand in a record and in the stream:
// "<seq>|<amount>|<paid_type>|<Unix seconds>|<transaction_id>", joined by ";",
// texts escaped as in a path. money.lua reads it too.
func packPayments(list []Payment) string {
	var b strings.Builder
	for _, p := range list {
		if b.Len() > 0 {
			b.WriteByte(';')
		}
		at := ""
		if !p.PaidAt.IsZero() {
			at = strconv.FormatInt(p.PaidAt.Unix(), 10)
		}
		b.WriteString(strconv.FormatInt(p.Seq, 10) + "|" + strconv.FormatInt(p.Amount, 10) + "|" +
			url.PathEscape(p.PaidType) + "|" + at + "|" + url.PathEscape(p.TransactionID))
	}
	return b.String()
}

// parsePayments reads them, and sorts them by their seq.
func parsePayments(s string) (list []Payment, ok bool) {
	if s == "" {
		return nil, true
	}
	for entry := range strings.SplitSeq(s, ";") {
		f := strings.Split(entry, "|")
		if len(f) != 5 {
			return nil, false
		}
		seq, err1 := strconv.ParseInt(f[0], 10, 64)
		amount, err2 := strconv.ParseInt(f[1], 10, 64)
		kind, err3 := url.PathUnescape(f[2])
		tx, err4 := url.PathUnescape(f[4])
		if errors.Join(err1, err2, err3, err4) != nil || seq < 0 || amount < 0 {
			return nil, false
		}
		p := Payment{Seq: seq, TransactionID: readable(tx), Amount: amount, PaidType: readable(kind)}
		if f[3] != "" {
			at, err := strconv.ParseInt(f[3], 10, 64)
			if err != nil || at <= 0 || at > latestMS/1000 {
				return nil, false
			}
			p.PaidAt = time.Unix(at, 0).UTC()
		}
		list = append(list, p)
	}
	slices.SortStableFunc(list, func(a, b Payment) int { return cmp.Compare(a.Seq, b.Seq) })
	return list, true
}
