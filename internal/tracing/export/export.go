// Package export sends spans by OTLP over HTTP to where OTEL_* says.
package export

import (
	"context"
	"net/http"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"

	"payscore-collector/internal/logging"
	"payscore-collector/internal/tracing"
	"payscore-collector/internal/version"
)

// flushWithin is the time for the last spans when the process ends.
const flushWithin = 2 * time.Second

// Wanted reports whether the environment says where spans go.
func Wanted(lookup func(string) (string, bool)) bool {
	get := func(name string) string {
		value, _ := lookup(name)
		return value
	}
	endpoint := get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") + get("OTEL_EXPORTER_OTLP_ENDPOINT")
	return endpoint != "" && get("OTEL_SDK_DISABLED") != "true" && get("OTEL_TRACES_EXPORTER") != "none"
}

// Start makes this process send its spans, if the environment says where: endpoint,
// headers, time-out, sampler and the rest are OpenTelemetry's own variables. Otherwise it
// does nothing at all. stop sends what is left. Spans that cannot be sent are dropped: the
// collection does not wait for them.
func Start(ctx context.Context, service string, log zerolog.Logger) (stop func(), err error) {
	if !Wanted(os.LookupEnv) {
		return func() {}, nil
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, err
	}
	// The last attribute of a name wins: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
	// come after ours.
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", service), attribute.String("service.version", version.Read().Version)),
		resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		return nil, err
	}
	trouble := log.Sample(&zerolog.BurstSampler{Burst: 1, Period: time.Minute})
	otel.SetLogger(logr.Discard())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {
		// The error's own text can have the endpoint with its credentials.
		trouble.Warn().Str(logging.FieldEvent, "traces_not_sent").
			Msg("spans could not be sent to OTEL_EXPORTER_OTLP_ENDPOINT and were dropped; collecting continues (log sampled)")
	}))
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(about))
	tracing.Use(provider)
	log.Info().Str(logging.FieldEvent, "traces_enabled").Msg("spans are sent to OTEL_EXPORTER_OTLP_ENDPOINT")
	return func() {
		tracing.Use(nil)
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushWithin)
		defer cancel()
		_ = provider.Shutdown(late)
	}, nil
}

// Handler makes a span of each request to a handler, below that of a caller who sends
// traceparent. Where no spans are made, it returns the handler as it is.
func Handler(h http.Handler, name string) http.Handler {
	if !tracing.On() {
		return h
	}
	return otelhttp.NewHandler(h, name, otelhttp.WithTracerProvider(tracing.Provider()), otelhttp.WithPropagators(propagation.TraceContext{}),
		otelhttp.WithSpanNameFormatter(func(name string, _ *http.Request) string { return name }))
}
