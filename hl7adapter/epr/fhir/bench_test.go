package fhir_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/eprtest"
)

// BenchmarkDeliver is one changed alert after the other to the same server: by the
// sink, which reads what is there, finds the patient and changes it, and by a bare
// client that makes as many requests of the same kinds.
func BenchmarkDeliver(b *testing.B) {
	b.Run("safeguard", func(b *testing.B) {
		sink := open(b, newServer(b), nil)
		n := 0
		for b.Loop() {
			n++
			a := eprtest.Alert(1, safeguard.Raise)
			a.Version, a.Content.AsOf = n, a.Content.AsOf.Add(time.Duration(n)*time.Minute)
			if r, err := sink.Deliver(b.Context(), a); err != nil || r.Outcome != safeguard.Delivered {
				b.Fatalf("%s: %v", r.Outcome, err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	})
	b.Run("bare", func(b *testing.B) {
		s := newServer(b)
		call := func(method, path, kind, body, match string) {
			req, err := http.NewRequest(method, s.URL+"/fhir/"+path, strings.NewReader(body))
			if err != nil {
				b.Fatal(err)
			}
			req.Header.Set("Content-Type", kind)
			req.Header.Set("If-Match", match)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if res.StatusCode > 299 {
				b.Fatal(res.StatusCode)
			}
		}
		const flag = `{"resourceType":"Flag","id":"1","status":"active","identifier":[{"system":"urn:x","value":"1"}],"code":{"text":"x"},"subject":{"reference":"Patient/p1"}}`
		call(http.MethodPost, "Flag", "application/fhir+json", flag, "")
		version := "1"
		for b.Loop() {
			call(http.MethodGet, "Flag?identifier=urn:x%7C1", "", "", "")
			call(http.MethodPost, "Patient/_search", "application/x-www-form-urlencoded", "identifier=https%3A%2F%2Ffhir.nhs.uk%2FId%2Fnhs-number%7C9990000344", "")
			call(http.MethodPut, "Flag/1", "application/fhir+json", flag, fmt.Sprintf(`W/"%s"`, version))
			if version += "1"; len(version) > 60 {
				s.mu.Lock()
				s.resources["Flag/1"]["meta"] = map[string]any{"versionId": "1"}
				s.mu.Unlock()
				version = "1"
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	})
}
