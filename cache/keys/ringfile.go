package keys

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
)

// The files of a ring. The copy is there because a ring file that rots takes a
// whole journal with it; it is written after the ring file, and read only when
// that one is missing or damaged.
const (
	ringName = "ring.json"
	copyName = "ring.copy.json"
	lockName = "ring.lock"
)

// ErrRingDamaged says that neither the keyset file nor its copy can be read.
var ErrRingDamaged = errors.New("keyset file damaged")

// errNoRing is told from os.ErrNotExist, which a ring half gone has in its
// errors too: only where there is nothing at all may a new ring be made.
var errNoRing = errors.New("no keyset file")

// ringFile is a ring at rest. Only the two keysets are secret, and wrapped.
type ringFile struct {
	Format    int       `json:"format"`
	ID        string    `json:"ring"`
	Master    string    `json:"master"` // names the master key that wraps the keysets
	Made      time.Time `json:"made"`
	Rotated   time.Time `json:"rotated"`
	Rewrapped time.Time `json:"rewrapped"`
	AEAD      []byte    `json:"aead"`
	PRF       []byte    `json:"prf"`

	aead, prf *keyset.Handle // unwrapped
}

const ringFormat = 1

func newRingFile() (*ringFile, error) {
	id := make([]byte, 8)
	_, _ = rand.Read(id) // crypto/rand never fails
	now := time.Now().UTC().Truncate(time.Second)
	f := &ringFile{Format: ringFormat, ID: hex.EncodeToString(id), Made: now, Rotated: now, Rewrapped: now}
	var err error
	if f.aead, err = keyset.NewHandle(aead.AES256GCMKeyTemplate()); err != nil {
		return nil, err
	}
	f.prf, err = keyset.NewHandle(prf.HMACSHA256PRFKeyTemplate())
	return f, err
}

// readRing reads and unwraps the ring file or, where that is missing or damaged,
// its copy, and mends the other. errNoRing means that there is neither.
// The caller holds the lock file.
func readRing(dir string, master Master) (*ringFile, error) {
	ring, err := os.ReadFile(filepath.Join(dir, ringName))
	spare, spareErr := os.ReadFile(filepath.Join(dir, copyName))
	if errors.Is(err, os.ErrNotExist) && errors.Is(spareErr, os.ErrNotExist) {
		return nil, errNoRing
	}
	masters, masterErr := master.load()
	if masterErr != nil {
		return nil, masterErr
	}
	var f *ringFile
	if err == nil {
		f, err = parseRing(ring, masters)
	}
	good := ring
	if err != nil && spareErr == nil && !errors.Is(err, ErrMasterWrong) {
		if f, spareErr = parseRing(spare, masters); spareErr == nil {
			err, good = nil, spare
		}
	}
	switch {
	case errors.Is(err, ErrMasterWrong):
		return nil, fmt.Errorf("%w at %s: bring back the one of the machine and time that %s is from", err, master.place(), ringName)
	case err != nil:
		return nil, fmt.Errorf("%w: bring %s and %s back from a backup: %w", ErrRingDamaged, ringName, copyName, err)
	}
	for name, body := range map[string][]byte{ringName: ring, copyName: spare} {
		if !bytes.Equal(body, good) {
			// What could be read is enough to work with, so a disk that does
			// not let us mend is not a reason to stop; the next open tries again.
			_ = writeAside(filepath.Join(dir, name), good)
		}
	}
	return f, nil
}

func parseRing(body []byte, masters []masterKey) (*ringFile, error) {
	f := new(ringFile)
	if err := json.Unmarshal(body, f); err != nil {
		return nil, errors.New("not a keyset file")
	}
	if f.Format != ringFormat || f.ID == "" || f.Master == "" {
		return nil, fmt.Errorf("keyset file of format %d, want %d", f.Format, ringFormat)
	}
	for _, k := range masters {
		if k.id() == f.Master {
			return f, f.unwrap(k)
		}
	}
	return nil, ErrMasterWrong
}

// unwrap opens the keysets.
func (f *ringFile) unwrap(k masterKey) error {
	kek, err := subtle.NewAESGCM(k.wrappingKey())
	if err != nil {
		return err
	}
	open := func(use string, wrapped []byte) (*keyset.Handle, error) {
		h, err := keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(wrapped)), kek, f.place(use))
		if err != nil {
			return nil, fmt.Errorf("keyset %s does not open", use)
		}
		return h, nil
	}
	if f.aead, err = open("aead", f.AEAD); err != nil {
		return err
	}
	f.prf, err = open("prf", f.PRF)
	return err
}

// write wraps the keysets with k and writes ring file and copy durably.
func (f *ringFile) write(dir string, k masterKey) error {
	kek, err := subtle.NewAESGCM(k.wrappingKey())
	if err != nil {
		return err
	}
	var aeadKeys, prfKeys bytes.Buffer
	if err := f.aead.WriteWithAssociatedData(keyset.NewBinaryWriter(&aeadKeys), kek, f.place("aead")); err != nil {
		return err
	}
	if err := f.prf.WriteWithAssociatedData(keyset.NewBinaryWriter(&prfKeys), kek, f.place("prf")); err != nil {
		return err
	}
	f.Master, f.AEAD, f.PRF = k.id(), aeadKeys.Bytes(), prfKeys.Bytes()
	body, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	for _, name := range []string{ringName, copyName} {
		if err := writeAside(filepath.Join(dir, name), append(body, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// place binds a wrapped keyset to its ring and use, so that none can be put in
// the place of another.
func (f *ringFile) place(use string) []byte {
	return []byte("safeguard keyset " + use + " of ring " + f.ID)
}

func (f *ringFile) live() (*live, error) {
	a, err := aead.New(f.aead)
	if err != nil {
		return nil, err
	}
	set, err := prf.NewPRFSet(f.prf)
	if err != nil {
		return nil, err
	}
	p := set.PRFs[set.PrimaryID]
	return &live{id: f.ID, aead: a, prf: func(in []byte) ([]byte, error) { return p.ComputePRF(in, TokenSize) }}, nil
}

// stamp tells one version of the ring file from another without reading it.
type stamp struct {
	size int64
	at   time.Time
}

func stampOf(dir string) stamp {
	info, err := os.Stat(filepath.Join(dir, ringName))
	if err != nil {
		return stamp{}
	}
	return stamp{info.Size(), info.ModTime()}
}
