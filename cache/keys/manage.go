package keys

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// ErrMasterRemains says that a master key was left which this program can not
// remove or replace, because an administrator keeps it.
var ErrMasterRemains = errors.New("master key remains")

// Status is what an administrator is shown about a ring; nothing in it is secret.
type Status struct {
	ID        string    // see Ring.ID
	DataKeys  int       // keys that open sealed values; the newest seals
	Made      time.Time // UTC, as are the others
	Rotated   time.Time // when the newest data key was made
	Rewrapped time.Time // when the master key in use first wrapped the keysets
	Master    string    // path of the file or credential with the master key
	MasterID  string    // names the master key that wraps the keysets
	RewrapDue bool      // a newer master key stands first: Rewrap will use it
}

// Status reads the ring's files.
func (r *Ring) Status() (Status, error) {
	var s Status
	err := r.change(func(f *ringFile, masters []masterKey) error {
		s = Status{
			ID: f.ID, DataKeys: f.aead.Len(), Made: f.Made, Rotated: f.Rotated, Rewrapped: f.Rewrapped,
			Master: r.master.place(), MasterID: f.Master, RewrapDue: masters[0].id() != f.Master,
		}
		return nil
	})
	if err != nil {
		return Status{}, fmt.Errorf("read key ring: %w", err)
	}
	return s, nil
}

// Rotate makes a new data key, which seals from now on; what older ones sealed
// still opens. Tokens stay as they are, for an index could not follow them.
func (r *Ring) Rotate() error {
	err := r.change(func(f *ringFile, masters []masterKey) error {
		m := keyset.NewManagerFromHandle(f.aead)
		id, err := m.Add(aead.AES256GCMKeyTemplate())
		if err != nil {
			return err
		}
		if err := m.SetPrimary(id); err != nil {
			return err
		}
		if f.aead, err = m.Handle(); err != nil {
			return err
		}
		f.Rotated = time.Now().UTC().Truncate(time.Second)
		for _, k := range masters {
			if k.id() == f.Master {
				return f.write(r.dir, k)
			}
		}
		return ErrMasterWrong // change has unwrapped by it, so it is there
	})
	if err != nil {
		return fmt.Errorf("rotate data keys: %w", err)
	}
	return nil
}

// Rewrap wraps the data keys with another master key. For a file it makes that
// key, and shreds the old one at the end; whenever it is interrupted, the ring
// still opens, and Rewrap called again finishes. A systemd credential the
// administrator changes: the new key (NewMasterKey) on the first line, the old
// one behind it, restart, Rewrap, remove the old line. Without a new first line
// that is ErrMasterRemains.
//
// A master key belongs to one ring: another ring under the same file would be
// lost here.
func (r *Ring) Rewrap() error {
	err := r.change(func(f *ringFile, masters []masterKey) error {
		byFile := r.master.credentialPath() == ""
		switch {
		case masters[0].id() != f.Master: // as the administrator, or an interrupted Rewrap, left it
		case byFile:
			masters = append([]masterKey{newMasterKey()}, masters...)
			if err := r.master.replace(masters); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: %s has no newer key: put a new one on its first line, keep the old one behind it, and restart",
				ErrMasterRemains, r.master.place())
		}
		f.Rewrapped = time.Now().UTC().Truncate(time.Second)
		if err := f.write(r.dir, masters[0]); err != nil {
			return err
		}
		if byFile {
			return r.master.replace(masters[:1])
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("rewrap keys: %w", err)
	}
	return nil
}

// change runs step on the ring's files, which no other process changes
// meanwhile, and takes up the result.
func (r *Ring) change(step func(f *ringFile, masters []masterKey) error) error {
	if r.gone() {
		return ErrDestroyed
	}
	unlock, err := lock(filepath.Join(r.dir, lockName))
	if err != nil {
		return err
	}
	defer unlock()
	f, err := readRing(r.dir, r.master)
	if err != nil {
		return err
	}
	masters, err := r.master.load()
	if err != nil {
		return err
	}
	if err := step(f, masters); err != nil {
		return err
	}
	return r.use(f)
}

// Destroy shreds the ring, as the function Destroy does, and makes this one
// refuse everything, whatever of it succeeds.
func (r *Ring) Destroy() error {
	r.mu.Lock()
	r.live.Store(&live{id: r.ID(), aead: destroyed{}, prf: func([]byte) ([]byte, error) { return nil, ErrDestroyed }})
	r.mu.Unlock()
	return Destroy(r.dir, r.master)
}

func (r *Ring) gone() bool {
	_, gone := r.live.Load().aead.(destroyed)
	return gone
}

// destroyed stands where the keys were.
type destroyed struct{}

func (destroyed) Encrypt(_, _ []byte) ([]byte, error) { return nil, ErrDestroyed }
func (destroyed) Decrypt(_, _ []byte) ([]byte, error) { return nil, ErrDestroyed }

// Destroy shreds the master key file and the keysets in dir, whether or not
// they open. Afterwards nothing that the ring sealed can be read, here or in a
// backup that lacks the master key, and Open makes a new ring. A systemd
// credential stays, which is ErrMasterRemains: the administrator removes it.
//
// The files are overwritten before they are removed; a file system or a drive
// that writes elsewhere may keep the old blocks for a while.
func Destroy(dir string, master Master) error {
	unlock, err := lock(filepath.Join(dir, lockName))
	if err != nil {
		return fmt.Errorf("destroy keys: %w", err)
	}
	defer unlock()
	doomed := []string{
		master.path, master.path + asideSuffix,
		filepath.Join(dir, ringName), filepath.Join(dir, ringName+asideSuffix),
		filepath.Join(dir, copyName), filepath.Join(dir, copyName+asideSuffix),
	}
	var errs []error
	for _, path := range doomed {
		if err := shred(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if path := master.credentialPath(); path != "" {
		errs = append(errs, fmt.Errorf("%w: %s: remove the credential from the unit and from /etc/credstore.encrypted", ErrMasterRemains, path))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("destroy keys: %w", err)
	}
	return nil
}

// shred overwrites a file, and removes it.
func shred(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err := io.CopyN(f, rand.Reader, info.Size()); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
