package server

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/safeguard-edge/safeguard/central/flagpb"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/store"
)

const (
	standEvery = 2 * time.Second  // how soon a server knows of a revocation, by whichever process
	strangers  = 128              // connections at the same time of those who may do no more than enrol or renew
	strangerIn = 30 * time.Second // and for how long each
)

// standings is what the server knows of certificates: which are revoked, which
// authorities are trusted and which one issues, and who is connected with what.
type standings struct {
	store    store.Store
	entrance *identity.Entrance
	lapse    time.Duration
	log      *slog.Logger

	mu        sync.Mutex // guards the fields below
	known     store.CertificateStandings
	issuer    *issuer // nil where the centre issues none
	live      map[*connection]bool
	strangers int
}

// issuer is the authority that issues, ready to.
type issuer struct {
	*identity.CA
	chain [][]byte // DER, behind what it issues
}

// connection is one that lives, with whose it is.
type connection struct {
	net.Conn
	of     *standings
	caller identity.Caller
	wrong  error // why the caller's certificate is not accepted; nil where it is, and for one without
	name   store.CertificateName
	full   bool        // of someone with a good certificate
	timer  *time.Timer // that ends one who is not, and one whose certificate has expired
	once   sync.Once
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.once.Do(func() {
		c.of.mu.Lock()
		defer c.of.mu.Unlock()
		delete(c.of.live, c)
		c.timer.Stop()
		if !c.full {
			c.of.strangers--
		}
	})
	return c.Conn.Close()
}

// run follows the store until ctx ends. While that can not be read what was known
// holds.
func (s *standings) run(ctx context.Context) {
	tick := time.NewTicker(standEvery)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			err := s.read(ctx)
			if err != nil && !failing && ctx.Err() == nil {
				s.log.Warn("certificates not read, going on with what was known", "err", err)
			}
			failing = err != nil
		}
	}
}

// read takes up what has changed, and ends the connections of revoked
// certificates. One that is no more than superseded may finish what it began while
// it was good.
func (s *standings) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, unaryTime)
	defer cancel()
	s.mu.Lock()
	version := s.known.Version
	s.mu.Unlock()
	known, err := s.store.CertificateStandings(ctx, version, time.Now().Add(-s.lapse))
	if err != nil || known.Version == version {
		return err
	}
	var callers, centre []*x509.Certificate
	var issues *issuer
	for _, i := range known.Issuers {
		if i.State == store.IssuerEnded {
			continue
		}
		roots, err := identity.DecodeCertificates(i.Root)
		if err != nil {
			return fmt.Errorf("issuer %s: %w", i.ID, err)
		}
		opened, err := openIssuer(i)
		if err != nil {
			return fmt.Errorf("issuer %s: %w", i.ID, err)
		}
		callers, centre = append(callers, opened.Certificate()), append(centre, roots...)
		if i.State == store.IssuerIssuing {
			issues = opened
		}
	}
	s.mu.Lock()
	var ended []*connection
	s.known, s.issuer = known, issues
	for c := range s.live {
		if r, ok := known.Revoked[c.name]; ok && !(r.Superseded && c.full) {
			ended = append(ended, c)
		}
	}
	s.mu.Unlock()
	s.entrance.Trust(callers, centre)
	for _, c := range ended {
		s.log.Warn("connection ended: its certificate is revoked or replaced", "caller", c.caller.String(), "serial", c.name.Serial)
		_ = c.Close()
	}
	return nil
}

func openIssuer(i store.Issuer) (*issuer, error) {
	chain, err := identity.DecodeCertificates(i.Chain)
	if err != nil {
		return nil, err
	}
	if len(chain) == 0 {
		return nil, errors.New("its chain is empty")
	}
	ca, err := identity.OpenCA(chain[0], i.Key)
	if err != nil {
		return nil, err
	}
	out := &issuer{CA: ca}
	for _, c := range chain {
		if c.CheckSignatureFrom(c) != nil { // a root is known to whoever trusts it
			out.chain = append(out.chain, c.Raw)
		}
	}
	return out, nil
}

// issuing is the authority that issues, or a refusal.
func (s *standings) issuing() (*issuer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.issuer == nil {
		return nil, status.Error(codes.FailedPrecondition, "the centre issues no certificates: its operator runs 'safeguard-central ca init' first, or issues them elsewhere")
	}
	return s.issuer, nil
}

// steppedBack tells whether the certificate's authority is one of the centre's own
// that issues no more.
func (s *standings) steppedBack(leaf *x509.Certificate) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.known.Issuers {
		if i.State != store.IssuerTrusted {
			continue
		}
		chain, err := identity.DecodeCertificates(i.Chain)
		if err == nil && len(chain) > 0 && leaf.CheckSignatureFrom(chain[0]) == nil {
			return true
		}
	}
	return false
}

// revoked tells of a certificate's end.
func (s *standings) revoked(name store.CertificateName) (store.Revocation, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.known.Revoked[name]
	return r, ok
}

// confirm takes note of the first use of a certificate that replaces another.
func (s *standings) confirm(ctx context.Context, name store.CertificateName) error {
	s.mu.Lock()
	waits := s.known.Unconfirmed[name]
	s.mu.Unlock()
	if !waits {
		return nil
	}
	if err := s.store.Confirm(ctx, name, time.Now()); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known.Unconfirmed, name)
	return nil
}

// admit takes a connection in, or says why it does not. Those who may do little
// are few, and soon gone, so that nobody is kept out by them.
func (s *standings) admit(conn net.Conn, caller identity.Caller, wrong error) (*connection, error) {
	c := &connection{Conn: conn, of: s, caller: caller, wrong: wrong}
	if caller.Certificate != nil {
		c.name = store.NameOf(caller.Certificate)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, revoked := s.known.Revoked[c.name]
	c.full = caller.Certificate != nil && !caller.Lapsed && !revoked
	if !c.full {
		if s.strangers >= strangers {
			return nil, fmt.Errorf("%d connections of callers without a good certificate are open", strangers)
		}
		s.strangers++
		c.timer = time.AfterFunc(strangerIn, func() { _ = c.Close() })
	} else {
		// Nothing more is answered on it from then on: its holder comes again, with a
		// certificate that it may have got since.
		c.timer = time.AfterFunc(time.Until(caller.Certificate.NotAfter), func() { _ = c.Close() })
	}
	s.live[c] = true
	return c, nil
}

// party is what a connection proves, for the calls on it.
type party struct {
	credentials.TLSInfo
	*connection
}

// certificateless are the methods for callers without a good certificate, and
// what they need: none, or one that has expired.
var certificateless = map[string]func(*connection) bool{
	flagpb.Enrolment_Enrol_FullMethodName: func(*connection) bool { return true },
	flagpb.Enrolment_Renew_FullMethodName: func(c *connection) bool { return c.caller.Certificate != nil },
}

// mayCall tells why the caller may not call the method, whatever is asked.
func (s *standings) mayCall(ctx context.Context, method string) error {
	c, err := peerConnection(ctx)
	if err != nil {
		return status.Error(codes.Unauthenticated, err.Error())
	}
	if c.wrong != nil {
		return status.Error(codes.Unauthenticated, "the certificate is not accepted: "+c.wrong.Error())
	}
	leaf := c.caller.Certificate
	if leaf == nil {
		if allowed := certificateless[method]; allowed != nil && allowed(c) {
			return nil
		}
		return status.Error(codes.Unauthenticated, "no certificate: this needs one; enrol first")
	}
	if r, ok := s.revoked(c.name); ok && !(r.Superseded && c.full) {
		return status.Errorf(codes.Unauthenticated, "the certificate is revoked since %s: %s; enrol again", r.At.Format(time.RFC3339), r.Reason)
	}
	if time.Now().After(leaf.NotAfter) {
		if allowed := certificateless[method]; allowed != nil && allowed(c) {
			return nil
		}
		return status.Errorf(codes.Unauthenticated, "the certificate has expired at %s; it may be renewed until %s",
			leaf.NotAfter.Format(time.RFC3339), leaf.NotAfter.Add(s.lapse).Format(time.RFC3339))
	}
	if err := s.confirm(ctx, c.name); err != nil {
		return err
	}
	return nil
}

func peerConnection(ctx context.Context) (*connection, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, errors.New("no peer")
	}
	with, ok := p.AuthInfo.(party)
	if !ok {
		return nil, errors.New("no verified connection")
	}
	return with.connection, nil
}
