package pagetest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// ClientID and ClientSecret are what Provider knows the pages as.
const (
	ClientID     = "safeguard-central"
	ClientSecret = "made-up-client-secret"
)

// People are what a provider says of each, by the name that they sign in with. All
// have the claim name, and it is made of that.
type People map[string]map[string]any

// Provider begins a provider of OpenID Connect, oidc-provider, for the pages at
// origin, and gives its address. What it says of people is in its token, or with
// userInfo at its UserInfo endpoint alone. It skips where that is not there.
func Provider(t testing.TB, origin string, people People, userInfo bool) (issuer string) {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed: make deps installs it")
	}
	folder := browserFolder()
	if _, err := os.Stat(filepath.Join(folder, "node_modules", "oidc-provider")); errors.Is(err, os.ErrNotExist) {
		t.Skip("oidc-provider is not there: make deps fetches it")
	}
	said, err := json.Marshal(map[string]any{"origin": origin, "id": ClientID, "secret": ClientSecret, "people": people, "userInfo": userInfo})
	must(t, err)
	run := exec.Command(node, "provider.mjs", string(said)) // it ends with its input
	run.Dir = folder
	in, err := run.StdinPipe()
	must(t, err)
	out, err := run.StdoutPipe()
	must(t, err)
	must(t, run.Start())
	t.Cleanup(func() { must(t, errors.Join(in.Close(), run.Wait())) })
	line, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	return strings.TrimSpace(line)
}

// SignOut goes through the provider's own pages, and waits until it says so.
func SignOut(ctx context.Context) error {
	return chromedp.Do(ctx, chromedp.WaitVisible(`button[name="logout"]`), chromedp.Click(`button[name="logout"]`), chromedp.WaitVisible(`//h1[contains(., "Sign-out Success")]`))
}

// SignIn goes through the provider's own pages.
func SignIn(ctx context.Context, name string) error {
	return chromedp.Do(ctx, chromedp.WaitVisible(`input[name="login"]`), chromedp.SendKeys(`input[name="login"]`, name), chromedp.SendKeys(`input[name="password"]`, "any\r"),
		chromedp.WaitVisible(`//button[contains(., "Continue")]`), chromedp.Click(`//button[contains(., "Continue")]`))
}
