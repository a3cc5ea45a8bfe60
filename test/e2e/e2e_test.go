// Package e2e tests the programs as they are built, as processes, over sockets.
package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/safeguard-edge/safeguard/test/world"
)

// programs is the folder that TestMain builds the programs into.
var programs string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "safeguard-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	programs = dir
	for _, program := range []string{"agent", "central"} {
		build := exec.Command("go", "build", "-o", filepath.Join(dir, "safeguard-"+program), "../../"+program+"/cmd/safeguard-"+program)
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // as they are shipped
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build %s: %v\n%s", program, err, out)
			return 1
		}
	}
	return m.Run()
}

// newWorld is a world with the centre and the agent running and flags uploaded.
func newWorld(t testing.TB, feeds ...string) *world.World {
	t.Helper()
	return newWorldWith(t, func(*world.World) string { return "" }, feeds...)
}

// newWorldWith is one whose agent has more in its configuration: further sinks, and
// then further sections.
func newWorldWith(t testing.TB, more func(*world.World) string, feeds ...string) *world.World {
	t.Helper()
	w, err := world.New(t.Context(), t.TempDir(), programs, feeds...)
	t.Cleanup(func() { finish(t, w) })
	if err != nil {
		t.Fatal(err)
	}
	configure(t, w, more(w))
	if err := w.StartCentral(t.Context()); err != nil {
		t.Fatal(err)
	}
	if verdict, sentence, err := w.Upload(t.Context()); err != nil || verdict != "CPF02" {
		t.Fatalf("upload: %s %s %v", verdict, sentence, err)
	}
	if err := w.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

// configure adds to the agent's configuration, whose last section is of its sinks.
func configure(t testing.TB, w *world.World, more string) {
	t.Helper()
	file, err := os.OpenFile(w.Path("agent.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = file.WriteString(more)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// finish ends a world, and says what its programs logged when the test failed.
func finish(t testing.TB, w *world.World) {
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if !t.Failed() {
		return
	}
	for _, program := range []string{"safeguard-central", "safeguard-agent"} {
		text, _ := os.ReadFile(w.Path(program + ".log"))
		t.Logf("%s logged, at the end:\n%s", program, text[max(0, len(text)-20000):])
	}
}
