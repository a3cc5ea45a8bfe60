package epr

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// FolderConfig is an EPR, or its integration engine, that takes messages as files.
type FolderConfig struct {
	Folder string `yaml:"folder"` // where files are put; may be on a share
	Suffix string `yaml:"suffix"` // of the files' names
}

// DefaultFolderConfig lacks only the folder.
func DefaultFolderConfig() FolderConfig { return FolderConfig{Suffix: ".hl7"} }

// Validate names the first key that is wrong.
func (c FolderConfig) Validate() error {
	if c.Folder == "" {
		return errors.New("folder: empty, want the folder to write into")
	}
	if len(c.Suffix) < 2 || c.Suffix[0] != '.' || strings.ContainsAny(c.Suffix, `/\`) || c.Suffix == aside {
		return fmt.Errorf("suffix: %q, want one such as .hl7", c.Suffix)
	}
	return nil
}

// Folder is a sink that writes each message into a file of its own. A file is
// there whole or not at all, and no file is ever written over: a repeat finds its
// own. Names sort as the alerts were decided. Make one with NewFolder.
type Folder struct {
	format *Format
	config FolderConfig
	mu     sync.Mutex // held while a file is written
}

// aside is the suffix of a file that is being written.
const aside = ".part"

// NewFolder makes a sink that writes into the folder, which must be there.
func NewFolder(f *Format, c FolderConfig) (*Folder, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	info, err := os.Stat(c.Folder)
	if err != nil {
		return nil, fmt.Errorf("folder: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("folder: %s is a file, want a folder", c.Folder)
	}
	return &Folder{format: f, config: c}, nil
}

// Preview is what would be sent for the alert.
func (s *Folder) Preview(a safeguard.Alert) (string, error) { return s.format.Preview(a) }

// Name is the sink's name.
func (s *Folder) Name() string { return s.format.Sink }

// Carrier is folder.
func (s *Folder) Carrier() string { return "folder" }

// Close does nothing: no file stays open.
func (s *Folder) Close() error { return nil }

// Deliver writes the alert's file, and returns when it is on the disk.
func (s *Folder) Deliver(ctx context.Context, a safeguard.Alert) (safeguard.Receipt, error) {
	message, err := s.format.Message(a)
	if err != nil {
		return safeguard.Receipt{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return safeguard.Receipt{}, err
	}
	path := filepath.Join(s.config.Folder, s.fileName(a))
	switch there, err := os.ReadFile(path); {
	case err == nil && bytes.Equal(there, message):
		return safeguard.Receipt{Outcome: safeguard.Delivered, Code: "repeat", At: time.Now()}, nil
	case err == nil:
		return safeguard.Receipt{Outcome: safeguard.Refused, Code: "exists", Text: "a file of that name has another content", At: time.Now()}, nil
	case !errors.Is(err, fs.ErrNotExist):
		return safeguard.Receipt{}, fmt.Errorf("look for file: %w", err)
	}
	if err := write(path, message); err != nil {
		return safeguard.Receipt{}, err
	}
	return safeguard.Receipt{Outcome: safeguard.Delivered, Code: "written", At: time.Now()}, nil
}

// fileName says when the alert was decided and which it is. A decision may both
// withdraw and raise: the withdrawal comes first.
func (s *Folder) fileName(a safeguard.Alert) string {
	order := "1"
	if a.Action == safeguard.Withdraw {
		order = "0"
	}
	return a.Decided.UTC().Format("20060102T150405.000000000Z") + "-" + order + "-" + a.ControlID(s.format.Sink) + s.config.Suffix
}

// write writes the file aside, syncs and renames it. What a crash leaves aside is
// written over by the repeat.
func write(path string, content []byte) error {
	part := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+aside)
	f, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		_ = os.Remove(part)
		return fmt.Errorf("write file: %w", err)
	}
	return syncFolder(filepath.Dir(path))
}
