package web_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/safeguard-edge/safeguard/central/signin"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/central/web"
	"github.com/safeguard-edge/safeguard/page/pagetest"
)

// provided are pages with a provider of OpenID Connect, a program of its own.
func provided(t *testing.T) *centre {
	t.Helper()
	provider := &signin.Operators{
		Provider:  &signin.Provider{Name: "Example accounts", ClientID: pagetest.ClientID, ClientSecret: pagetest.ClientSecret, Scopes: []string{"profile"}},
		NameClaim: "name", RoleClaim: "realm.groups",
		Roles: map[string]store.Role{"safeguard-view": store.Viewer, "safeguard-operate": store.Operating},
	}
	c := serve(t, func(config *web.Config) { config.Provider = provider })
	groups := func(list ...string) map[string]any { return map[string]any{"realm": map[string]any{"groups": list}} }
	provider.Origin = c.url
	provider.Issuer = pagetest.Provider(t, c.url, pagetest.People{
		"vera": groups("staff", "safeguard-view"), "otto": groups("safeguard-view", "safeguard-operate"), "nora": groups("staff"),
	}, false)
	return c
}

func TestSignInByAProvider(t *testing.T) {
	c := provided(t)
	for _, who := range []struct{ login, want string }{
		{"vera", "vera of the tests (vera), viewer"},
		{"otto", "otto of the tests (otto), operator"},
	} {
		ctx := pagetest.Tab(t, 1280, 900)
		must(t, chromedp.Do(ctx, chromedp.Navigate(c.url+"/authorities"), chromedp.Click(`a.button`)))
		must(t, pagetest.SignIn(ctx, who.login))
		must(t, chromedp.Do(ctx, chromedp.WaitVisible("#list")))
		if shown, err := chromedp.Run(ctx, chromedp.Text(".out span")); err != nil || shown != who.want {
			t.Errorf("signed in as %q, %v, want %q, at the page that was wanted", shown, err, who.want)
		}
	}
	if trail := c.audited(); !strings.Contains(trail, `"caller":"operator otto of the tests (otto) by http://127.0.0.1`) {
		t.Error("the audit does not say who signed in, and who vouched")
	}
}

func TestAProviderWithoutARoleLetsNobodyIn(t *testing.T) {
	c := provided(t)
	ctx := pagetest.Tab(t, 1280, 900)
	must(t, chromedp.Do(ctx, chromedp.Navigate(c.url+"/sign-in"), chromedp.Click(`a.button`)))
	must(t, pagetest.SignIn(ctx, "nora"))
	must(t, chromedp.Do(ctx, chromedp.WaitVisible(`.wrong`)))
	if trail := c.audited(); !strings.Contains(trail, "gives none of the roles") || !strings.Contains(trail, "nora") {
		t.Error("the audit does not say who was refused, and why")
	}
	if list, err := c.store.Sessions(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("sessions %v, %v, want none", list, err)
	}
}

func TestAReturnThatIsNotOneIsRefused(t *testing.T) {
	c := provided(t)
	b := c.browser()
	begun := c.get(b, "/sign-in/provider?to=/authorities")
	asked, err := url.Parse(begun.To)
	must(t, err)
	query := asked.Query()
	if query.Get("code_challenge_method") != "S256" || query.Get("code_challenge") == "" || query.Get("nonce") == "" || query.Get("response_type") != "code" || query.Get("redirect_uri") != c.url+"/sign-in/returned" {
		t.Errorf("asked with %v, want the code flow with PKCE and nonce", query)
	}
	cookie := begun.Header.Get("Set-Cookie")
	if !strings.Contains(cookie, "HttpOnly") || !strings.Contains(cookie, "Secure") {
		t.Errorf("cookie %q, want it kept from scripts", cookie)
	}
	// keep has the cookie of the sign-in that was begun there for one return more.
	keep := func() *http.Client {
		jar, _ := cookiejar.New(nil)
		at, _ := url.Parse(c.url)
		jar.SetCookies(at, b.Jar.Cookies(at))
		other := c.browser()
		other.Jar = jar
		return other
	}
	state := query.Get("state")
	for _, tt := range []struct {
		name, query string
		b           *http.Client
	}{
		{"in another browser", "?code=x&state=" + state, c.browser()},
		{"another state", "?code=x&state=other", keep()},
		{"no state", "?code=x", keep()},
		{"an error", "?error=access_denied&state=" + state, keep()},
		{"a code that was never given", "?code=made-up&state=" + state, keep()},
	} {
		got := c.get(tt.b, "/sign-in/returned"+tt.query)
		if got.Status != http.StatusUnauthorized || strings.Contains(strings.Join(got.Header.Values("Set-Cookie"), " "), "__Host-session=") {
			t.Errorf("%s: status %d, want 401 and no session", tt.name, got.Status)
		}
	}
}

// Who was let in by a provider is told that they are still signed in there, and is
// led to where that ends.
func TestSigningOutOfTheProviderToo(t *testing.T) {
	c := provided(t)
	ctx := pagetest.Tab(t, 1280, 900)
	must(t, chromedp.Do(ctx, chromedp.Navigate(c.url+"/sign-in"), chromedp.Click(`a.button`)))
	must(t, pagetest.SignIn(ctx, "vera"))
	must(t, chromedp.Do(ctx, chromedp.WaitVisible(".out button"), chromedp.Click(".out button"), chromedp.WaitVisible(`a[href="/sign-out/provider"]`)))
	// Out here, and not there: the provider lets in without asking.
	must(t, chromedp.Do(ctx, chromedp.Click(`a[href="/sign-in/provider"]`), chromedp.WaitVisible(".out button")))
	must(t, chromedp.Do(ctx, chromedp.Click(".out button"), chromedp.WaitVisible(`a[href="/sign-out/provider"]`), chromedp.Click(`a[href="/sign-out/provider"]`)))
	must(t, pagetest.SignOut(ctx))
	must(t, chromedp.Do(ctx, chromedp.Navigate(c.url+"/sign-in/provider"), chromedp.WaitVisible(`input[name="login"]`)))

	a, b := c.account("imogen", store.Viewer), c.browser()
	c.signIn(b, a, password, a.code(t))
	if got := c.post(b, "/sign-out", nil); got.To != "/sign-in" {
		t.Errorf("who has an account here is sent to %q, want the sign-in: no provider is concerned", got.To)
	}
}

func TestWhereAProviderSignsOut(t *testing.T) {
	for name, tt := range map[string]struct{ announces, want string }{
		"nowhere":         {"", ""},
		"where it says":   {`,"end_session_endpoint":"ISSUER/end?realm=x"`, "ISSUER/end?client_id=centre&id_token_hint=t.o.k&realm=x"},
		"what is no page": {`,"end_session_endpoint":"javascript:alert(1)"`, "no address"},
	} {
		t.Run(name, func(t *testing.T) {
			var at string
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, `{"issuer":"`+at+`","authorization_endpoint":"`+at+`/a","token_endpoint":"`+at+`/t","jwks_uri":"`+at+`/k"`+strings.ReplaceAll(tt.announces, "ISSUER", at)+`}`)
			}))
			defer s.Close()
			at = s.URL
			p := &signin.Provider{Issuer: at, ClientID: "centre", HTTP: s.Client()}
			got, err := p.SignOut(t.Context(), "t.o.k")
			if err != nil {
				got = err.Error()
			}
			if want := strings.ReplaceAll(tt.want, "ISSUER", at); got != want && (err == nil || !strings.Contains(got, want)) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestAProviderThatIsAwayIsSaid(t *testing.T) {
	c := serve(t, func(config *web.Config) {
		config.Provider = &signin.Operators{Provider: &signin.Provider{Name: "Example accounts", Issuer: "http://127.0.0.1:1", ClientID: "x", Origin: "https://fleet.example"}, RoleClaim: "groups"}
	})
	a, b := c.account("imogen", store.Viewer), c.browser()
	if got := c.get(b, "/sign-in/provider"); got.Status != http.StatusUnauthorized || !strings.Contains(got.Body, "Example accounts") {
		t.Errorf("status %d, want 401 and why", got.Status)
	}
	if got := c.signIn(b, a, password, a.code(t)); got.Status != http.StatusSeeOther {
		t.Errorf("by an account of the centre: status %d, want to be let in", got.Status)
	}
}
