package signin

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/safeguard-edge/safeguard/central/store"
)

// ErrProvider is wrapped by whatever goes wrong with a provider, and by what it
// says that does not let anybody in.
var ErrProvider = errors.New("sign-in by the provider")

// ReturnPath is where the provider sends a browser back to.
const ReturnPath = "/sign-in/returned"

// providerTime bounds each exchange with the provider.
const providerTime = 10 * time.Second

// Provider is a provider of OpenID Connect that operators sign in with: by the
// authorization code flow of OpenID Connect Core 1.0, section 3.1, with PKCE (RFC
// 7636), state and nonce. It is asked for its keys and addresses when it is first
// needed, so that the centre starts without it. A Provider must not be copied.
type Provider struct {
	Name         string // as operators are to read it
	Issuer       string
	ClientID     string
	ClientSecret string // empty for a public client
	Origin       string // of the pages, as browsers call them: https://fleet.example
	Scopes       []string
	NameClaim    string                // whose value is the operator's name
	RoleClaim    string                // whose value, or whose values, say the role; with dots for what is within
	Roles        map[string]store.Role // by what the claim has
	HTTP         *http.Client          // nil for the default

	mu    sync.Mutex // guards found
	found *oidc.Provider
}

// Begin gives the address to send the browser to, and what it is to keep until it
// comes back: state, nonce and the secret of PKCE.
func (p *Provider) Begin(ctx context.Context) (address, flow string, err error) {
	ctx, cancel := p.bounded(ctx)
	defer cancel()
	config, _, err := p.config(ctx)
	if err != nil {
		return "", "", err
	}
	state, nonce, verifier := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	return config.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)), state + "." + nonce + "." + verifier, nil
}

func (p *Provider) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if p.HTTP != nil {
		ctx = oidc.ClientContext(ctx, p.HTTP)
	}
	return context.WithTimeout(ctx, providerTime)
}

// config asks the provider what it is, once.
func (p *Provider) config(ctx context.Context) (*oauth2.Config, *oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found == nil {
		found, err := oidc.NewProvider(ctx, p.Issuer)
		if err != nil {
			return nil, nil, fmt.Errorf("%w %s: %w", ErrProvider, p.Issuer, err)
		}
		p.found = found
	}
	return &oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.ClientSecret, Endpoint: p.found.Endpoint(), RedirectURL: p.Origin + ReturnPath,
		Scopes: append([]string{oidc.ScopeOpenID}, p.Scopes...),
	}, p.found, nil
}

// End takes what the browser brings back, and opens a session for whom the
// provider vouches for, in the highest of the roles that it gives.
func (p *Provider) End(ctx context.Context, d Desk, flow string, back url.Values, address string, now time.Time) (token string, err error) {
	operator, err := p.operator(ctx, flow, back)
	operator.Address, operator.Source = address, p.Issuer
	if err != nil {
		refused := d.Refuse(ctx, operator, err.Error())
		if errors.Is(refused, ErrRefused) {
			return "", err
		}
		return "", refused
	}
	return d.Open(ctx, operator, now)
}

func (p *Provider) operator(ctx context.Context, flow string, back url.Values) (Operator, error) {
	nobody := Operator{Name: "unknown"}
	parts := strings.Split(flow, ".")
	if len(parts) != 3 || subtle.ConstantTimeCompare([]byte(parts[0]), []byte(back.Get("state"))) != 1 {
		return nobody, fmt.Errorf("%w: it was not begun in this browser, or too long ago", ErrProvider)
	}
	if back.Has("error") {
		return nobody, fmt.Errorf("%w: it says %.80q", ErrProvider, back.Get("error"))
	}
	bounded, cancel := p.bounded(ctx)
	defer cancel()
	config, found, err := p.config(bounded)
	if err != nil {
		return nobody, err
	}
	exchanged, err := config.Exchange(bounded, back.Get("code"), oauth2.VerifierOption(parts[2]))
	if err != nil {
		return nobody, fmt.Errorf("%w: exchange of the code: %w", ErrProvider, withoutBody(err))
	}
	raw, _ := exchanged.Extra("id_token").(string)
	verified, err := found.Verifier(&oidc.Config{ClientID: p.ClientID}).Verify(bounded, raw)
	if err != nil {
		return nobody, fmt.Errorf("%w: its token: %w", ErrProvider, err)
	}
	if subtle.ConstantTimeCompare([]byte(verified.Nonce), []byte(parts[1])) != 1 {
		return nobody, fmt.Errorf("%w: its token is of another sign-in", ErrProvider)
	}
	claims := map[string]any{}
	if err := verified.Claims(&claims); err != nil {
		return nobody, fmt.Errorf("%w: its claims: %w", ErrProvider, err)
	}
	o := Operator{Name: verified.Subject}
	if name, ok := claims[p.NameClaim].(string); ok && name != "" {
		o.Name = fmt.Sprintf("%s (%s)", name, verified.Subject) // a name alone may be another's
	}
	for _, value := range values(claims, p.RoleClaim) {
		o.Role = max(o.Role, p.Roles[value])
	}
	if o.Role == store.NoRole {
		return o, fmt.Errorf("%w: claim %s gives none of the roles", ErrProvider, p.RoleClaim)
	}
	return o, nil
}

// withoutBody is the error without what the provider answered at length.
func withoutBody(err error) error {
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.ErrorCode != "" {
		return fmt.Errorf("it says %.80q", refused.ErrorCode)
	}
	return err
}

// values are those of a claim: one, or several. A claim such as
// realm_access.roles is within another; one that has dots in its name is found by
// all of it.
func values(claims map[string]any, claim string) []string {
	value, ok := claims[claim]
	if head, rest, within := strings.Cut(claim, "."); !ok && within {
		inner, _ := claims[head].(map[string]any)
		return values(inner, rest)
	}
	switch v := value.(type) {
	case string:
		return []string{v}
	case json.Number:
		return []string{v.String()}
	case []any:
		var list []string
		for _, one := range v {
			if s, ok := one.(string); ok {
				list = append(list, s)
			}
		}
		return list
	}
	return nil
}
