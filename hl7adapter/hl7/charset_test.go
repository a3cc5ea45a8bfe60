package hl7

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCharsets(t *testing.T) {
	for _, c := range []struct{ charset, raw, want string }{
		{"", "Zo\xc3\xab", "Zoë"},
		{"", "Zo\xeb", "Zoë"},
		{"", "\x93quoted\x94", "“quoted”"},
		{"", "plain", "plain"},
		{"ASCII", "Zo\xc3\xab", "Zoë"},
		{"ASCII", "Zo\xeb", "Zoë"},
		{"UNICODE", "Zo\xc3\xab", "Zoë"},
		{"UNICODE UTF-8", "Zo\xc3\xab", "Zoë"},
		{"unicode_utf8", "Zo\xc3\xab", "Zoë"},
		{"UTF-8", "cut of\xc3", "cut ofÃ"},
		{"8859/1", "Zo\xeb \x80", "Zoë €"},
		{"8859/1", "Zo\xc3\xab", "ZoÃ«"},
		{"ISO 8859-1", "Zo\xeb", "Zoë"},
		{"iso-8859-1", "Zo\xeb", "Zoë"},
		{"8859", "Zo\xeb", "Zoë"},
		{"ISO IR100", "Zo\xeb", "Zoë"},
		{"WINDOWS-1252", "\x93", "“"},
		{"windows1252", "\x93", "“"},
		{"cp1252", "\x93", "“"},
		{"8859/15", "\xa4", "€"},
		{"ISO-8859-15", "\xa4", "€"},
		{"8859/2", "\xae", "Ž"},
		{"8859/7", "\xe1", "α"},
		{"ISO IR 144", "\xd0", "а"},
		{"WINDOWS-1250", "\x8e", "Ž"},
		{"IBM850", "\x82", "é"},
		{"nobody knows", "Zo\xc3\xab", "Zoë"},
		{"nobody knows", "Zo\xeb", "Zoë"},
		{"8859/1~ISO IR87", "Zo\xeb", "Zoë"},
	} {
		t.Run(c.charset+" "+c.want, func(t *testing.T) {
			m := mustParse(t, "MSH|^~\\&|PAS|||||||||||||||"+c.charset+"\rNTE|1||"+c.raw+"\r")
			v := m.Get("NTE-3")
			if got := v.Text(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if !v.Is(c.want) {
				t.Error("Is and Text differ")
			}
			if got := string(v.Raw()); got != c.raw {
				t.Errorf("the bytes have become %q", got)
			}
		})
	}
}

func TestCharsetOverride(t *testing.T) {
	m := mustParse(t, "MSH|^~\\&|PAS|||||||||||||||UNICODE\rNTE|1||\xa4\r")
	if got := m.WithCharset("8859/15").Get("NTE-3").Text(); got != "€" {
		t.Errorf("got %q, want the override", got)
	}
	if got := m.WithCharset("").Get("NTE-3").Text(); got != "¤" {
		t.Errorf("got %q, want no override", got)
	}
	if got := m.WithCharset("EBCDIC").Charset(); got != "" {
		t.Errorf("got %q for a name nobody knows", got)
	}
	m = mustParse(t, "MSH|^~\\&|PAS|||||||||||||||8859/1\rNTE|1||Zo\xc3\xab\r")
	if got := m.WithCharset("UTF-8").Get("NTE-3").Text(); got != "Zoë" {
		t.Errorf("got %q, want UTF-8 in spite of MSH-18", got)
	}
	if got := m.Charset(); got != "WINDOWS-1252" {
		t.Errorf("the message itself has become %q", got)
	}
}

func TestKnownCharset(t *testing.T) {
	for _, name := range []string{"UTF-8", "UNICODE UTF-8", "8859/1", "ISO-8859-15", "ascii", "Windows-1252"} {
		if !KnownCharset(name) {
			t.Errorf("%s is not known", name)
		}
	}
	for _, name := range []string{"", "EBCDIC", "GB 18030-2000", "8859/99", strings.Repeat("UTF8", 100)} {
		if KnownCharset(name) {
			t.Errorf("%s is known", name)
		}
	}
}

// In every character set every byte is some character, and the characters it
// has are written as they were read.
func TestCharsetRoundTrip(t *testing.T) {
	var every []byte
	for i := range 256 {
		every = append(every, byte(i))
	}
	for i, c := range charsets {
		text := string(charset(i).toUTF8(append([]byte("before"), every...), 6))
		if !utf8.ValidString(text) || !strings.HasPrefix(text, "before\x00\x01") {
			t.Errorf("%s: reads %q", c.name, text)
		}
		text = strings.ReplaceAll(text, "\ufffd", "")
		back := charset(i).toUTF8(charset(i).fromUTF8(nil, text), 0)
		if string(back) != text {
			t.Errorf("%s: %q comes back as %q", c.name, text, back)
		}
	}
	if got := string(charsetOf([]byte("8859/1")).fromUTF8(nil, "Zoë Ż")); got != "Zo\xeb ?" {
		t.Errorf("got %q", got)
	}
}
