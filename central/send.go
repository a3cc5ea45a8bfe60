package central

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/upload"
)

// File is a file that a local authority uploads.
type File struct {
	Path            string // "-" is standard input
	Format          upload.Format
	Snapshot        bool
	Sequence        int64  // 0 for what the file says, if it does
	Acknowledgement string // file to write the national acknowledgement to; empty for none
}

// Upload uploads a file, as any local authority's system does, and gives the
// centre's report. progress is told how far it is. Where the file is none that
// can be uploaded, or the centre does not speak to this program any more, the
// report says so, and there is an error too.
func Upload(ctx context.Context, by Caller, f File, progress func(sent, applied int)) (client.Report, error) {
	if f.Acknowledgement != "" {
		// Rather before the upload than after it.
		if _, err := os.Lstat(f.Acknowledgement); !errors.Is(err, fs.ErrNotExist) {
			return client.Report{}, fmt.Errorf("acknowledgement: %s is there already, want a new file", f.Acknowledgement)
		}
	}
	in, digest, err := f.open()
	if err != nil {
		return client.Report{}, fmt.Errorf("upload: %w", err)
	}
	defer in.Close()
	file, err := upload.Open(in, f.Format)
	if err != nil {
		// The centre is not asked about a file that is none.
		return notTaken(upload.Malformed, fmt.Errorf("upload: %s: %w", f.Path, err))
	}
	head := file.Header()
	if f.Acknowledgement != "" && !head.National {
		return client.Report{}, fmt.Errorf("upload: %s: no national XML, which alone has an acknowledgement; the report says the same", f.Path)
	}
	switch {
	case f.Sequence == 0:
		f.Sequence = head.Sequence
	case head.Sequence != 0 && head.Sequence != f.Sequence:
		return client.Report{}, fmt.Errorf("upload: %s: its own sequence number is %d, and %d is asked for", f.Path, head.Sequence, f.Sequence)
	}
	c, err := by.dial()
	if err != nil {
		return client.Report{}, err
	}
	defer c.Close()
	var broken error
	report, err := c.Upload(ctx, client.Upload{Snapshot: f.Snapshot, Sequence: f.Sequence, File: digest, Sender: head.Sender, Progress: progress},
		asSent(upload.Rows(file), &broken))
	var refused *client.Refused
	switch {
	case broken != nil:
		return notTaken(upload.Malformed, fmt.Errorf("upload: %s: %w", f.Path, broken))
	case errors.As(err, &refused) && refused.Code == "Unimplemented":
		return notTaken(upload.OldClient, fmt.Errorf("upload: the centre does not take uploads from this version of the program: %w", err))
	case err != nil:
		return client.Report{}, fmt.Errorf("upload: %s: %w", f.Path, err)
	case report.State == client.NotTaken:
		return report, fmt.Errorf("upload: %s: %s (%s)", f.Path, report.Sentence, report.Verdict)
	}
	report.Notices = append(head.Notices, report.Notices...)
	if f.Acknowledgement != "" {
		return report, f.acknowledge(report)
	}
	return report, nil
}

// open opens the file, and gives the digest of one that can be read twice.
func (f File) open() (*os.File, []byte, error) {
	if f.Path == "-" {
		if f.Acknowledgement != "" {
			return nil, nil, errors.New("an acknowledgement is made from the file, want a file rather than standard input")
		}
		return os.Stdin, nil, nil
	}
	in, err := os.Open(f.Path)
	if err != nil {
		return nil, nil, err
	}
	if info, err := in.Stat(); err != nil || !info.Mode().IsRegular() {
		return in, nil, err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, in); err != nil {
		return nil, nil, errors.Join(err, in.Close())
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return nil, nil, errors.Join(err, in.Close())
	}
	return in, sum.Sum(nil), nil
}

func notTaken(verdict string, err error) (client.Report, error) {
	return client.Report{State: client.NotTaken, Verdict: verdict, Sentence: err.Error(), Received: time.Now().UTC(), Notices: []string{}, Verdicts: []client.Verdict{}}, err
}

// asSent gives the rows as the client has them, and notes what ended them.
func asSent(rows iter.Seq2[upload.Row, error], broken *error) iter.Seq2[client.Row, error] {
	return func(yield func(client.Row, error) bool) {
		for row, err := range rows {
			if err != nil {
				*broken = err
			}
			if !yield(client.Row(row), err) {
				return
			}
		}
	}
}

func (f File) acknowledge(r client.Report) (err error) {
	out, err := os.OpenFile(f.Acknowledgement, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("acknowledgement: %w", err)
	}
	defer func() {
		if err = errors.Join(err, out.Close()); err != nil {
			_ = os.Remove(f.Acknowledgement) // half of one is none
			err = fmt.Errorf("the upload is done (%s), but not its acknowledgement: %w", r.ID, err)
		}
	}()
	return upload.WriteAcknowledgement(out, upload.Answered{
		At:      r.Received,
		Verdict: r.Verdict,
		File:    func() (io.ReadCloser, error) { return os.Open(f.Path) },
		Each: func() iter.Seq2[upload.Verdict, error] {
			return func(yield func(upload.Verdict, error) bool) {
				for _, v := range r.Verdicts {
					if !yield(upload.Verdict(v), nil) {
						return
					}
				}
			}
		},
	})
}

// UploadReport gives the report of an earlier upload again: by its id, or by its
// sequence number.
func UploadReport(ctx context.Context, by Caller, id string, sequence int64) (client.Report, error) {
	c, err := by.dial()
	if err != nil {
		return client.Report{}, err
	}
	defer c.Close()
	return c.Report(ctx, id, sequence)
}

// WriteReport names each row that was not loaded, what else a person should
// know, and the verdict on the whole; or, as JSON, writes all of it.
func WriteReport(out io.Writer, name string, r client.Report, asJSON bool) error {
	if asJSON {
		return writeJSON(out, r)
	}
	var b strings.Builder
	for _, v := range r.Verdicts {
		if v.Code == upload.Loaded {
			continue
		}
		fmt.Fprintf(&b, "%s:%d: ", name, v.Line)
		if v.Column != "" {
			fmt.Fprintf(&b, "%s: ", v.Column)
		}
		fmt.Fprintf(&b, "%s (%s)\n", v.Sentence, v.Code)
	}
	for _, n := range r.Notices {
		fmt.Fprintf(&b, "%s: note: %s\n", name, n)
	}
	if r.Repeated {
		fmt.Fprintf(&b, "%s: note: this upload came before, on %s, and was not applied again\n", name, r.Received.Local().Format("2006-01-02 15:04"))
	}
	fmt.Fprintf(&b, "%s: %s (%s", name, r.Sentence, r.Verdict)
	if r.ID != "" {
		fmt.Fprintf(&b, ", upload %s", r.ID)
	}
	b.WriteString(")\n")
	_, err := io.WriteString(out, b.String())
	return err
}
