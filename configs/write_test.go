package configs

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestSecretsAreRefusedAndNotRepeated(t *testing.T) {
	type broker struct {
		User         string `yaml:"user"`
		PasswordFile string `yaml:"password_file"`
		Key          string `yaml:"key"`
		URL          string `yaml:"url"`
	}
	for _, c := range []struct{ name, text, want string }{
		{"password", "user: a\npassword: hunter2zz\n", `:2:1: password holds a secret, want it in a file that only the service's user can read, and that file named here: password_file: secrets/NAME`},
		{"password that looks like a number", "password: 0123456\n", `:1:1: password holds a secret`},
		{"client secret", "client-secret: hunter2zz\n", `:1:1: client-secret holds a secret`},
		{"key itself", "key: |\n  -----BEGIN PRIVATE KEY-----\n  hunter2zz\n", `:1:1: key holds a key or certificate itself`},
		{"address with a password", "url: postgres://u:hunter2zz@db/x\n", `:1:1: url holds an address with a password`},
		{"webhook secret", "key: whsec_hunter2zz\n", `:1:1: key holds a secret`},
		{"name of a file", "password_file: secrets/broker.password\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := decode([]byte(c.text), &broker{})
			if !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if strings.Contains(got, "hunter2zz") || strings.Contains(got, "0123456") {
				t.Errorf("%q repeats the secret", got)
			}
		})
	}
}

func TestUnknownKeyIsFoundElsewhere(t *testing.T) {
	got := decode([]byte("name: a\nport: 3\n"), &settings{})
	if want := `:2:1: unknown key "port", did you mean "deep.port"?`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	got = decode([]byte("deep:\n  prt: 3\n"), &settings{})
	if want := `:2:3: unknown key "prt", did you mean "port"?`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSetKeepsTheRest(t *testing.T) {
	const text = `name: a b        # who
deep: {port: 3, word: "x # y"}
list:
  - word: old:1    # one
    size: 1
plain: [RX101]   # sites
`
	for _, c := range []struct{ path, value, want string }{
		{"name", "longer name", "name: longer name # who\n"},
		{"deep.port", "12", `deep: {port: "12", word: "x # y"}` + "\n"},
		{"deep.word", "z", "deep: {port: 3, word: z}\n"},
		{"list[0].word", "10.1.2.3:99", "  - word: 10.1.2.3:99 # one\n"},
		{"plain[0]", "AB1", "plain: [AB1]     # sites\n"},
		{"name", "a: b", `name: "a: b"     # who` + "\n"},
	} {
		got, ok := Set(text, c.path, c.value)
		if !ok || !strings.Contains(got, c.want) || strings.Count(got, "\n") != strings.Count(text, "\n") {
			t.Errorf("%s = %s: got %v\n%swant a line %q", c.path, c.value, ok, got, c.want)
		}
	}
	if got, ok := Set(text, "list[1].word", "x"); ok || got != text {
		t.Error("what is not there was set")
	}
}

func TestShowReadsBackAsTheSame(t *testing.T) {
	type inner struct {
		Kept time.Duration `yaml:"kept"`
	}
	type all struct {
		inner
		Name   string            `yaml:"name"`
		Hidden string            `yaml:"-"`
		Gone   *settings         `yaml:"gone"`
		There  *settings         `yaml:"there"`
		Words  map[string]string `yaml:"words"`
		List   []time.Duration   `yaml:"list"`
		Rate   float64           `yaml:"rate"`
		On     bool              `yaml:"on"`
	}
	want := all{inner: inner{time.Minute}, Name: "0401: x", There: &settings{Name: "y", Wait: 3 * time.Second},
		Words: map[string]string{"AR/207": "retry"}, List: []time.Duration{time.Hour}, Rate: 0.5, On: true}
	text, err := Show(want)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Kept  time.Duration     `yaml:"kept"`
		Name  string            `yaml:"name"`
		There *settings         `yaml:"there"`
		Words map[string]string `yaml:"words"`
		List  []time.Duration   `yaml:"list"`
		Rate  float64           `yaml:"rate"`
		On    bool              `yaml:"on"`
	}
	if fault := decode(text, &got); fault != "" {
		t.Fatalf("%s in\n%s", fault, text)
	}
	got.There.List = nil
	if got.Kept != want.Kept || got.Name != want.Name || !reflect.DeepEqual(got.There, want.There) || got.Words["AR/207"] != "retry" ||
		got.List[0] != time.Hour || got.Rate != want.Rate || !got.On {
		t.Errorf("got %+v of\n%s", got, text)
	}
}
