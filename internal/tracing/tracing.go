// Package tracing makes OpenTelemetry spans: of a hand-over, of a step and of a call to
// WeChat Pay. Until Use has been called, which package tracing/export does where OTEL_*
// says so, nothing is made and nothing is allocated.
package tracing

import (
	"context"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Header is the header of asynq's tasks that has the span of their hand-over, as W3C Trace
// Context writes it. Another client's task may have it, too.
const Header = "traceparent"

// Attributes of spans. They are what log lines have, and nothing else: no key, no openid,
// no body.
const (
	MchID      = attribute.Key("payscore.mchid")
	OutOrderNo = attribute.Key("payscore.out_order_no")
	Plan       = attribute.Key("payscore.plan")
	State      = attribute.Key("payscore.state")
	Verdict    = attribute.Key("payscore.verdict")
	Result     = attribute.Key("payscore.result") // of a hand-over
	Orders     = attribute.Key("payscore.orders") // how many a batch has
	Code       = attribute.Key("payscore.code")
	RequestID  = attribute.Key("payscore.request_id")
	HTTPStatus = attribute.Key("http.response.status_code")
)

// inUse is what makes spans.
type inUse struct {
	trace.Tracer
	provider trace.TracerProvider
}

var current atomic.Pointer[inUse] // nil: off

// Use makes spans with a provider; nil makes none.
func Use(p trace.TracerProvider) {
	if p == nil {
		current.Store(nil)
		return
	}
	current.Store(&inUse{p.Tracer("payscore-collector"), p})
}

// On reports whether spans are made.
func On() bool { return current.Load() != nil }

// Provider returns what Use was given, or nil.
func Provider() trace.TracerProvider {
	if t := current.Load(); t != nil {
		return t.provider
	}
	return nil
}

// Span is a span, or none.
type Span struct{ trace.Span }

var none = Span{noop.Span{}}

// Of returns the span of ctx.
func Of(ctx context.Context) Span {
	if current.Load() == nil {
		return none
	}
	return Span{trace.SpanFromContext(ctx)}
}

// On reports whether it is one. Attributes are only made for one that is.
func (s Span) On() bool { return s.IsRecording() }

// Set sets attributes.
func (s Span) Set(attributes ...attribute.KeyValue) { s.SetAttributes(attributes...) }

// Failed marks the span as one that did not do what it should; why is a fixed word, such
// as a verdict.
func (s Span) Failed(why string) { s.SetStatus(codes.Error, why) }

// Start begins a span of this process, below the one of ctx.
func Start(ctx context.Context, name string) (context.Context, Span) { return start(ctx, name, nil) }

// Call is Start for a call to another system.
func Call(ctx context.Context, name string) (context.Context, Span) { return start(ctx, name, toOther) }

var toOther = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient)}

func start(ctx context.Context, name string, options []trace.SpanStartOption) (context.Context, Span) {
	t := current.Load()
	if t == nil {
		return ctx, none
	}
	ctx, span := t.Start(ctx, name, options...)
	return ctx, Span{span}
}

// Step begins the span of a task's work. The hand-over may be days ago, so the span is
// linked to it, and begins a trace of its own.
func Step(ctx context.Context, name, traceparent string) (context.Context, Span) {
	if !On() {
		return ctx, none
	}
	options := []trace.SpanStartOption{trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindConsumer)}
	from := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{Header: traceparent})
	if link := trace.SpanContextFromContext(from); link.IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: link}))
	}
	return start(ctx, name, options)
}

// Traceparent returns the span of ctx as Header has it, also one of a caller's own
// OpenTelemetry; empty where there is none.
func Traceparent(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[Header]
}
