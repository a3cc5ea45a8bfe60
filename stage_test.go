package safeguard_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/safeguard-edge/safeguard"
)

var update = flag.Bool("update", false, "write the diagram of stages into its page")

// TestDiagramIsThatOfTheCode holds docs/attendance.md to the table of stages.
func TestDiagramIsThatOfTheCode(t *testing.T) {
	const page, from, to = "docs/attendance.md", "<!-- diagram: written by go test -update -->\n", "<!-- end of diagram -->\n"
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(raw), from)
	got, after, ok2 := strings.Cut(rest, to)
	if !ok || !ok2 {
		t.Fatalf("%s lacks its marks", page)
	}
	want := "```mermaid\nstateDiagram-v2\n"
	node := func(s safeguard.Stage) string {
		if s == safeguard.NoStage {
			return "[*]"
		}
		return strings.ReplaceAll(s.String(), " ", "_")
	}
	for _, s := range safeguard.Stages() {
		for _, next := range s.Next() {
			want += fmt.Sprintf("    %s --> %s\n", node(s), node(next))
		}
	}
	want += "```\n"
	if *update {
		if err := os.WriteFile(page, []byte(before+from+want+to+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("%s shows\n%s\nand the code has\n%s", page, got, want)
	}
	for _, s := range safeguard.Stages()[1:] {
		if !strings.Contains(before+after, "| "+s.String()+" |") {
			t.Errorf("%s does not say what %q means", page, s)
		}
	}
}
