// Package tracingtest receives what programs trace, as an OpenTelemetry collector
// does.
package tracingtest

import (
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Span is one that was received.
type Span struct {
	Program    string // service.name
	Name       string
	Trace      string // id, in hexadecimal
	ID, Parent string // in hexadecimal; Parent is empty for the first of a trace
	Failed     bool
	Attributes map[string]string
}

// Receiver takes OTLP over HTTP (opentelemetry-proto, ExportTraceServiceRequest).
type Receiver struct {
	URL string

	mu     sync.Mutex // guards the fields below
	spans  []Span
	bodies [][]byte
	faults []error
}

// Listen receives until the test ends.
func Listen(t testing.TB) *Receiver {
	r := &Receiver{}
	s := httptest.NewServer(http.HandlerFunc(r.receive))
	t.Cleanup(func() {
		s.Close()
		for _, err := range r.faults {
			t.Error("what was sent is no request of OTLP:", err)
		}
	})
	r.URL = s.URL + "/v1/traces"
	return r
}

func (r *Receiver) receive(w http.ResponseWriter, request *http.Request) {
	body, err := read(request)
	var message collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &message)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.faults = append(r.faults, err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.bodies = append(r.bodies, body)
	for _, resource := range message.GetResourceSpans() {
		program := ""
		for _, a := range resource.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				program = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				span := Span{
					Program: program, Name: s.GetName(), Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()),
					Parent: hex.EncodeToString(s.GetParentSpanId()), Failed: s.GetStatus().GetCode() == 2, Attributes: map[string]string{},
				}
				for _, a := range s.GetAttributes() {
					span.Attributes[a.GetKey()] = a.GetValue().GetStringValue()
				}
				r.spans = append(r.spans, span)
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func read(request *http.Request) ([]byte, error) {
	if request.Header.Get("Content-Encoding") != "gzip" {
		return io.ReadAll(request.Body)
	}
	z, err := gzip.NewReader(request.Body)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// Spans are all that were received.
func (r *Receiver) Spans() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Span(nil), r.spans...)
}

// Bodies are the requests, as they came.
func (r *Receiver) Bodies() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([][]byte(nil), r.bodies...)
}
