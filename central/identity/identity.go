// Package identity says who speaks to whom: the names inside certificates, the
// TLS configuration of both sides, and the authority that issues certificates.
package identity

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"

	"github.com/safeguard-edge/safeguard"
)

// Kind is what a certificate's holder is.
type Kind int

// The kinds. The zero value is none, and may do nothing.
const (
	NoKind    Kind = iota
	Agent          // a hospital's agent; Code is the organisation's
	Authority      // a local authority's system; Code is the authority's
	Centre         // the centre itself
	Operator       // someone who operates the centre; Code is of whoever they work for
)

var kinds = [...]string{"", "agent", "authority", "centre", "operator"}

func (k Kind) String() string {
	if k < 0 || int(k) >= len(kinds) {
		return fmt.Sprintf("%d?", int(k))
	}
	return kinds[k]
}

// Identity is the name in a certificate, a URI of SPIFFE's form.
type Identity struct {
	Kind Kind
	Code safeguard.ODSCode // of the organisation or local authority
	ID   string            // tells several of one organisation apart
}

const (
	trustDomain = "safeguard"
	wantURI     = "spiffe://safeguard/agent/RX1/a1 (agent, authority, centre or operator; ODS code; id)"
)

// URI is the name as certificates carry it.
func (i Identity) URI() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: trustDomain, Path: "/" + i.Kind.String() + "/" + i.Code.String() + "/" + i.ID}
}

func (i Identity) String() string { return i.URI().String() }

// MarshalText writes the form that Parse reads.
func (i Identity) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText reads the same.
func (i *Identity) UnmarshalText(text []byte) (err error) {
	*i, err = Parse(string(text))
	return err
}

// Parse reads the form that String writes, and nothing else.
func Parse(s string) (Identity, error) {
	path, ok := strings.CutPrefix(s, "spiffe://"+trustDomain+"/")
	parts := strings.Split(path, "/")
	if !ok || len(parts) != 3 || !isID(parts[2]) {
		return Identity{}, fmt.Errorf("identity %q: want a URI such as %s", clip(s), wantURI)
	}
	i := Identity{ID: parts[2]}
	for k, name := range kinds {
		if k > 0 && name == parts[0] {
			i.Kind = Kind(k)
		}
	}
	if i.Kind == NoKind {
		return Identity{}, fmt.Errorf("identity %q: kind %q, want agent, authority, centre or operator", clip(s), clip(parts[0]))
	}
	var err error
	if i.Code, err = safeguard.ParseODSCode(parts[1]); err != nil {
		return Identity{}, fmt.Errorf("identity %q: %w", clip(s), err)
	}
	if i.Code.String() != parts[1] {
		return Identity{}, fmt.Errorf("identity %q: code %q, want capital letters", clip(s), parts[1])
	}
	return i, nil
}

// isID tells whether s may stand as the last part of the URI.
func isID(s string) bool {
	if s == "" || len(s) > 64 || s == "." || s == ".." {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

// Of reads the identity from a certificate, which must carry exactly one URI.
func Of(c *x509.Certificate) (Identity, error) {
	if len(c.URIs) != 1 {
		return Identity{}, fmt.Errorf("certificate %q: %d URIs, want one such as %s", clip(c.Subject.CommonName), len(c.URIs), wantURI)
	}
	return Parse(c.URIs[0].String())
}

// clip shortens what is quoted in an error.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
