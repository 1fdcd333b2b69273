package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Matter is what an operator must look at, and can acknowledge: the alarms of an order, a
// day of the books, or a merchant's webhooks. It is stored.
type Matter string

// HookMatter is the webhooks that billing does not accept.
const HookMatter Matter = "webhooks"

// OrderMatter is the alarms of an order.
func OrderMatter(no string) Matter { return Matter("order " + no) }

// BookMatter is what does not agree in the books of a day.
func BookMatter(date BookDate) Matter { return Matter("books " + string(date)) }

// Order is the number of the matter's order; empty for another matter.
func (m Matter) Order() string {
	no, _ := strings.CutPrefix(string(m), "order ")
	if no == string(m) {
		return ""
	}
	return no
}

// Book is the matter's day; empty for another matter.
func (m Matter) Book() BookDate {
	date, found := strings.CutPrefix(string(m), "books ")
	if !found {
		return ""
	}
	return BookDate(date)
}

// Alarmed reports whether an operator must look at an order.
func (o Order) Alarmed() bool {
	return !o.LatePaymentAt.IsZero() || o.AmountDiffers != nil || o.Sync != nil && o.Sync.State == SyncFailed
}

// Occurrence is what an order's alarms are about now: another payment, difference or
// failed sync makes another one. It is empty without an alarm.
func (o Order) Occurrence() string {
	var parts []string
	if !o.LatePaymentAt.IsZero() {
		fen := int64(0)
		if o.PaidAmount != nil {
			fen = *o.PaidAmount
		}
		parts = append(parts, fmt.Sprintf("late %d %d", o.LatePaymentAt.UnixMilli(), fen))
	}
	if d := o.AmountDiffers; d != nil {
		parts = append(parts, fmt.Sprintf("differs %d %s %d %d", d.At.UnixMilli(), d.Field, d.Known, d.Said))
	}
	if o.Sync != nil && o.Sync.State == SyncFailed {
		parts = append(parts, fmt.Sprintf("sync %d %d", o.Sync.PaidAt.UnixMilli(), o.Sync.Calls))
	}
	return strings.Join(parts, ", ")
}

// Ack is who has acknowledged a matter, when, and with which note.
type Ack struct {
	At         time.Time
	By         string
	Note       string
	Occurrence string // which it was; a newer one is not acknowledged
}

// Acknowledge records that a person has seen an occurrence of a matter, with the deed's
// reason as the note. It replaces what was recorded of the matter before.
func (l *Ledger) Acknowledge(ctx context.Context, d Deed, m Matter, occurrence string) error {
	args := d.args()
	return acknowledgeScript.Run(ctx, l.rdb, []string{l.keys.Acks(), l.keys.Audit()}, string(m), occurrence, m.Order(), args[0], args[1], args[2]).Err()
}

// AcksOf returns what was acknowledged of some matters, by mchid, some hundred matters in a
// round trip.
func AcksOf(ctx context.Context, rdb redis.UniversalClient, matters map[string][]Matter) (map[string]map[Matter]Ack, error) {
	acks := map[string]map[Matter]Ack{}
	type question struct {
		mchid string
		part  []Matter
		reply *redis.SliceCmd
	}
	var asked []question
	pipe, waiting := rdb.Pipeline(), 0
	ask := func() error {
		_, err := pipe.Exec(ctx)
		waiting = 0
		return err
	}
	for mchid, all := range matters {
		acks[mchid] = map[Matter]Ack{}
		for part := range slices.Chunk(all, batchMost) {
			fields := make([]string, len(part))
			for i, m := range part {
				fields[i] = string(m)
			}
			asked = append(asked, question{mchid, part, pipe.HMGet(ctx, KeysOf(mchid).Acks(), fields...)})
			if waiting += len(part); waiting >= batchMost {
				if err := ask(); err != nil {
					return nil, err
				}
			}
		}
	}
	if waiting > 0 {
		if err := ask(); err != nil {
			return nil, err
		}
	}
	for _, q := range asked {
		for i, value := range q.reply.Val() {
			text, ok := value.(string)
			if !ok {
				continue
			}
			var at float64
			var a Ack
			if json.Unmarshal([]byte(text), &[]any{&at, &a.By, &a.Note, &a.Occurrence}) != nil {
				return nil, errReply
			}
			a.At, a.By, a.Note = time.UnixMilli(int64(at)).UTC(), readable(a.By), readable(a.Note)
			acks[q.mchid][q.part[i]] = a
		}
	}
	return acks, nil
}
