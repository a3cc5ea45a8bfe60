// Package upload turns what a local authority sends into changes of the flags
// it holds, and gives a verdict on every row.
//
// No verdict and no error repeats what a field holds: a shifted column would
// put an NHS number into any of them.
package upload

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/store"
)

// MaxRows is how many rows one upload may have.
const MaxRows = 300_000

// Batch is an upload on its way in. Of each row it keeps some 50 bytes.
type Batch struct {
	intake   *Intake
	rules    Rules
	upload   store.Upload
	snapshot bool
	notices  []string
	digest   hash.Hash

	verdicts verdicts
	changes  []packed // of the rows that are good so far
	american int      // rows with a date that can only be month/day

	// Of the rows that are not, whom they may be about.
	numbers  []safeguard.NHSNumber
	born     map[safeguard.Date]bool
	everyone bool
}

func (i *Intake) newBatch(authority safeguard.ODSCode, s Sending, received time.Time) *Batch {
	testing := i.Testing != nil && i.Testing(authority)
	b := &Batch{
		intake:   i,
		rules:    Rules{Today: safeguard.DateOf(received), RefuseTest: i.Policy.RefuseTest && !testing, OnlyTest: testing, Adult: i.Policy.Adult},
		upload:   store.Upload{ID: rand.Text(), Authority: authority, By: s.By, Received: received, Sequence: s.Sequence, File: s.File},
		snapshot: s.Snapshot,
		notices:  s.Notices,
		digest:   sha256.New(),
		born:     map[safeguard.Date]bool{},
	}
	b.verdicts.index = map[Verdict]uint32{}
	return b
}

// Len is the number of rows so far.
func (b *Batch) Len() int { return len(b.verdicts.rows) }

// Is names the upload: one with this id that was taken already is the same one.
// file is the SHA-256 of the file that it was read from.
func (b *Batch) Is(id string, file []byte) {
	b.upload.ID, b.upload.Once, b.upload.File = id, true, file
}

// Add takes the next row, or refuses the upload for having too many.
func (b *Batch) Add(row Row) error {
	if b.Len() == MaxRows {
		return &Refused{Wrong, fmt.Sprintf("more than %d rows, want several uploads", MaxRows)}
	}
	b.sum(row)
	r := b.rules.read(row)
	v := Verdict{Line: row.Line, Code: r.code, Column: r.column, Sentence: r.sentence}
	if r.american {
		b.american++
	}
	if r.code == Loaded {
		// Until its effect is known, the sentence holds how it was read.
		v.Sentence = strings.Join(r.notes, ", ")
		b.changes = append(b.changes, pack(r.change, b.Len(), r.ambiguous))
	} else {
		b.spare(r.change)
	}
	b.verdicts.add(v)
	return nil
}

// sum makes the digest by which a repeat is known: of what was sent, however it
// was cut into messages.
func (b *Batch) sum(row Row) {
	for _, f := range row.fields() {
		_, _ = io.WriteString(b.digest, *f)
		_, _ = b.digest.Write([]byte{0})
	}
	fmt.Fprintf(b.digest, "%d %s\n", row.Line, row.Unreadable)
}

// spare notes whom a row that is rejected may be about: they are not missing
// from a snapshot.
func (b *Batch) spare(c store.Change) {
	switch born := c.Flag.Born.Reveal(); {
	case !b.snapshot:
	case !c.Number.IsZero():
		b.numbers = append(b.numbers, c.Number)
	case !born.IsZero():
		b.born[born] = true
	default:
		b.everyone = true
	}
}

// reject puts another verdict in the place of one that was good so far.
func (b *Batch) reject(p packed, code, column, sentence string) {
	b.verdicts.set(int(p.row), Verdict{Code: code, Column: column, Sentence: sentence})
	b.spare(p.change())
}

// rejectAmbiguous rejects the rows with a date that could be day/month or
// month/day when others of the upload show that it is month/day that is meant.
func (b *Batch) rejectAmbiguous() {
	if b.american == 0 {
		return
	}
	kept := b.changes[:0]
	for _, c := range b.changes {
		if c.ambiguous == 0 {
			kept = append(kept, c)
			continue
		}
		b.reject(c, Rejected, columns[c.ambiguous-1], "could be day/month or month/day, and other rows have month/day; want YYYY-MM-DD")
	}
	b.changes = kept
}

// Apply puts the good rows into the store, in one transaction. After an error
// nothing was applied. progress, if there is one, is told how many rows are
// applied, and must not wait.
func (b *Batch) Apply(ctx context.Context, progress func(rows int)) (Report, error) {
	b.rejectAmbiguous()
	if err := b.ask(ctx); err != nil {
		return Report{}, err
	}
	if n := b.verdicts.noted(); n > 0 {
		b.notices = append(b.notices, fmt.Sprintf("%d good rows were not written as documented; each says how it was read", n))
	}
	u := b.upload
	u.Rows, u.Digest, u.Progress = b.Len(), b.digest.Sum(nil), progress
	u.Changes = func(yield func(store.Change) bool) {
		for _, c := range b.changes {
			if !yield(c.change()) {
				return
			}
		}
	}
	if b.snapshot {
		u.Snapshot = &store.Snapshot{Day: b.rules.Today, Share: b.intake.Policy.Share, Numbers: b.numbers, Everyone: b.everyone}
		for born := range b.born {
			u.Snapshot.Born = append(u.Snapshot.Born, born)
		}
		b.sayspared()
	}
	var err error
	if u.Verdicts, err = b.verdicts.pack(b.notices); err != nil {
		return Report{}, err
	}
	kept, err := b.intake.Store.Apply(ctx, u)
	var refused *store.SequenceError
	switch {
	case errors.As(err, &refused):
		return Report{}, &Refused{Wrong, refused.Error()}
	case err != nil:
		return Report{}, err
	}
	return ReportOf(kept)
}

// sayspared tells what the rejected rows of a snapshot keep it from doing.
func (b *Batch) sayspared() {
	switch {
	case b.everyone:
		b.notices = append(b.notices, "rows without a readable NHS number and date of birth may be about anyone, so that no flag is taken for missing; mend them and send the snapshot again")
	case len(b.numbers) > 0 || len(b.born) > 0:
		b.notices = append(b.notices, fmt.Sprintf("flags that the %d rejected rows may be about are not taken for missing", b.Len()-len(b.changes)))
	}
}

// Report is what became of an upload. Its verdicts can be gone through again.
type Report struct {
	store.Kept
	Verdict  string
	Sentence string
	Rejected int
	Notices  []string

	Each iter.Seq2[Verdict, error] // one for each row, in their order
}

// Full is the report with all of its verdicts, as it is written for the local
// authority.
func (r Report) Full() (client.Report, error) {
	out := client.Report{
		ID: r.ID, State: client.State(r.State), Kind: "changes", Sequence: r.Sequence, Repeated: r.Repeated, GapFrom: r.GapFrom, GapTo: r.GapTo,
		Verdict: r.Verdict, Sentence: r.Sentence, Notices: append([]string{}, r.Notices...), Received: r.Received,
		Rows: r.Rows, Loaded: r.Loaded, Rejected: r.Rejected, Ended: r.Ended, Withdrawn: r.Withdrawn,
		File: hex.EncodeToString(r.File), Verdicts: make([]client.Verdict, 0, r.Rows),
	}
	if r.Snapshot {
		out.Kind = "snapshot"
	}
	said := map[Verdict]Verdict{} // most verdicts say one of few things
	for v, err := range r.Each {
		if err != nil {
			return client.Report{}, err
		}
		line := v.Line
		v.Line = 0
		if _, ok := said[v]; !ok {
			said[v] = v
		}
		v = said[v]
		v.Line = line
		out.Verdicts = append(out.Verdicts, client.Verdict(v))
	}
	return out, nil
}

// ReportOf makes the report of an upload as the store has kept it.
func ReportOf(k store.Kept) (Report, error) {
	r := Report{Kept: k, Rejected: k.Rows - k.Loaded}
	var err error
	if r.Notices, r.Each, err = unpack(k); err != nil {
		return Report{}, fmt.Errorf("report of upload %s: %w", k.ID, err)
	}
	if k.GapFrom > 0 {
		missing := fmt.Sprintf("numbers %d to %d", k.GapFrom, k.GapTo)
		if k.GapFrom == k.GapTo {
			missing = fmt.Sprintf("number %d", k.GapFrom)
		}
		r.Notices = append(r.Notices, "uploads with the sequence "+missing+" never came; what was in them is missing")
	}
	if n := k.Ended; n > 0 {
		r.Notices = append(r.Notices, fmt.Sprintf("%d flags that are not in the snapshot are ended on the day of the upload", n))
	}
	if n := k.Withdrawn; n > 0 {
		r.Notices = append(r.Notices, fmt.Sprintf("%d flags that are not in the snapshot, and had not begun, are withdrawn", n))
	}
	switch {
	case k.State != store.Applied:
		r.Verdict, r.Sentence = NoneLoaded, undone(k)
	case r.Rejected == 0:
		r.Verdict, r.Sentence = AllLoaded, fmt.Sprintf("all %d rows loaded", k.Rows)
	case k.Loaded == 0:
		r.Verdict, r.Sentence = NoneLoaded, fmt.Sprintf("none of %d rows loaded", k.Rows)
	default:
		r.Verdict, r.Sentence = SomeLoaded, fmt.Sprintf("%d of %d rows loaded, %d rejected", k.Loaded, k.Rows, r.Rejected)
	}
	return r, nil
}

// undone says why nothing of an upload is applied.
func undone(k store.Kept) string {
	switch k.State {
	case store.Waits:
		return fmt.Sprintf("nothing is changed yet: the snapshot would end or withdraw %d of the %d flags that are current, more than passes without a person, who is to release or reject it at the centre; ask for the report again", k.Closing, k.Current)
	case store.Rejected:
		return "nothing is changed: a person at the centre has rejected the snapshot: " + k.Reason
	case store.Overtaken:
		return "nothing is changed: while it waited for a person, a later snapshot has come"
	}
	return "nothing is changed"
}

// said is the verdict on a good row, as things are with its upload.
func said(v Verdict, k store.Kept, effect store.Effect) Verdict {
	how := v.Sentence
	switch {
	case k.State == store.Waits:
		v.Code, v.Sentence = Rejected, "good, but not loaded: the snapshot waits for a person at the centre"
	case k.State != store.Applied:
		v.Code, v.Sentence = Rejected, "good, but not loaded: the snapshot was not applied"
	case effect == store.Added:
		v.Sentence = "loaded"
	case effect == store.Replaced:
		v.Sentence = "loaded, in the place of what was held"
	case effect == store.Unchanged:
		v.Sentence = "loaded, nothing was to be changed"
	case effect == store.Withdrawn:
		v.Sentence = "loaded, the flag is withdrawn"
	case effect == store.Later:
		v.Sentence = "read, and left as a later upload has it"
	case effect == store.NotHeld:
		v.Code, v.Column, v.Sentence = Rejected, columnDelete, "no flag with this plan and start is held, so none can be withdrawn"
		return v
	default:
		v.Code, v.Sentence = Rejected, "not loaded: while the snapshot waited, what is kept of the person was erased"
		return v
	}
	if how != "" {
		v.Sentence += "; " + how
	}
	return v
}
