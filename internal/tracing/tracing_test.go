package tracing

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	api "go.opentelemetry.io/otel/trace"
)

// What a step, a call and an enqueueing do costs nothing while no spans are made.
func off(ctx context.Context) {
	ctx, span := Start(ctx, "payscore enqueue")
	if span.On() {
		span.Set(MchID.String("1900000001"))
	}
	_ = Traceparent(ctx)
	span.End()
	ctx, step := Step(ctx, "payscore step", "")
	defer step.End()
	_, call := Call(ctx, "wechatpay collect")
	call.Failed("declined")
	call.End()
	if s := Of(ctx); s.On() {
		s.Set(State.String("awaiting"))
	}
}

func TestOffCostsNothing(t *testing.T) {
	Use(nil)
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() { off(ctx) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if On() || Provider() != nil {
		t.Error("spans are made")
	}
}

func BenchmarkOff(b *testing.B) {
	Use(nil)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		off(ctx)
	}
}

func TestSpans(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	Use(trace.NewTracerProvider(trace.WithSpanProcessor(recorder)))
	defer Use(nil)
	ctx, handover := Start(t.Context(), "payscore enqueue")
	header := Traceparent(ctx)
	handover.End()
	for _, parent := range []string{header, "", "garbage"} {
		ctx, step := Step(ctx, "payscore step", parent)
		_, call := Call(ctx, "wechatpay query")
		call.End()
		step.End()
	}
	ended := recorder.Ended()
	if len(ended) != 7 {
		t.Fatalf("%d spans", len(ended))
	}
	enqueue := ended[0].SpanContext()
	for i := 1; i < len(ended); i += 2 {
		call, step := ended[i], ended[i+1]
		if call.Parent().SpanID() != step.SpanContext().SpanID() || call.SpanKind() != api.SpanKindClient {
			t.Errorf("the call is no call of its step: %v", call)
		}
		if step.Parent().IsValid() || step.SpanContext().TraceID() == enqueue.TraceID() || step.SpanKind() != api.SpanKindConsumer {
			t.Errorf("the step does not begin a trace of its own: %v", step)
		}
		links := step.Links()
		if linked := len(links) == 1 && links[0].SpanContext.SpanID() == enqueue.SpanID(); linked != (i == 1) || len(links) > 1 {
			t.Errorf("step %d is linked to %v", i, links)
		}
	}
}
