package server_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/server"
	"github.com/safeguard-edge/safeguard/central/store"
)

var tester = audit.Who{Caller: "operator test"}

// send uploads, and fails the test where that is refused.
func (c *centre) send(a safeguard.Authority, u client.Upload, rows ...client.Row) client.Report {
	c.Helper()
	report, err := c.authority(a).Upload(c.Context(), u, each(rows...))
	if err != nil {
		c.Fatal(err)
	}
	return report
}

// many gives rows of so many people with a flag since three months.
func many(n int) (rows []client.Row) {
	for i := 0; len(rows) < n; i++ {
		for check := range 10 {
			if number, err := safeguard.ParseNHSNumber(fmt.Sprintf("999%06d%d", 200_000+i, check)); err == nil {
				r := row(number, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{})
				r.Line = len(rows) + 2
				rows = append(rows, r)
				break
			}
		}
	}
	return rows
}

// wantRefused fails unless err is a refusal that says so.
func wantRefused(t *testing.T, err error, code, want string) {
	t.Helper()
	var refused *client.Refused
	if !errors.As(err, &refused) || refused.Code != code || !strings.Contains(refused.Reason, want) {
		t.Errorf("error %v, want %s: %s", err, code, want)
	}
}

func TestRepeatedUpload(t *testing.T) {
	c := start(t)
	rows := []client.Row{row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}), {Line: 3, Unreadable: "3 fields"}}
	sum := slices.Repeat([]byte{7}, 32)
	first := c.send(middlesbrough, client.Upload{Sequence: 7, File: sum}, rows...)
	if first.State != client.Applied || first.Sequence != 7 || first.Repeated || first.File != strings.Repeat("07", 32) || first.GapFrom != 0 {
		t.Errorf("first %+v", first)
	}
	again := c.send(middlesbrough, client.Upload{Sequence: 7}, rows...)
	if !again.Repeated {
		t.Errorf("again %+v, want that it is a repeat", again)
	}
	again.Repeated = false
	if fmt.Sprint(again) != fmt.Sprint(first) {
		t.Errorf("a repeat's report\n%+v, want the first's\n%+v", again, first)
	}
	for name, fetch := range map[string]func(conn *client.Client) (client.Report, error){
		"by its id":     func(conn *client.Client) (client.Report, error) { return conn.Report(t.Context(), first.ID, 0) },
		"by its number": func(conn *client.Client) (client.Report, error) { return conn.Report(t.Context(), "", 7) },
	} {
		if got, err := fetch(c.authority(middlesbrough)); err != nil || fmt.Sprint(got) != fmt.Sprint(first) {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, first)
		}
		_, err := fetch(c.authority(sheffield))
		wantRefused(t, err, "NotFound", "has no such upload")
	}
	_, err := c.authority(middlesbrough).Report(t.Context(), "", 0)
	wantRefused(t, err, "InvalidArgument", "want either")

	_, err = c.authority(middlesbrough).Upload(t.Context(), client.Upload{Sequence: 7}, each(rows[0]))
	wantRefused(t, err, "InvalidArgument", "sequence number 7 was used on")
	if gap := c.send(middlesbrough, client.Upload{Sequence: 10}, rows[0]); gap.GapFrom != 8 || gap.GapTo != 9 || !strings.Contains(strings.Join(gap.Notices, " "), "numbers 8 to 9 never came") {
		t.Errorf("after a gap: %+v", gap)
	}
	_, err = c.authority(middlesbrough).Upload(t.Context(), client.Upload{Sequence: 9}, each(rows[0]))
	wantRefused(t, err, "InvalidArgument", "send what still holds as 11")
	_, err = c.authority(middlesbrough).Upload(t.Context(), client.Upload{Sequence: -9}, each(rows[0]))
	wantRefused(t, err, "InvalidArgument", "want 1 or more")
}

func TestSnapshot(t *testing.T) {
	c := start(t)
	rows := many(12)
	c.send(middlesbrough, client.Upload{}, rows...)
	c.send(sheffield, client.Upload{}, rows[0])
	gone, err := safeguard.ParseNHSNumber(rows[0].NHSNumber)
	if err != nil {
		t.Fatal(err)
	}
	if r := c.send(middlesbrough, client.Upload{Snapshot: true}, rows[1:]...); r.State != client.Applied || r.Kind != "snapshot" || r.Ended != 1 || r.Loaded != 11 {
		t.Errorf("snapshot %+v", r)
	}
	// The plan has ended, and its tail is still shown.
	answer := c.lookup(query(gone, "visit 1"))
	if len(answer.Flags) != 2 {
		t.Fatalf("answer %+v, want both authorities' flags", answer)
	}
	for _, f := range answer.Flags {
		want := safeguard.Date{}
		if f.Authority.Code == middlesbrough.Code {
			want = safeguard.DateOf(time.Now())
		}
		if f.End != want {
			t.Errorf("%s: end %s, want %s", f.Authority.Code, f.End, want)
		}
	}
}

func TestSnapshotWaits(t *testing.T) {
	c := start(t)
	rows := many(10)
	c.send(middlesbrough, client.Upload{}, rows...)
	waits := c.send(middlesbrough, client.Upload{Snapshot: true, Sequence: 1}, rows[:7]...)
	if waits.State != client.Waits || waits.Loaded != 0 || waits.Ended != 0 || waits.Verdict != "CPF04" || waits.Verdicts[0].Code != "CPR07" ||
		!strings.Contains(waits.Sentence, "3 of the 10 flags") {
		t.Errorf("snapshot %+v, want it to wait", waits)
	}
	c.wantLog(`"upload waiting"`)
	last, err := safeguard.ParseNHSNumber(rows[9].NHSNumber)
	if err != nil {
		t.Fatal(err)
	}
	if answer := c.lookup(query(last, "visit 1")); !answer.Flags[0].End.IsZero() {
		t.Errorf("answer %+v, want the plan active", answer)
	}
	if _, err := c.store.Release(t.Context(), waits.ID, "they moved away", tester); err != nil {
		t.Fatal(err)
	}
	released, err := c.authority(middlesbrough).Report(t.Context(), "", 1)
	if err != nil || released.State != client.Applied || released.Ended != 3 || released.Loaded != 7 || released.Verdicts[0].Code != "CPR06" {
		t.Errorf("report after the release %+v, %v", released, err)
	}
	if answer := c.lookup(query(last, "visit 2")); answer.Flags[0].End != safeguard.DateOf(time.Now()) {
		t.Errorf("answer %+v, want the plan ended", answer)
	}
}

func TestUploadNotTaken(t *testing.T) {
	c := start(t)
	good := row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{})
	closed := safeguard.Authority{Code: code("999"), Name: "Abolished"}
	c.directory.Set(c.sites(), []server.Authority{
		{Authority: middlesbrough, Stage: store.Live}, {Authority: sheffield, Stage: store.Live},
		{Authority: closed, Stage: store.Live, Closed: "local authority 999, Abolished, is no more since 2025-04-01; its flags are to come from 806 (Middlesbrough)"},
	})
	for name, tt := range map[string]struct {
		from       safeguard.Authority
		upload     client.Upload
		rows       int
		code, want string
	}{
		"an authority that is no more":             {closed, client.Upload{}, 1, "PermissionDenied", "its flags are to come from 806 (Middlesbrough)"},
		"another's file under its own certificate": {sheffield, client.Upload{Sender: middlesbrough.Code}, 1, "PermissionDenied", "the file says that it is from 806"},
		"too many rows":                            {sheffield, client.Upload{}, 300_001, "InvalidArgument", "more than 300000 rows"},
		"a digest that is none":                    {sheffield, client.Upload{File: []byte("abc")}, 1, "InvalidArgument", "3 bytes, want 32"},
	} {
		t.Run(name, func(t *testing.T) {
			rows := func(yield func(client.Row, error) bool) {
				for range tt.rows {
					if !yield(good, nil) {
						return
					}
				}
			}
			_, err := c.authority(tt.from).Upload(t.Context(), tt.upload, rows)
			wantRefused(t, err, tt.code, tt.want)
			if kept, err := c.store.Uploads(t.Context(), store.UploadFilter{}); err != nil || len(kept) != 0 {
				t.Errorf("%d uploads kept, %v, want none", len(kept), err)
			}
			if flags, err := c.store.Flags(t.Context(), alice); err != nil || len(flags) != 0 {
				t.Errorf("flags %v, %v, want none", flags, err)
			}
		})
	}
}

// A certificate that has expired since it was last used uploads nothing.
func TestUploadUnderAnExpiredCertificate(t *testing.T) {
	c := start(t)
	ca, err := tls.LoadX509KeyPair(filepath.Join(c.dir, "ca.pem"), filepath.Join(c.dir, "ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	config := c.tls("authority-806", identity.Authority)
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return expired(t, ca), nil }
	good := row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{})
	if _, err := c.dial(config).Upload(t.Context(), client.Upload{}, each(good)); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("error %v, want unreachable", err)
	}
	c.wantLog("certificate has expired")
	if kept, err := c.store.Uploads(t.Context(), store.UploadFilter{}); err != nil || len(kept) != 0 {
		t.Errorf("%d uploads kept, %v, want none", len(kept), err)
	}
}

// deaf is a store whose demographic list can not be read.
type deaf struct{ store.Store }

func (deaf) Demographics(context.Context) (store.DemographicList, error) {
	return store.DemographicList{}, errors.New("disk on fire")
}

func TestNumbersThatAreNotInUse(t *testing.T) {
	c := start(t)
	old, adopted := alice, bob
	c.send(middlesbrough, client.Upload{Sequence: 41}, row(old, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
	list := func(yield func(store.Listed, error) bool) {
		yield(store.Listed{Number: old, Standing: store.Inactive}, nil)
	}
	if owed, err := c.store.ImportDemographics(t.Context(), list, tester); err != nil || owed != 1 {
		t.Fatalf("%d owed, %v, want 1", owed, err)
	}
	conn := c.authority(middlesbrough)
	pull := func(conn *client.Client) (notices []client.InactiveNumber) {
		for n, err := range conn.InactiveNumbers(t.Context(), 0) {
			if err != nil {
				t.Fatal(err)
			}
			notices = append(notices, n)
		}
		return notices
	}
	notices := pull(conn)
	if len(notices) != 1 || notices[0].Number != old || notices[0].Superseded || notices[0].Upload != "41" || time.Since(notices[0].Recorded) > time.Hour {
		t.Fatalf("notices %+v, want one", notices)
	}
	if other := pull(c.authority(sheffield)); len(other) != 0 {
		t.Errorf("another authority is told: %+v", other)
	}

	// The child was adopted, and comes under another number. Nothing that is
	// answered, kept of the upload or logged leads from one to the other.
	report := c.send(middlesbrough, client.Upload{Sequence: 42},
		row(old, safeguard.LookedAfter, ago(0, 2, 0), safeguard.Date{}), row(adopted, safeguard.LookedAfter, ago(0, 2, 0), safeguard.Date{}))
	if report.Verdicts[0].Code != "CPR07" || report.Verdicts[0].Column != "nhs_number" || report.Verdicts[1].Code != "CPR06" {
		t.Errorf("report %+v", report)
	}
	if text := fmt.Sprintf("%+v %+v", report, pull(conn)); strings.Contains(text, adopted.Reveal()) || strings.Contains(text, adopted.String()) {
		t.Errorf("what the authority is told of the old number holds the new one: %s", text)
	}
	if n, err := conn.AcknowledgeInactive(t.Context(), notices[0].ID, "unknown"); err != nil || n != 1 {
		t.Errorf("%d not found, %v, want 1", n, err)
	}
	if left := pull(conn); len(left) != 0 {
		t.Errorf("after acknowledging: %+v", left)
	}
	for _, err := range c.dial(c.tls("agent-RX1", identity.Agent)).InactiveNumbers(t.Context(), 0) {
		wantRefused(t, err, "PermissionDenied", "kind authority")
	}
}

func TestDemographicServiceAway(t *testing.T) {
	c := start(t, func(_ *server.Policy, s *store.Store) { *s = deaf{*s} })
	report := c.send(middlesbrough, client.Upload{}, row(alice, safeguard.ChildProtection, ago(0, 3, 0), safeguard.Date{}))
	if report.State != client.NotTaken || report.Verdict != "CPF05" || report.Rows != 1 || !strings.Contains(report.Sentence, "send the upload again") {
		t.Errorf("report %+v", report)
	}
	if flags, err := c.store.Flags(t.Context(), alice); err != nil || len(flags) != 0 {
		t.Errorf("flags %v, %v, want none", flags, err)
	}
}

// slow is a store that takes its time, until it is let go.
type slow struct {
	store.Store
	going chan struct{}
}

func (s slow) Apply(ctx context.Context, u store.Upload) (store.Kept, error) {
	u.Progress(123)
	<-s.going
	return s.Store.Apply(ctx, u)
}

func TestUploadTellsHowFarItIs(t *testing.T) {
	s := slow{going: make(chan struct{})}
	c := start(t, func(_ *server.Policy, held *store.Store) { s.Store, *held = *held, &s })
	told := false
	report := c.send(middlesbrough, client.Upload{Progress: func(sent, applied int) {
		if applied == 123 && sent == 500 && !told {
			told = true
			close(s.going)
		}
	}}, many(500)...)
	if !told || report.Loaded != 500 || len(report.Verdicts) != 500 {
		t.Errorf("told %v, report of %d rows", told, report.Loaded)
	}
}

// FuzzUploadHeader: whatever a header says, it is refused with a sentence, or
// means what was sent.
func FuzzUploadHeader(f *testing.F) {
	f.Add(int32(1), int64(7), []byte(nil), "806")
	f.Add(int32(2), int64(-7), slices.Repeat([]byte{1}, 32), "x\ny")
	f.Fuzz(func(t *testing.T, kind int32, sequence int64, sum []byte, sender string) {
		s, err := server.SendingOf(&flagpb.UploadHeader{Kind: flagpb.UploadKind(kind), Sequence: sequence, FileSha256: sum, Sender: sender})
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error of several lines: %q", err)
			}
			return
		}
		if s.Snapshot != (kind == 2) || kind != 1 && kind != 2 || s.Sequence != sequence || string(s.File) != string(sum) || !strings.EqualFold(s.Sender.String(), sender) {
			t.Errorf("kind %d, sequence %d, sender %q: %+v", kind, sequence, sender, s)
		}
	})
}
