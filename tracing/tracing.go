// Package tracing tells an OpenTelemetry receiver what became of a message, from
// the feed that took it to the receipt of the alert, at the agent and at the centre.
// It is off unless a receiver is configured, and the door to OpenTelemetry. A span
// has a fixed name and attributes of the keys below, and nothing about a patient.
package tracing

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/safeguard-edge/safeguard/logging"
)

// Config is the section traces of a program's configuration.
type Config struct {
	Endpoint string  `yaml:"endpoint"` // URL of an OpenTelemetry receiver (OTLP over HTTP), such as http://127.0.0.1:4318/v1/traces; empty for no traces
	CA       string  `yaml:"ca"`       // PEM file: who signed the receiver's certificate; empty for whom the system trusts
	Share    float64 `yaml:"share"`    // of the messages that are traced, from 0 to 1
}

// DefaultConfig traces every message, once there is an endpoint.
func DefaultConfig() Config { return Config{Share: 1} }

// Validate names the first key that can not work.
func (c Config) Validate() error {
	if c.Endpoint == "" {
		return nil
	}
	if u, err := url.Parse(c.Endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return errors.New("endpoint: want a URL such as http://127.0.0.1:4318/v1/traces, without a password")
	}
	if c.Share < 0 || c.Share > 1 || math.IsNaN(c.Share) {
		return fmt.Errorf("share: %v, want from 0 to 1", c.Share)
	}
	return nil
}

// Program says whose spans they are.
type Program struct {
	Name     string // safeguard-agent or safeguard-central
	Version  string
	Instance string // tells it from others of the name

	// Journal is what tells its journal from all others, where it has one: the trace
	// of an entry follows from both, so that a restarted agent goes on with it.
	Journal string
}

// inForce is where spans go; nil for nowhere.
var inForce atomic.Pointer[Traces]

// Traces are sent until they are closed.
type Traces struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	program  Program
}

const (
	sendTime = 10 * time.Second
	stopTime = 3 * time.Second
)

// Start sends spans as the configuration says; nowhere without an endpoint. A
// receiver that is away is no error: what waits for it is bounded, and dropped.
func Start(ctx context.Context, c Config, p Program, log *slog.Logger) (*Traces, error) {
	if c.Endpoint == "" {
		return nil, nil
	}
	options := []otlptracehttp.Option{otlptracehttp.WithEndpointURL(c.Endpoint), otlptracehttp.WithTimeout(sendTime)}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("traces.ca: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("traces.ca: %s: want certificates, PEM", c.CA)
		}
		options = append(options, otlptracehttp.WithTLSClientConfig(&tls.Config{RootCAs: pool}))
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces not sent", "err", err) }))
	t := &Traces{program: p}
	// By the trace's id, so all of a message's spans are sent, or none. The centre
	// goes by what the agent decided.
	share := sdk.TraceIDRatioBased(c.Share)
	if p.Journal == "" {
		share = sdk.ParentBased(share)
	}
	t.provider = sdk.NewTracerProvider(
		sdk.WithBatcher(exporter), sdk.WithSampler(share), sdk.WithIDGenerator(ids{}),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", p.Name), attribute.String("service.version", p.Version), attribute.String("service.instance.id", p.Instance))),
	)
	t.tracer = t.provider.Tracer("github.com/safeguard-edge/safeguard")
	inForce.Store(t)
	return t, nil
}

// Close sends what waits, for some seconds at most. Traces that are nil are closed.
func (t *Traces) Close() error {
	if t == nil {
		return nil
	}
	inForce.CompareAndSwap(t, nil)
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("traces: %w", err)
	}
	return nil
}

// WithEntry has spans and lines of the log be about an entry of the agent's journal.
// 0 is none.
func WithEntry(ctx context.Context, entry int64) context.Context {
	ctx = logging.WithEntry(ctx, entry)
	if t := inForce.Load(); t != nil && entry != 0 {
		trace, root := t.identify(entry)
		ctx = spanned(ctx, trace, root)
	}
	return ctx
}

// identify derives the ids of an entry's trace and of its first span.
func (t *Traces) identify(entry int64) (id trace.TraceID, root trace.SpanID) {
	sum := sha256.New()
	_, _ = sum.Write([]byte(t.program.Instance + "\x00" + t.program.Journal + "\x00"))
	_ = binary.Write(sum, binary.BigEndian, entry)
	all := sum.Sum(nil)
	copy(id[:], all)
	copy(root[:], all[len(id):])
	return id, root
}

func spanned(ctx context.Context, id trace.TraceID, span trace.SpanID) context.Context {
	return trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: span, TraceFlags: trace.FlagsSampled, Remote: true}))
}
