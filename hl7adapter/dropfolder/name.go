package dropfolder

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"time"
	"unicode/utf8"
)

// compareNames orders names as people do: runs of digits by their value. Two
// names are equal only where they are the same.
func compareNames(a, b string) int {
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		if digit(a[i]) && digit(b[j]) {
			x, y := digits(a[i:]), digits(b[j:])
			i, j = i+len(x), j+len(y)
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
				return c
			}
			continue
		}
		if c := cmp.Compare(a[i], b[j]); c != 0 {
			return c
		}
		i, j = i+1, j+1
	}
	return cmp.Or(cmp.Compare(len(a)-i, len(b)-j), cmp.Compare(a, b))
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// digits returns the digits that s begins with.
func digits(s string) string {
	n := 0
	for n < len(s) && digit(s[n]) {
		n++
	}
	return s[:n]
}

// reference names one file in logs and in reasons. Its own name may name a
// patient, so nothing of it is in here: only when we took the file, and chance.
type reference string

const (
	stamped  = "20060102T150405Z"
	randomly = 8 // digits
)

func newReference(now time.Time) reference {
	var b [randomly / 2]byte
	_, _ = rand.Read(b[:]) // never fails
	return reference(now.UTC().Format(stamped) + "-" + hex.EncodeToString(b[:]))
}

// taken returns when the file was taken.
func (r reference) taken() time.Time {
	t, _ := time.Parse(stamped, string(r[:len(stamped)]))
	return t
}

// referenceOf reads the reference that name begins with, and the rest of it.
func referenceOf(name string) (r reference, rest string, ok bool) {
	const n = len(stamped) + 1 + randomly
	if len(name) < n || name[len(stamped)] != '-' || strings.Trim(name[len(stamped)+1:n], "0123456789abcdef") != "" {
		return "", "", false
	}
	if _, err := time.Parse(stamped, name[:len(stamped)]); err != nil {
		return "", "", false
	}
	return reference(name[:n]), name[n:], true
}

// longestName is what file systems take, in bytes.
const longestName = 255

// claim returns the name of the file while it is ours. Of a name that is too
// long the beginning is left out.
func (r reference) claim(name string) string {
	room := longestName - len(r) - 1
	for len(name) > room {
		_, n := utf8.DecodeRuneInString(name)
		name = name[n:]
	}
	return string(r) + "~" + name
}

// claimOf reads what claim wrote.
func claimOf(name string) (r reference, original string, ok bool) {
	r, rest, ok := referenceOf(name)
	if !ok || !strings.HasPrefix(rest, "~") {
		return "", "", false
	}
	return r, rest[1:], true
}
