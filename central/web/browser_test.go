package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
)

// screens, where it is set, is a folder for pictures of the pages, to be looked
// at by a person.
var screens = os.Getenv("SAFEGUARD_SCREENS")

// tab opens a browser with a tab of that size. It skips where there is none.
func tab(t *testing.T, width, height int64) context.Context {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil {
		t.Skip("chromium is not installed: make deps installs it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.IgnoreCertErrors,
		chromedp.WindowSize(int(width), int(height)), chromedp.WSURLReadTimeout(2*time.Minute), chromedp.UserDataDir(t.TempDir()))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	ctx, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, closeTab := chromedp.NewContext(ctx)
	t.Cleanup(closeTab)
	must(t, chromedp.Do(ctx)) // starts it
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// rules are axe-core's, which make deps fetches.
func rules(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "browser", "node_modules", "axe-core", "axe.min.js"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("axe-core is not there: make deps fetches it")
	}
	must(t, err)
	return string(text)
}

// accessible has axe-core look at the page that is shown.
func accessible(t *testing.T, ctx context.Context, axe, what string) {
	t.Helper()
	must(t, chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](axe)))
	found, err := chromedp.Run(ctx, chromedp.Evaluate[string](`axe.run(document, {resultTypes: ["violations"]}).then(r => JSON.stringify(
		{rules: r.passes.length, violations: r.violations.map(v => v.id + ": " + v.help + " at " + v.nodes.map(n => n.target.join(" ")).slice(0, 5).join(", "))}))`, chromedp.EvalAwaitPromise))
	must(t, err)
	var result struct {
		Rules      int
		Violations []string
	}
	must(t, json.Unmarshal([]byte(found), &result))
	if result.Rules < 10 {
		t.Errorf("%s: only %d rules were tried", what, result.Rules)
	}
	for _, v := range result.Violations {
		t.Errorf("%s: %s", what, v)
	}
}

// picture keeps what is shown, and wants it not to be wider than the screen.
func picture(t *testing.T, ctx context.Context, name string, width int64) {
	t.Helper()
	wide, err := chromedp.Run(ctx, chromedp.Evaluate[int64](`document.documentElement.scrollWidth`))
	must(t, err)
	if wide > width {
		t.Errorf("%s: %d wide, want at most %d", name, wide, width)
	}
	if screens == "" {
		return
	}
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(screens, name+".png"), png, 0o600))
}

func (c *centre) signInTab(ctx context.Context, a account) {
	c.t.Helper()
	must(c.t, chromedp.Do(ctx, chromedp.Navigate(c.url+"/"), chromedp.WaitVisible("#name"),
		chromedp.SendKeys("#name", a.name), chromedp.SendKeys("#password", password), chromedp.SendKeys("#code", a.code(c.t)+"\r"), chromedp.WaitVisible("#sites")))
}

func TestInABrowser(t *testing.T) {
	axe := rules(t)
	for _, screen := range []struct {
		name          string
		width, height int64
	}{{"desktop", 1280, 900}, {"phone", 390, 844}} {
		t.Run(screen.name, func(t *testing.T) {
			ctx := tab(t, screen.width, screen.height)
			c := serve(t, nil)
			c.fill(time.Now())
			must(t, chromedp.Do(ctx, chromedp.EmulateViewport(screen.width, screen.height), chromedp.Navigate(c.url+"/"), chromedp.WaitVisible("#name")))
			look := func(name string) {
				t.Helper()
				accessible(t, ctx, axe, name)
				picture(t, ctx, screen.name+"-"+name, screen.width)
			}
			look("sign-in")
			c.signInTab(ctx, c.account("ada", store.Administering))
			look("fleet")
			must(t, chromedp.Do(ctx, chromedp.Click(`a[href="/sites/RX1/RX101"]`), chromedp.WaitVisible("#warnings")))
			look("site")
			for _, p := range []struct{ name, path, wait string }{{"authorities", "/authorities", "#list"}, {"sessions", "/sessions", "#accounts"}, {"nothing-found", "/?q=nowhere", "#sites"}, {"not-found", "/nowhere", "#content p"}} {
				must(t, chromedp.Do(ctx, chromedp.Navigate(c.url+p.path), chromedp.WaitVisible(p.wait)))
				look(p.name)
			}
		})
	}
}

func TestAPageKeepsItselfUpToDate(t *testing.T) {
	ctx := tab(t, 1280, 900)
	c := serve(t, nil)
	c.fill(time.Now())
	c.signInTab(ctx, c.account("otto", store.Operating))
	warning := c.warning(safeguard.FeedQuiet)
	note, text := fmt.Sprintf("#note-%d", warning.ID), fmt.Sprintf("#text-%d", warning.ID)
	must(t, chromedp.Do(ctx, chromedp.Navigate(c.url+"/sites/RX1/RX101"), chromedp.Click(note+" > summary"), chromedp.WaitVisible(text)))

	// By another operator: it comes without reload, and what is open stays open.
	must(t, c.store.NoteWarning(t.Context(), warning.ID, "rung the hospital", audit.Who{Caller: "operator vera"}))
	must(t, chromedp.Do(ctx, chromedp.WaitVisible(".notes li")))
	if open, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`document.querySelector("`+note+`").open`)); err != nil || !open {
		t.Error("what was open has closed")
	}

	// What is being written is not taken away.
	must(t, chromedp.Do(ctx, chromedp.SendKeys(text, "the line is cut")))
	must(t, chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](`new Promise(opened => {
		const events = new EventSource("/live?of=" + encodeURIComponent("/sites/RX1/RX101"));
		window.told = new Promise(changed => events.addEventListener("changed", () => changed(true)));
		events.addEventListener("open", () => opened(true));
	})`, chromedp.EvalAwaitPromise)))
	must(t, c.store.NoteWarning(t.Context(), warning.ID, "no answer", audit.Who{Caller: "operator vera"}))
	must(t, chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](`window.told`, chromedp.EvalAwaitPromise)))
	if written, err := chromedp.Run(ctx, chromedp.Value(text)); err != nil || written != "the line is cut" {
		t.Errorf("got %q, %v, want what was being written", written, err)
	}
	must(t, chromedp.Do(ctx, chromedp.Click(note+" button"), chromedp.WaitVisible(`//ul[@class="notes"]/li[contains(., "the line is cut")]`),
		chromedp.Click(fmt.Sprintf(`form[action="/warnings/%d/acknowledge"] button`, warning.ID)), chromedp.WaitVisible(`//article//strong[contains(., "taken on")]`)))
	if w := c.warning(safeguard.FeedQuiet); w.AcknowledgedBy != "operator otto" || len(w.Notes) != 3 {
		t.Errorf("got %+v, want it taken on, with three notes", w)
	}
	if body := c.log.String(); strings.Contains(body, "level=ERROR") {
		t.Errorf("log: %s", body)
	}
}
