package upload

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
)

// Keeper is what an intake needs of a store.
type Keeper interface {
	Apply(ctx context.Context, upload store.Upload) (store.Kept, error)
}

// Demographics says what a demographic service knows of NHS numbers.
type Demographics interface {
	// Source names what is asked, for the report; it is empty where nothing is
	// there to ask.
	Source(ctx context.Context) (string, error)

	// Standings gives what is known of the numbers, in their order.
	Standings(ctx context.Context, numbers []safeguard.NHSNumber) ([]store.Standing, error)
}

// Policy is what central operations decide about uploads.
type Policy struct {
	RefuseTest bool    // numbers of the 999 range
	Share      float64 // of an authority's current flags that a snapshot may end or withdraw by itself
	Adult      int     // age in years at which CPP and LAC end; 0 is safeguard.Adulthood
}

// DefaultShare is how much a snapshot may end or withdraw without a person.
const DefaultShare = 0.2

// Intake takes uploads, whichever way they come.
type Intake struct {
	Store        Keeper
	Demographics Demographics // nil for none
	Policy       Policy
	Log          *slog.Logger

	// Admit tells why the authority may not upload, if so, as a *Refused.
	Admit func(authority safeguard.ODSCode) error

	// Testing, if there is one, tells whether the authority may send test numbers
	// only, whatever the policy says of them.
	Testing func(authority safeguard.ODSCode) bool

	// Applied, if there is one, is called when an upload was taken.
	Applied func()

	mu   sync.Mutex                 // guards busy
	busy map[safeguard.ODSCode]bool // authorities whose upload is in progress
}

// Sending is what the sender says of an upload as a whole.
type Sending struct {
	By       string // the identity of the sender
	Snapshot bool
	Sequence int64             // 0 for none
	File     []byte            // SHA-256 of the file; may be empty
	Sender   safeguard.ODSCode // the authority that the file says it is from; may be empty
	Notices  []string          // what the reader of the file has to say
}

// Refused says why an upload is not taken; nothing is changed.
type Refused struct {
	Why    Why
	Reason string // one sentence
}

func (r *Refused) Error() string { return r.Reason }

// Why is the kind of a refusal.
type Why int

// The kinds.
const (
	Wrong    Why = iota // as it is: another may be good
	NotAsked            // this sender may not
	Busy                // not now
)

// Begin begins an upload, and gives what ends it, applied or not. Each authority
// has one at a time: of two nobody would know which is the later.
func (i *Intake) Begin(authority safeguard.ODSCode, s Sending) (b *Batch, done func(), err error) {
	if b, err = i.Prepare(authority, s); err != nil {
		return nil, nil, err
	}
	if done, err = b.Reserve(); err != nil {
		return nil, nil, err
	}
	return b, done, nil
}

// Prepare begins an upload that is read before its turn is taken, with Reserve:
// whatever it is read from may hang.
func (i *Intake) Prepare(authority safeguard.ODSCode, s Sending) (*Batch, error) {
	if err := i.Admit(authority); err != nil {
		return nil, err
	}
	switch {
	case !s.Sender.IsZero() && s.Sender != authority:
		return nil, &Refused{NotAsked, fmt.Sprintf("the file says that it is from %s, and the sender is %s", s.Sender, authority)}
	case s.Sequence < 0:
		return nil, &Refused{Wrong, fmt.Sprintf("sequence number %d, want 1 or more, or none", s.Sequence)}
	case len(s.File) != 0 && len(s.File) != 32:
		return nil, &Refused{Wrong, fmt.Sprintf("file_sha256: %d bytes, want 32 or none", len(s.File))}
	}
	return i.newBatch(authority, s, time.Now()), nil
}

// Reserve takes the authority's turn, and gives what ends it.
func (b *Batch) Reserve() (done func(), err error) {
	i, authority := b.intake, b.upload.Authority
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.busy[authority] {
		return nil, &Refused{Busy, fmt.Sprintf("an upload of local authority %s is in progress; send the next when it has ended", authority)}
	}
	if i.busy == nil {
		i.busy = map[safeguard.ODSCode]bool{}
	}
	i.busy[authority] = true
	b.upload.Received = time.Now()
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		delete(i.busy, authority)
	}, nil
}

// Note tells of an upload that was taken.
func (i *Intake) Note(r Report) {
	if i.Applied != nil {
		i.Applied()
	}
	log := i.Log.Info
	if r.State == store.Waits {
		log = i.Log.Warn
	}
	log("upload "+string(r.State), "authority", r.Authority, "upload", r.ID, "sequence", r.Sequence, "snapshot", r.Snapshot, "repeated", r.Repeated,
		"verdict", r.Verdict, "rows", r.Rows, "loaded", r.Loaded, "rejected", r.Rejected, "ended", r.Ended, "gap_from", r.GapFrom, "gap_to", r.GapTo)
}

// Unavailable says that there is a demographic service, and that it can not be
// asked.
type UnavailableError struct{ err error }

func (e *UnavailableError) Error() string { return "demographic service: " + e.err.Error() }
func (e *UnavailableError) Unwrap() error { return e.err }

// askTogether is how many numbers are asked about at a time.
const askTogether = 500

// ask rejects the rows whose numbers a demographic service does not let pass. A
// flag can be withdrawn whatever has become of its number.
func (b *Batch) ask(ctx context.Context) error {
	const unchecked = "not checked against a demographic service: numbers that are not in use, superseded or of other persons are not found"
	d := b.intake.Demographics
	if d == nil {
		b.notices = append(b.notices, unchecked)
		return nil
	}
	source, err := d.Source(ctx)
	if err != nil {
		return &UnavailableError{err}
	}
	if source == "" {
		b.notices = append(b.notices, unchecked)
		return nil
	}
	b.notices = append(b.notices, "numbers are checked against "+source+"; names and dates of birth are not")
	kept := b.changes[:0]
	for some := range slices.Chunk(b.changes, askTogether) {
		numbers := make([]safeguard.NHSNumber, len(some))
		for i, c := range some {
			numbers[i] = c.person()
		}
		standings, err := d.Standings(ctx, numbers)
		if err != nil {
			return &UnavailableError{err}
		}
		for i, c := range some {
			if code, sentence := onStanding(standings[i]); code != Loaded && !c.withdraw {
				b.reject(c, code, columnNumber, sentence)
				continue
			}
			kept = append(kept, c)
		}
	}
	b.changes = kept
	return nil
}

// onStanding is the verdict on a row by what is known of its number.
func onStanding(s store.Standing) (code, sentence string) {
	switch s {
	case store.NotFound:
		return NotFound, "no person has this number, as the demographic service has it; trace the person, and send the right one"
	case store.Sensitive:
		return Sensitive, "a sensitive record at the demographic service, for which no flag can be held; tell the child's safeguarding contacts in another way"
	case store.Superseded:
		return Superseded, "the number is superseded; trace the person, and send the number that is in use"
	case store.Inactive:
		return Rejected, "the number is not in use any more; trace the person, and send the number that is in use, if there is one"
	}
	return Loaded, ""
}

// List is the demographic service that an operator's list stands for.
type List struct {
	Store interface {
		Demographics(ctx context.Context) (store.DemographicList, error)
		Standings(ctx context.Context, numbers []safeguard.NHSNumber) ([]store.Standing, error)
	}
}

// Source implements Demographics.
func (l List) Source(ctx context.Context) (string, error) {
	d, err := l.Store.Demographics(ctx)
	if err != nil || d.Imported.IsZero() {
		return "", err
	}
	return fmt.Sprintf("the demographic list that was imported on %s", d.Imported.Format("2006-01-02")), nil
}

// Standings implements Demographics.
func (l List) Standings(ctx context.Context, numbers []safeguard.NHSNumber) ([]store.Standing, error) {
	return l.Store.Standings(ctx, numbers)
}
