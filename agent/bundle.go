package agent

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/agent/support"
	"github.com/safeguard-edge/safeguard/configs"
	"github.com/safeguard-edge/safeguard/control"
	"github.com/safeguard-edge/safeguard/logging"
)

// bundler gathers the support bundle: of an agent that runs all of it, else what
// can be had without one.
type bundler struct {
	version string
	file    string
	config  func() (Config, error)
	check   func(ctx context.Context, say func(Finding) error) error

	// Of a running agent; nil where none runs.
	shown   func() any
	journal *journal.Journal
	feeds   *liveFeeds
	keys    func() (KeysStatus, error)
	metrics http.Handler
	log     *slog.Logger
}

// SupportBundle writes the support bundle of the agent that has the file for its
// configuration, a zip archive, to out: made by the agent where it runs, so that
// it is the service's own account that looks. version is this program's.
func SupportBundle(ctx context.Context, file, version string, out io.Writer) (running bool, err error) {
	if data, err := configs.DataFolder(file); err == nil {
		err = control.Call(ctx, control.Address(control.Agent, data), "support", nil, func(row json.RawMessage) error {
			running = true
			var part []byte
			if err := json.Unmarshal(row, &part); err != nil {
				return err
			}
			_, err := out.Write(part)
			return err
		})
		if !errors.Is(err, control.ErrNotRunning) {
			return true, err
		}
	}
	b := bundler{
		version: version, file: file,
		config: func() (Config, error) { return LoadConfig(file) },
		check:  func(ctx context.Context, say func(Finding) error) error { return Check(ctx, file, say) },
	}
	return false, b.write(ctx, out)
}

// operate answers with the bundle, in parts. Who took one is logged.
func (b bundler) operate(ctx context.Context, who string, _ json.RawMessage, send func(any) error) error {
	b.log.Info("support bundle made", "by", who)
	parts := bufio.NewWriterSize(sending(send), 64<<10)
	if err := b.write(ctx, parts); err != nil {
		return err
	}
	return parts.Flush()
}

// sending is a writer to who called.
type sending func(any) error

func (s sending) Write(part []byte) (int, error) { return len(part), s(part) }

func (b bundler) write(ctx context.Context, out io.Writer) error {
	return support.Write(ctx, out, support.Manifest{Made: time.Now(), Program: "safeguard-agent " + b.version, Running: b.shown != nil}, b.items())
}

func (b bundler) items() []support.Item {
	items := []support.Item{
		{Name: "versions.json", What: "program, libraries and system", Make: b.versions},
		{Name: "configuration.yaml", What: "the configuration in force, with defaults and without secrets", Make: b.configuration},
		{Name: "certificates.json", What: "names and times of the certificates that the configuration names", Make: b.certificates},
		{Name: "check.json", What: "what safeguard-agent check finds", Make: b.checked},
		{Name: "data.json", What: "sizes of what is in the data folder", Make: b.sizes},
	}
	if b.shown == nil {
		return append(items,
			support.Item{Name: "day.json", What: "the last day before the agent stopped, in columns of five minutes, and what is usual", Make: b.keptDay},
			support.Item{Name: "log.txt", What: "the end of the log, where it is in a file", Make: b.logFile},
		)
	}
	return append(items,
		support.Item{Name: "status.json", What: "what the status page shows, with the last day", Make: func(context.Context) ([]byte, error) { return indented(b.shown()) }},
		support.Item{Name: "feeds.json", What: "what each feed has counted", Make: func(context.Context) ([]byte, error) { return indented(b.feeds.reports()) }},
		support.Item{Name: "journal.json", What: "how much the journal holds", Make: b.counts},
		support.Item{Name: "keys.json", What: "ages and names of the keys, never a key", Make: func(context.Context) ([]byte, error) {
			status, err := b.keys()
			if err != nil {
				return nil, err
			}
			return indented(status)
		}},
		support.Item{Name: "metrics.txt", What: "the metrics, as Prometheus reads them", Make: b.measured},
		support.Item{Name: "log.jsonl", What: "the latest lines of the log", Make: func(context.Context) ([]byte, error) {
			lines := logging.Recent(b.log)
			return []byte(strings.Join(lines, "\n") + "\n"), nil
		}},
	)
}

func indented(v any) ([]byte, error) { return json.MarshalIndent(v, "", "  ") }

func (b bundler) versions(context.Context) ([]byte, error) {
	libraries := map[string]string{}
	build, _ := debug.ReadBuildInfo()
	if build != nil {
		for _, d := range build.Deps {
			libraries[d.Path] = d.Version
		}
	}
	return indented(map[string]any{
		"program": b.version, "go": runtime.Version(), "system": runtime.GOOS + "/" + runtime.GOARCH, "processors": runtime.NumCPU(), "libraries": libraries,
	})
}

func (b bundler) configuration(context.Context) ([]byte, error) {
	c, err := b.config()
	if err != nil {
		return nil, err // which names the line, and quotes no secret
	}
	c.Sinks = append([]Sink(nil), c.Sinks...)
	for i := range c.Sinks {
		c.Sinks[i].TestPatient = nil
	}
	return configs.Show(c)
}

// certificateFacts is what a certificate says of itself.
type certificateFacts struct {
	Key     string    `json:"key"` // of the configuration
	Subject string    `json:"subject"`
	Issuer  string    `json:"issuer"`
	Names   []string  `json:"names,omitempty"`
	Serial  string    `json:"serial"`
	From    time.Time `json:"from"`
	Until   time.Time `json:"until"`
}

func (b bundler) certificates(context.Context) ([]byte, error) {
	c, err := b.config()
	if err != nil {
		return nil, err
	}
	all := []certificateFacts{}
	for _, f := range c.certificateFiles() {
		if f.path == "" {
			continue
		}
		text, err := os.ReadFile(f.path)
		if err != nil {
			all = append(all, certificateFacts{Key: f.key, Subject: "not read: " + plainly(err)})
			continue
		}
		for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
			read, err := x509.ParseCertificate(block.Bytes)
			if block.Type != "CERTIFICATE" || err != nil {
				continue
			}
			names := read.DNSNames
			for _, u := range read.URIs {
				names = append(names, u.String())
			}
			all = append(all, certificateFacts{f.key, read.Subject.String(), read.Issuer.String(), names, read.SerialNumber.Text(16), read.NotBefore, read.NotAfter})
		}
	}
	return indented(all)
}

func (b bundler) checked(ctx context.Context) ([]byte, error) {
	found := []Finding{}
	err := b.check(ctx, func(f Finding) error {
		found = append(found, f)
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	return indented(found)
}

// sizes are of the folders in the data folder, without the names of files that
// others have given.
func (b bundler) sizes(context.Context) ([]byte, error) {
	data, err := configs.DataFolder(b.file)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(data)
	if err != nil {
		return nil, errors.New(plainly(err))
	}
	type size struct {
		Folder string `json:"folder"`
		Files  int    `json:"files"`
		Bytes  int64  `json:"bytes"`
	}
	own := map[string]bool{"journal": true, "cache": true, "keys": true, "status": true, "changes": true, "config": true, "commands": true}
	all, other := []size{}, size{Folder: "other"}
	for _, e := range entries {
		s := size{Folder: e.Name()}
		_ = filepath.WalkDir(filepath.Join(data, e.Name()), func(_ string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil // what can not be read is not counted
			}
			if info, err := d.Info(); err == nil {
				s.Files, s.Bytes = s.Files+1, s.Bytes+info.Size()
			}
			return nil
		})
		if own[e.Name()] {
			all = append(all, s)
			continue
		}
		other.Files, other.Bytes = other.Files+s.Files, other.Bytes+s.Bytes
	}
	return indented(append(all, other))
}

func (b bundler) counts(ctx context.Context) ([]byte, error) {
	request, err := json.Marshal(journal.Request{Do: journal.Counts})
	if err != nil {
		return nil, err
	}
	var rows []any
	err = b.journal.Operate(ctx, "support bundle", request, func(row any) error {
		rows = append(rows, row)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return indented(rows)
}

func (b bundler) measured(ctx context.Context) ([]byte, error) {
	if b.metrics == nil {
		return nil, errors.New("this agent has no metrics")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/metrics", nil)
	if err != nil {
		return nil, err
	}
	var w written
	b.metrics.ServeHTTP(&w, r)
	return w.body.Bytes(), nil
}

// written keeps what a handler writes.
type written struct {
	header http.Header
	body   bytes.Buffer
}

func (w *written) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}
func (w *written) WriteHeader(int)                      {}
func (w *written) Write(text []byte) (n int, err error) { return w.body.Write(text) }

func (b bundler) keptDay(context.Context) ([]byte, error) {
	data, err := configs.DataFolder(b.file)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(dayFile(data))
	if err != nil {
		return nil, errors.New(plainly(err))
	}
	return text, nil
}

const endOfLog = 1 << 20 // bytes

func (b bundler) logFile(context.Context) ([]byte, error) {
	c, err := b.config()
	if err != nil {
		return nil, err
	}
	if c.Log.To != logging.Files {
		return nil, fmt.Errorf("the log goes to %s: add its end by the system's own means, such as journalctl -u safeguard-agent", c.Log.To)
	}
	f, err := os.Open(c.Log.File.Path)
	if err != nil {
		return nil, errors.New(plainly(err))
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(max(0, info.Size()-endOfLog), io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, endOfLog))
}
