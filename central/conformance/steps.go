package conformance

import (
	"context"
	"encoding/csv"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/central/upload"
)

// step is one thing that is asked of the system.
type step struct {
	name, title string
	task        string // what is to be done, for a person
	expected    string
	prepare     func(ctx context.Context) error
	check       func() (found string) // what is not as expected; empty when all is
}

// Files that the system writes.
const (
	verdictsFile = "verdicts.csv" // nhs_number,code: the rows that were not loaded
	storedFile   = "stored.csv"   // attendance,state: what it has by now of attendances, each once; state is open or taken-back
)

// steps are what is asked, in this order. Each goes on from what the ones before
// have left.
func (c *centre) steps() []step {
	good, more, again, rest := c.rows[:4], c.rows[4:9], c.rows[9:11], c.rows[11:]
	refused := more[roll(int64(len(more)))]
	loaded := slices.DeleteFunc(slices.Clone(more), func(r row) bool { return r == refused })
	held := slices.Concat(good, loaded, again)
	left := held[roll(int64(len(held)))]
	snapshot := slices.Concat(slices.DeleteFunc(slices.Clone(held), func(r row) bool { return r == left }), rest)
	first, second, third := snapshot[0], snapshot[1], snapshot[2]
	var attended []safeguard.Query
	var owed []string
	var uploads, empty int
	attend := func(rows ...row) func(context.Context) error {
		return func(ctx context.Context) error {
			for _, r := range rows {
				q, err := c.attend(ctx, r, fmt.Sprint("visit ", len(attended)))
				attended = append(attended, q)
				if err != nil {
					return err
				}
			}
			return c.waiting(ctx, &owed)
		}
	}
	begin := func(name string, rows []row, more func(context.Context) error) func(context.Context) error {
		return func(ctx context.Context) error {
			uploads = len(c.store.since(0))
			if err := c.write(name, rows); err != nil || more == nil {
				return err
			}
			return more(ctx)
		}
	}
	return []step{
		{
			name: "upload", title: "uploads flags as changes",
			task:     "Send the rows of upload-1.csv as one upload of changes, with a sequence number.",
			expected: "one upload of changes, with a sequence number, of exactly the rows of upload-1.csv",
			prepare:  begin("upload-1.csv", good, nil),
			check:    func() string { return c.uploaded(uploads, good, len(good), false, 1) },
		},
		{
			name: "verdicts", title: "reads the verdict on each row",
			task: "Send the rows of upload-2.csv as the next upload of changes. One of them is refused. Write " + verdictsFile + " with the columns nhs_number,code: " +
				"the NHS number of each row that was not loaded, and the code that it got.",
			expected: "the next sequence number, and the refused row, with its code, in " + verdictsFile,
			prepare: begin("upload-2.csv", more, func(ctx context.Context) error {
				_, err := c.held.ImportDemographics(ctx, func(yield func(store.Listed, error) bool) {
					yield(store.Listed{Number: refused.number, Standing: store.Superseded}, nil)
				}, audit.Who{Caller: "conformance"})
				return err
			}),
			check: func() string {
				if found := c.uploaded(uploads, loaded, len(more), false, 1); found != "" {
					return found
				}
				return c.says(verdictsFile, map[string]string{refused.number.Reveal(): upload.Superseded})
			},
		},
		{
			name: "lost-reply", title: "repeats an upload whose reply was lost",
			task:     "Send the rows of upload-3.csv as the next upload of changes. The reply is lost: send it again, as it was, with the same sequence number.",
			expected: "the same upload twice, with one sequence number, the next one",
			prepare: begin("upload-3.csv", again, func(context.Context) error {
				c.store.lose(&c.store.loseReport)
				return nil
			}),
			check: func() string { return c.uploaded(uploads, again, len(again), false, 2) },
		},
		{
			name: "snapshot", title: "uploads a whole snapshot",
			task:     "Send the rows of snapshot.csv as the next upload: they are all flags that the authority has now.",
			expected: "one upload that is a snapshot, of exactly the rows of snapshot.csv, which ends the one flag that is not in it",
			prepare:  begin("snapshot.csv", snapshot, nil),
			check: func() string {
				if found := c.uploaded(uploads, snapshot, len(snapshot), true, 1); found != "" {
					return found
				}
				if u := c.store.since(uploads)[0]; u.kept.Ended != 1 {
					return fmt.Sprintf("a snapshot that ended %d flags", u.kept.Ended)
				}
				return ""
			},
		},
		{
			name: "pull", title: "pulls notifications, and acknowledges what it has taken over",
			task: "Two of the persons attend. Pull the notifications, keep them, and acknowledge them. Write " + storedFile + " with the columns attendance,state: " +
				"every attendance that the system has been told of, once each, with the state open.",
			expected: "both notifications acknowledged, and both attendances in " + storedFile,
			prepare:  attend(first, second),
			check:    func() string { return c.taken(owed, attended) },
		},
		{
			name: "lost-acknowledgement", title: "takes what comes again as what it has",
			task: "One more attends. The first acknowledgement fails: the notification comes again, with the same id. Pull and acknowledge until it is taken, " +
				"and write " + storedFile + " anew: still each attendance once.",
			expected: "the notification acknowledged at last, and its attendance once in " + storedFile,
			prepare: func(ctx context.Context) error {
				c.store.lose(&c.store.loseAck)
				return attend(third)(ctx)
			},
			check: func() string {
				if c.store.read(&c.store.acksLost) == 0 {
					return "no acknowledgement came"
				}
				return c.taken(owed, attended)
			},
		},
		{
			name: "correction", title: "takes back what was corrected",
			task: "The first attendance is cancelled, and a notification takes the earlier one back. Pull and acknowledge it, and write " + storedFile + " anew: " +
				"that attendance with the state taken-back.",
			expected: "the correction acknowledged, and its attendance as taken-back in " + storedFile,
			prepare: func(ctx context.Context) error {
				q := attended[0]
				_, err := c.agent.Correct(ctx, safeguard.Correction{Number: q.Number, Author: q.Author, Attendance: q.Attendance, Reason: safeguard.AttendanceCancelled, At: time.Now()})
				if err != nil {
					return err
				}
				return c.waiting(ctx, &owed)
			},
			check: func() string { return c.taken(owed, attended, attended[0]) },
		},
		{
			name: "nothing", title: "takes it that there is nothing",
			task:     "Pull once more. Nothing waits, and that is no error.",
			expected: "a pull that got nothing, and no acknowledgement of what was never given",
			prepare: func(context.Context) error {
				empty = c.store.read(&c.store.empty)
				return nil
			},
			check: func() string {
				switch {
				case len(c.store.list(&c.store.strange)) > 0:
					return fmt.Sprintf("%d ids were acknowledged that the system never got", len(c.store.list(&c.store.strange)))
				case c.store.read(&c.store.empty) == empty:
					return "no pull that got nothing"
				}
				return ""
			},
		},
	}
}

// uploaded tells how the uploads since the first n are not what they should be:
// one, of the rows that are loaded, with the next number, and then the same again
// until it came times.
func (c *centre) uploaded(n int, loaded []row, rows int, snapshot bool, times int) string {
	all := c.store.since(0)
	came := all[n:]
	if len(came) == 0 {
		return "no upload"
	}
	u := came[0]
	before := int64(0)
	if n > 0 {
		before = all[n-1].kept.Sequence
	}
	want, got := map[string]bool{}, map[string]bool{}
	for _, r := range loaded {
		want[fmt.Sprint(r.number.Reveal(), r.plan, r.start, r.born)] = true
	}
	for _, change := range u.changes {
		got[fmt.Sprint(change.Number.Reveal(), change.Flag.Plan, change.Flag.Start, change.Flag.Born.Reveal())] = true
	}
	switch {
	case u.err != nil:
		return "an upload that was refused: " + u.err.Error()
	case u.kept.Sequence == 0:
		return "an upload without a sequence number"
	case before > 0 && u.kept.Sequence != before+1:
		return fmt.Sprintf("sequence number %d after %d", u.kept.Sequence, before)
	case u.kept.Snapshot != snapshot:
		return fmt.Sprintf("an upload that is %s", map[bool]string{false: "of changes, not a snapshot", true: "a snapshot, not of changes"}[u.kept.Snapshot])
	case u.kept.Rows != rows || !maps.Equal(want, got):
		return fmt.Sprintf("%d rows, of which %d good ones, or other rows than those of the file", u.kept.Rows, len(u.changes))
	case len(came) < times:
		return fmt.Sprintf("the upload came %d times, not %d", len(came), times)
	case len(came) > times:
		return fmt.Sprintf("%d uploads, not %d", len(came), times)
	}
	for _, again := range came[1:] {
		if again.err != nil {
			return "the repeat was refused: " + again.err.Error()
		}
		if !again.kept.Repeated {
			return fmt.Sprintf("another upload, with the sequence number %d, in place of a repeat of %d", again.kept.Sequence, u.kept.Sequence)
		}
	}
	return ""
}

// waiting notes what is owed to the authority by now.
func (c *centre) waiting(ctx context.Context, owed *[]string) error {
	list, err := c.held.Waiting(ctx, c.run.Authority, 0, 100)
	for _, w := range list {
		*owed = append(*owed, w.Notification.ID)
	}
	return err
}

// taken tells what is not acknowledged, or not in the system's own list.
func (c *centre) taken(owed []string, attended []safeguard.Query, back ...safeguard.Query) string {
	acked := c.store.list(&c.store.acked)
	for _, id := range owed {
		if !slices.Contains(acked, id) {
			return "a notification that is not acknowledged"
		}
	}
	want := map[string]string{}
	for _, q := range attended {
		want[q.Attendance.String()] = "open"
	}
	for _, q := range back {
		want[q.Attendance.String()] = "taken-back"
	}
	return c.says(storedFile, want)
}

// says tells how a file of the system's is not what it should be: a header, and
// each key once with its value.
func (c *centre) says(name string, want map[string]string) string {
	f, err := os.Open(filepath.Join(c.run.Folder, name))
	if err != nil {
		return "no " + name
	}
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	switch {
	case err != nil:
		return fmt.Sprintf("%s: can not be read as CSV: %v", name, err)
	case len(rows) == 0 || len(rows[0]) != 2:
		return name + ": no header of two columns"
	}
	got := map[string]string{}
	for _, r := range rows[1:] {
		key := strings.ToLower(strings.ReplaceAll(strings.TrimSpace(r[0]), " ", ""))
		if _, twice := got[key]; twice {
			return name + ": the same in two rows"
		}
		got[key] = strings.TrimSpace(r[1])
	}
	if !maps.Equal(got, want) {
		right := 0
		for key, value := range want {
			if got[key] == value {
				right++
			}
		}
		return fmt.Sprintf("%s: %d rows, of which %d are right, want %d", name, len(got), right, len(want))
	}
	return ""
}

// lose has the store fail the next time.
func (w *watched) lose(which *bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*which = true
}

func (w *watched) read(which *int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *which
}

func (w *watched) list(which *[]string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(*which)
}
