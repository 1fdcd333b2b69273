package intake

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// outage is a hook that fails the next calls of scripts, a pipeline as one; below 0 it
// fails all.
type outage struct{ calls atomic.Int64 }

var errOutage = errors.New("no answer")

func (o *outage) strikes() bool {
	left := o.calls.Load()
	if left > 0 {
		o.calls.Add(-1)
	}
	return left != 0
}

func (o *outage) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (o *outage) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() != "evalsha" || !o.strikes() {
			return next(ctx, cmd)
		}
		cmd.SetErr(errOutage)
		return errOutage
	}
}

func (o *outage) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() != "evalsha" || !o.strikes() {
			return next(ctx, cmds)
		}
		for _, cmd := range cmds {
			cmd.SetErr(errOutage)
		}
		return errOutage
	}
}

// submitted is how a Submitter deals with n rows, of which the second is bad, while
// Redis fails some calls.
type submitted struct {
	read    int
	results string
	said    string
}

func submit(t *testing.T, ctx context.Context, fails, n int, retry time.Duration) submitted {
	t.Helper()
	server := redistest.Start(t)
	hook := &outage{}
	hook.calls.Store(int64(fails))
	server.Client.AddHook(hook)
	var got submitted
	s := Submitter{
		Producer: tasks.NewProducer(server.Client), Retry: retry, Grace: time.Second,
		Say: func(format string, args ...any) { got.said += fmt.Sprintf(format, args...) + "\n" },
	}
	items := func(yield func(Item) bool) {
		for i := range n {
			got.read++
			row := Row{Line: int64(i + 2), OutOrderNo: fmt.Sprint("A", i)}
			if i == 1 {
				row.Err = errors.New("is bad")
			}
			if !yield(row.Item(tasks.Owner{MchID: "19", AppID: "wx1", ServiceID: "500"})) {
				return
			}
		}
	}
	var results []string
	for it, res := range s.Submit(ctx, items) {
		results = append(results, strings.TrimSpace(fmt.Sprint(it.Row.Line, " ", res.Status, " ", Detail(res))))
	}
	got.results = strings.Join(results, ", ")
	return got
}

func TestSubmitter(t *testing.T) {
	for name, c := range map[string]struct {
		fails int
		want  submitted
	}{
		"results in the order of the rows":          {0, submitted{4, "2 accepted, 3 invalid is bad, 4 accepted, 5 accepted", ""}},
		"a failure that has ended is not mentioned": {1, submitted{4, "2 accepted, 3 invalid is bad, 4 accepted, 5 accepted", ""}},
		"an outage is said once": {4, submitted{4, "2 accepted, 3 invalid is bad, 4 accepted, 5 accepted",
			"Redis fails (the order was not enqueued: no answer); trying again for 10s\nRedis is back\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := submit(t, t.Context(), c.fails, 4, 10*time.Second); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
	t.Run("an outage without end stops the reading", func(t *testing.T) {
		got := submit(t, t.Context(), -1, 2000, 60*time.Millisecond)
		if !strings.HasPrefix(got.results, "2 failed the order was not enqueued: no answer, 3 invalid is bad, 4 failed") || got.read > 501 {
			t.Errorf("%d rows were read, want one batch; results %.200s", got.read, got.results)
		}
	})
	t.Run("a signal ends the retries", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		start := time.Now()
		if got := submit(t, ctx, -1, 1, time.Minute); time.Since(start) > 30*time.Second {
			t.Errorf("it took %v: %+v", time.Since(start), got)
		}
	})
	t.Run("without a producer, orders are only checked", func(t *testing.T) {
		items := func(yield func(Item) bool) {
			for _, row := range []Row{{OutOrderNo: "A1"}, {OutOrderNo: "A.1"}, {OutOrderNo: "A2", Err: errors.New("is bad")}} {
				if !yield(row.Item(tasks.Owner{MchID: "19", AppID: "wx1", ServiceID: "500"})) {
					return
				}
			}
		}
		got := ""
		for it, res := range (Submitter{}).Submit(t.Context(), items) {
			got += fmt.Sprintln(it.Order.OutOrderNo, res.Status, Detail(res))
		}
		want := "A1 valid \nA.1 invalid out_order_no has '.' at position 2; only digits, letters and _ | * - are allowed\nA2 invalid is bad\n"
		if got != want {
			t.Errorf("results %q, want %q", got, want)
		}
	})
}

func TestRow_Item(t *testing.T) {
	defaults := tasks.Owner{MchID: "19", AppID: "wx1", ServiceID: "500"}
	for _, c := range []struct {
		row  Row
		want tasks.Payload
	}{
		{Row{OutOrderNo: "A1"}, tasks.Payload{MchID: "19", OutOrderNo: "A1", AppID: "wx1", ServiceID: "500"}},
		{Row{OutOrderNo: "A1", MchID: "20", AppID: "wx2", ServiceID: "600"}, tasks.Payload{MchID: "20", OutOrderNo: "A1", AppID: "wx2", ServiceID: "600"}},
	} {
		if got := c.row.Item(defaults).Order.Payload; got != c.want {
			t.Errorf("order %+v, want %+v", got, c.want)
		}
	}
	if got := fmt.Sprint(Missing(tasks.Owner{MchID: "19"}, func(name string) bool { return name == "appid" })); got != "[service_id]" {
		t.Errorf("missing %s, want [service_id]", got)
	}
}
