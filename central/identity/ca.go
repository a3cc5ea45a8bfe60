package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// CA issues certificates, one identity each. One that NewCA makes is ECDSA on
// P-256; another may be of any kind that the standard library signs with.
type CA struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// Pair is a certificate with its private key, both PEM.
type Pair struct {
	Certificate []byte
	Key         []byte // PKCS #8
}

// NewCA makes an authority whose own certificate is valid for the given time.
func NewCA(name string, from, until time.Time) (*CA, Pair, error) {
	key, err := NewKey()
	if err != nil {
		return nil, Pair{}, fmt.Errorf("make the authority's key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             from,
		NotAfter:              until,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, Pair{}, fmt.Errorf("make the authority's certificate: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, Pair{}, fmt.Errorf("make the authority's certificate: %w", err)
	}
	pair, err := encode(der, key)
	return &CA{certificate, key}, pair, err
}

// OpenCA is the authority with the certificate and key (PKCS #8, DER).
func OpenCA(certificate *x509.Certificate, pkcs8 []byte) (*CA, error) {
	key, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return nil, fmt.Errorf("authority's key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("authority's key: %T, want one that signs", key)
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(certificate.PublicKey) {
		return nil, errors.New("authority's key: it is not that of the authority's certificate")
	}
	if !certificate.IsCA || certificate.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, fmt.Errorf("authority %q: its certificate may not issue others (RFC 5280, 4.2.1.3 and 4.2.1.9)", clip(certificate.Subject.CommonName))
	}
	return &CA{certificate, signer}, nil
}

// Leads tells why a certificate of the authority's would not be taken by who
// trusts the roots: because of a date, of the length of the path, or of the names
// and uses to which the authority itself is held (RFC 5280, 4.2.1.9, 4.2.1.10 and
// 4.2.1.12). host is what the centre is called by; empty where that is not known.
func (ca *CA) Leads(between, roots *x509.CertPool, host string) error {
	key, err := NewKey()
	if err != nil {
		return err
	}
	now := time.Now()
	var hosts []string
	if host != "" {
		hosts = []string{host}
	}
	code, err := safeguard.ParseODSCode("RX1")
	if err != nil {
		return err
	}
	for kind, use := range map[Kind]x509.ExtKeyUsage{Agent: x509.ExtKeyUsageClientAuth, Centre: x509.ExtKeyUsageServerAuth} {
		c, err := ca.Certify(Identity{kind, code, "trial"}, key.Public(), hosts, now.Add(-time.Minute), now.Add(time.Minute))
		if err != nil {
			return err
		}
		if _, err := c.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{use}}); err != nil {
			return fmt.Errorf("a certificate that it issues for %s: %w", c.URIs[0], err)
		}
	}
	return nil
}

// Certificate is the authority's own.
func (ca *CA) Certificate() *x509.Certificate { return ca.certificate }

// Issue makes a key and a certificate for id. A centre's certificate is for
// listening under the given hosts, names or addresses; every other one is for
// calling.
func (ca *CA) Issue(id Identity, hosts []string, from, until time.Time) (Pair, error) {
	key, err := NewKey()
	if err != nil {
		return Pair{}, fmt.Errorf("issue certificate for %s: %w", id, err)
	}
	certificate, err := ca.Certify(id, key.Public(), hosts, from, until)
	if err != nil {
		return Pair{}, err
	}
	return encode(certificate.Raw, key)
}

// Certify is Issue for a key that someone else keeps. What stands in the
// certificate is decided here alone (profile of RFC 5280). It never outlives the
// authority's own.
func (ca *CA) Certify(id Identity, key crypto.PublicKey, hosts []string, from, until time.Time) (*x509.Certificate, error) {
	if _, err := Parse(id.String()); err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	if until.After(ca.certificate.NotAfter) {
		until = ca.certificate.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               id.subject(),
		NotBefore:             from,
		NotAfter:              until,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:                  []*url.URL{id.URI()},
	}
	if id.Kind == Centre {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		for _, host := range hosts {
			if ip := net.ParseIP(host); ip != nil {
				template.IPAddresses = append(template.IPAddresses, ip)
			} else {
				template.DNSNames = append(template.DNSNames, host)
			}
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, key, ca.key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate for %s: %w", id, err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("issue certificate for %s: %w", id, err)
	}
	return certificate, nil
}

func encode(der []byte, key *ecdsa.PrivateKey) (Pair, error) {
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("encode private key: %w", err)
	}
	return Pair{
		Certificate: EncodeCertificates(der),
		Key:         pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: keyDER}),
	}, nil
}

// EncodeCertificates writes certificates (DER) as PEM, one after the other.
func EncodeCertificates(certificates ...[]byte) []byte {
	var out []byte
	for _, der := range certificates {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}

// DecodeCertificates reads every certificate of a PEM file; what else is in it is
// passed over.
func DecodeCertificates(text []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return all, nil
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
}

func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, says its documentation
	b[0] &= 0x7f           // positive, and at most 20 octets (RFC 5280, 4.1.2.2)
	return new(big.Int).SetBytes(b[:])
}
