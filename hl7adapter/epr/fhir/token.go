package fhir

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
)

// tokens has an access token while it is valid (RFC 6749, 4.4; SMART backend
// services, RFC 7523).
type tokens struct {
	config Token
	http   *http.Client

	mu    sync.Mutex // guards the fields below; held while a token is asked for
	token string
	until time.Time
}

// early is how long before its end a token is not used any more, and asked is how
// long an assertion is good for.
const (
	early = 30 * time.Second
	asked = 4 * time.Minute
)

// forget drops a token that was refused, and no newer one.
func (t *tokens) forget(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token == token {
		t.token = ""
	}
}

func (t *tokens) get(ctx context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token != "" && time.Now().Before(t.until) {
		return t.token, nil
	}
	token, lives, err := t.ask(ctx)
	if err != nil {
		return "", fmt.Errorf("get access token: %w", err)
	}
	t.token, t.until = token, time.Now().Add(lives-early)
	return token, nil
}

func (t *tokens) ask(ctx context.Context) (token string, lives time.Duration, err error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if t.config.Scope != "" {
		form.Set("scope", t.config.Scope)
	}
	secret := ""
	if t.config.KeyFile != "" {
		assertion, err := t.assertion()
		if err != nil {
			return "", 0, err
		}
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", assertion)
	} else if secret, err = firstLine(t.config.SecretFile); err != nil {
		return "", 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.config.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if secret != "" {
		req.SetBasicAuth(url.QueryEscape(t.config.ClientID), url.QueryEscape(secret))
	}
	res, err := t.http.Do(req)
	if err != nil {
		return "", 0, bare(err)
	}
	defer res.Body.Close()
	var got struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
		Error       string `json:"error"`
	}
	err = json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&got)
	switch {
	case pauses(res) > 0:
		return "", 0, &epr.Later{After: pauses(res), Err: fmt.Errorf("answered %d", res.StatusCode)}
	case res.StatusCode != http.StatusOK:
		why := ""
		if slices.Contains(tokenErrors, got.Error) {
			why = " " + got.Error
		}
		return "", 0, fmt.Errorf("answered %d%s, want 200: check the client's id, secret or key and scope", res.StatusCode, why)
	case err != nil:
		return "", 0, errors.New("answered something that is no token")
	case got.AccessToken == "":
		return "", 0, errors.New("answered without a token")
	}
	if got.ExpiresIn <= 0 {
		got.ExpiresIn = 300
	}
	return got.AccessToken, max(time.Duration(got.ExpiresIn)*time.Second, early+time.Second), nil
}

// tokenErrors are the words of RFC 6749, 5.2, for why there is no token.
var tokenErrors = []string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope"}

// assertion is signed anew each time, with an id of its own.
func (t *tokens) assertion() (string, error) {
	key, algorithm, err := readKey(t.config.KeyFile)
	if err != nil {
		return "", err
	}
	options := (&jose.SignerOptions{}).WithType("JWT")
	if t.config.KeyID != "" {
		options = options.WithHeader("kid", t.config.KeyID)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	now := time.Now()
	return jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: t.config.ClientID, Subject: t.config.ClientID, Audience: jwt.Audience{t.config.URL},
		ID: rand.Text(), IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(asked)),
	}).Serialize()
}

// readKey reads the key anew, so that it can be changed without a restart.
func readKey(path string) (any, jose.SignatureAlgorithm, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, "", fmt.Errorf("read key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, "", fmt.Errorf("read key: %s holds no PEM", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, "", fmt.Errorf("read key: %s: want PKCS #8 (BEGIN PRIVATE KEY)", path)
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return k, jose.RS384, nil
	case *ecdsa.PrivateKey:
		if k.Params().BitSize == 384 {
			return k, jose.ES384, nil
		}
	}
	return nil, "", fmt.Errorf("read key: %s: want RSA or EC P-384, as SMART backend services do", path)
}

func firstLine(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if line = strings.TrimRight(line, "\r"); line == "" {
		return "", fmt.Errorf("read secret: nothing in the first line of %s", path)
	}
	return line, nil
}
