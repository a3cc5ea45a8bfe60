package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed/feedtest"
	"github.com/safeguard-edge/safeguard/test/hospital"
	"github.com/safeguard-edge/safeguard/test/world"
)

// cdsEPR is an EPR that asks the agent by CDS Hooks when a record is opened.
type cdsEPR struct {
	t      *testing.T
	url    string
	http   *http.Client
	key    *ecdsa.PrivateKey
	issuer string
}

func newKeyP384(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// token is signed for that address, and good once.
func (e *cdsEPR) token(url string) string {
	e.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES384, Key: jose.JSONWebKey{Key: e.key, KeyID: "k1"}}, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	raw, err := jwt.Signed(signer).Claims(jwt.Claims{Issuer: e.issuer, Audience: jwt.Audience{url}, ID: rand.Text(),
		IssuedAt: jwt.NewNumericDate(time.Now()), Expiry: jwt.NewNumericDate(time.Now().Add(5 * time.Minute))}).Serialize()
	if err != nil {
		e.t.Fatal(err)
	}
	return raw
}

type cdsCard struct {
	UUID, Summary, Detail, Indicator string
}

// post asks with the token; without one with a fresh one.
func (e *cdsEPR) post(ctx context.Context, path, token string, body any) (status int, cards []cdsCard) {
	e.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		e.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url+path, bytes.NewReader(text))
	if err != nil {
		e.t.Fatal(err)
	}
	if token == "" {
		token = e.token(e.url + path)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := e.http.Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer res.Body.Close()
	var in struct{ Cards []cdsCard }
	if text, err = io.ReadAll(res.Body); err == nil && res.StatusCode == http.StatusOK {
		err = json.Unmarshal(text, &in)
	}
	if err != nil {
		e.t.Fatal(err)
	}
	return res.StatusCode, in.Cards
}

func patientView(hook string, who hospital.Person) map[string]any {
	patient := map[string]any{"resourceType": "Patient", "birthDate": who.Born.Format(time.DateOnly)}
	if who.Number != "" {
		patient["identifier"] = []any{map[string]any{"system": "https://fhir.nhs.uk/Id/nhs-number", "value": who.Number}}
	}
	return map[string]any{"hook": hook, "hookInstance": rand.Text(), "context": map[string]any{"userId": "Practitioner/1", "patientId": "p1", "encounterId": "e1"},
		"prefetch": map[string]any{"patient": patient}}
}

const cdsPath = "/cds-services/safeguard-"

// TestCDSHooks has an EPR ask the built agent over TLS.
func TestCDSHooks(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ca := feedtest.NewAuthority(t, "hospital")
	own, _ := ca.Issue("agent")
	address, err := world.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	e := &cdsEPR{t: t, url: "https://" + address, key: newKeyP384(t), issuer: "https://epr.example"}
	w := newWorldWith(t, func(w *world.World) string {
		keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: e.key.Public(), KeyID: "k1", Algorithm: "ES384"}}})
		if err == nil {
			err = os.WriteFile(w.Path("epr-keys.json"), keys, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`cds_hooks:
  address: %s
  public_url: %s
  tls: {cert: %s, key: %s}
  timeout: 30s
  clients: [{issuer: %s, keys_file: epr-keys.json}]
  delivery: {release_confirmed_by: nobody}
`, address, e.url, own.Cert, own.Key, e.issuer)
	})
	pool := x509.NewCertPool()
	if text, err := os.ReadFile(ca.CA()); err != nil || !pool.AppendCertsFromPEM(text) {
		t.Fatal("no authority: ", err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer transport.CloseIdleConnections()
	e.http = &http.Client{Transport: transport}

	// What there is to ask.
	res, err := e.http.Get(e.url + "/cds-services")
	if err != nil {
		t.Fatal(err)
	}
	var found struct {
		Services []struct {
			Hook, ID string
			Prefetch map[string]string
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&found); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	hooks := map[string]string{}
	for _, s := range found.Services {
		hooks[s.Hook] = s.ID
		if s.Prefetch["patient"] != "Patient/{{context.patientId}}" {
			t.Errorf("%s wants %v prefetched", s.ID, s.Prefetch)
		}
	}
	if len(hooks) != 2 || hooks["patient-view"] != "safeguard-patient-view" || hooks["encounter-start"] != "safeguard-encounter-start" {
		t.Fatalf("services %v", hooks)
	}

	ask := func(hook string, who hospital.Person) []cdsCard {
		t.Helper()
		status, cards := e.post(ctx, cdsPath+hook, "", patientView(hook, who))
		if status != http.StatusOK {
			t.Fatalf("%s: %d", hook, status)
		}
		return cards
	}
	if cards := ask("patient-view", hospital.Plan); len(cards) != 0 {
		t.Fatalf("a card for a child who is not here: opening a record must look nothing up: %v", cards)
	}
	for _, who := range []hospital.Person{hospital.Plan, hospital.NoNumber} {
		if _, err := w.PAS.Send(ctx, w.PAS.Message("A04", who, "V-"+who.Key, time.Now())); err != nil {
			t.Fatal(err)
		}
	}
	var first []cdsCard
	await(ctx, t, "a card for the child who is here", func() bool {
		first = ask("patient-view", hospital.Plan)
		return len(first) == 1 && strings.Contains(first[0].Summary, "Ashmere Council")
	})
	if c := first[0]; len([]rune(c.Summary)) >= 140 || c.Indicator != "warning" || !strings.Contains(c.Detail, "01632 960001") {
		t.Errorf("card %+v", c)
	}
	for _, hook := range []string{"patient-view", "encounter-start"} {
		if again := ask(hook, hospital.Plan); len(again) != 1 || again[0] != first[0] {
			t.Errorf("%s: %+v, want the same card as before", hook, again)
		}
	}
	if cards := ask("patient-view", hospital.NoNumber); len(cards) != 0 {
		t.Errorf("a card without an NHS number: %v", cards)
	}
	if cards := ask("patient-view", hospital.OtherBirth); len(cards) != 0 {
		t.Errorf("a card for a child who is not here: %v", cards)
	}

	// Who is not on the list, or comes twice with one token, is told nothing.
	view := cdsPath + "patient-view"
	stranger, forger, other := *e, *e, *e
	stranger.issuer, forger.key = "https://stranger.example", newKeyP384(t)
	used := e.token(e.url + view)
	if status, _ := e.post(ctx, view, used, patientView("patient-view", hospital.Plan)); status != http.StatusOK {
		t.Fatalf("%d", status)
	}
	for what, token := range map[string]string{
		"of an issuer that is not listed": stranger.token(e.url + view), "of a key that is not the issuer's": forger.token(e.url + view),
		"for another service": other.token(e.url + cdsPath + "encounter-start"), "for another address": other.token("https://elsewhere.example" + view),
		"used before": used, "that is none": "x",
	} {
		if status, cards := e.post(ctx, view, token, patientView("patient-view", hospital.Plan)); status != http.StatusUnauthorized || len(cards) != 0 {
			t.Errorf("a token %s: %d with %d cards, want 401", what, status, len(cards))
		}
	}

	status, _ := e.post(ctx, view+"/feedback", "", map[string]any{"feedback": []any{map[string]any{"card": first[0].UUID, "outcome": "accepted", "outcomeTimestamp": "2026-11-27T10:00:00Z"}}})
	if status != http.StatusOK {
		t.Errorf("feedback: %d", status)
	}
	out, err := w.Run(ctx, "safeguard-agent", "epr", "states", "--config", w.Path("agent.yaml"), "--json")
	if err != nil {
		t.Fatal(err)
	}
	var state struct {
		Name  string
		Asked *struct{ Asked, Cards, Unidentified, Refused, Feedback int }
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &state); err != nil || state.Asked == nil {
		t.Fatalf("no state of the service in %s: %v", out, err)
	}
	if a := state.Asked; a.Unidentified != 1 || a.Refused != 6 || a.Feedback != 1 || a.Cards < 4 || a.Asked < a.Cards+3 {
		t.Errorf("counted %+v", *a)
	}
	if waiting, err := w.Notifications(ctx, 1); err != nil || len(waiting) != 1 {
		t.Errorf("asking by CDS Hooks notified: %v %v", waiting, err)
	}
	log, _ := os.ReadFile(w.Path("safeguard-agent.log"))
	if !strings.Contains(string(log), first[0].UUID) {
		t.Error("the feedback is not in the log")
	}
	for _, secret := range []string{hospital.Plan.Number, hospital.Plan.Family, hospital.Plan.Born.Format(time.DateOnly)} {
		if strings.Contains(string(log), secret) {
			t.Errorf("%q is in the agent's log", secret)
		}
	}
}
