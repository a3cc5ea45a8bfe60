package safeguard_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/safeguard-edge/safeguard"
)

// Whoever is called at night finds each warning in the runbook, with the remedy
// that the warning itself gives first.
func TestTheRunbookHasEachWarning(t *testing.T) {
	text, err := os.ReadFile("docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	var order []string
	for _, s := range strings.Split(string(text), "\n## ")[1:] {
		code, body, _ := strings.Cut(s, "\n")
		sections[code], order = body, append(order, code)
	}
	var codes []string
	for _, d := range safeguard.AllDeclared() {
		codes = append(codes, string(d.Code))
		body, ok := sections[string(d.Code)]
		if !ok {
			t.Errorf("%s has no section", d.Code)
			continue
		}
		if remedy := strings.ReplaceAll(d.Remedy, "{part}", "NAME"); !strings.Contains(body, remedy) {
			t.Errorf("the section of %s does not have its remedy: %s", d.Code, remedy)
		}
		if d.Runbook() != "docs/runbook.md#"+string(d.Code) {
			t.Errorf("%s leads to %s", d.Code, d.Runbook())
		}
	}
	if !slices.Equal(order, codes) {
		t.Errorf("got sections %v, want those of the table, in its order: %v", order, codes)
	}
}

func TestDeclaredWarnings(t *testing.T) {
	seen := map[safeguard.WarningCode]bool{}
	for _, d := range safeguard.AllDeclared() {
		switch {
		case seen[d.Code]:
			t.Errorf("%s is there twice", d.Code)
		case !regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(string(d.Code)):
			t.Errorf("%q is no code", d.Code)
		case d.Severity == safeguard.NoSeverity || d.Grace < 0:
			t.Errorf("%s: severity %s, grace %v", d.Code, d.Severity, d.Grace)
		case !strings.HasSuffix(d.Sentence, ".") || !strings.HasSuffix(d.Remedy, "."):
			t.Errorf("%s: want sentences, got %q and %q", d.Code, d.Sentence, d.Remedy)
		}
		seen[d.Code] = true
		w := safeguard.Warning{Code: d.Code, Part: "pas", Detail: "12 waiting"}
		if s := w.Sentence() + w.Remedy(); strings.ContainsAny(s, "{}") || !strings.Contains(s, "12 waiting") {
			t.Errorf("%s: got %q", d.Code, s)
		}
	}
	if d := safeguard.WarningCode("from-tomorrow").Declared(); d.Severity != safeguard.Attention || !strings.Contains(d.Sentence, "from-tomorrow") {
		t.Errorf("got %+v of a code that is not known", d)
	}
}
