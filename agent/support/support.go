// Package support makes the bundle that a site sends to whoever helps it: an
// archive of what is known of an agent, with a manifest. What is put into it is
// told, and looked through for what must never be in it.
package support

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// Item is one file of a bundle. Make gives its text; an error takes its place, and
// the bundle is made without it.
type Item struct {
	Name string
	What string // it is, in a few words
	Make func(ctx context.Context) ([]byte, error)
}

// Never is what no bundle has, as its manifest says.
var Never = []string{
	"messages, and anything else that the journal or the cache keeps",
	"names, NHS numbers, dates of birth or addresses of patients; whatever reads as an NHS number is replaced by zeros",
	"flags, answers and alerts",
	"keys, passwords, tokens and other secrets: the configuration has the names of their files only",
	"the EPR's test patient, and comments, of the configuration",
	"names of files in the folders of feeds and sinks",
}

// Manifest tells what is in a bundle.
type Manifest struct {
	Made    time.Time `json:"made"`
	Program string    `json:"program"`
	Running bool      `json:"running"` // the agent was, when it was made
	Files   []File    `json:"files"`
	Never   []string  `json:"never"`
}

// File is a file of a bundle, or one that could not be had.
type File struct {
	Name    string `json:"name"`
	What    string `json:"what"`
	Bytes   int    `json:"bytes"`
	SHA256  string `json:"sha256,omitempty"`
	Masked  int    `json:"masked,omitempty"`  // what read as an NHS number
	Missing string `json:"missing,omitempty"` // why
}

const (
	itemTime = 90 * time.Second
	mostItem = 8 << 20 // bytes; of a longer one the end
)

// Write writes a bundle as a zip archive.
func Write(ctx context.Context, out io.Writer, m Manifest, items []Item) error {
	archive := zip.NewWriter(out)
	m.Never = Never
	for _, item := range items {
		f := File{Name: item.Name, What: item.What}
		text, err := item.make(ctx)
		if err == nil {
			text, f.Masked = Mask(text)
			sum := sha256.Sum256(text)
			f.Bytes, f.SHA256 = len(text), hex.EncodeToString(sum[:])
			err = add(archive, item.Name, text, m.Made)
			if err != nil {
				return err
			}
		} else {
			missing, masked := Mask([]byte(err.Error()))
			f.Missing, f.Masked = string(missing), masked
		}
		m.Files = append(m.Files, f)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := add(archive, "manifest.json", text, m.Made); err != nil {
		return err
	}
	if err := add(archive, "README.txt", m.readme(), m.Made); err != nil {
		return err
	}
	return archive.Close()
}

func (i Item) make(ctx context.Context) (text []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, itemTime)
	defer cancel()
	text, err = i.Make(ctx)
	if len(text) > mostItem {
		text = text[len(text)-mostItem:]
	}
	return text, err
}

func add(archive *zip.Writer, name string, text []byte, at time.Time) error {
	w, err := archive.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: at})
	if err == nil {
		_, err = w.Write(text)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// readme is the manifest for people.
func (m Manifest) readme() []byte {
	var b bytes.Buffer
	state := "The agent did not run: this is what could be had without it."
	if m.Running {
		state = "The agent ran, and has made this itself."
	}
	fmt.Fprintf(&b, "Support bundle of %s, made %s.\n%s\n\nWhat is in it:\n", m.Program, m.Made.UTC().Format(time.RFC3339), state)
	for _, f := range m.Files {
		fmt.Fprintf(&b, "  %-20s %s", f.Name, f.What)
		if f.Missing != "" {
			fmt.Fprintf(&b, "; NOT IN IT: %s", f.Missing)
		}
		b.WriteByte('\n')
	}
	b.WriteString("\nWhat is never in it:\n")
	for _, what := range m.Never {
		fmt.Fprintf(&b, "  - %s\n", what)
	}
	return b.Bytes()
}

var tenDigits = regexp.MustCompile(`[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{4}`)

// Mask replaces the digits of whatever reads as an NHS number by zeros, so that
// text and JSON stay what they are, and tells how many there were.
func Mask(text []byte) (masked []byte, count int) {
	masked = bytes.Clone(text)
	for from := 0; ; {
		found := tenDigits.FindIndex(masked[from:])
		if found == nil {
			return masked, count
		}
		start, end := from+found[0], from+found[1]
		from = start + 1
		if start > 0 && digit(masked[start-1]) || end < len(masked) && digit(masked[end]) {
			continue
		}
		if n, err := safeguard.ParseNHSNumber(string(masked[start:end])); err != nil || n == (safeguard.NHSNumber{}) {
			continue
		}
		for i := start; i < end; i++ {
			if digit(masked[i]) {
				masked[i] = '0'
			}
		}
		count++
		from = end
	}
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
