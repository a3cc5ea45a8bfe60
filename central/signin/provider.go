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
)

// ErrProvider is wrapped by whatever goes wrong with a provider, and by what it
// says that does not let anybody in.
var ErrProvider = errors.New("sign-in by the provider")

// ReturnPath is where the provider sends a browser back to.
const ReturnPath = "/sign-in/returned"

// providerTime bounds each exchange with the provider.
const providerTime = 10 * time.Second

// Provider is a provider of OpenID Connect that people sign in with: by the
// authorization code flow of OpenID Connect Core 1.0, section 3.1, with PKCE (RFC
// 7636), state and nonce. It is asked for its keys and addresses when it is first
// needed, so that the centre starts without it. A Provider must not be copied.
type Provider struct {
	Name         string // as people are to read it
	Issuer       string
	ClientID     string
	ClientSecret string // empty for a public client
	Origin       string // of the pages, as browsers call them: https://fleet.example
	Scopes       []string
	AskAgain     bool         // have the provider find out anew who it is, whoever is signed in there: prompt=login (section 3.1.2.1)
	UserInfo     bool         // ask the UserInfo endpoint (section 5.3) for claims that the token has not
	HTTP         *http.Client // nil for the default

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
	options := []oauth2.AuthCodeOption{oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)}
	if p.AskAgain {
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"))
	}
	return config.AuthCodeURL(state, options...), state + "." + nonce + "." + verifier, nil
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

// Claims are what a provider says of a person.
type Claims map[string]any

// Returned takes what the browser brings back, and gives what the provider says of
// whom it vouches for, and its token, by which it knows whom to sign out. Subject is
// there in any case, if there is no error.
func (p *Provider) Returned(ctx context.Context, flow string, back url.Values) (claims Claims, token string, err error) {
	parts := strings.Split(flow, ".")
	if len(parts) != 3 || subtle.ConstantTimeCompare([]byte(parts[0]), []byte(back.Get("state"))) != 1 {
		return nil, "", fmt.Errorf("%w: it was not begun in this browser, or too long ago", ErrProvider)
	}
	if back.Has("error") {
		return nil, "", fmt.Errorf("%w: it says %.80q", ErrProvider, back.Get("error"))
	}
	bounded, cancel := p.bounded(ctx)
	defer cancel()
	config, found, err := p.config(bounded)
	if err != nil {
		return nil, "", err
	}
	exchanged, err := config.Exchange(bounded, back.Get("code"), oauth2.VerifierOption(parts[2]))
	if err != nil {
		return nil, "", fmt.Errorf("%w: exchange of the code: %w", ErrProvider, withoutBody(err))
	}
	token, _ = exchanged.Extra("id_token").(string)
	verified, err := found.Verifier(&oidc.Config{ClientID: p.ClientID}).Verify(bounded, token)
	if err != nil {
		return nil, "", fmt.Errorf("%w: its token: %w", ErrProvider, err)
	}
	if subtle.ConstantTimeCompare([]byte(verified.Nonce), []byte(parts[1])) != 1 {
		return nil, "", fmt.Errorf("%w: its token is of another sign-in", ErrProvider)
	}
	claims = Claims{}
	if p.UserInfo {
		if claims, err = userInfo(bounded, found, config.TokenSource(bounded, exchanged), verified.Subject); err != nil {
			return nil, "", err
		}
	}
	if err := verified.Claims(&claims); err != nil { // over what the endpoint said: this is signed
		return nil, "", fmt.Errorf("%w: its claims: %w", ErrProvider, err)
	}
	return claims, token, nil
}

// SignOut is where a browser ends its session at the provider (OpenID Connect
// RP-Initiated Logout 1.0, section 2); empty where the provider has no such place.
// The token says whose it is.
func (p *Provider) SignOut(ctx context.Context, token string) (address string, err error) {
	ctx, cancel := p.bounded(ctx)
	defer cancel()
	_, found, err := p.config(ctx)
	if err != nil {
		return "", err
	}
	var announced struct {
		End string `json:"end_session_endpoint"`
	}
	if err := found.Claims(&announced); err != nil || announced.End == "" {
		return "", err
	}
	to, err := url.Parse(announced.End)
	if err != nil || to.Scheme != "https" && to.Scheme != "http" {
		return "", fmt.Errorf("%w: its end_session_endpoint is no address", ErrProvider)
	}
	query := to.Query()
	query.Set("client_id", p.ClientID)
	if token != "" {
		query.Set("id_token_hint", token)
	}
	to.RawQuery = query.Encode()
	return to.String(), nil
}

func userInfo(ctx context.Context, found *oidc.Provider, token oauth2.TokenSource, subject string) (Claims, error) {
	info, err := found.UserInfo(ctx, token)
	if err != nil {
		return nil, fmt.Errorf("%w: its user info: %w", ErrProvider, err)
	}
	if info.Subject != subject { // section 5.3.2
		return nil, fmt.Errorf("%w: its user info is about another person than its token", ErrProvider)
	}
	claims := Claims{}
	if err := info.Claims(&claims); err != nil {
		return nil, fmt.Errorf("%w: its user info: %w", ErrProvider, err)
	}
	return claims, nil
}

// Subject is the provider's own name for the person.
func (c Claims) Subject() string { return c.Text("sub") }

// Text is the value of a claim that has one text; else empty.
func (c Claims) Text(claim string) string {
	if list := c.Texts(claim); len(list) == 1 {
		return list[0]
	}
	return ""
}

// withoutBody is the error without what the provider answered at length.
func withoutBody(err error) error {
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.ErrorCode != "" {
		return fmt.Errorf("it says %.80q", refused.ErrorCode)
	}
	return err
}

// Texts are the values of a claim: one, or several. A claim such as
// realm_access.roles is within another; one that has dots in its name is found by
// all of it.
func (c Claims) Texts(claim string) (list []string) {
	switch v := c.find(claim).(type) {
	case string:
		return []string{v}
	case json.Number:
		return []string{v.String()}
	case []any:
		for _, one := range v {
			if s, ok := one.(string); ok {
				list = append(list, s)
			}
		}
	}
	return list
}

// Within are the claims within a claim that lists several.
func (c Claims) Within(claim string) (list []Claims) {
	several, _ := c.find(claim).([]any)
	for _, one := range several {
		if inner, ok := one.(map[string]any); ok {
			list = append(list, inner)
		}
	}
	return list
}

func (c Claims) find(claim string) any {
	value, ok := c[claim]
	if head, rest, within := strings.Cut(claim, "."); !ok && within {
		inner, _ := c[head].(map[string]any)
		return Claims(inner).find(rest)
	}
	return value
}
