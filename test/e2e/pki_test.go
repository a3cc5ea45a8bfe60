package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/test/world"
)

// keyed is a certificate of a public key infrastructure that knows nothing of
// Safeguard, with its key.
type keyed struct {
	t   *testing.T
	own *x509.Certificate
	key *ecdsa.PrivateKey
}

// root makes the root of one.
func root(t *testing.T, name string) keyed {
	t.Helper()
	return keyed{t: t}.issues(name, intermediate, func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = -1, false })
}

// intermediate is an authority for which there is nobody below but holders.
func intermediate(c *x509.Certificate) {
	c.IsCA, c.BasicConstraintsValid, c.MaxPathLenZero, c.KeyUsage = true, true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
}

// caller is one who calls.
func caller(c *x509.Certificate) {
	c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
}

// listener is one who is called at the loopback address.
func listener(c *x509.Certificate) {
	c.KeyUsage, c.ExtKeyUsage, c.IPAddresses = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []net.IP{net.IPv4(127, 0, 0, 1)}
}

// named is one whose URI is a name of Safeguard's.
func named(uri string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		if u, err := url.Parse(uri); err == nil {
			c.URIs = []*url.URL{u}
		}
	}
}

// issues makes a certificate for the next; one of nobody's is its own.
func (k keyed) issues(name string, as ...func(*x509.Certificate)) keyed {
	k.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		k.t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		k.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	for _, change := range as {
		change(template)
	}
	by, signer := k.own, k.key
	if by == nil {
		by, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, key.Public(), signer)
	if err != nil {
		k.t.Fatal(err)
	}
	own, err := x509.ParseCertificate(der)
	if err != nil {
		k.t.Fatal(err)
	}
	return keyed{k.t, own, key}
}

// writes puts the certificate, its key, and those that lead to the root into files.
func (k keyed) writes(certificate, key string, above ...keyed) {
	k.t.Helper()
	chain := identity.EncodeCertificates(k.own.Raw)
	for _, a := range above {
		chain = append(chain, identity.EncodeCertificates(a.own.Raw)...)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		k.t.Fatal(err)
	}
	for file, text := range map[string][]byte{certificate: chain, key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})} {
		if file == "" {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			k.t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			k.t.Fatal(err)
		}
	}
}

// foreign is a world whose centre has no authority of its own, and trusts no
// development one.
func foreign(t *testing.T, clientsCA string) life {
	t.Helper()
	w, err := world.New(t.Context(), t.TempDir(), programs)
	t.Cleanup(func() { finish(t, w) })
	if err != nil {
		t.Fatal(err)
	}
	for _, begun := range []string{"central", "keys"} {
		if err := os.RemoveAll(w.Path(begun)); err != nil {
			t.Fatal(err)
		}
	}
	l := life{t, w}
	l.config("central.yaml", "  clients_ca: certificates/ca.pem\n", clientsCA)
	l.config("central.yaml", "certificates/centre", "centre/centre")
	return l
}

// refused wants a command of the centre's program to fail, and to say why.
func (l life) refused(why string, args ...string) {
	l.Helper()
	if out, err := l.World.Run(l.Context(), "safeguard-central", args...); err == nil || !strings.Contains(err.Error(), why) {
		l.Errorf("%v: %v, want it to say %q\n%s", args, err, why, out)
	}
}

// read reads the certificates in a file.
func (l life) read(file ...string) []*x509.Certificate {
	l.Helper()
	text, err := os.ReadFile(l.Path(file...))
	if err != nil {
		l.Fatal(err)
	}
	all, err := identity.DecodeCertificates(text)
	if err != nil || len(all) == 0 {
		l.Fatalf("%v: %d certificates, %v", file, len(all), err)
	}
	return all
}

// logs waits for a program to log something.
func (l life) logs(program, line string) {
	l.Helper()
	l.until(program+" logs "+line, func() bool {
		text, err := os.ReadFile(l.Path(program + ".log"))
		return err == nil && strings.Contains(string(text), line)
	})
}

// asAuthority are the flags of a local authority's system with a certificate.
func (l life) asAuthority(certificate, key, ca string) []string {
	return []string{l.Path("flags.csv"), "--server", l.Central, "--cert", certificate, "--key", key, "--ca", ca}
}

// TestAnIntermediateOfANationalPKI has the centre issue from an intermediate that a
// national authority has given it: those whom it enrols lead to that root, and
// nobody comes in whom another intermediate of the root has given the same name.
func TestAnIntermediateOfANationalPKI(t *testing.T) {
	l := foreign(t, "")
	national, elsewhere := root(t, "A national root"), root(t, "Another root")
	ours := national.issues("Safeguard issuing authority", intermediate)
	at := func(name string) string { return l.Path("pki", name) }
	national.writes(at("root.pem"), "")
	elsewhere.writes(at("elsewhere.pem"), "")
	ours.writes(at("ours.pem"), at("ours-key.pem"))
	take := func(certificate, key, root string) []string {
		return []string{"ca", "import", "--certificate", at(certificate), "--key", at(key), "--root", at(root)}
	}

	// What could not work is refused, before anybody relies on it.
	national.issues("A holder", caller).writes(at("holder.pem"), at("holder-key.pem"))
	national.issues("For mail only", intermediate, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection} }).writes(at("mail.pem"), at("mail-key.pem"))
	national.issues("Held to other names", intermediate, func(c *x509.Certificate) { c.PermittedURIDomains = []string{"nhs.example"} }).writes(at("names.pem"), at("names-key.pem"))
	below := ours.issues("One step too many", intermediate)
	below.writes(at("below.pem"), at("below-key.pem"), ours)
	national.issues("Expired", intermediate, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }).writes(at("expired.pem"), at("expired-key.pem"))
	if err := os.WriteFile(at("sec1-key.pem"), []byte("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		why                    string
		certificate, key, root string
	}{
		{"it is not that of the authority's certificate", "ours.pem", "holder-key.pem", "root.pem"},
		{"its certificate may not issue others", "holder.pem", "holder-key.pem", "root.pem"},
		{"does not lead to root", "ours.pem", "ours-key.pem", "elsewhere.pem"},
		{"incompatible key usage", "mail.pem", "mail-key.pem", "root.pem"},
		{"not permitted", "names.pem", "names-key.pem", "root.pem"},
		{"too many intermediates", "below.pem", "below-key.pem", "root.pem"},
		{"expired", "expired.pem", "expired-key.pem", "root.pem"},
		{"openssl pkcs8 -topk8", "ours.pem", "sec1-key.pem", "root.pem"},
		{"no such file", "ours.pem", "none.pem", "root.pem"},
	} {
		l.refused(c.why, append(take(c.certificate, c.key, c.root), "--config", l.Path("central.yaml"))...)
	}

	// It issues, for the centre itself too, and whoever is enrolled leads to the root.
	l.central(take("ours.pem", "ours-key.pem", "root.pem")...)
	l.central("ca", "centre", "--host", "127.0.0.1")
	if err := l.StartCentral(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.uploads()
	if err := l.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.works("P1")
	chain := l.read("agent", "central.pem")
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(national.own)
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("the agent's certificate does not lead to the national root: %v", err)
	}
	if trusted := l.read("agent", "central-ca.pem"); len(trusted) != 1 || !trusted[0].Equal(national.own) {
		t.Errorf("the agent trusts %d authorities, want the national root alone", len(trusted))
	}

	// Another intermediate of the root may issue what it likes.
	other := national.issues("Another issuing authority", intermediate)
	other.issues("x", caller, named("spiffe://safeguard/authority/906/main")).writes(at("forged.pem"), at("forged-key.pem"), other)
	l.refused("signed by unknown authority", append([]string{"upload"}, l.asAuthority(at("forged.pem"), at("forged-key.pem"), at("root.pem"))...)...)
	l.logs("safeguard-central", "signed by unknown authority")
}

// TestCertificatesOfAnotherAuthority has a centre that issues none: whoever calls is
// who certificates.named says, and nobody enrols.
func TestCertificatesOfAnotherAuthority(t *testing.T) {
	l := foreign(t, "  clients_ca: pki/root.pem\n")
	l.config("central.yaml", "production_checks:", `certificates:
  named:
    - {name: ed1.ashmere.example, is: "spiffe://safeguard/agent/RX1/ed1"}
    - {name: Ashmere Council system, is: "spiffe://safeguard/authority/906/main"}
production_checks:`)
	national, elsewhere := root(t, "A national root"), root(t, "Another root")
	issuing := national.issues("A national issuing authority", intermediate)
	at := func(name string) string { return l.Path("pki", name) }
	national.writes(at("root.pem"), "")
	issuing.issues("safeguard.example", listener).writes(l.Path("centre", "centre.pem"), l.Path("centre", "centre-key.pem"), issuing)
	if err := l.StartCentral(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.refused("issues no certificates", "enrol", "token", "--organisation", "RX1", "--site", "RX101", "--address", l.Central, "--config", l.Path("central.yaml"))

	issuing.issues("Ashmere Council system", caller).writes(at("906.pem"), at("906-key.pem"), issuing)
	if out, err := l.World.Run(t.Context(), "safeguard-central", append([]string{"upload"}, l.asAuthority(at("906.pem"), at("906-key.pem"), at("root.pem"))...)...); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	host := func(c *x509.Certificate) { c.DNSNames = []string{"ed1.ashmere.example"} }
	ed1 := issuing.issues("anything", caller, host)
	ed1.writes(l.Path("agent", "central.pem"), l.Path("agent", "central-key.pem"), issuing)
	national.writes(l.Path("agent", "central-ca.pem"), "")
	if err := l.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.works("N1")
	if o := seen(t, l.World); len(o.Agents) != 1 || o.Agents[0].Key.String() != "RX1/ed1" {
		t.Errorf("the fleet has %+v", o.Agents)
	}
	if trusted := l.read("agent", "central-ca.pem"); len(trusted) != 1 || !trusted[0].Equal(national.own) {
		t.Error("the agent's trust was changed, which is not the centre's to say")
	}
	l.central("fleet", "command", "RX1/ed1", "check", "--wait", "90s")

	for name, c := range map[string]struct {
		keyed
		above []keyed
		why   string
	}{
		"a name that nobody has":   {issuing.issues("Another system", caller), []keyed{issuing}, "the centre's configuration maps it to no identity"},
		"several names":            {issuing.issues("Ashmere Council system", caller, func(c *x509.Certificate) { c.DNSNames = []string{"a.example", "b.example"} }), []keyed{issuing}, "several DNS names"},
		"another authority's":      {elsewhere.issues("Ashmere Council system", caller), nil, "signed by unknown authority"},
		"a listener's":             {issuing.issues("Ashmere Council system", listener), []keyed{issuing}, "incompatible key usage"},
		"without what is above it": {issuing.issues("Ashmere Council system", caller), nil, "signed by unknown authority"},
	} {
		c.writes(at("wrong.pem"), at("wrong-key.pem"), c.above...)
		t.Log(name)
		l.refused(c.why, append([]string{"upload"}, l.asAuthority(at("wrong.pem"), at("wrong-key.pem"), at("root.pem"))...)...)
		l.logs("safeguard-central", c.why)
	}

	// Its end is the centre's to say, and its successor is taken up while the agent runs.
	l.central("certificate", "revoke", "--file", l.Path("agent", "central.pem"), "--reason", "server stolen")
	l.logs("safeguard-agent", "server stolen")
	issuing.issues("anything", caller, host).writes(l.Path("agent", "central.pem"), l.Path("agent", "central-key.pem"), issuing)
	l.works("N2")
	if text, err := os.ReadFile(l.Path("safeguard-agent.log")); err != nil || strings.Contains(string(text), "tells to trust others") {
		t.Errorf("the agent was told whom to trust: %v", err)
	}
}
