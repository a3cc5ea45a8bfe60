package agent_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/agent"
)

const sample = "../configs/agent.sample.yaml"

// edited writes the sample with old replaced by new, and returns its path.
func edited(t *testing.T, old, new string) string {
	t.Helper()
	text, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("the sample has no %q", old)
	}
	path := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), old, new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSampleConfigurationIsValid(t *testing.T) {
	c, err := agent.LoadConfig(sample)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Feeds[0].MLLP; got.Name != "pas" || got.MaxConnections != 256 {
		t.Errorf("the feed lacks its name or the defaults of its transport: %+v", got)
	}
	if want := filepath.Join("..", "configs", "certificates", "ca.pem"); c.Central.CA != want {
		t.Errorf("certificate at %s, want it beside the configuration: %s", c.Central.CA, want)
	}
	if !c.ProductionChecks {
		t.Error("production checks are off without being switched off")
	}
}

func TestBadConfigurationIsNamed(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"unknown key":             {"care_setting: emergency", "care_seting: emergency", `:32:5: unknown key "care_seting", did you mean "care_setting"?`},
		"unknown key in a list":   {"address: epr.", "adress: epr.", `unknown key "adress", did you mean "address"?`},
		"unknown value":           {"care_setting: emergency-department", "care_setting: casualty", `:32:19: feeds[0].care_setting: care setting "casualty": want one of`},
		"wrong type":              {"deadline: 800ms", "deadline: soon", `:18:13: central.deadline: time: invalid duration "soon"`},
		"not YAML":                {"device: rx1-ed-1", "device: [", "agent.yaml:"},
		"bad ODS code":            {"organisation: RX1 ", "organisation: R! ", "ODS code"},
		"site not served":         {"site: RX101 ", "site: RX102 ", `feeds[0]: site "RX102": want one of sites`},
		"no accountable person":   {"name: Dr Imogen Hale", `name: ""`, "accountable.name: want the person"},
		"no address":              {"address: central.example.nhs.uk:7443", `address: central`, "central.address: want host:port"},
		"feed without host":       {"address: 10.20.30.40:2575", `address: ":2575"`, `feeds[0]: mllp: address: ":2575" has no host`},
		"sink named like lookups": {"name: epr", "name: lookups", `sinks[0]: name "lookups": want a name of its own`},
		"no sinks":                {"sinks:", "sinks: []\nignored:", `unknown key "ignored"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := agent.LoadConfig(edited(t, c.old, c.new))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want one that says %s", err, c.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %v", err)
			}
		})
	}
	if _, err := agent.LoadConfig("nowhere.yaml"); err == nil || !strings.Contains(err.Error(), "nowhere.yaml") {
		t.Errorf("got %v, want one that names the missing file", err)
	}
}

const mllpFeed = `    mllp:                        # or mllp_client, http, folder, mqtt: docs/feeds.md has all their keys
      address: 10.20.30.40:2575  # this host's own address towards the PAS`

func TestSinksObserveWithTheirSite(t *testing.T) {
	c, err := agent.LoadConfig(edited(t, "enabled: false ", "enabled: true "))
	if err != nil {
		t.Fatal(err)
	}
	sinks, err := c.OpenSinks(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sinks {
		if got := s.State(); got.Live || got.Why != "the site observes" {
			t.Errorf("%+v, want it to observe with the site", got)
		}
	}
	if err := sinks.Close(); err != nil {
		t.Error(err)
	}
}

func TestMQTTFeed(t *testing.T) {
	section := `    mqtt:
      topics: ["adt/{site}/#"]
      broker: {address: "mq.example.nhs.uk:8883", client_id: safeguard-rx1, user: safeguard, password_file: mqtt.password, tls: {ca: ca.pem}}`
	path := edited(t, mllpFeed, section)
	c, err := agent.LoadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	f := c.Feeds[0].MQTT
	if f.Name != "pas" || f.Broker.KeepAlive != 30*time.Second || f.MaxMessage != 32<<20 {
		t.Errorf("the feed lacks its name or the defaults of its transport: %+v", f)
	}
	for _, file := range []string{f.Broker.PasswordFile, f.Broker.TLS.CA} {
		if filepath.Dir(file) != filepath.Dir(path) {
			t.Errorf("%s is not beside the configuration", file)
		}
	}
	_, err = agent.LoadConfig(edited(t, mllpFeed, section+"\n  - name: second\n    site: RX101\n    care_setting: maternity\n"+section))
	if err == nil || !strings.Contains(err.Error(), `client_id: "safeguard-rx1" is that of feed second too`) {
		t.Errorf("got %v, want one that names the client id of two feeds", err)
	}
}

func TestMissingCertificateIsNamed(t *testing.T) {
	path := edited(t, "/var/lib/safeguard-agent ", "data ")
	c, err := agent.LoadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	c.MasterKey = filepath.Join(filepath.Dir(path), "keys", "master.key")
	err = agent.Run(t.Context(), c, slog.New(slog.DiscardHandler), func(func(context.Context) error) { t.Error("ready") })
	if err == nil || !strings.Contains(err.Error(), "agent-RX1.pem") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want one line that names the missing certificate file", err)
	}
}
