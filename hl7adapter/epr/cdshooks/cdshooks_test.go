package cdshooks_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/cdshooks"
	"github.com/safeguard-edge/safeguard/logging/loggingtest"
)

// known is what an agent knows: alerts by NHS number.
type known map[string][]safeguard.Alert

func (k known) InForce(_ context.Context, n safeguard.NHSNumber) ([]safeguard.Alert, error) {
	return k[n.Reveal()], nil
}

type site struct {
	t       *testing.T
	service *cdshooks.Service
	key     *ecdsa.PrivateKey
	log     *loggingtest.Log
}

const public = "https://safeguard.example"

func open(t *testing.T, alerts known) *site {
	t.Helper()
	return opened(t, alerts, func(*cdshooks.Config) {})
}

func opened(t *testing.T, alerts known, change func(*cdshooks.Config)) *site {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "ES384"}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, set, 0o600); err != nil {
		t.Fatal(err)
	}
	c := cdshooks.DefaultConfig()
	c.Address, c.PublicURL, c.Timeout = "127.0.0.1:0", public, 30*time.Second
	c.Clients = []cdshooks.Client{{Issuer: "https://epr.example", KeysFile: file}}
	c.Delivery.ReleaseConfirmedBy = "Dr Imogen Hale, 2 Nov 2026"
	change(&c)
	s := &site{t: t, key: key, log: &loggingtest.Log{}}
	if s.service, err = cdshooks.Listen(c, epr.DefaultWording(), time.UTC, alerts, slog.New(slog.NewTextHandler(s.log, nil))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.service.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// token is a good one, unless change makes it another.
func (s *site) token(path string, change func(*jwt.Claims)) string {
	s.t.Helper()
	claims := jwt.Claims{Issuer: "https://epr.example", Audience: jwt.Audience{public + path}, ID: rand.Text(),
		IssuedAt: jwt.NewNumericDate(time.Now()), Expiry: jwt.NewNumericDate(time.Now().Add(5 * time.Minute))}
	if change != nil {
		change(&claims)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES384, Key: jose.JSONWebKey{Key: s.key, KeyID: "k1"}}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	raw, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		s.t.Fatal(err)
	}
	return raw
}

func (s *site) post(path, token, body string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+s.service.Addr()+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	var b bytes.Buffer
	_, _ = b.ReadFrom(res.Body)
	return res.StatusCode, b.String()
}

const view = "/cds-services/safeguard-patient-view"

func question(hook, system, number, born string) string {
	return `{"hook":"` + hook + `","hookInstance":"1","context":{"userId":"Practitioner/1","patientId":"p1"},"prefetch":{"patient":{"resourceType":"Patient","birthDate":"` +
		born + `","identifier":[{"system":"` + system + `","value":"` + number + `"}]}}}`
}

const nhs = "https://fhir.nhs.uk/Id/nhs-number"

type cards struct {
	Cards []struct {
		UUID, Summary, Detail, Indicator string
		Source                           struct{ Label string }
	}
}

func (s *site) cards(body string) cards {
	s.t.Helper()
	status, text := s.post(view, s.token(view, nil), body)
	var out cards
	if err := json.Unmarshal([]byte(text), &out); err != nil || status != http.StatusOK {
		s.t.Fatalf("%d %s: %v", status, text, err)
	}
	return out
}

func TestDiscovery(t *testing.T) {
	s := open(t, nil)
	res, err := http.Get("http://" + s.service.Addr() + "/cds-services")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var out struct {
		Services []struct {
			Hook, ID string
			Prefetch map[string]string
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil || len(out.Services) != 2 {
		t.Fatalf("got %+v, want two services: %v", out, err)
	}
	for i, hook := range []string{"patient-view", "encounter-start"} {
		if got := out.Services[i]; got.Hook != hook || got.ID != "safeguard-"+hook || got.Prefetch["patient"] != "Patient/{{context.patientId}}" {
			t.Errorf("got %+v, want %s with the patient prefetched", got, hook)
		}
	}
}

func TestCards(t *testing.T) {
	held := epr.Sample(safeguard.Raise, safeguard.FlagsHeld)
	twice := held
	twice.ID = "0b8b0c9e-54a0-8f3e-8d10-6d2f6d0a7e11"
	unknown := epr.Sample(safeguard.Raise, safeguard.CheckNotCompleted)
	s := open(t, known{"9990000344": {held, twice}, "9990000352": {unknown}})
	got := s.cards(question("patient-view", nhs, "9990000344", "2018-11-02"))
	if len(got.Cards) != 1 {
		t.Fatalf("%d cards for two attendances that say the same, want one", len(got.Cards))
	}
	c := got.Cards[0]
	if utf8.RuneCountInString(c.Summary) >= 140 || !strings.Contains(c.Detail, "01632 960001") || c.Indicator != "warning" || c.UUID != string(held.ID) || c.Source.Label == "" {
		t.Errorf("card %+v", c)
	}
	if again := s.cards(question("patient-view", nhs, "9990000344", "2018-11-02")); again.Cards[0] != c {
		t.Errorf("asked again, another card: %+v, then %+v", c, again.Cards[0])
	}
	for name, body := range map[string]string{
		"nobody known":        question("patient-view", nhs, "9990000360", "2018-11-02"),
		"no NHS number":       question("patient-view", "urn:mrn", "9990000344", "2018-11-02"),
		"no patient":          `{"hook":"patient-view","context":{}}`,
		"other date of birth": question("patient-view", nhs, "9990000344", "2018-11-03"),
		"not a number":        question("patient-view", nhs, "9990000345", "2018-11-02"),
	} {
		if got := s.cards(body); len(got.Cards) != 0 {
			t.Errorf("%s: %+v, want no card", name, got)
		}
	}
	if got := s.cards(question("patient-view", nhs, "9990000352", "")); len(got.Cards) != 1 || !strings.Contains(got.Cards[0].Detail, "does not mean that there is no plan") {
		t.Errorf("unknown: %+v, want it said", got)
	}
	if stats := s.service.Stats(); stats.Unidentified != 3 || stats.Cards != 3 {
		t.Errorf("stats %+v, want three asked without an NHS number, three cards", stats)
	}
	if strings.Contains(s.log.String(), "9990000") {
		t.Errorf("an NHS number is in the log: %s", s.log)
	}
}

func TestNoCardsUntilSomebodyConfirmedNorForOthers(t *testing.T) {
	held := epr.Sample(safeguard.Raise, safeguard.FlagsHeld)
	for name, c := range map[string]struct {
		change          func(*cdshooks.Config)
		cards, observed int64
	}{
		"nobody has confirmed": {func(c *cdshooks.Config) { c.Delivery.ReleaseConfirmedBy = "" }, 0, 1},
		"set to observe":       {func(c *cdshooks.Config) { c.Delivery.Observe = true }, 0, 1},
		"the site observes":    {func(c *cdshooks.Config) { c.Delivery.SiteObserves = true }, 0, 1},
		"its care setting": {func(c *cdshooks.Config) {
			c.Delivery.CareSettings = []safeguard.CareSetting{held.Attendance.Setting}
		}, 1, 0},
		"another location": {func(c *cdshooks.Config) { c.Delivery.Locations = []string{"elsewhere"} }, 0, 0},
	} {
		s := opened(t, known{"9990000344": {held}}, c.change)
		got := s.cards(question("patient-view", nhs, "9990000344", "2018-11-02"))
		if stats := s.service.Stats(); int64(len(got.Cards)) != c.cards || stats.Cards != c.cards || stats.Observed != c.observed {
			t.Errorf("%s: %d cards, %+v; want %d shown, %d observed", name, len(got.Cards), stats, c.cards, c.observed)
		}
	}
}

func TestOnlyWhoIsOnTheListMayAsk(t *testing.T) {
	s := open(t, nil)
	stranger := open(t, nil)
	body := question("patient-view", nhs, "9990000344", "")
	for name, token := range map[string]string{
		"no token":       "",
		"not a token":    "x.y.z",
		"unknown issuer": s.token(view, func(c *jwt.Claims) { c.Issuer = "https://other.example" }),
		"other key":      stranger.token(view, nil),
		"other audience": s.token("/cds-services/safeguard-encounter-start", nil),
		"expired": s.token(view, func(c *jwt.Claims) {
			c.IssuedAt, c.Expiry = jwt.NewNumericDate(time.Now().Add(-time.Hour)), jwt.NewNumericDate(time.Now().Add(-50*time.Minute))
		}),
		"without an end":  s.token(view, func(c *jwt.Claims) { c.Expiry = nil }),
		"without an id":   s.token(view, func(c *jwt.Claims) { c.ID = "" }),
		"living too long": s.token(view, func(c *jwt.Claims) { c.Expiry = jwt.NewNumericDate(time.Now().Add(time.Hour)) }),
		"issued next week": s.token(view, func(c *jwt.Claims) {
			c.IssuedAt, c.Expiry = jwt.NewNumericDate(time.Now().Add(7*24*time.Hour)), jwt.NewNumericDate(time.Now().Add(7*24*time.Hour+time.Minute))
		}),
	} {
		if status, text := s.post(view, token, body); status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s, want 401", name, status, text)
		}
	}
	once := s.token(view, nil)
	if status, _ := s.post(view, once, body); status != http.StatusOK {
		t.Errorf("a good token: %d", status)
	}
	if status, _ := s.post(view, once, body); status != http.StatusUnauthorized {
		t.Errorf("a token used twice: %d, want 401", status)
	}
}

func TestFeedbackIsKept(t *testing.T) {
	s := open(t, nil)
	path := view + "/feedback"
	good := `{"feedback":[{"card":"6f0d4c7e-2b1a-8c3d-9e4f-5a6b7c8d9e0f","outcome":"overridden","overrideReason":{"userComment":"about TOBIAS"}}]}`
	if status, text := s.post(path, s.token(path, nil), good); status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	if log := s.log.String(); !strings.Contains(log, "6f0d4c7e-2b1a-8c3d-9e4f-5a6b7c8d9e0f") || !strings.Contains(log, "overridden") || strings.Contains(log, "TOBIAS") {
		t.Errorf("want the card and the outcome, and no comment: %s", log)
	}
	for name, body := range map[string]string{"not JSON": "{", "unknown outcome": strings.Replace(good, "overridden", "eaten", 1), "no card of ours": strings.Replace(good, "6f0d", "", 1)} {
		if status, _ := s.post(path, s.token(path, nil), body); status != http.StatusBadRequest {
			t.Errorf("%s: %d, want 400", name, status)
		}
	}
	if stats := s.service.Stats(); stats.Feedback != 1 {
		t.Errorf("%d kept, want one", stats.Feedback)
	}
}

func TestWrongConfigurationIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*cdshooks.Config)
		want   string
	}{
		"no TLS":     {func(c *cdshooks.Config) { c.Address = "10.1.2.3:8443" }, "tls: absent"},
		"no URL":     {func(c *cdshooks.Config) { c.PublicURL = "safeguard" }, "public_url"},
		"no clients": {func(c *cdshooks.Config) { c.Clients = nil }, "clients: empty"},
		"no keys":    {func(c *cdshooks.Config) { c.Clients[0].KeysFile = "" }, "clients[0]"},
		"no address": {func(c *cdshooks.Config) { c.Address = "8443" }, "address"},
	} {
		d := cdshooks.DefaultConfig()
		d.Address, d.PublicURL, d.Clients = "127.0.0.1:0", public, []cdshooks.Client{{Issuer: "a", KeysFile: "b"}}
		c.change(&d)
		if err := d.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want one that says %s", name, err, c.want)
		}
	}
}
