package web_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/page/pagetest"
)

func (c *centre) signInTab(ctx context.Context, a account) {
	c.t.Helper()
	must(c.t, chromedp.Do(ctx, chromedp.Navigate(c.url+"/"), chromedp.WaitVisible("#name"),
		chromedp.SendKeys("#name", a.name), chromedp.SendKeys("#password", password), chromedp.SendKeys("#code", a.code(c.t)+"\r"), chromedp.WaitVisible("#sites")))
}

func TestInABrowser(t *testing.T) {
	axe := pagetest.Rules(t)
	for _, screen := range []struct {
		name          string
		width, height int64
	}{{"desktop", 1280, 900}, {"phone", 390, 844}} {
		t.Run(screen.name, func(t *testing.T) {
			ctx := pagetest.Tab(t, screen.width, screen.height)
			c := serve(t, nil)
			c.fill(time.Now())
			c.ask("c1", safeguard.RunCheck, time.Now().Add(-time.Hour), safeguard.RemoteAnswer{Outcome: safeguard.CommandDone, Text: "14 passed, 1 warnings, 0 failed\npass journal: it takes a message\nwarn disk: 9 GB free\n  do: make room"})
			c.ask("c2", safeguard.SendBundle, time.Now().Add(-30*time.Minute), safeguard.RemoteAnswer{Outcome: safeguard.CommandRefused, Text: "the site does not allow it: remote.allow in the agent's configuration"})
			c.ask("c3", safeguard.RefreshCache, time.Now(), safeguard.RemoteAnswer{})
			must(t, chromedp.Do(ctx, chromedp.EmulateViewport(screen.width, screen.height), chromedp.Navigate(c.url+"/"), chromedp.WaitVisible("#name")))
			look := func(name string) {
				t.Helper()
				pagetest.Accessible(t, ctx, axe, name)
				pagetest.Picture(t, ctx, screen.name+"-"+name, screen.width)
			}
			look("sign-in")
			c.signInTab(ctx, c.account("ada", store.Administering))
			look("fleet")
			must(t, chromedp.Do(ctx, chromedp.Click(`a[href="/sites/RX1/RX101"]`), chromedp.WaitVisible("#warnings")))
			look("site")
			must(t, chromedp.Do(ctx, chromedp.Click(".command button"), chromedp.WaitVisible(`form[method="post"] a`)))
			look("ask")
			must(t, chromedp.Do(ctx, chromedp.Click(`main form[method="post"] button`), chromedp.WaitVisible(`//tr[contains(., "waits for the agent")][contains(., "operator ada")]`)))
			for _, p := range []struct{ name, path, wait string }{{"authorities", "/authorities", "#list"}, {"sessions", "/sessions", "#accounts"}, {"nothing-found", "/?q=nowhere", "#sites"}, {"not-found", "/nowhere", "#content p"}} {
				must(t, chromedp.Do(ctx, chromedp.Navigate(c.url+p.path), chromedp.WaitVisible(p.wait)))
				look(p.name)
			}
		})
	}
}

func TestAPageKeepsItselfUpToDate(t *testing.T) {
	ctx := pagetest.Tab(t, 1280, 900)
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
