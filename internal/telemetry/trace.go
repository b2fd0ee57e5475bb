package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Header is the one by which a trace goes on from one program to the next (W3C Trace Context).
const Header = "Traceparent"

var propagator propagation.TraceContext

// Trace sends traces to a collector by OTLP over HTTP, a part of those that no client has begun.
// Stop sends what is left.
func (t *Telemetry) Trace(ctx context.Context, collector string, part float64, instance string, log *slog.Logger) (stop func(context.Context), err error) {
	u, err := url.Parse(collector)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("--otlp-endpoint %q is not a URL such as http://localhost:4318", collector)
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/traces"
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()))
	if err != nil {
		return nil, fmt.Errorf("send traces to %s: %w", collector, err)
	}
	provider := sdk.NewTracerProvider(
		sdk.WithBatcher(loggedExporter{exporter, log.With("component", "telemetry")}, sdk.WithBatchTimeout(time.Second)),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(part))),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", "hark"), attribute.String("service.instance.id", instance))),
	)
	t.tracer = provider.Tracer("hark")
	return func(ctx context.Context) { provider.Shutdown(ctx) }, nil // the exporter has logged it
}

// loggedExporter logs what cannot be sent, and loses it.
type loggedExporter struct {
	sdk.SpanExporter
	log *slog.Logger
}

// ExportSpans implements sdk.SpanExporter.
func (e loggedExporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if err := e.SpanExporter.ExportSpans(ctx, spans); err != nil {
		e.log.Warn("traces could not be sent", "spans", len(spans), "err", err)
	}
	return nil
}

// Span is a step of a trace. The zero Span is none, and nothing happens to it.
type Span struct{ span trace.Span }

// Accept begins the trace of a request, as part of the client's if that sent one.
func (t *Telemetry) Accept(r *http.Request, name string) (context.Context, Span) {
	if t.tracer == nil {
		return r.Context(), Span{}
	}
	ctx, span := t.tracer.Start(propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header)), name, trace.WithSpanKind(trace.SpanKindServer))
	return ctx, Span{span}
}

// Start begins a step of the trace that the context is part of.
func (t *Telemetry) Start(ctx context.Context, name string) (context.Context, Span) {
	if t.tracer == nil || !trace.SpanContextFromContext(ctx).IsSampled() {
		return ctx, Span{}
	}
	ctx, span := t.tracer.Start(ctx, name)
	return ctx, Span{span}
}

// Call begins the step of a call to another program, for what other traces (see [Carried]) wait
// for, of which the first is gone on with.
func (t *Telemetry) Call(ctx context.Context, name string, carried []string) (context.Context, Span) {
	if t.tracer == nil || len(carried) == 0 {
		return ctx, Span{}
	}
	ctx = join(ctx, carried[0])
	var links []trace.Link
	for _, c := range carried[1:] {
		if c != carried[0] {
			links = append(links, trace.LinkFromContext(join(context.Background(), c)))
		}
	}
	ctx, span := t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithLinks(links...))
	return ctx, Span{span}
}

// Past notes a step of a carried trace that is over.
func (t *Telemetry) Past(carried, name string, started time.Time, attributes ...any) {
	if t.tracer == nil || carried == "" {
		return
	}
	_, span := t.tracer.Start(join(context.Background(), carried), name, trace.WithTimestamp(started))
	s := Span{span}
	s.Set(attributes...)
	s.End(nil)
}

// Carried returns the context's place in its trace as text, "" when it is in none that is
// recorded: for what goes on elsewhere or later.
func Carried(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagator.Inject(ctx, carrier)
	return carrier[strings.ToLower(Header)]
}

func join(ctx context.Context, carried string) context.Context {
	return propagator.Extract(ctx, propagation.MapCarrier{strings.ToLower(Header): carried})
}

// Set adds attributes: names and values in turn, each an integer, a float or text.
func (s Span) Set(attributes ...any) {
	if s.span == nil {
		return
	}
	for i := 0; i+1 < len(attributes); i += 2 {
		key := attribute.Key(attributes[i].(string))
		switch v := attributes[i+1].(type) {
		case int:
			s.span.SetAttributes(key.Int(v))
		case uint64:
			s.span.SetAttributes(key.Int64(int64(v)))
		case float64:
			s.span.SetAttributes(key.Float64(v))
		default:
			s.span.SetAttributes(key.String(fmt.Sprint(v)))
		}
	}
}

// End ends the step, with what went wrong, if anything.
func (s Span) End(err error) {
	if s.span == nil {
		return
	}
	if err != nil {
		s.span.SetStatus(codes.Error, err.Error())
	}
	s.span.End()
}
