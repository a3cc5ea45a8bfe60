package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/test/hospital"
	"github.com/safeguard-edge/safeguard/test/world"
	"github.com/safeguard-edge/safeguard/tracing/tracingtest"
)

// mark begins every canary: a word that nothing else says.
const mark = "ZQXJKVWYZ"

// canaries are words that are put where patient data is, each in one place.
type canaries struct {
	mu     sync.Mutex // guards places
	places []string   // by number
}

// word is a new canary for the place.
func (c *canaries) word(place string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.places = append(c.places, place)
	return fmt.Sprintf("%s%05d", mark, len(c.places)-1)
}

// numbered is a canary as it is.
var numbered = regexp.MustCompile(mark + `(\d{5})`)

// place is that of the first canary of a text; empty where none is as it is.
func (c *canaries) place(text string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := numbered.FindStringSubmatch(text); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil && n < len(c.places) {
			return c.places[n]
		}
	}
	return ""
}

// segments are what a message is made of, with how many fields each has in HL7
// v2.4, and in the UK's own.
var segments = []struct {
	name   string
	fields int
}{
	{"PID", 38}, {"PD1", 21}, {"NK1", 37}, {"PV1", 52}, {"PV2", 47}, {"AL1", 6}, {"DG1", 21}, {"PR1", 18}, {"GT1", 55}, {"IN1", 49},
	{"OBX", 17}, {"DB1", 8}, {"ACC", 11}, {"MRG", 7}, {"ZU1", 30}, {"ZU3", 10}, {"ZU4", 10}, {"ZU8", 10},
}

// structural are fields that must be what they are for the message to be read, or
// for the patient to be asked about.
func structural(who hospital.Person, c *canaries, id string, begun time.Time) map[string]string {
	ids := c.word(id+" PID-3") + "^^^RX101^MR"
	if who.Number != "" {
		ids += "~" + who.Number + "^^^NHS^NH"
	}
	return map[string]string{
		"PID-3": ids, "PID-7": who.Born.Format("20060102"), "PID-8": who.Sex, "PID-32": who.Status,
		"PID-5": c.word(id+" PID-5.1") + "^" + c.word(id+" PID-5.2") + "^" + c.word(id+" PID-5.3"),
		"PV1-2": who.Class, "PV1-3": c.word(id+" PV1-3.1") + "^" + c.word(id+" PV1-3.2") + "^^RX101",
		"PV1-19": c.word(id+" PV1-19") + "^^^VISIT", "PV1-44": begun.Format("20060102150405-0700"), "PV1-45": "",
		// What these say changes what the patient is asked about.
		"PID-21": "", "PID-30": "", "PV1-4": "", "ZU1-27": "", "ZU8-4": "",
	}
}

// message is an ADT message that has a canary in every field that may hold one.
func (c *canaries) message(id, trigger string, who hospital.Person, begun time.Time) []byte {
	now := time.Now().Format("20060102150405-0700")
	w := func(place string) string { return c.word(id + " " + place) }
	var b strings.Builder
	fmt.Fprintf(&b, "MSH|^~\\&|%s|%s|%s|%s|%s|%s|ADT^%s|%s|P|2.4||%s||||UNICODE UTF-8\r", w("MSH-3"), w("MSH-4"), w("MSH-5"), w("MSH-6"), now, w("MSH-8"), trigger, w("MSH-10"), w("MSH-14"))
	fmt.Fprintf(&b, "EVN|%s|%s||%s|%s|%s|%s\r", trigger, now, w("EVN-4"), w("EVN-5"), now, w("EVN-7"))
	fixed := structural(who, c, id, begun)
	for _, s := range segments {
		if s.name == "MRG" && trigger != "A40" {
			continue
		}
		b.WriteString(s.name)
		for n := 1; n <= s.fields; n++ {
			field := fmt.Sprintf("%s-%d", s.name, n)
			value, is := fixed[field]
			if !is {
				value = w(field)
			}
			b.WriteString("|" + value)
		}
		b.WriteString("\r")
	}
	return []byte(b.String())
}

// forms are how a text may stand somewhere: as it is, in other cases, in UTF-16, in
// hexadecimal, and in base64 at each of its three offsets.
func forms(text string) map[string][]byte {
	all := map[string][]byte{
		"as it is": []byte(text), "in small letters": []byte(strings.ToLower(text)),
		"in hexadecimal":        []byte(hex.EncodeToString([]byte(text))),
		"in large hexadecimal":  []byte(strings.ToUpper(hex.EncodeToString([]byte(text)))),
		"in small, hexadecimal": []byte(hex.EncodeToString([]byte(strings.ToLower(text)))),
	}
	var wide []byte
	for _, c := range []byte(text) {
		wide = append(wide, c, 0)
	}
	all["in UTF-16"] = wide
	for name, text := range map[string]string{"": text, "small, ": strings.ToLower(text)} {
		for offset := range 3 {
			// The letters that what stands before and behind has no part in.
			encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x00", offset) + text))
			first, last := (offset*8+5)/6, (offset+len(text))*8/6
			inner := encoded[first:last]
			all[fmt.Sprintf("%sin base64, offset %d", name, offset)] = []byte(inner)
			all[fmt.Sprintf("%sin URL base64, offset %d", name, offset)] = []byte(strings.NewReplacer("+", "-", "/", "_").Replace(inner))
		}
	}
	return all
}

// search finds canaries where nobody may find them.
type search struct {
	canaries *canaries
	patterns map[string]map[string][]byte // by what is looked for, and by form
	found    map[string]bool
}

func (c *canaries) search(people ...hospital.Person) *search {
	s := &search{canaries: c, patterns: map[string]map[string][]byte{"a canary": forms(mark)}, found: map[string]bool{}}
	for _, p := range people {
		if p.Number == "" {
			continue
		}
		for _, number := range []string{p.Number, p.Number[:3] + " " + p.Number[3:6] + " " + p.Number[6:], p.Number[:3] + "-" + p.Number[3:6] + "-" + p.Number[6:]} {
			s.patterns["an NHS number as "+number] = forms(number)
		}
		for _, day := range []string{p.Born.Format(time.DateOnly), p.Born.Format("20060102"), p.Born.Format("02/01/2006"), p.Born.Format("2 January 2006"), p.Born.Format("02 Jan 2006")} {
			s.patterns["a date of birth as "+day] = forms(day)
		}
	}
	return s
}

// in looks into a text, and notes what it finds.
func (s *search) in(place string, text []byte) {
	for what, patterns := range s.patterns {
		for form, pattern := range patterns {
			at := bytes.Index(text, pattern)
			if at < 0 {
				continue
			}
			if place := s.canaries.place(string(text[at:])); place != "" {
				what = "a canary, of " + place
			}
			s.found[fmt.Sprintf("%s: %s, %s: …%q…", place, what, form, text[max(0, at-60):min(len(text), at+60)])] = true
		}
	}
}

// tree looks into every file below a folder, but what except names.
func (s *search) tree(t *testing.T, folder string, except ...string) (files int) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(folder, path)
		for _, e := range except {
			if rel == e {
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
		}
		s.in("the name of "+rel, []byte(rel))
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		files++
		s.in(rel, text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// What an operator is shown on purpose, by which commands.
var (
	operates = regexp.MustCompile(`^safeguard-agent (journal|attendances|epr reconcile)`)
	given    = regexp.MustCompile(`(^| )(MSH-\d+|PV1-3\.1)( |$)`)
)

// watched is what was seen of the programs' processes while they ran: arguments,
// environments, and files for the time being.
type watched struct {
	mu   sync.Mutex // guards the fields below
	seen map[string][]byte
}

// watch looks until the test ends, or the returned function is called.
func watch(ctx context.Context, temporary string) (*watched, func()) {
	w := &watched{seen: map[string][]byte{}}
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				w.look(temporary)
			case <-ctx.Done():
				return
			}
		}
	})
	return w, func() { stop(); wg.Wait() }
}

func (w *watched) look(temporary string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, line := range lines {
		text, err := os.ReadFile(line)
		if err != nil || !bytes.HasPrefix(text, []byte(programs)) {
			continue
		}
		w.seen["the arguments of a process: "+string(text)] = text
		if environ, err := os.ReadFile(filepath.Join(filepath.Dir(line), "environ")); err == nil {
			w.seen["the environment of a process: "+string(text)] = environ
		}
	}
	_ = filepath.WalkDir(temporary, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if text, err := os.ReadFile(path); err == nil {
				w.seen["temporary file "+path] = append(w.seen["temporary file "+path], text...)
			}
		}
		return nil
	})
}

// TestNothingAboutAPatientGetsOut puts a word of its own into every field of every
// message and into every column of the uploads, lets everything go wrong that can,
// and then looks for the words in all that the programs write and show. What the
// product hands out on purpose is excluded by name: alerts, in the simulated EPR
// and in the folder alerts; what the local authority sends, in its own files; and
// who sent a message, its control id and the point of care, where an operator looks
// for them, which the audit shows.
func TestNothingAboutAPatientGetsOut(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	drop, temporary := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temporary)
	web, metrics := freeAddress(t), freeAddress(t)
	w, err := world.New(ctx, t.TempDir(), programs,
		"http: {address: "+web+", path: /adt}",
		"folder: {folder: "+drop+", stable: 50ms, poll: 50ms}")
	t.Cleanup(func() { finish(t, w) })
	if err != nil {
		t.Fatal(err)
	}
	centre, err := world.NewProxy(w.Central)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(centre.Close)
	if err := w.Through(centre.Addr(), w.EPR.Addr()); err != nil {
		t.Fatal(err)
	}
	traces := tracingtest.Listen(t)
	add(t, w.Path("agent.yaml"), "log: {level: debug}\ntraces: {endpoint: "+traces.URL+"}\n")
	change(t, w.Path("agent.yaml"), "address: "+w.EPR.Addr(), "address: "+w.EPR.Addr()+"\n      ack_timeout: 1s")
	add(t, w.Path("central.yaml"), "log: {level: debug}\ntraces: {endpoint: "+traces.URL+"}\nfleet: {metrics: "+metrics+"}\n")
	s := &scenario{T: t, w: w, c: &canaries{}, centre: centre, drop: drop, web: web}
	seen, stopWatching := watch(ctx, temporary)
	defer stopWatching()

	s.must(w.StartCentral(ctx))
	s.uploads(ctx)
	s.must(w.StartAgent(ctx))
	s.messages(ctx)
	s.centreAway(ctx)
	s.eprFails(ctx)
	s.dropFolder(ctx)
	s.strangers(ctx)
	s.commands(ctx)
	s.must(w.KillAgent())
	s.must(w.StartAgent(ctx))
	s.told(ctx, "after the kill", s.send(ctx, s.c.message("after the kill", "A04", hospital.LookedAfter, time.Now())))
	s.shown(ctx, metrics)
	s.bundle(ctx, "running.zip")
	s.must(w.StopAgent())
	s.bundle(ctx, "stopped.zip")
	s.must(w.StopCentral())
	stopWatching()

	// The canaries went all the way, so there is something to find.
	got := false
	for _, r := range w.EPR.Ledger() {
		got = got || strings.Contains(r.Body, mark)
	}
	if !got || !strings.Contains(s.revealed, mark) {
		t.Error("no canary reached the EPR, or the journal does not reveal them: this test would find nothing")
	}

	look := s.c.search(hospital.People...)
	files := look.tree(t, w.Dir,
		"alerts",                                      // into the EPR
		"flags.csv", "rejected.csv", "no-columns.csv") // the local authority's
	files += look.tree(t, temporary)
	s.lookInto(look, seen, traces)
	t.Logf("%d canaries looked for in %d files, %d outputs and %d things seen of processes", len(s.c.places), files, len(s.outputs), len(seen.seen))
	if files < 20 || len(seen.seen) < 10 || len(s.outputs) < 20 {
		t.Errorf("looked into %d files, %d outputs, %d things seen of processes: too few", files, len(s.outputs), len(seen.seen))
	}
	for f := range look.found {
		t.Error(f)
	}
	s.followed()
	s.traced(traces.Spans())
}

// lookInto looks into what was seen of the processes, into the traces, and into the
// outputs, but for what an operator is shown on purpose.
func (s *scenario) lookInto(look *search, seen *watched, traces *tracingtest.Receiver) {
	for place, text := range seen.seen {
		look.in(place, text)
	}
	for n, body := range traces.Bodies() {
		look.in(fmt.Sprintf("traces (%d)", n), body)
	}
	for place, text := range s.outputs {
		if operates.MatchString(place) {
			text = numbered.ReplaceAllStringFunc(text, func(word string) string {
				if given.MatchString(s.c.place(word)) {
					return "on purpose"
				}
				return word
			})
		}
		look.in(place, []byte(text))
	}
}

// The search finds a canary that is planted, in each form, in a file, in its name,
// and in a process's arguments.
func TestASearchForCanariesFindsOne(t *testing.T) {
	c := &canaries{}
	word := c.word("PID-5 of a test")
	for form, text := range forms(word) {
		s := c.search()
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, "journal.db"), append([]byte("\x00\x01 before "), append(text, " behind"...)...), 0o600); err != nil {
			t.Fatal(err)
		}
		if s.tree(t, folder); len(s.found) == 0 {
			t.Errorf("%s: not found", form)
		}
	}
	for n := range 3 { // as an encoder makes it of what stands around
		around := []byte(strings.Repeat("#", n) + "name=" + word + "; and more")
		for name, text := range map[string]string{
			"base64": base64.StdEncoding.EncodeToString(around), "URL base64": base64.RawURLEncoding.EncodeToString(around), "hexadecimal": hex.EncodeToString(around),
		} {
			s := c.search()
			if s.in("a text", []byte(text)); len(s.found) == 0 {
				t.Errorf("%s: not found with %d letters before", name, n)
			}
		}
	}
	s := c.search(hospital.Plan)
	for _, text := range []string{hospital.Plan.Number, "999 000 0344", hospital.Plan.Born.Format(time.DateOnly), hospital.Plan.Born.Format("20060102")} {
		before := len(s.found)
		if s.in("a text", []byte("x"+text+"y")); len(s.found) == before {
			t.Errorf("%s: not found", text)
		}
	}
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, word+".hl7"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s := c.search(); s.tree(t, folder) != 1 || len(s.found) != 1 {
		t.Error("not found in a name")
	}
	for f := range c.search().found {
		t.Error("found where there is none:", f)
	}
}

// A process whose arguments have a canary is caught.
func TestArgumentsOfProcessesAreSeen(t *testing.T) {
	c := &canaries{}
	seen, stop := watch(t.Context(), t.TempDir())
	defer stop()
	w := &world.World{Dir: t.TempDir(), Programs: programs}
	for range 20 { // short as it runs, it is seen once in a while
		_, _ = w.Run(t.Context(), "safeguard-agent", "hl7", "explain", filepath.Join(w.Dir, c.word("an argument")))
	}
	stop()
	s := c.search()
	for place, text := range seen.seen {
		s.in(place, text)
	}
	if len(s.found) == 0 {
		t.Error("nothing was seen")
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := world.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func add(t *testing.T, file, text string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func change(t *testing.T, file, old, new string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("%s has no %q", file, old)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), old, new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// scenario is what goes wrong, and what was shown meanwhile.
type scenario struct {
	*testing.T
	w         *world.World
	c         *canaries
	centre    *world.Proxy
	drop, web string

	outputs  map[string]string
	revealed string
}

func (s *scenario) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// note keeps an output, or the text of an error, to be looked into.
func (s *scenario) note(what, output string) {
	if s.outputs == nil {
		s.outputs = map[string]string{}
	}
	s.outputs[fmt.Sprintf("%s (%d)", what, len(s.outputs))] = output
}

// agent runs a command against the agent. That it fails is part of the scenario.
func (s *scenario) agent(ctx context.Context, args ...string) string {
	out, err := s.w.Run(ctx, "safeguard-agent", append(args, "--config", s.w.Path("agent.yaml"))...)
	what := "safeguard-agent " + strings.Join(args, " ")
	if err != nil {
		s.note("the error of "+what, err.Error())
	}
	s.note(what, out)
	return out
}

// central runs an operator's command of the centre.
func (s *scenario) central(ctx context.Context, args ...string) {
	out, err := s.w.Run(ctx, "safeguard-central", append(args, "--config", s.w.Path("central.yaml"))...)
	what := "safeguard-central " + strings.Join(args, " ")
	if err != nil {
		s.note("the error of "+what, err.Error())
	}
	s.note(what, out)
}

// uploads loads the flags, and then files that can not be: bad rows with a canary
// in each column, and what is no upload at all. What the local authority gets back
// names its own rows to it, and is not looked into; errors are.
func (s *scenario) uploads(ctx context.Context) {
	if verdict, sentence, err := s.w.Upload(ctx); err != nil || verdict != "CPF02" {
		s.Fatalf("upload: %s %s %v", verdict, sentence, err)
	}
	rows := "nhs_number,date_of_birth,plan,start,end\n"
	good := []string{hospital.NoFlag.Number, hospital.NoFlag.Born.Format(time.DateOnly), "CPP", "2025-01-02", ""}
	for column, name := range []string{"nhs_number", "date_of_birth", "plan", "start", "end"} {
		row := append([]string(nil), good...)
		row[column] = s.c.word("upload " + name)
		rows += strings.Join(row, ",") + "\n"
	}
	s.must(os.WriteFile(s.w.Path("rejected.csv"), []byte(rows), 0o600))
	s.must(os.WriteFile(s.w.Path("no-columns.csv"), []byte(s.c.word("upload header")+","+s.c.word("upload header")+"\n\""+s.c.word("upload broken row")), 0o600))
	for _, file := range []string{"rejected.csv", "no-columns.csv"} {
		if out, err := s.w.AsAuthority(ctx, "upload", s.w.Path(file), "--json"); err == nil {
			s.Errorf("%s is taken: %s", file, out)
		}
	}
}

// send sends a message by MLLP, and gives its family name.
func (s *scenario) send(ctx context.Context, message []byte) string {
	s.Helper()
	if _, err := s.w.PAS.Send(ctx, message); err != nil {
		s.Fatal(err)
	}
	return strings.Split(hospital.Field(message, "PID", 5), "^")[0]
}

// told waits until the EPR shows an alert about the name.
func (s *scenario) told(ctx context.Context, when, family string) {
	s.Helper()
	if _, _, err := s.w.EPR.Wait(ctx, 0, func(r hospital.Received) bool { return r.Answered && strings.Contains(r.Body, family) }); err != nil {
		s.Fatalf("%s: no alert: %v", when, err)
	}
}

// messages are what a PAS sends: good ones, the same again, ones that can not be
// read, and ones that nothing can be made of.
func (s *scenario) messages(ctx context.Context) {
	now := time.Now()
	for n, who := range []hospital.Person{hospital.Plan, hospital.OtherBirth, hospital.NoFlag, hospital.Adult, hospital.NoNumber, hospital.Pregnant} {
		message := s.c.message(fmt.Sprintf("message %d", n), "A04", who, now)
		family := s.send(ctx, message)
		s.send(ctx, message) // duplicate
		if n == 0 {
			s.told(ctx, "a child with a plan", family)
		}
		again := bytes.Replace(message, []byte("|P|2.4|"), []byte("|P|2.3|"), 1) // the same control id, another body
		s.send(ctx, again)
		update := s.c.message(fmt.Sprintf("update %d", n), "A08", who, now)
		s.send(ctx, update)
	}
	for _, trigger := range []string{"A01", "A03", "A11", "A40", "A13", "A31", "A24", "A99"} {
		s.send(ctx, s.c.message("trigger "+trigger, trigger, hospital.Sibling, now))
	}
	bad := s.c.message("broken", "A04", hospital.Plan, now)
	for name, message := range map[string][]byte{
		"no PID":        []byte(strings.ReplaceAll(string(bad), "\rPID|", "\rPIX|")),
		"a bad date":    []byte(strings.ReplaceAll(string(bad), hospital.Plan.Born.Format("20060102"), s.c.word("PID-7"))),
		"a bad version": bytes.Replace(bad, []byte("|P|2.4|"), []byte("|P|"+s.c.word("MSH-12")+"|"), 1),
		"a bad charset": bytes.Replace(bad, []byte("UNICODE UTF-8"), []byte(s.c.word("MSH-18")), 1),
		"no ADT":        bytes.Replace(bad, []byte("ADT^A04"), []byte("ORU^"+s.c.word("MSH-9.2")), 1),
		"cut off":       bad[:len(bad)/3],
	} {
		other := bytes.Replace(message, []byte(hospital.Field(bad, "MSH", 10)), []byte(s.c.word("MSH-10 of "+name)), 1)
		if _, err := s.w.PAS.Send(ctx, other); err != nil {
			s.Logf("%s: %v", name, err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.web+"/adt", strings.NewReader(s.c.word("HTTP body")))
	s.must(err)
	request.Header.Set("Content-Type", "application/hl7-v2")
	if reply, err := http.DefaultClient.Do(request); err == nil {
		_ = reply.Body.Close()
	}
}

// centreAway registers while the centre can not be reached, and while it answers
// nothing.
func (s *scenario) centreAway(ctx context.Context) {
	var families []string
	for n, fault := range []world.Fault{{Refuse: true}, {Hang: true}} {
		s.centre.Set(fault)
		families = append(families, s.send(ctx, s.c.message(fmt.Sprintf("centre away %d", n), "A04", hospital.LookedAfter, time.Now())))
		s.told(ctx, "the centre is away", families[n]) // from the cache, or that the check was not completed
	}
	s.centre.Set(world.Fault{})
	for _, family := range families {
		if _, _, err := s.w.EPR.Wait(ctx, 0, func(r hospital.Received) bool {
			return strings.Contains(r.Body, family) && strings.Contains(r.Body, heldByCentre)
		}); err != nil {
			s.Fatalf("the centre is back, and does not answer: %v", err)
		}
	}
}

// eprFails has the EPR refuse, fail, answer something else, and die.
func (s *scenario) eprFails(ctx context.Context) {
	// Each about another patient: those of one wait for each other.
	for n, answer := range []struct {
		code string
		who  hospital.Person
	}{
		{"AE", hospital.Plan}, {"AR", hospital.LookedAfter}, {"AA|" + s.c.word("MSA-2 of another message") + "|" + s.c.word("MSA-3"), hospital.Sibling},
	} {
		s.w.EPR.Answer(answer.code)
		from := len(s.w.EPR.Ledger())
		family := s.send(ctx, s.c.message(fmt.Sprintf("EPR answers %d", n), "A04", answer.who, time.Now()))
		if _, _, err := s.w.EPR.Wait(ctx, from, func(r hospital.Received) bool { return strings.Contains(r.Body, family) }); err != nil {
			s.Fatal(err)
		}
		s.w.EPR.Answer("AA")
	}
	s.w.EPR.Mute(1)
	s.told(ctx, "the EPR is back", s.send(ctx, s.c.message("EPR dies", "A04", hospital.Ended, time.Now())))
}

// dropFolder has files that are named after patients, good and bad, and a folder
// that goes away.
func (s *scenario) dropFolder(ctx context.Context) {
	write := func(name string, text []byte) {
		s.must(os.WriteFile(filepath.Join(s.drop, name), text, 0o600))
	}
	message := s.c.message("file", "A04", hospital.Plan, time.Now())
	write(s.c.word("name of a good file")+".hl7", message)
	write(s.c.word("name of a bad file")+".hl7", []byte(s.c.word("text of a bad file")))
	write(s.c.word("name of an empty file")+".hl7", nil)
	s.must(os.Mkdir(filepath.Join(s.drop, s.c.word("name of a folder")+".hl7"), 0o700))
	s.must(os.Symlink("/nowhere/"+s.c.word("target of a link"), filepath.Join(s.drop, s.c.word("name of a link")+".hl7")))
	s.told(ctx, "a file", strings.Split(hospital.Field(message, "PID", 5), "^")[0])
	aside := s.drop + ".aside"
	s.must(os.Rename(s.drop, aside))
	await(ctx, s.T, "the agent says that the folder is gone", func() bool { return strings.Contains(s.log("safeguard-agent"), "folder can not be read") })
	s.must(os.Rename(aside, s.drop))
}

func (s *scenario) log(program string) string {
	text, err := os.ReadFile(s.w.Path(program + ".log"))
	s.must(err)
	return string(text)
}

// strangers call who may not, with a certificate of another authority or none, and
// send what is no message.
func (s *scenario) strangers(ctx context.Context) {
	s.must(os.MkdirAll(s.w.Path("strange"), 0o700))
	_, err := s.w.Run(ctx, "safeguard-central", "dev-ca", s.w.Path("strange"), "--authority", "907")
	s.must(err)
	_, err = s.w.Run(ctx, "safeguard-central", "upload", s.w.Path("rejected.csv"), "--server", s.w.Central,
		"--cert", s.w.Path("strange", "authority-907.pem"), "--key", s.w.Path("strange", "authority-907-key.pem"), "--ca", s.w.Path("certificates", "ca.pem"))
	if err == nil {
		s.Error("a stranger's upload is taken")
	} else {
		s.note("the error of a stranger's upload", err.Error())
	}
	for _, address := range []string{s.w.Feed, s.w.Central, s.web} {
		conn, err := net.Dial("tcp", address)
		s.must(err)
		_, _ = fmt.Fprintf(conn, "%s\r\n%s\x1c\r\x0bMSH|%s\r\n\r\n", s.c.word("no frame"), s.c.word("half a frame"), s.c.word("half a message"))
		_ = conn.Close()
		if secure, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, ServerName: strings.ToLower(s.c.word("server name")) + ".example"}); err == nil {
			_, _ = secure.Write([]byte("GET /" + s.c.word("path of a stranger") + " HTTP/1.1\r\n\r\n"))
			_ = secure.Close()
		}
	}
	for _, path := range []string{"/", "/adt"} {
		reply, err := (&http.Client{Timeout: 10 * time.Second}).Get("http://" + s.web + path + "?patient=" + s.c.word("query of a URL"))
		if err == nil {
			_ = reply.Body.Close()
		}
	}
}

// commands are an operator's. What journal show reveals on purpose is kept apart.
func (s *scenario) commands(ctx context.Context) {
	good, err := os.ReadFile(s.w.Path("agent.yaml"))
	s.must(err)
	s.must(os.WriteFile(s.w.Path("agent.yaml"), append(good, "no_such_key: 1\n"...), 0o600))
	s.agent(ctx, "config", "reload")
	s.agent(ctx, "config", "check")
	s.must(os.WriteFile(s.w.Path("agent.yaml"), good, 0o600))
	s.agent(ctx, "config", "reload")
	s.agent(ctx, "journal", "stats")
	s.agent(ctx, "journal", "list", "--limit", "0")
	s.agent(ctx, "journal", "list", "--sink", "any", "--limit", "0")
	s.agent(ctx, "journal", "show", "1")
	s.agent(ctx, "attendances")
	s.agent(ctx, "status")
	s.agent(ctx, "status", "--json")
	s.agent(ctx, "journal", "replay", "--state", "set-aside", "--since", "1h")
	s.agent(ctx, "journal", "replay", "1")
	s.agent(ctx, "journal", "audit")
	s.agent(ctx, "keys", "rotate")
	s.agent(ctx, "keys", "status")
	s.agent(ctx, "feeds")
	s.agent(ctx, "epr", "status")
	s.agent(ctx, "check", "--json")
	s.agent(ctx, "log", "level", "debug", "--for", "10m")
	s.central(ctx, "fleet", "status")
	s.central(ctx, "audit", "verify")
	s.central(ctx, "uploads", "list")
	revealed, err := s.w.Run(ctx, "safeguard-agent", "journal", "show", "1", "--reveal", "--raw", "--config", s.w.Path("agent.yaml"))
	s.must(err)
	s.revealed = revealed
}

// shown is what anybody sees who may look at the programs at all.
func (s *scenario) shown(ctx context.Context, metrics string) {
	address, err := os.ReadFile(s.w.Path("agent-status.address"))
	s.must(err)
	status := "http://" + strings.TrimSpace(string(address))
	for url, must := range map[string]string{
		status + "/metrics": "safeguard_edge_feed_messages_total", status + "/status.json": `"report"`, status + "/": "", status + "/healthz": "", status + "/readyz": "",
		"http://" + metrics + "/metrics": "safeguard_lookups_total",
	} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		s.must(err)
		reply, err := http.DefaultClient.Do(request)
		s.must(err)
		text, err := io.ReadAll(reply.Body)
		_ = reply.Body.Close()
		s.must(err)
		if !strings.Contains(string(text), must) {
			s.Errorf("%s shows %s", url, text)
		}
		s.note(url, string(text))
	}
	if recent := s.agent(ctx, "log", "recent"); !strings.Contains(recent, "alert delivered") {
		s.Errorf("the latest lines are %s", recent)
	}
}

// bundle makes a support bundle, and keeps what is packed in it.
func (s *scenario) bundle(ctx context.Context, name string) {
	s.Helper()
	s.agent(ctx, "support", "bundle", "--output", s.w.Path(name))
	files := unpacked(s.T, s.w.Path(name))
	if len(files) < 5 {
		s.Errorf("%s has %d files", name, len(files))
	}
	for file, text := range files {
		s.note(name+" "+file, text)
	}
}

// followed finds one message by the number of its entry in both logs, from the
// feed to the receipt.
func (s *scenario) followed() {
	agent, central := s.log("safeguard-agent"), s.log("safeguard-central")
	delivered := regexp.MustCompile(`msg="alert delivered" sink=epr .*entry=(\d+)`).FindAllStringSubmatch(agent, -1)
	if len(delivered) == 0 {
		s.Fatal("no line of a delivered alert bears its entry")
	}
	for _, m := range delivered {
		entry := m[1]
		taken := regexp.MustCompile(`msg="message taken" feed=\w+ .*entry=` + entry + `\n`).MatchString(agent)
		asked := regexp.MustCompile(`msg="lookup answered" .*entry=` + entry + `\n`).MatchString(agent)
		answered := regexp.MustCompile(`msg="call answered" method=\S+/Lookup caller=\S+ entry=` + entry + `\n`).MatchString(central)
		if taken && asked && answered {
			return
		}
	}
	s.Error("no message can be followed from the feed to the receipt, in both logs, by the number of its entry")
}

// traced finds one message's trace from the feed to the receipt, with the centre's
// part in it.
func (s *scenario) traced(spans []tracingtest.Span) {
	byID := map[string]tracingtest.Span{}
	for _, span := range spans {
		byID[span.ID] = span
	}
	way := func(span tracingtest.Span) string {
		var names []string
		for there := true; there; span, there = byID[span.Parent] {
			names = append(names, strings.TrimPrefix(span.Program, "safeguard-")+" "+span.Name)
		}
		slices.Reverse(names)
		return strings.Join(names, ", ")
	}
	ways := map[string]map[string]bool{} // by trace
	for _, span := range spans {
		if ways[span.Trace] == nil {
			ways[span.Trace] = map[string]bool{}
		}
		ways[span.Trace][way(span)] = true
	}
	for _, w := range ways {
		if w["agent accept, agent process, agent lookup, agent call, central answer"] && w["agent accept, agent deliver"] {
			return
		}
	}
	s.Errorf("no trace leads from the feed to the receipt, and to the centre: %v", ways)
}
