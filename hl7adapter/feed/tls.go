package feed

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// TLS names the files of one end of a connection. They are read again when
// they change: who listens looks at each handshake, who dials at each dial.
type TLS struct {
	Cert string `yaml:"cert"` // PEM, with the intermediate certificates
	Key  string `yaml:"key"`  // PEM
	// CA is who must have signed the peer's certificate. Who listens with a
	// CA asks for client certificates, without one takes any client. Who
	// dials without a CA trusts those of the system.
	CA string `yaml:"ca"`
	// ServerName is the name that a dialled peer must prove, where it is not
	// the host of its address.
	ServerName string `yaml:"server_name"`
}

// Validate names what is missing.
func (t TLS) Validate() error {
	if (t.Cert == "") != (t.Key == "") {
		return errors.New("cert and key: one is empty, want both or none")
	}
	return nil
}

// Dialling returns what to dial host with.
func (t TLS) Dialling(host string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if c.ServerName == "" {
		c.ServerName = host
	}
	var err error
	if c.RootCAs, err = t.pool(); err != nil {
		return nil, err
	}
	if t.Cert != "" {
		cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("load certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

// Listening returns what to listen with for as long as one likes: it looks at
// the files by itself. Files that can not be used leave in force what was there
// before.
func (t TLS) Listening(log *slog.Logger) (*tls.Config, error) {
	if t.Cert == "" {
		return nil, errors.New("cert: empty, want a file")
	}
	r := &reloading{files: t, log: log, seen: t.stamps()}
	var err error
	if r.config, err = t.server(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return r.current(), nil
		},
	}, nil
}

func (t TLS) server() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if c.ClientCAs, err = t.pool(); err != nil {
		return nil, err
	}
	if c.ClientCAs != nil {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, nil
}

func (t TLS) pool() (*x509.CertPool, error) {
	if t.CA == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, fmt.Errorf("load ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("load ca: no certificate in %s", t.CA)
	}
	return pool, nil
}

// reloading is the configuration of who listens, read again when its files
// change.
type reloading struct {
	files TLS
	log   *slog.Logger

	mu     sync.Mutex // guards the fields below
	config *tls.Config
	seen   [3]stamp
}

// stamp tells whether a file has changed.
type stamp struct {
	size    int64
	changed time.Time
}

func (t TLS) stamps() (out [3]stamp) {
	for i, name := range []string{t.Cert, t.Key, t.CA} {
		if info, err := os.Stat(name); err == nil {
			out[i] = stamp{info.Size(), info.ModTime()}
		}
	}
	return out
}

func (r *reloading) current() *tls.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.files.stamps()
	if now == r.seen {
		return r.config
	}
	r.seen = now
	config, err := r.files.server()
	if err != nil {
		// Certificate and key may be replaced one after the other: the next
		// change of either brings us here again.
		r.log.Warn("new certificate not usable, keeping the old one", "err", err)
		return r.config
	}
	r.config = config
	r.log.Info("certificate reloaded")
	return r.config
}
