package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"payscore-collector/internal/books"
	"payscore-collector/internal/config"
	"payscore-collector/internal/eventstream"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/tasks"
)

const (
	tagEvents = "Events"
	sseType   = "text/event-stream"
)

// Times of a reader of events.
const (
	longestWait = time.Minute
	sseBeat     = 15 * time.Second // between two signs of life
	sseLongest  = time.Hour        // after which a client reconnects by itself
)

func (a *API) addEvents() {
	schemas := a.huma.OpenAPI().Components.Schemas
	schema := schemaOf[ledger.Event](schemas)
	schemas.Map()[strings.TrimPrefix(schema.Ref, "#/components/schemas/")].Properties["books"] = schemaOf[books.Result](schemas) // to the ledger it is any JSON
	add(a, op{
		id: "read-events", method: http.MethodGet, path: "/v1/events", tag: tagEvents, role: config.Viewer, stream: true,
		summary: "Read what happens to orders",
		responses: map[string]*huma.MediaType{
			ndjsonType: {Schema: schema, Example: exampleEvent + "\n"},
			sseType:    {Schema: &huma.Schema{Type: huma.TypeString}, Example: "id: 1900000109-1767319200000-0\nevent: order.paid\ndata: " + exampleEvent + "\n\n"},
		},
		doc: "The events of one merchant, oldest first, one JSON object a line, as `outcomes follow` prints them. `type` is `order.opened`, `order.attempted`, a final state such as `order.paid`, or `order.reopened`; `books.closed` is of no order, its `out_order_no` and `state` are empty, and `books` has what came of the day. More types may come: pass over those that you do not know. Keep the `id` of the last one that you have handled and send it as `after`: the API keeps no reader's place. Events are delivered at least once, in order for each order. With `wait`, a request for which there is no event waits for one. With `Accept: text/event-stream` the events come as server-sent events until the client leaves; it continues by `Last-Event-ID`. A reader that does not keep up is cut off.",
	}, a.events)
}

type eventsInput struct {
	MchID  string `query:"mchid" doc:"The merchant; may be left out where there is only one." example:"1900000109"`
	After  string `query:"after" doc:"The id of the last event that was handled; without it, the oldest event comes first." example:"1900000109-1767319200000-0"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Events in an answer at most. It does not bound server-sent events."`
	Wait   string `query:"wait" doc:"How long to wait for an event, at most 1m." example:"30s"`
	Accept string `header:"Accept" doc:"text/event-stream for server-sent events." example:"application/x-ndjson"`
	LastID string `header:"Last-Event-ID" doc:"Of server-sent events: the id of the last event; it takes the place of after."`
}

func (a *API) events(ctx context.Context, in *eventsInput) (*huma.StreamResponse, error) {
	sse := strings.Contains(in.Accept, sseType)
	after := in.After
	field := "after"
	if sse && in.LastID != "" {
		after, field = in.LastID, "Last-Event-ID"
	}
	var wait time.Duration
	if in.Wait != "" {
		var err error
		if wait, err = time.ParseDuration(in.Wait); err != nil || wait < 0 || wait > longestWait {
			return nil, refuse(http.StatusUnprocessableEntity, "wait", "is %q: write a duration up to 1m, such as 30s", clip(in.Wait))
		}
	}
	first, cancel := context.WithTimeout(ctx, workTime)
	defer cancel()
	mchid, err := a.mchidOfEvents(first, in.MchID, after)
	if err != nil {
		return nil, err
	}
	feed, err := eventstream.FeedAfter(a.Redis, mchid, after)
	if err != nil {
		return nil, refuse(http.StatusUnprocessableEntity, field, "is %q: write the id of an event of merchant %s, or leave it out to begin with the oldest event", clip(after), mchid)
	}
	feed.Unreadable = func(err error) {
		a.Log.Error().Str(logging.FieldEvent, "event_unreadable").Str(logging.FieldMchID, mchid).Err(err).Msg("unreadable event skipped")
	}
	page, err := feed.Read(first, int64(in.Limit), 0)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		r, w := humago.Unwrap(hctx)
		work, stop := context.WithCancel(ctx)
		defer stop()
		defer context.AfterFunc(a.stopping, stop)()
		if sse {
			a.serveSSE(work, w, feed, page, func() bool {
				// A token that was taken out of the file, or changed there, reads no further.
				caller, err := a.access.caller(r)
				return err == nil && caller.allowed(config.Viewer) == nil && caller.may(mchid) == nil
			})
			return
		}
		out := a.newLines(w, ndjsonType)
		for until := time.Now().Add(wait); len(page) == 0 && err == nil && work.Err() == nil && time.Now().Before(until); {
			page, err = feed.Read(work, int64(in.Limit), time.Until(until))
		}
		if err != nil && work.Err() == nil {
			writeProblem(stated{w, hctx}, redisFailed(err))
			return
		}
		for _, e := range page {
			out.write(e)
		}
		out.flush()
	}}, nil
}

// mchidOfEvents returns the merchant whose events are meant. Each has a stream of its own,
// and a place in one says nothing about another.
func (a *API) mchidOfEvents(ctx context.Context, named, after string) (string, error) {
	if named != "" {
		return named, nil
	}
	if mchid, _, ok := strings.Cut(after, "-"); ok && tasks.ValidateMchID(mchid) == nil {
		return mchid, callerOf(ctx).may(mchid)
	}
	mchids, err := a.mchids(ctx, "")
	switch {
	case err != nil:
		return "", err
	case len(mchids) == 1:
		return mchids[0], nil
	case len(mchids) == 0 && len(callerOf(ctx).MchIDs) == 1:
		return callerOf(ctx).MchIDs[0], nil
	case len(mchids) == 0 && len(a.Merchants()) == 1:
		mchid := a.Merchants()[0].MchID
		return mchid, callerOf(ctx).may(mchid)
	}
	return "", refuse(http.StatusUnprocessableEntity, "mchid", "is missing: write whose events to read; each merchant has a stream of its own")
}

// serveSSE sends server-sent events until the client leaves, or may not read them any more.
func (a *API) serveSSE(ctx context.Context, w http.ResponseWriter, feed *eventstream.Feed, page []ledger.Event, may func() bool) {
	out := a.newLines(w, sseType)
	w.Header().Set("X-Accel-Buffering", "no")            // nginx would hold events back
	end, beat := time.Now().Add(sseLongest), time.Time{} // the header is sent at once
	for ctx.Err() == nil && out.err == nil && time.Now().Before(end) && may() {
		for _, e := range page {
			out.print(fmt.Sprintf("id: %s\nevent: %s\ndata: ", e.ID, e.Type))
			out.write(e) // one line, with its end
			out.print("\n")
		}
		if len(page) > 0 || time.Since(beat) >= sseBeat {
			if len(page) == 0 {
				out.print(": alive\n\n")
			}
			out.flush()
			beat = time.Now()
		}
		var err error
		if page, err = feed.Read(ctx, 1000, time.Second); err != nil && !errors.Is(err, context.Canceled) {
			return // the client connects again
		}
	}
}

// print writes a part of a server-sent event.
func (l *lines) print(text string) {
	if l.err == nil {
		_ = l.control.SetWriteDeadline(time.Now().Add(l.within))
		_, l.err = l.w.Write([]byte(text))
	}
}
