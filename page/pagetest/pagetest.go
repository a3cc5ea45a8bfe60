// Package pagetest looks at pages in a real browser, asks for them as one does, and
// has people sign in with a real provider of OpenID Connect.
package pagetest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// Screens, where it is set, is a folder for pictures of the pages, on the screen and
// printed, to be looked at by a person.
var Screens = os.Getenv("SAFEGUARD_SCREENS")

// Tab opens a browser with a tab of that size. It skips where there is none.
func Tab(t testing.TB, width, height int64) context.Context {
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

// Rules are axe-core's. It skips where they are not.
func Rules(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(browserFolder(), "node_modules", "axe-core", "axe.min.js"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("axe-core is not there: make deps fetches it")
	}
	must(t, err)
	return string(text)
}

// browserFolder is of what make deps fetches.
func browserFolder() string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "testdata", "browser")
}

// Accessible has axe-core look at the page that is shown, by its rules.
func Accessible(t testing.TB, ctx context.Context, rules, what string) {
	t.Helper()
	must(t, chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](rules)))
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

// Picture keeps what is shown, and wants it not to be wider than the screen.
func Picture(t testing.TB, ctx context.Context, name string, width int64) {
	t.Helper()
	wide, err := chromedp.Run(ctx, chromedp.Evaluate[int64](`document.documentElement.scrollWidth`))
	must(t, err)
	if wide > width {
		t.Errorf("%s: %d wide, want at most %d", name, wide, width)
	}
	if Screens == "" {
		return
	}
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(Screens, name+".png"), png, 0o600))
	pdf, err := chromedp.Run(ctx, chromedp.PrintToPDF())
	must(t, err)
	must(t, os.WriteFile(filepath.Join(Screens, name+".pdf"), pdf, 0o600))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
