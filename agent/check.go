package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/control"
	"github.com/safeguard-edge/safeguard/disk"
	"github.com/safeguard-edge/safeguard/findings"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
)

// Result is what came of one check.
type Result = findings.Result

// The results, the worst last.
const (
	Pass = findings.Pass
	Warn = findings.Warn
	Fail = findings.Fail
)

// Finding is one line of a check.
type Finding = findings.Finding

// checker looks at everything that an agent depends on.
type checker struct {
	config Config
	say    func(Finding) error

	// Of a running agent; nil where none runs.
	feeds *liveFeeds
	sinks *liveSinks
	keys  func() (KeysStatus, error)

	starting bool // no message can have come yet

	err error // of say
}

// checkWait limits each step that waits for others.
const checkWait = 5 * time.Second

// Check looks at everything that the agent depends on, and hands what it finds to
// say, a line at a time: through the agent where it runs, so that it is the
// service's own account and connections that are looked at. An error means that
// the check itself could not be done; what is wrong is in the findings.
func Check(ctx context.Context, file string, say func(Finding) error) error {
	c, err := LoadConfig(file)
	if err == nil {
		err = c.CheckMessages()
	}
	if err != nil {
		return say(Finding{Check: "configuration", Result: Fail, Text: err.Error(), Do: "correct the file; safeguard-agent config check looks at it alone"})
	}
	if err := say(Finding{Check: "configuration", Result: Pass, Text: file + " is valid"}); err != nil {
		return err
	}
	var told error // by say
	err = control.Call(ctx, control.Address(control.Agent, c.Data), "check", nil, func(row json.RawMessage) error {
		var f Finding
		if err := json.Unmarshal(row, &f); err != nil {
			return err
		}
		told = say(f)
		return told
	})
	switch {
	case !errors.Is(err, control.ErrNotRunning):
		return err
	case told != nil:
		return told
	}
	k := &checker{config: c, say: say}
	k.add("service", Pass, "the agent does not run here; its ports are tried", "")
	k.all(ctx)
	return k.err
}

// operateCheck answers with the findings of the running agent. It is a handler of
// the control channel.
func (l *live) operateCheck(k checker) control.Handler {
	return func(ctx context.Context, _ string, _ json.RawMessage, send func(any) error) error {
		return l.check(ctx, k, func(f Finding) error { return send(f) })
	}
}

// check looks at all that the running agent depends on.
func (l *live) check(ctx context.Context, k checker, say func(Finding) error) error {
	var fails []string
	k.config, k.say = l.current(), func(f Finding) error {
		if f.Result == Fail && !slices.Contains(fails, f.Check) {
			fails = append(fails, f.Check)
		}
		return say(f)
	}
	k.service(l)
	k.all(ctx)
	if k.err == nil && ctx.Err() == nil {
		l.checked.Lock()
		l.fails = fails
		l.checked.Unlock()
	}
	return k.err
}

// failing are the checks that failed when all was last looked at: at the start, or
// when a person did. Heartbeats tell of them.
func (l *live) failing() []string {
	l.checked.Lock()
	defer l.checked.Unlock()
	return l.fails
}

// checkAgain is how soon what fails is looked at again.
const checkAgain = 10 * time.Minute

// keepChecked checks at the start, and again as long as something fails, until ctx
// ends. It logs what is wrong, once.
func (l *live) keepChecked(ctx context.Context, k checker) error {
	l.checkAndLog(ctx, k, true)
	debug.FreeOSMemory() // starting takes more than working does
	tick := time.NewTicker(checkAgain)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if len(l.failing()) > 0 {
				l.checkAndLog(ctx, k, false)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (l *live) checkAndLog(ctx context.Context, k checker, starting bool) {
	k.starting = starting
	known := l.failing()
	counts := map[Result]int{}
	err := l.check(ctx, k, func(f Finding) error {
		counts[f.Result]++
		switch {
		case f.Result == Warn && starting:
			l.log.Warn("check at start", "check", f.Check, "found", f.Text, "do", f.Do)
		case f.Result == Fail && starting:
			l.log.Error("check at start", "check", f.Check, "found", f.Text, "do", f.Do)
		case f.Result == Fail && !slices.Contains(known, f.Check):
			l.log.Error("check", "check", f.Check, "found", f.Text, "do", f.Do)
		}
		return ctx.Err()
	})
	switch {
	case err != nil || ctx.Err() != nil:
	case starting:
		l.log.Info("checked at start", "passed", counts[Pass], "warnings", counts[Warn], "failed", counts[Fail])
	case len(l.failing()) == 0:
		l.log.Info("checked, and nothing fails any more")
	}
}

func (k *checker) add(check string, r Result, text, do string) {
	if k.err == nil {
		k.err = k.say(Finding{Check: check, Result: r, Text: text, Do: do})
	}
}

// all checks in the order in which things depend on each other.
func (k *checker) all(ctx context.Context) {
	k.checkKeys()
	k.checkFolders()
	k.checkDisk()
	k.checkAntivirus()
	k.checkFiles()
	reached := k.checkCentre(ctx)
	k.checkRoundTrip(ctx, reached)
	k.checkFeeds(ctx)
	k.checkPages(ctx)
	k.checkSinks(ctx)
}

// service says how the running agent's configuration is.
func (k *checker) service(l *live) {
	l.mu.Lock()
	last, since := l.last, l.since
	l.mu.Unlock()
	k.add("service", Pass, "the agent runs, with this configuration since "+since.Format(time.DateTime), "")
	if last.Aside != "" {
		k.add("service", Fail, "the agent started with its last good configuration: "+last.Aside, "correct the file, then safeguard-agent config reload")
	}
	if last.Fault != "" {
		k.add("service", Warn, "the file was not taken at the last reload: "+last.Fault, "correct the file, then safeguard-agent config reload")
	}
	if len(last.Restart) > 0 {
		k.add("service", Warn, fmt.Sprintf("changed in the file and not in force: %v", last.Restart), "restart the service")
	}
}

func (k *checker) checkKeys() {
	status := k.keys
	if status == nil {
		status = func() (KeysStatus, error) {
			ring, err := k.config.openKeys()
			if err != nil {
				return KeysStatus{}, err
			}
			return operateKeys(ring, StatusOfKeys)
		}
	}
	s, err := status()
	switch {
	case errors.Is(err, ErrNoKeys):
		k.add("keys", Pass, "none yet: the agent makes them at its first start", "")
	case errors.Is(err, keys.ErrMasterMissing):
		k.add("keys", Fail, err.Error(), "put the master key back where it was: without it nothing that was kept can be read")
	case err != nil:
		k.add("keys", Fail, err.Error(), "see docs/outages.md, The keys")
	case s.RewrapDue:
		k.add("keys", Warn, "a newer master key stands first", "safeguard-agent keys rewrap")
	default:
		k.add("keys", Pass, fmt.Sprintf("ring %s, master key %s in %s", s.Ring, s.MasterID, s.Master), "")
	}
}

// checkFolders tries the rights in the data folder.
func (k *checker) checkFolders() {
	dir := k.config.Data
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		parent := filepath.Dir(dir)
		if err := disk.TryWrite(parent); err != nil {
			k.add("data folder", Fail, dir+" is not there, and can not be made: "+plainly(err), "make it, for the service's user alone")
			return
		}
		k.add("data folder", Pass, dir+" is not there yet: the agent makes it", "")
		return
	case err != nil:
		k.add("data folder", Fail, plainly(err), "give the service's user the folder")
		return
	}
	if err := disk.TryWrite(dir); err != nil {
		k.add("data folder", Fail, dir+" can not be written: "+plainly(err), "give the service's user the folder; check as that user")
		return
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		k.add("data folder", Warn, fmt.Sprintf("%s is open to others (%04o)", dir, info.Mode().Perm()), "chmod 700 "+dir)
		return
	}
	k.add("data folder", Pass, dir+" can be written, by this user alone", "")
}

// checkFiles looks at the files that the configuration names.
func (k *checker) checkFiles() {
	for _, f := range k.config.secretFiles() {
		if f.path == "" {
			continue
		}
		info, err := os.Stat(f.path)
		if err == nil {
			var opened *os.File
			if opened, err = os.Open(f.path); err == nil {
				_ = opened.Close()
			}
		}
		switch {
		case err != nil:
			k.add(f.key, Fail, plainly(err), missingFile)
		case runtime.GOOS != "windows" && info.Mode().Perm()&0o044 != 0:
			k.add(f.key, Warn, fmt.Sprintf("%s is readable by others (%04o)", f.path, info.Mode().Perm()), "chmod 600 "+f.path)
		default:
			k.add(f.key, Pass, f.path+" can be read, by this user alone", "")
		}
	}
	k.checkOwnCertificate()
	for _, f := range k.config.certificateFiles() {
		do := "renew it where it was issued, and put the file in its place: it is read again by itself"
		if f.key == "central.ca" {
			do = "the centre tells the agent of its next one by itself; if it does not, ask those who run the centre"
		}
		k.checkCertificate(f.key, f.path, do)
	}
}

type namedFile struct{ key, path string }

// secretFiles are those that hold keys and passwords.
func (c Config) secretFiles() []namedFile {
	all := []namedFile{{"central.key", c.Central.Key}}
	for _, f := range c.Feeds {
		at := "feed " + f.Name
		if f.MQTT != nil {
			all = append(all, namedFile{at + " password", f.MQTT.Broker.PasswordFile})
		}
		if tls := f.tls(); tls != nil {
			all = append(all, namedFile{at + " key", tls.Key})
		}
	}
	for _, s := range c.Sinks {
		at := "sink " + s.Name
		if s.MQTT != nil {
			all = append(all, namedFile{at + " password", s.MQTT.Broker.PasswordFile})
		}
		if s.FHIR != nil && s.FHIR.Token != nil {
			all = append(all, namedFile{at + " secret", s.FHIR.Token.SecretFile}, namedFile{at + " token key", s.FHIR.Token.KeyFile})
		}
		if tls := s.tls(); tls != nil {
			all = append(all, namedFile{at + " key", tls.Key})
		}
	}
	if c.CDSHooks != nil && c.CDSHooks.TLS != nil {
		all = append(all, namedFile{"cds_hooks key", c.CDSHooks.TLS.Key})
	}
	if c.Status.TLS != nil {
		all = append(all, namedFile{"status key", c.Status.TLS.Key})
	}
	all = append(all, namedFile{"status passwords", c.Status.Passwords})
	return all
}

// certificateFiles are those whose certificates must be in their time, besides the
// agent's own.
func (c Config) certificateFiles() []namedFile {
	all := []namedFile{{"central.ca", c.Central.CA}}
	for _, f := range c.Feeds {
		if tls := f.tls(); tls != nil {
			all = append(all, namedFile{"feed " + f.Name + " certificate", tls.Cert}, namedFile{"feed " + f.Name + " ca", tls.CA})
		}
	}
	for _, s := range c.Sinks {
		if tls := s.tls(); tls != nil {
			all = append(all, namedFile{"sink " + s.Name + " certificate", tls.Cert}, namedFile{"sink " + s.Name + " ca", tls.CA})
		}
	}
	if c.CDSHooks != nil && c.CDSHooks.TLS != nil {
		all = append(all, namedFile{"cds_hooks certificate", c.CDSHooks.TLS.Cert})
	}
	if c.Status.TLS != nil {
		all = append(all, namedFile{"status certificate", c.Status.TLS.Cert})
	}
	return all
}

// checkRoundTrip asks the centre about the number that is reserved for this:
// nobody is notified, and nothing is recorded. The answer tells the centre's time.
func (k *checker) checkRoundTrip(ctx context.Context, reached bool) {
	if !reached {
		k.add("round trip", Fail, "not tried: the centre is not reached", "mend what is above first")
		return
	}
	c := k.config
	tls, err := c.centralTLS()
	if err != nil {
		k.add("round trip", Fail, err.Error(), "enrol the agent, or put its certificate and key where the configuration says")
		return
	}
	centre, err := client.Dial(c.Central.Address, tls, client.Others(c.Central.Others...))
	if err != nil {
		k.add("round trip", Fail, err.Error(), "")
		return
	}
	defer func() { _ = centre.Close() }()
	for _, site := range c.Sites {
		k.roundTrip(ctx, centre, site)
	}
}

func (k *checker) roundTrip(ctx context.Context, centre safeguard.FlagSource, site safeguard.ODSCode) {
	c := k.config
	setting := safeguard.EmergencyDepartment
	for _, f := range c.Feeds {
		if f.Site == site {
			setting = f.CareSetting
		}
	}
	check := "round trip " + site.String()
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	begun := time.Now()
	answer, err := centre.Lookup(ctx, safeguard.Query{
		Number: safeguard.TestPatient, Purpose: safeguard.Scheduled, Attendance: safeguard.NewAttendanceID(c.Organisation, "check", site.String()), At: begun,
		Author: safeguard.Author{Device: c.Device, Organisation: c.Organisation, Site: site, Setting: setting, Accountable: safeguard.Accountable(c.Accountable)},
	})
	took := time.Since(begun)
	switch {
	case errors.Is(err, safeguard.ErrRefused):
		k.add(check, Fail, err.Error(), "ask the centre to register this site and care setting, and this organisation's certificate")
		return
	case err != nil:
		k.add(check, Fail, err.Error(), "see the lines about the centre above, and safeguard-agent's log")
		return
	case answer.Status != safeguard.Held:
		k.add(check, Fail, fmt.Sprintf("the centre answered %s about the test patient, want its test flag", answer.Status), "tell those who run the centre")
		return
	case took > c.Central.Deadline:
		k.add(check, Warn, fmt.Sprintf("answered in %v, later than central.deadline (%v)", took.Round(time.Millisecond), c.Central.Deadline), "look for a slow line, or raise central.deadline")
	default:
		k.add(check, Pass, fmt.Sprintf("the test patient's flag came back in %v", took.Round(time.Millisecond)), "")
	}
	k.checkClock(answer.AsOf, begun, took)
}

// How far the clock may be from the centre's.
const (
	clockNoted = 2 * time.Second
	clockWrong = time.Minute
)

func (k *checker) checkClock(centre, begun time.Time, took time.Duration) {
	if centre.IsZero() {
		return
	}
	// The answer was made somewhere between, so half of the time is in doubt.
	off := begun.Add(took / 2).Sub(centre)
	text := fmt.Sprintf("%v ahead of the centre's, give or take %v", off.Round(time.Millisecond), (took / 2).Round(time.Millisecond))
	if off < 0 {
		text = fmt.Sprintf("%v behind the centre's, give or take %v", (-off).Round(time.Millisecond), (took / 2).Round(time.Millisecond))
	}
	const do = "set the time by NTP (timedatectl, w32tm /query /status), and see who serves it"
	switch beyond := off.Abs() - took/2; {
	case beyond > clockWrong:
		k.add("clock", Fail, text, do)
	case beyond > clockNoted:
		k.add("clock", Warn, text, do)
	default:
		k.add("clock", Pass, text, "")
	}
}

// checkSinks asks each EPR, as far as it can be asked without showing anything.
func (k *checker) checkSinks(ctx context.Context) {
	for i, s := range k.config.Sinks {
		check := "sink " + s.Name
		if k.sinks != nil {
			k.sinkState(check, k.sinks.all[i].current().guard.State())
		}
		switch {
		case s.MLLP != nil:
			k.probe(ctx, check, s.MLLP.Address, s.MLLP.TLS)
		case s.MQTT != nil:
			k.probe(ctx, check, s.MQTT.Broker.Address, s.MQTT.Broker.TLS)
		case s.Folder != nil:
			if err := disk.TryWrite(s.Folder.Folder); err != nil {
				k.add(check, Fail, plainly(err), "make the folder, and let the service's user write there")
				continue
			}
			k.add(check, Pass, s.Folder.Folder+" can be written", "")
		case s.FHIR != nil:
			k.askFHIR(ctx, check, s)
		}
	}
}

func (k *checker) sinkState(check string, s epr.State) {
	if !s.Live {
		k.add(check, Warn, "observes and shows nothing: "+s.Why, "see docs/going-live.md")
	}
	if s.Resting {
		k.add(check, Fail, "the EPR does not answer, and is tried again", "see the probe below, and ask who runs the EPR")
	}
	if s.Answered.IsZero() {
		k.add(check, Pass, "has delivered nothing since the agent started", "")
		return
	}
	k.add(check, Pass, fmt.Sprintf("the EPR last answered %s at %s; %d delivered, %d refused, %d unanswered", s.Code, s.Answered.Format(time.DateTime), s.Delivered, s.Refused, s.Failed), "")
}

// askFHIR reads what the server says it can.
func (k *checker) askFHIR(ctx context.Context, check string, s Sink) {
	zone, err := k.config.Zone()
	if err != nil {
		k.add(check, Fail, err.Error(), "")
		return
	}
	g, err := k.config.openSink(s, zone, slog.New(slog.DiscardHandler))
	if err != nil {
		k.add(check, Fail, err.Error(), "put right what the line names")
		return
	}
	defer func() { _ = g.Close() }()
	ctx, cancel := context.WithTimeout(ctx, 2*checkWait)
	defer cancel()
	found, err := g.Check(ctx)
	switch {
	case err != nil:
		k.add(check, Fail, err.Error(), "safeguard-agent epr check tells more")
	case len(found) > 0:
		for _, text := range found {
			k.add(check, Pass, text, "")
		}
	default:
		k.add(check, Pass, "the server answers", "")
	}
}

// plainly is an error without the name of the file that was only tried.
func plainly(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		return fmt.Sprintf("%s: %v", filepath.Dir(at.Path), at.Err)
	}
	return err.Error()
}
