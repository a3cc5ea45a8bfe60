// Package exposition reads what Prometheus is shown, for the tests that hold the
// documentation to it.
package exposition

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Metric is one that a program shows.
type Metric struct {
	Name, Help string
	Labels     []string
}

var (
	label = regexp.MustCompile(`([a-z_]+)="`)
	base  = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// Parse finds the product's metrics in a scrape (Prometheus text format), in the
// order of their names. A label that no series has is not known.
func Parse(scrape string) []Metric {
	var all []*Metric
	byName := map[string]*Metric{}
	for line := range strings.Lines(scrape) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "# HELP safeguard_"); ok {
			name, help, _ := strings.Cut(rest, " ")
			m := &Metric{Name: "safeguard_" + name, Help: help}
			byName[m.Name] = m
			all = append(all, m)
			continue
		}
		name, rest, _ := strings.Cut(line, "{")
		m := byName[name]
		if m == nil {
			m = byName[base.ReplaceAllString(name, "")]
		}
		if labels, _, with := strings.Cut(rest, "} "); with && m != nil && m.Labels == nil {
			for _, l := range label.FindAllStringSubmatch(labels, -1) {
				if l[1] != "le" {
					m.Labels = append(m.Labels, l[1])
				}
			}
		}
	}
	out := make([]Metric, len(all))
	for n, m := range all {
		out[n] = *m
	}
	return out
}

// Documented fails where the table of docs/metrics.md behind <!-- place --> is not
// that of the metrics: each that there is, as it is, and none besides. With update
// it writes the table. It is for tests of packages two folders deep.
func Documented(t *testing.T, place string, metrics []Metric, update bool) {
	t.Helper()
	var table strings.Builder
	table.WriteString("| Metric | Labels | What it is |\n|---|---|---|\n")
	for _, m := range metrics {
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", m.Name, strings.Join(m.Labels, ", "), m.Help)
	}
	page := filepath.Join("..", "..", "docs", "metrics.md")
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	mark := "<!-- " + place + " -->\n"
	before, rest, _ := strings.Cut(string(text), mark)
	now, after, found := strings.Cut(rest, "<!-- end -->")
	switch {
	case !found:
		t.Fatalf("docs/metrics.md has no %s", mark)
	case now == table.String():
	case update:
		if err := os.WriteFile(page, []byte(before+mark+table.String()+"<!-- end -->"+after), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("docs/metrics.md has\n%s\nwant\n%s\n(go test ./%s/metrics -update)", now, table.String(), place)
	}
}
