package collect

import (
	"slices"
	"testing"

	"github.com/hibiken/asynq"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/internal/tracing"
	"payscore-collector/tasks"
)

// A hand-over, its steps and their calls have spans: the steps are linked to the
// hand-over by the task's header, and nothing in them is a secret. Not parallel: spans are
// made for the whole process.
func TestTraces(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	tracing.Use(trace.NewTracerProvider(trace.WithSpanProcessor(recorder)))
	defer tracing.Use(nil)
	b := newFixture(t, redistest.Start(t))
	b.platform.collect = says(collectReply(payscore.Declined))
	p := b.payload("A")
	if res, err := b.producer.Enqueue(t.Context(), tasks.Order{Payload: p}); err != nil || res.Status != tasks.Accepted {
		t.Fatal(res, err)
	}
	for _, res := range b.producer.EnqueueAll(t.Context(), slices.Values([]tasks.Order{{Payload: b.payload("BATCH")}})) {
		if res.Status != tasks.Accepted {
			t.Fatal(res)
		}
	}
	info := b.task("A", 1)
	if info == nil || info.Headers[tracing.Header] == "" || b.task("BATCH", 1).Headers[tracing.Header] == "" {
		t.Fatalf("the task has no traceparent: %+v", info)
	}
	if err := b.process(t.Context(), asynq.NewTaskWithHeaders(info.Type, info.Payload, info.Headers), p, 1); err != nil {
		t.Fatal(err)
	}
	b.wants("A", tasks.Awaiting, ledger.Recheck, "collect")

	byName := map[string]trace.ReadOnlySpan{}
	for _, s := range recorder.Ended() {
		byName[s.Name()] = s
		for _, a := range s.Attributes() {
			if !slices.Contains([]string{"payscore.mchid", "payscore.out_order_no", "payscore.plan", "payscore.state", "payscore.verdict",
				"payscore.result", "payscore.orders", "payscore.code", "payscore.request_id", "http.response.status_code"}, string(a.Key)) {
				t.Errorf("the span %s has %s", s.Name(), a.Key)
			}
		}
	}
	enqueue, step, call := byName["payscore enqueue"], byName["payscore step"], byName["wechatpay collect"]
	if enqueue == nil || step == nil || call == nil || byName["payscore enqueue batch"] == nil || len(byName) != 4 {
		t.Fatalf("the spans are %v", byName)
	}
	if l := step.Links(); len(l) != 1 || l[0].SpanContext.SpanID() != enqueue.SpanContext().SpanID() {
		t.Errorf("the step is linked to %v", l)
	}
	if call.Parent().SpanID() != step.SpanContext().SpanID() {
		t.Error("the call is not below its step")
	}
	said := map[string]string{}
	for _, s := range []trace.ReadOnlySpan{enqueue, step, call} {
		for _, a := range s.Attributes() {
			said[s.Name()+" "+string(a.Key)] = a.Value.String()
		}
	}
	for name, want := range map[string]string{
		"payscore enqueue payscore.result": "accepted", "payscore step payscore.plan": "collect", "payscore step payscore.state": "awaiting",
		"payscore step payscore.out_order_no": "A", "wechatpay collect payscore.verdict": "declined", "wechatpay collect payscore.mchid": b.mchid,
	} {
		if said[name] != want {
			t.Errorf("%s is %q, want %q", name, said[name], want)
		}
	}
}
