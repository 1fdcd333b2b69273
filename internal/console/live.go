package console

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/ledger"
)

// A page that is live keeps a connection open, on which it learns that something has
// changed; it then fetches itself again. What has changed is not sent: the page shows it.

const (
	liveEvery = time.Second      // between two looks for changes
	liveBeat  = 10 * time.Second // after which a page is fetched again in any case
	liveMost  = 64               // connections
	liveEnd   = time.Hour        // after which a browser connects again
)

// hub looks for changes for all live pages of this process together.
type hub struct {
	redis redis.UniversalClient
	ctx   context.Context

	mu        sync.Mutex
	listeners map[*listener]bool
	running   bool // run does; it may have not noticed yet that the last listener left
}

// listener is a live page.
type listener struct {
	mchids  []string
	changed chan struct{} // of one
}

func newHub(ctx context.Context, rdb redis.UniversalClient) *hub {
	return &hub{ctx: ctx, redis: rdb, listeners: map[*listener]bool{}}
}

// listen adds a page; nil where there are too many.
func (h *hub) listen(mchids []string) *listener {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.listeners) >= liveMost {
		return nil
	}
	l := &listener{mchids: mchids, changed: make(chan struct{}, 1)}
	h.listeners[l] = true
	if !h.running {
		h.running = true
		go h.run()
	}
	return l
}

func (h *hub) leave(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.listeners, l)
}

// wanted are the merchants that pages show; none where there are no pages, which ends run.
func (h *hub) wanted() []string {
	all := map[string]bool{}
	for l := range h.listeners {
		for _, mchid := range l.mchids {
			all[mchid] = true
		}
	}
	return slices.Collect(maps.Keys(all))
}

func (h *hub) run() {
	seen := map[string]string{}
	tick := time.NewTicker(liveEvery)
	defer tick.Stop()
	for {
		h.mu.Lock()
		mchids := h.wanted()
		h.running = len(h.listeners) > 0 && h.ctx.Err() == nil
		over := !h.running
		h.mu.Unlock()
		if over {
			return // listen starts it again
		}
		changed := h.look(mchids, seen)
		h.mu.Lock()
		for l := range h.listeners {
			if slices.ContainsFunc(l.mchids, func(mchid string) bool { return changed[mchid] }) {
				select {
				case l.changed <- struct{}{}:
				default:
				}
			}
		}
		h.mu.Unlock()
		select {
		case <-tick.C:
		case <-h.ctx.Done():
		}
	}
}

// look compares the newest entries of merchants' streams with those that it has seen. A
// merchant that is new counts as changed.
func (h *hub) look(mchids []string, seen map[string]string) map[string]bool {
	ctx, cancel := context.WithTimeout(h.ctx, pageTime)
	defer cancel()
	changed := map[string]bool{}
	for part := range slices.Chunk(mchids, 200) {
		pipe := h.redis.Pipeline()
		type newest struct{ outcomes, audit *redis.XMessageSliceCmd }
		list := make([]newest, len(part))
		for i, mchid := range part {
			keys := ledger.KeysOf(mchid)
			list[i] = newest{pipe.XRevRangeN(ctx, keys.Outcomes(), "+", "-", 1), pipe.XRevRangeN(ctx, keys.Audit(), "+", "-", 1)}
		}
		if _, err := pipe.Exec(ctx); err != nil {
			continue // the next look sees it
		}
		for i, mchid := range part {
			now := ""
			for _, entries := range [][]redis.XMessage{list[i].outcomes.Val(), list[i].audit.Val()} {
				now += "/"
				if len(entries) > 0 {
					now += entries[0].ID
				}
			}
			if before, ok := seen[mchid]; !ok || before != now {
				seen[mchid], changed[mchid] = now, true
			}
		}
	}
	return changed
}

// live tells a page that something has changed, as server-sent events.
func (c *Console) live(v *view) error {
	ledgers, err := v.ledgers(v.r.FormValue("mchid"))
	if err != nil {
		return err
	}
	l := c.hub.listen(mchidsOf(ledgers))
	if l == nil {
		return problem(http.StatusServiceUnavailable, v.word("problem.too_many_live"))
	}
	defer c.hub.leave(l)
	control := http.NewResponseController(v.w)
	_ = control.SetReadDeadline(time.Time{})
	h := v.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	send := func(event string) bool {
		_ = control.SetWriteDeadline(time.Now().Add(10 * time.Second))
		_, err := fmt.Fprintf(v.w, "event: %s\ndata:\n\n", event)
		return err == nil && control.Flush() == nil
	}
	beat, end := time.NewTicker(liveBeat), time.After(liveEnd)
	defer beat.Stop()
	for ok := send("open"); ok; {
		select {
		case <-v.ctx().Done():
			return nil
		case <-c.stopping.Done():
			return nil
		case <-end:
			return nil
		case <-l.changed:
			ok = send("changed")
		case <-beat.C:
			ok = send("beat")
		}
		// A caller whose token is no longer valid learns nothing more.
		if caller, _, err := c.caller(v.r); err != nil || caller.Name == "" {
			return nil
		}
	}
	return nil
}
