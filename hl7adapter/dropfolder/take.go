package dropfolder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

var (
	errGone    = errors.New("file has gone")
	errChanged = errors.New("file is still being written")
	errOdd     = errors.New("not a regular file")
)

// job is the taking of one file.
type job struct {
	folder   *Folder
	hands    *hands
	ref      reference
	name     string // in the taking folder
	original string // before it was ours
	resumed  bool   // a life before this one had it in hand

	root    *os.Root
	file    *os.File
	size    int64
	changed time.Time
	content *content

	acks, failed, reasons side

	record   *record
	progress progress
	saved    time.Time // when progress was last remembered
	unsaved  int       // parts done since
}

// take takes one file to its end, or as far as it gets. It tells where the file
// is then.
func (f *Folder) take(ctx context.Context, h *hands, in *feed.Intake, w *file) error {
	was := *w
	j, err := do(ctx, h, "open", func() (*job, error) { return f.open(h, was) })
	if j != nil {
		w.ref, w.name, w.original = j.ref, j.name, j.original
	}
	if err != nil {
		return err
	}
	defer f.update(func(s *Status) { s.Taking, s.Size, s.Offset = "", 0, 0 })
	defer j.close(ctx)
	if j.progress.complete {
		return j.finish(ctx)
	}
	if err := j.offerAll(ctx, in); err != nil {
		j.remember(ctx)
		return err
	}
	return j.conclude(ctx)
}

// open makes the file ours, if it is not yet, and opens it. The job it returns
// tells where the file is, also after an error.
func (f *Folder) open(h *hands, w file) (*job, error) {
	j := &job{folder: f, hands: h, ref: w.ref, name: w.name, original: w.original, resumed: w.claimed(), saved: time.Now()}
	if err := j.open(w); err != nil {
		j.release()
		return j, err
	}
	p := j.progress
	j.acks = side{root: j.root, name: string(j.ref) + ".ack", mode: 0o644, size: p.ack}
	j.failed = side{root: j.root, name: string(j.ref) + ".failed", mode: 0o640, size: p.failed}
	j.reasons = side{root: j.root, name: string(j.ref) + ".reason", mode: 0o644, size: p.reason}
	j.content = newContent(j.file, f.config.MaxMessage)
	f.update(func(s *Status) { s.Taking, s.Size, s.Offset = string(j.ref), j.size, p.offset })
	return j, nil
}

func (j *job) open(w file) (err error) {
	if j.root, err = os.OpenRoot(j.folder.config.Folder); err != nil {
		return err
	}
	if !j.resumed {
		if err = j.claim(w.name); err != nil {
			return err
		}
	}
	if err = j.unmark(); err != nil {
		return err
	}
	if err = j.openFile(w); err != nil {
		return err
	}
	j.record, j.progress, err = openRecord(j.folder.config.Progress, j.ref)
	return err
}

// claim moves the file into the taking folder. On Windows that fails while its
// sender has it open, which is as good as a sign that it is not whole.
func (j *job) claim(name string) error {
	r := newReference(time.Now())
	if err := moveInto(j.root, name, taking, r.claim(name)); err != nil {
		if skipGone(err) == nil {
			return errGone
		}
		return err
	}
	j.ref, j.name, j.original = r, r.claim(name), name
	return nil
}

// unmark removes the marker. Of a file that was claimed in an earlier life it
// may be that of a new file with the same name, which then keeps it.
func (j *job) unmark() error {
	c := j.folder.config
	if c.Ready != Marked {
		return nil
	}
	if j.resumed {
		if _, err := j.root.Lstat(j.original); err == nil {
			return nil
		}
	}
	return skipGone(j.root.Remove(j.original + c.Marker))
}

// openFile opens the claimed file, and nothing that took its place.
func (j *job) openFile(w file) error {
	place := path.Join(taking, j.name)
	before, err := j.root.Lstat(place)
	if err != nil {
		if skipGone(err) == nil {
			return errGone
		}
		return err
	}
	if !before.Mode().IsRegular() {
		return errOdd
	}
	if before.Size() != w.size || !before.ModTime().Equal(w.changed) {
		return errChanged
	}
	if j.file, err = j.root.Open(place); err != nil {
		return err
	}
	opened, err := j.file.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(before, opened) {
		return errOdd
	}
	j.size, j.changed = opened.Size(), opened.ModTime()
	return nil
}

// offerAll offers the messages that were not offered before.
func (j *job) offerAll(ctx context.Context, in *feed.Intake) error {
	for {
		p, err := do(ctx, j.hands, "read", j.content.next)
		if err == io.EOF {
			return j.unchanged(ctx) // not a single part
		}
		if err != nil {
			return err
		}
		if p.last {
			// The end of a file that has grown may be half a message.
			if err := j.unchanged(ctx); err != nil {
				return err
			}
		}
		if p.offset >= j.progress.offset {
			if err := j.offer(ctx, in, p); err != nil {
				return err
			}
		}
		if p.last {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// unchanged checks that the file is what it was when it was opened.
func (j *job) unchanged(ctx context.Context) error {
	_, err := do(ctx, j.hands, "look", func() (struct{}, error) {
		info, err := j.file.Stat()
		if err == nil && (info.Size() != j.size || !info.ModTime().Equal(j.changed) || j.content.read != j.size) {
			err = errChanged
		}
		return struct{}{}, err
	})
	return err
}

// offer offers one part, and keeps what became of it.
func (j *job) offer(ctx context.Context, in *feed.Intake, p part) error {
	m := feed.Message{
		Peer:   "file " + string(j.ref),
		Source: fmt.Sprintf("file %s %s at %d", j.folder.config.Name, j.ref, p.offset),
		// A file has no last byte read: it is read when it is offered.
		Received: time.Now(),
		Body:     p.body,
	}
	var r feed.Reply
	if p.long {
		r = in.TooLong(m)
	} else {
		var err error
		if r, err = in.Take(ctx, m); err != nil {
			return err
		}
	}
	j.progress.parts++
	j.progress.offset = p.end
	j.note(ctx, p, r)
	j.folder.update(func(s *Status) { s.Offset = p.end })
	j.unsaved++
	// What has a control id the journal would know again; so, as long as few
	// are in doubt, they are remembered together.
	if r.Verdict == feed.Accepted && !identified(p.body) || j.unsaved >= saveAfter || time.Since(j.saved) >= saveEvery {
		if !p.last || !identified(p.body) {
			j.remember(ctx)
		}
	}
	return nil
}

const (
	saveAfter = 100 // parts
	saveEvery = time.Second
)

// identified says whether the journal can know the message by its control id.
func identified(body []byte) bool {
	m, err := hl7.Parse(body)
	return err == nil && len(m.Header().ControlID) > 0
}

// note writes down what goes beside the file: acknowledgements, and what was
// not taken with the reason. Intake does not wait for any of it.
func (j *job) note(ctx context.Context, p part, r feed.Reply) {
	var acks []byte
	if j.folder.config.Ack != "" {
		for _, a := range r.Acks {
			acks = append(acks, a...)
		}
	}
	refused := r.Verdict == feed.Rejected || r.Verdict == feed.Postponed
	if refused {
		j.progress.rejected++
	}
	if len(acks) == 0 && !refused {
		return
	}
	number, rejected := j.progress.parts, j.progress.rejected
	_, err := do(ctx, j.hands, "write", func() (struct{}, error) {
		var errs []error
		if len(acks) > 0 {
			errs = append(errs, j.acks.attempt(acks))
		}
		if refused {
			errs = append(errs, j.setAside(p), j.reason(rejected, fmt.Sprintf("part %d, at byte %d, was %v: %s", number, p.offset, r.Verdict, r.Reason)))
		}
		return struct{}{}, errors.Join(errs...)
	})
	if err != nil {
		j.folder.slips.Warn(j.folder.log, "could not write beside the file", "file", string(j.ref), "err", err)
	}
}

// attempt writes unless that failed before: half of it is worse than nothing.
func (s *side) attempt(b []byte) error {
	if s.broken {
		return nil
	}
	err := s.write(b)
	s.broken = err != nil
	return err
}

// setAside keeps a part that was not taken: the message itself, or where it was
// too long the bytes of the file.
func (j *job) setAside(p part) error {
	if !p.long {
		b := p.body
		alone := p.last && p.offset == 0
		if n := len(b); !alone && n > 0 && b[n-1] != '\r' && b[n-1] != '\n' {
			b = append(b[:n:n], '\r') // the next one must begin a line
		}
		return j.failed.attempt(b)
	}
	chunk := make([]byte, 64<<10)
	for at := p.offset; at < p.end; {
		n, err := j.file.ReadAt(chunk[:min(int64(len(chunk)), p.end-at)], at)
		if n == 0 {
			j.failed.broken = true
			return err
		}
		if err := j.failed.attempt(chunk[:n]); err != nil || j.failed.broken {
			return err
		}
		at += int64(n)
	}
	return nil
}

// mostReasons is how many reasons are written out.
const mostReasons = 1000

// reason writes a line for the person who finds the failed messages.
func (j *job) reason(nth int64, line string) error {
	switch {
	case nth > mostReasons+1:
		return nil
	case nth > mostReasons:
		line = "There are more, which are not listed."
	}
	if j.reasons.size == 0 {
		line = "Safeguard did not take all of the file that it calls " + string(j.ref) + ".\r\n" +
			"What was not taken is in the file beside this one: mend it and drop it again, or delete both.\r\n\r\n" + line
	}
	return j.reasons.attempt([]byte(line + "\r\n"))
}

// remember saves the progress.
func (j *job) remember(ctx context.Context) {
	if j.progress.offset == 0 && !j.record.exists() {
		return
	}
	first := !j.record.exists()
	_, err := do(ctx, j.hands, "sync", func() (struct{}, error) {
		if first {
			// The claimed name is what progress is known by, so it must last too.
			syncFolder(j.root, ".")
			syncFolder(j.root, taking)
		}
		return struct{}{}, errors.Join(j.acks.sync(), j.failed.sync(), j.reasons.sync())
	})
	// Hands that were left behind may still write; what they wrote is then as
	// good as not written.
	if !j.hands.left {
		j.progress.ack, j.progress.failed, j.progress.reason = j.acks.size, j.failed.size, j.reasons.size
	}
	if err = errors.Join(err, j.record.save(j.progress)); err != nil {
		j.folder.slips.Warn(j.folder.log, "progress of a file not saved, a crash would offer messages again", "file", string(j.ref), "err", err)
	}
	j.saved, j.unsaved = time.Now(), 0
}

// conclude checks the file as a whole, when all of it has been offered.
func (j *job) conclude(ctx context.Context) error {
	f := j.folder
	if j.hands.left {
		j.remember(ctx)
		return errLeft
	}
	if j.progress.parts == 0 && j.content.batch.Messages() == 0 {
		f.counters.Framing(feed.Empty)
	}
	if err := j.content.check(); err != nil {
		lines := strings.Split(err.Error(), "\n")
		for range lines {
			f.counters.Framing(feed.BadCount)
		}
		f.failures.Warn(f.log, "batch is not what its trailers say", "file", string(j.ref), "err", strings.Join(lines, "; "))
		_, err := do(ctx, j.hands, "write", func() (struct{}, error) {
			return struct{}{}, j.reason(0, "Its headers and trailers do not agree with what is in it: "+strings.Join(lines, "; ")+".\r\n"+
				"All messages that are in it were taken; ask the sender for those that are not.")
		})
		if err != nil {
			f.slips.Warn(f.log, "could not write beside the file", "file", string(j.ref), "err", err)
		}
	}
	if j.hands.left {
		return errLeft
	}
	j.progress.complete = true
	if j.record.exists() || j.acks.size+j.failed.size+j.reasons.size > 0 {
		j.remember(ctx)
	}
	return j.finish(ctx)
}

// finish clears up behind a file of which everything was offered.
func (j *job) finish(ctx context.Context) error {
	if _, err := do(ctx, j.hands, "finish", func() (struct{}, error) { return struct{}{}, j.clear() }); err != nil {
		return err
	}
	if err := j.record.forget(); err != nil {
		j.folder.slips.Warn(j.folder.log, "progress of a file not removed", "file", string(j.ref), "err", err)
	}
	f := j.folder
	if j.progress.rejected > 0 {
		f.update(func(s *Status) { s.Failed++ })
		f.failures.Warn(f.log, "file with messages that were not taken", "file", string(j.ref), "not_taken", j.progress.rejected, "of", j.progress.parts)
	}
	f.log.Debug("file taken", "file", string(j.ref), "parts", j.progress.parts, "bytes", j.size)
	return nil
}

// clear moves all files to where they belong. It may be done again after a
// crash in the middle of it, since the file itself goes last.
func (j *job) clear() error {
	c := j.folder.config
	j.file.Close()
	if j.acks.broken || j.acks.size == 0 {
		if j.acks.broken || j.resumed {
			if err := j.acks.drop(); err != nil {
				return err
			}
		}
	} else if err := j.acks.move(c.Ack, j.original+".ack"); err != nil {
		return err
	}
	if j.reasons.size > 0 && !j.reasons.broken {
		if err := j.reasons.move(c.Failed, string(j.ref)+".reason.txt"); err != nil {
			return err
		}
	}
	place := path.Join(taking, j.name)
	switch {
	case j.failed.broken:
		// The whole file then, which has what could not be written.
		if err := j.failed.drop(); err != nil {
			return err
		}
		return moveInto(j.root, place, c.Failed, j.name)
	case j.failed.size > 0:
		if err := j.failed.move(c.Failed, j.name); err != nil {
			return err
		}
	}
	var err error
	if c.Done != "" {
		err = moveInto(j.root, place, c.Done, j.name)
	} else {
		err = j.root.Remove(place)
	}
	if err == nil && j.record.exists() {
		syncFolder(j.root, taking) // before the progress is forgotten
	}
	return err
}

// close lets go of the file, wherever it is now.
func (j *job) close(ctx context.Context) {
	j.record.close()
	if j.hands.left {
		return // the hands may still use the rest
	}
	_, _ = do(ctx, j.hands, "close", func() (struct{}, error) {
		j.release()
		return struct{}{}, nil
	})
}

func (j *job) release() {
	j.acks.close()
	j.failed.close()
	j.reasons.close()
	if j.record != nil {
		j.record.close()
	}
	if j.file != nil {
		j.file.Close()
	}
	if j.root != nil {
		j.root.Close()
	}
}
