package keys

import (
	"strings"
	"testing"
)

const known = "$argon2id$v=19$m=65536,t=3,p=4$c29tZSBzYWx0IGZvciBpdA$"

func TestAPasswordIsItsHashsAlone(t *testing.T) {
	hash, err := HashPassword("correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]bool{"correct horse battery": true, "correct horse batterie": false, "": false, strings.Repeat("x", 10_000): false} {
		if got, err := CheckPassword(hash, password); err != nil || got != want {
			t.Errorf("%.30q: %v, %v, want %v", password, got, err, want)
		}
	}
	for _, password := range []string{"", "too short", strings.Repeat("x", 257)} {
		if _, err := HashPassword(password); err == nil {
			t.Errorf("a password of %d characters is taken", len(password))
		}
	}
}

func TestNoHashOfAPassword(t *testing.T) {
	key := strings.Repeat("A", 43)
	for name, hash := range map[string]string{
		"nothing":                "",
		"a password":             "correct horse battery",
		"another algorithm":      strings.Replace(known+key, "argon2id", "argon2i", 1),
		"another version":        strings.Replace(known+key, "v=19", "v=16", 1),
		"more behind the cost":   strings.Replace(known+key, "p=4", "p=4,x=1", 1),
		"no passes":              strings.Replace(known+key, "t=3", "t=0", 1),
		"days of passes":         strings.Replace(known+key, "t=3", "t=4000000", 1),
		"all memory there is":    strings.Replace(known+key, "m=65536", "m=4000000000", 1),
		"lanes that do not fit":  strings.Replace(known+key, "p=4", "p=256", 1),
		"a salt that is no text": strings.Replace(known+key, "c29", "*29", 1),
		"a key that is short":    known + "AAAA",
		"a key that is long":     known + strings.Repeat("A", 200),
		"padding":                known + key + "=",
		"one part more":          known + key + "$",
		"something before":       "x" + known + key,
	} {
		if ok, err := CheckPassword(hash, "correct horse battery"); ok || err == nil {
			t.Errorf("%s: %v, %v, want an error", name, ok, err)
		}
	}
}

// FuzzPasswordHash: what is read is written back the same, and costs no more than a
// password may.
func FuzzPasswordHash(f *testing.F) {
	f.Add(known + strings.Repeat("A", 43))
	f.Add("$argon2id$v=19$m=8,t=1,p=1$$" + strings.Repeat("A", 22))
	f.Fuzz(func(t *testing.T, text string) {
		h, err := parsePasswordHash(text)
		if err != nil {
			return
		}
		if h.String() != text || h.memory > 1<<20 || h.passes > 100 || h.passes == 0 || h.lanes == 0 || len(h.key) < 16 {
			t.Errorf("%q reads as %+v", text, h)
		}
	})
}
