package central

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/store"
)

// Enrolling is what a token is to be made for.
type Enrolling struct {
	Identity  identity.Identity
	Site      safeguard.ODSCode // that an agent serves
	Life      time.Duration
	Addresses []string // host:port that the caller dials, one after the other; none for the configuration's
}

// MakeToken makes an enrolment token for someone who is in the directory, and
// writes it to out. It is nowhere else.
func (o Operator) MakeToken(ctx context.Context, e Enrolling, out io.Writer) error {
	if _, err := identity.Parse(e.Identity.String()); err != nil {
		return err
	}
	if e.Life <= 0 || e.Life > 30*24*time.Hour {
		return fmt.Errorf("life of the token: %v, want at most 720h, such as 72h", e.Life)
	}
	if len(e.Addresses) == 0 {
		e.Addresses = append([]string{o.Config.PublicAddress}, o.Config.PublicOthers...)
	}
	for _, address := range e.Addresses {
		if !isHostPort(address) {
			return fmt.Errorf("address: %q, want host:port that callers dial: set public_address, or say --address", address)
		}
	}
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		if err := inDirectory(ctx, s, e); err != nil {
			return err
		}
		issuers, err := s.Issuers(ctx)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(issuers, func(i store.Issuer) bool { return i.State == store.IssuerIssuing }) {
			return errors.New("the centre issues no certificates: 'safeguard-central ca init' makes its authority; else who is to call gets theirs where they are issued")
		}
		// A standby may listen with a certificate of its own, which is not here to see.
		host, _, _ := net.SplitHostPort(e.Addresses[0])
		trust, err := o.tokenTrust(ctx, s, host)
		if err != nil {
			return err
		}
		now := time.Now()
		t := identity.Token{Identity: e.Identity, Site: e.Site, Address: e.Addresses[0], Others: e.Addresses[1:], Expires: now.Add(e.Life).Truncate(time.Second), Trust: trust, Secret: identity.NewSecret()}
		kept := store.EnrolToken{Hash: identity.SecretHash(t.Secret), Identity: t.Identity, Site: t.Site, Made: now, Expires: t.Expires}
		if err := s.PutToken(ctx, kept, by); err != nil {
			return err
		}
		_, err = fmt.Fprintln(out, t.Text())
		return err
	})
}

// inDirectory refuses to enrol whom nobody has registered.
func inDirectory(ctx context.Context, s store.Store, e Enrolling) error {
	d, err := s.Directory(ctx, 0)
	if err != nil {
		return err
	}
	switch e.Identity.Kind {
	case identity.Agent:
		if !slices.ContainsFunc(d.Sites, func(site store.Site) bool {
			return site.Organisation == e.Identity.Code && site.Code == e.Site
		}) {
			return fmt.Errorf("site %s %s is not registered: do 'safeguard-central site add' first", e.Identity.Code, e.Site)
		}
	case identity.Authority:
		if _, ok := d.Authority(e.Identity.Code); !ok {
			return fmt.Errorf("local authority %s is not registered: do 'safeguard-central authority add' first", e.Identity.Code)
		}
	case identity.Operator:
	default:
		return fmt.Errorf("a token for kind %s: want an agent, an authority's system or an operator", e.Identity.Kind)
	}
	return nil
}

// tokenTrust is the authority by which a token's holder knows the centre: of those
// that the centre trusts, the ones that lead to its certificate under that host.
func (o Operator) tokenTrust(ctx context.Context, s store.Store, host string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(o.Config.TLS.Certificate)
	if err != nil {
		return nil, fmt.Errorf("the centre's certificate: %w: make it with 'safeguard-central ca centre'", err)
	}
	chain, err := identity.DecodeCertificates(text)
	if err != nil || len(chain) == 0 {
		return nil, fmt.Errorf("the centre's certificate %s: no certificate in it", o.Config.TLS.Certificate)
	}
	if err := chain[0].VerifyHostname(host); err != nil {
		return nil, fmt.Errorf("the centre's certificate %s is not for the address that the token would name: %w", o.Config.TLS.Certificate, err)
	}
	known, err := o.trusted(ctx, s)
	if err != nil {
		return nil, err
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	var trust []*x509.Certificate
	for _, root := range known {
		roots := x509.NewCertPool()
		roots.AddCert(root)
		if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between}); err == nil {
			trust = append(trust, root)
		}
	}
	if len(trust) == 0 {
		return nil, fmt.Errorf("the centre's certificate %s is of no authority in tls.clients_ca or of 'safeguard-central ca show': add its authority to tls.clients_ca", o.Config.TLS.Certificate)
	}
	return trust, nil
}

// trusted are all authorities that the centre trusts.
func (o Operator) trusted(ctx context.Context, s store.Store) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	if o.Config.TLS.ClientsCA != "" {
		text, err := os.ReadFile(o.Config.TLS.ClientsCA)
		if err != nil {
			return nil, fmt.Errorf("tls.clients_ca: %w", err)
		}
		if all, err = identity.DecodeCertificates(text); err != nil {
			return nil, fmt.Errorf("tls.clients_ca: %w", err)
		}
	}
	issuers, err := s.Issuers(ctx)
	if err != nil {
		return nil, err
	}
	for _, i := range issuers {
		if i.State == store.IssuerEnded {
			continue
		}
		root, err := identity.DecodeCertificates(i.Root)
		if err != nil {
			return nil, fmt.Errorf("issuer %s: %w", i.ID, err)
		}
		for _, c := range root {
			if !slices.ContainsFunc(all, c.Equal) {
				all = append(all, c)
			}
		}
	}
	return all, nil
}

// shownToken is a token as JSON shows it.
type shownToken struct {
	ID       string    `json:"id"`
	Identity string    `json:"identity"`
	Site     string    `json:"site,omitempty"`
	State    string    `json:"state"`
	Made     time.Time `json:"made"`
	By       string    `json:"by"`
	Expires  time.Time `json:"expires"`
	Used     time.Time `json:"used,omitzero"`
	Serial   string    `json:"serial,omitempty"`
}

// ListTokens lists the enrolment tokens, without what is secret of them.
func (o Operator) ListTokens(ctx context.Context, asJSON bool, out io.Writer) error {
	return o.with(ctx, func(s store.Store, _ audit.Who) error {
		all, err := s.Tokens(ctx)
		if err != nil {
			return err
		}
		shown := []shownToken{}
		for _, t := range all {
			state := "open"
			switch {
			case !t.Withdrawn.IsZero():
				state = "withdrawn"
			case !t.Used.IsZero():
				state = "used"
			case time.Now().After(t.Expires):
				state = "expired"
			}
			shown = append(shown, shownToken{identity.TokenID(t.Hash), t.Identity.String(), t.Site.String(), state, t.Made, t.By, t.Expires, t.Used, t.Serial})
		}
		if asJSON {
			return writeJSON(out, shown)
		}
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "TOKEN\tFOR\tSITE\tSTATE\tEXPIRES")
		for _, t := range shown {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", t.ID, t.Identity, t.Site, t.State, t.Expires.Format(time.RFC3339))
		}
		return w.Flush()
	})
}

// WithdrawToken ends a token that is not used.
func (o Operator) WithdrawToken(ctx context.Context, id string) error {
	return o.with(ctx, func(s store.Store, by audit.Who) error { return s.WithdrawToken(ctx, id, by) })
}

// shownCertificate is a certificate as JSON shows it.
type shownCertificate struct {
	Serial     string    `json:"serial"`
	Identity   string    `json:"identity"`
	Site       string    `json:"site,omitempty"`
	State      string    `json:"state"` // valid, not used yet, expired, replaced, revoked
	How        string    `json:"how"`
	Issued     time.Time `json:"issued"`
	Until      time.Time `json:"until"`
	Replaces   string    `json:"replaces,omitempty"`
	Revoked    time.Time `json:"revoked,omitzero"`
	RevokedBy  string    `json:"revoked_by,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	TrustsLike string    `json:"trusts,omitempty"` // digest of whom its holder trusts
}

func showCertificate(c store.Certificate) shownCertificate {
	state := "valid"
	switch {
	case c.Superseded:
		state = "replaced"
	case !c.At.IsZero():
		state = "revoked"
	case time.Now().After(c.NotAfter):
		state = "expired"
	case c.Confirmed.IsZero():
		state = "not used yet"
	}
	return shownCertificate{c.Serial, c.Identity.String(), c.Site.String(), state, c.How, c.Issued, c.NotAfter, c.Replaces, c.At, c.By, c.Reason, hex.EncodeToString(c.Trust)}
}

// ListCertificates lists those that are good, or all.
func (o Operator) ListCertificates(ctx context.Context, of string, all, asJSON bool, out io.Writer) error {
	return o.with(ctx, func(s store.Store, _ audit.Who) error {
		list, err := s.Certificates(ctx, store.CertificateFilter{Identity: of, Current: !all})
		if err != nil {
			return err
		}
		shown := []shownCertificate{}
		for _, c := range list {
			shown = append(shown, showCertificate(c))
		}
		return writeCertificates(shown, asJSON, out)
	})
}

func writeCertificates(shown []shownCertificate, asJSON bool, out io.Writer) error {
	if asJSON {
		return writeJSON(out, shown)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERIAL\tOF\tSTATE\tUNTIL\tHOW")
	for _, c := range shown {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", c.Serial, c.Identity, c.State, c.Until.Format(time.RFC3339), c.How)
	}
	return w.Flush()
}

// ErrNoCertificate says that there is none to revoke.
var ErrNoCertificate = errors.New("no such certificate, or it is revoked already")

// Revoking says what is to be revoked: one of the three.
type Revoking struct {
	Serial   string
	Identity string // all of it
	File     string // PEM, of a certificate that another authority has issued
	Reason   string
}

// Revoke ends certificates: within seconds no centre on the store takes them any
// more, and connections made with them are ended.
func (o Operator) Revoke(ctx context.Context, r Revoking, asJSON bool, out io.Writer) error {
	if strings.TrimSpace(r.Reason) == "" {
		return errors.New("reason: want one, for the audit and for the holder, who is shown it")
	}
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		if r.File != "" {
			serial, err := o.keepForeign(ctx, s, r.File, by)
			if err != nil {
				return err
			}
			r.Serial = serial
		}
		revoked, err := s.RevokeCertificates(ctx, strings.ToLower(r.Serial), r.Identity, store.Revocation{At: time.Now(), By: by.Caller, Reason: r.Reason})
		if err != nil {
			return err
		}
		if len(revoked) == 0 {
			return ErrNoCertificate
		}
		shown := []shownCertificate{}
		for _, c := range revoked {
			shown = append(shown, showCertificate(c))
		}
		return writeCertificates(shown, asJSON, out)
	})
}

// keepForeign takes a certificate in that another authority has issued, so that it
// can be revoked here.
func (o Operator) keepForeign(ctx context.Context, s store.Store, path string, by audit.Who) (serial string, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("certificate: %w", err)
	}
	chain, err := identity.DecodeCertificates(text)
	if err != nil || len(chain) == 0 {
		return "", fmt.Errorf("certificate %s: no certificate in it", path)
	}
	c := chain[0]
	id, err := identity.Identify(c, o.Config.Certificates.named())
	if err != nil {
		return "", err
	}
	keyID, err := identity.KeyID(c.PublicKey)
	if err != nil {
		return "", err
	}
	name := store.NameOf(c)
	have, err := s.Certificates(ctx, store.CertificateFilter{Identity: id.String()})
	if err != nil || slices.ContainsFunc(have, func(h store.Certificate) bool { return h.CertificateName == name }) {
		return name.Serial, err
	}
	now := time.Now()
	return name.Serial, s.KeepCertificate(ctx, store.Certificate{
		CertificateName: name, Identity: id, Key: keyID, NotBefore: c.NotBefore, NotAfter: c.NotAfter, Issued: now, Confirmed: now, How: store.HowForeign,
	}, by)
}

// NewIssuer is an authority of the centre's own that is to be made.
type NewIssuer struct {
	Name  string
	Years int
}

// InitCA makes the first authority of the centre's own.
func (o Operator) InitCA(ctx context.Context, n NewIssuer, out io.Writer) error {
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		have, err := s.Issuers(ctx)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(have, func(i store.Issuer) bool { return i.State == store.IssuerIssuing }) {
			return errors.New("there is an authority that issues: 'safeguard-central ca rotate' makes the next")
		}
		return n.make(ctx, s, by, out)
	})
}

// RotateCA makes the next authority: trusted from now on, to issue once everybody
// has learnt of it.
func (o Operator) RotateCA(ctx context.Context, n NewIssuer, out io.Writer) error {
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		have, err := s.Issuers(ctx)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(have, func(i store.Issuer) bool { return i.State == store.IssuerIssuing }) {
			return errors.New("no authority issues yet: 'safeguard-central ca init' makes the first")
		}
		return n.make(ctx, s, by, out)
	})
}

func (n NewIssuer) make(ctx context.Context, s store.Store, by audit.Who, out io.Writer) error {
	if n.Years < 1 || n.Years > 30 {
		return fmt.Errorf("years: %d, want 1 to 30", n.Years)
	}
	now := time.Now()
	// Its own date tells it from those before and after it, whose keys are others.
	name := fmt.Sprintf("%s %s", n.Name, now.UTC().Format("2006-01-02T15:04:05Z"))
	ca, pair, err := identity.NewCA(name, now.Add(-5*time.Minute), now.AddDate(n.Years, 0, 0))
	if err != nil {
		return err
	}
	block, _ := pem.Decode(pair.Key)
	return putIssuer(ctx, s, ca.Certificate(), pair.Certificate, pair.Certificate, block.Bytes, by, out)
}

// Importing are the files of an intermediate authority that an existing public key
// infrastructure has issued to the centre, PEM.
type Importing struct {
	Certificate string // the intermediate, and any others that lead to the root
	Key         string // PKCS #8, not encrypted
	Root        string // what callers trust
}

// ImportCA takes an intermediate in, as InitCA or RotateCA would make one. Its key
// is sealed in the store; the file is the operator's to shred.
func (o Operator) ImportCA(ctx context.Context, i Importing, out io.Writer) error {
	chainPEM, err := os.ReadFile(i.Certificate)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	keyPEM, err := os.ReadFile(i.Key)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	rootPEM, err := os.ReadFile(i.Root)
	if err != nil {
		return fmt.Errorf("root: %w", err)
	}
	chain, err := identity.DecodeCertificates(chainPEM)
	if err != nil || len(chain) == 0 {
		return fmt.Errorf("certificate %s: no certificate in it", i.Certificate)
	}
	roots, err := identity.DecodeCertificates(rootPEM)
	if err != nil || len(roots) == 0 {
		return fmt.Errorf("root %s: no certificate in it", i.Root)
	}
	block, _ := pem.Decode(keyPEM)
	if block == nil || block.Type != "PRIVATE KEY" {
		return fmt.Errorf("key %s: want PKCS #8 in PEM, not encrypted (openssl pkcs8 -topk8 -nocrypt)", i.Key)
	}
	ca, err := identity.OpenCA(chain[0], block.Bytes)
	if err != nil {
		return err
	}
	trusted, between := x509.NewCertPool(), x509.NewCertPool()
	for _, root := range roots {
		trusted.AddCert(root)
	}
	for _, c := range chain {
		between.AddCert(c)
	}
	host, _, _ := net.SplitHostPort(o.Config.PublicAddress)
	if err := ca.Leads(between, trusted, host); err != nil {
		return fmt.Errorf("authority %s does not lead to root %s: %w", i.Certificate, i.Root, err)
	}
	var chainDER, rootDER [][]byte
	for _, c := range chain {
		chainDER = append(chainDER, c.Raw)
	}
	for _, c := range roots {
		rootDER = append(rootDER, c.Raw)
	}
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		return putIssuer(ctx, s, chain[0], identity.EncodeCertificates(chainDER...), identity.EncodeCertificates(rootDER...), block.Bytes, by, out)
	})
}

func putIssuer(ctx context.Context, s store.Store, c *x509.Certificate, chain, root, key []byte, by audit.Who, out io.Writer) error {
	keyID, err := identity.KeyID(c.PublicKey)
	if err != nil {
		return err
	}
	i := store.Issuer{ID: store.IssuerID(keyID), Chain: chain, Root: root, Key: key, Made: time.Now()}
	if err := s.PutIssuer(ctx, i, by); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: %s, until %s\n", i.ID, c.Subject.CommonName, c.NotAfter.UTC().Format(time.RFC3339))
	return err
}

// shownIssuer is an authority as JSON shows it.
type shownIssuer struct {
	ID      string    `json:"id"`
	State   string    `json:"state"`
	Name    string    `json:"name"`
	Made    time.Time `json:"made"`
	Until   time.Time `json:"until"`
	Current int       `json:"current"` // good certificates that it has issued
}

// shownCA is where a rotation stands.
type shownCA struct {
	Issuers  []shownIssuer `json:"issuers"`
	Current  int           `json:"current"`  // good certificates of callers
	Informed int           `json:"informed"` // of those, holders who trust all of these authorities
	Behind   []string      `json:"behind"`   // identities of the others
}

// ShowCA says which authorities there are, and who has learnt of them.
func (o Operator) ShowCA(ctx context.Context, asJSON bool, out io.Writer) error {
	return o.with(ctx, func(s store.Store, _ audit.Who) error {
		shown, err := o.showCA(ctx, s)
		if err != nil {
			return err
		}
		if asJSON {
			return writeJSON(out, shown)
		}
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "AUTHORITY\tSTATE\tNAME\tUNTIL\tGOOD CERTIFICATES")
		for _, i := range shown.Issuers {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\n", i.ID, i.State, i.Name, i.Until.UTC().Format(time.RFC3339), i.Current)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%d of %d holders of a good certificate trust all of these\n", shown.Informed, shown.Current)
		return err
	})
}

func (o Operator) showCA(ctx context.Context, s store.Store) (shownCA, error) {
	shown := shownCA{Issuers: []shownIssuer{}, Behind: []string{}}
	issuers, err := s.Issuers(ctx)
	if err != nil {
		return shown, err
	}
	good, err := s.Certificates(ctx, store.CertificateFilter{Current: true})
	if err != nil {
		return shown, err
	}
	trusted, err := o.trusted(ctx, s)
	if err != nil {
		return shown, err
	}
	digest := string(identity.TrustDigest(trusted))
	for _, c := range good {
		if c.Identity.Kind == identity.Centre || c.How == store.HowForeign {
			continue
		}
		shown.Current++
		if string(c.Trust) == digest {
			shown.Informed++
		} else {
			shown.Behind = append(shown.Behind, c.Identity.String())
		}
	}
	for _, i := range issuers {
		chain, err := identity.DecodeCertificates(i.Chain)
		if err != nil || len(chain) == 0 {
			return shown, fmt.Errorf("issuer %s: its chain can not be read", i.ID)
		}
		of := shownIssuer{ID: i.ID, State: string(i.State), Name: chain[0].Subject.CommonName, Made: i.Made, Until: chain[0].NotAfter}
		for _, c := range good {
			leaf, err := x509.ParseCertificate(c.DER)
			if err == nil && leaf.CheckSignatureFrom(chain[0]) == nil {
				of.Current++
			}
		}
		shown.Issuers = append(shown.Issuers, of)
	}
	return shown, nil
}

// SwitchCA lets the next authority issue. Unless forced, it does not while there are
// holders who would not know the centre any more.
func (o Operator) SwitchCA(ctx context.Context, force bool, out io.Writer) error {
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		shown, err := o.showCA(ctx, s)
		if err != nil {
			return err
		}
		if len(shown.Behind) > 0 && !force {
			return fmt.Errorf("%d of %d holders of a good certificate do not trust the next authority yet, such as %s: they learn of it within the hour they are connected; revoke those that are no more, or say --force, and they have to enrol again",
				len(shown.Behind), shown.Current, shown.Behind[0])
		}
		if err := s.SwitchIssuer(ctx, by); err != nil {
			return err
		}
		_, err = fmt.Fprintln(out, "switched: the centre renews its own certificate within the hour, and callers renew theirs as they are connected")
		return err
	})
}

// EndCA ends the trust in an authority that issues no more. Unless forced, it does
// not while good certificates of it are left.
func (o Operator) EndCA(ctx context.Context, id string, force bool, out io.Writer) error {
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		shown, err := o.showCA(ctx, s)
		if err != nil {
			return err
		}
		for _, i := range shown.Issuers {
			if i.ID == id && i.Current > 0 && !force {
				return fmt.Errorf("%d good certificates of authority %s are left: wait until they are renewed, revoke them, or say --force, and their holders have to enrol again", i.Current, id)
			}
		}
		if err := s.EndIssuer(ctx, id, by); err != nil {
			return err
		}
		_, err = fmt.Fprintln(out, "ended "+id)
		return err
	})
}

// CertifyCentre makes the certificate that the centre listens with, for the hosts,
// where the configuration has it. Its key is sealed.
func (o Operator) CertifyCentre(ctx context.Context, hosts []string, out io.Writer) (err error) {
	if len(hosts) == 0 {
		return errors.New("host: none, want the names or addresses that callers dial")
	}
	ring, err := o.Config.openKeys()
	if err != nil {
		return err
	}
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		issuers, err := s.Issuers(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(issuers, func(i store.Issuer) bool { return i.State == store.IssuerIssuing })
		if i < 0 {
			return errors.New("no authority issues yet: 'safeguard-central ca init' makes the first")
		}
		c, err := certifyCentre(ctx, s, issuers[i], identity.Place{Files: o.Config.TLS.files(), Sealer: ring}, hosts, o.Config.Certificates.Life, by)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%s: until %s; a running centre uses it at once, and renews it by itself\n", o.Config.TLS.Certificate, c.NotAfter.UTC().Format(time.RFC3339))
		return err
	})
}
