package keys

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// What can be wrong with a master key.
var (
	ErrMasterMissing    = errors.New("master key missing")
	ErrMasterWrong      = errors.New("wrong master key")
	ErrMasterUnreadable = errors.New("master key unreadable")
	ErrMasterExposed    = errors.New("master key exposed")
)

// CredentialName is the systemd credential that is looked for under
// $CREDENTIALS_DIRECTORY (systemd.exec(5), LoadCredentialEncrypted=).
const CredentialName = "safeguard-master"

// Master says where the operating system keeps the master key. What is kept is
// text: one key a line, 32 bytes in base64, the one in use first and any others
// behind it, so that a key can be replaced without a moment at which none fits.
type Master struct {
	path       string
	credential bool
}

// SystemMaster is the systemd credential CredentialName when the service was
// given one, and else FileMaster(path).
func SystemMaster(path string) Master { return Master{path: path, credential: true} }

// FileMaster is a file. On Windows it is protected by DPAPI for this machine,
// and its access list must name administrators, the system and the owner only;
// elsewhere it must be the service user's or root's, of mode 0600 or less. It
// must not lie in the folder of the ring.
func FileMaster(path string) Master { return Master{path: path} }

// NewMasterKey makes a line for a master key that an administrator keeps, for
// instance: systemd-creds encrypt --name=safeguard-master - FILE.
func NewMasterKey() string { return newMasterKey().line() }

const masterSize = 32

type masterKey [masterSize]byte

func newMasterKey() (k masterKey) {
	_, _ = rand.Read(k[:]) // crypto/rand never fails
	return k
}

func (k masterKey) line() string { return base64.StdEncoding.EncodeToString(k[:]) + "\n" }

// id names the key without telling it.
func (k masterKey) id() string {
	mac := hmac.New(sha256.New, k[:])
	_, _ = io.WriteString(mac, "safeguard master key id")
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

func (k masterKey) wrappingKey() []byte {
	out, err := hkdf.Key(sha256.New, k[:], nil, "safeguard keyset wrap 1", 32)
	if err != nil {
		panic(err) // only for a length that SHA-256 can not give
	}
	return out
}

// load gives the master keys, the one in use first.
func (m Master) load() ([]masterKey, error) {
	if path := m.credentialPath(); path != "" {
		body, err := readCredential(path)
		if err != nil {
			return nil, m.classify(path, err)
		}
		return parseMaster(path, body)
	}
	body, err := readProtected(m.path)
	if err != nil {
		return nil, m.classify(m.path, err)
	}
	return parseMaster(m.path, body)
}

// create makes the master key file, with one key in it.
func (m Master) create() ([]masterKey, error) {
	if err := os.MkdirAll(filepath.Dir(m.path), 0o700); err != nil {
		return nil, fmt.Errorf("make master key: %w", err)
	}
	keys := []masterKey{newMasterKey()}
	if err := m.replace(keys); err != nil {
		return nil, fmt.Errorf("make master key: %w", err)
	}
	return keys, nil
}

// replace writes the master key file. The caller holds the lock of the ring,
// which is the file's only user.
func (m Master) replace(keys []masterKey) error {
	var text strings.Builder
	for _, k := range keys {
		text.WriteString(k.line())
	}
	body, err := protect([]byte(text.String()))
	if err != nil {
		return err
	}
	return writeAside(m.path, body)
}

func (m Master) credentialPath() string {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if !m.credential || dir == "" {
		return ""
	}
	path := filepath.Join(dir, CredentialName)
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return ""
	}
	return path
}

// place names where the key is, for a person.
func (m Master) place() string {
	if path := m.credentialPath(); path != "" {
		return path
	}
	return m.path
}

func (m Master) classify(path string, err error) error {
	switch {
	case errors.Is(err, ErrMasterExposed), errors.Is(err, ErrMasterWrong):
		return err
	case errors.Is(err, os.ErrNotExist) && m.credential:
		return fmt.Errorf("%w: neither credential %s nor file %s: bring one of them back; what is stored can not be read without it",
			ErrMasterMissing, CredentialName, path)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: no file %s: bring it back; what is stored can not be read without it", ErrMasterMissing, path)
	}
	return fmt.Errorf("%w: let the service's user read it: %w", ErrMasterUnreadable, err)
}

// apartFrom refuses a master key inside the ring's own folder, where one stolen
// backup would hold both.
func (m Master) apartFrom(dir string) error {
	if m.path == "" {
		return errors.New("no path for the master key: name a file outside the data folder")
	}
	absDir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	absPath, err := filepath.Abs(m.path)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(absDir, absPath)
	if err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return fmt.Errorf("%w: %s lies in the folder of the keys that it wraps: name a file elsewhere", ErrMasterExposed, m.path)
	}
	return nil
}

func parseMaster(path string, body []byte) ([]masterKey, error) {
	var keys []masterKey
	for _, line := range strings.Fields(string(body)) {
		raw, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(raw) != masterSize {
			return nil, fmt.Errorf("%w: %s: want one key a line, %d bytes in base64: bring back the right file", ErrMasterWrong, path, masterSize)
		}
		keys = append(keys, masterKey(raw))
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: %s is empty: bring back the right file", ErrMasterWrong, path)
	}
	return keys, nil
}
