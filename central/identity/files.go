package identity

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// material is what was in the files, ready to use.
type material struct {
	certificate *tls.Certificate
	trusted     []*x509.Certificate
	roots       *x509.CertPool // of trusted
}

// watched keeps the material of files and reads it anew when one of them has
// changed, at most once a second.
type watched struct {
	files   Files
	want    Kind
	sealer  Sealer // nil where no key is sealed
	lenient bool   // a certificate that is not valid any more, or not yet, is used all the same

	mu      sync.Mutex // guards the fields below
	last    material
	marks   [3]mark
	checked time.Time
}

// mark tells one state of a file from another.
type mark struct {
	size    int64
	changed time.Time
}

func open(files Files, want Kind, sealer Sealer, lenient bool) (*watched, error) {
	w := &watched{files: files, want: want, sealer: sealer, lenient: lenient, marks: marks(files), checked: time.Now()}
	var err error
	w.last, err = w.read()
	return w, err
}

// current gives the material of now. While changed files can not be read, what
// was read before stays in use: a renewal caught half way must not end service.
func (w *watched) current() (material, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.checked) >= time.Second {
		w.checked = time.Now()
		if now := marks(w.files); now != w.marks {
			if m, err := w.read(); err == nil {
				w.last, w.marks = m, now
			}
		}
	}
	if leaf := w.last.certificate.Leaf; !w.lenient && time.Now().After(leaf.NotAfter) {
		return material{}, expired(w.files.Certificate, leaf)
	}
	return w.last, nil
}

// again has the files read at the next use, however soon that is.
func (w *watched) again() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.checked, w.marks = time.Time{}, [3]mark{}
}

func marks(files Files) (m [3]mark) {
	for i, path := range []string{files.Certificate, files.Key, files.CA} {
		if info, err := os.Stat(path); err == nil {
			m[i] = mark{info.Size(), info.ModTime()}
		}
	}
	return m
}

// read loads the files and says of the first that is wrong what is wrong and what
// would be right.
func (w *watched) read() (material, error) {
	files := w.files
	pair, err := readPair(files, w.sealer)
	if err != nil {
		return material{}, err
	}
	leaf, now := pair.Leaf, time.Now()
	switch {
	case w.lenient:
	case now.After(leaf.NotAfter):
		return material{}, expired(files.Certificate, leaf)
	case now.Before(leaf.NotBefore):
		return material{}, fmt.Errorf("certificate %s: valid only from %s, want one valid now; is this machine's clock right?",
			files.Certificate, stamp(leaf.NotBefore))
	}
	if len(leaf.URIs) > 0 { // else another authority has issued it, under names of its own
		id, err := Of(leaf)
		if err != nil {
			return material{}, fmt.Errorf("certificate %s: %w", files.Certificate, err)
		}
		if id.Kind != w.want {
			return material{}, fmt.Errorf("certificate %s: issued to %s, want one of kind %s", files.Certificate, id, w.want)
		}
	}
	m := material{certificate: &pair, roots: x509.NewCertPool()}
	if files.CA == "" && w.want == Centre {
		return m, nil // whom it trusts is in its store
	}
	if m.trusted, err = readTrust(files.CA); err != nil {
		return material{}, err
	}
	for _, c := range m.trusted {
		m.roots.AddCert(c)
	}
	return m, nil
}

// readPair reads the certificate with its key, which may be sealed.
func readPair(files Files, sealer Sealer) (tls.Certificate, error) {
	certPEM, err := readPEM("certificate", files.Certificate)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyPEM, err := readPEM("key", files.Key)
	if err != nil {
		return tls.Certificate{}, err
	}
	if keyPEM, err = unseal(keyPEM, sealer); err != nil {
		return tls.Certificate{}, fmt.Errorf("key %s: %w", files.Key, err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate %s with key %s: %w, want a pair that was issued together", files.Certificate, files.Key, err)
	}
	if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate %s: %w", files.Certificate, err)
	}
	return pair, nil
}

func readTrust(path string) ([]*x509.Certificate, error) {
	text, err := readPEM("CA certificate", path)
	if err != nil {
		return nil, err
	}
	trusted, err := DecodeCertificates(text)
	if err != nil {
		return nil, fmt.Errorf("CA certificate %s: %w", path, err)
	}
	if len(trusted) == 0 {
		return nil, fmt.Errorf("CA certificate %s: holds no certificate, want the PEM of the authority that both sides trust", path)
	}
	return trusted, nil
}

func expired(path string, leaf *x509.Certificate) error {
	return fmt.Errorf("certificate %s: expired %s, want one valid now; renew it", path, stamp(leaf.NotAfter))
}

func readPEM(what, path string) ([]byte, error) {
	if path == "" {
		return nil, fmt.Errorf("%s: no file named, want the path of a PEM file", what)
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s %s: no such file, want a PEM file such as enrolling writes, or 'safeguard-central dev-ca' for development", what, path)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if block, _ := pem.Decode(text); block == nil {
		return nil, fmt.Errorf("%s %s: no PEM in it, want a file with -----BEGIN", what, path)
	}
	return text, nil
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
