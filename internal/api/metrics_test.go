package api_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/api"
	"payscore-collector/internal/testkit"
)

// Every request to an operation is counted with its status, also one that is refused before
// it begins and one whose caller leaves; how long streams last says nothing.
func TestMetrics(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	f := newFixture(t, withTokens(t), func(o *api.Options) { o.Registry = reg })
	f.open(mchA, "OPEN")
	billing := f.as("billing")
	order := "/v1/orders/" + mchA + "/OPEN"
	f.as("viewer").get(order)
	billing.get(order)
	billing.get("/v1/orders/" + mchA + "/NONE")
	f.as("wrong").get(order)
	f.as("viewer").call(http.MethodPost, order+"/withdraw", `{"reason":"x"}`)
	billing.call(http.MethodPost, order+"/withdraw", `{}`)
	billing.call(http.MethodPost, order+"/withdraw", `{"reason":"x"}`)
	billing.get("/v1/nothing") // no operation
	billing.get("/v1/events?mchid=" + mchA)

	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url+"/v1/events?wait=60s&mchid="+mchB, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer viewer")
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	leave()
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()

	want := map[string]float64{
		"get-order 200": 2, "get-order 404": 1, "get-order 401": 1, "get-order observed": 4,
		"withdraw-order 403": 1, "withdraw-order 422": 1, "withdraw-order 200": 1, "withdraw-order observed": 3,
		"read-events 200": 2,
	}
	// An answer is counted when it has ended, of which its caller may hear before.
	var got map[string]float64
	testkit.Eventually(t, "every request to be counted", func() bool {
		got = counted(t, reg)
		return cmp.Equal(want, got)
	}, stringer(func() string { return cmp.Diff(want, got) }))
}

// A wait for events that Redis ends is counted as the problem that answers it.
func TestMetrics_RedisFailsWhileAReaderWaits(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	f := newFixture(t, func(o *api.Options) {
		rdb := redis.NewClient(o.Redis.(*redis.Client).Options())
		t.Cleanup(func() { _ = rdb.Close() })
		rdb.AddHook(brokenWaits{})
		o.Redis, o.Registry = rdb, reg
	})
	f.get("/v1/events?wait=1m&mchid="+mchA).wants(t, http.StatusServiceUnavailable, "Redis does not serve")
	testkit.Eventually(t, "the request to be counted", func() bool { return len(counted(t, reg)) > 0 })
	if got, want := counted(t, reg), map[string]float64{"read-events 503": 1}; !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

// brokenWaits breaks the connection of each command that waits for events.
type brokenWaits struct{}

func (brokenWaits) DialHook(next redis.DialHook) redis.DialHook { return next }

func (brokenWaits) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (brokenWaits) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if slices.Contains(cmd.Args(), any("block")) {
			cmd.SetErr(io.ErrUnexpectedEOF)
			return io.ErrUnexpectedEOF
		}
		return next(ctx, cmd)
	}
}

type stringer func() string

func (s stringer) String() string { return s() }

func counted(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := m.GetLabel() // by name: operation, status
			if h := m.GetHistogram(); h != nil {
				all[labels[0].GetValue()+" observed"] = float64(h.GetSampleCount())
				continue
			}
			all[fmt.Sprintf("%s %s", labels[0].GetValue(), labels[1].GetValue())] = m.GetCounter().GetValue()
		}
	}
	return all
}
