package sealed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/safeguard-edge/safeguard/cache/keys"
)

// What lies in the folder of a store.
const (
	badgerName  = "badger"  // Badger's own folder
	suspectName = "suspect" // says why badgerName must not be opened again
	lockName    = "lock"
	asidePrefix = "aside-" // what was moved aside, the last one only
)

// Open opens the store in dir, or begins one. What does not open, does not
// prove whole, or ended the process the last time, is moved aside with a
// warning, and a new store is begun: see BeganAnew. So an error means that
// nothing can be kept there at all: ErrInUse, ErrNoSpace, or a folder that can
// not be written.
func Open(dir string, ring *keys.Ring, o Options) (*Store, error) {
	s := newStore(dir, ring, o)
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("open sealed store %s: %w", dir, err)
	}
	return s, nil
}

func newStore(dir string, ring *keys.Ring, o Options) *Store {
	if o.Floor == 0 {
		o.Floor = DefaultFloor
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Store{dir: dir, ring: ring, floor: o.Floor, log: o.Log, free: freeSpace}
}

func (s *Store) open() (err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if s.lock, err = lockFile(filepath.Join(s.dir, lockName)); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = s.lock.Close()
		}
	}()
	// Badger makes its files when it opens, so there must be room before.
	if err := s.room(); err != nil {
		return err
	}

	why := s.suspected()
	if why == "" {
		s.suspect("the program ended while it opened the cache")
		why, err = s.resume()
		if err != nil {
			return err
		}
	}
	if why != "" {
		s.began = why
		s.log.Warn("cache begun anew", "why", why, "dir", s.dir)
		if err := s.begin(); err != nil {
			return err
		}
	}
	s.trust()
	return nil
}

// resume opens what is there, if it is whole; else it says why not.
func (s *Store) resume() (why string, err error) {
	generation, err := checkpointed(s.dir, s.ring)
	first := errors.Is(err, os.ErrNotExist)
	if err != nil && !first {
		return err.Error(), nil
	}
	_, err = os.Stat(s.badgerDir())
	switch {
	case errors.Is(err, os.ErrNotExist) && first:
		return "", s.begin()
	case errors.Is(err, os.ErrNotExist):
		return "the store's folder is gone", nil
	case err != nil:
		return "", err
	case first:
		return "the checkpoint is gone", nil
	}

	db, err := openBadger(s.badgerDir(), s.ring, s.log)
	if err != nil && !errors.Is(err, ErrInUse) {
		// A kill can leave a file of no length, which Badger mends by failing
		// once.
		db, err = openBadger(s.badgerDir(), s.ring, s.log)
	}
	switch {
	case errors.Is(err, ErrInUse):
		s.trust()
		return "", err
	case err != nil:
		return "it does not open: " + clip(err.Error()), nil
	}
	index, proven, err := check(context.Background(), db, s.ring)
	if err == nil && proven.generation < generation {
		err = errOld
	}
	if err != nil {
		_ = db.Close() // it is on its way out
		return clip(err.Error()), nil
	}
	s.db, s.index, s.proof = db, index, proven
	return "", nil
}

// begin moves aside what is there, and makes a new store.
func (s *Store) begin() error {
	if err := s.moveAside(); err != nil {
		return err
	}
	db, err := openBadger(s.badgerDir(), s.ring, s.log)
	if err != nil {
		return err
	}
	s.db, s.index, s.proof = db, make(map[Key]entry), proof{}
	err = s.commit(s.proof, func(*badger.Txn) error { return nil })
	if err == nil {
		err = s.checkpoint()
	}
	if err != nil {
		_ = db.Close()
		s.db = nil
	}
	return err
}

// Destroy removes a store, and what was moved aside from it. Nothing else in dir
// is touched, and a store that is open is ErrInUse.
func Destroy(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	lock, err := lockFile(filepath.Join(dir, lockName))
	if err != nil {
		return fmt.Errorf("destroy sealed store %s: %w", dir, err)
	}
	defer func() { _ = lock.Close() }()
	s := &Store{dir: dir}
	err = s.moveAside()
	if err == nil {
		err = s.dropAside()
	}
	if err != nil {
		return fmt.Errorf("destroy sealed store %s: %w", dir, err)
	}
	s.trust()
	return nil
}

// moveAside keeps what was found for whoever wants to know what happened, and
// drops what was kept so before. All of it is sealed.
func (s *Store) moveAside() error {
	if err := s.dropAside(); err != nil {
		return err
	}
	err := os.Rename(s.badgerDir(), filepath.Join(s.dir, asidePrefix+time.Now().UTC().Format("20060102T150405Z")))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	err = os.Remove(filepath.Join(s.dir, checkpointName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (s *Store) dropAside() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), asidePrefix) {
			if err := os.RemoveAll(filepath.Join(s.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close checkpoints and closes. Where too little space is left for Badger to
// write what it holds in memory, it is left open until the process ends, which
// loses nothing, and the error is ErrNoSpace.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return nil
	}
	defer func() { s.db = nil }()
	// A store given up needs no checkpoint, for it is moved aside, and an old
	// checkpoint is only a weaker one.
	checkpointErr := s.checkpoint()
	if errors.Is(checkpointErr, ErrLost) || errors.Is(checkpointErr, ErrNoSpace) {
		checkpointErr = nil
	}
	if free, err := s.free(s.dir); err != nil || free < s.floor/8 {
		return fmt.Errorf("close sealed store %s: %w: %d MB, closing wants %d MB: left to the next start", s.dir, ErrNoSpace, free>>20, s.floor>>23)
	}
	err := errors.Join(checkpointErr, s.db.Close(), s.lock.Close())
	if err != nil {
		return fmt.Errorf("close sealed store %s: %w", s.dir, err)
	}
	return nil
}

// suspect leaves word that Badger's folder must not be opened again. It need not
// be durable: what it guards against ends the process, not the machine.
func (s *Store) suspect(why string) {
	if err := os.WriteFile(filepath.Join(s.dir, suspectName), []byte(why), 0o600); err != nil {
		s.log.Warn("cache not marked as suspect", "err", err)
	}
}

func (s *Store) suspected() string {
	body, err := os.ReadFile(filepath.Join(s.dir, suspectName))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return ""
	case err != nil || len(body) == 0:
		return "it was marked as suspect"
	}
	return clip(string(body))
}

// trust takes the word back. Where that fails, the next start begins anew.
func (s *Store) trust() { _ = os.Remove(filepath.Join(s.dir, suspectName)) }

func (s *Store) badgerDir() string { return filepath.Join(s.dir, badgerName) }

// clip bounds what Badger says, to one line.
func clip(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	if len(text) > 160 {
		text = text[:160] + "…"
	}
	return text
}
