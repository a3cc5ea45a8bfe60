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

const manyAnswers = 20_000

// BenchmarkMemory fills and uses a cache of 20,000 answers in a process of its
// own, and reports how much memory it holds: filled, and after a restart.
func BenchmarkMemory(b *testing.B) {
	home := b.TempDir()
	for _, state := range []string{"filled", "restarted"} {
		b.Run(state, func(b *testing.B) {
			for range b.N {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), memoryHome+"="+home, "GOMEMLIMIT=40MiB", "GOGC=50")
				out, err := cmd.CombinedOutput()
				if err != nil {
					b.Fatalf("%v: %s", err, out)
				}
				var resident, peak, anonymous int
				if _, err := fmt.Sscan(string(out), &resident, &peak, &anonymous); err != nil {
					b.Skipf("no memory figures on this system: %s", out)
				}
				b.ReportMetric(float64(resident)/(1<<20), "MB")
				b.ReportMetric(float64(peak)/(1<<20), "MB-peak")
			}
		})
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
