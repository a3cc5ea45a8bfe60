package fhir_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/eprtest"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/fhir"
	"github.com/safeguard-edge/safeguard/test/hospital"
)

func TestAlertsThatTheEPRShows(t *testing.T) {
	s := newServer(t)
	sink := open(t, s, nil)
	shows := func(want ...safeguard.AlertID) {
		t.Helper()
		got, err := sink.Alerts(t.Context())
		if err != nil || len(got) != len(want) {
			t.Fatalf("got %v, want %v: %v", got, want, err)
		}
		for _, id := range want {
			if !strings.Contains(strings.Join(texts(got), " "), string(id)) {
				t.Errorf("got %v, want %s among them", got, id)
			}
		}
	}
	shows()
	deliver(t, sink, eprtest.Alert(1, safeguard.Raise), safeguard.Delivered, "")
	deliver(t, sink, again(1, safeguard.Raise), safeguard.Delivered, "")
	deliver(t, sink, eprtest.Other(), safeguard.Delivered, "")
	s.Put("Flag/theirs", map[string]any{"resourceType": "Flag", "id": "theirs", "status": "active",
		"identifier": []any{map[string]any{"system": "urn:of-somebody-else", "value": "1"}}})
	shows(eprtest.Alert(1, safeguard.Raise).ID, again(1, safeguard.Raise).ID, eprtest.Other().ID)
	deliver(t, sink, safeguard.Alert{ID: again(1, safeguard.Raise).ID, Version: 1, Action: safeguard.Withdraw, Decided: time.Now()}, safeguard.Delivered, "")
	deliver(t, sink, safeguard.Alert{ID: eprtest.Other().ID, Version: 1, Action: safeguard.Withdraw, Decided: time.Now()}, safeguard.Delivered, "")
	shows(eprtest.Alert(1, safeguard.Raise).ID)
	if s.Showing() != 2 {
		t.Errorf("%d Flags are active, want ours and somebody else's", s.Showing())
	}
}

func texts(ids []safeguard.AlertID) (out []string) {
	for _, id := range ids {
		out = append(out, string(id))
	}
	return out
}

// Pages are followed, but to no other host: it would be told our token.
func TestPagesOfAlerts(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("another host was asked") }))
	defer elsewhere.Close()
	next := map[string]string{"": "?page=2", "2": "SELF/fhir?page=3", "3": ""}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	page := func(w http.ResponseWriter, r *http.Request) {
		n := r.URL.Query().Get("page")
		bundle := map[string]any{"resourceType": "Bundle", "type": "searchset", "entry": []any{map[string]any{"resource": map[string]any{"resourceType": "Flag", "id": "f" + n, "status": "active",
			"identifier": []any{map[string]any{"system": "urn:safeguard:alert", "value": "alert" + n}}}}}}
		if to := next[n]; to != "" {
			bundle["link"] = []any{map[string]any{"relation": "self", "url": "x"}, map[string]any{"relation": "next", "url": strings.Replace(to, "SELF", server.URL, 1)}}
		}
		hospital.AnswerFHIR(w, http.StatusOK, bundle)
	}
	mux.HandleFunc("GET /fhir/", page)
	mux.HandleFunc("GET /fhir", page)
	c := fhir.DefaultConfig()
	c.Base = server.URL + "/fhir"
	sink, err := fhir.New("epr", c, epr.DefaultWording(), time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	if got, err := sink.Alerts(t.Context()); err != nil || strings.Join(texts(got), " ") != "alert alert2 alert3" {
		t.Errorf("got %v, want those of three pages: %v", got, err)
	}
	for to, want := range map[string]string{elsewhere.URL + "/fhir?page=3": "another host", "?page=2": "do not end"} {
		next["2"] = to
		if got, err := sink.Alerts(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error that says %s: %v", to, got, want, err)
		}
	}
}
