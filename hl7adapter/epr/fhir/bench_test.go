package fhir_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/eprtest"
	"github.com/safeguard-edge/safeguard/test/interleave"
)

// BenchmarkDeliver is one changed alert after the other: by the sink, which reads
// what is there, finds the patient and changes it, and in turn with it by a bare
// client that makes as many requests of the same kinds of the same sort of server.
func BenchmarkDeliver(b *testing.B) {
	sink, a := open(b, newServer(b), nil), eprtest.Alert(1, safeguard.Raise)
	interleave.Run(b, 1, "msg/s", interleave.Side{Name: "safeguard", Do: func(int) error {
		a.Version, a.Content.AsOf = a.Version+1, a.Content.AsOf.Add(time.Minute)
		r, err := sink.Deliver(b.Context(), a)
		if err == nil && r.Outcome != safeguard.Delivered {
			err = errors.New(r.Outcome.String())
		}
		return err
	}}, interleave.Side{Name: "bare", Do: bare(b)})
}

func bare(b *testing.B) func(int) error {
	s := newServer(b)
	call := func(method, path, kind, body, match string) error {
		req, err := http.NewRequest(method, s.URL+"/fhir/"+path, strings.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", kind)
		req.Header.Set("If-Match", match)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode > 299 {
			return errors.New(res.Status)
		}
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	const flag = `{"resourceType":"Flag","id":"1","status":"active","identifier":[{"system":"urn:x","value":"1"}],"code":{"text":"x"},"subject":{"reference":"Patient/p1"}}`
	if err := call(http.MethodPost, "Flag", "application/fhir+json", flag, ""); err != nil {
		b.Fatal(err)
	}
	version := 0
	return func(int) error {
		version++
		return errors.Join(
			call(http.MethodGet, "Flag?identifier=urn:x%7C1", "", "", ""),
			call(http.MethodPost, "Patient/_search", "application/x-www-form-urlencoded", "identifier=https%3A%2F%2Ffhir.nhs.uk%2FId%2Fnhs-number%7C9990000344", ""),
			call(http.MethodPut, "Flag/1", "application/fhir+json", flag, fmt.Sprintf(`W/"%d"`, version)))
	}
}
