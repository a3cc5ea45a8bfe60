package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/configs"
)

const root = "../.."

func TestReferenceAndSchemaAreThoseOfTheProgram(t *testing.T) {
	for _, p := range programs {
		files, err := p.files(root)
		if err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		for name, want := range files {
			got, err := os.ReadFile(filepath.Join(root, "configs", name))
			if err != nil {
				t.Error(err)
			} else if !bytes.Equal(got, want) {
				t.Errorf("configs/%s is not what the program reads: run make generate", name)
			}
		}
	}
}

// yamls are all files of a program that are there to begin with.
func yamls(t *testing.T, program string) []string {
	t.Helper()
	var all []string
	for _, kind := range []string{".sample.yaml", ".*.sample.yaml", ".reference.yaml"} {
		found, err := filepath.Glob(filepath.Join(root, "configs", program+kind))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	if len(all) < 2 {
		t.Fatalf("samples and reference of %s: %v", program, all)
	}
	return all
}

func TestSamplesAndReferenceLoad(t *testing.T) {
	for _, p := range programs {
		for _, file := range yamls(t, p.name) {
			if _, err := p.load(file); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestThereIsASampleForEachKindOfSite(t *testing.T) {
	for setting := safeguard.EmergencyDepartment; setting <= safeguard.PaediatricWard; setting++ {
		if text, err := configs.Sample("agent", setting.String()); err != nil || !strings.Contains(text, "care_setting: "+setting.String()) {
			t.Errorf("sample for %s: %v", setting, err)
		}
	}
	if _, err := configs.Sample("agent", "casualty"); err == nil || !strings.Contains(err.Error(), "want one of emergency-department, ") {
		t.Errorf("got %v, want one that names the kinds", err)
	}
}

func compiled(t *testing.T, program string) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(configs.Schema(program)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// instance reads YAML as the schema's library wants it.
func instance(t *testing.T, text []byte) any {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestSchemaTakesWhatTheProgramTakes(t *testing.T) {
	for _, p := range programs {
		schema := compiled(t, p.name)
		for _, file := range yamls(t, p.name) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(instance(t, text)); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

// TestSchemaRefusesWhatTheProgramRefuses changes a good file in one place.
func TestSchemaRefusesWhatTheProgramRefuses(t *testing.T) {
	for _, c := range []struct{ program, name, old, new string }{
		{"agent", "unknown key", "care_setting: emergency", "care_seting: emergency"},
		{"agent", "unknown word", "care_setting: emergency-department", "care_setting: casualty"},
		{"agent", "wrong duration", "deadline: 800ms", "deadline: soon"},
		{"agent", "missing key", "organisation: RX1 ", "# "},
		{"agent", "no feed", "feeds:", "feeds: []\nignored:"},
		{"agent", "two transports", "    mllp:                        #", "    folder: {folder: /in}\n    mllp: #"},
		{"central", "unknown key", "snapshot_share:", "snapshot_sare:"},
		{"central", "wrong number", "tail_months: 12", "tail_months: many"},
	} {
		t.Run(c.program+" "+c.name, func(t *testing.T) {
			sample, err := configs.Sample(c.program, "")
			if err != nil || !strings.Contains(sample, c.old) {
				t.Fatalf("the sample has no %q (%v)", c.old, err)
			}
			text := []byte(strings.Replace(sample, c.old, c.new, 1))
			if err := compiled(t, c.program).Validate(instance(t, text)); err == nil {
				t.Error("the schema takes it")
			}
			file := filepath.Join(t.TempDir(), "x.yaml")
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
			for _, p := range programs {
				if p.name == c.program {
					if _, err := p.load(file); err == nil {
						t.Error("the program takes it")
					}
				}
			}
		})
	}
}

// TestSchemaHasDefaults looks at one of each kind.
func TestSchemaHasDefaults(t *testing.T) {
	var s struct {
		Properties struct {
			Central struct {
				Properties struct {
					Deadline struct {
						Default, Description string
					}
				}
				Required []string
			}
		}
	}
	if err := json.Unmarshal([]byte(configs.Schema("agent")), &s); err != nil {
		t.Fatal(err)
	}
	if d := s.Properties.Central.Properties.Deadline; d.Default != "800ms" || d.Description != "of one lookup" {
		t.Errorf("central.deadline is %+v, want the default 800ms and what it is", d)
	}
	if got := strings.Join(s.Properties.Central.Required, " "); got != "address certificate key ca" {
		t.Errorf("central needs %s", got)
	}
}
