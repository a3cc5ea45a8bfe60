package statuspage_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/statuspage"
	"github.com/safeguard-edge/safeguard/page/pagetest"
)

// well is an agent that has run for a day and a half, with nothing wrong.
func well(now time.Time) *agent {
	a := &agent{beat: safeguard.Heartbeat{
		Boot: "b", Sequence: 4000, At: now, State: safeguard.Working, Since: now.Add(-9 * time.Hour), Device: "rx1-ed-1", Version: "1.4.0",
		Config: strings.Repeat("ab", 32), Started: now.Add(-36 * time.Hour),
		Feeds: []safeguard.FeedHealth{
			{Name: "pas", Transport: "mllp", Connections: 2, LastMessage: now.Add(-12 * time.Second), Messages: 9000, Errors: 3, LastHour: 240, HourErrors: 1},
			{Name: "maternity", Transport: "folder", LastMessage: now.Add(-4 * time.Minute), Messages: 310, LastHour: 9},
		},
		Journal:     safeguard.JournalHealth{Size: 40 << 20},
		Sinks:       []safeguard.SinkHealth{{Name: "epr", Live: true, Carrier: "mllp", Answered: now.Add(-6 * time.Minute), Took: now.Add(-6 * time.Minute), Delivered: 310, Refused: 1}},
		Centre:      safeguard.CentreHealth{Latency: 18 * time.Millisecond, Heard: now.Add(-9 * time.Second)},
		Cache:       safeguard.CacheHealth{State: "ready", Entries: 5120, Oldest: now.Add(-90 * time.Hour), Newest: now.Add(-time.Minute)},
		Certificate: safeguard.CertificateHealth{From: now.Add(-30 * 24 * time.Hour), Until: now.Add(60 * 24 * time.Hour)},
		Clock:       safeguard.ClockHealth{Offset: 120 * time.Millisecond, Within: 9 * time.Millisecond, Measured: now},
		Disk:        safeguard.DiskHealth{Free: 80 << 30, Floor: 1 << 30, Sync: 4 * time.Millisecond},
		Attendances: safeguard.AttendanceHealth{Window: 4 * time.Hour, Begun: 44, NotCompleted: 1},
	}}
	for i := range 288 {
		start := now.Truncate(5 * time.Minute).Add(-time.Duration(287-i) * 5 * time.Minute)
		p := safeguard.Period{Start: start, Length: 5 * time.Minute, State: safeguard.Working, Oldest: time.Duration(i%40) * 100 * time.Millisecond, Begun: 2 + i%3,
			Feeds: []safeguard.FeedPeriod{{Name: "pas", Messages: 12 + (i*7)%19}}}
		if i > 40 && i < 52 {
			continue // it did not run
		}
		if i > 170 && i < 181 {
			p.State, p.Severity, p.NotCompleted, p.Oldest = safeguard.Degraded, safeguard.Critical, 1, 4*time.Second
		}
		a.day = append(a.day, p)
	}
	return a
}

// atNight is the same with what an administrator is called for.
func atNight(now time.Time) *agent {
	a := well(now)
	h := &a.beat
	h.State, h.Since = safeguard.Failing, now.Add(-40*time.Minute)
	h.Feeds[0].LastMessage, h.Feeds[0].LastHour = now.Add(-52*time.Minute), 20
	h.Journal.SetAside = 2
	h.Sinks[0].Waiting = safeguard.Queue{Length: 1, Oldest: now.Add(-70 * time.Second)}
	h.Warnings = []safeguard.Warning{
		{Code: safeguard.FeedQuiet, Part: "pas", Since: now.Add(-40 * time.Minute), Detail: "nothing for 52 min, in which 190 messages usually come"},
		{Code: safeguard.SetAsideWaiting, Since: now.Add(-3 * time.Hour), Detail: "2"},
	}
	for i := range a.day[len(a.day)-8:] {
		p := &a.day[len(a.day)-8+i]
		p.State, p.Severity, p.Feeds = safeguard.Failing, safeguard.Critical, []safeguard.FeedPeriod{{Name: "pas"}}
	}
	return a
}

// alone is the same without the centre.
func alone(now time.Time) *agent {
	a := well(now)
	h := &a.beat
	h.State, h.Since, h.Centre.Since = safeguard.Degraded, now.Add(-25*time.Minute), now.Add(-25*time.Minute)
	h.Lookups = safeguard.Queue{Length: 14, Oldest: now.Add(-25 * time.Minute)}
	h.Warnings = []safeguard.Warning{{Code: safeguard.CentreAway, Since: now.Add(-25 * time.Minute)}}
	return a
}

func TestInABrowser(t *testing.T) {
	axe := pagetest.Rules(t)
	for _, screen := range []struct {
		name          string
		width, height int64
		pages         []string
	}{{"desktop", 1280, 900, []string{"at night", "starting", "runbook", "not found"}}, {"phone", 390, 844, []string{"well", "alone"}}} {
		ctx := pagetest.Tab(t, screen.width, screen.height)
		must(t, chromedp.Do(ctx, chromedp.EmulateViewport(screen.width, screen.height)))
		for _, name := range screen.pages {
			path, wait, a := "/", "#way", well(time.Now())
			switch name {
			case "at night":
				a, wait = atNight(time.Now()), "#warning-feed-quiet-pas"
			case "alone":
				a, wait = alone(time.Now()), "#warning-centre-unreachable-"
			case "starting":
				a = &agent{beat: safeguard.Heartbeat{State: safeguard.Starting, Since: time.Now(), Device: "rx1-ed-1"}}
			case "runbook":
				path, wait = "/docs/runbook.md#feed-quiet", "#feed-quiet"
			case "not found":
				path, wait = "/nowhere", "h1"
			}
			address, log := serve(t, statuspage.Config{Listen: "127.0.0.1:0"}, a)
			must(t, chromedp.Do(ctx, chromedp.Navigate("http://"+address+path), chromedp.WaitVisible(wait)))
			pagetest.Accessible(t, ctx, axe, screen.name+" "+name)
			pagetest.Picture(t, ctx, "agent-"+screen.name+"-"+name, screen.width)
			if strings.Contains(log.String(), "level=ERROR") {
				t.Errorf("%s: log: %s", name, log.String())
			}
		}
	}
}

func TestAPageKeepsItselfUpToDate(t *testing.T) {
	ctx := pagetest.Tab(t, 1280, 900)
	a := atNight(time.Now())
	address, _ := serve(t, statuspage.Config{Listen: "127.0.0.1:0"}, a)
	must(t, chromedp.Do(ctx, chromedp.Navigate("http://"+address+"/"), chromedp.WaitVisible("#warning-feed-quiet-pas"),
		chromedp.Click("#states > summary"), chromedp.WaitVisible("#states table"), chromedp.Focus(`a[href="/docs/runbook.md#messages-set-aside"]`)))
	a.set(func() {
		a.beat.State, a.beat.Warnings = safeguard.Working, slices.DeleteFunc(a.beat.Warnings, func(w safeguard.Warning) bool { return w.Code == safeguard.FeedQuiet })
	})
	must(t, chromedp.Do(ctx, chromedp.WaitNotPresent("#warning-feed-quiet-pas"), chromedp.WaitVisible("#warning-messages-set-aside-")))
	for what, is := range map[string]string{
		"what was open is open":             `document.querySelector("#states").open`,
		"who was on a link still is":        `document.activeElement.getAttribute("href") === "/docs/runbook.md#messages-set-aside"`,
		"the state is said":                 `document.querySelector("#news").textContent.startsWith("It works")`,
		"the picture is a picture":          `document.querySelector(".timeline rect").namespaceURI.endsWith("svg")`,
		"nothing is there twice":            `document.querySelectorAll("h1").length === 1`,
		"nothing of the page was forbidden": `!window.violations`,
	} {
		if ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](is)); err != nil || !ok {
			t.Errorf("not so: %s (%v)", what, err)
		}
	}
}

// Who uses no mouse comes from the beginning of the page to the remedy.
func TestByKeyboard(t *testing.T) {
	ctx := pagetest.Tab(t, 1280, 900)
	address, _ := serve(t, statuspage.Config{Listen: "127.0.0.1:0"}, atNight(time.Now()))
	must(t, chromedp.Do(ctx, chromedp.Navigate("http://"+address+"/"), chromedp.WaitVisible("#way")))
	var seen []string
	for range 12 {
		must(t, chromedp.Do(ctx, chromedp.KeyEvent("\t")))
		at, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.activeElement.textContent + " " + getComputedStyle(document.activeElement).outlineStyle`))
		must(t, err)
		seen = append(seen, at)
		if strings.HasPrefix(at, "Runbook: feed-quiet") {
			break
		}
	}
	if last := seen[len(seen)-1]; !strings.HasPrefix(last, "Runbook: feed-quiet") || !strings.HasPrefix(seen[0], "Skip to the content") {
		t.Fatalf("came by %q", seen)
	}
	for _, at := range seen {
		if !strings.HasSuffix(at, "solid") {
			t.Errorf("%q does not show that it is where one is", at)
		}
	}
	must(t, chromedp.Do(ctx, chromedp.KeyEvent("\r"), chromedp.WaitVisible("#feed-quiet")))
}

func TestByPasswordInABrowser(t *testing.T) {
	ctx := pagetest.Tab(t, 1280, 900)
	c, _ := guarded(t)
	a := well(time.Now())
	address, _ := serve(t, c, a)
	must(t, chromedp.Do(ctx, chromedp.Navigate(fmt.Sprintf("https://ada:%s@%s/", strings.ReplaceAll(password, " ", "%20"), address)), chromedp.WaitVisible("#way")))
	a.set(func() { a.beat.Device = "rx1-ed-2" })
	must(t, chromedp.Do(ctx, chromedp.WaitVisible(`//h1[contains(., "rx1-ed-2")]`)))
}
