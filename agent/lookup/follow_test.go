package lookup_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/lookup"
)

// ward is what follows from changes, as a list of words.
type ward struct {
	did  []string
	fail error // of having attendances asked about again
}

func (w *ward) Changed(context.Context, safeguard.NHSNumber) error {
	if w.fail != nil {
		return w.fail
	}
	w.did = append(w.did, "changed")
	return nil
}

func (w *ward) Missed(context.Context) error {
	w.did = append(w.did, "missed")
	return nil
}

func (w *ward) Lost(context.Context, time.Time) error {
	w.did = append(w.did, "lost")
	return nil
}

func (c *cache) Doubt(time.Time) { c.doubted++ }

func (c *cache) Due(time.Time, func(safeguard.AttendanceID) bool, int) []safeguard.Query {
	return slices.Clone(c.due)
}

// stream tells the changes of each connection, one after the other, and after the
// last nothing.
func stream(resumed *[]string, connections ...[]lookup.Change) lookup.Changes {
	n := 0
	return func(ctx context.Context, resume string) iter.Seq2[lookup.Change, error] {
		*resumed = append(*resumed, resume)
		return func(yield func(lookup.Change, error) bool) {
			n++
			if n > len(connections) {
				<-ctx.Done()
				return
			}
			for _, c := range connections[n-1] {
				if !yield(c, nil) {
					return
				}
			}
			yield(lookup.Change{}, errors.New("connection lost"))
		}
	}
}

func TestFollower(t *testing.T) {
	who := safeguard.TestPatient
	for name, tt := range map[string]struct {
		resume  string
		stream  [][]lookup.Change
		kept    bool
		away    bool // the centre does not answer lookups
		fail    error
		did     string
		resumed string // from where each connection went on
		saved   string
	}{
		"the centre was restored":                   {stream: [][]lookup.Change{{{Missed: true, Lost: time.Now(), Resume: "7.7"}}}, did: "missed,lost", resumed: ",7.7", saved: "7.7"},
		"first start: changes may have been missed": {stream: [][]lookup.Change{{{Missed: true, Resume: "5.5"}}}, did: "missed", resumed: ",5.5", saved: "5.5"},
		"a change":                            {resume: "5.5", stream: [][]lookup.Change{{{Number: who, Resume: "6.6"}}}, did: "changed", resumed: "5.5,6.6", saved: "6.6"},
		"a change of a kept answer":           {resume: "5.5", kept: true, stream: [][]lookup.Change{{{Number: who, Resume: "6.6"}}}, did: "changed", resumed: "5.5,6.6", saved: "6.6"},
		"the resume point alone moves":        {resume: "5.5", stream: [][]lookup.Change{{{Resume: "7.7"}, {Number: who}}}, did: "changed", resumed: "5.5,7.7", saved: "7.7"},
		"not on disk: it is told again":       {resume: "5.5", fail: errors.New("disk full"), stream: [][]lookup.Change{{{Number: who, Resume: "6.6"}}}, resumed: "5.5,5.5", saved: "5.5"},
		"not refreshed: it is told again":     {resume: "5.5", kept: true, away: true, stream: [][]lookup.Change{{{Number: who, Resume: "6.6"}}}, did: "changed", resumed: "5.5,5.5", saved: "5.5"},
		"what came before the break is saved": {resume: "5.5", stream: [][]lookup.Change{{{Resume: "6.6"}}, {{Resume: "7.7"}}}, resumed: "5.5,6.6,7.7", saved: "7.7"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "changes", "resume")
				if tt.resume != "" {
					if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(file, []byte(tt.resume), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				held, c, w := &cache{ok: tt.kept}, &centre{answer: safeguard.Answer{Status: safeguard.NoneHeld}}, &ward{fail: tt.fail}
				if tt.away {
					c.err = errors.New("no connection")
				}
				log := slog.New(slog.DiscardHandler)
				var resumed []string
				f := &lookup.Follower{
					Changes: stream(&resumed, tt.stream...), Lookup: lookup.New(c, held, deadline, log), Kept: held, Attendances: w, File: file, Log: log,
				}
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- f.Run(ctx) }()
				time.Sleep(time.Minute)
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if got := strings.Join(slices.Compact(w.did), ","); got != tt.did {
					t.Errorf("did %q, want %q", got, tt.did)
				}
				if got := strings.Join(resumed, ","); got != tt.resumed {
					t.Errorf("resumed from %q, want %q", got, tt.resumed)
				}
				if text, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(text)) != tt.saved {
					t.Errorf("saved %q, %v, want %q", text, err, tt.saved)
				}
				if missed := strings.Contains(tt.did, "missed"); held.doubted > 0 != missed {
					t.Errorf("what is kept was doubted %d times, missed %v", held.doubted, missed)
				}
				if c.asked > 0 != tt.kept {
					t.Errorf("asked %d times, want a refresh where an answer is kept", c.asked)
				}
			})
		})
	}
}
