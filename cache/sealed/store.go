// Package sealed keeps values on disk that may be lost at any time, but must
// never lie: a small encrypted store under Badger, each value sealed under its
// own key. Badger answers "not found" for keys that are there after some damage,
// and opens without its manifest as if it were empty; so the store proves itself
// whole when it opens, knows which keys it holds, and is given up as lost, with
// a reason, when Badger knows otherwise.
//
// This package is the only door to Badger.
package sealed

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/safeguard-edge/safeguard/cache/keys"
)

// What a caller can branch on.
var (
	ErrNotFound = errors.New("not in the store")
	ErrLost     = errors.New("store lost")
	ErrNoSpace  = errors.New("too little free disk space")
	ErrInUse    = errors.New("store in use by another process")
	ErrTooLarge = errors.New("value too large")
	ErrClosed   = errors.New("store closed")
)

// MaxValue is the longest value, in bytes. It is well below the size from which
// Badger would put values into its value log, which loses them quietly.
const MaxValue = 64 << 10

// DefaultFloor is the free space, in bytes, below which nothing is written.
const DefaultFloor = 256 << 20

// Key names a value: a token, so that a key tells nothing either.
type Key [keys.TokenSize]byte

// Options of a store; the zero value is the default.
type Options struct {
	// Floor is the free space of the disk, in bytes, below which nothing is
	// written; zero is DefaultFloor. Badger maps its files into memory, and a
	// full disk kills the process (SIGBUS) instead of failing a write.
	Floor uint64
	Log   *slog.Logger // nil is slog.Default
}

// Store is an open store. It is safe for use by many goroutines. Its only
// goroutines are Badger's, which Close ends.
type Store struct {
	dir   string
	ring  *keys.Ring
	floor uint64
	log   *slog.Logger
	free  func(dir string) (uint64, error)
	lock  *os.File

	began string                 // why Open began anew
	lost  atomic.Pointer[string] // why the store was given up

	mu    sync.RWMutex // guards the fields below; held to write, and shared to read
	db    *badger.DB   // nil when closed
	index map[Key]entry
	proof proof
}

// entry is what is known of a value without reading it.
type entry struct {
	print   fingerprint
	made    int64 // seconds of Unix time, as is expires
	expires int64
}

// BeganAnew says why Open moved aside what it found, for a person; empty when it
// found nothing wrong.
func (s *Store) BeganAnew() string { return s.began }

// Lost says why the store was given up after it had opened, for a person; empty
// while it serves. A lost store answers ErrLost only. Close it and open it
// again: Open moves it aside.
func (s *Store) Lost() string {
	if why := s.lost.Load(); why != nil {
		return *why
	}
	return ""
}

// Put stores value under k until expires. Made is when the value was true, for
// Span. It is not synced: a power cut may lose what was put since the last
// Checkpoint, the end of a process loses nothing.
func (s *Store) Put(k Key, value []byte, made, expires time.Time) error {
	if len(value) > MaxValue {
		return fmt.Errorf("store value: %w: %d bytes, at most %d", ErrTooLarge, len(value), MaxValue)
	}
	e := entry{made: made.Unix(), expires: expires.Unix()}
	blob, err := s.ring.Seal(e.encode(value), k.place())
	if err != nil {
		return fmt.Errorf("store value: %w", err)
	}
	e.print = printOf(k, blob)

	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.proof
	if old, held := s.index[k]; held {
		next.remove(old.print)
	}
	next.add(e.print)
	err = s.commit(next, func(txn *badger.Txn) error { return txn.Set(k.row(), blob) })
	if err != nil {
		return fmt.Errorf("store value: %w", err)
	}
	s.index[k] = e
	return nil
}

// Get gives the value under k. ErrNotFound means that none is held, or that it
// has expired; ErrLost means that nothing is known.
func (s *Store) Get(k Key, now time.Time) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.serves(); err != nil {
		return nil, err
	}
	e, held := s.index[k]
	if !held || now.Unix() >= e.expires {
		return nil, ErrNotFound
	}
	blob, err := s.read(k)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, s.giveUp("a value that is held was not found")
	}
	if err != nil {
		return nil, s.giveUp("a value could not be read")
	}
	plain, err := s.ring.Open(blob, k.place())
	if errors.Is(err, keys.ErrDestroyed) {
		return nil, err
	}
	if err != nil {
		return nil, s.giveUp("a value was changed on disk")
	}
	got, value, err := decode(plain)
	if err != nil || got.made != e.made || got.expires != e.expires {
		return nil, s.giveUp("a value is not the one that was stored last")
	}
	return value, nil
}

func (s *Store) read(k Key) (blob []byte, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(k.row())
		if err != nil {
			return err
		}
		blob, err = item.ValueCopy(nil)
		return err
	})
	return blob, err
}

// Delete removes values; those that are not held are passed over. They are no
// longer given from now on, also when an error says that they are on disk still;
// Expire tries those again.
func (s *Store) Delete(which ...Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range which {
		if e, held := s.index[k]; held {
			e.expires = 0
			s.index[k] = e
		}
	}
	if _, err := s.sweep(0); err != nil {
		return fmt.Errorf("delete values: %w", err)
	}
	return nil
}

// Expire removes the values that have expired by now, and tells how many.
func (s *Store) Expire(now time.Time) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.sweep(now.Unix())
	if err != nil {
		return n, fmt.Errorf("expire values: %w", err)
	}
	return n, nil
}

// sweepBatch bounds one transaction, well below what Badger takes.
const sweepBatch = 500

// sweep removes what has expired by now, in transactions. The caller holds mu.
func (s *Store) sweep(now int64) (n int, err error) {
	due := make([]Key, 0, sweepBatch)
	for {
		due = due[:0]
		next := s.proof
		for k, e := range s.index {
			if e.expires <= now {
				due = append(due, k)
				next.remove(e.print)
			}
			if len(due) == sweepBatch {
				break
			}
		}
		if len(due) == 0 {
			return n, nil
		}
		err := s.commit(next, func(txn *badger.Txn) error {
			for _, k := range due {
				if err := txn.Delete(k.row()); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return n, err
		}
		for _, k := range due {
			delete(s.index, k)
		}
		n += len(due)
	}
}

// commit makes a change and its proof one transaction. A change that Badger
// does not confirm may or may not be on disk, so the store is given up then.
// The caller holds mu.
func (s *Store) commit(next proof, change func(*badger.Txn) error) error {
	if err := s.serves(); err != nil {
		return err
	}
	if err := s.room(); err != nil {
		return err
	}
	next.generation++
	record, err := next.seal(s.ring)
	if err != nil {
		return err
	}
	err = s.db.Update(func(txn *badger.Txn) error {
		if err := change(txn); err != nil {
			return err
		}
		return txn.Set(proofRow, record)
	})
	if err != nil {
		return s.giveUp("a change was not confirmed")
	}
	s.proof = next
	return nil
}

// serves tells whether there is anything to ask. The caller holds mu.
func (s *Store) serves() error {
	switch {
	case s.db == nil:
		return ErrClosed
	case s.lost.Load() != nil:
		return ErrLost
	}
	return nil
}

// Room tells whether there is enough free space to write: nil, or ErrNoSpace.
func (s *Store) Room() error { return s.room() }

// room refuses to write below the floor. Where free space can not be told, that
// counts as none.
func (s *Store) room() error {
	free, err := s.free(s.dir)
	if err != nil {
		return fmt.Errorf("%w: can not be told: %w", ErrNoSpace, err)
	}
	if free < s.floor {
		return fmt.Errorf("%w: %d MB on the disk of %s, want %d MB: free some", ErrNoSpace, free>>20, s.dir, s.floor>>20)
	}
	return nil
}

// giveUp stops serving, and leaves word for the next Open.
func (s *Store) giveUp(why string) error {
	if s.lost.CompareAndSwap(nil, &why) {
		s.log.Warn("cache lost", "why", why)
		s.suspect(why)
	}
	return ErrLost
}

// Len is the number of values held, expired ones among them.
func (s *Store) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.index)
}

// Span gives when the oldest and the newest value held were made, to the second;
// zero times when none is held.
func (s *Store) Span() (oldest, newest time.Time) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	first := true
	var low, high int64
	for _, e := range s.index {
		if first {
			low, high, first = e.made, e.made, false
		}
		low, high = min(low, e.made), max(high, e.made)
	}
	if first {
		return time.Time{}, time.Time{}
	}
	return time.Unix(low, 0), time.Unix(high, 0)
}

// Oldest gives the keys held, those of the oldest values first.
func (s *Store) Oldest() []Key {
	s.mu.RLock()
	defer s.mu.RUnlock()
	keys := slices.Collect(maps.Keys(s.index))
	slices.SortFunc(keys, func(a, b Key) int {
		return cmp.Or(cmp.Compare(s.index[a].made, s.index[b].made), bytes.Compare(a[:], b[:]))
	})
	return keys
}

// header is the bytes before a value: format, made, expires.
const header = 1 + 8 + 8

func (e entry) encode(value []byte) []byte {
	plain := make([]byte, 0, header+len(value))
	plain = append(plain, 1)
	plain = binary.BigEndian.AppendUint64(plain, uint64(e.made))
	plain = binary.BigEndian.AppendUint64(plain, uint64(e.expires))
	return append(plain, value...)
}

func decode(plain []byte) (entry, []byte, error) {
	if len(plain) < header || plain[0] != 1 {
		return entry{}, nil, errors.New("not a stored value of format 1")
	}
	return entry{
		made:    int64(binary.BigEndian.Uint64(plain[1:])),
		expires: int64(binary.BigEndian.Uint64(plain[9:])),
	}, plain[header:], nil
}

// row is where Badger has the value of k.
func (k Key) row() []byte { return append([]byte{'e'}, k[:]...) }

// place binds the value of k to k.
func (k Key) place() []byte { return append([]byte("cache entry "), k[:]...) }
