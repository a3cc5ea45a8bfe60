package document_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/epr/document"
)

func page(lines ...string) document.Page {
	return document.Page{Title: "Safeguarding information: open", Facts: [][2]string{{"Name", "O'FERNSBY, TOBIÁS"}, {"Born", ""}}, Lines: lines,
		Foot: "Not for release.", At: time.Date(2026, 6, 14, 21, 30, 5, 0, time.UTC)}
}

// text reads the page with another program.
func text(t *testing.T, pdf []byte) (string, int) {
	t.Helper()
	program, err := exec.LookPath("pdftotext")
	if err != nil {
		t.Skip("pdftotext is not installed: run make deps")
	}
	path := filepath.Join(t.TempDir(), "page.pdf")
	if err := os.WriteFile(path, pdf, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, "-layout", path, "-").CombinedOutput()
	if err != nil {
		t.Fatalf("pdftotext: %v: %s", err, out)
	}
	return strings.Join(strings.Fields(string(out)), " "), bytes.Count(out, []byte("\f"))
}

func TestPage(t *testing.T) {
	for name, line := range map[string]string{
		"western":                  "Child protection plan – “active” since 5 Jan 2026.",
		"letters of other scripts": "Łucja Żak, Αθηνά, Юлия",
	} {
		pdf, err := page(line).PDF()
		if err != nil {
			t.Fatal(err)
		}
		got, pages := text(t, pdf)
		if pages != 1 || !strings.Contains(got, line) || !strings.Contains(got, "O'FERNSBY, TOBIÁS") || strings.Contains(got, "Born") {
			t.Errorf("%s: %d pages that read %q, want %q in it, and no fact that is not known", name, pages, got, line)
		}
		if again, err := page(line).PDF(); err != nil || !bytes.Equal(again, pdf) {
			t.Errorf("%s: a repeat differs: %v", name, err)
		}
	}
}

func TestMuchToSayIsWrittenSmallerAndNeverCutOff(t *testing.T) {
	var lines []string
	for range 40 {
		lines = append(lines, "Child protection plan, active since 5 Jan 2026. Ashmere Council. Emergency duty team: 01632 960001. Office hours: 01632 960002.")
	}
	pdf, err := page(lines...).PDF()
	if err != nil {
		t.Fatal(err)
	}
	got, pages := text(t, pdf)
	if pages != 1 || strings.Count(got, "01632 960002") != len(lines) || !strings.Contains(got, "Not for release.") {
		t.Errorf("%d pages with %d of %d lines", pages, strings.Count(got, "01632 960002"), len(lines))
	}
	for range 400 {
		lines = append(lines, lines[0])
	}
	if _, err := page(lines...).PDF(); err == nil {
		t.Error("what can not fit on a page was written all the same")
	}
}
