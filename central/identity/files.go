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
	roots       *x509.CertPool
}

// watched keeps the material of files and reads it anew when one of them has
// changed, at most once a second.
type watched struct {
	files Files
	want  Kind

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

func open(files Files, want Kind) (*watched, error) {
	w := &watched{files: files, want: want, marks: marks(files), checked: time.Now()}
	var err error
	w.last, err = read(files, want)
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
			if m, err := read(w.files, w.want); err == nil {
				w.last, w.marks = m, now
			}
		}
	}
	if leaf := w.last.certificate.Leaf; time.Now().After(leaf.NotAfter) {
		return material{}, expired(w.files.Certificate, leaf)
	}
	return w.last, nil
}

func marks(files Files) (m [3]mark) {
	for i, path := range []string{files.Certificate, files.Key, files.CA} {
		if info, err := os.Stat(path); err == nil {
			m[i] = mark{info.Size(), info.ModTime()}
		}
	}
	return m
}

// read loads all three files and says of the first that is wrong what is wrong
// and what would be right.
func read(files Files, want Kind) (material, error) {
	certPEM, err := readPEM("certificate", files.Certificate)
	if err != nil {
		return material{}, err
	}
	keyPEM, err := readPEM("key", files.Key)
	if err != nil {
		return material{}, err
	}
	caPEM, err := readPEM("CA certificate", files.CA)
	if err != nil {
		return material{}, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return material{}, fmt.Errorf("certificate %s with key %s: %w, want a pair that was issued together", files.Certificate, files.Key, err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return material{}, fmt.Errorf("certificate %s: %w", files.Certificate, err)
	}
	pair.Leaf = leaf
	now := time.Now()
	switch {
	case now.After(leaf.NotAfter):
		return material{}, expired(files.Certificate, leaf)
	case now.Before(leaf.NotBefore):
		return material{}, fmt.Errorf("certificate %s: valid only from %s, want one valid now; is this machine's clock right?",
			files.Certificate, stamp(leaf.NotBefore))
	}
	id, err := Of(leaf)
	if err != nil {
		return material{}, fmt.Errorf("certificate %s: %w", files.Certificate, err)
	}
	if id.Kind != want {
		return material{}, fmt.Errorf("certificate %s: issued to %s, want one of kind %s", files.Certificate, id, want)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(caPEM) {
		return material{}, fmt.Errorf("CA certificate %s: holds no certificate, want the PEM of the authority that both sides trust", files.CA)
	}
	return material{&pair, roots}, nil
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
		return nil, fmt.Errorf("%s %s: no such file, want a PEM file such as 'safeguard-central dev-ca' writes", what, path)
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
