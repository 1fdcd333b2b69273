package eventstream

import (
	"cmp"
	"context"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"payscore-collector/internal/ledger"
)

// mostBehind is how many merchants may catch up at once. Each of them holds one batch more
// than Options.Lanes; every other merchant holds one batch.
const mostBehind = 8

// divided is a batch whose events go through several lanes.
type divided struct {
	ids  []string
	left atomic.Int32 // lanes that have not handled their part yet
}

// part is what one lane handles of a batch.
type part struct {
	events []ledger.Event
	of     *divided
}

// lanes work on several batches of a merchant at once. The events of an order all go
// through one lane, in their order.
type lanes struct {
	*stream
	seed  maphash.Seed
	parts []chan part
	room  chan struct{} // has an element for each batch that is under way

	mu       sync.Mutex
	underway []*divided // in the order in which they were read
}

// catchUp delivers b and the batches behind it in lanes, as long as they are full. It
// returns when all of them are handled and acknowledged, and then the batch that was not
// full, which it has not delivered. After a failure it gives back what was not acknowledged.
func (s *stream) catchUp(ctx context.Context, b batch) (rest batch, err error) {
	l := &lanes{
		stream: s, seed: maphash.MakeSeed(), parts: make([]chan part, s.opt.Lanes),
		room: make(chan struct{}, s.opt.Lanes),
	}
	g, gctx := errgroup.WithContext(ctx)
	for i := range l.parts {
		l.parts[i] = make(chan part, cap(l.room)) // a part of each batch finds room
		g.Go(func() error { return l.run(gctx, l.parts[i]) })
	}
	var failed error // of reading
	for failed == nil && s.full(b) && l.begin(gctx, b) {
		b = batch{}
		if !time.Now().Before(s.takeOverAt) {
			break
		}
		var msgs []redis.XMessage
		if msgs, failed = s.group(ctx, ">", -1); failed == nil {
			b = s.decode(msgs)
		}
	}
	for _, parts := range l.parts {
		close(parts)
	}
	if err = cmp.Or(g.Wait(), failed, ctx.Err()); err == nil {
		return b, nil
	}
	// Together, so that another member does not get an order's later events first.
	var ids []string
	for _, d := range l.underway {
		ids = append(ids, d.ids...)
	}
	s.giveBack(ctx, append(ids, b.ids...))
	return batch{}, err
}

// begin gives a batch to the lanes when there is room for it. It reports false where ctx
// ends before.
func (l *lanes) begin(ctx context.Context, b batch) bool {
	select {
	case l.room <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	d := &divided{ids: b.ids}
	d.left.Store(int32(len(l.parts)))
	l.mu.Lock()
	l.underway = append(l.underway, d)
	l.mu.Unlock()
	events := make([][]ledger.Event, len(l.parts))
	for _, e := range b.events {
		i := maphash.String(l.seed, e.OutOrderNo) % uint64(len(events))
		events[i] = append(events[i], e)
	}
	for i, list := range events {
		l.parts[i] <- part{list, d}
	}
	return true
}

// run handles the parts of one lane: all that wait together, since a handler's commit costs
// about the same for many events as for few.
func (l *lanes) run(ctx context.Context, parts <-chan part) error {
	for p := range parts {
		events, of := p.events, []*divided{p.of}
		for len(parts) > 0 && int64(len(events)) < l.opt.Batch {
			p = <-parts
			events, of = append(events, p.events...), append(of, p.of)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if len(events) > 0 {
			if err := l.handle(ctx, events); err != nil {
				return handlerError{err}
			}
		}
		for _, d := range of {
			if d.left.Add(-1) > 0 {
				continue
			}
			if err := l.acknowledge(ctx, d.ids); err != nil {
				return err
			}
			l.mu.Lock()
			l.underway = slices.DeleteFunc(l.underway, func(u *divided) bool { return u == d })
			l.mu.Unlock()
			<-l.room
		}
	}
	return nil
}
