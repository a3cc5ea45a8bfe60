package store_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
)

// childEnv makes this test binary the process that is killed: kind, database and
// folder of the keys.
const childEnv = "SAFEGUARD_STORE_CHILD"

// What a killed process has said is done is there: accesses, notifications,
// flags; nothing is half there, and the audit verifies.
func TestSurvivesKill(t *testing.T) {
	if spec := os.Getenv(childEnv); spec != "" {
		child(t, spec)
		return
	}
	for _, kind := range []string{"sqlite", "postgres"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			r, where := ringAt(t, dir), filepath.Join(dir, "central.db")
			reopen := func() *store.DB { return open(t, where, r) }
			if kind == "postgres" {
				where = database(t)
				reopen = func() *store.DB { return openPostgres(t, where, r) }
			}
			done := map[string]bool{} // what the children have said
			const kills = 3
			for round := range kills {
				killChild(t, kind, where, dir, round, done)
			}
			s := reopen()
			checkDone(t, s, done)
			if report := verify(t, s); len(report.Problems) != 0 || report.Chains != kills {
				t.Errorf("audit after %d kills: %d chains, %v", kills, report.Chains, report.Problems)
			}
		})
	}
}

// killChild kills a child once it has said enough.
func killChild(t *testing.T, kind, where, dir string, round int, done map[string]bool) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run", "^TestSurvivesKill$")
	child.Env = append(os.Environ(), childEnv+"="+strings.Join([]string{kind, where, dir, strconv.Itoa(round)}, "\n"))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	impatient := time.AfterFunc(time.Minute, func() { _ = child.Process.Kill() })
	defer impatient.Stop()
	said := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		done[lines.Text()] = true
		if said++; said == 100 {
			if err := child.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	_ = child.Wait() // killed
	if said < 100 {
		t.Fatalf("round %d: the child did %d things, want at least 100", round, said)
	}
}

// checkDone looks for what was said to be done, a word and a visit each.
func checkDone(t *testing.T, s *store.DB, done map[string]bool) {
	t.Helper()
	notified := map[safeguard.AttendanceID]bool{}
	list, err := s.Waiting(t.Context(), code(t, "206"), 0, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range list {
		notified[w.Notification.Attendance] = true
	}
	accessed := map[safeguard.AttendanceID]bool{}
	accesses, err := s.Accesses(t.Context(), number(t, "9990000107"), 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range accesses {
		accessed[a.Attendance] = true
	}
	if len(accessed) != len(notified) {
		t.Errorf("%d accesses, %d notifications, want as many", len(accessed), len(notified))
	}
	flags, err := s.Flags(t.Context(), number(t, "9990000107"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range done {
		what, of, _ := strings.Cut(line, " ")
		switch what {
		case "settled":
			if id := safeguard.NewAttendanceID(code(t, "RX1"), of); !accessed[id] || !notified[id] {
				t.Errorf("%s: access %v, notification %v", line, accessed[id], notified[id])
			}
		case "applied":
			start, err := safeguard.ParseDate(of)
			if err != nil || !slices.ContainsFunc(flags, func(f store.Flag) bool { return f.Start == start }) {
				t.Errorf("%s: %v, not among %d flags", line, err, len(flags))
			}
		}
	}
}

// child writes to a store without end, and says what is done.
func child(t testing.TB, spec string) {
	parts := strings.Split(spec, "\n")
	kind, where, round := parts[0], parts[1], parts[3]
	r := ringAt(t, parts[2])
	var s *store.DB
	if kind == "postgres" {
		s = openPostgres(t, where, r)
	} else {
		s = open(t, where, r)
	}
	alice, authority := number(t, "9990000107"), code(t, "206")
	var mu sync.Mutex
	say := func(line string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(line)
	}
	var wait sync.WaitGroup
	for caller := range 8 {
		wait.Go(func() {
			for i := 0; ; i++ {
				visit := fmt.Sprint(round, "/", caller, "/", i)
				l := look(t, alice, visit)
				l.Purpose = safeguard.Unscheduled
				if err := s.Settle(context.Background(), l, []safeguard.Notification{{Authority: authority, Setting: l.Setting}}); err != nil {
					t.Error(err)
					return
				}
				say("settled " + visit)
			}
		})
	}
	wait.Go(func() {
		day := safeguard.Date{Year: 2000, Month: 1, Day: 1}
		n, _ := strconv.Atoi(round)
		day = day.Add(n, 0, 0)
		for i := 0; i < 300; i++ {
			f := store.Flag{Plan: safeguard.ChildProtection, Start: day.Add(0, 0, i)}
			u := store.Upload{ID: fmt.Sprint(round, "/", i), Authority: authority, Rows: 1, Changes: slices.Values([]store.Change{{Number: alice, Flag: f}})}
			if _, err := s.Apply(context.Background(), u); err != nil {
				t.Error(err)
				return
			}
			say("applied " + f.Start.String())
		}
	})
	wait.Wait()
}

// A commit that fails says so and changes nothing, and what comes after it is
// written as if it had not been: no gap in the audit.
func TestFailedCommit(t *testing.T) {
	for kind, create := range kinds {
		t.Run(kind, func(t *testing.T) {
			open, raw := create(t)
			s := open()
			alice, authority := number(t, "9990000107"), code(t, "206")
			settle := func(visit string) error {
				l := look(t, alice, visit)
				l.Purpose = safeguard.Unscheduled
				return s.Settle(t.Context(), l, []safeguard.Notification{{Authority: authority, Setting: l.Setting}})
			}
			count := func() (accesses, notifications int) {
				list, err := s.Accesses(t.Context(), alice, 1_000_000)
				if err != nil {
					t.Fatal(err)
				}
				waiting, err := s.Waiting(t.Context(), authority, 0, 1_000_000)
				if err != nil {
					t.Fatal(err)
				}
				return len(list), len(waiting)
			}
			if err := settle("before"); err != nil {
				t.Fatal(err)
			}
			mend := failCommits(t, kind, s, raw)
			failed, kept := 0, 1
			for i := range 2000 {
				if err := settle(fmt.Sprint("during ", i)); err == nil {
					kept++ // there was room for it still
				} else if failed++; failed == 5 {
					break
				}
			}
			if failed != 5 {
				t.Fatalf("%d of 2000 commits failed, want 5", failed)
			}
			f := store.Flag{Plan: safeguard.ChildProtection, Start: safeguard.Date{Year: 2025, Month: 2, Day: 3}}
			if err := s.Record(t.Context(), look(t, alice, "look")); err == nil && kind == "postgres" {
				t.Error("a look was recorded, want the failure")
			}
			if accesses, notifications := count(); accesses != kept || notifications != kept {
				t.Errorf("%d accesses, %d notifications, want %d of each, what was said to be done", accesses, notifications, kept)
			}
			mend()
			if err := settle("after"); err != nil {
				t.Errorf("after the failure has gone: %v", err)
			}
			if _, err := s.Apply(t.Context(), store.Upload{ID: "1", Authority: authority, Rows: 1, Changes: slices.Values([]store.Change{{Number: alice, Flag: f}})}); err != nil {
				t.Errorf("after the failure has gone: %v", err)
			}
			if accesses, notifications := count(); accesses != kept+1 || notifications != kept+1 {
				t.Errorf("%d accesses, %d notifications, want %d of each", accesses, notifications, kept+1)
			}
			if report := verify(t, s); len(report.Problems) != 0 || report.Chains != 1 {
				t.Errorf("audit: %d chains, %v", report.Chains, report.Problems)
			}
		})
	}
}

// failCommits makes commits fail: SQLite has no more room in its file, as on a
// full disk; PostgreSQL refuses at COMMIT.
func failCommits(t *testing.T, kind string, s *store.DB, raw *sql.DB) (mend func()) {
	t.Helper()
	if kind == "sqlite" {
		if err := s.LimitPages(1); err != nil { // it takes no less than there are
			t.Fatal(err)
		}
		return func() {
			if err := s.LimitPages(1 << 30); err != nil {
				t.Fatal(err)
			}
		}
	}
	exec := func(query string) {
		t.Helper()
		if _, err := raw.Exec(query); err != nil {
			t.Fatal(err)
		}
	}
	exec(`CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no room'; END $$`)
	exec(`CREATE CONSTRAINT TRIGGER no_room AFTER INSERT ON audit DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION no_room()`)
	return func() { exec(`DROP TRIGGER no_room ON audit`) }
}

// A database that was away comes back, and the store with it.
func TestPostgresConnectionsLost(t *testing.T) {
	open, raw := kinds["postgres"](t)
	s := open()
	alice := number(t, "9990000107")
	for i := range 5 {
		if err := s.Record(t.Context(), look(t, alice, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		if _, err := raw.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); ; {
			err := s.Record(t.Context(), look(t, alice, fmt.Sprint("again ", i)))
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
	if report := verify(t, s); len(report.Problems) != 0 || report.Chains != 1 {
		t.Errorf("audit: %d chains, %v", report.Chains, report.Problems)
	}
}

// Who reads notifications on from the last position misses none, whatever process
// owes them meanwhile.
func TestWaitingMissesNothing(t *testing.T) {
	for kind, create := range kinds {
		t.Run(kind, func(t *testing.T) {
			open, _ := create(t)
			authority := code(t, "206")
			const processes, callers, visits = 2, 4, 25
			var writing sync.WaitGroup
			for process := range processes {
				s := open()
				for caller := range callers {
					writing.Go(func() {
						for i := range visits {
							l := look(t, number(t, []string{"9990000107", "9990000115"}[i%2]), fmt.Sprint(process, "/", caller, "/", i))
							l.Purpose = safeguard.Unscheduled
							if err := s.Settle(t.Context(), l, []safeguard.Notification{{Authority: authority, Setting: l.Setting}}); err != nil {
								t.Error(err)
							}
						}
					})
				}
			}
			written := make(chan struct{})
			go func() { writing.Wait(); close(written) }()
			s, after, got := open(), int64(0), 0
			for last := false; ; {
				list, err := s.Waiting(t.Context(), authority, after, 10)
				if err != nil {
					t.Fatal(err)
				}
				if len(list) > 0 {
					after, got = list[len(list)-1].Position, got+len(list)
					continue
				}
				if last {
					break
				}
				select {
				case <-written:
					last = true // and once more
				default:
				}
			}
			if want := processes * callers * visits; got != want {
				t.Errorf("%d notifications read on from the last position, want %d", got, want)
			}
		})
	}
}
