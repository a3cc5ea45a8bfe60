package cdshooks

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// guests knows who may ask: by a token that the EPR has signed for this very
// address, and for once (CDS Hooks 2.0, Trusting CDS Clients).
type guests struct {
	keys map[string]string // file, by issuer

	mu   sync.Mutex // guards the field below
	used map[string]time.Time
}

// algorithms are the asymmetric ones that CDS Hooks recommends, and what is common.
var algorithms = []jose.SignatureAlgorithm{jose.ES384, jose.RS384, jose.ES256, jose.RS256}

// The longest life of a token, how far clocks may differ, and how many used ones
// are remembered.
const (
	longestLife = 10 * time.Minute
	leeway      = time.Minute
	mostUsed    = 100_000
)

func newGuests(clients []Client) (*guests, error) {
	g := &guests{keys: map[string]string{}, used: map[string]time.Time{}}
	for _, c := range clients {
		if _, err := readKeys(c.KeysFile); err != nil {
			return nil, err
		}
		g.keys[c.Issuer] = c.KeysFile
	}
	return g, nil
}

// readKeys reads the file anew, so that an EPR can change its keys.
func readKeys(path string) (*jose.JSONWebKeySet, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(text, &set); err != nil || len(set.Keys) == 0 {
		return nil, fmt.Errorf("read keys: %s is no JSON Web Key Set", path)
	}
	return &set, nil
}

// admit tells who asks, or why not. No error repeats the token.
func (g *guests) admit(r *http.Request, audience string) (issuer string, err error) {
	raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return "", errors.New("no token")
	}
	token, err := jwt.ParseSigned(raw, algorithms)
	if err != nil {
		return "", errors.New("not a token of a known algorithm")
	}
	var claims jwt.Claims
	if err := token.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return "", errors.New("token without claims")
	}
	file, known := g.keys[claims.Issuer]
	if !known {
		return "", errors.New("unknown issuer")
	}
	set, err := readKeys(file)
	if err != nil {
		return "", err
	}
	if !verified(token, set, &claims) {
		return "", errors.New("wrong signature")
	}
	now := time.Now()
	switch {
	case claims.Expiry == nil || claims.IssuedAt == nil || claims.ID == "":
		return "", errors.New("token lacks exp, iat or jti")
	case claims.Expiry.Time().Sub(claims.IssuedAt.Time()) > longestLife:
		return "", errors.New("token lives too long")
	}
	if err := claims.ValidateWithLeeway(jwt.Expected{Issuer: claims.Issuer, AnyAudience: jwt.Audience{audience}, Time: now}, leeway); err != nil {
		return "", err
	}
	return claims.Issuer, g.once(claims.Issuer+"\x00"+claims.ID, claims.Expiry.Time().Add(leeway), now)
}

func verified(token *jwt.JSONWebToken, set *jose.JSONWebKeySet, claims *jwt.Claims) bool {
	keys := set.Keys
	if id := token.Headers[0].KeyID; id != "" {
		keys = set.Key(id)
	}
	for _, k := range keys {
		if !k.IsPublic() {
			continue
		}
		if token.Claims(k, claims) == nil {
			return true
		}
	}
	return false
}

// once refuses a token that was used before.
func (g *guests) once(id string, until, now time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, again := g.used[id]; again {
		return errors.New("token was used before")
	}
	if len(g.used) >= mostUsed {
		for k, end := range g.used {
			if end.Before(now) {
				delete(g.used, k)
			}
		}
		if len(g.used) >= mostUsed {
			return errors.New("too many tokens at once")
		}
	}
	g.used[id] = until
	return nil
}
