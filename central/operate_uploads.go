package central

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/central/upload"
)

// shownUpload is an upload as JSON shows it.
type shownUpload struct {
	ID        string            `json:"id"`
	Authority safeguard.ODSCode `json:"authority"`
	Sender    string            `json:"sender"`
	Received  time.Time         `json:"received"`
	Kind      string            `json:"kind"`
	Sequence  int64             `json:"sequence,omitempty"`
	GapFrom   int64             `json:"gap_from,omitempty"`
	GapTo     int64             `json:"gap_to,omitempty"`
	State     store.UploadState `json:"state"`
	Decided   time.Time         `json:"decided,omitzero"`
	DecidedBy string            `json:"decided_by,omitempty"`
	Reason    string            `json:"reason,omitempty"`
	Rows      int               `json:"rows"`
	Loaded    int               `json:"loaded"`
	Current   int               `json:"current,omitempty"` // flags before a snapshot
	Closing   int               `json:"closing,omitempty"` // of these, how many it ends or withdraws, or would
	Ended     int               `json:"ended"`
	Withdrawn int               `json:"withdrawn"`
}

func showUpload(k store.Kept) shownUpload {
	kind := "changes"
	if k.Snapshot {
		kind = "snapshot"
	}
	return shownUpload{k.ID, k.Authority, k.By, k.Received, kind, k.Sequence, k.GapFrom, k.GapTo, k.State, k.Decided, k.DecidedBy, k.Reason,
		k.Rows, k.Loaded, k.Current, k.Closing, k.Ended, k.Withdrawn}
}

// ListUploads writes the uploads, the latest first.
func (o Operator) ListUploads(ctx context.Context, which store.UploadFilter, asJSON bool, out io.Writer) error {
	return o.with(ctx, func(s store.Store, _ audit.Who) error {
		kept, err := s.Uploads(ctx, which)
		if err != nil {
			return err
		}
		list := []shownUpload{}
		for _, k := range kept {
			list = append(list, showUpload(k))
		}
		if asJSON {
			return writeJSON(out, list)
		}
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tAUTHORITY\tRECEIVED\tKIND\tSEQUENCE\tSTATE\tROWS\tLOADED\tENDS")
		for _, u := range list {
			sequence := ""
			if u.Sequence > 0 {
				sequence = fmt.Sprint(u.Sequence)
			}
			if u.GapFrom > 0 {
				sequence += fmt.Sprintf(" (never came: %d to %d)", u.GapFrom, u.GapTo)
			}
			ends := ""
			if u.Kind == "snapshot" {
				ends = fmt.Sprintf("%d of %d", u.Closing, u.Current)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\n", u.ID, u.Authority, u.Received.Local().Format("2006-01-02 15:04"),
				u.Kind, sequence, u.State, u.Rows, u.Loaded, ends)
		}
		return w.Flush()
	})
}

// ShowUpload writes what is kept of an upload, with its report.
func (o Operator) ShowUpload(ctx context.Context, id string, asJSON bool, out io.Writer) error {
	return o.with(ctx, func(s store.Store, _ audit.Who) error {
		k, err := s.Upload(ctx, safeguard.ODSCode{}, id, 0)
		if err != nil {
			return err
		}
		r, err := upload.ReportOf(k)
		if err != nil {
			return err
		}
		report, err := r.Full()
		if err != nil {
			return err
		}
		if asJSON {
			return writeJSON(out, struct {
				shownUpload
				Report client.Report `json:"report"`
			}{showUpload(k), report})
		}
		u := showUpload(k)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "upload\t%s\nauthority\t%s\nsender\t%s\nreceived\t%s\nkind\t%s\nsequence\t%d\nstate\t%s\n",
			u.ID, u.Authority, u.Sender, u.Received.Local().Format("2006-01-02 15:04:05"), u.Kind, u.Sequence, u.State)
		if !u.Decided.IsZero() {
			fmt.Fprintf(w, "decided\t%s by %s: %s\n", u.Decided.Local().Format("2006-01-02 15:04:05"), u.DecidedBy, u.Reason)
		}
		if u.Kind == "snapshot" {
			fmt.Fprintf(w, "ends\t%d of %d current flags\n", u.Closing, u.Current)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		return WriteReport(out, "line", report, false)
	})
}

// DecideUpload releases an upload that waits, or rejects it.
func (o Operator) DecideUpload(ctx context.Context, id string, release bool, reason string, out io.Writer) error {
	if strings.TrimSpace(reason) == "" {
		return errors.New("upload: no reason, want why it is released or rejected; it is kept, and the local authority reads it")
	}
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		decide := s.Reject
		if release {
			decide = s.Release
		}
		k, err := decide(ctx, id, reason, by)
		if err != nil {
			return err
		}
		if release {
			// The verdicts are rendered from what is kept.
			if k, err = s.Upload(ctx, k.Authority, k.ID, 0); err != nil {
				return err
			}
		}
		r, err := upload.ReportOf(k)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "upload %s of local authority %s: %s, %s\n", k.ID, k.Authority, k.State, r.Sentence)
		return err
	})
}

// ImportDemographics imports what a demographic service says of NHS numbers, from
// a CSV, in the place of what was imported before.
func (o Operator) ImportDemographics(ctx context.Context, path string, out io.Writer) error {
	in, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("import demographics: %w", err)
	}
	defer in.Close()
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		owed, err := s.ImportDemographics(ctx, upload.ReadDemographics(in), by)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		list, err := s.Demographics(ctx)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%d numbers imported; local authorities are owed %d new notices of numbers that are not in use any more\n", list.Numbers, owed)
		return err
	})
}

// Erase removes all that is kept about the person with the NHS number that the
// first line of in holds: a number has no place in an argument.
func (o Operator) Erase(ctx context.Context, in io.Reader, reason string, out io.Writer) error {
	if strings.TrimSpace(reason) == "" {
		return errors.New("erase: no reason, want why the person is erased; it names nobody, and the audit keeps it")
	}
	first, err := bufio.NewReader(io.LimitReader(in, 64)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("erase: %w", err)
	}
	number, err := safeguard.ParseNHSNumber(strings.TrimSpace(first))
	if err != nil {
		return fmt.Errorf("erase: standard input: %w", err)
	}
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		removed, err := s.Erase(ctx, number, reason, by)
		if err != nil {
			return err
		}
		return sayRemoved(out, removed)
	})
}

func sayRemoved(out io.Writer, r store.Removed) error {
	_, err := fmt.Fprintf(out, "removed: %d persons, %d flags, %d accesses, %d notifications, %d reports; %d audit entries lead to nobody any more\n",
		r.Persons, r.Flags, r.Accesses, r.Notifications, r.Reports, r.AuditEntries)
	return err
}
