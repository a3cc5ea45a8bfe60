package e2e

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed/feedtest"
	"github.com/safeguard-edge/safeguard/test/hospital"
	"github.com/safeguard-edge/safeguard/test/world"
)

// fhirEPR is a FHIR server over TLS that wants a client certificate and an access
// token of its own token endpoint.
type fhirEPR struct {
	*hospital.FHIR
	*httptest.Server
	secret string // of client credentials; empty where an assertion is wanted

	mu       sync.Mutex // guards the fields below
	key      crypto.PublicKey
	used     map[string]bool // assertions, by jti
	valid    map[string]bool // access tokens
	given    int             // access tokens
	refused  []string        // why there was none
	certs    map[string]bool // serial numbers of client certificates
	requests map[string]int  // writes, by X-Request-ID
	answers  []func(w http.ResponseWriter)
}

func newFHIREPR(t *testing.T, ca *feedtest.Authority, secret string) *fhirEPR {
	t.Helper()
	e := &fhirEPR{FHIR: hospital.NewFHIR(), secret: secret, used: map[string]bool{}, valid: map[string]bool{}, certs: map[string]bool{}, requests: map[string]int{}}
	for i, p := range hospital.People {
		e.Patient(fmt.Sprint("p", i), p.Number, p.MRN, p.Born.Format(time.DateOnly))
	}
	own, _ := ca.Issue("epr")
	pair, err := tls.LoadX509KeyPair(own.Cert, own.Key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if text, err := os.ReadFile(ca.CA()); err != nil || !pool.AppendCertsFromPEM(text) {
		t.Fatal("no authority: ", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", e.token)
	mux.HandleFunc("/fhir/", e.resource)
	e.Server = httptest.NewUnstartedServer(mux)
	e.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	e.StartTLS()
	t.Cleanup(e.Close)
	return e
}

// token is the token endpoint (RFC 6749, 4.4; SMART backend services).
func (e *fhirEPR) token(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	why := ""
	switch user, password, _ := r.BasicAuth(); {
	case r.ParseForm() != nil || r.Form.Get("grant_type") != "client_credentials" || r.Form.Get("scope") != "system/Flag.cruds":
		why = "grant or scope"
	case r.URL.RawQuery != "":
		why = "something in the address"
	case e.secret == "":
		why = e.unproven(r)
	case user != "agent" || password != e.secret:
		why = "wrong secret"
	}
	w.Header().Set("Content-Type", "application/json")
	if why != "" {
		e.refused = append(e.refused, why)
		w.WriteHeader(http.StatusUnauthorized)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_client", "error_description": "FERNSBY 9990000344"})
		return
	}
	e.given++
	token := rand.Text()
	e.valid[token] = true
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "bearer", "expires_in": 3600})
}

// unproven says why the assertion proves nothing: another signature, another
// audience, over, too long, or used before.
func (e *fhirEPR) unproven(r *http.Request) string {
	if r.Form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		return "no assertion"
	}
	token, err := jwt.ParseSigned(r.Form.Get("client_assertion"), []jose.SignatureAlgorithm{jose.ES384, jose.RS384})
	if err != nil {
		return err.Error()
	}
	var claims jwt.Claims
	if err := token.Claims(e.key, &claims); err != nil {
		return "signature: " + err.Error()
	}
	want := jwt.Expected{Issuer: "agent", Subject: "agent", AnyAudience: jwt.Audience{e.URL + "/token"}, Time: time.Now()}
	switch {
	case claims.ValidateWithLeeway(want, 0) != nil:
		return "claims: " + claims.ValidateWithLeeway(want, 0).Error()
	case claims.Expiry == nil || time.Until(claims.Expiry.Time()) > 5*time.Minute:
		return "lives longer than the five minutes that SMART allows"
	case claims.ID == "" || e.used[claims.ID]:
		return "jti was used before"
	case token.Headers[0].KeyID != "k1":
		return "kid"
	}
	e.used[claims.ID] = true
	return ""
}

func (e *fhirEPR) resource(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	e.mu.Lock()
	e.certs[r.TLS.PeerCertificates[0].SerialNumber.String()] = true
	known := e.valid[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	var answer func(http.ResponseWriter)
	if write := r.Method == http.MethodPut || r.Method == http.MethodPost && !strings.HasSuffix(r.URL.Path, "_search"); known && write {
		e.requests[r.Header.Get("X-Request-ID")]++
		if len(e.answers) > 0 {
			answer, e.answers = e.answers[0], e.answers[1:]
		}
	}
	e.mu.Unlock()
	switch {
	case !known:
		hospital.AnswerFHIR(w, http.StatusUnauthorized, hospital.Outcome("login", "no token that is known"))
	case answer != nil:
		answer(w)
	default:
		status, out := e.Do(r, body)
		hospital.AnswerFHIR(w, status, out)
	}
}

// expire ends all access tokens before their time.
func (e *fhirEPR) expire() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.valid)
}

// accept has the EPR know the client by that key, and by no other.
func (e *fhirEPR) accept(key crypto.PublicKey) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.key = key
}

func (e *fhirEPR) script(answers ...func(http.ResponseWriter)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answers = append(e.answers, answers...)
}

func (e *fhirEPR) see(do func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	do()
}

// shows waits until the EPR shows as many Flags.
func (e *fhirEPR) shows(ctx context.Context, t *testing.T, what string, want int) {
	t.Helper()
	await(ctx, t, fmt.Sprintf("%s: %d Flags", what, want), func() bool { return e.Showing() == want })
}

func newKey(t *testing.T, path string, key crypto.Signer) crypto.PublicKey {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err == nil {
		err = os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key.Public()
}

// TestFHIRBehindTokensAndCertificates has the built agent put alerts into two EPRs
// that want a client certificate and a token: one by a signed assertion, one by a
// secret. Tokens end before their time, the EPR asks for a pause, refuses, gets
// another key of ours, and our certificate is renewed: each alert is shown in the
// end, once, and withdrawn.
func TestFHIRBehindTokensAndCertificates(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	ca := feedtest.NewAuthority(t, "hospital")
	own, serial := ca.Issue("agent")
	bySignature, bySecret := newFHIREPR(t, ca, ""), newFHIREPR(t, ca, "hush")
	w := newWorldWith(t, func(w *world.World) string {
		section := func(name, more string, e *fhirEPR) string {
			return fmt.Sprintf(`  - name: %s
    delivery: {release_confirmed_by: nobody, rate: 0, rest_after: 2, rest: 200ms}
    test_patient: {nhs_number: "9990000395"}
    fhir:
      base: %s/fhir
      tls: {ca: %s, cert: %s, key: %s}
      token: {url: %s/token, client_id: agent, scope: system/Flag.cruds, %s}
`, name, e.URL, ca.CA(), own.Cert, own.Key, e.URL, more)
		}
		if err := os.WriteFile(w.Path("secret"), []byte("hush\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		first, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		bySignature.accept(newKey(t, w.Path("key.pem"), first))
		return section("signed", "key_file: key.pem, key_id: k1", bySignature) + section("secret", "secret_file: secret", bySecret)
	})
	both := func(what string, want int) {
		t.Helper()
		bySignature.shows(ctx, t, what+" by signature", want)
		bySecret.shows(ctx, t, what+" by secret", want)
	}
	send := func(trigger string, who hospital.Person, visit string, begun time.Time) {
		t.Helper()
		if _, err := w.PAS.Send(ctx, w.PAS.Message(trigger, who, visit, begun)); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	send("A04", hospital.Plan, "V1", begun)
	both("first", 1)
	// The check at the start asks for a token of its own.
	await(ctx, t, "the agent has checked itself", func() bool {
		log, _ := os.ReadFile(w.Path("safeguard-agent.log"))
		return strings.Contains(string(log), "checked at start")
	})
	before := 0
	bySecret.see(func() { before = bySecret.given })
	bySignature.see(func() {
		if bySignature.given > 2 || len(bySignature.refused) != 0 || !bySignature.certs[fmt.Sprint(serial)] {
			t.Errorf("%d tokens, refused %q, certificates %v, want a token for the sink, one for the check, and our certificate", bySignature.given, bySignature.refused, bySignature.certs)
		}
	})

	// The tokens end, and the EPR asks for a pause, before the next alert.
	bySignature.expire()
	bySecret.expire()
	var paused time.Time
	bySecret.script(func(w http.ResponseWriter) {
		paused = time.Now()
		w.Header().Set("Retry-After", "2")
		hospital.AnswerFHIR(w, http.StatusServiceUnavailable, hospital.Outcome("transient", "maintenance"))
	})
	send("A04", hospital.LookedAfter, "V2", begun)
	both("after the tokens ended", 2)
	if took := time.Since(paused); took < 2*time.Second {
		t.Errorf("came again after %v, want the two seconds that Retry-After asked for", took)
	}
	bySecret.see(func() {
		if bySecret.given != before+1 {
			t.Errorf("%d tokens after %d, want one more after they ended", bySecret.given, before)
		}
		again := 0
		for _, n := range bySecret.requests {
			if n > 1 {
				again++
			}
		}
		if again != 1 {
			t.Errorf("%v: want the request that was turned away to come again with its id", bySecret.requests)
		}
	})

	// One alert is refused for good, which is for a person to see.
	const text = "no Flag for this patient, said the EPR of FERNSBY"
	bySecret.script(func(w http.ResponseWriter) {
		hospital.AnswerFHIR(w, http.StatusUnprocessableEntity, hospital.Outcome("business-rule", text))
	})
	send("A04", hospital.Sibling, "V3", begun)
	bySignature.shows(ctx, t, "where it is taken", 3)
	await(ctx, t, "it is set aside with the EPR's text", func() bool {
		out, err := w.Run(ctx, "safeguard-agent", "journal", "list", "--config", w.Path("agent.yaml"), "--sink", "secret", "--state", "set-aside", "--reveal")
		return err == nil && strings.Contains(out, "422") && strings.Contains(out, text)
	})
	if out, err := w.Run(ctx, "safeguard-agent", "journal", "list", "--config", w.Path("agent.yaml"), "--sink", "secret"); err != nil || strings.Contains(out, text) {
		t.Errorf("what the EPR wrote is told without --reveal, and may be about the patient: %v %s", err, out)
	}

	// Our key is replaced: first at the EPR, so that there is no token until the
	// file here is the new one too. Our certificate is renewed meanwhile.
	second, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	bySignature.accept(newKey(t, w.Path("next.pem"), second))
	bySignature.expire()
	_, renewed := ca.Issue("agent")
	bySignature.CloseClientConnections()
	send("A11", hospital.LookedAfter, "V2", begun)
	await(ctx, t, "the old key is refused", func() (some bool) {
		bySignature.see(func() {
			for _, why := range bySignature.refused {
				some = some || strings.HasPrefix(why, "signature: ")
			}
		})
		return some
	})
	await(ctx, t, "the agent says why", func() bool {
		out, _ := w.Run(ctx, "safeguard-agent", "journal", "list", "--config", w.Path("agent.yaml"), "--sink", "signed", "--json")
		log, _ := os.ReadFile(w.Path("safeguard-agent.log"))
		return strings.Contains(out+string(log), "401 invalid_client")
	})
	if err := os.Rename(w.Path("next.pem"), w.Path("key.pem")); err != nil {
		t.Fatal(err)
	}
	bySignature.shows(ctx, t, "with the new key, one withdrawn", 2)
	bySignature.see(func() {
		if !bySignature.certs[fmt.Sprint(renewed)] {
			t.Errorf("certificates %v, want the renewed one, %d", bySignature.certs, renewed)
		}
		for _, why := range bySignature.refused {
			if !strings.HasPrefix(why, "signature: ") {
				t.Errorf("a token was refused: %s", why)
			}
		}
	})
	operated(ctx, t, w, bySignature)
	for _, e := range []*fhirEPR{bySignature, bySecret} {
		if n := len(e.All("Patient")); n != len(hospital.People) {
			t.Errorf("%d patients, want none made", n)
		}
	}
	log, err := os.ReadFile(w.Path("safeguard-agent.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"hush", "FERNSBY", hospital.Plan.Number, hospital.Sibling.Number, "client_assertion"} {
		if strings.Contains(string(log), secret) {
			t.Errorf("%q is in the agent's log", secret)
		}
	}
}

// operated tries the commands about sinks as docs/epr.md has them, with an EPR that
// shows two alerts.
func operated(ctx context.Context, t *testing.T, w *world.World, e *fhirEPR) {
	t.Helper()
	run := func(args ...string) (string, error) {
		return w.Run(ctx, "safeguard-agent", append([]string{"epr"}, append(args, "--config", w.Path("agent.yaml"))...)...)
	}
	if out, err := run("preview", "--sink", "signed"); err != nil || !strings.Contains(out, `"resourceType": "Flag"`) {
		t.Errorf("preview: %v\n%s", err, out)
	}
	if out, err := run("test", "--sink", "signed"); err != nil || !strings.Contains(out, "delivered") {
		t.Errorf("test: %v\n%s", err, out)
	}
	if n := e.Showing(); n != 3 {
		t.Errorf("%d Flags with the test patient's, want 3", n)
	}
	// It is of no attendance, so that it shows until it is withdrawn.
	if out, err := run("reconcile", "--sink", "signed"); err == nil || strings.Count(out, "the journal does not know the alert") != 1 {
		t.Errorf("reconcile with a test alert: %v\n%s", err, out)
	}
	if out, err := run("test", "--sink", "signed", "--withdraw"); err != nil || e.Showing() != 2 {
		t.Errorf("test --withdraw: %d Flags, %v\n%s", e.Showing(), err, out)
	}
	if out, err := run("reconcile", "--sink", "signed"); err != nil || strings.Count(out, "shown") != 2 {
		t.Errorf("reconcile: %v\n%s", err, out)
	}
	e.Put("Flag/lost", map[string]any{"resourceType": "Flag", "id": "lost", "status": "active", "meta": map[string]any{"versionId": "1"},
		"identifier": []any{map[string]any{"system": "urn:safeguard:alert", "value": "6f0d4c7e-2b1a-8c3d-9e4f-5a6b7c8d9e0f"}}})
	if out, err := run("reconcile", "--sink", "signed", "--apply"); err == nil || !strings.Contains(out, "6f0d4c7e") && !strings.Contains(out, "does not know") || e.Showing() != 3 {
		t.Errorf("reconcile with a Flag of before the journal was lost: %d Flags, %v\n%s", e.Showing(), err, out)
	}
	if out, err := run("reconcile", "--sink", "signed", "--apply", "--unknown"); err != nil || e.Showing() != 2 {
		t.Errorf("reconcile --apply --unknown: %d Flags, %v\n%s", e.Showing(), err, out)
	}
	if out, err := run("observed"); err == nil { // nothing is observed: exit code 3
		t.Errorf("observed: %s", out)
	}
}
