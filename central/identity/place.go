package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Sealer keeps a private key from whoever has the file alone. A cache/keys.Ring
// is one: what it seals with is kept by the operating system.
type Sealer interface {
	Seal(plain, ad []byte) ([]byte, error)
	Open(sealed, ad []byte) ([]byte, error)
}

// Place is where one side keeps its certificate, its key and whom it trusts. The
// key is made here, and leaves it for nowhere.
type Place struct {
	Files
	Sealer Sealer // nil: the key is kept in a file of mode 0600 as it is
}

const (
	keyBlock     = "PRIVATE KEY"
	sealedBlock  = "SAFEGUARD SEALED PRIVATE KEY"
	asideSuffix  = ".new"
	pendingNamed = ".pending" // of the key for which a certificate has been asked
)

// sealedFor binds a sealed key to what it is.
var sealedFor = []byte("safeguard certificate key")

// Pending gives the key for which a certificate is to be asked. It is the one of
// last time until there is a certificate for it: who asks again, because no answer
// came, is to get what was issued, and nothing a second time.
func (p Place) Pending() (*ecdsa.PrivateKey, error) {
	path := p.Key + pendingNamed
	if text, err := os.ReadFile(path); err == nil {
		// One that can not be read, as after a cut of power, was of no use yet.
		if key, err := p.parseKey(text); err == nil {
			return key, nil
		}
	}
	key, err := NewKey()
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	text, err := p.keyText(key)
	if err != nil {
		return nil, err
	}
	for _, file := range []string{p.Key, p.Certificate, p.CA} {
		if file == "" {
			continue // a centre's trust is in its store
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return nil, fmt.Errorf("make folder: %w", err)
		}
	}
	return key, writePrivate(path, text)
}

// Install puts a chain (DER, leaf first) for the pending key in the place of what
// is there, and the trust with it. Interrupted, it has done so or it has not, once
// Mend was called.
func (p Place) Install(key *ecdsa.PrivateKey, chain [][]byte, trust []*x509.Certificate) error {
	if err := p.InstallTrust(trust); err != nil {
		return err
	}
	return p.InstallPair(key, chain)
}

// InstallPair is Install for one whose trust is kept elsewhere.
func (p Place) InstallPair(key *ecdsa.PrivateKey, chain [][]byte) error {
	if len(chain) == 0 {
		return errors.New("install certificate: none came")
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return fmt.Errorf("install certificate: %w", err)
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return errors.New("install certificate: it is for another key than was asked for")
	}
	text, err := p.keyText(key)
	if err != nil {
		return err
	}
	// The certificate lies beside before the key changes, so that there is never a
	// key without its certificate.
	if err := writeAside(p.Certificate+asideSuffix, EncodeCertificates(chain...)); err != nil {
		return err
	}
	if err := writePrivate(p.Key, text); err != nil {
		return err
	}
	if err := rename(p.Certificate+asideSuffix, p.Certificate); err != nil {
		return err
	}
	_ = os.Remove(p.Key + pendingNamed)
	return nil
}

// InstallTrust changes whom the place trusts.
func (p Place) InstallTrust(trust []*x509.Certificate) error {
	if len(trust) == 0 {
		return errors.New("install trust: it is empty")
	}
	var text []byte
	for _, c := range trust {
		text = append(text, EncodeCertificates(c.Raw)...)
	}
	if have, err := os.ReadFile(p.CA); err == nil && bytes.Equal(have, text) {
		return nil
	}
	return writePrivate(p.CA, text)
}

// Mend finishes an Install that was interrupted between key and certificate.
func (p Place) Mend() {
	if _, err := readPair(p.Files, p.Sealer); err == nil {
		return
	}
	aside := p.Files
	aside.Certificate += asideSuffix
	if _, err := readPair(aside, p.Sealer); err == nil {
		_ = rename(aside.Certificate, p.Certificate) // what is wrong is said by whoever reads next
	}
}

// Leaf is the certificate that is there, with whom it names; ok is false while
// there is none.
func (p Place) Leaf() (leaf *x509.Certificate, ok bool) {
	pair, err := readPair(p.Files, p.Sealer)
	return pair.Leaf, err == nil
}

// TrustDigest tells one set of trusted certificates from another, in whatever
// order they are: SHA-256.
func TrustDigest(trust []*x509.Certificate) []byte {
	sums := make([][]byte, len(trust))
	for i, c := range trust {
		sum := sha256.Sum256(c.Raw)
		sums[i] = sum[:]
	}
	slices.SortFunc(sums, bytes.Compare)
	sum := sha256.Sum256(bytes.Join(slices.CompactFunc(sums, bytes.Equal), nil))
	return sum[:]
}

func (p Place) keyText(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	if p.Sealer == nil {
		return pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}), nil
	}
	sealed, err := p.Sealer.Seal(der, sealedFor)
	if err != nil {
		return nil, fmt.Errorf("seal private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: sealedBlock, Bytes: sealed}), nil
}

func (p Place) parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	text, err := unseal(text, p.Sealer)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM in it")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("a key of %T, want ECDSA", key)
	}
	return ec, nil
}

// unseal gives the key's PEM as the standard library reads it. One that is not
// sealed, as another authority may have given it, is taken as it is.
func unseal(text []byte, sealer Sealer) ([]byte, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != sealedBlock {
		return text, nil
	}
	if sealer == nil {
		return nil, errors.New("it is sealed by another program's keys, want a key that is not, or that program")
	}
	der, err := sealer.Open(block.Bytes, sealedFor)
	if err != nil {
		return nil, fmt.Errorf("it was sealed by other keys, want those back, or enrol again: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}), nil
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// writePrivate replaces the file as a whole, readable by its owner only.
func writePrivate(path string, text []byte) error {
	aside := path + asideSuffix
	if err := writeAside(aside, text); err != nil {
		return err
	}
	return rename(aside, path)
}

// writeAside writes a file that is on disk when it returns.
func writeAside(path string, text []byte) (err error) {
	// A leftover could have other permissions, which writing would keep.
	_ = os.Remove(path)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	return nil
}

func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	return nil
}
