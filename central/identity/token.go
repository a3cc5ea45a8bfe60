package identity

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Token lets one host enrol once: it names who is enrolled, where the centre is,
// and whom to take for the centre before anything else is trusted. Whoever has it
// can enrol in its place, so String hides it and only Text tells it.
type Token struct {
	Identity Identity
	Site     safeguard.ODSCode   // that an agent serves; zero for others
	Address  string              // host:port
	Others   []string            // further addresses of the same centre, tried after that
	Expires  time.Time           // to the second
	Trust    []*x509.Certificate // the authorities of which one has issued the centre's certificate
	Secret   []byte              // secretSize bytes
}

const (
	secretSize  = 32
	tokenPrefix = "safeguard-enrol-1."
	maxToken    = 64 << 10 // bytes of text
)

// NewSecret makes what a token proves itself with.
func NewSecret() []byte {
	secret := make([]byte, secretSize)
	_, _ = rand.Read(secret) // crypto/rand never fails
	return secret
}

// SecretHash is what a centre keeps of a secret. A plain hash is enough for 256
// random bits: there is nothing to guess from.
func SecretHash(secret []byte) []byte {
	sum := sha256.Sum256(secret)
	return sum[:]
}

// TokenID names a token by its secret's hash, and does not tell it.
func TokenID(hash []byte) string { return hex.EncodeToString(hash[:min(8, len(hash))]) }

// tokenJSON is what the text of a token holds.
type tokenJSON struct {
	Identity string   `json:"identity"`
	Site     string   `json:"site,omitempty"`
	Address  string   `json:"address"`
	Others   []string `json:"others,omitempty"`
	Expires  int64    `json:"expires"` // seconds since 1970
	Trust    [][]byte `json:"trust"`
	Secret   []byte   `json:"secret"`
}

// Text is the whole token on one line, the secret in it.
func (t Token) Text() string {
	out := tokenJSON{t.Identity.String(), t.Site.String(), t.Address, t.Others, t.Expires.Unix(), nil, t.Secret}
	for _, c := range t.Trust {
		out.Trust = append(out.Trust, c.Raw)
	}
	body, _ := json.Marshal(out) // of strings and bytes
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(body)
}

// String names the token without its secret.
func (t Token) String() string {
	return "token " + TokenID(SecretHash(t.Secret)) + " for " + t.Identity.String()
}

// GoString implements fmt.GoStringer, for %#v.
func (t Token) GoString() string { return t.String() }

// LogValue implements slog.LogValuer.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// ParseToken reads what Text writes, with white space around it. No error quotes
// it.
func ParseToken(text string) (Token, error) {
	body, ok := strings.CutPrefix(strings.TrimSpace(text), tokenPrefix)
	if !ok || len(text) > maxToken {
		return Token{}, errors.New("enrolment token: want one line that begins with " + tokenPrefix + ", as 'safeguard-central enrol token' writes it")
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil {
		return Token{}, errors.New("enrolment token: it is cut off or changed: copy the whole line")
	}
	var in tokenJSON
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil || d.More() {
		return Token{}, errors.New("enrolment token: it is cut off or changed: copy the whole line")
	}
	t := Token{Address: in.Address, Others: in.Others, Expires: time.Unix(in.Expires, 0).UTC(), Secret: in.Secret}
	if t.Identity, err = Parse(in.Identity); err != nil {
		return Token{}, fmt.Errorf("enrolment token: %w", err)
	}
	if in.Site != "" {
		if t.Site, err = safeguard.ParseODSCode(in.Site); err != nil {
			return Token{}, fmt.Errorf("enrolment token: site: %w", err)
		}
	}
	for _, address := range append([]string{t.Address}, t.Others...) {
		if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
			return Token{}, errors.New("enrolment token: an address in it is none, want host:port")
		}
	}
	if len(t.Secret) != secretSize || len(in.Trust) == 0 {
		return Token{}, errors.New("enrolment token: it holds no secret or nobody to trust: ask for another")
	}
	for _, der := range in.Trust {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return Token{}, errors.New("enrolment token: a certificate in it can not be read: ask for another")
		}
		t.Trust = append(t.Trust, c)
	}
	return t, nil
}
