package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
	"github.com/safeguard-edge/safeguard/hl7adapter/explain"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
	"github.com/safeguard-edge/safeguard/hl7adapter/survey"
)

type hl7Commands struct {
	Explain explainMessages `cmd:"" help:"Say what messages are, what they mean to Safeguard, and which rule decided."`
	Survey  surveyMessages  `cmd:"" help:"Read a sample of a site's messages; say what its feed is like, and suggest its configuration."`
}

// understood says how messages are read: as a feed of a configuration says, else
// as the NHS standards have them.
type understood struct {
	Config string `help:"Configuration file, one of whose feeds the messages come from. Without it, the NHS defaults." type:"path" placeholder:"FILE"`
	Feed   string `help:"Name of that feed; not needed where there is one." placeholder:"NAME"`
}

func (u understood) load() (agent.Understanding, error) {
	if u.Config == "" {
		if u.Feed != "" {
			return agent.Understanding{}, errors.New("--feed: want --config with it")
		}
		london, err := time.LoadLocation("Europe/London")
		return agent.Understanding{Parser: adt.Parser{Site: adt.Site{Zone: london, Config: adt.DefaultConfig()}}}, err
	}
	config, err := agent.LoadConfig(u.Config)
	if err != nil {
		return agent.Understanding{}, err
	}
	return config.Understood(u.Feed)
}

// longest is the longest message that is read from a file.
const longest = 64 << 20

type explainMessages struct {
	File   string `arg:"" help:"File of one or many messages, MLLP frames or batches; - for standard input." placeholder:"FILE"`
	JSON   bool   `name:"json" help:"One JSON object for each message, one a line."`
	Reveal bool   `help:"Show patient data. Without it, it is masked."`

	understood `embed:""`
}

func (c explainMessages) Run() error {
	in := io.NopCloser(os.Stdin)
	if c.File != "-" {
		file, err := os.Open(c.File)
		if err != nil {
			return err
		}
		in = file
	}
	defer in.Close()
	return c.explain(in, os.Stdout)
}

// explained is one message of a file, or what belongs to none.
type explained struct {
	Number int   `json:"message,omitempty"` // counted from 1
	Offset int64 `json:"offset"`            // of its first byte in the file
	Stray  int   `json:"stray_bytes,omitempty"`
	*explain.Message
}

func (c explainMessages) explain(in io.Reader, out io.Writer) error {
	u, err := c.load()
	if err != nil {
		return err
	}
	e := explain.Explainer{Parser: u.Parser, Rules: safeguard.DefaultRules(), Charset: u.Charset, Processing: u.Processing, Reveal: c.Reveal}
	n := 0
	batch, err := eachMessage(in, func(part hl7.Part) error {
		x := explained{Offset: part.Offset}
		if part.Kind == hl7.StrayPart {
			x.Stray = len(part.Body)
			return c.write(out, x)
		}
		n++
		m := e.Explain(part.Body, time.Now())
		if part.Kind == hl7.LongPart {
			m.NotUnderstood = append(m.NotUnderstood, fmt.Sprintf("longer than %d bytes: only its beginning is read", longest))
		}
		x.Number, x.Message = n, &m
		return c.write(out, x)
	})
	switch {
	case err != nil:
		return err
	case n == 0:
		return errors.New("no HL7 message: want one that begins with MSH")
	}
	return batch
}

// eachMessage gives each part of a stream to do, and returns what is wrong with
// the batch that the stream is, if it is one.
func eachMessage(in io.Reader, do func(hl7.Part) error) (batch, err error) {
	b := hl7.NewBatch(in, longest)
	for {
		part, err := b.Next()
		switch {
		case errors.Is(err, io.EOF):
			return b.Check(), nil
		case err != nil:
			return nil, fmt.Errorf("read messages: %w", err)
		}
		if err := do(part); err != nil {
			return nil, err
		}
	}
}

func (c explainMessages) write(out io.Writer, x explained) error {
	switch {
	case c.JSON:
		return json.NewEncoder(out).Encode(x)
	case x.Stray > 0:
		_, err := fmt.Fprintf(out, "%d bytes at byte %d belong to no message\n\n", x.Stray, x.Offset)
		return err
	}
	if _, err := fmt.Fprintf(out, "MESSAGE %d, at byte %d, %d bytes\n\n", x.Number, x.Offset, x.Bytes); err != nil {
		return err
	}
	if err := x.WriteText(out); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out)
	return err
}

type surveyMessages struct {
	Files []string `arg:"" name:"folder-or-file" help:"Folders, with all that is in them, and files; - for standard input."`
	JSON  bool     `name:"json" help:"The report as one JSON object."`

	understood `embed:""`
}

func (c surveyMessages) Run() error { return c.survey(os.Stdin, os.Stdout, terminal(os.Stderr)) }

// survey reads everything and reports. progress is nil where nobody watches.
func (c surveyMessages) survey(in io.Reader, out, progress io.Writer) error {
	u, err := c.load()
	if err != nil {
		return err
	}
	s := survey.New(u.Parser)
	s.Charset, s.Processing = u.Charset, u.Processing
	t := &tour{survey: s, progress: progress, shown: time.Now()}
	for _, name := range c.Files {
		if name == "-" {
			err = t.read(in)
		} else {
			err = t.walk(name)
		}
		if err != nil {
			return err
		}
	}
	t.done()
	if s.Messages() == 0 {
		return fmt.Errorf("no HL7 message in %d files: want messages that begin with MSH", t.files)
	}
	report := s.Report()
	report.Notes = append(report.Notes, t.notes()...)
	if c.JSON {
		return json.NewEncoder(out).Encode(report)
	}
	return report.WriteText(out)
}

// tour reads files into a survey. It keeps no file's name, which may be a
// patient's.
type tour struct {
	survey         *survey.Survey
	files, bad     int
	empty, batches int
	why            error // why the first bad file could not be read
	progress       io.Writer
	shown          time.Time // when progress was last written
}

func (t *tour) walk(name string) error {
	names := []string{name}
	if _, err := os.Stat(name); err != nil {
		// A shell of Windows leaves patterns to the program.
		if names, _ = filepath.Glob(name); len(names) == 0 {
			return err
		}
	}
	for _, name := range names {
		err := filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				t.fail(err)
			case d.Type().IsRegular() || path == name && !d.IsDir():
				t.open(path)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *tour) open(path string) {
	file, err := os.Open(path)
	if err != nil {
		t.fail(err)
		return
	}
	defer file.Close()
	if err := t.read(file); err != nil {
		t.fail(err)
	}
}

func (t *tour) fail(err error) {
	t.bad++
	var path *fs.PathError
	if errors.As(err, &path) {
		err = fmt.Errorf("%s: %w", path.Op, path.Err)
	}
	if t.why == nil {
		t.why = err
	}
}

func (t *tour) read(in io.Reader) error {
	t.files++
	before := t.survey.Messages()
	batch, err := eachMessage(in, func(part hl7.Part) error {
		switch part.Kind {
		case hl7.StrayPart:
			t.survey.Stray()
		case hl7.LongPart:
			t.survey.Long()
		default:
			t.survey.Add(part.Body, time.Now())
		}
		t.show()
		return nil
	})
	if t.survey.Messages() == before {
		t.empty++
	}
	if batch != nil {
		t.batches++
	}
	return err
}

// show writes how far it is, at most five times a second.
func (t *tour) show() {
	if t.progress == nil || time.Since(t.shown) < 200*time.Millisecond {
		return
	}
	t.shown = time.Now()
	fmt.Fprintf(t.progress, "\r%-50s", fmt.Sprintf("%d messages in %d files", t.survey.Messages(), t.files))
}

func (t *tour) done() {
	if t.progress != nil {
		fmt.Fprintf(t.progress, "\r%50s\r", "")
	}
}

func (t *tour) notes() []string {
	var out []string
	if t.bad > 0 {
		out = append(out, fmt.Sprintf("%d files could not be read; the first: %v", t.bad, t.why))
	}
	if t.empty > 0 {
		out = append(out, fmt.Sprintf("%d of %d files hold no HL7 message", t.empty, t.files))
	}
	if t.batches > 0 {
		out = append(out, fmt.Sprintf("%d files are batches whose trailers do not match what is in them", t.batches))
	}
	return out
}

// terminal is f where a person watches it, else nil.
func terminal(f *os.File) io.Writer {
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return f
}
