package ledger

import (
	"cmp"
	"encoding/json"
	"errors"
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

// MaxPayments is how many payments of an order are listed. A list that is longer
// does not add up to what was paid, and is told as Differs; what was paid counts
// whole.
const MaxPayments = 50

// packPayments writes payments as they stand in a record and in the stream:
// "<seq>|<amount>|<paid_type>|<Unix seconds>|<transaction_id>", joined by ";",
// texts escaped as in a path. common.lua reads it too.
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
