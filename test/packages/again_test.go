//go:build packages

package packages

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBuiltAgainIsTheSame: whoever builds a version anew, elsewhere, later and under
// another umask, gets the same packages, so that what is handed out can be held
// against its source. Signed files are not compared: a signature is its moment's.
func TestBuiltAgainIsTheSame(t *testing.T) {
	elsewhere, out := filepath.Join(t.TempDir(), "elsewhere"), filepath.Join(t.TempDir(), "again")
	command(t, "sh", "-c", `set -e
mkdir "$1"
cd ../..
git ls-files --cached --others --exclude-standard --deduplicate | while read -r f; do test ! -e "$f" || echo "$f"; done | cpio --quiet -pdm "$1"
cp -a .git "$1"`, "sh", elsewhere)
	build := exec.CommandContext(t.Context(), "sh", "-c", `umask 027; exec installer/packages/build.sh "$1"`, "sh", out)
	build.Dir = elsewhere
	build.Env = append(os.Environ(), "VERSION="+older, "PLATFORMS=windows/amd64 linux/amd64")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	sums := func(folder string) map[string]string {
		text, err := os.ReadFile(filepath.Join(folder, "SHA256SUMS"))
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]string{}
		for line := range strings.Lines(string(text)) {
			sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
			all[name] = sum
		}
		return all
	}
	first, again := sums(built[older]), sums(out)
	for name, sum := range again {
		if first[name] != sum {
			t.Errorf("%s is another file", name)
		}
	}
	const each = 7 // deb, rpm, MSI, two zips and two bills of materials
	if len(again) != 2*each {
		t.Errorf("%d files were built again, want %d", len(again), 2*each)
	}
}
