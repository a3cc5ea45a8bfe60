package cache

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// memoryHome names, to this test program run again, the folder of a cache to
// fill and use while its memory is measured.
const memoryHome = "CACHE_MEMORY_HOME"

// The whole agent is to stay under 64 MB with 20,000 answers kept.
const (
	manyAnswers  = 20_000
	memoryTarget = 48 << 20
)

func TestMemory(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("takes seconds, and under the race detector says nothing")
	}
	limits := []string{"GOMEMLIMIT=40MiB", "GOGC=50"}
	home, other := t.TempDir(), t.TempDir()
	for _, c := range []struct {
		name, home string
		env        []string
	}{
		{"filled and used, with limits", home, limits},
		{"restarted and used, with limits", home, limits},
		{"filled and used, no limits", other, nil},
		{"restarted and used, no limits", other, nil},
	} {
		name, env := c.name, c.env
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(append(os.Environ(), memoryHome+"="+c.home), env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		var resident, peak, anonymous int
		if _, err := fmt.Sscan(string(out), &resident, &peak, &anonymous); err != nil {
			t.Skipf("no memory figures on this system: %s", out)
		}
		t.Logf("%s: resident %.1f MB, of it anonymous %.1f MB, peak %.1f MB", name,
			float64(resident)/(1<<20), float64(anonymous)/(1<<20), float64(peak)/(1<<20))
		if env != nil && resident > memoryTarget {
			t.Errorf("%s: resident %d MB, want at most %d MB", name, resident>>20, memoryTarget>>20)
		}
	}
}

func measureMemory(dir string) int {
	h := home{dir}
	ring, err := h.ring()
	if err != nil {
		fmt.Println(err)
		return 2
	}
	c, err := Open(h.dir(), ring, agreed())
	if err != nil {
		fmt.Println(err)
		return 2
	}
	defer func() { _ = c.Close() }()
	var numbers []safeguard.NHSNumber
	for i := 0; len(numbers) < manyAnswers; i++ {
		if n, err := safeguard.ParseNHSNumber(fmt.Sprintf("999%07d", i)); err == nil && n != safeguard.TestPatient {
			numbers = append(numbers, n)
		}
	}
	ctx := context.Background()
	filled := c.Stats().Entries == manyAnswers
	for i, n := range numbers {
		if filled {
			break
		}
		a := none(then)
		if i%10 == 0 {
			a = held(then)
		}
		if err := c.Put(ctx, n, a); err != nil {
			fmt.Println(err)
			return 2
		}
	}
	for i := range 200_000 {
		if _, ok := c.Get(numbers[i*7919%manyAnswers], then.Add(time.Hour)); !ok {
			fmt.Println("an answer is gone")
			return 2
		}
	}
	numbers = nil
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fmt.Println(err)
		return 0
	}
	fmt.Println(field(status, "VmRSS:"), field(status, "VmHWM:"), field(status, "RssAnon:"))
	return 0
}

// field gives a figure of /proc/self/status in bytes.
func field(status []byte, name string) int {
	_, rest, _ := strings.Cut(string(status), name)
	var kb int
	_, _ = fmt.Sscan(rest, &kb)
	return kb << 10
}
