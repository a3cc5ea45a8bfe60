package central

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const goodConfig = `
listen: 127.0.0.1:0
data: data
master_key: secret/master.key
tls: {certificate: centre.pem, key: centre-key.pem, clients_ca: /etc/ca.pem}
production_checks: false
sites:
  - organisation: RX1
    site: RX1RA
    name: Example Infirmary
    care_settings: [emergency-department, maternity]
    accountable: {name: Dr A Example, role: Named doctor}
authorities:
  - code: 806
    name: Middlesbrough
    emergency_duty_phone: 01632 960001
`

func load(t *testing.T, text string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "central.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path)
}

func TestLoad(t *testing.T) {
	c, err := load(t, goodConfig)
	if err != nil {
		t.Fatal(err)
	}
	if c.ProductionChecks || c.Authorities[0].Code != "806" || c.Sites[0].CareSettings[1] != "maternity" {
		t.Errorf("read %+v", c)
	}
	if !filepath.IsAbs(c.Data) || filepath.Base(c.Data) != "data" || c.TLS.ClientsCA != "/etc/ca.pem" || c.AddressFile != "" {
		t.Errorf("paths %+v, want the file's folder before relative ones", c)
	}
	if c.Store.Postgres.DSNFile != "" {
		t.Errorf("store %+v, want the embedded one by default", c.Store)
	}
	c, err = load(t, goodConfig+"store: {postgres: {dsn_file: secret/dsn}}\n")
	if err != nil || !filepath.IsAbs(c.Store.Postgres.DSNFile) {
		t.Errorf("store %+v, %v, want the path of the file", c.Store, err)
	}
	c, err = load(t, strings.ReplaceAll(goodConfig, "production_checks: false", ""))
	if err != nil || !c.ProductionChecks {
		t.Errorf("production checks %v, %v, want them by default", c.ProductionChecks, err)
	}
}

func TestLoadSaysWhatIsWrong(t *testing.T) {
	tests := []struct {
		name, old, new string
		want           []string
	}{
		{"unknown key", "production_checks", "production_check", []string{"central.yaml:6:1:", `"production_check"`, `mean "production_checks"`}},
		{"unknown key within", "emergency_duty_phone", "emergency_phone", []string{":16:5:", `mean "emergency_duty_phone"`}},
		{"unknown key far off", "listen:", "zzz:", []string{`:2:1: unknown key "zzz"`}},
		{"not YAML", "[emergency-department", "[[emergency-department", []string{"central.yaml:"}},
		{"wrong type", "production_checks: false", "production_checks: maybe", []string{":6:20:", "bool"}},
		{"key twice", "data: data", "data: data\ndata: other", []string{":4:1:", "data", "already defined"}},
		{"second document", "sites:", "---\nsites:", []string{"second document"}},
		{"octal code", "code: 806", "code: 0401", []string{":14:11: 0401", `in quotes: "0401"`}},
		{"octal phone", "01632 960001", "01632760001", []string{"in quotes"}},
		{"no port", "127.0.0.1:0", "127.0.0.1", []string{"listen", `"127.0.0.1"`, "host:port"}},
		{"no data", "data: data", "", []string{"data: missing, want"}},
		{"no master key", "master_key: secret/master.key", "", []string{"master_key: missing, want"}},
		{"master key within data", "secret/master.key", "data/master.key", []string{"master_key", "outside"}},
		{"no certificate", "certificate: centre.pem, ", "", []string{"tls.certificate: missing, want"}},
		{"bad organisation", "organisation: RX1", "organisation: R", []string{"sites[0].organisation", `"R"`, "three to six"}},
		{"bad site", "site: RX1RA", "site: RX1-A", []string{"sites[0].site", "RX1-A", "letters and digits"}},
		{"no name", "name: Example Infirmary", "", []string{"sites[0].name: missing"}},
		{"bad setting", "maternity]", "maternities]", []string{"sites[0].care_settings[1]", "maternities", "walk-in-centre"}},
		{"no setting", "[emergency-department, maternity]", "[]", []string{"sites[0].care_settings: missing"}},
		{"site twice", "authorities:", "  - {organisation: rx1, site: rx1ra, name: B, care_settings: [maternity]}\nauthorities:", []string{"sites[1]", "RX1 RX1RA", "sites[0]"}},
		{"authority twice", "  - code: 806", "  - {code: 806, name: B, emergency_duty_phone: x}\n  - code: 806", []string{"authorities[1]", "806", "authorities[0]"}},
		{"no phone", "emergency_duty_phone: 01632 960001", "", []string{"authorities[0].emergency_duty_phone: missing"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(goodConfig, tt.old) {
				t.Fatalf("no %q to replace", tt.old)
			}
			_, err := load(t, strings.Replace(goodConfig, tt.old, tt.new, 1))
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is more than one line", err)
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml")); err == nil || !strings.Contains(err.Error(), "none.yaml: no such file") {
		t.Errorf("missing file: %v", err)
	}
	if _, err := load(t, ""); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("empty file: %v, want what is missing", err)
	}
}
