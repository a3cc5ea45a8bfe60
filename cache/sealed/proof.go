package sealed

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/safeguard-edge/safeguard/cache/keys"
)

// fingerprint stands for one version of one value.
type fingerprint [16]byte

func printOf(k Key, blob []byte) fingerprint {
	h := sha256.New()
	_, _ = h.Write(k[:])
	_, _ = h.Write(blob)
	return fingerprint(h.Sum(nil)[:16])
}

// proof says what the store holds. It is written with each change in the same
// transaction, so that after a crash it still fits what is there, and does not
// fit when Badger has lost part of it.
type proof struct {
	generation uint64 // grows with each change
	count      uint64
	digest     fingerprint // all fingerprints, by exclusive or
}

// proofRow is where Badger has the proof.
var proofRow = []byte("proof")

func (p *proof) add(f fingerprint) {
	p.count++
	p.mix(f)
}

func (p *proof) remove(f fingerprint) {
	p.count--
	p.mix(f)
}

func (p *proof) mix(f fingerprint) {
	for i := range f {
		p.digest[i] ^= f[i]
	}
}

const proofSize = 8 + 8 + 16

func (p proof) seal(ring *keys.Ring) ([]byte, error) {
	plain := binary.BigEndian.AppendUint64(make([]byte, 0, proofSize), p.generation)
	plain = binary.BigEndian.AppendUint64(plain, p.count)
	return ring.Seal(append(plain, p.digest[:]...), []byte("cache proof"))
}

func openProof(ring *keys.Ring, record []byte) (p proof, err error) {
	plain, err := ring.Open(record, []byte("cache proof"))
	if err != nil {
		return proof{}, err
	}
	if len(plain) != proofSize {
		return proof{}, errors.New("proof of another length")
	}
	p.generation = binary.BigEndian.Uint64(plain)
	p.count = binary.BigEndian.Uint64(plain[8:])
	copy(p.digest[:], plain[16:])
	return p, nil
}

// What a check can find. These are for a person; none tells anything about a
// value.
var (
	errNoProof   = errors.New("the proof is missing: part of the store is gone")
	errBadProof  = errors.New("the proof was not sealed by these keys, or was changed")
	errBadValue  = errors.New("a value was not sealed by these keys, or was changed or moved")
	errStrange   = errors.New("a row that was never written")
	errUnlike    = errors.New("what is held is not what the proof says: values are gone, or older ones are back")
	errOld       = errors.New("the store is older than its last checkpoint: part of it is gone")
	errUnchecked = errors.New("the checkpoint can not be read")
)

// check reads everything that Badger gives, and gives what it knows if that is
// whole.
func check(ctx context.Context, db *badger.DB, ring *keys.Ring) (map[Key]entry, proof, error) {
	var want proof
	have := proof{}
	index := make(map[Key]entry)
	err := db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(proofRow)
		if errors.Is(err, badger.ErrKeyNotFound) {
			return errNoProof
		}
		if err != nil {
			return err
		}
		record, err := item.ValueCopy(nil)
		if err != nil {
			return err
		}
		if want, err = openProof(ring, record); err != nil {
			return errBadProof
		}
		return eachRow(ctx, txn, func(k Key, blob []byte) error {
			plain, err := ring.Open(blob, k.place())
			if err != nil {
				return errBadValue
			}
			e, _, err := decode(plain)
			if err != nil {
				return errBadValue
			}
			e.print = printOf(k, blob)
			index[k] = e
			have.add(e.print)
			return nil
		})
	})
	if err != nil {
		return nil, proof{}, err
	}
	// Badger's iterator may end early without an error.
	if have.count != want.count || have.digest != want.digest {
		return nil, proof{}, errUnlike
	}
	return index, want, nil
}

func eachRow(ctx context.Context, txn *badger.Txn, visit func(Key, []byte) error) error {
	it := txn.NewIterator(badger.IteratorOptions{PrefetchValues: true, PrefetchSize: 64})
	defer it.Close()
	var blob []byte
	for it.Rewind(); it.Valid(); it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		row := it.Item().Key()
		switch {
		case string(row) == string(proofRow):
			continue
		case len(row) != 1+len(Key{}) || row[0] != 'e':
			return errStrange
		}
		var err error
		if blob, err = it.Item().ValueCopy(blob); err != nil {
			return err
		}
		if err := visit(Key(row[1:]), blob); err != nil {
			return err
		}
	}
	return nil
}

// Verify reads the whole store, also past Badger's caches, and gives it up when
// it is not whole, which is ErrLost. Readers go on meanwhile, writers wait. Some
// ten milliseconds for 20,000 values.
func (s *Store) Verify(ctx context.Context) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.serves(); err != nil {
		return err
	}
	if err := s.db.VerifyChecksum(); err != nil {
		return s.giveUp("a table does not fit its checksum")
	}
	_, have, err := check(ctx, s.db, s.ring)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return s.giveUp(err.Error())
	case have != s.proof:
		return s.giveUp(errUnlike.Error())
	}
	return nil
}

// checkpointName is of the file, outside Badger's folder, that tells how far the
// store had come. Without it, a store that lost its newest tables, or its
// manifest and with that everything, would pass for an older, smaller one.
const checkpointName = "checkpoint"

// Checkpoint makes durable what was put so far, and notes how far that is. Call
// it now and then; Close does.
func (s *Store) Checkpoint() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkpoint(); err != nil {
		return fmt.Errorf("checkpoint store: %w", err)
	}
	return nil
}

func (s *Store) checkpoint() error {
	if err := s.serves(); err != nil {
		return err
	}
	if err := s.room(); err != nil {
		return err
	}
	if err := s.db.Sync(); err != nil {
		return s.giveUp("what was put could not be made durable")
	}
	plain := binary.BigEndian.AppendUint64(nil, s.proof.generation)
	body, err := s.ring.Seal(plain, []byte("cache checkpoint"))
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(s.dir, checkpointName), body)
}

// checkpointed gives the generation that was noted last. os.ErrNotExist means
// that none ever was.
func checkpointed(dir string, ring *keys.Ring) (uint64, error) {
	body, err := os.ReadFile(filepath.Join(dir, checkpointName))
	if err != nil {
		return 0, err
	}
	plain, err := ring.Open(body, []byte("cache checkpoint"))
	if err != nil || len(plain) != 8 {
		return 0, errUnchecked
	}
	return binary.BigEndian.Uint64(plain), nil
}

// replaceFile replaces the file at path, so that it is whole whenever the
// process or the power ends.
func replaceFile(path string, body []byte) error {
	aside := path + ".new"
	f, err := os.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Write(body); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(aside, path)
}
