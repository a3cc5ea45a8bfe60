package identity

import (
	"crypto/ecdsa"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Lives of what a development CA issues.
const (
	devCALife   = 2 * 365 * 24 * time.Hour
	devLeafLife = 365 * 24 * time.Hour
)

// Development says which certificates a development CA is to write.
type Development struct {
	Hosts       []string // further names or addresses the centre is called by
	Agents      []safeguard.ODSCode
	Authorities []safeguard.ODSCode
}

// WriteDevelopment makes a certification authority for development and tests in
// dir, or takes the one that is there, and issues: centre.pem for 127.0.0.1,
// ::1, localhost and d.Hosts, agent-CODE.pem and authority-CODE.pem, each with
// its key in a file ending in -key.pem. Everything is readable by its owner
// only. The CA's key lies beside them, which is what makes it fit for
// development and nothing else. It returns the paths of what it wrote.
func WriteDevelopment(dir string, d Development) ([]string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	now := time.Now()
	from := now.Add(-5 * time.Minute) // for clocks that are a little behind
	ca, wrote, err := developmentCA(dir, from)
	if err != nil {
		return wrote, err
	}
	issue := func(name string, id Identity, hosts []string) error {
		pair, err := ca.Issue(id, hosts, from, now.Add(devLeafLife))
		if err != nil {
			return err
		}
		paths, err := writePair(dir, name, pair)
		wrote = append(wrote, paths...)
		return err
	}
	dev, _ := safeguard.ParseODSCode("DEV")
	hosts := append([]string{"127.0.0.1", "::1", "localhost"}, d.Hosts...)
	if err := issue("centre", Identity{Centre, dev, "centre"}, hosts); err != nil {
		return wrote, err
	}
	for _, code := range d.Agents {
		if err := issue("agent-"+code.String(), Identity{Agent, code, "dev"}, nil); err != nil {
			return wrote, err
		}
	}
	for _, code := range d.Authorities {
		if err := issue("authority-"+code.String(), Identity{Authority, code, "dev"}, nil); err != nil {
			return wrote, err
		}
	}
	return wrote, nil
}

// developmentCA takes the authority in dir, or makes one when there is none.
func developmentCA(dir string, from time.Time) (*CA, []string, error) {
	certPath, keyPath := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem")
	if missing(certPath) && missing(keyPath) {
		ca, pair, err := NewCA("Safeguard development CA, not for real patients", from, from.Add(devCALife))
		if err != nil {
			return nil, nil, err
		}
		wrote, err := writePair(dir, "ca", pair)
		return ca, wrote, err
	}
	pair, err := tls.LoadX509KeyPair(certPath, keyPath)
	if err != nil {
		return nil, nil, fmt.Errorf("development CA %s with key %s: %w, want both as dev-ca wrote them, or neither", certPath, keyPath, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, fmt.Errorf("development CA key %s: %T, want an ECDSA key as dev-ca writes", keyPath, pair.PrivateKey)
	}
	return &CA{pair.Leaf, key}, nil, nil
}

func writePair(dir, name string, pair Pair) ([]string, error) {
	certPath, keyPath := filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem")
	if err := writePrivate(keyPath, pair.Key); err != nil {
		return nil, err
	}
	if err := writePrivate(certPath, pair.Certificate); err != nil {
		return []string{keyPath}, err
	}
	return []string{certPath, keyPath}, nil
}
