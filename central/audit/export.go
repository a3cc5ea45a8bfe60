package audit

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
)

// line is a record as a line of an export: the entry byte for byte as it was
// hashed, so that anyone can verify it.
type line struct {
	Hash  string          `json:"hash"`
	Entry json.RawMessage `json:"entry"`
}

// Export writes records as JSON lines. What subjects commit to is left out.
func Export(out io.Writer, records iter.Seq2[Record, error]) (int, error) {
	w := bufio.NewWriter(out)
	n := 0
	for r, err := range records {
		if err != nil {
			return n, fmt.Errorf("read audit: %w", err)
		}
		// Written by hand: an encoder would be free to write the entry's JSON
		// another way.
		if _, err := fmt.Fprintf(w, "{\"hash\":%q,\"entry\":%s}\n", hex.EncodeToString(r.Hash), r.Body); err != nil {
			return n, fmt.Errorf("write audit: %w", err)
		}
		n++
	}
	if err := w.Flush(); err != nil {
		return n, fmt.Errorf("write audit: %w", err)
	}
	return n, nil
}

// VerifyFile verifies an export. A chain whose end was cut off shows only where
// another chain, or a head noted elsewhere, saw more of it.
func VerifyFile(path string, noted []Head) (Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return Report{}, fmt.Errorf("verify audit: %w", err)
	}
	defer func() { _ = f.Close() }()
	records := func() iter.Seq2[Record, error] {
		return func(yield func(Record, error) bool) {
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				yield(Record{}, err)
				return
			}
			Read(f)(yield)
		}
	}
	report, err := Verify(Trail{Records: records, Noted: noted})
	if err != nil {
		return Report{}, fmt.Errorf("verify audit: %s: %w", path, err)
	}
	return report, nil
}

// maxLine bounds a line of an export, in bytes. An entry with the heads of
// thousands of chains is long.
const maxLine = 16 << 20

// Read gives the records of an export. A line that is none ends it with an
// error that says which.
func Read(in io.Reader) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		s := bufio.NewScanner(in)
		s.Buffer(nil, maxLine)
		n := 0
		for s.Scan() {
			n++
			r, err := readLine(s.Bytes())
			if err != nil {
				err = fmt.Errorf("line %d: %w", n, err)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
		if err := s.Err(); err != nil {
			yield(Record{}, fmt.Errorf("line %d: %w", n+1, err))
		}
	}
}

func readLine(text []byte) (Record, error) {
	var l line
	var e Entry
	if json.Unmarshal(text, &l) != nil || json.Unmarshal(l.Entry, &e) != nil {
		return Record{}, errors.New("not a line of an audit export, want {\"hash\":...,\"entry\":...}")
	}
	hash, err := hex.DecodeString(l.Hash)
	if err != nil {
		return Record{}, errors.New("hash: want hexadecimal digits")
	}
	return Record{Position: Position{e.Chain, e.Seq}, At: e.At, Body: l.Entry, Hash: hash}, nil
}
