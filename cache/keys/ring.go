// Package keys keeps the keys under which everything at rest is sealed. A ring
// is two tink keysets, one to seal values (AES-256-GCM) and one to hide what is
// looked up (HMAC-SHA-256 as a keyed pseudo-random function). They lie in the
// data folder, wrapped by a master key that the operating system keeps
// elsewhere, so that a stolen or restored data folder alone tells nothing.
//
// This package is the only door to tink.
package keys

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/tink-crypto/tink-go/v2/tink"
)

// ErrRefused says that a sealed value was not sealed by this ring for this
// place, or has changed since.
var ErrRefused = errors.New("sealed value refused")

// ErrDestroyed says that the keys are gone, and with them all that they sealed.
var ErrDestroyed = errors.New("keys destroyed")

// TokenSize is the length of a token, and Overhead what sealing adds, in bytes.
const (
	TokenSize = 32
	Overhead  = 33
)

// Ring seals, opens and makes tokens. It is safe for use by many goroutines,
// needs no closing, and follows a rotation that another process makes.
type Ring struct {
	dir    string
	master Master
	live   atomic.Pointer[live]

	mu   sync.Mutex // guards seen, and the making of a new live
	seen stamp      // of the ring file that live was read from
}

// live is what a ring works with until it is rotated. The master key is not in it.
type live struct {
	id   string
	aead tink.AEAD
	prf  func(input []byte) ([]byte, error)
}

// Open opens the ring in dir, whose keysets master wraps, and makes both when
// neither exists. A master key that is missing (ErrMasterMissing), does not fit
// (ErrMasterWrong), can not be read (ErrMasterUnreadable) or can be read by
// others (ErrMasterExposed) is an error, and never a reason to make a new one;
// so is a keyset file that is damaged with its copy (ErrRingDamaged).
func Open(dir string, master Master) (*Ring, error) {
	r := &Ring{dir: dir, master: master}
	if err := r.open(); err != nil {
		return nil, fmt.Errorf("open key ring %s: %w", dir, err)
	}
	return r, nil
}

func (r *Ring) open() error {
	if err := r.master.apartFrom(r.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	unlock, err := lock(filepath.Join(r.dir, lockName))
	if err != nil {
		return err
	}
	defer unlock()

	f, err := readRing(r.dir, r.master)
	if errors.Is(err, errNoRing) {
		f, err = r.create()
	}
	if err != nil {
		return err
	}
	return r.use(f)
}

// create makes the keysets, and the master key when there is none. It is
// called only where no keysets are.
func (r *Ring) create() (*ringFile, error) {
	masters, err := r.master.load()
	if errors.Is(err, ErrMasterMissing) {
		masters, err = r.master.create()
	}
	if err != nil {
		return nil, err
	}
	f, err := newRingFile()
	if err != nil {
		return nil, err
	}
	return f, f.write(r.dir, masters[0])
}

// use makes f what the ring works with. The caller holds the lock file.
func (r *Ring) use(f *ringFile) error {
	l, err := f.live()
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = stampOf(r.dir)
	r.live.Store(l)
	return nil
}

// ID names the ring: 16 hexadecimal digits, made with it and kept through
// rotations. A store writes it down, and so notices that the keys it needs were
// replaced by others.
func (r *Ring) ID() string { return r.live.Load().id }

// Seal encrypts plain and binds it to ad, which says where the sealed value
// belongs and is not part of it. The result is Overhead bytes longer than plain.
func (r *Ring) Seal(plain, ad []byte) ([]byte, error) {
	sealed, err := r.live.Load().aead.Encrypt(plain, ad)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return sealed, nil
}

// Open gives what was sealed with the same ad, by any data key of the ring.
// Anything else is ErrRefused.
func (r *Ring) Open(sealed, ad []byte) ([]byte, error) {
	plain, err := r.live.Load().aead.Decrypt(sealed, ad)
	if err == nil {
		return plain, nil
	}
	if errors.Is(err, ErrDestroyed) {
		return nil, fmt.Errorf("open sealed value: %w", err)
	}
	if r.refresh() {
		if plain, err = r.live.Load().aead.Decrypt(sealed, ad); err == nil {
			return plain, nil
		}
	}
	// tink's own error says no more than this.
	return nil, ErrRefused
}

// Token hides value: TokenSize bytes that are the same for the same domain and
// value, and tell nothing about either without the ring. Tokens of different
// domains are unrelated. Rotation does not change tokens. A token of a destroyed
// ring is random, and so matches nothing.
func (r *Ring) Token(domain string, value []byte) []byte {
	input := binary.AppendUvarint(make([]byte, 0, 1+len(domain)+len(value)), uint64(len(domain)))
	input = append(append(input, domain...), value...)
	token, err := r.live.Load().prf(input)
	if err != nil {
		token = make([]byte, TokenSize)
		_, _ = rand.Read(token) // crypto/rand never fails
	}
	return token
}

// refresh takes up what another process has made of the ring file, and tells
// whether there was anything. A ring that can not be read keeps the old keys.
func (r *Ring) refresh() bool {
	r.mu.Lock()
	changed := r.seen != stampOf(r.dir)
	r.mu.Unlock()
	if !changed {
		return false
	}
	unlock, err := lock(filepath.Join(r.dir, lockName))
	if err != nil {
		return false
	}
	defer unlock()
	f, err := readRing(r.dir, r.master)
	if err != nil || f.ID != r.ID() {
		return false
	}
	return r.use(f) == nil
}
