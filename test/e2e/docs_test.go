package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// command is one that a page tells its reader to enter.
type command struct {
	page  string
	line  int
	text  string
	shell string // of its block: sh, bat (Windows) or none
	mark  string // the line above its block, where that is in bat
}

// ours begins a command of our programs.
var ours = regexp.MustCompile(`^(?:bin/)?(safeguard-(?:agent|central))(?:\.exe)? `)

// pages are the README and everything under docs.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	read := func(path string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, _ := filepath.Rel("../..", path)
		all[filepath.ToSlash(name)] = string(text)
	}
	read("../../README.md")
	err := filepath.WalkDir("../../docs", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".md") {
			read(path)
		}
		return err
	})
	if err != nil || len(all) < 10 {
		t.Fatalf("%d pages, %v", len(all), err)
	}
	return all
}

// windows is the language of blocks that are entered at its command prompt.
const windows = "bat"

// commands are every line of a block that begins with one of our programs, and
// every line of a block that is in sh or bat.
func commands(t *testing.T) []command {
	t.Helper()
	var all []command
	for page, text := range pages(t) {
		fenced, shell, mark := false, "", ""
		lines := strings.Split(text, "\n")
		for i := 0; i < len(lines); i++ {
			line, at := lines[i], i+1
			if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "```"); ok {
				fenced = !fenced
				shell = rest
				if mark = ""; shell == windows && i > 1 && lines[i-1] == "" {
					mark = lines[i-2]
				}
				continue
			}
			if !fenced && !strings.HasPrefix(line, "    ") {
				continue
			}
			for strings.HasSuffix(line, `\`) && i+1 < len(lines) {
				i++
				line = strings.TrimSuffix(line, `\`) + " " + strings.TrimSpace(lines[i])
			}
			line = strings.TrimSpace(line)
			switch {
			case ours.MatchString(line + " "), fenced && (shell == "sh" || shell == windows) && line != "" && !strings.HasPrefix(line, "#"):
				kind := ""
				if fenced {
					kind = shell
				}
				all = append(all, command{page, at, line, kind, mark})
			}
		}
	}
	slices.SortFunc(all, func(a, b command) int {
		if c := strings.Compare(a.page, b.page); c != 0 {
			return c
		}
		return a.line - b.line
	})
	return all
}

// inline are the commands of our programs within sentences and tables.
func inline(t *testing.T) []command {
	t.Helper()
	var all []command
	quoted := regexp.MustCompile("`(safeguard-(?:agent|central) [^`]+)`")
	for page, text := range pages(t) {
		for _, m := range quoted.FindAllStringSubmatchIndex(text, -1) {
			all = append(all, command{page: page, line: 1 + strings.Count(text[:m[0]], "\n"), text: strings.Join(strings.Fields(text[m[2]:m[3]]), " ")})
		}
	}
	return all
}

// TestCommandsOfTheDocsExist: every command of our programs on every page, also of
// Windows and within a sentence, is one, and so is each flag.
func TestCommandsOfTheDocsExist(t *testing.T) {
	help := map[string]string{}
	ask := func(program string, words ...string) (string, bool) {
		key := program + " " + strings.Join(words, " ")
		if _, ok := help[key]; !ok {
			out, err := exec.CommandContext(t.Context(), filepath.Join(programs, program), append(words, "--help")...).Output()
			if err != nil {
				out = nil
			}
			help[key] = string(out)
		}
		return help[key], help[key] != ""
	}
	flag := regexp.MustCompile(`--[a-z][a-z0-9-]*`)
	word := regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	checked := 0
	for _, c := range append(commands(t), inline(t)...) {
		m := ours.FindStringSubmatch(c.text + " ")
		if m == nil {
			continue
		}
		program, rest := m[1], strings.TrimSpace(strings.TrimPrefix(c.text+" ", m[0]))
		rest, _, _ = strings.Cut(rest, " #")
		var path []string
		known, ok := ask(program)
		if !ok {
			t.Fatalf("%s --help fails", program)
		}
		for _, w := range strings.Fields(rest) {
			if !word.MatchString(w) {
				break
			}
			text, ok := ask(program, append(slices.Clone(path), w)...)
			if !ok || !strings.Contains(text, strings.Join(append([]string{"Usage:", program}, append(slices.Clone(path), w)...), " ")) {
				break
			}
			path, known = append(path, w), text
		}
		if len(path) == 0 {
			t.Errorf("%s:%d: %q is no command of %s", c.page, c.line, c.text, program)
			continue
		}
		if shown, ok := ask(program, append(slices.Clone(path), "show")...); ok {
			known += shown // which is done where nothing is said
		}
		for _, f := range flag.FindAllString(rest, -1) {
			if !regexp.MustCompile(regexp.QuoteMeta(f) + `\b`).MatchString(known) {
				t.Errorf("%s:%d: %s %s has no %s", c.page, c.line, program, strings.Join(path, " "), f)
			}
		}
		checked++
	}
	if checked < 80 {
		t.Errorf("only %d commands found", checked)
	}
}

// TestCommandsForWindowsAreMarked: what is entered on Windows stands in a block of
// its own, and above it whether it was tried. That what is marked as tried is,
// test/packages sees to.
func TestCommandsForWindowsAreMarked(t *testing.T) {
	marks := []string{"*Tried under wine:*", "*Not tried:*"}
	wxs, err := os.ReadFile("../../installer/packages/windows.wxs")
	if err != nil {
		t.Fatal(err)
	}
	property := regexp.MustCompile(`\b([A-Z]{2,})=`)
	var entered []string
	marked := map[string]int{}
	for _, c := range commands(t) {
		if c.shell != windows {
			continue
		}
		if !slices.Contains(marks, c.mark) {
			t.Errorf("%s:%d: %q stands above the block, want one of %q", c.page, c.line, c.mark, marks)
		}
		marked[c.mark]++
		entered = append(entered, c.text)
		if !strings.HasPrefix(c.text, "msiexec ") {
			continue
		}
		for _, p := range property.FindAllStringSubmatch(c.text, -1) {
			if !regexp.MustCompile(`(\[|\b)` + p[1] + `(\]|=| &lt;&gt;)`).Match(wxs) {
				t.Errorf("%s:%d: the MSI has no property %s", c.page, c.line, p[1])
			}
		}
	}
	if marked[marks[0]] < 10 || marked[marks[1]] < 3 {
		t.Errorf("found %v", marked)
	}
	// Elsewhere there is none: neither in another block nor within a sentence.
	other := regexp.MustCompile("(?m)(?:^|`)((?:msiexec|icacls|netsh|certutil|wevtutil|w32tm|reg|sc|powershell)(?:\\.exe)? [^`\n]+)")
	for page, text := range pages(t) {
		for _, m := range other.FindAllStringSubmatchIndex(text, -1) {
			if c := text[m[2]:m[3]]; !slices.Contains(entered, c) {
				t.Errorf("%s:%d: %q is not in a block in %s", page, 1+strings.Count(text[:m[0]], "\n"), c, windows)
			}
		}
	}
	for _, c := range inline(t) {
		is := func(e string) bool { return strings.HasPrefix(e, c.text) }
		if c.page == "docs/install-windows.md" && !slices.ContainsFunc(entered, is) {
			t.Errorf("%s:%d: %q is not in a block in %s", c.page, c.line, c.text, windows)
		}
	}
}

// unrun are the commands that TestCommandsOfTheDocsRun does not run, by how they
// begin, and why.
var unrun = map[string]string{
	"safeguard-agent service":                                                 "changes the services of the machine: test/packages runs it in a system of its own",
	"safeguard-central webhook test":                                          "needs a local authority's receiver: central/webhook and its tests have one",
	"safeguard-central notifications pull --into in/ --follow":                "follows until it is stopped: test/e2e and central/cmd run it",
	"safeguard-central conformance":                                           "waits for a person's system: central/cmd/safeguard-central runs it against one",
	"safeguard-central uploads show":                                          "needs an upload that waits: central/cmd/safeguard-central runs it with one",
	"safeguard-central uploads release":                                       "needs an upload that waits: central/cmd/safeguard-central runs it with one",
	"safeguard-central uploads reject":                                        "needs an upload that waits: central/cmd/safeguard-central runs it with one",
	"safeguard-central report":                                                "a synopsis with a choice in it: central/cmd/safeguard-central runs it",
	"safeguard-central demographics":                                          "needs a demographic service's answer: central/cmd/safeguard-central runs it with one",
	"safeguard-central inactive-numbers":                                      "a synopsis with a choice in it: central/cmd/safeguard-central runs it",
	"safeguard-central fleet watch":                                           "follows until it is stopped: central and its tests run it",
	"safeguard-agent status --config agent.yaml --watch":                      "follows until it is stopped: agent/cmd/safeguard-agent runs it in a terminal",
	"safeguard-agent status password":                                         "needs a password: agent/cmd/safeguard-agent has one",
	"safeguard-central enrol":                                                 "needs a token or the centre's public address: test/e2e enrols in a world that has both",
	"safeguard-central certificate renew":                                     "needs a certificate of an authority that issues: test/e2e renews in a world that has one",
	"safeguard-central ca import":                                             "needs an intermediate of an authority: test/e2e imports one that openssl makes",
	"safeguard-central operator add":                                          "needs a file with a password: central and its tests have one",
	"safeguard-agent enrol":                                                   "needs a token of the centre: its own tests run it with one",
	"safeguard-agent epr observed --config agent.yaml --since 168h --compare": "needs the hospital's own list: agent/cmd/safeguard-agent runs it with one",
}

// codes are the exit codes that are right for a command here, by how it begins,
// where that is not 0 alone.
var codes = map[string][]int{
	"safeguard-agent check":                                     {1, 6},    // the world's sinks and certificates are a test's
	"safeguard-agent attendances":                               {0, 3},    // of today, or none
	"safeguard-agent attendance close":                          {1, 3},    // the example's id is nobody's
	"safeguard-agent journal list":                              {0, 3},    // nothing to list
	"safeguard-agent journal audit":                             {0, 3},    // nothing to list
	"safeguard-agent journal show 1742":                         {0, 1, 3}, // the example's number may be no message's
	"safeguard-agent journal replay":                            {0, 1, 3},
	"safeguard-agent journal release":                           {0, 1, 3},
	"safeguard-agent journal set-aside":                         {1, 3}, // the example's id is no item's
	"safeguard-agent epr test":                                  {1},    // the world's EPR keeps no test patient
	"safeguard-agent epr check":                                 {0, 3}, // no FHIR server
	"safeguard-agent epr observed":                              {0, 3},
	"safeguard-agent epr reconcile":                             {0, 1, 3, 5, 6},
	"safeguard-agent keys destroy":                              {1},    // the agent runs, and RING is not the ring's name
	"safeguard-central check":                                   {0, 6}, // the machine's time may be kept by nobody
	"safeguard-central ca init":                                 {0, 1}, // there is one since the centre's start
	"safeguard-central restore":                                 {1},    // the store is there
	"safeguard-central restore --config central.yaml --already": {0},
	"safeguard-central staff sign-out":                          {1},    // nobody is signed in
	"safeguard-central fleet acknowledge":                       {0, 1}, // the example's number is no warning's
	"safeguard-central fleet note":                              {0, 1},
	"safeguard-central fleet forget":                            {0, 1}, // the example's agent may not have been heard from yet
	"safeguard-central fleet intend":                            {0, 1},
	"safeguard-central fleet show":                              {0, 1}, // the example's agent may not have been heard from yet
	"safeguard-central fleet command RX1":                       {0, 1}, // the example's agent is none of this world: its own test has one do it
	"safeguard-central fleet bundle":                            {0, 1}, // the example's id is no command's
}

// longest finds the entry that begins a command with most of its words.
func longest[V any](table map[string]V, text string) (key string, value V, ok bool) {
	for k, v := range table {
		if strings.HasPrefix(text, k) && len(k) > len(key) {
			key, value, ok = k, v, true
		}
	}
	return key, value, ok
}

// TestCommandsOfTheDocsRun enters the commands of all pages in a folder with an
// agent and a centre that run, and wants the exit codes that are said.
func TestCommandsOfTheDocsRun(t *testing.T) {
	w := newWorld(t)
	for _, dir := range []string{"backup", "bin", "samples", "in", "secrets"} {
		if err := os.MkdirAll(w.Path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, program := range []string{"safeguard-agent", "safeguard-central"} {
		if err := os.Symlink(filepath.Join(programs, program), w.Path("bin", program)); err != nil {
			t.Fatal(err)
		}
	}
	message := "MSH|^~\\&|PAS|RX1|S|RX1|20260301101500||ADT^A04|1|P|2.4\rPID|1||9990000018^^^NHS^NH||ZZTEST^SAFEGUARD||20150101|M\rPV1|1|E|ED\r"
	if err := os.WriteFile(w.Path("samples", "a04.hl7"), []byte(message), 0o600); err != nil {
		t.Fatal(err)
	}
	// The report that is kept from before, where a page goes on with one.
	report, err := w.Run(t.Context(), "safeguard-central", "audit", "verify", "--json", "--config", w.Path("central.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.Path("report.json"), []byte(report), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := w.AuthorityFlags()
	with := strings.NewReplacer(
		"FOLDER|FILE...", "samples/", "upload FILE|-", "upload flags.csv", "explain FILE|-", "explain samples/a04.hl7",
		"/backup/", w.Path("backup")+"/",
		"--server … --cert … --key … --ca …", strings.Join(flags, " "), "--server …", strings.Join(flags, " "),
		"--server HOST:PORT --cert FILE --key FILE --ca FILE", strings.Join(flags, " "),
		"--server central.example.nhs.uk:7443", "--server "+w.Central,
		"--config FILE", "--config central.yaml",
	)
	// What may be left out is, and choices take the first.
	optional := regexp.MustCompile(`\s*\[[^\[\]]*\]`)
	ran := 0
	used := map[string]bool{}
	// The page on certificates gives the centre another one, so it comes last.
	last := func(c command) bool { return c.page == "docs/enrolment.md" }
	all := commands(t)
	all = append(slices.DeleteFunc(slices.Clone(all), last), slices.DeleteFunc(all, func(c command) bool { return !last(c) })...)
	for _, c := range all {
		if c.shell == windows || c.page == "README.md" { // which begins with nothing: TestREADMEWalksThrough
			continue
		}
		plain := strings.Join(strings.Fields(c.text), " ")
		if key, _, ok := longest(unrun, plain); ok {
			used[key] = true
			continue
		}
		text := with.Replace(c.text)
		for optional.MatchString(text) {
			text = optional.ReplaceAllString(text, "")
		}
		want := []int{0}
		if _, v, ok := longest(codes, strings.TrimPrefix(plain, "bin/")); ok {
			want = v
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, "bash", "-c", text)
		cmd.Dir = w.Dir
		cmd.Env = append(os.Environ(), "PATH="+w.Path("bin")+":"+os.Getenv("PATH"))
		cmd.Stdin = strings.NewReader("9990000018\n") // whom to erase is asked for
		out, err := cmd.CombinedOutput()
		cancel()
		code := 0
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			code = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(want, code) {
			t.Errorf("%s:%d: %s\nexit code %d, want %v:\n%s", c.page, c.line, text, code, want, out)
		}
		ran++
	}
	if ran < 40 {
		t.Errorf("only %d commands were run", ran)
	}
	for key := range unrun {
		if !used[key] {
			t.Errorf("%q is not run, and on no page any more: take it out of the list", key)
		}
	}
}

// TestCheckOfARunningAgent: the whole check passes through the running agent, and
// the round trip notifies nobody.
func TestCheckOfARunningAgent(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := w.StopAgent(); err != nil {
		t.Fatal(err)
	}
	look := func() map[string][]string {
		t.Helper()
		out, _ := w.Run(ctx, "safeguard-agent", "check", "--json", "--config", w.Path("agent.yaml")) // the code is that of what it finds
		found := map[string][]string{}
		for line := range strings.Lines(out) {
			var f struct{ Check, Result, Text string }
			if err := json.Unmarshal([]byte(line), &f); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			found[f.Check] = append(found[f.Check], f.Result+": "+f.Text)
		}
		return found
	}
	wants := func(found map[string][]string, check, text string) {
		t.Helper()
		if !strings.Contains(fmt.Sprint(found[check]), text) {
			t.Errorf("%s: %v, want %q", check, found[check], text)
		}
	}
	before := look()
	wants(before, "service", "does not run here")
	wants(before, "round trip RX101", "pass: the test patient's flag came back")
	wants(before, "clock", "pass: ")
	wants(before, "feed pas", "is free")
	if err := w.StartAgent(ctx); err != nil {
		t.Fatal(err)
	}
	during := look()
	wants(during, "service", "the agent runs, with this configuration since")
	wants(during, "keys", "pass: ring ")
	wants(during, "central TLS", "pass: ")
	wants(during, "round trip RX101", "pass: the test patient's flag came back")
	wants(during, "feed pas", "warn: no message since the agent started")
	wants(during, "feed pas", "listens")
	wants(during, "sink epr", "answers in")
	for check, found := range during {
		if strings.Contains(fmt.Sprint(found), "fail: ") {
			t.Errorf("%s: %v", check, found)
		}
	}
	accesses, err := w.AsAuthority(ctx, "notifications", "list")
	if err != nil || strings.Contains(accesses, "RX101") {
		t.Errorf("the check was notified: %s (%v)", accesses, err)
	}
}
