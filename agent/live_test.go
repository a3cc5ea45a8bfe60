package agent

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/configs"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
	"github.com/safeguard-edge/safeguard/hl7adapter/feed"
)

// hospital is an agent's configuration file, its feeds and its sinks, running.
type hospital struct {
	t     *testing.T
	file  string
	live  *live
	taken chan string // names of the feeds that took a message
}

const liveConfig = `device: rx1-ed-1
organisation: RX1
sites: [RX101]
accountable: {name: Dr Imogen Hale, role: Named doctor}
data: data
master_key: keys/master.key
central: {address: "127.0.0.1:1", certificate: a.pem, key: b.pem, ca: c.pem}
feeds:
FEEDSsinks:
  - name: epr
    folder: {folder: OUT}
`

func (h *hospital) write(feeds ...string) {
	h.t.Helper()
	text := strings.Replace(liveConfig, "FEEDS", strings.Join(feeds, ""), 1)
	text = strings.Replace(text, "OUT", filepath.Join(filepath.Dir(h.file), "out"), 1)
	h.put(text)
}

func (h *hospital) put(text string) {
	h.t.Helper()
	if err := os.WriteFile(h.file, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func mllpFeed(name, address, more string) string {
	return fmt.Sprintf("  - name: %s\n    site: RX101\n    care_setting: emergency-department\n    mllp: {address: %q%s}\n", name, address, more)
}

// free is an address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func start(t *testing.T, feeds ...string) *hospital {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "out"), 0o700); err != nil {
		t.Fatal(err)
	}
	h := &hospital{t: t, file: filepath.Join(dir, "agent.yaml"), taken: make(chan string, 100)}
	h.write(feeds...)
	c, err := LoadConfig(h.file)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	zone, err := c.Zone()
	if err != nil {
		t.Fatal(err)
	}
	open, err := openFeeds(c, zone, log)
	if err != nil {
		t.Fatal(err)
	}
	sinks, err := c.openLiveSinks(log)
	if err != nil {
		t.Fatal(err)
	}
	h.live = newLive(c, open, sinks, log)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- open.Run(ctx, func(_ context.Context, m feed.Message) (feed.Ack, error) {
			h.taken <- m.Feed
			return m.Ack, nil
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := sinks.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *hospital) dial(address string) net.Conn {
	h.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			h.t.Cleanup(func() { _ = c.Close() })
			return c
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("nobody listens at %s: %v", address, err)
		}
	}
}

const liveMessage = "\x0bMSH|^~\\&|PAS|RX1|S|RX1|20260101||ADT^A04|1|P|2.4\rPID|1||9990000018^^^NHS\r\x1c\r"

// deaf wants no feed at the address. Another program may have the port by now,
// so that one that connects is no proof of a feed.
func (h *hospital) deaf(address string) {
	h.t.Helper()
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	_, _ = c.Write([]byte(liveMessage))
	_, _ = bufio.NewReader(c).ReadString('\x1c')
	select {
	case name := <-h.taken:
		h.t.Errorf("feed %s still listens", name)
	default:
	}
}

// send sends a message over the connection and wants it taken by the feed.
func (h *hospital) send(c net.Conn, want string) {
	h.t.Helper()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		h.t.Fatal(err)
	}
	if _, err := c.Write([]byte(liveMessage)); err != nil {
		h.t.Fatal(err)
	}
	if answer, err := bufio.NewReader(c).ReadString('\x1c'); err != nil || !strings.Contains(answer, "MSA|AA|1") {
		h.t.Fatalf("answered %q, %v", answer, err)
	}
	if got := <-h.taken; got != want {
		h.t.Fatalf("taken by feed %s, want %s", got, want)
	}
}

func TestReloadLeavesUnchangedFeedsConnected(t *testing.T) {
	a, b, c := free(t), free(t), free(t)
	h := start(t, mllpFeed("one", a, ""), mllpFeed("two", b, ""))
	one := h.dial(a)
	h.send(one, "one")

	h.write(mllpFeed("one", a, "")+"    adt: {arriving: register}\n", mllpFeed("three", c, ""))
	r, err := h.live.reload("test")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"feed one", "feed three", "feed two"}; !slices.Equal(r.Applied, want) || len(r.Restart) > 0 {
		t.Errorf("applied %v, restart for %v, want %v and nothing", r.Applied, r.Restart, want)
	}
	h.send(one, "one") // the same connection
	h.send(h.dial(c), "three")
	h.deaf(b)
	if got := (*h.live.feeds.parser.Load())["one"].Site.Config.Arriving; got != "register" {
		t.Errorf("A10 of feed one is read as %q after the reload", got)
	}
	if _, ok := (*h.live.feeds.parser.Load())["two"]; !ok {
		t.Error("what feed two brought is not understood any more")
	}
}

func TestReloadTakesAnAddressOver(t *testing.T) {
	a := free(t)
	h := start(t, mllpFeed("one", a, ""))
	h.write(mllpFeed("one", a, ", max_connections: 3"))
	if _, err := h.live.reload("test"); err != nil {
		t.Fatal(err)
	}
	h.send(h.dial(a), "one")
	if got := h.live.current().Feeds[0].MLLP.MaxConnections; got != 3 {
		t.Errorf("max_connections is %d", got)
	}
}

func TestBadReloadChangesNothing(t *testing.T) {
	a, b := free(t), free(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	h := start(t, mllpFeed("one", a, ""))
	conn := h.dial(a)
	before := h.live.current()
	for name, c := range map[string]struct {
		feeds []string
		text  string
		want  string
	}{
		"unknown key":                 {text: "device: x\nfeds: []\n", want: `unknown key "feds", did you mean "feeds"?`},
		"not YAML":                    {text: "device: [", want: "agent.yaml:"},
		"address in use":              {feeds: []string{mllpFeed("one", a, ""), mllpFeed("two", taken.Addr().String(), "")}, want: "feed two: "},
		"address in use, others good": {feeds: []string{mllpFeed("new", b, ""), mllpFeed("two", taken.Addr().String(), "")}, want: "feed two: "},
		"site that needs a restart":   {feeds: []string{strings.Replace(mllpFeed("one", a, ""), "RX101", "RX102", 1)}, want: "RX102"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.text != "" {
				h.put(c.text)
			} else {
				h.write(c.feeds...)
			}
			r, err := h.live.reload("test")
			if err == nil || !strings.Contains(err.Error(), c.want) || r.Fault != err.Error() {
				t.Errorf("got %v, and %q in the report, want one that says %s", err, r.Fault, c.want)
			}
			if diff := configs.Diff(before, h.live.current()); len(diff) > 0 {
				t.Errorf("changed all the same: %v", diff)
			}
			if other, err := net.DialTimeout("tcp", b, time.Second); err == nil {
				_ = other.Close()
				t.Error("a feed of the bad configuration listens")
			}
		})
	}
	// Where every feed was to go, it was stopped and has come back; the others
	// never noticed.
	h.send(h.dial(a), "one")
	_ = conn.Close()
}

func TestReloadSaysWhatNeedsARestart(t *testing.T) {
	a := free(t)
	h := start(t, mllpFeed("one", a, ""))
	text, err := os.ReadFile(h.file)
	if err != nil {
		t.Fatal(err)
	}
	h.put(strings.Replace(string(text), "device: rx1-ed-1", "device: rx1-ed-2\nrules: {say_none: true}\nwording: {headline: Look here}", 1))
	r, err := h.live.reload("test")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"device", "rules.say_none"}; !slices.Equal(r.Restart, want) {
		t.Errorf("restart for %v, want %v", r.Restart, want)
	}
	if want := []string{"sink epr"}; !slices.Equal(r.Applied, want) {
		t.Errorf("applied %v, want %v: its wording is another", r.Applied, want)
	}
	if c := h.live.current(); c.Device != "rx1-ed-1" || c.Wording.Headline != "Look here" {
		t.Errorf("in force: device %s, headline %q", c.Device, c.Wording.Headline)
	}
}

func TestOneFeedThatCanNotListenDoesNotStopTheOthers(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := free(t)
	h := start(t, mllpFeed("one", taken.Addr().String(), ""), mllpFeed("two", a, ""))
	h.send(h.dial(a), "two")
	if r := h.live.feeds.reports(); !strings.Contains(r[0].Fault, "feed one: ") || r[1].Fault != "" {
		t.Errorf("reports %+v, want a fault of feed one alone", r)
	}
	_ = taken.Close()
	h.live.feeds.reopen()
	h.send(h.dial(taken.Addr().String()), "one")
}

func TestLastGoodConfigurationStartsTheAgent(t *testing.T) {
	dir := t.TempDir()
	h := &hospital{t: t, file: filepath.Join(dir, "agent.yaml")}
	h.write(mllpFeed("one", free(t), ""))
	c, err := LoadConfig(h.file)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	h.put("data: data\ndevice: [half edited\n")
	if _, err := LoadOrLastGood(h.file, log); err == nil {
		t.Fatal("a bad file was taken before there was a good one")
	}
	if err := c.keepLastGood(); err != nil {
		t.Fatal(err)
	}
	got, err := LoadOrLastGood(h.file, log)
	if err != nil {
		t.Fatal(err)
	}
	if diff := configs.Diff(c, got); len(diff) > 0 || got.aside == "" {
		t.Errorf("differs from the last good one in %v; set aside: %q", diff, got.aside)
	}
	if _, err := LoadOrLastGood(filepath.Join(dir, "nowhere.yaml"), log); err == nil {
		t.Error("a file that is not there was replaced")
	}
}

// TestLiveSinkIsASinkToThePipeline: what the pipeline finds out of a sink by
// asking for a method, it finds out of one that may change too.
func TestLiveSinkIsASinkToThePipeline(t *testing.T) {
	operators := []string{"Carrier", "Check", "Close", "Preview", "State", "Try"} // ask the guard of now
	guard, live := reflect.TypeFor[*epr.Guard](), reflect.TypeFor[*liveSink]()
	for i := range guard.NumMethod() {
		m := guard.Method(i)
		if slices.Contains(operators, m.Name) {
			continue
		}
		if _, ok := live.MethodByName(m.Name); !ok {
			t.Errorf("liveSink has no %s", m.Name)
		}
	}
}

// TestChangedSinkStillObservesWithItsSite: a reload never shows what the site has
// decided not to show.
func TestChangedSinkStillObservesWithItsSite(t *testing.T) {
	h := start(t, mllpFeed("one", free(t), ""))
	h.live.mu.Lock()
	h.live.in.Observe.Enabled = true // as it was at the start
	h.live.mu.Unlock()
	text, err := os.ReadFile(h.file)
	if err != nil {
		t.Fatal(err)
	}
	h.put(string(text) + "    delivery: {release_confirmed_by: Dr Hale on 1 May}\n")
	if _, err := h.live.reload("test"); err != nil {
		t.Fatal(err)
	}
	if live := h.live.sinks.all[0].Live(); live {
		t.Error("the changed sink shows alerts while the site observes")
	}
}
