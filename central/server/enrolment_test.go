package server_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/server"
	"github.com/safeguard-edge/safeguard/central/store"
)

var ed1 = identity.Identity{Kind: identity.Agent, Code: trust, ID: "ed1"}

// issues lets the centre issue certificates, from its store's own authority.
func (c *centre) issues() *centre {
	c.Helper()
	ca, pair, err := identity.NewCA("Test issuer", time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour))
	if err != nil {
		c.Fatal(err)
	}
	key, _ := pem.Decode(pair.Key)
	id, err := identity.KeyID(ca.Certificate().PublicKey)
	if err != nil {
		c.Fatal(err)
	}
	i := store.Issuer{ID: store.IssuerID(id), Chain: pair.Certificate, Root: pair.Certificate, Key: key.Bytes, Made: time.Now()}
	if err := c.store.PutIssuer(c.Context(), i, audit.Who{Caller: "test"}); err != nil {
		c.Fatal(err)
	}
	// It is known within seconds, and at once to one that starts now.
	c.halt()
	c.listen("127.0.0.1:0")
	return c
}

// token makes one that is good, but for what change does to it.
func (c *centre) token(change func(*identity.Token)) identity.Token {
	c.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(c.dir, "ca.pem"), filepath.Join(c.dir, "ca-key.pem"))
	if err != nil {
		c.Fatal(err)
	}
	t := identity.Token{Identity: ed1, Site: infirmary, Address: c.server.Addr().String(), Expires: time.Now().Add(time.Hour), Trust: []*x509.Certificate{pair.Leaf}, Secret: identity.NewSecret()}
	if change != nil {
		change(&t)
	}
	kept := store.EnrolToken{Hash: identity.SecretHash(t.Secret), Identity: t.Identity, Site: t.Site, Made: time.Now(), Expires: t.Expires}
	if err := c.store.PutToken(c.Context(), kept, audit.Who{Caller: "test"}); err != nil {
		c.Fatal(err)
	}
	return t
}

func (c *centre) place() identity.Place {
	dir := c.TempDir()
	return identity.Place{Files: identity.Files{Certificate: filepath.Join(dir, "own.pem"), Key: filepath.Join(dir, "own-key.pem"), CA: filepath.Join(dir, "ca.pem")}}
}

// enrolled is a host that has its certificate, and a client that shows it.
func (c *centre) enrolled() (identity.Place, *client.Client) {
	c.Helper()
	p := c.place()
	if _, err := client.Enrol(c.Context(), c.token(nil), p, trust, []safeguard.ODSCode{infirmary}); err != nil {
		c.Fatal(err)
	}
	return p, c.with(p)
}

func (c *centre) with(p identity.Place) *client.Client {
	c.Helper()
	own, err := identity.OpenOwn(p, identity.Agent)
	if err != nil {
		c.Fatal(err)
	}
	conn, err := client.Dial(c.server.Addr().String(), nil, client.Renewed(own.Config), client.Deadline(20*time.Second))
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = conn.Close() })
	return conn
}

// wantAudited waits for nothing: what is refused is in the audit before the caller
// learns of it.
func (c *centre) wantAudited(act audit.Act, reason string) {
	c.Helper()
	var out strings.Builder
	if _, err := c.store.ExportAudit(c.Context(), &out, audit.Who{Caller: "test"}); err != nil {
		c.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, string(act)) && strings.Contains(line, reason) {
			return
		}
	}
	c.Errorf("the audit has no %q that says %q", act, reason)
}

func (c *centre) wantRefused(err error, reason string) {
	c.Helper()
	var refused *client.Refused
	if !errors.As(err, &refused) || !strings.Contains(refused.Reason, reason) {
		c.Errorf("error %v, want a refusal that says %q", err, reason)
		return
	}
	c.wantAudited(audit.EnrolmentRefused, reason)
}

func TestEnrolled(t *testing.T) {
	c := start(t).issues()
	p, agent := c.enrolled()
	if _, err := agent.Lookup(t.Context(), query(alice, "visit 1")); err != nil {
		t.Errorf("lookup with the new certificate: %v", err)
	}
	leaf, _ := p.Leaf()
	if id, err := identity.Of(leaf); err != nil || id != ed1 {
		t.Errorf("enrolled as %v, %v", id, err)
	}
	if life := time.Until(leaf.NotAfter); life > server.DefaultPolicy().CertificateLife {
		t.Errorf("good for %v", life)
	}

	// Renewed, the old certificate is good until the new one is seen.
	second, err := agent.Renew(t.Context(), p)
	if err != nil || second.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
		t.Fatalf("renew: %v", err)
	}
	if _, err := agent.Lookup(t.Context(), query(alice, "visit 2")); err != nil {
		t.Errorf("lookup with the old certificate: %v", err)
	}
	if renew, err := c.with(p).Standing(t.Context(), p, nil); err != nil || renew {
		t.Errorf("standing: %v %v", renew, err)
	}
	if r := c.revocation(leaf); !r.Superseded {
		t.Errorf("the old certificate: %+v, want it superseded", r)
	}
	c.wantAudited(audit.Renewed, store.NameOf(second).Serial)
}

func (c *centre) revocation(leaf *x509.Certificate) store.Revocation {
	c.Helper()
	all, err := c.store.Certificates(c.Context(), store.CertificateFilter{})
	if err != nil {
		c.Fatal(err)
	}
	for _, have := range all {
		if have.CertificateName == store.NameOf(leaf) {
			return have.Revocation
		}
	}
	c.Fatal("no such certificate")
	return store.Revocation{}
}

func TestEnrolmentRefused(t *testing.T) {
	c := start(t).issues()
	enrol := func(token identity.Token, p identity.Place) error {
		_, err := client.Enrol(t.Context(), token, p, trust, []safeguard.ODSCode{infirmary})
		return err
	}
	used, place := c.token(nil), c.place()
	if err := enrol(used, place); err != nil {
		t.Fatal(err)
	}
	c.wantRefused(enrol(used, c.place()), "used already")
	unknown := used
	unknown.Secret = identity.NewSecret()
	c.wantRefused(enrol(unknown, c.place()), "not known here")
	lying := c.token(func(t *identity.Token) { t.Expires = time.Now().Add(-time.Minute) })
	lying.Expires = time.Now().Add(time.Hour) // the host's word for it
	c.wantRefused(enrol(lying, c.place()), "expired")
	c.wantRefused(enrol(c.token(func(t *identity.Token) { t.Identity.Code = code("RX2") }), c.place()), "configured as RX1")
	c.wantRefused(enrol(c.token(func(t *identity.Token) { t.Site = code("RX1RB") }), c.place()), "for site RX1RB")
	renamed := c.token(nil)
	renamed.Identity.ID = "ed2" // and so does the request
	c.wantRefused(enrol(renamed, c.place()), "ed2")

	// The centre that a token trusts is the only one that is asked.
	elsewhere := start(t)
	wrong := c.token(nil)
	wrong.Trust = elsewhere.token(nil).Trust
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := client.Enrol(ctx, wrong, c.place(), trust, nil); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("another centre: %v, want no word to it", err)
	}
	c.wantRefused(func() error {
		_, err := c.agent().Renew(t.Context(), c.foreign("agent-RX2"))
		return err
	}(), "agent RX2 dev")
	if got := len(c.log.String()); strings.Contains(c.log.String(), used.Text()[40:80]) {
		t.Errorf("a token is in the log of %d bytes", got)
	}
}

// foreign is a place with the certificate of a development CA.
func (c *centre) foreign(name string) identity.Place { return identity.Place{Files: c.files(name)} }

// A key that has a certificate gets no other, nor one of another identity.
func TestAnotherKey(t *testing.T) {
	c := start(t).issues()
	p, agent := c.enrolled()
	leaf, _ := p.Leaf()
	pair, err := tls.LoadX509KeyPair(p.Certificate, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///"+c.server.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(c.tls("agent-RX2", identity.Agent))))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	other := identity.Identity{Kind: identity.Agent, Code: code("RX2"), ID: "dev"}
	request, err := identity.NewRequest(pair.PrivateKey.(crypto.Signer), other)
	if err != nil {
		t.Fatal(err)
	}
	_, err = flagpb.NewEnrolmentClient(conn).Renew(t.Context(), &flagpb.RenewRequest{Request: request})
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "has a certificate already") {
		t.Errorf("another's key: %v", err)
	}
	c.wantAudited(audit.EnrolmentRefused, "has a certificate already")
	if _, err := agent.Lookup(t.Context(), query(alice, "visit 1")); err != nil || !c.revocation(leaf).At.IsZero() {
		t.Errorf("whose key it is: %v", err)
	}
}

// A caller without a good certificate can enrol or renew, and nothing else, and is
// shown the door.
func TestWithoutAGoodCertificate(t *testing.T) {
	c := start(t).issues()
	ca, err := tls.LoadX509KeyPair(filepath.Join(c.dir, "ca.pem"), filepath.Join(c.dir, "ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	lapsed := expired(t, ca)
	of := identity.Identity{Kind: identity.Agent, Code: trust, ID: "dev"}
	bare := c.tls("agent-RX1", identity.Agent)
	bare.GetClientCertificate = nil
	old := bare.Clone()
	old.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return lapsed, nil }
	newKey, err := identity.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	request, err := identity.NewRequest(newKey, of)
	if err != nil {
		t.Fatal(err)
	}
	for name, who := range map[string]struct {
		config *tls.Config
		renew  codes.Code
		says   string
	}{
		"nobody":  {bare, codes.Unauthenticated, "no certificate"},
		"expired": {old, codes.OK, "has expired"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := grpc.NewClient("passthrough:///"+c.server.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(who.config)))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for full, call := range everyMethod(conn) {
				if err := call(t.Context()); status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), who.says) {
					t.Errorf("%s: %v, want a refusal that says %q", full, err, who.says)
				}
			}
			if _, err := flagpb.NewEnrolmentClient(conn).Renew(t.Context(), &flagpb.RenewRequest{Request: request}); status.Code(err) != who.renew {
				t.Errorf("renew: %v, want %v", err, who.renew)
			}
		})
	}
	c.wantAudited(audit.Renewed, store.HowLapsed)
}

// everyMethod calls each method that the server has, but those for callers without
// a certificate.
func everyMethod(conn *grpc.ClientConn) map[string]func(context.Context) error {
	calls := map[string]func(context.Context) error{}
	for _, service := range []grpc.ServiceDesc{
		flagpb.Flags_ServiceDesc, flagpb.Uploads_ServiceDesc, flagpb.Notifications_ServiceDesc, flagpb.Changes_ServiceDesc, flagpb.Enrolment_ServiceDesc,
	} {
		for _, m := range service.Methods {
			full := "/" + service.ServiceName + "/" + m.MethodName
			if full == flagpb.Enrolment_Enrol_FullMethodName || full == flagpb.Enrolment_Renew_FullMethodName {
				continue
			}
			calls[full] = func(ctx context.Context) error {
				return conn.Invoke(ctx, full, &flagpb.StandingRequest{}, &flagpb.StandingResponse{})
			}
		}
		for _, m := range service.Streams {
			full := "/" + service.ServiceName + "/" + m.StreamName
			calls[full] = func(ctx context.Context) error {
				s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, full)
				if err != nil {
					return err
				}
				return s.RecvMsg(&flagpb.StandingResponse{})
			}
		}
	}
	return calls
}

// A revoked certificate is of no use within seconds, on connections that live too.
func TestRevokedWhileConnected(t *testing.T) {
	c := start(t).issues()
	p, agent := c.enrolled()
	if _, err := agent.Lookup(t.Context(), query(alice, "visit 1")); err != nil {
		t.Fatal(err)
	}
	followed := make(chan error, 1)
	go func() {
		for _, err := range agent.Changes(context.Background(), []safeguard.ODSCode{infirmary}, "") {
			if err != nil {
				followed <- err
				return
			}
		}
	}()
	began := time.Now()
	_, err := c.store.RevokeCertificates(t.Context(), "", ed1.String(), store.Revocation{At: time.Now(), By: "operator", Reason: "stolen from a car"})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-followed:
	case <-time.After(time.Minute):
		t.Fatal("its stream lives on after a minute")
	}
	for {
		_, err := agent.Lookup(t.Context(), query(alice, "visit 2"))
		if errors.Is(err, client.ErrCertificate) && errors.Is(err, client.ErrUnreachable) && strings.Contains(err.Error(), "stolen from a car") {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("after a minute: %v, want the reason", err)
		}
	}
	t.Logf("of no use after %v", time.Since(began).Round(time.Millisecond))
	if _, err := agent.Renew(t.Context(), p); !errors.Is(err, client.ErrCertificate) {
		t.Errorf("renew: %v, want no renewal", err)
	}
	c.wantAudited(audit.CertificateRevoked, "stolen from a car")

	// Enrolled anew it works, and what it had before does not.
	stolen := p
	_, anew := c.enrolled()
	if _, err := anew.Lookup(t.Context(), query(alice, "visit 3")); err != nil {
		t.Errorf("enrolled anew: %v", err)
	}
	if _, err := c.with(stolen).Lookup(t.Context(), query(alice, "visit 4")); !errors.Is(err, client.ErrCertificate) {
		t.Errorf("the stolen one: %v", err)
	}
}

func TestManyEnrolments(t *testing.T) {
	c := start(t).issues()
	bare := c.tls("agent-RX1", identity.Agent)
	bare.GetClientCertificate = nil
	conn, err := grpc.NewClient("passthrough:///"+c.server.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(bare)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	refused, held := 0, 0
	for range 60 {
		_, err := flagpb.NewEnrolmentClient(conn).Enrol(t.Context(), &flagpb.EnrolRequest{Secret: identity.NewSecret(), Request: []byte("x")})
		switch status.Code(err) {
		case codes.PermissionDenied:
			refused++
		case codes.ResourceExhausted:
			held++
		default:
			t.Fatal(err)
		}
	}
	if refused > 40 || held < 20 { // of two minutes, if one ends meanwhile
		t.Errorf("%d guesses were looked at and %d not", refused, held)
	}
}
