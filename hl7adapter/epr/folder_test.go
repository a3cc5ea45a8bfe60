package epr_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/eprtest"
)

// folderEPR is who takes the files from a folder.
type folderEPR struct {
	t   testing.TB
	dir string
}

func (e folderEPR) Sink(t testing.TB, name string, _ time.Duration, _ *slog.Logger) epr.Sink {
	c := epr.DefaultFolderConfig()
	c.Folder = e.dir
	s, err := epr.NewFolder(format(t, name, nil), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (folderEPR) Script(...eprtest.Answer) {}

func (e folderEPR) Came() (out []eprtest.Message) {
	entries, err := os.ReadDir(e.dir) // sorted by name
	if err != nil {
		e.t.Fatal(err)
	}
	for _, f := range entries {
		text, err := os.ReadFile(filepath.Join(e.dir, f.Name()))
		if err != nil {
			e.t.Fatal(err)
		}
		out = append(out, eprtest.Message{ID: f.Name(), Content: string(text)})
	}
	return out
}

func (e folderEPR) Showing() (n int) {
	shows := map[string]bool{}
	for _, m := range e.Came() {
		key, gone := shown([]byte(m.Content))
		shows[key] = !gone
	}
	for _, s := range shows {
		if s {
			n++
		}
	}
	return n
}

func TestFolderConforms(t *testing.T) {
	eprtest.Run(t, eprtest.Subject{Open: func(t testing.TB) eprtest.EPR { return folderEPR{t, t.TempDir()} }})
}

func TestFolderNeverWritesOver(t *testing.T) {
	e := folderEPR{t, t.TempDir()}
	sink := e.Sink(t, "epr", 0, nil)
	a := eprtest.Alert(1, safeguard.Raise)
	if _, err := sink.Deliver(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	name := e.Came()[0].ID
	if err := os.WriteFile(filepath.Join(e.dir, name), []byte("of somebody else"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := sink.Deliver(t.Context(), a)
	if err != nil || r.Outcome != safeguard.Refused {
		t.Errorf("got %s, want it refused: %v", r.Outcome, err)
	}
	if got := e.Came()[0].Content; got != "of somebody else" {
		t.Errorf("the file was written over: %q", got)
	}
}

func TestFolderNamesSortAndLeaveNothingAside(t *testing.T) {
	e := folderEPR{t, t.TempDir()}
	sink := e.Sink(t, "epr", 0, nil)
	// One decision may withdraw one alert and raise another.
	first, gone, other := eprtest.Alert(1, safeguard.Raise), eprtest.Alert(2, safeguard.Withdraw), eprtest.Other()
	other.Decided = gone.Decided
	var want []string
	for _, a := range []safeguard.Alert{first, gone, other} {
		if _, err := sink.Deliver(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		want = append(want, a.ControlID("epr"))
	}
	// A crash may have left one aside.
	if err := os.WriteFile(filepath.Join(e.dir, ".left.hl7.part"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range e.Came() {
		if strings.HasPrefix(m.ID, ".") {
			continue
		}
		got = append(got, strings.TrimSuffix(m.ID[strings.LastIndex(m.ID, "-")+1:], ".hl7"))
	}
	if !slices.Equal(got, want) {
		t.Errorf("by name: %v, want in the order of delivery %v", got, want)
	}
}

func TestFolderSaysWhatIsWrong(t *testing.T) {
	f := format(t, "epr", nil)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config epr.FolderConfig
		want   string
	}{
		"no folder":      {epr.FolderConfig{Suffix: ".hl7"}, "folder: empty"},
		"not there":      {epr.FolderConfig{Folder: file + "-not", Suffix: ".hl7"}, "no such file"},
		"a file":         {epr.FolderConfig{Folder: file, Suffix: ".hl7"}, "want a folder"},
		"no suffix":      {epr.FolderConfig{Folder: t.TempDir()}, "suffix"},
		"aside's suffix": {epr.FolderConfig{Folder: t.TempDir(), Suffix: ".part"}, "suffix"},
	} {
		if _, err := epr.NewFolder(f, c.config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want one that says %s", name, err, c.want)
		}
	}
	gone := t.TempDir()
	s, err := epr.NewFolder(f, epr.FolderConfig{Folder: gone, Suffix: ".hl7"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	r, err := s.Deliver(t.Context(), alert())
	if err == nil || r.Outcome != safeguard.Retry {
		t.Errorf("the folder is gone: got %s, %v, want an error, to be tried again", r.Outcome, err)
	}
}
