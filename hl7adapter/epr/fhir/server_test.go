package fhir_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/safeguard-edge/safeguard/hl7adapter/epr/eprtest"
	"github.com/safeguard-edge/safeguard/test/hospital"
)

// server is a FHIR server that does as it is told.
type server struct {
	*httptest.Server
	*hospital.FHIR
	done chan struct{} // closed at the end, for those who never answer

	mu       sync.Mutex // guards the fields below
	script   []eprtest.Answer
	came     []eprtest.Message
	after    string           // Retry-After of a 503
	token    string           // wanted, if not empty
	requests []*http.Request  // all
	onToken  http.HandlerFunc // of /token
}

func newServer(t testing.TB) *server {
	s := &server{FHIR: hospital.NewFHIR(), done: make(chan struct{})}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		close(s.done)
		s.CloseClientConnections()
		s.Close()
	})
	s.Patient("p1", "9990000344", "H100001", "2018-11-02")
	s.Patient("p2", "9990000352", "H100002", "2012-01-30")
	return s
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
		hospital.AnswerFHIR(w, http.StatusUnauthorized, hospital.Outcome("login", "who are you"))
		return
	}
	if r.Method == http.MethodGet || strings.HasSuffix(r.URL.Path, "/_search") {
		status, out := s.Do(r, body)
		hospital.AnswerFHIR(w, status, out)
		return
	}
	s.write(w, r, body)
}

// write takes a POST or PUT, and does what the script says about it.
func (s *server) write(w http.ResponseWriter, r *http.Request, body []byte) {
	s.mu.Lock()
	s.came = append(s.came, eprtest.Message{ID: r.Header.Get("X-Request-ID"), Content: r.Method + " " + strings.TrimPrefix(r.URL.Path, "/fhir/") + " " + string(body)})
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
		hospital.AnswerFHIR(w, http.StatusServiceUnavailable, hospital.Outcome("transient", "busy"))
		return
	case eprtest.Refuse:
		hospital.AnswerFHIR(w, http.StatusUnprocessableEntity, hospital.Outcome("business-rule", "will not: "+string(body)))
		return
	case eprtest.Garbage:
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html>it works</html>")
		return
	}
	status, out := s.Do(r, body)
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
	hospital.AnswerFHIR(w, status, out)
}
