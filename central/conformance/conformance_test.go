package conformance_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/conformance"
	"github.com/safeguard-edge/safeguard/central/identity"
)

// The test binary is the supplier's system too: the run starts it for each step.
func TestMain(m *testing.M) {
	if os.Getenv("CONFORMANCE_SERVER") == "" {
		os.Exit(m.Run())
	}
	if err := newSystem(os.Args[1]).do(os.Args[len(os.Args)-1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// system is a supplier's system, with a fault.
type system struct {
	fault  string
	folder string
}

func newSystem(fault string) system { return system{fault, os.Getenv("CONFORMANCE_FOLDER")} }

func (s system) do(step string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	certificate := func(name string) string { return filepath.Join(s.folder, "certificates", name) }
	config, err := identity.ClientTLS(identity.Files{Certificate: certificate("authority-906.pem"), Key: certificate("authority-906-key.pem"), CA: certificate("ca.pem")}, identity.Authority)
	if err != nil {
		return err
	}
	c, err := client.Dial(os.Getenv("CONFORMANCE_SERVER"), config)
	if err != nil {
		return err
	}
	defer c.Close()
	switch step {
	case "upload":
		_, err = s.upload(ctx, c, "upload-1.csv", 1)
	case "verdicts":
		err = s.verdicts(ctx, c)
	case "lost-reply":
		err = s.again(ctx, c)
	case "snapshot":
		_, err = s.upload(ctx, c, "snapshot.csv", 4)
	case "nothing":
		if s.fault == "acknowledges anything" {
			if _, err := c.Acknowledge(ctx, "no-such-id"); err != nil {
				return err
			}
		}
		err = s.pull(ctx, c)
	default:
		err = s.pull(ctx, c)
	}
	return err
}

func (s system) upload(ctx context.Context, c *client.Client, file string, sequence int64) (client.Report, error) {
	u := client.Upload{Sequence: sequence, Snapshot: file == "snapshot.csv"}
	switch s.fault {
	case "no sequence":
		u.Sequence = 0
	case "no snapshot":
		u.Snapshot = false
	}
	return c.Upload(ctx, u, s.rows(file))
}

func (s system) rows(file string) iter.Seq2[client.Row, error] {
	return func(yield func(client.Row, error) bool) {
		rows, err := table(filepath.Join(s.folder, file))
		if err != nil {
			yield(client.Row{}, err)
			return
		}
		for i, r := range rows {
			if s.fault == "drops a row" && i == 1 {
				continue
			}
			if !yield(client.Row{Line: i + 2, NHSNumber: r[0], DateOfBirth: r[1], Plan: r[2], Start: r[3]}, nil) {
				return
			}
		}
	}
}

// table reads a CSV without its header.
func table(path string) ([][]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[1:], nil
}

func (s system) write(name string, rows [][]string) error {
	f, err := os.Create(filepath.Join(s.folder, name))
	if err != nil {
		return err
	}
	return errors.Join(csv.NewWriter(f).WriteAll(rows), f.Close())
}

func (s system) verdicts(ctx context.Context, c *client.Client) error {
	report, err := s.upload(ctx, c, "upload-2.csv", 2)
	if err != nil {
		return err
	}
	rows, err := table(filepath.Join(s.folder, "upload-2.csv"))
	if err != nil {
		return err
	}
	out := [][]string{{"nhs_number", "code"}}
	for _, v := range report.Verdicts {
		if v.Code != "CPR06" && s.fault != "reads no verdicts" {
			out = append(out, []string{rows[v.Line-2][0], v.Code})
		}
	}
	return s.write("verdicts.csv", out)
}

func (s system) again(ctx context.Context, c *client.Client) error {
	sequence := int64(3)
	for {
		_, err := s.upload(ctx, c, "upload-3.csv", sequence)
		if !errors.Is(err, client.ErrUnreachable) || s.fault == "gives up" {
			return err
		}
		if s.fault == "counts on" {
			sequence++
		}
	}
}

// pull keeps what it is told of in a file, by id, and then acknowledges.
func (s system) pull(ctx context.Context, c *client.Client) error {
	kept := map[string]safeguard.Notification{}
	own := filepath.Join(s.folder, "own.json")
	if text, err := os.ReadFile(own); err == nil {
		var list []stored
		if err := json.Unmarshal(text, &list); err != nil {
			return err
		}
		for _, n := range list {
			kept[n.Key] = n.notification()
		}
	}
	for pulls := 0; ; pulls++ {
		var ids []string
		for n, err := range c.Waiting(ctx, 0) {
			if err != nil {
				return err
			}
			key := n.ID
			if s.fault == "takes a repeat for another" {
				key = fmt.Sprint(len(kept))
			}
			kept[key] = n
			ids = append(ids, n.ID)
		}
		if err := s.keep(own, kept); err != nil {
			return err
		}
		if s.fault == "acknowledges nothing" {
			return nil
		}
		if _, err := c.Acknowledge(ctx, ids...); !errors.Is(err, client.ErrUnreachable) {
			return err
		}
	}
}

type stored struct{ Key, ID, Attendance, Corrects string }

func (n stored) notification() safeguard.Notification {
	attendance, _ := safeguard.ParseAttendanceID(n.Attendance)
	return safeguard.Notification{ID: n.ID, Attendance: attendance, Corrects: n.Corrects}
}

func (s system) keep(own string, kept map[string]safeguard.Notification) error {
	var list []stored
	out := [][]string{{"attendance", "state"}}
	back := map[string]bool{}
	for key, n := range kept {
		list = append(list, stored{key, n.ID, n.Attendance.String(), n.Corrects})
		back[n.Corrects] = true
	}
	for _, n := range kept {
		state := "open"
		if back[n.ID] && s.fault != "knows no corrections" {
			state = "taken-back"
		}
		if n.Corrects == "" {
			out = append(out, []string{n.Attendance.String(), state})
		}
	}
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(own, text, 0o600), s.write("stored.csv", out))
}

func run(t *testing.T, fault string) (conformance.Report, string) {
	t.Helper()
	authority, err := safeguard.ParseODSCode("906")
	if err != nil {
		t.Fatal(err)
	}
	var told bytes.Buffer
	report, err := conformance.Run{
		Folder: filepath.Join(t.TempDir(), "run"), Listen: "127.0.0.1:0", Authority: authority, Patience: 2 * time.Minute,
		Command: []string{os.Args[0], fault}, Tell: &told,
	}.Do(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, &told)
	}
	return report, told.String()
}

func TestOwnClientConforms(t *testing.T) {
	report, told := run(t, "none")
	if !report.Passed || len(report.Clauses) != 8 {
		var b bytes.Buffer
		_ = report.Write(&b, false)
		t.Errorf("report:\n%s\n%s", &b, told)
	}
	for _, c := range report.Clauses {
		if !strings.Contains(told, c.Name+": ") || c.Expected == "" {
			t.Errorf("clause %+v was not told", c)
		}
	}
}

// Each fault fails the clauses that it is against, and no other.
func TestFaultsAreFound(t *testing.T) {
	for fault, want := range map[string][]string{
		"no sequence":                {"upload", "verdicts", "lost-reply", "snapshot"},
		"drops a row":                {"upload", "verdicts", "lost-reply", "snapshot"},
		"reads no verdicts":          {"verdicts"},
		"gives up":                   {"lost-reply"},
		"counts on":                  {"lost-reply", "snapshot"},
		"no snapshot":                {"snapshot"},
		"acknowledges nothing":       {"pull", "lost-acknowledgement", "correction", "nothing"},
		"takes a repeat for another": {"lost-acknowledgement", "correction"},
		"knows no corrections":       {"correction"},
		"acknowledges anything":      {"nothing"},
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			report, told := run(t, fault)
			var failed []string
			for _, c := range report.Clauses {
				if !c.Passed {
					failed = append(failed, c.Name)
					t.Logf("%s: %s", c.Name, c.Found)
				}
			}
			if report.Passed || !slices.Equal(failed, want) {
				t.Errorf("failed %q, want %q\n%s", failed, want, told)
			}
		})
	}
}

// A person does the steps, and the run sees when one is done.
func TestWithoutACommand(t *testing.T) {
	authority, err := safeguard.ParseODSCode("906")
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "run")
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		// Who reads what is to be done, and does it.
		s := system{"none", folder}
		text := ""
		buffer := make([]byte, 4096)
		done := map[string]bool{}
		for {
			n, err := out.Read(buffer)
			text += string(buffer[:n])
			if err != nil {
				ended <- nil
				return
			}
			for _, step := range []string{"upload", "verdicts", "lost-reply", "snapshot", "pull", "lost-acknowledgement", "correction", "nothing"} {
				if !done[step] && strings.Contains(text, "\n"+step+": ") {
					done[step] = true
					address, err := os.ReadFile(filepath.Join(folder, "server.txt"))
					if err != nil {
						ended <- err
						return
					}
					t.Setenv("CONFORMANCE_SERVER", strings.TrimSpace(string(address)))
					if err := s.do(step); err != nil {
						ended <- fmt.Errorf("%s: %w", step, err)
						return
					}
				}
			}
		}
	}()
	report, err := conformance.Run{Folder: folder, Listen: "127.0.0.1:0", Authority: authority, Patience: time.Minute, Tell: in}.Do(t.Context())
	_ = in.Close()
	if err := errors.Join(err, <-ended); err != nil || !report.Passed {
		t.Errorf("report %+v, %v", report, err)
	}
	again := conformance.Run{Folder: folder, Listen: "127.0.0.1:0", Authority: authority, Tell: io.Discard}
	if _, err := again.Do(t.Context()); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("in a folder that was used: %v", err)
	}
}
