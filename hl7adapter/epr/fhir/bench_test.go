package fhir_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/eprtest"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/fhir"
	"github.com/safeguard-edge/safeguard/test/interleave"
)

// BenchmarkDeliver is one changed alert after the other: by the sink, which reads
// what is there, finds the patient, compares, and writes what differs; and in turn
// with it by a bare client, which makes the same three requests with the same bytes
// of the same sort of server, one after the other. The bare client has the bytes
// ready: it writes no notice, reads no answer and compares nothing.
func BenchmarkDeliver(b *testing.B) {
	sink, a := open(b, newServer(b), nil), eprtest.Alert(1, safeguard.Raise)
	deliver := func(sink *fhir.Sink) error {
		a.Version, a.Content.AsOf = a.Version+1, a.Content.AsOf.Add(time.Minute)
		r, err := sink.Deliver(b.Context(), a)
		if err == nil && r.Outcome != safeguard.Delivered {
			err = errors.New(r.Outcome.String())
		}
		return err
	}
	floor := newServer(b)
	ready := open(b, floor, nil)
	if err := errors.Join(deliver(ready), deliver(ready)); err != nil { // raised, and changed
		b.Fatal(err)
	}
	interleave.Run(b, 1, "msg/s", interleave.Side{Name: "safeguard", Do: func(int) error { return deliver(sink) }},
		interleave.Side{Name: "bare", Do: bare(floor)})
}

// bare does once more what the last change of the server's Flag took.
func bare(s *server) func(int) error {
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
	there := s.All("Flag")[0]
	version, _ := strconv.Atoi(there["meta"].(map[string]any)["versionId"].(string))
	_, flag, _ := strings.Cut(s.Came()[version-1].Content, "{")
	query := ""
	for _, r := range s.requests {
		if r.Method == http.MethodGet {
			query = r.URL.RawQuery
		}
	}
	version-- // of which the next is
	return func(int) error {
		version++
		return errors.Join(
			call(http.MethodGet, "Flag?"+query, "", "", ""),
			call(http.MethodPost, "Patient/_search", "application/x-www-form-urlencoded", "identifier=https%3A%2F%2Ffhir.nhs.uk%2FId%2Fnhs-number%7C9990000344", ""),
			call(http.MethodPut, "Flag/"+there["id"].(string), "application/fhir+json", "{"+flag, fmt.Sprintf(`W/"%d"`, version)))
	}
}
