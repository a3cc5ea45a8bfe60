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

// readRing reads the ring file, or its copy. os.ErrNotExist means that neither
// is there.
func readRing(dir string) (*ringFile, error) {
	f, err := readRingFile(filepath.Join(dir, ringName))
	if err == nil {
		return f, nil
	}
	f, copyErr := readRingFile(filepath.Join(dir, copyName))
	if copyErr == nil {
		return f, nil
	}
	if errors.Is(err, os.ErrNotExist) && !errors.Is(copyErr, os.ErrNotExist) {
		return nil, copyErr
	}
	return nil, err
}

func readRingFile(path string) (*ringFile, error) {
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := new(ringFile)
	if err := json.Unmarshal(body, f); err != nil || f.Format < 1 || f.ID == "" || f.Master == "" {
		return nil, fmt.Errorf("%w: %s and its copy: bring both back from a backup; the master key fits them still", ErrRingDamaged, path)
	}
	if f.Format > ringFormat {
		return nil, fmt.Errorf("%w: %s is of format %d, this program knows %d: run the newer program", ErrRingDamaged, path, f.Format, ringFormat)
	}
	return f, nil
}

// unwrap opens the keysets with the master key that they name.
func (f *ringFile) unwrap(master Master) error {
	keys, err := master.load()
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.id() != f.Master {
			continue
		}
		kek, err := subtle.NewAESGCM(k.wrappingKey())
		if err != nil {
			return err
		}
		if f.aead, err = keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(f.AEAD)), kek, f.place("aead")); err != nil {
			return fmt.Errorf("%w: keyset for sealing does not open: bring %s back from a backup", ErrRingDamaged, ringName)
		}
		if f.prf, err = keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(f.PRF)), kek, f.place("prf")); err != nil {
			return fmt.Errorf("%w: keyset for tokens does not open: bring %s back from a backup", ErrRingDamaged, ringName)
		}
		return nil
	}
	return fmt.Errorf("%w: %s holds none that wraps this ring (want %s): bring back the one of the machine and time this folder is from",
		ErrMasterWrong, master.place(), f.Master)
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
