package hl7

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestBuilder(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(*Builder)
		want string
	}{
		{"nothing", func(*Builder) {}, ""},
		{"fields that were not set", func(b *Builder) { b.Add("PID").Set(3, "9").Set(8, "") }, "PID|||9\r"},
		{"components", func(b *Builder) { b.Add("PID").Set(3, "9990001006", "", "", "NHS", "") }, "PID|||9990001006^^^NHS\r"},
		{"nothing but empty components", func(b *Builder) { b.Add("PID").Set(3, "", "", "") }, "PID\r"},
		{"repetitions", func(b *Builder) { b.Add("PID").Set(3, "1").Repeat(3, "2", "x").Repeat(3, "") }, "PID|||1~2^x\r"},
		{"set again", func(b *Builder) { b.Add("PID").Set(3, "1", "2").Repeat(3, "3").Set(3, "4") }, "PID|||4\r"},
		{"set to nothing", func(b *Builder) { b.Add("PID").Set(3, "1").Set(3, "") }, "PID\r"},
		{"subcomponents", func(b *Builder) {
			b.Add("PID").Put(Path{Field: 5, Sub: 2}, "van").Put(Path{Field: 5, Repetition: 2, Component: 3, Sub: 2}, "x")
		}, "PID|||||&van~^^&x\r"},
		{"null", func(b *Builder) { b.Add("PID").Null(7).Set(8, "1") }, `PID|||||||""|1` + "\r"},
		{"a text of two quotes", func(b *Builder) { b.Add("NTE").Set(3, `""`) }, `NTE|||\X2222\` + "\r"},
		{"delimiters in text", func(b *Builder) { b.Add("NTE").Set(3, "a|b^c~d\\e&f\r\ng\x1c") }, `NTE|||a\F\b\S\c\R\d\E\e\T\f\.br\g\X1C\` + "\r"},
		{"raw", func(b *Builder) { b.Add("PID").SetRaw(3, []byte("1^^^x&y~2")).SetRaw(4, nil) }, "PID|||1^^^x&y~2\r"},
		{"raw that ends a frame", func(b *Builder) { b.Add("PID").SetRaw(3, []byte("1\x1c")) }, "PID|||1\x1c|\r"},
		{"two segments", func(b *Builder) { b.Add("OBX").Set(1, "1"); b.Add("OBX").Set(1, "2") }, "OBX|1\rOBX|2\r"},
		{"UTF-8", func(b *Builder) { b.Add("NTE").Set(3, "Zoë Ż") }, "NTE|||Zoë Ż\r"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := NewBuilder()
			c.make(b)
			got, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			if want := "MSH|^~\\&\r" + c.want; string(got) != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if _, err := Parse(got); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBuilderResets(t *testing.T) {
	b := NewBuilder().Charset("8859/1")
	b.Header().Set(3, "SAFEGUARD")
	b.Add("PID").Set(3, "9").Set(1, "Zoë")
	b.Add("pid")
	if _, err := b.Build(); err == nil {
		t.Error("want an error")
	}
	for _, name := range []string{"Zoë", "Bo"} {
		b.Reset().Add("NTE").Set(3, name)
		first, err := b.Build()
		if want := "MSH|^~\\&\rNTE|||" + name + "\r"; err != nil || string(first) != want {
			t.Errorf("got %q, %v, want %q", first, err, want)
		}
		b.Reset().Add("OBX").Set(1, "another")
		if want := "MSH|^~\\&\rNTE|||" + name + "\r"; string(first) != want {
			t.Errorf("what was built became %q, want %q", first, want)
		}
	}
}

func TestBuilderHeader(t *testing.T) {
	b := NewBuilderWith(Delimiters{'$', '%', '*', '!', '+', 0}).Charset("8859/1")
	b.Header().Set(3, "SAFEGUARD").Set(9, "ADT", "A08", "ADT_A01")
	b.Add("NTE").Set(3, "Zoë costs 5$ Ż")
	got, err := b.Build()
	if want := "MSH$%*!+$SAFEGUARD$$$$$$ADT%A08%ADT_A01$$$$$$$$$8859/1\rNTE$$$Zo\xeb costs 5!F! ?\r"; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestBuilderRefuses(t *testing.T) {
	for name, make := range map[string]func(*Builder) *Builder{
		"a segment name":       func(b *Builder) *Builder { b.Add("pid"); return b },
		"a second MSH":         func(b *Builder) *Builder { b.Add("MSH"); return b },
		"field 0":              func(b *Builder) *Builder { b.Add("PID").Set(0, "x"); return b },
		"MSH-2":                func(b *Builder) *Builder { b.Header().Set(2, "^~"); return b },
		"a field far away":     func(b *Builder) *Builder { b.Add("PID").Set(100_000, "x"); return b },
		"a component far away": func(b *Builder) *Builder { b.Add("PID").Put(Path{Field: 1, Component: 5000}, "x"); return b },
		"raw with a field end": func(b *Builder) *Builder { b.Add("PID").SetRaw(1, []byte("a|b")); return b },
		"raw with a segment":   func(b *Builder) *Builder { b.Add("PID").SetRaw(1, []byte("a\rPID")); return b },
		"a charset":            func(b *Builder) *Builder { return b.Charset("EBCDIC") },
		"equal delimiters":     func(*Builder) *Builder { return NewBuilderWith(Delimiters{'|', '|', '~', '\\', '&', 0}) },
		"no delimiters":        func(*Builder) *Builder { return NewBuilderWith(Delimiters{}) },
		"a gap in delimiters":  func(*Builder) *Builder { return NewBuilderWith(Delimiters{'|', '^', 0, '\\', 0, 0}) },
		"parts it can not part": func(*Builder) *Builder {
			b := NewBuilderWith(Delimiters{Field: '|', Component: '^'})
			b.Add("PID").Set(1, "a").Repeat(1, "b")
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := make(NewBuilder()).Build()
			if err == nil || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, %v, want an error", got, err)
			}
		})
	}
}

// Whatever is set is read back from its place, and nothing else is there.
func TestBuilderRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := NewBuilder()
		want := make(map[Path]string)
		seg := b.Add("ZSG")
		for range rapid.IntRange(0, 10).Draw(t, "values") {
			p := Path{"ZSG", 1, rapid.IntRange(1, 5).Draw(t, "field"), rapid.IntRange(1, 3).Draw(t, "repetition"),
				rapid.IntRange(1, 3).Draw(t, "component"), rapid.IntRange(1, 3).Draw(t, "sub")}
			text := rapid.StringMatching(`[a-z|^~\\&"\x0b\x1cé]{1,5}`).Draw(t, "text")
			seg.Put(p, text)
			want[p] = text
		}
		body, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		m, err := Parse(body)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for field := 1; field < 7; field++ {
			for rep := 1; rep < 5; rep++ {
				for comp := 1; comp < 5; comp++ {
					for sub := 1; sub < 5; sub++ {
						p := Path{"ZSG", 1, field, rep, comp, sub}
						v := m.At(p)
						if v.Text() != want[p] || v.IsNull() {
							t.Fatalf("%s: got %q, want %q in %q", p, v.Text(), want[p], body)
						}
						if !v.IsAbsent() {
							found++
						}
					}
				}
			}
		}
		if found != len(want) {
			t.Fatalf("%d values, want %d in %q", found, len(want), body)
		}
		for _, raw := range bytes.Split(bytes.TrimSuffix(body, []byte("\r")), []byte("\r")) {
			if len(raw) > 9 && bytes.ContainsRune([]byte("|^~&"), rune(raw[len(raw)-1])) {
				t.Fatalf("a delimiter at the end of %q", raw)
			}
		}
	})
}
