package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
)

func authorityOf(t testing.TB) *CA {
	t.Helper()
	ca, _, err := NewCA("Test CA", time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func token(t testing.TB) Token {
	t.Helper()
	code, err := safeguard.ParseODSCode("RX1")
	if err != nil {
		t.Fatal(err)
	}
	return Token{Identity: Identity{Agent, code, "ed1"}, Site: code, Address: "central.example:7443", Others: []string{"standby.example:7443"}, Expires: time.Unix(1_800_000_000, 0).UTC(),
		Trust: []*x509.Certificate{authorityOf(t).Certificate()}, Secret: NewSecret()}
}

func TestToken(t *testing.T) {
	want := token(t)
	got, err := ParseToken("  " + want.Text() + "\r\n")
	if err != nil || got.Text() != want.Text() || len(got.Others) != 1 {
		t.Fatalf("ParseToken: %v, want the same back", err)
	}
	for _, shown := range []string{want.String(), fmt.Sprintf("%v %+v %#v %s", want, want, want, want), want.LogValue().String()} {
		if strings.Contains(shown, want.Text()[30:60]) || !strings.Contains(shown, TokenID(SecretHash(want.Secret))) {
			t.Errorf("%q tells the secret, or does not name the token", shown)
		}
	}
	nowhere := want
	nowhere.Others = []string{"standby.example"}
	text := want.Text()
	for name, broken := range map[string]string{
		"nothing": "", "another text": "hello", "cut off": text[:len(text)/2], "one character less": text[:len(text)-1],
		"a further address without a port": nowhere.Text(), "padding": text + "=", "two lines": text + "\n" + text,
	} {
		if _, err := ParseToken(broken); err == nil || strings.Contains(err.Error(), text[30:60]) {
			t.Errorf("%s: %v, want a refusal that does not quote it", name, err)
		}
	}
}

// FuzzParseToken: what ParseToken accepts, it writes back so that it reads the same.
func FuzzParseToken(f *testing.F) {
	f.Add(token(f).Text())
	f.Add(tokenPrefix)
	f.Fuzz(func(t *testing.T, text string) {
		first, err := ParseToken(text)
		if err != nil {
			return
		}
		second, err := ParseToken(first.Text())
		if err != nil || second.Text() != first.Text() {
			t.Errorf("written back it reads %v, %v", second, err)
		}
	})
}

func TestReadRequest(t *testing.T) {
	id := Identity{Agent, ods(t, "RX1"), "ed1"}
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	uri := func(s string) *url.URL { u, _ := url.Parse(s); return u }
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	small, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	request := func(r x509.CertificateRequest, key any) []byte {
		der, err := x509.CreateCertificateRequest(rand.Reader, &r, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	good, err := NewRequest(key, id)
	if err != nil {
		t.Fatal(err)
	}
	forged := append([]byte{}, good...)
	forged[len(forged)-1] ^= 1
	for _, tt := range []struct {
		name string
		der  []byte
		want string // what the error says; empty for none
	}{
		{"its own name", good, ""},
		{"nobody's name", request(x509.CertificateRequest{}, key), ""},
		{"another's URI", request(x509.CertificateRequest{URIs: []*url.URL{uri("spiffe://safeguard/agent/RX2/ed1")}}, key), "agent/RX2/ed1"},
		{"its own URI and another's", request(x509.CertificateRequest{URIs: []*url.URL{id.URI(), uri("spiffe://safeguard/centre/DEV/x")}}, key), "or nobody"},
		{"another's common name", request(x509.CertificateRequest{Subject: pkix.Name{CommonName: "centre DEV x"}}, key), "centre DEV x"},
		{"a host", request(x509.CertificateRequest{DNSNames: []string{"central.example"}}, key), "hosts"},
		{"an address", request(x509.CertificateRequest{IPAddresses: []net.IP{{127, 0, 0, 1}}}, key), "hosts"},
		{"a mail address", request(x509.CertificateRequest{EmailAddresses: []string{"a@b.example"}}, key), "mail"},
		{"an RSA key", request(x509.CertificateRequest{}, weak), "ECDSA"},
		{"a small curve", request(x509.CertificateRequest{}, small), "P-256"},
		{"another's signature", forged, "signature"},
		{"garbage", []byte("hello"), "PKCS #10"},
		{"nothing", nil, "PKCS #10"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ReadRequest(tt.der, id)
			if tt.want == "" {
				if err != nil || !key.PublicKey.Equal(got) {
					t.Errorf("%v, want the key", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one that says %q", err, tt.want)
			}
		})
	}
}

// What stands in a certificate is the issuer's decision alone, and it never outlives
// its issuer.
func TestCertify(t *testing.T) {
	ca := authorityOf(t)
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	c, err := ca.Certify(Identity{Agent, ods(t, "RX1"), "ed1"}, key.Public(), []string{"central.example"}, time.Now(), time.Now().AddDate(5, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	if c.IsCA || len(c.DNSNames) != 0 || c.KeyUsage != x509.KeyUsageDigitalSignature || len(c.ExtKeyUsage) != 1 || c.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
		t.Errorf("a caller's certificate is for %v %v %v, want calling only", c.DNSNames, c.KeyUsage, c.ExtKeyUsage)
	}
	if c.NotAfter.After(ca.Certificate().NotAfter) {
		t.Errorf("until %v, its issuer until %v", c.NotAfter, ca.Certificate().NotAfter)
	}
	if due := Due(c); due.Before(c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore)*2/3)) || due.After(c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore)*3/4)) {
		t.Errorf("due %v of %v to %v", due, c.NotBefore, c.NotAfter)
	}
	if _, err := OpenCA(c, nil); err == nil {
		t.Error("opened an authority without a key")
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCA(c, der); err == nil || !strings.Contains(err.Error(), "may not issue") {
		t.Errorf("a caller's certificate as authority: %v", err)
	}
	if _, err := OpenCA(ca.Certificate(), der); err == nil || !strings.Contains(err.Error(), "not that of") {
		t.Errorf("another's key: %v", err)
	}
}

// reversing is a Sealer whose work a test can see.
type reversing struct{ wrong bool }

func (r reversing) Seal(plain, ad []byte) ([]byte, error) {
	out := append([]byte("sealed:"+string(ad)+":"), plain...)
	for i := range out {
		out[i] ^= 0x55
	}
	return out, nil
}

func (r reversing) Open(sealed, ad []byte) ([]byte, error) {
	out := append([]byte{}, sealed...)
	for i := range out {
		out[i] ^= 0x55
	}
	plain, ok := strings.CutPrefix(string(out), "sealed:"+string(ad)+":")
	if !ok || r.wrong {
		return nil, errors.New("refused")
	}
	return []byte(plain), nil
}

func TestPlace(t *testing.T) {
	ca, dir := authorityOf(t), t.TempDir()
	p := Place{Files: Files{filepath.Join(dir, "a", "own.pem"), filepath.Join(dir, "b", "own-key.pem"), filepath.Join(dir, "c", "ca.pem")}, Sealer: reversing{}}
	id := Identity{Agent, ods(t, "RX1"), "ed1"}
	install := func() *x509.Certificate {
		t.Helper()
		key, err := p.Pending()
		if err != nil {
			t.Fatal(err)
		}
		again, err := p.Pending()
		if err != nil || !again.Equal(key) {
			t.Fatalf("asked again it is another key, %v", err)
		}
		c, err := ca.Certify(id, key.Public(), nil, time.Now().Add(-time.Minute), time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Install(key, [][]byte{c.Raw}, []*x509.Certificate{ca.Certificate()}); err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := install()
	own, err := OpenOwn(p, Agent)
	if err != nil || !own.Leaf().Equal(first) {
		t.Fatalf("OpenOwn: %v", err)
	}
	text, err := os.ReadFile(p.Key)
	if err != nil || !strings.Contains(string(text), "SEALED") {
		t.Errorf("the key's file begins %q, %v, want it sealed", text[:min(40, len(text))], err)
	}
	for name, sealer := range map[string]Sealer{"no keys": nil, "other keys": reversing{wrong: true}} {
		if _, err := OpenOwn(Place{p.Files, sealer}, Agent); err == nil || !strings.Contains(err.Error(), "sealed") {
			t.Errorf("%s: %v, want a refusal that says it is sealed", name, err)
		}
	}
	oldCertificate, err := os.ReadFile(p.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	second := install()
	own.Again()
	if !own.Leaf().Equal(second) {
		t.Error("the first certificate is still in use")
	}

	// Power was lost between key and certificate.
	newCertificate, err := os.ReadFile(p.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string][]byte{p.Certificate: oldCertificate, p.Certificate + asideSuffix: newCertificate} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := p.Leaf(); ok {
		t.Fatal("the old certificate fits the new key")
	}
	if own, err = OpenOwn(p, Agent); err != nil || !own.Leaf().Equal(second) {
		t.Errorf("after the interruption: %v, want the new certificate", err)
	}

	// A certificate for a key that nobody here has is not put anywhere.
	other, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Install(other, [][]byte{second.Raw}, []*x509.Certificate{ca.Certificate()}); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("another's certificate: %v", err)
	}
	if err := p.InstallTrust(nil); err == nil {
		t.Error("trusts nobody")
	}
}

// An expired certificate is let in for as long as it may be renewed, and told apart.
func TestEntrance(t *testing.T) {
	dir := development(t)
	ca, _, err := developmentCA(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	agent := Identity{Agent, ods(t, "RX1"), "a1"}
	entrance, err := ServerTLS(files(dir, "centre"), Named(map[string]Identity{"ed.ashmere.example": agent, "Ashmere ED": agent}))
	if err != nil {
		t.Fatal(err)
	}
	entrance.Lapse(time.Hour)
	issue := func(id Identity, from, until time.Duration) *x509.Certificate {
		t.Helper()
		c, err := ca.Certify(id, key.Public(), []string{"localhost"}, time.Now().Add(from), time.Now().Add(until))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	foreign := func(name string, hosts ...string) *x509.Certificate {
		t.Helper()
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, DNSNames: hosts, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}, ca.certificate, key.Public(), ca.key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	stranger, err := authorityOf(t).Certify(agent, key.Public(), nil, time.Now().Add(-time.Minute), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		leaf   *x509.Certificate
		lapsed bool
		want   string // what the error says; empty for none
	}{
		{"good", issue(agent, -time.Hour, time.Hour), false, ""},
		{"expired a minute ago", issue(agent, -time.Hour, -time.Minute), true, ""},
		{"expired too long ago", issue(agent, -3*time.Hour, -2*time.Hour), false, "enrol again"},
		{"not valid yet", issue(agent, time.Hour, 2*time.Hour), false, "not yet valid"},
		{"the centre's own", issue(Identity{Centre, ods(t, "DEV"), "x"}, -time.Hour, time.Hour), false, "incompatible key usage"},
		{"of another authority", stranger, false, "unknown authority"},
		{"named by its host", foreign("whatever", "ed.ashmere.example"), false, ""},
		{"named by its common name", foreign("Ashmere ED"), false, ""},
		{"a host that nobody has named", foreign("Ashmere ED", "elsewhere.example"), false, "maps it to no identity"},
		{"several hosts", foreign("Ashmere ED", "ed.ashmere.example", "elsewhere.example"), false, "several DNS names"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := entrance.Caller(tls.ConnectionState{PeerCertificates: []*x509.Certificate{tt.leaf}})
			if tt.want == "" {
				if err != nil || c.Identity != agent || c.Lapsed != tt.lapsed {
					t.Errorf("%v lapsed %v, %v", c.Identity, c.Lapsed, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one that says %q", err, tt.want)
			}
		})
	}
	if c, err := entrance.Caller(tls.ConnectionState{}); err != nil || c.Certificate != nil || c.Kind != NoKind {
		t.Errorf("nobody: %v %v", c, err)
	}
}
