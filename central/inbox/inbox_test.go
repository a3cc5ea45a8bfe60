package inbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/cpisxml"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/central/upload"
	"github.com/safeguard-edge/safeguard/logging/loggingtest"
)

// place is a centre with a folder, and local authorities 806 and 906.
type place struct {
	*testing.T
	folder string
	store  *store.DB
	intake *upload.Intake
	log    loggingtest.Log
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{T: t, folder: t.TempDir()}
	ring, err := keys.Open(filepath.Join(t.TempDir(), "ring"), keys.FileMaster(filepath.Join(t.TempDir(), "master.key")))
	if err != nil {
		t.Fatal(err)
	}
	if p.store, err = store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "central.db"), ring); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.store.Close(); err != nil {
			t.Error(err)
		}
		for _, secret := range []string{"9990000107", "2015-06-07", "alice"} {
			if strings.Contains(p.log.String(), secret) {
				t.Errorf("the log holds %q:\n%s", secret, p.log.String())
			}
		}
	})
	p.intake = &upload.Intake{
		Store: p.store, Demographics: upload.List{Store: p.store}, Policy: upload.Policy{Share: 0.2}, Log: slog.New(slog.NewTextHandler(&p.log, nil)),
		Admit: func(authority safeguard.ODSCode) error {
			if authority.String() == "999" {
				return &upload.Refused{Why: upload.NotAsked, Reason: "local authority 999 is no more; its flags are to come from 906"}
			}
			return nil
		},
	}
	return p
}

// run runs an inbox until the test, or what it returns, ends it.
func (p *place) run() (stop func()) { return p.runAs("one") }

func (p *place) runAs(holder string) (stop func()) {
	p.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	inbox := &Inbox{Folder: p.folder, Poll: 5 * time.Millisecond, Intake: p.intake, Store: p.store, Holder: holder, Log: slog.New(slog.NewTextHandler(&p.log, nil)),
		Contact: func(code safeguard.ODSCode) safeguard.Authority {
			return safeguard.Authority{Code: code, Name: "Ashmere Council", EmergencyDutyPhone: "01632 960001"}
		}}
	ended := make(chan error, 1)
	go func() { ended <- inbox.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				p.Error(err)
			}
		})
	}
	p.Cleanup(stop)
	return stop
}

// drop puts a file into the folder at once, as a rename does.
func (p *place) drop(path, text string) {
	p.Helper()
	path = filepath.Join(p.folder, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		p.Fatal(err)
	}
	if err := os.WriteFile(path+".tmp", []byte(text), 0o600); err != nil {
		p.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		p.Fatal(err)
	}
}

// wait waits until there is a file of the pattern, and no other, and gives it.
func (p *place) wait(pattern string) string {
	p.Helper()
	for end := time.Now().Add(60 * time.Second); ; {
		found, err := filepath.Glob(filepath.Join(p.folder, pattern))
		if err != nil {
			p.Fatal(err)
		}
		if len(found) == 1 {
			return found[0]
		}
		if time.Now().After(end) || len(found) > 1 {
			p.Fatalf("%d files %s, want one:\n%s", len(found), pattern, p.log.String())
		}
		time.Sleep(time.Millisecond)
	}
}

func (p *place) report(path string) client.Report {
	p.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		p.Fatal(err)
	}
	var r client.Report
	if err := json.Unmarshal(text, &r); err != nil {
		p.Fatal(err)
	}
	return r
}

func (p *place) uploads() []store.Kept {
	p.Helper()
	list, err := p.store.Uploads(p.Context(), store.UploadFilter{})
	if err != nil {
		p.Fatal(err)
	}
	return list
}

const (
	head = "nhs_number,date_of_birth,plan,start\n"
	good = "9990000107,2015-06-07,CPP,2025-01-02\n"
)

// At a first start there is no folder yet, which is no fault.
func TestFolderIsMade(t *testing.T) {
	p := newPlace(t)
	p.folder = filepath.Join(p.folder, "uploads")
	p.run()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if info, err := os.Stat(p.folder); err == nil && info.IsDir() {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no folder was made")
		}
	}
	if strings.Contains(p.log.String(), "level=WARN") {
		t.Errorf("a first start warns:\n%s", p.log.String())
	}
}

func TestTaken(t *testing.T) {
	p := newPlace(t)
	p.run()
	p.drop("806/alice.csv", head+good+"1,2015-06-07,CPP,2025-01-02\n")
	file := p.wait("806/taken/*-alice.csv")
	r := p.report(file + reportEnd)
	if r.Verdict != upload.SomeLoaded || r.State != client.Applied || len(r.Verdicts) != 2 || r.Verdicts[1].Line != 3 || r.Verdicts[1].Column != "nhs_number" || r.File == "" {
		t.Errorf("report %+v", r)
	}
	kept := p.uploads()
	if len(kept) != 1 || kept[0].ID != r.ID || kept[0].By != "folder" || kept[0].Authority.String() != "806" {
		t.Errorf("kept %+v, want the one", kept)
	}
}

// A program that is killed once the upload is in the store, and before its file
// is moved, finds the file again.
func TestTakenOnceThoughKilled(t *testing.T) {
	p := newPlace(t)
	stop := p.run()
	p.drop("806/flags.csv", head+good)
	file := p.wait("806/taken/*-flags.csv")
	first := p.report(p.wait("806/taken/*-flags.csv" + reportEnd))
	stop()
	withdrawn := strings.Replace(head+good, "start\n", "start,delete\n", 1)
	withdrawn = strings.Replace(withdrawn, "2025-01-02\n", "2025-01-02,2025-02-01\n", 1)
	p.drop("806/later.csv", withdrawn)
	stop = p.run()
	p.wait("806/taken/*-later.csv")
	stop()

	if err := errors.Join(os.Rename(file, filepath.Join(p.folder, "806/flags.csv")), os.Remove(file+reportEnd)); err != nil {
		t.Fatal(err)
	}
	p.run()
	again := p.report(p.wait("806/taken/*-flags.csv" + reportEnd))
	p.wait("806/taken/*-flags.csv")
	if !again.Repeated || again.ID != first.ID || !again.Received.Equal(first.Received) || len(p.uploads()) != 2 {
		t.Errorf("found again: %+v, want the report of the first, %+v", again, first)
	}
	number, _ := safeguard.ParseNHSNumber("9990000107")
	if flags, err := p.store.Flags(t.Context(), number); err != nil || len(flags) != 0 {
		t.Errorf("flags %v, %v, want none: a later upload has withdrawn it", flags, err)
	}
}

func TestRefused(t *testing.T) {
	p := newPlace(t)
	p.run()
	p.drop("806/2.csv", head+good)
	p.drop("806/flags.7.csv", head+good)
	p.wait("806/taken/*-flags.7.csv")
	for name, tt := range map[string]struct{ folder, file, text, want string }{
		"no such file":        {"806", "notes.csv", "Dear colleague,\n", "no column nhs_number"},
		"number used":         {"806", "other.7.csv", head, "sequence number 7 was used"},
		"authority is closed": {"999", "flags.csv", head + good, "are to come from 906"},
		"another's file":      {"806", "up.xml", national(t, "906", "8"), "the file says that it is from 906"},
		"two numbers":         {"806", "up.9.xml", national(t, "806", "8"), "its own sequence number is 8"},
		"broken off":          {"806", "cut.xml", strings.TrimSuffix(strings.TrimSpace(national(t, "806", "8")), "</File>"), "line"},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(p.uploads())
			p.drop(tt.folder+"/"+tt.file, tt.text)
			file := p.wait(tt.folder + "/refused/*-" + tt.file)
			r := p.report(file + reportEnd)
			if r.State != client.NotTaken || r.Verdict != upload.Malformed || !strings.Contains(r.Sentence, tt.want) {
				t.Errorf("report %+v, want %q", r, tt.want)
			}
			if after := len(p.uploads()); after != before {
				t.Errorf("%d uploads kept, want %d", after, before)
			}
			if text, err := os.ReadFile(file); err != nil || string(text) != tt.text {
				t.Errorf("file %q, %v, want it as it was", text, err)
			}
			if strings.HasSuffix(tt.file, ".xml") {
				in, err := os.Open(file + ackEnd)
				if err != nil {
					t.Fatal(err)
				}
				defer in.Close()
				if a, _, err := cpisxml.ReadAcknowledgement(in); err != nil || a.File != cpisxml.FileError || a.Sequence != cpisxml.Unreadable {
					t.Errorf("acknowledgement %+v, %v", a, err)
				}
			}
		})
	}
}

func national(t *testing.T, sender, sequence string) string {
	t.Helper()
	number, err := safeguard.ParseNHSNumber("9990000107")
	if err != nil {
		t.Fatal(err)
	}
	code, err := safeguard.ParseODSCode(sender)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	err = cpisxml.WriteUpload(&b, cpisxml.Header{Created: time.Now(), Sequence: sequence, Quantity: 1,
		Sender: cpisxml.Organisation{Code: code, Name: "Ashmere Council", EmergencyDuty: "01632960001"}},
		func(yield func(cpisxml.Record, error) bool) {
			yield(cpisxml.Record{
				Plans:    []cpisxml.Plan{{Plan: safeguard.ChildProtection, Start: "202501020000"}},
				Subjects: []cpisxml.Subject{{NHSNumber: safeguard.Hide(number.Reveal()), Born: safeguard.Hide("20150607"), Given: safeguard.Hide("Testy"), Family: safeguard.Hide("Mctestface")}},
			}, nil)
		})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestNationalIsAcknowledged(t *testing.T) {
	p := newPlace(t)
	p.run()
	p.drop("806/up.xml", national(t, "806", "41"))
	file := p.wait("806/taken/*-up.xml")
	in, err := os.Open(file + ackEnd)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	a, answers, err := cpisxml.ReadAcknowledgement(in)
	if err != nil || a.File != cpisxml.FileLoaded || a.Sequence != "41" || a.Quantity != 1 || a.Recipient.Code.String() != "806" || len(answers) != 1 || answers[0].Code != cpisxml.RecordLoaded {
		t.Errorf("acknowledgement %+v, %+v, %v", a, answers, err)
	}
}

func TestSnapshotWaitsAndIsDecided(t *testing.T) {
	for _, release := range []bool{true, false} {
		t.Run(fmt.Sprintf("release=%v", release), func(t *testing.T) {
			p := newPlace(t)
			p.run()
			p.drop("806/first.csv", head+good)
			p.wait("806/taken/*-first.csv")
			p.drop("806/none.snapshot.csv", head)
			waits := p.report(p.wait("806/waiting/*-none.snapshot.csv") + reportEnd)
			if waits.State != client.Waits || waits.Kind != "snapshot" {
				t.Errorf("report %+v, want that it waits", waits)
			}
			decide, want, folder := p.store.Reject, client.Rejected, "refused"
			if release {
				decide, want, folder = p.store.Release, client.Applied, "taken"
			}
			if _, err := decide(t.Context(), waits.ID, "as it is", audit.Who{Caller: "test"}); err != nil {
				t.Fatal(err)
			}
			file := p.wait("806/" + folder + "/*-none.snapshot.csv")
			if r := p.report(file + reportEnd); r.State != want || r.ID != waits.ID || release && r.Ended != 1 {
				t.Errorf("report %+v, want %s", r, want)
			}
			for end := time.Now().Add(30 * time.Second); ; {
				left, err := os.ReadDir(filepath.Join(p.folder, "806/waiting"))
				if err != nil {
					t.Fatal(err)
				}
				if len(left) == 0 {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("%v is left where it waited", left)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
}

// stuck is a demographic service that does not answer.
type stuck struct {
	asked chan struct{}
	over  chan struct{}
}

func (s stuck) Source(context.Context) (string, error) {
	close(s.asked)
	<-s.over // and does not look at the context: as a share that hangs
	return "", errors.New("never was there")
}

func (stuck) Standings(context.Context, []safeguard.NHSNumber) ([]store.Standing, error) {
	return nil, errors.New("not asked")
}

func TestOneThatHangsHoldsUpNoOther(t *testing.T) {
	p := newPlace(t)
	s := stuck{make(chan struct{}), make(chan struct{})}
	p.intake.Demographics = s
	stop := p.run()
	p.drop("806/flags.csv", head+good)
	select {
	case <-s.asked:
	case <-time.After(60 * time.Second):
		t.Fatal("the first file was not read")
	}
	// What is put aside asks nobody.
	p.drop("999/flags.csv", head+good)
	p.wait("999/refused/*-flags.csv")
	close(s.over)
	stop()
	if _, err := os.Stat(filepath.Join(p.folder, "806/flags.csv")); err != nil {
		t.Errorf("%v, want the file left for the next time", err)
	}
}

func TestPassedOver(t *testing.T) {
	for name, want := range map[string]bool{
		".flags.csv": true, "flags.csv.part": true, "flags.TMP": true, "flags.csv.filepart": true, "flags.csv~": true, "~$flags.csv": true,
		"flags.csv": false, "flags": false, "party.csv": false,
	} {
		if got := passedOver(name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestSendingOf(t *testing.T) {
	for name, want := range map[string]upload.Sending{
		"flags.csv":             {},
		"flags.snapshot.csv":    {Snapshot: true},
		"flags.Snapshot.42.csv": {Snapshot: true, Sequence: 42},
		"flags.43.csv":          {Sequence: 43},
		"43.csv":                {},
		"snapshot.csv":          {},
		"flags.0.-1.csv":        {},
	} {
		if got := sendingOf(name); got.Snapshot != want.Snapshot || got.Sequence != want.Sequence {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

// info is a file as it is seen.
type info struct {
	fs.FileInfo
	size     int64
	modified time.Time
}

func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return i.modified }

func TestSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &folder{Inbox: &Inbox{Settle: 20 * time.Second}, seen: map[string]look{}}
		server := time.Now().Add(-time.Hour) // whose clock is another's
		for _, step := range []struct {
			after time.Duration
			file  info
			want  bool
		}{
			{0, info{size: 10, modified: server}, false},
			{15 * time.Second, info{size: 20, modified: server}, false}, // it grows
			{15 * time.Second, info{size: 20, modified: server}, false},
			{4 * time.Second, info{size: 20, modified: server.Add(time.Second)}, false}, // it was written over
			{19 * time.Second, info{size: 20, modified: server.Add(time.Second)}, false},
			{time.Second, info{size: 20, modified: server.Add(time.Second)}, true},
		} {
			time.Sleep(step.after)
			if got := f.settled("flags.csv", step.file); got != step.want {
				t.Errorf("after %v: %v, want %v", step.after, got, step.want)
			}
		}
	})
}

// Of two processes on one folder one takes the files, and the other when that one
// has left. Of two folders under the same path on two machines, each has its own.
func TestTwoProcesses(t *testing.T) {
	p := newPlace(t)
	p.drop("906/first.csv", head+good)
	first := p.runAs("one")
	p.wait("906/taken/*first.csv")
	second := p.runAs("two")
	p.drop("906/second.csv", head+good)
	p.wait("906/taken/*second.csv")
	first()
	p.drop("906/third.csv", head+good)
	p.wait("906/taken/*third.csv")
	second()
	uploads, err := p.store.Uploads(t.Context(), store.UploadFilter{})
	if err != nil || len(uploads) != 3 {
		t.Errorf("%d uploads, %v, want 3", len(uploads), err)
	}
	if log := p.log.String(); strings.Contains(log, "not taken") {
		t.Errorf("they were in each other's way:\n%s", log)
	}

	here, there := t.TempDir(), t.TempDir()
	one, err := marked(here)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := marked(here); err != nil || again != one {
		t.Errorf("marked %q, then %q, %v", one, again, err)
	}
	if other, err := marked(there); err != nil || other == one {
		t.Errorf("another folder has the same mark, %v", err)
	}
}
