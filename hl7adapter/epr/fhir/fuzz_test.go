package fhir

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
)

// FuzzMerge: whatever an EPR has as its resource, what we make of it says all that
// we want said, keeps what the EPR added, and needs no second write.
func FuzzMerge(f *testing.F) {
	f.Add([]byte(`{"resourceType":"Flag","id":"1","status":"inactive","meta":{"versionId":"3"},"identifier":[{"system":"urn:safeguard:alert","value":"x"}],"author":{"display":"EPR"}}`))
	f.Add([]byte(`{"resourceType":"Flag","status":"active","period":{"start":"2020"},"identifier":[{}],"text":null,"code":[1,{"a":1e3}]}`))
	f.Add([]byte(`{"identifier":null,"id":"\u0000","status":"<"}`))
	c := DefaultConfig()
	c.Base = "https://epr.example/fhir"
	s, err := New("epr", c, epr.DefaultWording(), time.UTC)
	if err != nil {
		f.Fatal(err)
	}
	want := s.wants(epr.Sample(safeguard.Raise, safeguard.FlagsHeld), "p1")[0].flag
	f.Fuzz(func(t *testing.T, raw []byte) {
		there, err := parseResource(raw)
		if err != nil {
			return
		}
		_, fields, err := merge(there, want)
		if err != nil {
			t.Fatal(err)
		}
		written, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		after, err := parseResource(written)
		if err != nil {
			t.Fatalf("what would be written is not read: %v", err)
		}
		if after.status != "active" {
			t.Errorf("status %q, want it active", after.status)
		}
		for _, id := range append(there.identifiers, want.Identifier...) {
			if !after.has(id) {
				t.Errorf("the identifier %v is gone", id)
			}
		}
		for field, value := range there.fields {
			if _, ours := map[string]bool{"resourceType": true, "text": true, "identifier": true, "status": true, "category": true, "code": true, "subject": true, "period": true, "contained": true, "extension": true}[field]; !ours && !equal(after.fields[field], value) {
				t.Errorf("what the EPR has as %s became %s", field, after.fields[field])
			}
		}
		if same, _, err := merge(after, want); err != nil || !same {
			t.Errorf("it would be written again: %v", err)
		}
	})
}
