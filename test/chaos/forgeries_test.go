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
	paid := func(ev *simulator.Entity) {
		ev.State, ev.StateDescription, ev.NeedCollection = simulator.StateDone, "", true
		ev.Collection = &simulator.Collection{State: simulator.CollectionUserPaid, TotalAmount: ev.TotalAmount, PaidAmount: ev.TotalAmount}
	}
	foreign := func(ev *simulator.Entity) {
		paid(ev)
		ev.MchID = "1900000000"
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

// forge sends workers notifications that lie, until the context ends.
func (e *env) forge(ctx context.Context) {
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		e.journal.fail("no key to forge with: %v", err)
		return
	}
	r := e.random("forgeries")
	all := forgeries(stranger)
	kinds := slices.Sorted(maps.Keys(all))
	for ctx.Err() == nil {
		<-time.After(100 * time.Millisecond)
		no, kind := e.billing.recent(r), kinds[r.IntN(len(kinds))]
		n, err := e.sim.Notification(no, all[kind])
		if err != nil {
			continue // the platform has no such order
		}
		status := e.notify.deliver(r.IntN(len(e.workers)), "/notify/"+e.sim.Merchant().MchID, n.Header, n.Body)
		e.billing.mu.Lock()
		switch {
		case status == http.StatusOK || status == http.StatusNoContent:
			e.billing.forgeriesTaken = append(e.billing.forgeriesTaken, fmt.Sprintf("%s: %s", no, kind))
		case status >= 400 && status < 500:
			e.billing.forgeriesRefused++
		}
		e.billing.mu.Unlock()
	}
}
