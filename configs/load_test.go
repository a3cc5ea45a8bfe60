package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type settings struct {
	Name string        `yaml:"name"`
	Wait time.Duration `yaml:"wait"`
	Deep struct {
		Port int `yaml:"port"`
	} `yaml:"deep"`
	List []struct {
		Word string `yaml:"word"`
		Size int    `yaml:"size"`
	} `yaml:"list"`
}

func TestDecode(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"good", "name: a\nwait: 5s\ndeep: {port: 3}\nlist: [{word: x, size: 1}]\n", ""},
		{"one key only", "name: a\n", ""},
		{"unknown key", "naem: a\n", `:1:1: unknown key "naem", did you mean "name"?`},
		{"unknown key like none", "elephants: a\n", `:1:1: unknown key "elephants"`},
		{"unknown key in a list", "name: a\nlist:\n  - word: x\n  - wrod: y\n", `:4:5: unknown key "wrod", did you mean "word"?`},
		{"wrong duration", "wait: soon\n", `:1:7: wait: time: invalid duration "soon"`},
		{"wrong number", "deep:\n  port: many\n", `:2:9: deep.port: cannot unmarshal string into Go value of type int`},
		{"wrong number in a list", "list:\n  - size: 1\n  - size: big\n", `:3:11: list[1].size: cannot unmarshal string into Go value of type int`},
		{"the same key twice", "name: a\nname: b\n", `mapping key "name" already defined`},
		{"two documents", "name: a\n---\nname: b\n", ":2:1: a second document (---), want one"},
		{"empty", "", ""},
		{"only a comment", "# nothing\n", ""},
		{"octal code", "name: 0401\n", `:1:7: 0401 is not a plain number, want it in quotes: "0401"`},
		{"no YAML", "name: [a\n", ":1:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := decode([]byte(c.text), &settings{})
			if !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestLoadKeepsDefaultsAndNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(path, []byte("name: a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := settings{Wait: time.Minute}
	if err := Load(path, &s); err != nil || s.Wait != time.Minute || s.Name != "a" {
		t.Errorf("got %+v, %v", s, err)
	}
	if err := Load(path+".gone", &s); err == nil || !strings.Contains(err.Error(), "x.yaml.gone") {
		t.Errorf("got %v, want one that names the file", err)
	}
}

// FuzzDecode: whatever is in a configuration file, what is said of it is one line
// of bounded length, and nothing panics.
func FuzzDecode(f *testing.F) {
	f.Add("name: a\nwait: 5s\nlist:\n  - word: x\n")
	f.Add("deep: {port: [}")
	f.Fuzz(func(t *testing.T, text string) {
		fault := decode([]byte(text), &settings{})
		if strings.Contains(fault, "\n") && !strings.Contains(text, "\n") {
			t.Errorf("more than one line: %q", fault)
		}
	})
}
