package staff_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/staff"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/page/pagetest"
)

// people are those of the provider.
var people = pagetest.People{
	"vera": at("RX1", "Staff nurse", "B0107"), "hugo": at("RX1", "Community paediatrician", "B0170"), "both": at("RX1", "Consultant", "B0107", "B0170"),
	"pia": at("RX1", "Privacy officer", "privacy"), "rosa": at("906", "Team manager", "authority"),
	"nora": at("RX1", "Porter", "B0825"), "crag": at("RX3", "Nurse", "B0107"), "dale": at("908", "Team manager", "authority"),
	"ada": operator(at("RX1", "Systems manager", "B0107")),
}

func at(organisation, role string, codes ...string) map[string]any {
	return map[string]any{"ods_code": organisation, "job_title": role, "activity_codes": codes}
}

func operator(claims map[string]any) map[string]any {
	claims["groups"] = []string{"safeguard-admin"}
	return claims
}

func provided(t *testing.T, change func(*staff.Config), people pagetest.People, userInfo bool) *centre {
	t.Helper()
	c := serve(t, change)
	c.provider.Issuer = pagetest.Provider(t, c.url, people, userInfo)
	return c
}

// signIn goes the whole way, and ends where what is waited for is seen.
func (c *centre) signIn(t *testing.T, ctx context.Context, who, wait string) {
	t.Helper()
	must(t, chromedp.Do(ctx, chromedp.Navigate(c.url+"/"), chromedp.WaitVisible(`a[href="/sign-in/provider"]`), chromedp.Click(`a[href="/sign-in/provider"]`)))
	must(t, pagetest.SignIn(ctx, who))
	must(t, chromedp.Do(ctx, chromedp.WaitVisible(wait)))
}

// search fills in the form for somebody, and goes on.
func search(t *testing.T, ctx context.Context, n safeguard.NHSNumber) {
	t.Helper()
	must(t, chromedp.Do(ctx, chromedp.Click(`nav a[href="/view"]`), chromedp.WaitVisible("#number"), chromedp.SendKeys("#number", n.Reveal()),
		chromedp.SetValue("#born", born.String()), chromedp.SetValue("#place", "RX101 emergency-department"), chromedp.SetValue("#reason", "I am assessing or treating this person"),
		chromedp.Click(`form[action="/search"] button`), chromedp.WaitVisible(`form[action="/view"]`)))
}

func text(t *testing.T, ctx context.Context, selector string) string {
	t.Helper()
	s, err := chromedp.Run(ctx, chromedp.Text(selector))
	must(t, err)
	return s
}

func TestInABrowser(t *testing.T) {
	axe := pagetest.Rules(t)
	for _, screen := range []struct {
		name          string
		width, height int64
	}{{"desktop", 1280, 900}, {"phone", 390, 844}} {
		t.Run(screen.name, func(t *testing.T) {
			ctx := pagetest.Tab(t, screen.width, screen.height)
			c := provided(t, nil, people, false)
			must(t, chromedp.Do(ctx, chromedp.EmulateViewport(screen.width, screen.height), chromedp.Navigate(c.url+"/"), chromedp.WaitVisible(`a[href="/sign-in/provider"]`)))
			look := func(name string) {
				t.Helper()
				pagetest.Accessible(t, ctx, axe, name)
				pagetest.Picture(t, ctx, screen.name+"-staff-"+name, screen.width)
			}
			look("sign-in")
			c.signIn(t, ctx, "both", "#number")
			if got := text(t, ctx, ".out span"); got != "both of the tests, Consultant, RX1" {
				t.Errorf("signed in as %q", got)
			}
			look("search")
			must(t, chromedp.Do(ctx, chromedp.SetValue("#born", "2099-01-01"), chromedp.Evaluate[chromedp.Void](`document.querySelector('form[action="/search"]').noValidate = true`),
				chromedp.Click(`form[action="/search"] button`), chromedp.WaitVisible("#number-wrong")))
			look("search-wrong")
			search(t, ctx, alice)
			look("before")
			must(t, chromedp.Do(ctx, chromedp.Click(`form[action="/view"] button`), chromedp.WaitVisible("#plans")))
			look("shown")
			search(t, ctx, bob)
			look("break-glass-before")
			must(t, chromedp.Do(ctx, chromedp.SendKeys("#words", words), chromedp.Click(`input[name="glass"]`), chromedp.Click(`form[action="/view"] button`), chromedp.WaitVisible("#plans")))
			look("break-glass-shown")
			search(t, ctx, carol)
			must(t, chromedp.Do(ctx, chromedp.Click(`form[action="/view"] button`), chromedp.WaitVisible("#nothing")))
			look("nothing")
			must(t, chromedp.Do(ctx, chromedp.Click(`form[action="/sign-out"] button`), chromedp.WaitVisible(`a[href="/sign-in/provider"]`)))

			c.signIn(t, ctx, "pia", "#waiting")
			look("list")
			must(t, chromedp.Do(ctx, chromedp.Click(`#waiting ~ table a, section[aria-labelledby="waiting"] a`), chromedp.WaitVisible("#finding")))
			look("review")
			must(t, chromedp.Do(ctx, chromedp.SetValue("#finding", "justified"), chromedp.SendKeys("#note", "Rang the ward; the aunt confirms."), chromedp.Click(`main form button`), chromedp.WaitVisible("#reviewed")))
			if list := c.broken(); len(list) != 0 {
				t.Errorf("%d still to review", len(list))
			}
			look("list-reviewed")
			must(t, chromedp.Do(ctx, chromedp.Click(`form[action="/sign-out"] button`), chromedp.WaitVisible(`a[href="/sign-in/provider"]`)))
			look("signed-out")
			must(t, chromedp.Do(ctx, chromedp.Click(`a[href="/sign-out/provider"]`)))
			must(t, pagetest.SignOut(ctx))

			c.signIn(t, ctx, "rosa", "#number")
			must(t, chromedp.Do(ctx, chromedp.SendKeys("#number", alice.Reveal()), chromedp.SetValue("#born", born.String()), chromedp.SetValue("#reason", "I work with this person or their family"),
				chromedp.Click(`form[action="/accesses"] button`), chromedp.WaitVisible("#list")))
			look("accesses")
			must(t, chromedp.Do(ctx, chromedp.Navigate(c.url+"/view"), chromedp.WaitVisible(`main a[href="/"]`)))
			look("refused")
		})
	}
}

// No address, title, referrer or entry of the history says whom somebody looked at,
// and the page that comes back says it no more once nobody is signed in.
func TestTheBrowserKeepsNothing(t *testing.T) {
	ctx := pagetest.Tab(t, 1280, 900)
	c := provided(t, nil, people, false)
	c.signIn(t, ctx, "vera", "#number")
	search(t, ctx, alice)
	must(t, chromedp.Do(ctx, chromedp.Click(`form[action="/view"] button`), chromedp.WaitVisible("#plans")))
	history, err := chromedp.Run(ctx, chromedp.NavigationEntries())
	must(t, err)
	entries := history.Entries
	if len(entries) < 4 {
		t.Errorf("the history has %d entries, want those of the way here", len(entries))
	}
	for _, e := range entries {
		for _, s := range []string{e.URL, e.UserTypedURL, e.Title} {
			plain, _ := url.QueryUnescape(s)
			if strings.Contains(strings.ReplaceAll(plain, " ", ""), alice.Reveal()) || strings.Contains(plain, born.String()) {
				t.Errorf("the history has %q", s)
			}
		}
	}
	stored, err := chromedp.Run(ctx, chromedp.Evaluate[string](`JSON.stringify({referrer: document.referrer, local: localStorage.length, session: sessionStorage.length, cookies: document.cookie})`))
	must(t, err)
	if stored != `{"referrer":"","local":0,"session":0,"cookies":""}` {
		t.Errorf("the browser has %s, want nothing", stored)
	}
	must(t, chromedp.Do(ctx, chromedp.Click(`form[action="/sign-out"] button`), chromedp.WaitVisible(`a[href="/sign-in/provider"]`), chromedp.Navigate(c.url+"/view"), chromedp.WaitVisible(`a[href="/sign-in/provider"]`)))
	body := text(t, ctx, "body")
	if strings.Contains(body, "Child protection") {
		t.Error("what was shown is shown still")
	}
	// Who it is, is asked anew, though the provider knows its visitor still.
	must(t, chromedp.Do(ctx, chromedp.Click(`a[href="/sign-in/provider"]`), chromedp.WaitVisible(`input[name="login"]`)))
}

func TestAPageLeavesTheScreenWhenItIsNotUsed(t *testing.T) {
	ctx := pagetest.Tab(t, 1280, 900)
	c := provided(t, nil, people, false)
	c.signIn(t, ctx, "vera", "#number")
	// Time goes by when the test says so.
	_, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
		Source: `window.due = []; window.setTimeout = (f, ms) => window.due.push({f, ms}); window.clearTimeout = n => { if (n) delete window.due[n - 1]; };
			window.pass = ms => { const d = window.due.find(d => d && d.ms === ms); if (d) d.f(); return !!d; };`,
	})
	must(t, err)
	search(t, ctx, alice)
	must(t, chromedp.Do(ctx, chromedp.Click(`form[action="/view"] button`), chromedp.WaitVisible("#plans")))
	pass := func(ms int) {
		t.Helper()
		if there, err := chromedp.Run(ctx, chromedp.Evaluate[bool](fmt.Sprintf(`window.pass(%d)`, ms))); err != nil || !there {
			t.Fatalf("nothing is due after %d ms, %v", ms, err)
		}
	}
	pass(540_000)
	must(t, chromedp.Do(ctx, chromedp.WaitVisible("#news button"), chromedp.Click("#news button"), chromedp.WaitNotPresent("#news button")))
	if got := text(t, ctx, "#plans"); got != "Plans" {
		t.Errorf("after staying, the page shows %q", got)
	}
	pass(600_000)
	must(t, chromedp.Do(ctx, chromedp.WaitVisible(`a[href="/sign-in/provider"]`)))
	if body := text(t, ctx, "body"); strings.Contains(body, "Child protection") {
		t.Error("what was shown is shown still")
	}
}

func TestPrinted(t *testing.T) {
	ctx := pagetest.Tab(t, 1280, 900)
	c := provided(t, nil, people, false)
	c.signIn(t, ctx, "vera", "#number")
	search(t, ctx, alice)
	must(t, chromedp.Do(ctx, chromedp.Click(`form[action="/view"] button`), chromedp.WaitVisible("#plans")))
	sheet, err := chromedp.Run(ctx, chromedp.PrintToPDF(chromedp.PDFPaper(chromedp.PaperA4)))
	must(t, err)
	if !strings.HasPrefix(string(sheet), "%PDF") {
		t.Error("nothing was printed")
	}
	if folder := os.Getenv("SAFEGUARD_SCREENS"); folder != "" {
		must(t, os.WriteFile(filepath.Join(folder, "staff-printed.pdf"), sheet, 0o600))
	}
	_, err = chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"})
	must(t, err)
	seen, err := chromedp.Run(ctx, chromedp.Evaluate[string](`JSON.stringify(["nav", ".out", ".again", "#news", ".printed", ".plan"].map(s => !!document.querySelector(s) && getComputedStyle(document.querySelector(s)).display !== "none"))`))
	must(t, err)
	var shown []bool
	must(t, json.Unmarshal([]byte(seen), &shown))
	if want := [6]bool{4: true, 5: true}; [6]bool(shown) != want {
		t.Errorf("printed are %v of navigation, sign-out, next search, news, by whom, plan; want the last two alone", shown)
	}
}

func TestSignInIsRefused(t *testing.T) {
	c := provided(t, nil, people, false)
	for who, why := range map[string]string{
		"nora": "gives none of the codes", "ada": "operators, who do not see children", "crag": "organisation RX3 has no site that takes part", "dale": "908 is no local authority",
	} {
		t.Run(who, func(t *testing.T) {
			ctx := pagetest.Tab(t, 1280, 900)
			c.signIn(t, ctx, who, ".wrong")
			if got := text(t, ctx, ".wrong"); !strings.Contains(got, why) {
				t.Errorf("told %q, want %q", got, why)
			}
			must(t, chromedp.Do(ctx, chromedp.Navigate(c.url+"/view"), chromedp.WaitVisible(`a[href="/sign-in/provider"]`)))
		})
	}
	if list, err := c.store.StaffSessions(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("sessions %+v, %v, want none", list, err)
	}
	trail := c.audited()
	for _, want := range []string{`"act":"sign-in refused","who":{"caller":"staff ada by http://127.0.0.1`, "do not see children", "no site that takes part"} {
		if !strings.Contains(trail, want) {
			t.Errorf("the audit lacks %s", want)
		}
	}
}

// As NHS CIS2 has it: roles as profiles, and those at the UserInfo endpoint.
func TestSignInByProfiles(t *testing.T) {
	ctx := pagetest.Tab(t, 1280, 900)
	profiles := func(selected string) map[string]any {
		return map[string]any{"selected_roleid": selected, "nhsid_nrbac_roles": []map[string]any{
			{"person_roleid": "11", "org_code": "RX1", "role_name": "Nurse", "activity_codes": []string{"B0107"}},
			{"person_roleid": "22", "org_code": "RX2", "role_name": "Privacy Officer", "activity_codes": []string{"privacy"}},
		}}
	}
	c := provided(t, func(config *staff.Config) {
		config.Provider.UserInfo = true
		config.Reading = staff.Reading{
			NameClaim: "name", Profiles: "nhsid_nrbac_roles", ProfileID: "person_roleid", SelectedProfile: "selected_roleid",
			RoleClaim: "role_name", OrganisationClaim: "org_code", CodesClaim: "activity_codes", Codes: reading.Codes,
		}
	}, pagetest.People{"here": profiles("11"), "there": profiles("22")}, true)
	c.signIn(t, ctx, "here", "#number")
	if got := text(t, ctx, ".out span"); got != "here of the tests, Nurse, RX1" {
		t.Errorf("signed in as %q", got)
	}
	must(t, chromedp.Do(ctx, chromedp.Click(`form[action="/sign-out"] button`), chromedp.WaitVisible(`a[href="/sign-in/provider"]`)))
	c.signIn(t, ctx, "there", "#waiting")
	list, err := c.store.StaffSessions(t.Context())
	if err != nil || len(list) != 1 || list[0].Organisation != code("RX2") || list[0].Rights != store.ReviewViews {
		t.Errorf("sessions %+v, %v, want that of a privacy officer of RX2", list, err)
	}
	if err := c.store.EndStaffSession(t.Context(), list[0].ID, audit.Who{Caller: "test"}); err != nil {
		t.Fatal(err)
	}
	must(t, chromedp.Do(ctx, chromedp.Navigate(c.url+"/break-glass"), chromedp.WaitVisible(`a[href="/sign-in/provider"]`)))
}
