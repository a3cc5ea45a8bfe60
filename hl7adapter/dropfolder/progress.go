package dropfolder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// progress is how far a file was taken.
type progress struct {
	offset   int64 // of the first part that is not done
	parts    int64 // done
	rejected int64 // of them
	ack      int64 // bytes in the file of acknowledgements
	failed   int64 // bytes in the file of messages not taken
	reason   int64 // bytes in the file that says why
	complete bool  // all are done; what is left is to clear up
}

// The record of a progress, of which a file has two, one behind the other.
// They are written in turns, so that one is whole whenever the power fails.
const (
	progressMagic = "SGDF1\n\x00\x00"
	recordSize    = 8 + 8 + 7*8 + 4
	slotSize      = 512 // a sector: writing one does not touch the other
)

func (p progress) encode(turn uint64) []byte {
	b := append(make([]byte, 0, recordSize), progressMagic...)
	b = binary.LittleEndian.AppendUint64(b, turn)
	complete := int64(0)
	if p.complete {
		complete = 1
	}
	for _, n := range []int64{p.offset, p.parts, p.rejected, p.ack, p.failed, p.reason, complete} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// decodeProgress reads a record. It is false for one that is not whole.
func decodeProgress(b []byte) (p progress, turn uint64, ok bool) {
	if len(b) < recordSize || string(b[:8]) != progressMagic {
		return p, 0, false
	}
	b = b[:recordSize]
	if binary.LittleEndian.Uint32(b[recordSize-4:]) != crc32.Checksum(b[:recordSize-4], castagnoli) {
		return p, 0, false
	}
	turn = binary.LittleEndian.Uint64(b[8:])
	at := 16
	next := func() int64 {
		n := int64(binary.LittleEndian.Uint64(b[at:]))
		at += 8
		ok = ok && n >= 0
		return n
	}
	ok = true
	p = progress{offset: next(), parts: next(), rejected: next(), ack: next(), failed: next(), reason: next()}
	p.complete = next() == 1
	return p, turn, ok
}

// record is the file that remembers the progress of one dropped file. It is
// made when there is something to remember.
type record struct {
	path string
	file *os.File // nil until it is made
	turn uint64
}

const progressSuffix = ".progress"

// openRecord reads what is remembered; nothing is no progress.
func openRecord(dir string, r reference) (*record, progress, error) {
	rec := &record{path: filepath.Join(dir, string(r)+progressSuffix)}
	f, err := os.OpenFile(rec.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return rec, progress{}, nil
	}
	if err != nil {
		return nil, progress{}, fmt.Errorf("open progress: %w", err)
	}
	rec.file = f
	both := make([]byte, slotSize+recordSize)
	n, err := f.ReadAt(both, 0)
	if err != nil && err != io.EOF {
		f.Close()
		return nil, progress{}, fmt.Errorf("read progress: %w", err)
	}
	var p progress
	for _, slot := range [][]byte{both[:min(n, recordSize)], both[min(n, slotSize):n]} {
		if q, turn, ok := decodeProgress(slot); ok && turn > rec.turn {
			p, rec.turn = q, turn
		}
	}
	return rec, p, nil
}

// save remembers p: when it returns, no power failure forgets it.
func (r *record) save(p progress) error {
	if r.file == nil {
		if err := r.create(); err != nil {
			return fmt.Errorf("save progress: %w", err)
		}
	}
	r.turn++
	if _, err := r.file.WriteAt(p.encode(r.turn), int64(r.turn%2)*slotSize); err != nil {
		return fmt.Errorf("save progress: %w", err)
	}
	if err := r.file.Sync(); err != nil {
		return fmt.Errorf("save progress: %w", err)
	}
	return nil
}

func (r *record) create() error {
	dir := filepath.Dir(r.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(r.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	r.file = f
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	_ = d.Sync() // Windows can not, and need not
	return nil
}

// exists says whether anything is remembered.
func (r *record) exists() bool { return r.file != nil }

func (r *record) close() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}

// forget removes the file.
func (r *record) forget() error {
	if r.file == nil {
		return nil
	}
	r.close()
	if err := os.Remove(r.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove progress: %w", err)
	}
	return nil
}
