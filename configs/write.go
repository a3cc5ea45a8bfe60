package configs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Answer is one thing that a new file is told. Value may come from a flag, or
// else from who is asked.
type Answer struct {
	Flag     string // of config init
	Question string
	Value    string
	Default  string // taken where nothing is answered; none where there must be an answer
}

// Ask asks for what is not answered yet, and takes what is there by default where
// in is nil. It says which flags are missing.
func Ask(answers []Answer, in *bufio.Scanner, out io.Writer) error {
	var missing []string
	for i := range answers {
		a := &answers[i]
		for in != nil && a.Value == "" {
			hint := ""
			if a.Default != "" {
				hint = " [" + a.Default + "]"
			}
			fmt.Fprintf(out, "%s%s: ", a.Question, hint)
			if !in.Scan() {
				return errors.Join(errors.New("no answer: nothing is written"), in.Err())
			}
			if a.Value = strings.TrimSpace(in.Text()); a.Value == "" {
				a.Value = a.Default
			}
		}
		if a.Value == "" {
			a.Value = a.Default
		}
		if a.Value == "" {
			missing = append(missing, a.Flag)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not answered: %s", strings.Join(missing, ", "))
	}
	return nil
}

// WriteNew writes text as a new file at path once check takes it, and never over
// one that is there.
func WriteNew(path, text string, check func(path string) error) (err error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there already: nothing is written", path)
	}
	aside, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	defer func() { _ = os.Remove(aside.Name()) }()
	if _, err := io.WriteString(aside, text); err != nil {
		return errors.Join(fmt.Errorf("write configuration: %w", err), aside.Close())
	}
	// The service's user reads it, and there is no secret in it.
	if err := errors.Join(aside.Chmod(0o644), aside.Sync(), aside.Close()); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	if err := check(aside.Name()); err != nil {
		return errors.New(strings.ReplaceAll(err.Error(), aside.Name(), path))
	}
	if err := os.Link(aside.Name(), path); err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Rename(aside.Name(), path) // where there are no links
}
