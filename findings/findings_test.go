package findings_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/safeguard-edge/safeguard/findings"
)

var (
	passed = findings.Finding{Check: "keys", Result: findings.Pass, Text: "ring 7cf4"}
	warned = findings.Finding{Check: "clock", Result: findings.Warn, Text: "3s ahead", Do: "set the time"}
	failed = findings.Finding{Check: "disk space", Result: findings.Fail, Text: "12 MB free", Do: "free some"}
)

func TestWhatAPersonReads(t *testing.T) {
	var out strings.Builder
	p := findings.Printer{Out: &out}
	for _, f := range []findings.Finding{passed, warned, failed} {
		if err := p.Print(f); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.End(); err != nil {
		t.Fatal(err)
	}
	const want = "PASS  keys: ring 7cf4\n" +
		"WARN  clock: 3s ahead\n      do: set the time\n" +
		"FAIL  disk space: 12 MB free\n      do: free some\n" +
		"1 passed, 1 warnings, 1 failed\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestWhatAScriptReads(t *testing.T) {
	var out strings.Builder
	p := findings.Printer{Out: &out, JSON: true}
	for _, f := range []findings.Finding{passed, failed} {
		if err := p.Print(f); err != nil {
			t.Fatal(err)
		}
	}
	if worst, err := p.End(); worst != findings.Fail || err != nil {
		t.Errorf("the worst is %s, %v", worst, err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 2 || strings.Contains(lines[0], `"do"`) {
		t.Fatalf("got %q, want a line for each, and nothing to do where it passed", lines)
	}
	for i, want := range []findings.Finding{passed, failed} {
		var got findings.Finding
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

func TestTheWorst(t *testing.T) {
	for want, all := range map[findings.Result][]findings.Finding{
		findings.Pass: {passed, passed}, findings.Warn: {passed, warned, passed}, findings.Fail: {failed, warned, passed},
	} {
		p := findings.Printer{Out: &strings.Builder{}}
		for _, f := range all {
			if err := p.Print(f); err != nil {
				t.Fatal(err)
			}
		}
		if worst, err := p.End(); worst != want || err != nil {
			t.Errorf("of %v the worst is %s, %v, want %s", all, worst, err, want)
		}
	}
	nothing := findings.Printer{Out: &strings.Builder{}}
	if worst, err := nothing.End(); worst != findings.Pass || err != nil {
		t.Errorf("of nothing the worst is %s, %v", worst, err)
	}
}

// A pipe that is closed ends a check: what it finds reaches nobody.
func TestNobodyReads(t *testing.T) {
	p := findings.Printer{Out: closed{}}
	if err := p.Print(passed); !errors.Is(err, errClosed) {
		t.Errorf("got %v, want %v", err, errClosed)
	}
	if worst, err := p.End(); worst != findings.Pass || !errors.Is(err, errClosed) {
		t.Errorf("got %s, %v, want %v", worst, err, errClosed)
	}
}

var errClosed = errors.New("closed")

type closed struct{}

func (closed) Write([]byte) (int, error) { return 0, errClosed }
