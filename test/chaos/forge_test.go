package chaos

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"payscore-collector/internal/simulator"
)

// forgeries are notifications of a payment that never was, or not of this
// order, by what is wrong with each. None may be taken.
func forgeries(stranger *rsa.PrivateKey) map[string]simulator.NotificationOptions {
	paid := func(e *simulator.Entity) {
		e.State, e.StateDescription, e.NeedCollection = simulator.StateDone, "", true
		e.Collection = &simulator.Collection{State: simulator.CollectionUserPaid, TotalAmount: e.TotalAmount, PaidAmount: e.TotalAmount}
	}
	foreign := func(e *simulator.Entity) {
		paid(e)
		e.MchID = "1900000000"
	}
	return map[string]simulator.NotificationOptions{
		"a SIGNTEST signature":       {Entity: paid, WrongSignature: true},
		"a stranger's signature":     {Entity: paid, SigningKey: stranger},
		"an old signature":           {Entity: paid, Age: 10 * time.Minute},
		"changed behind its signing": {Entity: paid, Tamper: func(b []byte) []byte { return append(b, ' ') }},
		"another APIv3 key":          {Entity: paid, APIv3Key: "00000000000000000000000000000000"},
		"another merchant's order":   {Entity: foreign},
	}
}

// forge sends workers notifications that lie, until the context is over.
func (w *world) forge(ctx context.Context) {
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		w.book.say("no key to forge with: %v", err)
		return
	}
	r := w.random("forgeries")
	all := forgeries(stranger)
	kinds := slices.Sorted(maps.Keys(all))
	for ctx.Err() == nil {
		<-time.After(100 * time.Millisecond)
		no, kind := w.billing.recent(r), kinds[r.IntN(len(kinds))]
		n, err := w.sim.Notification(no, all[kind])
		if err != nil {
			continue // the platform has no such order
		}
		status := w.post.deliver(r.IntN(len(w.crew)), "/notify/"+w.sim.Merchant().MchID, n.Header, n.Body)
		w.billing.mu.Lock()
		switch {
		case status == http.StatusOK || status == http.StatusNoContent:
			w.billing.forgeriesTaken = append(w.billing.forgeriesTaken, fmt.Sprintf("%s: %s", no, kind))
		case status >= 400 && status < 500:
			w.billing.forgeriesRefused++
		}
		w.billing.mu.Unlock()
	}
}
