package tracing

import (
	"context"
	"crypto/rand"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/safeguard-edge/safeguard/logging"
)

// Key is what an attribute is. There are no others than those below, and none has
// anything about a patient.
type Key struct{ name string }

// The keys. Values are names from the configuration, words of ours, and numbers.
var (
	Feed   = Key{"safeguard.feed"}
	Outbox = Key{"safeguard.outbox"} // a sink's name, or what is owed to the centre
	Answer = Key{"safeguard.answer"}
	Source = Key{"safeguard.source"} // of an answer
	Method = Key{"rpc.method"}
	Caller = Key{"safeguard.caller"} // a certificate's identity
	Repeat = Key{"safeguard.repeat"} // a message that came before
)

// Attribute is a key with its value.
type Attribute struct{ attribute.KeyValue }

// Is gives the key a value.
func (k Key) Is(value string) Attribute { return Attribute{attribute.String(k.name, value)} }

func values(all []Attribute) []attribute.KeyValue {
	out := make([]attribute.KeyValue, len(all))
	for i, a := range all {
		out[i] = a.KeyValue
	}
	return out
}

// Span is one thing that is done about a message. The zero value is none.
type Span struct{ span trace.Span }

// Begin begins a span of what ctx is about; none where ctx is about no message or
// nothing is traced. What is done in it has the returned context.
func Begin(ctx context.Context, name string, all ...Attribute) (context.Context, Span) {
	return begin(ctx, trace.SpanKindInternal, name, all)
}

// Call begins a span of a call to another program.
func Call(ctx context.Context, method string) (context.Context, Span) {
	return begin(ctx, trace.SpanKindClient, "call", []Attribute{Method.Is(method)})
}

// Serve begins a span of a call from another program, which is about a message.
func Serve(ctx context.Context, method, caller string) (context.Context, Span) {
	return begin(ctx, trace.SpanKindServer, "answer", []Attribute{Method.Is(method), Caller.Is(caller)})
}

func begin(ctx context.Context, kind trace.SpanKind, name string, all []Attribute) (context.Context, Span) {
	t := inForce.Load()
	if t == nil || !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx, Span{}
	}
	if entry := logging.Entry(ctx); entry != "" {
		all = append(all, Attribute{attribute.String("safeguard.entry", entry)})
	}
	ctx, span := t.tracer.Start(ctx, name, trace.WithSpanKind(kind), trace.WithAttributes(values(all)...))
	return ctx, Span{span}
}

// Set adds attributes.
func (s Span) Set(all ...Attribute) {
	if s.span != nil {
		s.span.SetAttributes(values(all)...)
	}
}

// End ends the span. That it failed is told, and not why: the log does.
func (s Span) End(failed bool) {
	if s.span == nil {
		return
	}
	if failed {
		s.span.SetStatus(codes.Error, "")
	}
	s.span.End()
}

// Accepted tells that an entry was taken on, which began at a time: the first span
// of its trace. One that came before is a span of that trace.
func Accepted(ctx context.Context, entry int64, feed string, began time.Time, repeat bool) {
	t := inForce.Load()
	if t == nil || entry == 0 {
		return
	}
	ctx = logging.WithEntry(ctx, entry)
	id, root := t.identify(entry)
	about := []Attribute{Feed.Is(feed), {attribute.Int64("safeguard.entry", entry)}}
	if repeat {
		ctx, about = spanned(ctx, id, root), append(about, Repeat.Is("yes"))
	} else {
		ctx = context.WithValue(trace.ContextWithSpanContext(ctx, trace.SpanContext{}), wanted{}, [2]any{id, root})
	}
	_, span := t.tracer.Start(ctx, "accept", trace.WithTimestamp(began), trace.WithAttributes(values(about)...))
	span.End()
}

// ids gives a trace and its first span the ids that are wanted, and others random
// ones.
type ids struct{}

type wanted struct{}

// NewIDs implements the SDK's IDGenerator.
func (g ids) NewIDs(ctx context.Context) (id trace.TraceID, span trace.SpanID) {
	if w, ok := ctx.Value(wanted{}).([2]any); ok {
		return w[0].(trace.TraceID), w[1].(trace.SpanID)
	}
	_, _ = rand.Read(id[:]) // never fails
	return id, g.NewSpanID(ctx, id)
}

// NewSpanID implements the SDK's IDGenerator.
func (ids) NewSpanID(context.Context, trace.TraceID) (span trace.SpanID) {
	_, _ = rand.Read(span[:])
	return span
}

var header propagation.TraceContext

// Header is what a call carries (W3C Trace Context); empty where nothing is traced.
const Header = "traceparent"

// Send is the header's value for what ctx is about.
func Send(ctx context.Context) string {
	if inForce.Load() == nil {
		return ""
	}
	carrier := propagation.MapCarrier{}
	header.Inject(ctx, carrier)
	return carrier[Header]
}

// Receive has ctx be about what the header says. One that can not be read is left
// out.
func Receive(ctx context.Context, value string) context.Context {
	if inForce.Load() == nil {
		return ctx
	}
	return header.Extract(ctx, propagation.MapCarrier{Header: value})
}
