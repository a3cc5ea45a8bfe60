package hl7

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// field returns a message whose NTE-3 holds raw.
func field(t testing.TB, raw string) Field {
	t.Helper()
	seg, ok := mustParse(t, "MSH|^~\\&#|PAS\rNTE|1||"+raw+"|end\r").Segment("NTE")
	if !ok {
		t.Fatal("no NTE")
	}
	return seg.Field(3)
}

func TestUnescape(t *testing.T) {
	for _, c := range []struct{ name, raw, want string }{
		{"delimiters", `a\F\b\S\c\T\d\R\e\E\f\P\g`, `a|b^c&d~e\f#g`},
		{"an escaped escape character is not read again", `\E\F\E\`, `\F\`},
		{"hexadecimal", `\X41\\X4a4B\\X0d0A\`, "AJK\r\n"},
		{"UTF-8 in hexadecimal", `Zo\XC3AB\`, "Zoë"},
		{"Windows-1252 in hexadecimal", `Zo\XEB\`, "Zoë"},
		{"line break", `one\.br\two`, "one\ntwo"},
		{"highlighting", `one \H\two\N\`, "one two"},
		{"local escapes stay", `\Z1\\Zlocal\`, `\Z1\\Zlocal\`},
		{"character set escapes stay", `\C2842\\M2442\`, `\C2842\\M2442\`},
		{"formatting stays", `\.in+4\\.sp\\.ce\x`, `\.in+4\\.sp\\.ce\x`},
		{"unknown letters stay", `\Q\\b\`, `\Q\\b\`},
		{"unknown letters do not swallow what follows", `\q\F\`, `\q|`},
		{"half a byte", `\X4\\X4G\\X\`, `\X4\\X4G\\X\`},
		{"one that opens nothing", `C:\temp`, `C:\temp`},
		{"a path, then an escape", `C:\temp\new \F\`, `C:\temp\new |`},
		{"one at the end", `end\`, `end\`},
		{"two together", `a\\b`, `a\\b`},
		{"nothing", ``, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := field(t, c.raw)
			if got := f.Text(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if !f.Is(c.want) || f.Is(c.want+"x") {
				t.Errorf("Is and Text differ on %q", c.raw)
			}
			if got := string(f.AppendText([]byte("x"))); got != "x"+c.want {
				t.Errorf("appended %q", got)
			}
		})
	}
}

func TestWholeTextKeepsDelimiters(t *testing.T) {
	f := field(t, `Smith & Jones^fast ~ loose\T\more`)
	if got, want := f.WholeText(), "Smith & Jones^fast ~ loose&more"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := f.Text(), "Smith "; got != want {
		t.Errorf("text: got %q, want %q", got, want)
	}
}

// A delimiter that the message does not have can not be escaped in it either.
func TestUnescapeWithoutDelimiters(t *testing.T) {
	m := mustParse(t, "MSH|^~\\|PAS\rNTE|1||a&b\\T\\c\\P\\\r")
	if got, want := m.Get("NTE-3").Text(), `a&b\T\c\P\`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	m = mustParse(t, "MSH|^|PAS\rNTE|1||a~b&c\\F\\\r")
	if got, want := m.Get("NTE-3").Text(), `a~b&c\F\`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What is escaped is read back, and can stand in any field.
func TestEscapeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { roundTrip(t, rapid.String().Draw(t, "text")) })
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", `""`, `a|b^c~d\e&f#g`, "a\r\nb\nc\rd", "\x00\x0b\x1c\x7f", `\F\`, "Zoë", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) { roundTrip(t, text) })
}

type tb interface {
	Fatalf(string, ...any)
}

func roundTrip(t tb, text string) {
	for _, d := range []Delimiters{DefaultDelimiters(), {'$', '%', '*', '!', '+', 0}, {'|', '^', '~', '\\', '&', '#'}} {
		raw := d.AppendEscaped(nil, text)
		for _, c := range raw {
			if c < ' ' || c == d.Field || c == d.Component || c == d.Sub || c == d.Repetition {
				t.Fatalf("%q is escaped as %q", text, raw)
			}
		}
		if string(raw) == `""` {
			t.Fatalf("%q would be read as null", text)
		}
		m, err := Parse(d.appendNamed([]byte{'M', 'S', 'H', d.Field}))
		if err != nil {
			t.Fatalf("%v", err)
		}
		want := strings.ReplaceAll(text, "\r\n", "\n")
		if !utf8.ValidString(want) {
			continue // is read as Windows-1252
		}
		if got := (Value{raw, m.sx}).Text(); got != want {
			t.Fatalf("%q is read back as %q", text, got)
		}
	}
}

func TestEscapeWithoutEscapeCharacter(t *testing.T) {
	d := Delimiters{Field: '|', Component: '^'}
	if got, want := string(d.AppendEscaped(nil, "a|b^c~d\r\ne\x1c")), "a b c~d e "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := string(d.AppendEscaped(nil, `""`)); got == `""` {
		t.Error("a text of two quotes would be read as null")
	}
}
