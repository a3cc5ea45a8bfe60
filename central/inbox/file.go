package inbox

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/central/upload"
)

// applyTime is how long the upload of one file may take.
const applyTime = 30 * time.Minute

// sendingOf reads what a file's name says of it: NAME[.snapshot][.N].EXT, where N
// is the sequence number.
func sendingOf(name string) upload.Sending {
	s := upload.Sending{By: "folder"}
	parts := strings.Split(name, ".")
	for _, p := range parts[1:] {
		if strings.EqualFold(p, "snapshot") {
			s.Snapshot = true
		} else if n, err := strconv.ParseInt(p, 10, 64); err == nil && n > 0 && s.Sequence == 0 {
			s.Sequence = n
		}
	}
	return s
}

// upload uploads the file, and puts it and its report where they belong.
func (f *folder) upload(ctx context.Context, name string, before os.FileInfo) error {
	ctx, cancel := context.WithTimeout(ctx, applyTime)
	defer cancel()
	batch, national, err := f.read(name, before)
	if err != nil {
		return err
	}
	done, err := batch.Reserve()
	if err != nil {
		return err
	}
	defer done()
	report, err := batch.Apply(ctx, nil)
	if err != nil {
		return err
	}
	f.Intake.Note(report)
	// From here on the file is taken: should this end here, it comes again, is
	// known by its id, and is only put where it belongs.
	return f.put(filepath.Join(f.path, name), name, national, report)
}

// errChanged says that somebody is writing into the file after all.
var errChanged = errors.New("the file has changed while it was read")

// read reads the file into a batch that is named by it: the same file is the
// same upload.
func (f *folder) read(name string, before os.FileInfo) (batch *upload.Batch, national bool, err error) {
	in, err := os.Open(filepath.Join(f.path, name))
	if err != nil {
		return nil, false, err
	}
	defer in.Close()
	sum := sha256.New()
	all := io.TeeReader(in, sum)
	wrong := func(err error) error {
		if path := new(os.PathError); errors.As(err, &path) {
			return err // of the disk, not of the file
		}
		return &upload.Refused{Why: upload.Wrong, Reason: err.Error()}
	}
	file, err := upload.Open(all, upload.Detect)
	if err != nil {
		return nil, false, wrong(err)
	}
	sending, head := sendingOf(name), file.Header()
	switch {
	case sending.Sequence == 0:
		sending.Sequence = head.Sequence
	case head.Sequence != 0 && head.Sequence != sending.Sequence:
		return nil, false, wrong(fmt.Errorf("its own sequence number is %d, and its name says %d", head.Sequence, sending.Sequence))
	}
	sending.Sender, sending.Notices = head.Sender, head.Notices
	if batch, err = f.Intake.Prepare(f.authority, sending); err != nil {
		return nil, false, err
	}
	for row, err := range upload.Rows(file) {
		if err != nil {
			err = wrong(err)
		} else {
			err = batch.Add(row)
		}
		if err != nil {
			return nil, false, err
		}
	}
	if _, err = io.Copy(io.Discard, all); err == nil {
		var after os.FileInfo
		if after, err = in.Stat(); err == nil && (after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime())) {
			err = errChanged
		}
	}
	if err != nil {
		return nil, false, err
	}
	digest := sum.Sum(nil)
	batch.Is(idOf(f.authority.String(), name, before.ModTime(), digest), digest)
	return batch, head.National, nil
}

// idOf names the upload of a file: the same name, time and content is the same
// file, seen again.
func idOf(authority, name string, modified time.Time, digest []byte) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d\x00%x", authority, name, modified.UnixNano(), digest))
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])[:26]
}

// longest is how much of a file's name is kept, in bytes, so that an end fits
// behind it.
const longest = 180

// aside is the name of a file where it is put, of which there is one.
func aside(id, name string) string {
	if len(name) > longest {
		name = strings.ToValidUTF8(name[len(name)-longest:], "")
	}
	return id[:8] + "-" + name
}

// put writes the report and the acknowledgement, and then moves the file, whose
// being moved says that all is done.
func (f *folder) put(path, name string, national bool, r upload.Report) error {
	where := map[store.UploadState]string{store.Applied: taken, store.Waits: waiting}[r.State]
	if where == "" {
		where = refused
	}
	base := filepath.Join(f.path, where, aside(r.ID, name))
	full, err := r.Full()
	if err != nil {
		return err
	}
	if err := writeReport(base+reportEnd, full); err != nil {
		return err
	}
	if national {
		err := whole(base+ackEnd, func(w io.Writer) error { return f.acknowledge(w, path, r) })
		if err != nil {
			f.Log.Warn("acknowledgement not written", "authority", f.authority, "upload", r.ID, "err", plain(err))
		}
	}
	return os.Rename(path, base)
}

func (f *folder) acknowledge(w io.Writer, path string, r upload.Report) error {
	return upload.WriteAcknowledgement(w, upload.Answered{
		At:      time.Now(),
		Verdict: r.Verdict,
		File:    func() (io.ReadCloser, error) { return os.Open(path) },
		Each:    func() iter.Seq2[upload.Verdict, error] { return r.Each },
		To:      f.to(),
	})
}

// refuse puts aside a file of which nothing is changed, with the reason.
func (f *folder) refuse(name string, info os.FileInfo, reason string) error {
	id := idOf(f.authority.String(), name, info.ModTime(), nil)
	base := filepath.Join(f.path, refused, aside(id, name))
	report := client.Report{State: client.NotTaken, Kind: "changes", Verdict: upload.Malformed, Sentence: reason, Received: time.Now().UTC(),
		Notices: []string{}, Verdicts: []client.Verdict{}}
	if err := writeReport(base+reportEnd, report); err != nil {
		return err
	}
	if strings.EqualFold(filepath.Ext(name), ".xml") {
		if err := whole(base+ackEnd, func(w io.Writer) error { return upload.WriteUnreadable(w, f.to(), time.Now()) }); err != nil {
			f.Log.Warn("acknowledgement not written", "authority", f.authority, "err", plain(err))
		}
	}
	return os.Rename(filepath.Join(f.path, name), base)
}

// followWaiting moves what a person has decided about, with a new report.
func (f *folder) followWaiting(ctx context.Context) {
	reports, err := filepath.Glob(filepath.Join(f.path, waiting, "*"+reportEnd))
	if err != nil {
		return
	}
	for _, report := range reports {
		if err := f.decided(ctx, report); err != nil && ctx.Err() == nil {
			f.Log.Warn("waiting upload not followed, trying again", "authority", f.authority, "err", plain(err))
		}
	}
}

func (f *folder) decided(ctx context.Context, report string) error {
	path := strings.TrimSuffix(report, reportEnd)
	text, err := os.ReadFile(report)
	if err != nil {
		return err
	}
	var before client.Report
	if err := json.Unmarshal(text, &before); err != nil || before.ID == "" {
		return errors.New("its report has no id")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	kept, err := f.Store.Upload(ctx, f.authority, before.ID, 0)
	if err != nil || kept.State == store.Waits {
		return err
	}
	r, err := upload.ReportOf(kept)
	if err != nil {
		return err
	}
	name := strings.TrimPrefix(filepath.Base(path), r.ID[:8]+"-")
	if err := f.put(path, name, strings.EqualFold(filepath.Ext(name), ".xml"), r); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// The file is moved, perhaps the last time: what stood beside it goes.
	return errors.Join(remove(report), remove(path+ackEnd))
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func writeReport(path string, r client.Report) error {
	return whole(path, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	})
}

// whole writes a file so that a reader sees all of it or nothing, and makes its
// folder.
func whole(path string, write func(w io.Writer) error) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	unfinished := path + ".tmp"
	out, err := os.OpenFile(unfinished, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(unfinished)
		}
	}()
	if err := errors.Join(write(out), out.Sync(), out.Close()); err != nil {
		return err
	}
	return os.Rename(unfinished, path)
}
