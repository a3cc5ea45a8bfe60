package dropfolder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed/feedtest"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

func TestFolderConforms(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
	}{
		{"renamed", func(c *Config) { c.Ready = Renamed }},
		{"stable", func(c *Config) { c.Ready, c.Stable = Stable, 10*time.Millisecond }},
		{"marked", func(c *Config) { c.Ready, c.Marker = Marked, ".ok" }},
		{"without events", func(c *Config) { c.Watch = false }},
		{"keeping what was taken, by time", func(c *Config) { c.Done, c.DoneFor, c.Order = "done", time.Hour, ByTime }},
		{"acknowledging", func(c *Config) { c.Ack = "ack" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := testConfig(t)
			c.change(&config)
			feedtest.Run(t, feedtest.Subject{Answers: config.Ack != "", Open: func(t testing.TB, p feed.Policy) feedtest.Site {
				config := config
				config.Folder, config.Progress = t.TempDir(), filepath.Join(t.TempDir(), "progress")
				config.Policy, config.MaxMessage = p, 1<<20
				return &site{t: t, config: config, aside: t.TempDir()}
			}})
		})
	}
}

// site is a folder.
type site struct {
	t      testing.TB
	config Config
	aside  string
	next   atomic.Int64
}

func (s *site) Feed() (feedtest.Feed, error) { return New(s.config, quiet) }
func (s *site) Peer() feedtest.Peer          { return dropper{s} }

// dropper writes files.
type dropper struct{ *site }

func (d dropper) Close() error { return nil }

// Send drops a file, and waits until it was taken.
func (d dropper) Send(ctx context.Context, body []byte) ([]byte, error) {
	name := fmt.Sprintf("adt%d.hl7", d.next.Add(1))
	if err := d.place(name, body); err != nil {
		return nil, err
	}
	if d.config.Ready == Marked {
		if err := d.place(name+d.config.Marker, nil); err != nil {
			return nil, err
		}
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		ack, err := os.ReadFile(filepath.Join(d.config.Folder, "ack", name+".ack"))
		if err == nil {
			return ack, nil
		}
		if (d.config.Ack == "" || silent(body)) && d.taken(name) {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

func (d dropper) place(name string, body []byte) error {
	aside := filepath.Join(d.aside, name)
	if err := os.WriteFile(aside, body, 0o600); err != nil {
		return err
	}
	return os.Rename(aside, filepath.Join(d.config.Folder, name))
}

// taken says whether the file is neither there nor being taken. It looks where
// it comes from first: the file moves the other way.
func (d dropper) taken(name string) bool {
	if _, err := os.Lstat(filepath.Join(d.config.Folder, name)); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	entries, err := os.ReadDir(filepath.Join(d.config.Folder, taking))
	if err != nil {
		return false
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "~"+name) {
			return false
		}
	}
	return true
}

// silent says whether body asks for no acknowledgement.
func silent(body []byte) bool {
	m, err := hl7.Parse(body)
	return err == nil && (m.Get("MSH-9.1").Is("ACK") || m.Get("MSH-15").Is("NE") && m.Get("MSH-16").Is("NE"))
}

func (s *site) Misbehaviour() map[string]func(context.Context) error {
	good := string(feedtest.ADT("odd"))
	in := func(name string) string { return filepath.Join(s.config.Folder, name) }
	write := func(name, content string) func(context.Context) error {
		return func(context.Context) error {
			if err := (dropper{s}).place(name, []byte(content)); err != nil || s.config.Ready != Marked {
				return err
			}
			return (dropper{s}).place(name+s.config.Marker, nil)
		}
	}
	odd := map[string]func(context.Context) error{
		"an empty file":              write("empty.hl7", ""),
		"white space":                write("space.hl7", " \r\n\x00\r"),
		"noise":                      write("noise.hl7", strings.Repeat("noise\n", 1000)),
		"a picture":                  write("picture.hl7", string(bytes.Repeat([]byte{0, 0xff, 0xd8, 0x0b, 0x1c}, 100_000))),
		"over the limit":             write("long.hl7", good+strings.Repeat("x", 3<<20)),
		"no message over the limit":  write("longer.hl7", strings.Repeat("x", 3<<20)),
		"a batch that counts wrong":  write("batch.hl7", "FHS|^~\\&\rBHS|^~\\&\r"+good+"BTS|7\rFTS|3\r"),
		"a batch without its end":    write("open.hl7", "FHS|^~\\&\rBHS|^~\\&\r"+good),
		"only trailers":              write("trailers.hl7", "BTS|1\rFTS|1\r"),
		"half an MLLP frame":         write("frame.hl7", "\v"+good[:60]),
		"a name in another language": write("żółć 志明\n\t%s.hl7", good),
		"a name that is no UTF-8":    write("\xff\xfe.hl7", good),
		"a long name":                write(strings.Repeat("n", 240)+".hl7", good),
		"a folder": func(context.Context) error {
			return os.Mkdir(in("folder.hl7"), 0o700)
		},
		"a link to a file": func(context.Context) error {
			return os.Symlink("/etc/passwd", in("passwd.hl7"))
		},
		"a link to nothing": func(context.Context) error { return os.Symlink("nothing", in("nothing.hl7")) },
		"a link to itself":  func(context.Context) error { return os.Symlink("loop.hl7", in("loop.hl7")) },
		"a file that goes away": func(ctx context.Context) error {
			err := write("gone.hl7", good)(ctx)
			_ = os.Remove(in("gone.hl7"))
			return err
		},
		"what is not ours where we work": func(context.Context) error {
			_ = os.Mkdir(in(taking), 0o700)
			return errors.Join(os.WriteFile(in(taking+"/note.txt"), []byte("hello"), 0o600),
				os.WriteFile(in(taking+"/20261123T101500Z-00000000.ack"), []byte("hello"), 0o600))
		},
		"a link where we work": func(context.Context) error {
			_ = os.Mkdir(in(taking), 0o700)
			return os.Symlink("/etc/passwd", in(taking+"/20261123T101500Z-00000000~passwd"))
		},
		"the folder made anew": func(context.Context) error {
			return errors.Join(os.RemoveAll(s.config.Folder), os.Mkdir(s.config.Folder, 0o700))
		},
	}
	for name, do := range pipes(in("pipe.hl7")) {
		odd[name] = do
	}
	return odd
}
