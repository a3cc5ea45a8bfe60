package client

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	"github.com/safeguard-edge/safeguard/central/identity"
)

// enrolTime is for a call that gives a certificate, which waits for the store.
const enrolTime = 30 * time.Second

// Enrol redeems the token at the centre that the token names, and puts what it
// gets into the place: a key that was made there, the certificate and whom to
// trust. organisation and sites are what the caller is configured to be; a token for
// another is refused, as a *Refused. Called again after an error, it goes on.
func Enrol(ctx context.Context, token identity.Token, place identity.Place, organisation safeguard.ODSCode, sites []safeguard.ODSCode) (*x509.Certificate, error) {
	if time.Now().After(token.Expires) {
		return nil, &Refused{"PermissionDenied", "the token expired at " + token.Expires.Format(time.RFC3339) + ": ask central operations for another"}
	}
	key, err := place.Pending()
	if err != nil {
		return nil, err
	}
	request, err := identity.NewRequest(key, token.Identity)
	if err != nil {
		return nil, err
	}
	c, err := Dial(token.Address, identity.EnrolTLS(token), Others(token.Others...))
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(ctx, enrolTime)
	defer cancel()
	r := &flagpb.EnrolRequest{Secret: token.Secret, Request: request}
	if !organisation.IsZero() {
		r.Organisation = organisation.String()
	}
	for _, site := range sites {
		r.Sites = append(r.Sites, site.String())
	}
	var centre peer.Peer
	// The centre may be starting, and the way to it may be new: there is time.
	response, err := c.enrolment.Enrol(ctx, r, grpc.Peer(&centre), grpc.WaitForReady(true))
	if err != nil {
		return nil, fmt.Errorf("enrol: %w", problem(ctx, err))
	}
	trust, err := trustOf(response.GetTrust(), &centre)
	if err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	if err := place.Install(key, response.GetChain(), trust); err != nil {
		return nil, err
	}
	leaf, _ := place.Leaf()
	return leaf, nil
}

// Renew gets another certificate in the place of the one that the client calls
// with, and puts it into the place. It is in use from the next connection on.
func (c *Client) Renew(ctx context.Context, place identity.Place) (*x509.Certificate, error) {
	have, ok := place.Leaf()
	if !ok {
		return nil, errors.New("renew certificate: there is none to renew")
	}
	id, err := identity.Of(have)
	if err != nil {
		return nil, fmt.Errorf("renew certificate: %w", err)
	}
	key, err := place.Pending()
	if err != nil {
		return nil, err
	}
	request, err := identity.NewRequest(key, id)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, enrolTime)
	defer cancel()
	var centre peer.Peer
	response, err := c.enrolment.Renew(ctx, &flagpb.RenewRequest{Request: request}, grpc.Peer(&centre))
	if err != nil {
		return nil, fmt.Errorf("renew certificate: %w", problem(ctx, err))
	}
	trust, err := trustOf(response.GetTrust(), &centre)
	if err != nil {
		return nil, fmt.Errorf("renew certificate: %w", err)
	}
	if err := place.Install(key, response.GetChain(), trust); err != nil {
		return nil, err
	}
	leaf, _ := place.Leaf()
	return leaf, nil
}

// Standing asks what has changed for the holder of a certificate, and takes up whom
// to trust. renew says that the certificate is to be renewed before it is due.
func (c *Client) Standing(ctx context.Context, place identity.Place, trusted []*x509.Certificate) (renew bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, enrolTime)
	defer cancel()
	var centre peer.Peer
	response, err := c.enrolment.Standing(ctx, &flagpb.StandingRequest{Trust: identity.TrustDigest(trusted)}, grpc.Peer(&centre))
	if err != nil {
		return false, fmt.Errorf("ask for standing: %w", problem(ctx, err))
	}
	if len(response.GetTrust()) > 0 {
		trust, err := trustOf(response.GetTrust(), &centre)
		if err != nil {
			return false, fmt.Errorf("ask for standing: %w", err)
		}
		if err := place.InstallTrust(trust); err != nil {
			return false, err
		}
	}
	return response.GetRenew(), nil
}

// trustOf reads whom to trust, which must include who has just spoken: with any
// other trust the next connection would be the last.
func trustOf(list [][]byte, centre *peer.Peer) ([]*x509.Certificate, error) {
	roots := x509.NewCertPool()
	var trust []*x509.Certificate
	for _, der := range list {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%w: it sent a certificate that can not be read", ErrUnreachable)
		}
		roots.AddCert(c)
		trust = append(trust, c)
	}
	info, ok := centre.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates) == 0 {
		return nil, fmt.Errorf("%w: no verified connection", ErrUnreachable)
	}
	between := x509.NewCertPool()
	for _, c := range info.State.PeerCertificates[1:] {
		between.AddCert(c)
	}
	if _, err := info.State.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between}); err != nil {
		return nil, fmt.Errorf("the centre tells to trust others than itself: %w", err)
	}
	return trust, nil
}
