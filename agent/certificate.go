package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/identity"
)

// Enrol gets the agent its certificate with the token in a file, puts it where the
// configuration has it, and removes the file. The key is made here and sealed by the
// agent's own keys. A running agent uses the certificate at once.
func (c Config) Enrol(ctx context.Context, tokenFile string) (*x509.Certificate, error) {
	ring, err := keys.Open(c.keysFolder(), keys.SystemMaster(c.MasterKey))
	if err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	return c.enrol(ctx, ring, tokenFile)
}

func (c Config) enrol(ctx context.Context, ring *keys.Ring, tokenFile string) (*x509.Certificate, error) {
	text, err := os.ReadFile(tokenFile)
	if err != nil {
		return nil, fmt.Errorf("enrolment token: %w", err)
	}
	token, err := identity.ParseToken(string(text))
	if err != nil {
		return nil, err
	}
	switch {
	case token.Identity.Kind != identity.Agent:
		return nil, fmt.Errorf("the token is for %s, want one for an agent", token.Identity)
	case token.Identity.Code != c.Organisation:
		return nil, fmt.Errorf("the token is for an agent of %s, and organisation in the configuration is %s: one of the two is wrong", token.Identity.Code, c.Organisation)
	}
	leaf, err := client.Enrol(ctx, token, c.place(ring), c.Organisation, c.Sites)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(tokenFile); err != nil {
		return nil, fmt.Errorf("enrolled, and the token is of no use any more, but: %w", err)
	}
	return leaf, nil
}

// TokenLeft is the name of the file, beside the agent's certificate, in which an
// installer leaves a token for the next start.
const TokenLeft = "enrolment.token"

// enrolLeft enrols with the token that an installer has left beside the
// certificate. Without one, or where it is refused while there is a certificate, the
// agent goes on as it is.
func (c Config) enrolLeft(ctx context.Context, ring *keys.Ring, log *slog.Logger) error {
	left := filepath.Join(filepath.Dir(c.Central.Certificate), TokenLeft)
	if _, err := os.Lstat(left); err != nil {
		return nil
	}
	leaf, err := c.enrol(ctx, ring, left)
	if err == nil {
		log.Info("enrolled", "until", leaf.NotAfter)
		return nil
	}
	err = fmt.Errorf("enrol with the token that was left in %s: %w", left, err)
	if _, there := c.place(ring).Leaf(); !there {
		return err
	}
	log.Warn("not enrolled anew, the certificate that is there stays", "err", err, "remedy", "remove that file, or put another token there")
	return nil
}

// place is where the agent keeps its certificate.
func (c Config) place(ring *keys.Ring) identity.Place {
	files := identity.Files{Certificate: c.Central.Certificate, Key: c.Central.Key, CA: c.Central.CA}
	return identity.Place{Files: files, Sealer: ring}
}

// centralTLS is the configuration for one connection to the centre, of an agent
// that may not be running.
func (c Config) centralTLS() (*tls.Config, error) {
	at := c.place(nil)
	at.Sealer = nil
	ring, err := c.openKeys()
	switch {
	case err == nil:
		at.Sealer = ring
	case !errors.Is(err, ErrNoKeys):
		return nil, fmt.Errorf("open keys: %w", err)
	}
	own, err := identity.OpenOwn(at, identity.Agent)
	if err != nil {
		return nil, err
	}
	return own.Config(), nil
}

// renewer keeps the agent's certificate good: it renews it when it is due, also
// after it has expired, and takes up whom to trust.
type renewer struct {
	place   identity.Place
	own     *identity.Own
	central Central
	log     *slog.Logger
}

const (
	standingEvery = time.Hour // how soon a changed authority is known
	renewRetry    = time.Minute
)

// Run looks after the certificate until ctx ends. It begins at once, for a machine
// that was off for long; what fails is tried again until it succeeds.
func (r renewer) Run(ctx context.Context) error {
	var failing string
	for {
		pause := r.pause()
		err := r.look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && err.Error() != failing:
			r.log.Warn("certificate not looked after", "until", r.own.Leaf().NotAfter, "err", err, "remedy", remedy(err))
		}
		failing = ""
		if err != nil {
			failing, pause = err.Error(), min(pause, renewRetry)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// pause is until the next look. Agents that started together do not look together.
func (r renewer) pause() time.Duration {
	leaf := r.own.Leaf()
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	every := min(standingEvery, max(time.Second, life/50))
	return every - every/4*time.Duration(time.Now().UnixNano()%1000)/1000
}

func remedy(err error) string {
	var refused *client.Refused
	switch {
	case errors.Is(err, client.ErrCertificate), errors.As(err, &refused):
		return "if this stays, ask central operations for a token and enrol again"
	}
	return "it is tried again every minute"
}

// look asks where the agent stands, and renews. Each is a connection of its own: so
// a certificate is tried before the link to the centre needs it, and the first use
// of a new one tells the centre to let the old one go.
func (r renewer) look(ctx context.Context) error {
	leaf := r.own.Leaf()
	due := time.Now().After(identity.Due(leaf)) && len(leaf.URIs) > 0 // others are renewed where they were issued
	if time.Now().Before(leaf.NotAfter) {
		renew, err := r.standing(ctx)
		if err != nil {
			return err
		}
		due = due || renew
	}
	if !due {
		return nil
	}
	err := r.call(func(c *client.Client) (err error) { leaf, err = c.Renew(ctx, r.place); return err })
	if err != nil {
		return err
	}
	r.own.Again()
	r.log.Info("certificate renewed", "until", leaf.NotAfter)
	_, err = r.standing(ctx)
	return err
}

func (r renewer) standing(ctx context.Context) (renew bool, err error) {
	err = r.call(func(c *client.Client) (err error) {
		renew, err = c.Standing(ctx, r.place, r.own.Trusted())
		return err
	})
	r.own.Again() // for a trust that has changed
	return renew, err
}

func (r renewer) call(do func(c *client.Client) error) error {
	c, err := client.Dial(r.central.Address, nil, client.Others(r.central.Others...), client.Renewed(r.own.Config))
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	return do(c)
}
