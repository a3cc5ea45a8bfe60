package central

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/identity"
)

// Enrol gets a local authority's system, or an operator, its first certificate with
// the token in a file, and removes the file.
func Enrol(ctx context.Context, tokenFile string, files identity.Files, out io.Writer) error {
	text, err := os.ReadFile(tokenFile)
	if err != nil {
		return fmt.Errorf("enrolment token: %w", err)
	}
	token, err := identity.ParseToken(string(text))
	if err != nil {
		return err
	}
	if token.Identity.Kind == identity.Agent {
		return fmt.Errorf("the token is for %s: use 'safeguard-agent enrol'", token.Identity)
	}
	leaf, err := client.Enrol(ctx, token, identity.Place{Files: files}, token.Identity.Code, nil)
	if err != nil {
		return err
	}
	if err := os.Remove(tokenFile); err != nil {
		return fmt.Errorf("enrolled, and the token is of no use any more, but: %w", err)
	}
	return sayCertificate(out, leaf)
}

// Renew renews the certificate in files, where ifDue says so only when it is due.
func Renew(ctx context.Context, server string, files identity.Files, ifDue bool, out io.Writer) error {
	place := identity.Place{Files: files}
	place.Mend()
	leaf, ok := place.Leaf()
	var want identity.Kind
	if ok {
		if id, err := identity.Of(leaf); err == nil {
			want = id.Kind
		}
	}
	own, err := identity.OpenOwn(place, want)
	if err != nil {
		return err
	}
	call := func(do func(c *client.Client) error) error {
		c, err := client.Dial(server, nil, client.Renewed(own.Config))
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		return do(c)
	}
	standing := func(c *client.Client) (renew bool, err error) { return c.Standing(ctx, place, own.Trusted()) }
	due := time.Now().After(identity.Due(own.Leaf()))
	if ifDue && !due {
		err := call(func(c *client.Client) (err error) { due, err = standing(c); return err })
		if err != nil {
			return err
		}
		if !due {
			return sayCertificate(out, own.Leaf())
		}
	}
	err = call(func(c *client.Client) (err error) { leaf, err = c.Renew(ctx, place); return err })
	if err != nil {
		return err
	}
	// The centre lets the old one go when it sees the new one.
	own.Again()
	if err := call(func(c *client.Client) error { _, err := standing(c); return err }); err != nil {
		return err
	}
	return sayCertificate(out, leaf)
}

func sayCertificate(out io.Writer, leaf *x509.Certificate) error {
	id, err := identity.Of(leaf)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: until %s, to be renewed from %s\n", id, leaf.NotAfter.UTC().Format(time.RFC3339), identity.Due(leaf).UTC().Format(time.RFC3339))
	return err
}
