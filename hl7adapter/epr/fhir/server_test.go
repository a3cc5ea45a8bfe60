package fhir_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/safeguard-edge/safeguard/hl7adapter/epr/eprtest"
)

// server is a FHIR server that does as it is told. It shares no code with the
// product.
type server struct {
	*httptest.Server
	done chan struct{} // closed at the end, for those who never answer

	mu        sync.Mutex // guards the fields below
	script    []eprtest.Answer
	came      []eprtest.Message
	resources map[string]map[string]any // by kind/id
	next      int
	noSearch  bool             // no POST Patient/_search
	conflict  int              // how many updates meet another's
	after     string           // Retry-After of a 503
	token     string           // wanted, if not empty
	requests  []*http.Request  // all
	onToken   http.HandlerFunc // of /token
}

func newServer(t testing.TB) *server {
	s := &server{done: make(chan struct{}), resources: map[string]map[string]any{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		close(s.done)
		s.CloseClientConnections()
		s.Close()
	})
	s.patient("p1", "9990000344", "H100001", "2018-11-02")
	s.patient("p2", "9990000352", "H100002", "2012-01-30")
	return s
}

func (s *server) patient(id, nhs, mrn, born string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resources["Patient/"+id] = map[string]any{"resourceType": "Patient", "id": id, "active": true, "birthDate": born, "identifier": []any{
		map[string]any{"system": "https://fhir.nhs.uk/Id/nhs-number", "value": nhs}, map[string]any{"system": "urn:mrn", "value": mrn}}}
}

func (s *server) Script(answers ...eprtest.Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = append(s.script, answers...)
}

func (s *server) Came() []eprtest.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]eprtest.Message(nil), s.came...)
}

func (s *server) Showing() (n int) {
	for _, f := range s.all("Flag") {
		if f["status"] == "active" {
			n++
		}
	}
	return n
}

func (s *server) all(kind string) (out []map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, r := range s.resources {
		if strings.HasPrefix(key, kind+"/") {
			out = append(out, r)
		}
	}
	return out
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.requests = append(s.requests, r)
	token, onToken := s.token, s.onToken
	s.mu.Unlock()
	if r.URL.Path == "/token" {
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		onToken(w, r)
		return
	}
	if token != "" && r.Header.Get("Authorization") != "Bearer "+token {
		oops(w, http.StatusUnauthorized, "login", "who are you")
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/fhir/")
	switch {
	case path == "metadata":
		s.metadata(w)
	case path == "Patient/_search" && r.Method == http.MethodPost:
		s.mu.Lock()
		no := s.noSearch
		s.mu.Unlock()
		form, err := url.ParseQuery(string(body))
		if no || err != nil {
			oops(w, http.StatusMethodNotAllowed, "not-supported", "no such operation")
			return
		}
		s.search(w, "Patient", form.Get("identifier"))
	case r.Method == http.MethodGet:
		s.search(w, path, r.URL.Query().Get("identifier"))
	default:
		s.write(w, r, path, body)
	}
}

func (s *server) metadata(w http.ResponseWriter) {
	var list []any
	for _, kind := range []string{"Flag", "CarePlan", "CareTeam"} {
		list = append(list, map[string]any{"type": kind, "conditionalCreate": true, "versioning": "versioned-update",
			"interaction": []any{map[string]any{"code": "create"}, map[string]any{"code": "update"}, map[string]any{"code": "search-type"}}})
	}
	answer(w, http.StatusOK, map[string]any{"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": []any{map[string]any{"resource": list}}})
}

func (s *server) search(w http.ResponseWriter, kind, token string) {
	system, value, _ := strings.Cut(token, "|")
	entries := []any{}
	for _, r := range s.all(kind) {
		if has(r, system, value) {
			entries = append(entries, map[string]any{"resource": r})
		}
	}
	answer(w, http.StatusOK, map[string]any{"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries})
}

func has(r map[string]any, system, value string) bool {
	list, _ := r["identifier"].([]any)
	for _, i := range list {
		if m := i.(map[string]any); m["system"] == system && m["value"] == value {
			return true
		}
	}
	return false
}

// write takes a POST or PUT, and does what the script says about it.
func (s *server) write(w http.ResponseWriter, r *http.Request, path string, body []byte) {
	var in map[string]any
	if err := json.Unmarshal(body, &in); err != nil {
		oops(w, http.StatusBadRequest, "invalid", "no JSON")
		return
	}
	s.mu.Lock()
	s.came = append(s.came, eprtest.Message{ID: r.Header.Get("X-Request-ID"), Content: r.Method + " " + path + " " + string(body)})
	does := eprtest.Accept
	if len(s.script) > 0 {
		does, s.script = s.script[0], s.script[1:]
	}
	after := s.after
	s.mu.Unlock()
	switch does {
	case eprtest.TryLater:
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		oops(w, http.StatusServiceUnavailable, "transient", "busy")
		return
	case eprtest.Refuse:
		oops(w, http.StatusUnprocessableEntity, "business-rule", "will not: "+string(body))
		return
	case eprtest.Garbage:
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html>it works</html>")
		return
	}
	status, out := s.apply(r, path, in)
	switch does {
	case eprtest.Silent:
		<-s.done
		return
	case eprtest.HangUp:
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			conn.Close()
		}
		return
	case eprtest.Slow:
		text, _ := json.Marshal(out)
		w.Header().Set("Content-Type", "application/fhir+json")
		w.WriteHeader(status)
		for _, b := range text {
			_, _ = w.Write([]byte{b})
			_ = http.NewResponseController(w).Flush()
		}
		return
	}
	answer(w, status, out)
}

// apply creates or updates.
func (s *server) apply(r *http.Request, path string, in map[string]any) (int, map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodPost {
		if condition, err := url.ParseQuery(r.Header.Get("If-None-Exist")); err == nil && condition.Get("identifier") != "" {
			system, value, _ := strings.Cut(condition.Get("identifier"), "|")
			for key, there := range s.resources {
				if strings.HasPrefix(key, path+"/") && has(there, system, value) {
					return http.StatusOK, there
				}
			}
		}
		s.next++
		in["id"] = fmt.Sprint(s.next)
		in["meta"] = map[string]any{"versionId": "1"}
		s.resources[path+"/"+fmt.Sprint(s.next)] = in
		return http.StatusCreated, in
	}
	there := s.resources[path]
	if there == nil {
		return http.StatusNotFound, outcome("not-found", "nothing there")
	}
	version := there["meta"].(map[string]any)["versionId"].(string)
	if s.conflict > 0 {
		s.conflict--
		there["meta"] = map[string]any{"versionId": version + "0"}
		version += "0"
	}
	if r.Header.Get("If-Match") != `W/"`+version+`"` {
		return http.StatusPreconditionFailed, outcome("conflict", "somebody else was here")
	}
	in["meta"] = map[string]any{"versionId": version + "1"}
	s.resources[path] = in
	return http.StatusOK, in
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/fhir+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func outcome(code, text string) map[string]any {
	return map[string]any{"resourceType": "OperationOutcome", "issue": []any{map[string]any{"severity": "error", "code": code, "diagnostics": text}}}
}

func oops(w http.ResponseWriter, status int, code, text string) {
	answer(w, status, outcome(code, text))
}
