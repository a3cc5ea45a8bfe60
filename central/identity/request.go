package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/url"
	"slices"
)

// NewKey makes a private key, ECDSA on P-256.
func NewKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// NewRequest writes a certificate signing request for id (PKCS #10, RFC 2986), DER.
func NewRequest(key crypto.Signer, id Identity) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: id.subject(), URIs: []*url.URL{id.URI()}}, key)
	if err != nil {
		return nil, fmt.Errorf("write certificate request: %w", err)
	}
	return der, nil
}

// ReadRequest gives the key that a request is for. Who it will be is decided
// already: a request names id, or nobody. Everything else that it asks for is
// refused or passed over; the issuer decides.
func ReadRequest(der []byte, id Identity) (crypto.PublicKey, error) {
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, errors.New("certificate request: it can not be read, want PKCS #10")
	}
	if err := r.CheckSignature(); err != nil {
		return nil, errors.New("certificate request: its signature is not by its own key")
	}
	if name := r.Subject.CommonName; name != "" && name != id.subject().CommonName {
		return nil, fmt.Errorf("certificate request: it names %q, want %q or nobody", clip(name), id.subject().CommonName)
	}
	if len(r.DNSNames)+len(r.IPAddresses)+len(r.EmailAddresses) > 0 {
		return nil, errors.New("certificate request: it names hosts or mail addresses, want none")
	}
	if slices.ContainsFunc(r.URIs, func(u *url.URL) bool { return u.String() != id.String() }) {
		return nil, fmt.Errorf("certificate request: it names %s, want %s or nobody", clip(r.URIs[0].String()), id)
	}
	key, ok := r.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() && key.Curve != elliptic.P384() {
		return nil, errors.New("certificate request: want a key of ECDSA on P-256 or P-384")
	}
	return key, nil
}

// KeyID tells keys apart: SHA-256 of the SubjectPublicKeyInfo.
func KeyID(key crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return sum[:], nil
}

func (i Identity) subject() pkix.Name {
	return pkix.Name{CommonName: i.Kind.String() + " " + i.Code.String() + " " + i.ID}
}
