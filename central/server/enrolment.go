package server

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/store"
)

// How often in a minute a token may be tried, so that what is refused can not flood
// the audit.
const (
	enrolmentsHost = 20
	enrolmentsAll  = 300
)

// clockSlack is how far certificates are dated back, for clocks that are a little
// behind; less where their life is short.
const clockSlack = 5 * time.Minute

type enrolment struct {
	flagpb.UnimplementedEnrolmentServer
	*Server
}

// Enrol implements flagpb.EnrolmentServer.
func (s enrolment) Enrol(ctx context.Context, r *flagpb.EnrolRequest) (*flagpb.EnrolResponse, error) {
	host := peerHost(ctx)
	if !s.enrolling.take(host, time.Now()) {
		return nil, status.Error(codes.ResourceExhausted, "too many enrolments at a time: try again in a minute")
	}
	issuing, err := s.standings.issuing()
	if err != nil {
		return nil, err
	}
	hash := identity.SecretHash(r.GetSecret())
	// The request's own key is read first: the token knows it by that. Whom it may
	// name is the token's to say.
	key, keyID, err := requestKey(r.GetRequest())
	if err != nil {
		return nil, s.refuseEnrolment(ctx, audit.Who{Caller: "address " + host}, "token "+identity.TokenID(hash), &store.Refusal{Reason: err.Error()})
	}
	now := time.Now()
	given, err := s.store.Redeem(ctx, store.Redemption{Hash: hash, Key: keyID, Organisation: r.GetOrganisation(), Sites: r.GetSites(), At: now},
		func(t store.EnrolToken) (store.Certificate, error) {
			if _, err := identity.ReadRequest(r.GetRequest(), t.Identity); err != nil {
				return store.Certificate{}, &store.Refusal{Reason: err.Error()}
			}
			c, err := s.issue(issuing, t.Identity, key, keyID, now)
			c.Site, c.How, c.Confirmed = t.Site, store.HowEnrolled, now
			return c, err
		})
	if err != nil {
		return nil, s.refuseEnrolment(ctx, audit.Who{Caller: "address " + host}, "token "+identity.TokenID(hash), err)
	}
	s.log.Info("certificate issued", "identity", given.Identity.String(), "serial", given.Serial, "until", given.NotAfter, "from", host)
	// Those that it has replaced are not to be good for two seconds more.
	if err := s.standings.read(ctx); err != nil {
		s.log.Warn("certificates not read, going on with what was known", "err", err)
	}
	return &flagpb.EnrolResponse{Chain: append([][]byte{given.DER}, issuing.chain...), Trust: raw(s.entrance.Trusted())}, nil
}

// Renew implements flagpb.EnrolmentServer.
func (s enrolment) Renew(ctx context.Context, r *flagpb.RenewRequest) (*flagpb.RenewResponse, error) {
	c, err := peerConnection(ctx)
	if err != nil || c.caller.Certificate == nil {
		return nil, status.Error(codes.Unauthenticated, "no certificate to renew")
	}
	who := audit.Who{Caller: c.caller.String()}
	issuing, err := s.standings.issuing()
	if err != nil {
		return nil, err
	}
	key, err := identity.ReadRequest(r.GetRequest(), c.caller.Identity)
	if err != nil {
		return nil, s.refuseEnrolment(ctx, who, "certificate "+c.name.Serial, &store.Refusal{Reason: err.Error()})
	}
	keyID, err := identity.KeyID(key)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	lapsed := now.After(c.caller.Certificate.NotAfter)
	given, err := s.store.Renew(ctx, c.name, c.caller.Identity, keyID, now, func(old store.Certificate) (store.Certificate, error) {
		next, err := s.issue(issuing, c.caller.Identity, key, keyID, now)
		next.Site, next.Replaces, next.How = old.Site, old.Serial, store.HowRenewed
		if lapsed {
			next.How = store.HowLapsed
		}
		return next, err
	})
	if err != nil {
		return nil, s.refuseEnrolment(ctx, who, "certificate "+c.name.Serial, err)
	}
	s.log.Info("certificate renewed", "identity", given.Identity.String(), "serial", given.Serial, "replaces", c.name.Serial, "until", given.NotAfter, "lapsed", lapsed)
	// Its first use is soon, and is to be known as that.
	if err := s.standings.read(ctx); err != nil {
		s.log.Warn("certificates not read, going on with what was known", "err", err)
	}
	return &flagpb.RenewResponse{Chain: append([][]byte{given.DER}, issuing.chain...), Trust: raw(s.entrance.Trusted())}, nil
}

// Standing implements flagpb.EnrolmentServer.
func (s enrolment) Standing(ctx context.Context, r *flagpb.StandingRequest) (*flagpb.StandingResponse, error) {
	c, err := peerConnection(ctx)
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	out := &flagpb.StandingResponse{}
	if len(c.caller.Certificate.URIs) == 0 {
		return out, nil // issued elsewhere, where it is also said whom its holder trusts
	}
	trusted := s.entrance.Trusted()
	if !bytes.Equal(r.GetTrust(), identity.TrustDigest(trusted)) {
		out.Trust = raw(trusted)
	}
	if err := s.store.NoteTrust(ctx, c.name, r.GetTrust()); err != nil {
		return nil, err
	}
	if issuing, err := s.standings.issuing(); err == nil {
		// One whose own authority has stepped back goes over to the one that issues.
		out.Renew = s.standings.steppedBack(c.caller.Certificate) && c.caller.Certificate.CheckSignatureFrom(issuing.Certificate()) != nil
	}
	return out, nil
}

// issue makes a certificate that is not kept yet.
func (s enrolment) issue(by *issuer, id identity.Identity, key crypto.PublicKey, keyID []byte, now time.Time) (store.Certificate, error) {
	c, err := by.Certify(id, key, nil, now.Add(-min(clockSlack, s.policy.CertificateLife/10)), now.Add(s.policy.CertificateLife))
	if err != nil {
		return store.Certificate{}, err
	}
	return store.Certificate{
		CertificateName: store.NameOf(c), Identity: id, Key: keyID, DER: c.Raw, NotBefore: c.NotBefore, NotAfter: c.NotAfter, Issued: now,
	}, nil
}

// refuseEnrolment writes into the audit why no certificate was given, and makes it
// the answer.
func (s enrolment) refuseEnrolment(ctx context.Context, who audit.Who, what string, err error) error {
	var refused *store.Refusal
	if !errors.As(err, &refused) {
		return err
	}
	if err := s.store.Note(ctx, audit.Entry{At: time.Now(), Act: audit.EnrolmentRefused, Who: who, Reason: refused.Reason, Details: map[string]string{"with": what}}); err != nil {
		return err
	}
	return status.Error(codes.PermissionDenied, refused.Reason)
}

func requestKey(der []byte) (crypto.PublicKey, []byte, error) {
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, nil, errors.New("certificate request: it can not be read, want PKCS #10")
	}
	id, err := identity.KeyID(r.PublicKey)
	if err != nil {
		return nil, nil, errors.New("certificate request: its key is of no known kind")
	}
	return r.PublicKey, id, nil
}

func raw(certificates []*x509.Certificate) [][]byte {
	out := make([][]byte, len(certificates))
	for i, c := range certificates {
		out[i] = c.Raw
	}
	return out
}

func peerHost(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	host, _, err := net.SplitHostPort(p.Addr.String())
	if err != nil {
		return p.Addr.String()
	}
	return host
}

// pace counts how often each host, and all together, do something in a minute.
type pace struct {
	mu    sync.Mutex // guards the fields below
	since time.Time
	hosts map[string]int
	all   int
}

// take tells whether the host may once more.
func (p *pace) take(host string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hosts == nil || now.Sub(p.since) >= time.Minute {
		p.since, p.hosts, p.all = now, map[string]int{}, 0
	}
	if p.all >= enrolmentsAll || p.hosts[host] >= enrolmentsHost {
		return false
	}
	p.hosts[host]++
	p.all++
	return true
}
