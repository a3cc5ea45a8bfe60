package fhir_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/eprtest"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/fhir"
)

func open(t testing.TB, s *server, change func(*fhir.Config)) *fhir.Sink {
	t.Helper()
	c := fhir.DefaultConfig()
	c.Base = s.URL + "/fhir"
	if change != nil {
		change(&c)
	}
	sink, err := fhir.New("epr", c, epr.DefaultWording(), time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sink.Close() })
	return sink
}

// subject opens servers of one shape for the suite.
type subject struct {
	*server
	shape string
}

func (s subject) Sink(t testing.TB, _ string, deadline time.Duration, _ *slog.Logger) epr.Sink {
	return open(t, s.server, func(c *fhir.Config) { c.Timeout, c.Shape = deadline, s.shape })
}

func TestFHIRConforms(t *testing.T) {
	for _, shape := range []string{fhir.UKCore, fhir.England} {
		t.Run(shape, func(t *testing.T) {
			eprtest.Run(t, eprtest.Subject{
				Open:    func(t testing.TB) eprtest.EPR { return subject{newServer(t), shape} },
				Answers: []eprtest.Answer{eprtest.TryLater, eprtest.Refuse, eprtest.Silent, eprtest.HangUp, eprtest.Slow, eprtest.Garbage},
			})
		})
	}
}

func deliver(t *testing.T, s *fhir.Sink, a safeguard.Alert, want safeguard.Outcome, code string) {
	t.Helper()
	r, err := s.Deliver(t.Context(), a)
	if err != nil || r.Outcome != want || code != "" && r.Code != code {
		t.Fatalf("%s: got %s %q, want %s %q: %v", a.Action, r.Outcome, r.Code, want, code, err)
	}
}

// again is the same child's alert of another attendance.
func again(n int, action safeguard.Action) safeguard.Alert {
	a := eprtest.Alert(n, action)
	a.ID = "second-attendance"
	return a
}

func TestTwoAttendancesShareAFlagUntilTheLastIsWithdrawn(t *testing.T) {
	s := newServer(t)
	sink := open(t, s, nil)
	deliver(t, sink, eprtest.Alert(1, safeguard.Raise), safeguard.Delivered, "")
	deliver(t, sink, again(1, safeguard.Raise), safeguard.Delivered, "")
	if flags := s.All("Flag"); len(flags) != 1 || s.Showing() != 1 {
		t.Fatalf("%d flags of one plan, want one", len(flags))
	}
	deliver(t, sink, eprtest.Alert(2, safeguard.Withdraw), safeguard.Delivered, "")
	if s.Showing() != 1 {
		t.Fatal("the flag went although another attendance shows it")
	}
	deliver(t, sink, again(2, safeguard.Withdraw), safeguard.Delivered, "")
	if s.Showing() != 0 {
		t.Fatal("the flag stayed although nothing shows it")
	}
	deliver(t, sink, again(2, safeguard.Withdraw), safeguard.Delivered, "unchanged")
	deliver(t, sink, eprtest.Alert(3, safeguard.Raise), safeguard.Delivered, "")
	if flags := s.All("Flag"); len(flags) != 1 || s.Showing() != 1 {
		t.Fatalf("%d flags, %d active, want the one active again", len(flags), s.Showing())
	}
}

func TestPlanThatEndsWithinAnAlertGoes(t *testing.T) {
	s := newServer(t)
	sink := open(t, s, nil)
	two := eprtest.Alert(1, safeguard.Raise)
	care := two.Content.Flags[0]
	care.Plan = safeguard.LookedAfter
	two.Content.Flags = append(two.Content.Flags, care)
	deliver(t, sink, two, safeguard.Delivered, "")
	if s.Showing() != 2 {
		t.Fatalf("%d flags for two plans", s.Showing())
	}
	deliver(t, sink, eprtest.Alert(2, safeguard.Update), safeguard.Delivered, "")
	if s.Showing() != 1 {
		t.Errorf("%d flags after one of two plans went", s.Showing())
	}
	unknown := eprtest.Alert(3, safeguard.Update)
	unknown.Content = epr.Sample(safeguard.Update, safeguard.CheckNotCompleted).Content
	deliver(t, sink, unknown, safeguard.Delivered, "")
	if s.Showing() != 1 {
		t.Errorf("%d flags for a check that was not completed", s.Showing())
	}
}

func TestWhatTheEPRAddedStays(t *testing.T) {
	s := newServer(t)
	sink := open(t, s, nil)
	deliver(t, sink, eprtest.Alert(1, safeguard.Raise), safeguard.Delivered, "")
	s.All("Flag")[0]["author"] = map[string]any{"display": "the EPR"}
	deliver(t, sink, eprtest.Alert(2, safeguard.Update), safeguard.Delivered, "")
	if author, _ := s.All("Flag")[0]["author"].(map[string]any); author["display"] != "the EPR" {
		t.Errorf("what the EPR added is gone: %v", s.All("Flag")[0])
	}
}

func TestSomebodyElsesChangeIsNotOverwritten(t *testing.T) {
	s := newServer(t)
	sink := open(t, s, nil)
	deliver(t, sink, eprtest.Alert(1, safeguard.Raise), safeguard.Delivered, "")
	s.Conflict()
	deliver(t, sink, eprtest.Alert(2, safeguard.Update), safeguard.Retry, "412")
	deliver(t, sink, eprtest.Alert(2, safeguard.Update), safeguard.Delivered, "")
}

func TestPatientIsFoundAndNeverMade(t *testing.T) {
	mrn := func(c *fhir.Config) { c.MRNSystem = "urn:mrn" }
	for name, c := range map[string]struct {
		server func(*server)
		config func(*fhir.Config)
		alert  func(*safeguard.Alert)
		want   safeguard.Outcome
		code   string
	}{
		"by NHS number":                      {nil, nil, nil, safeguard.Delivered, ""},
		"not there":                          {nil, nil, func(a *safeguard.Alert) { a.Attendance.Patient.Number, _ = safeguard.ParseNHSNumber("9990000360") }, safeguard.Retry, "patient-not-found"},
		"not there, but by hospital number":  {nil, mrn, func(a *safeguard.Alert) { a.Attendance.Patient.Number, _ = safeguard.ParseNHSNumber("9990000360") }, safeguard.Delivered, ""},
		"without a number":                   {nil, mrn, func(a *safeguard.Alert) { a.Attendance.Patient.Number = safeguard.NHSNumber{} }, safeguard.Delivered, ""},
		"no search by POST":                  {func(s *server) { s.Searching(false) }, nil, nil, safeguard.Retry, "patient-not-found"},
		"no search by POST, hospital number": {func(s *server) { s.Searching(false) }, mrn, nil, safeguard.Delivered, ""},
		"two of them":                        {func(s *server) { s.Patient("p3", "9990000344", "H9", "2018-11-02") }, nil, nil, safeguard.Refused, "patient-ambiguous"},
		"other date of birth":                {func(s *server) { s.Patient("p1", "9990000344", "H100001", "2018-11-03") }, nil, nil, safeguard.Refused, "patient-mismatch"},
		"date of birth not known":            {nil, nil, func(a *safeguard.Alert) { a.Attendance.Patient.Born = safeguard.Private[safeguard.Date]{} }, safeguard.Delivered, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			if c.server != nil {
				c.server(s)
			}
			before := len(s.All("Patient"))
			a := eprtest.Alert(1, safeguard.Raise)
			if c.alert != nil {
				c.alert(&a)
			}
			deliver(t, open(t, s, c.config), a, c.want, c.code)
			if len(s.All("Patient")) != before {
				t.Error("a patient was made")
			}
			for _, r := range s.requests {
				if strings.Contains(r.URL.String(), "9990000") {
					t.Errorf("an NHS number is in an address: %s", r.URL.Path)
				}
				if c.server == nil && strings.Contains(r.URL.String(), "H100001") {
					t.Errorf("a hospital number is in an address: %s", r.URL.Path)
				}
			}
		})
	}
}

func TestRetryAfterIsPassedOn(t *testing.T) {
	s := newServer(t)
	s.after = "120"
	s.Script(eprtest.TryLater)
	_, err := open(t, s, nil).Deliver(t.Context(), eprtest.Alert(1, safeguard.Raise))
	var later *epr.Later
	if !errors.As(err, &later) || later.After != 2*time.Minute {
		t.Errorf("got %v, want to hear of a pause of two minutes", err)
	}
}

func TestRequestIDIsTheSameOnRetry(t *testing.T) {
	s := newServer(t)
	sink := open(t, s, nil)
	s.Script(eprtest.TryLater)
	deliver(t, sink, eprtest.Alert(1, safeguard.Raise), safeguard.Retry, "503")
	deliver(t, sink, eprtest.Alert(1, safeguard.Raise), safeguard.Delivered, "")
	if came := s.Came(); len(came) != 2 || came[0] != came[1] || came[0].ID == "" {
		t.Errorf("a retry is another request: %v", came)
	}
}

func TestTokens(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	keyFile, secretFile := filepath.Join(dir, "key.pem"), filepath.Join(dir, "secret")
	if err := errors.Join(os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600),
		os.WriteFile(secretFile, []byte("hush\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		token fhir.Token
		ok    func(r *http.Request, audience string) bool
	}{
		"secret": {fhir.Token{SecretFile: secretFile}, func(r *http.Request, _ string) bool {
			user, password, _ := r.BasicAuth()
			return user == "agent" && password == "hush"
		}},
		"signed": {fhir.Token{KeyFile: keyFile, KeyID: "k1"}, func(r *http.Request, audience string) bool {
			got, err := jwt.ParseSigned(r.Form.Get("client_assertion"), []jose.SignatureAlgorithm{jose.ES384})
			if err != nil || got.Headers[0].KeyID != "k1" {
				return false
			}
			var claims jwt.Claims
			if got.Claims(key.Public(), &claims) != nil {
				return false
			}
			return claims.Validate(jwt.Expected{Issuer: "agent", Subject: "agent", AnyAudience: jwt.Audience{audience}, Time: time.Now()}) == nil && claims.ID != ""
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			asked := 0
			s.token = "first"
			s.onToken = func(w http.ResponseWriter, r *http.Request) {
				asked++
				if r.ParseForm() != nil || r.Form.Get("grant_type") != "client_credentials" || r.Form.Get("scope") != "system/Flag.cruds" || !c.ok(r, s.URL+"/token") {
					w.WriteHeader(http.StatusBadRequest)
					return
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				_ = json.NewEncoder(w).Encode(map[string]any{"access_token": s.token, "expires_in": 3600})
			}
			sink := open(t, s, func(f *fhir.Config) {
				token := c.token
				token.URL, token.ClientID, token.Scope = s.URL+"/token", "agent", "system/Flag.cruds"
				f.Token = &token
			})
			deliver(t, sink, eprtest.Alert(1, safeguard.Raise), safeguard.Delivered, "")
			if asked != 1 {
				t.Errorf("asked %d times for a token, want once", asked)
			}
			s.mu.Lock()
			s.token = "second" // the first was revoked
			s.mu.Unlock()
			deliver(t, sink, eprtest.Alert(2, safeguard.Update), safeguard.Delivered, "")
			if asked != 2 {
				t.Errorf("asked %d times for a token, want once more after it was revoked", asked)
			}
		})
	}
}

func TestWhyThereIsNoToken(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
		pause  time.Duration
	}{
		"a word of the standard": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":"invalid_client","error_description":"9990000344"}`)
		}, "answered 401 invalid_client", 0},
		"a word of the server's own": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":"9990000344"}`)
		}, "answered 400, want 200", 0},
		"no JSON": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>9990000344") }, "no token", 0},
		"empty":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }, "without a token", 0},
		"a pause": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(http.StatusTooManyRequests)
		}, "answered 429", time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.onToken = c.answer
			sink := open(t, s, func(f *fhir.Config) {
				f.Token = &fhir.Token{URL: s.URL + "/token", ClientID: "agent", SecretFile: secret}
			})
			_, err := sink.Deliver(t.Context(), eprtest.Alert(1, safeguard.Raise))
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "9990000344") || strings.Contains(err.Error(), "hush") {
				t.Errorf("got %v, want one that says %s, and nothing of the server's", err, c.want)
			}
			var later *epr.Later
			if errors.As(err, &later) != (c.pause > 0) || later != nil && later.After != c.pause {
				t.Errorf("got %v, want a pause of %v", err, c.pause)
			}
			if len(s.Came()) != 0 {
				t.Error("written without a token")
			}
		})
	}
}

func TestSearchThatComesBackIsUsedAgain(t *testing.T) {
	s := newServer(t)
	sink := open(t, s, nil)
	s.Searching(false)
	deliver(t, sink, eprtest.Alert(1, safeguard.Raise), safeguard.Retry, "patient-not-found")
	s.Searching(true)
	deliver(t, sink, eprtest.Alert(1, safeguard.Raise), safeguard.Delivered, "")
}

func TestCheckSaysWhatTheServerLacks(t *testing.T) {
	s := newServer(t)
	if notes, err := open(t, s, nil).Check(t.Context()); err != nil || len(notes) != 0 {
		t.Errorf("got %v, want nothing to say: %v", notes, err)
	}
	s.Searching(false)
	notes, err := open(t, s, func(c *fhir.Config) { c.MRNSystem = "urn:mrn" }).Check(t.Context())
	if err != nil || len(notes) != 1 || !strings.Contains(notes[0], "by hospital number only") {
		t.Errorf("got %v, want to hear that the hospital number alone finds patients: %v", notes, err)
	}
}

func TestWrongConfigurationIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*fhir.Config)
		want   string
	}{
		"no address": {func(c *fhir.Config) { c.Base = "" }, "base: want an address"},
		"not secure": {func(c *fhir.Config) { c.Base = "http://epr.example/fhir" }, "base: want https"},
		"query":      {func(c *fhir.Config) { c.Base += "?x=1" }, "base: want an address"},
		"shape":      {func(c *fhir.Config) { c.Shape = "wales" }, "shape"},
		"no system":  {func(c *fhir.Config) { c.NHSSystem = "" }, "both empty"},
		"no client":  {func(c *fhir.Config) { c.Token = &fhir.Token{URL: "https://x/token", KeyFile: "k"} }, "client_id"},
		"secret and key": {func(c *fhir.Config) {
			c.Token = &fhir.Token{URL: "https://x/token", ClientID: "a", KeyFile: "k", SecretFile: "s"}
		}, "want one of them"},
		"confidentiality": {func(c *fhir.Config) { c.Security = "X" }, "security"},
	} {
		f := fhir.DefaultConfig()
		f.Base = "https://epr.example/fhir"
		c.change(&f)
		if err := f.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want one that says %s", name, err, c.want)
		}
	}
}

// TestFlagIsAsThePublishedProfilesHaveIt compares with what HL7 UK and NHS England
// publish, where that lies beside the project.
func TestFlagIsAsThePublishedProfilesHaveIt(t *testing.T) {
	const published = "../../../../shared/data/fhir-uk"
	if _, err := os.Stat(published); err != nil {
		t.Skipf("no profiles beside the project: %v", err)
	}
	read := func(name string) (v map[string]any) {
		text, err := os.ReadFile(filepath.Join(published, name))
		if err == nil {
			err = json.Unmarshal(text, &v)
		}
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	s := newServer(t)
	deliver(t, open(t, s, nil), eprtest.Alert(1, safeguard.Raise), safeguard.Delivered, "")
	var sent map[string]any
	if err := json.Unmarshal([]byte(strings.SplitN(s.Came()[0].Content, " ", 3)[2]), &sent); err != nil {
		t.Fatal(err)
	}
	profile := read("UKCore-Flag.json")
	if got := sent["meta"].(map[string]any)["profile"].([]any)[0]; got != profile["url"] {
		t.Errorf("profile %v, want %v", got, profile["url"])
	}
	for _, e := range profile["differential"].(map[string]any)["element"].([]any) {
		field := strings.TrimPrefix(e.(map[string]any)["path"].(string), "Flag.")
		if sent[field] == nil {
			t.Errorf("%s is missing, and the profile must support it", field)
		}
	}
	codes := map[string]bool{}
	for _, c := range read("ValueSet-England-ChildProtectionPlan.json")["expansion"].(map[string]any)["contains"].([]any) {
		codes[c.(map[string]any)["code"].(string)] = true
	}
	if code := sent["code"].(map[string]any)["coding"].([]any)[0].(map[string]any)["code"].(string); !codes[code] {
		t.Errorf("code %s is not in the value set %v", code, codes)
	}

	england := newServer(t)
	deliver(t, open(t, england, func(c *fhir.Config) { c.Shape = fhir.England }), eprtest.Alert(1, safeguard.Raise), safeguard.Delivered, "")
	for kind, example := range map[string]string{"Flag": "CPIS-Flag-Example.json", "CarePlan": "CPIS-CarePlan-Example.json", "CareTeam": "CPIS-CareTeam-Example.json"} {
		want := read(example)
		got := england.All(kind)
		if len(got) != 1 {
			t.Fatalf("%d of %s, want one", len(got), kind)
		}
		for field, value := range want {
			if field != "id" && field != "meta" && got[0][field] == nil {
				t.Errorf("%s.%s is missing, and the example has %v", kind, field, value)
			}
		}
		for _, m := range england.Came() {
			if strings.HasPrefix(m.Content, "POST "+kind+" ") && !strings.Contains(m.Content, want["meta"].(map[string]any)["profile"].([]any)[0].(string)) {
				t.Errorf("%s does not claim the profile of the example", kind)
			}
		}
	}
	if flag, want := coded(england.All("Flag")[0]), coded(read("CPIS-Flag-Example.json")); !sameJSON(flag, want) {
		t.Errorf("code %v, want that of the example %v", flag, want)
	}
}

func sameJSON(a, b any) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}

func coded(resource map[string]any) any { return resource["code"].(map[string]any)["coding"] }
