package dropfolder

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// Config is one folder into which a sender drops files.
type Config struct {
	Name   string      `yaml:"-"`      // of the feed
	Folder string      `yaml:"folder"` // where files are dropped; may be on a share
	Policy feed.Policy `yaml:"policy"`

	Match  []string `yaml:"match"`  // names to take, such as *.hl7; all where there is none
	Ignore []string `yaml:"ignore"` // names never to take, such as those of files still being written

	Ready  Ready         `yaml:"ready"`  // how a file shows that it is whole
	Stable time.Duration `yaml:"stable"` // how long size and time must not have changed, where ready is stable
	Marker string        `yaml:"marker"` // what a marker's name ends with, where ready is marker

	Order Order         `yaml:"order"`
	Watch bool          `yaml:"watch"` // ask the system for events, besides looking by oneself
	Poll  time.Duration `yaml:"poll"`  // how often to look by oneself; shares give no events

	// Taken files are deleted, unless Done names a folder inside Folder
	// where they are kept for DoneFor.
	Done    string        `yaml:"done"`
	DoneFor time.Duration `yaml:"done_for"` // how long they are kept

	Failed    string        `yaml:"failed"`     // folder inside Folder for messages that were not taken
	FailedFor time.Duration `yaml:"failed_for"` // how long they are kept; 0 for ever
	Ack       string        `yaml:"ack"`        // folder inside Folder for acknowledgements; none where empty

	// Progress is a folder on a local disk, for this feed alone, that
	// remembers how far a file was taken. It holds numbers only.
	Progress string `yaml:"progress"`

	MaxMessage int           `yaml:"max_message"` // bytes in one message; a file may have any number
	Deadline   time.Duration `yaml:"deadline"`    // for one file operation, before the folder is said not to answer
	Report     time.Duration `yaml:"report"`      // between two lines in the log about a backlog
	Drain      time.Duration `yaml:"drain"`       // for what is in hand at a stop
}

// Ready says how a file shows that its sender has finished it.
type Ready string

const (
	// Stable takes a file whose size and time have not changed for a while.
	// The default, since it asks nothing of the sender; but a sender that
	// pauses for longer loses what it writes after.
	Stable Ready = "stable"
	// Renamed takes a file as soon as it is there: the sender writes it under
	// a name that is not matched, or is ignored, and renames it.
	Renamed Ready = "rename"
	// Marked takes a file once a second one has its name and the marker
	// behind it, such as a.hl7.ok for a.hl7.
	Marked Ready = "marker"
)

// Order says which file is taken first.
type Order string

const (
	// ByName reads numbers in names as numbers: a9.hl7 is before a10.hl7.
	ByName Order = "name"
	// ByTime takes what was changed first, and of the same time by name.
	ByTime Order = "time"
)

// DefaultConfig returns a feed that lacks only its name, folder and progress.
func DefaultConfig() Config {
	return Config{
		Ignore:     []string{".*", "~*", "*~", "*.tmp", "*.temp", "*.part", "*.partial", "*.filepart", "*.writing", "*.lock", "*.crdownload", "*.swp"},
		Ready:      Stable,
		Stable:     2 * time.Second,
		Order:      ByName,
		Watch:      true,
		Poll:       2 * time.Second,
		Failed:     "failed",
		FailedFor:  30 * 24 * time.Hour,
		MaxMessage: 32 << 20,
		Deadline:   15 * time.Second,
		Report:     time.Minute,
		Drain:      5 * time.Second,
	}
}

// taking is the folder inside Folder for the file that is being taken. Moved
// there it is ours: a sender that uses its name again does not change it.
const taking = "taking"

// Validate names the first setting that is wrong.
func (c Config) Validate() error {
	if c.Name == "" {
		return errors.New("name: empty, want the name of the feed")
	}
	for _, f := range []struct{ field, path string }{{"folder", c.Folder}, {"progress", c.Progress}} {
		if !filepath.IsAbs(f.path) {
			return fmt.Errorf("%s: %q, want a folder's whole path", f.field, f.path)
		}
	}
	if err := c.Policy.Validate(); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	if c.Policy.Hold == feed.Nack && c.Ack == "" {
		return fmt.Errorf("policy: hold: %q without ack, want a folder in which the sender finds AE, or %q", feed.Nack, feed.Wait)
	}
	if err := c.validatePatterns(); err != nil {
		return err
	}
	if err := c.validateFolders(); err != nil {
		return err
	}
	if c.MaxMessage < 1<<10 {
		return fmt.Errorf("max_message: %d, want 1024 or more", c.MaxMessage)
	}
	for _, d := range []struct {
		field string
		got   time.Duration
		zero  bool
	}{
		{"stable", c.Stable, c.Ready != Stable},
		{"poll", c.Poll, false},
		{"failed_for", c.FailedFor, true},
		{"deadline", c.Deadline, false},
		{"report", c.Report, false},
		{"drain", c.Drain, true},
	} {
		if d.got < 0 || d.got == 0 && !d.zero {
			return fmt.Errorf("%s: %v, want more than 0", d.field, d.got)
		}
	}
	return nil
}

func (c Config) validatePatterns() error {
	for _, l := range []struct {
		field    string
		patterns []string
	}{{"match", c.Match}, {"ignore", c.Ignore}} {
		for _, p := range l.patterns {
			if _, err := path.Match(p, "x"); err != nil || p == "" {
				return fmt.Errorf("%s: %q is no pattern, want one such as *.hl7", l.field, p)
			}
		}
	}
	switch c.Ready {
	case Stable:
	case Renamed:
		if len(c.Match) == 0 && len(c.Ignore) == 0 {
			return fmt.Errorf("match: empty, want what finished files are named like, such as *.hl7, where ready is %q", Renamed)
		}
	case Marked:
		if c.Marker == "" {
			return fmt.Errorf("marker: empty, want what a marker's name ends with, such as .ok, where ready is %q", Marked)
		}
	default:
		return fmt.Errorf("ready: %q, want %q, %q or %q", c.Ready, Stable, Renamed, Marked)
	}
	if c.Order != ByName && c.Order != ByTime {
		return fmt.Errorf("order: %q, want %q or %q", c.Order, ByName, ByTime)
	}
	return nil
}

func (c Config) validateFolders() error {
	used := map[string]string{taking: "the files being taken"}
	for _, f := range []struct {
		field, name string
		needed      bool
	}{{"failed", c.Failed, true}, {"done", c.Done, false}, {"ack", c.Ack, false}} {
		if f.name == "" && !f.needed {
			continue
		}
		if f.name == "" || f.name != filepath.Base(f.name) || strings.ContainsAny(f.name, `/\:`) || strings.Trim(f.name, ". ") == "" {
			return fmt.Errorf("%s: %q, want the name of a folder inside folder", f.field, f.name)
		}
		key := strings.ToLower(f.name)
		if used[key] != "" {
			return fmt.Errorf("%s: %q is for %s, want a folder of its own", f.field, f.name, used[key])
		}
		used[key] = f.field
	}
	if c.Done != "" && c.DoneFor <= 0 {
		return fmt.Errorf("done_for: %v, want how long taken files are kept, since they name patients", c.DoneFor)
	}
	return nil
}

// wants says whether a file of that name is for us.
func (c Config) wants(name string) bool {
	name = strings.ToLower(name)
	return !matches(c.Ignore, name) && (len(c.Match) == 0 || matches(c.Match, name))
}

// matches takes capitals for small letters, as Windows does.
func matches(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, _ := path.Match(strings.ToLower(p), name); ok {
			return true
		}
	}
	return false
}
