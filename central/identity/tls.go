package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// Files are where one side's certificate, its key, and the authority that it
// trusts lie, all PEM.
type Files struct {
	Certificate string
	Key         string
	CA          string // the authorities of which one has issued the other side's certificate
}

// ClientTLS is the configuration with which a local authority's system calls the
// centre: TLS 1.3, both sides with a certificate, the other side an identity of
// kind centre under the name or address that was dialled. The files are read at
// once, so that what is wrong with them is said at the start; the certificate and
// key are read again when they change. A changed CA takes effect with the next
// start; see Own for whoever runs for long.
func ClientTLS(files Files, want Kind) (*tls.Config, error) {
	w, err := open(files, want, nil, false)
	if err != nil {
		return nil, err
	}
	return w.client(), nil
}

// Own is what a caller that runs for long shows of itself. All its files may
// change while it does. A certificate that has expired is shown all the same: the
// centre renews it, and does nothing else for it.
type Own struct{ w *watched }

// OpenOwn reads the files of a place, whose certificate must be of the kind.
func OpenOwn(p Place, want Kind) (*Own, error) {
	p.Mend()
	w, err := open(p.Files, want, p.Sealer, true)
	if err != nil {
		return nil, err
	}
	return &Own{w}, nil
}

// Config is as ClientTLS, for one connection that is made now.
func (o *Own) Config() *tls.Config {
	_, _ = o.w.current() // lenient: it always gives something
	return o.w.client()
}

// Leaf is the certificate in use.
func (o *Own) Leaf() *x509.Certificate {
	m, _ := o.w.current()
	return m.certificate.Leaf
}

// Trusted are the authorities in use.
func (o *Own) Trusted() []*x509.Certificate {
	m, _ := o.w.current()
	return m.trusted
}

// Again has the files read at the next use.
func (o *Own) Again() { o.w.again() }

func (w *watched) client() *tls.Config {
	w.mu.Lock()
	roots := w.last.roots
	w.mu.Unlock()
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    roots,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			m, err := w.current()
			return m.certificate, err
		},
		VerifyConnection: isCentre,
	}
}

// EnrolTLS is the configuration with which someone who has no certificate yet
// calls the centre that a token trusts.
func EnrolTLS(t Token) *tls.Config {
	roots := x509.NewCertPool()
	for _, c := range t.Trust {
		roots.AddCert(c)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, VerifyConnection: isCentre}
}

// isCentre refuses the certificate of another kind of participant. One without a
// name of ours, which another authority has issued, is held to its host name and
// its use alone.
func isCentre(state tls.ConnectionState) error {
	leaf := state.PeerCertificates[0]
	if len(leaf.URIs) == 0 {
		return nil
	}
	id, err := Of(leaf)
	if err != nil {
		return err
	}
	if id.Kind != Centre {
		return fmt.Errorf("the other side is %s, want one of kind centre", id)
	}
	return nil
}

// Entrance is how the centre lets callers in: TLS 1.3, with a certificate or with
// none. What each may do is the server's to decide, which asks Caller who it is. A
// certificate is verified there rather than by crypto/tls, which has no way to let
// one that expired yesterday in to be renewed, and none to tell the caller what is
// wrong with theirs; the caller's proof that it has the key is TLS's own (RFC 8446,
// 4.4.3).
type Entrance struct {
	own   *watched
	lapse time.Duration
	named map[string]Identity
	ours  atomic.Pointer[issuers]
}

// issuers are the centre's own authorities, by what each is trusted for.
type issuers struct{ callers, centre []*x509.Certificate }

// EntranceOption changes what ServerTLS makes.
type EntranceOption func(*Entrance)

// Named says who the holders of certificates without a name of ours are, by their
// one DNS name, or where there is none by their subject's common name.
func Named(names map[string]Identity) EntranceOption { return func(e *Entrance) { e.named = names } }

// ServerKey opens the centre's key where it is sealed.
func ServerKey(s Sealer) EntranceOption { return func(e *Entrance) { e.own.sealer = s } }

// ServerTLS is how the centre listens with the certificate in files, for callers
// of the authorities in files.CA and of those that Trust adds. The files are read
// again when they change.
func ServerTLS(files Files, options ...EntranceOption) (*Entrance, error) {
	e := &Entrance{own: &watched{}}
	for _, option := range options {
		option(e)
	}
	Place{Files: files, Sealer: e.own.sealer}.Mend()
	own, err := open(files, Centre, e.own.sealer, false)
	if err != nil {
		return nil, err
	}
	e.own = own
	e.Trust(nil, nil)
	return e, nil
}

// Lapse lets those in whose certificate has expired since no longer than d. It is
// for before the first connection.
func (e *Entrance) Lapse(d time.Duration) { e.lapse = d }

// Trust sets the centre's own authorities: those that issue to callers, and the
// roots by which callers know the centre. The two differ where an existing public
// key infrastructure has given the centre an intermediate: what the others of its
// root issue is nobody's who may call here, whatever name they put into it.
func (e *Entrance) Trust(callers, centre []*x509.Certificate) {
	e.ours.Store(&issuers{callers, centre})
}

// Trusted are the authorities by which callers know the centre, those in the file
// among them.
func (e *Entrance) Trusted() []*x509.Certificate { return e.besides(e.ours.Load().centre) }

// besides are the authorities in the file, and then those, each once.
func (e *Entrance) besides(ours []*x509.Certificate) []*x509.Certificate {
	m, err := e.own.current()
	if err != nil {
		return ours
	}
	all := slices.Clone(m.trusted)
	for _, c := range ours {
		if !slices.ContainsFunc(all, c.Equal) {
			all = append(all, c)
		}
	}
	return all
}

// Leaf is the centre's own certificate.
func (e *Entrance) Leaf() (*x509.Certificate, error) {
	certificate, err := e.Certificate()
	if err != nil {
		return nil, err
	}
	return certificate.Leaf, nil
}

// Certificate is that of the listener, with its key.
func (e *Entrance) Certificate() (*tls.Certificate, error) {
	m, err := e.own.current()
	if err != nil {
		return nil, err
	}
	return m.certificate, nil
}

// Again has the files read at the next use.
func (e *Entrance) Again() { e.own.again() }

// Config is for a listener, which must ask Caller of each connection.
func (e *Entrance) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			m, err := e.own.current()
			if err != nil {
				return nil, err
			}
			return &tls.Config{
				MinVersion:   tls.VersionTLS13,
				Certificates: []tls.Certificate{*m.certificate},
				ClientAuth:   tls.RequestClientCert, // and Caller verifies it
				NextProtos:   []string{"h2"},
				// Whether a caller may still come in is asked at each handshake.
				SessionTicketsDisabled: true,
			}, nil
		},
	}
}

// Caller is who is at the other end of a connection.
type Caller struct {
	Identity                      // zero for one without a certificate
	Certificate *x509.Certificate // nil for such a one
	Lapsed      bool              // it has expired, and may be renewed
}

// Caller verifies the certificate of a connection and says whose it is.
func (e *Entrance) Caller(state tls.ConnectionState) (Caller, error) {
	if len(state.PeerCertificates) == 0 {
		return Caller{}, nil
	}
	leaf, now := state.PeerCertificates[0], time.Now()
	c := Caller{Certificate: leaf, Lapsed: now.After(leaf.NotAfter)}
	if c.Lapsed {
		if now.Sub(leaf.NotAfter) > e.lapse {
			return Caller{}, fmt.Errorf("certificate has expired %s, too long ago to be renewed: enrol again", stamp(leaf.NotAfter))
		}
		now = leaf.NotAfter // its chain is held to what it was then
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, root := range e.besides(e.ours.Load().callers) {
		roots.AddCert(root)
	}
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return Caller{}, err
	}
	if c.Identity, err = Identify(leaf, e.named); err != nil {
		return Caller{}, err
	}
	return c, nil
}

// Identify reads the identity from a certificate, or where it has no URI, looks up
// whose it is.
func Identify(leaf *x509.Certificate, named map[string]Identity) (Identity, error) {
	if len(leaf.URIs) > 0 || len(named) == 0 {
		return Of(leaf)
	}
	name := leaf.Subject.CommonName
	if len(leaf.DNSNames) > 1 {
		return Identity{}, errors.New("certificate: several DNS names, want one that the centre's configuration maps to an identity")
	}
	if len(leaf.DNSNames) == 1 {
		name = leaf.DNSNames[0]
	}
	id, ok := named[name]
	if !ok {
		return Identity{}, fmt.Errorf("certificate of %q: the centre's configuration maps it to no identity", clip(name))
	}
	return id, nil
}
