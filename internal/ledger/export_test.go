package ledger

import (
	"context"
	"time"
)

// EncodeEntry returns an entry of a log as the scripts write it.
func EncodeEntry(e Entry, ms int64) string {
	b := e.encode()
	t := uint64(time.UnixMilli(ms).UnixMilli() - entryEpoch)
	stamp := []byte{byte(t >> 32), byte(t >> 24), byte(t >> 16), byte(t >> 8), byte(t)}
	return string(b[:1]) + string(stamp) + string(b[1:])
}

// Slot is one try of AwaitSlot.
func (l *Ledger) Slot(ctx context.Context, rate float64) (granted bool, wait time.Duration, err error) {
	return l.slot(ctx, rate)
}

// Cause returns the field cause of a record, also of a compact one.
func (l *Ledger) Cause(ctx context.Context, no string) (string, error) {
	reply, err := getScript.Run(ctx, l.rdb, []string{l.keys.Order(no), l.keys.Log(no), l.keys.Words()}).Slice()
	if err != nil {
		return "", err
	}
	fields, _ := reply[0].([]any)
	return pairs(fields)["cause"], nil
}
