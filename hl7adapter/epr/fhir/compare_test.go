package fhir_test

import (
	"strings"
	"testing"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/eprtest"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/fhir"
)

func TestComparingReadsAndChangesNothing(t *testing.T) {
	for _, shape := range []string{fhir.UKCore, fhir.England} {
		t.Run(shape, func(t *testing.T) {
			s := newServer(t)
			sink := open(t, s, func(c *fhir.Config) { c.Shape = shape })
			raised, gone := eprtest.Alert(1, safeguard.Raise), eprtest.Alert(2, safeguard.Withdraw)
			compare := func(a safeguard.Alert, want string) {
				t.Helper()
				before := len(s.Came())
				got, err := sink.Compare(t.Context(), a)
				if err != nil || !strings.Contains(got, want) || want == "" && got != "" {
					t.Errorf("got %q, want %q: %v", got, want, err)
				}
				if len(s.Came()) != before {
					t.Error("comparing changed something")
				}
			}
			compare(raised, "the EPR has 0 of one Flag")
			deliver(t, sink, raised, safeguard.Delivered, "")
			compare(raised, "")
			compare(eprtest.Alert(2, safeguard.Update), "says something else")
			compare(gone, "a Flag is there that should be gone")
			for _, flag := range s.All("Flag") {
				s.mu.Lock()
				flag["status"] = "inactive" // by hand, in the EPR
				s.mu.Unlock()
			}
			compare(raised, "a Flag says something else, or is inactive")
			deliver(t, sink, raised, safeguard.Delivered, "")
			compare(raised, "")
			deliver(t, sink, gone, safeguard.Delivered, "")
			compare(gone, "")
		})
	}
}
