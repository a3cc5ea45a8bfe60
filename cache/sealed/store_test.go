package sealed

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/safeguard-edge/safeguard/cache/keys"
)

// A child is this test program again, with a part to play.
const (
	childPart = "SEALED_CHILD"
	childHome = "SEALED_HOME"
)

func TestMain(m *testing.M) {
	if part := os.Getenv(childPart); part != "" {
		os.Exit(child(part, home{root: os.Getenv(childHome)}))
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/dgraph-io/badger/v4/y.(*WaterMark).process"))
}

// home is the folder of a store and those of its keys.
type home struct{ root string }

func newHome(t testing.TB) home { return home{t.TempDir()} }

func (h home) dir() string    { return filepath.Join(h.root, "cache") }
func (h home) badger() string { return filepath.Join(h.dir(), badgerName) }
func (h home) ring() (*keys.Ring, error) {
	return keys.Open(filepath.Join(h.root, "keys"), keys.FileMaster(filepath.Join(h.root, "etc", "master.key")))
}

var quiet = slog.New(slog.DiscardHandler)

func (h home) store(t testing.TB) *Store {
	t.Helper()
	s, err := Open(h.dir(), h.keys(t), Options{Log: quiet})
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func (h home) keys(t testing.TB) *keys.Ring {
	t.Helper()
	ring, err := h.ring()
	must(t, err)
	return ring
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var (
	start = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	later = start.Add(time.Hour)
)

func key(i int) (k Key) {
	binary.BigEndian.PutUint64(k[:], uint64(i)*0x9e3779b97f4a7c15)
	return k
}

func value(i int) []byte { return fmt.Appendf(nil, "canary %d %s", i, strings.Repeat("x", 200)) }

func fill(t testing.TB, s *Store, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		must(t, s.Put(key(i), value(i), start, later))
	}
}

func wantHeld(t testing.TB, s *Store, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if got, err := s.Get(key(i), start); err != nil || !bytes.Equal(got, value(i)) {
			t.Fatalf("Get(%d) = %d bytes, %v", i, len(got), err)
		}
	}
}

func TestPutGetDelete(t *testing.T) {
	h := newHome(t)
	s := h.store(t)
	if s.BeganAnew() != "" || s.Lost() != "" {
		t.Errorf("a first store is anew for %q, lost for %q", s.BeganAnew(), s.Lost())
	}
	fill(t, s, 0, 100)
	must(t, s.Put(key(7), []byte("again"), start.Add(time.Minute), later))
	must(t, s.Delete(key(8), key(1000)))
	must(t, s.Close())

	s = h.store(t)
	if s.BeganAnew() != "" || s.Len() != 99 {
		t.Errorf("reopened: anew for %q, %d values, want 99", s.BeganAnew(), s.Len())
	}
	wantHeld(t, s, 0, 7)
	wantHeld(t, s, 9, 100)
	if got, err := s.Get(key(7), start); err != nil || string(got) != "again" {
		t.Errorf("Get(7) = %q, %v", got, err)
	}
	for _, gone := range []int{8, 1000} {
		if _, err := s.Get(key(gone), start); !errors.Is(err, ErrNotFound) {
			t.Errorf("Get(%d) = %v, want %v", gone, err, ErrNotFound)
		}
	}
	if oldest, newest := s.Span(); !oldest.Equal(start) || !newest.Equal(start.Add(time.Minute)) {
		t.Errorf("Span = %v, %v", oldest, newest)
	}
	if err := s.Put(key(1), make([]byte, MaxValue+1), start, later); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Put of too much = %v, want %v", err, ErrTooLarge)
	}
	must(t, s.Put(key(1), make([]byte, MaxValue), start, later))
	must(t, s.Verify(t.Context()))
	must(t, s.Close())
	if _, err := s.Get(key(1), start); !errors.Is(err, ErrClosed) {
		t.Errorf("Get after Close = %v, want %v", err, ErrClosed)
	}
}

func TestExpiry(t *testing.T) {
	h := newHome(t)
	s := h.store(t)
	fill(t, s, 0, 1200)
	must(t, s.Put(key(1), []byte("longer"), start, later.Add(time.Hour)))
	if _, err := s.Get(key(0), later); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get at expiry = %v, want %v", err, ErrNotFound)
	}
	if n, err := s.Expire(later); err != nil || n != 1199 || s.Len() != 1 {
		t.Errorf("Expire = %d, %v, %d left, want 1199 and 1", n, err, s.Len())
	}
	must(t, s.Close())
	s = h.store(t)
	if s.Len() != 1 || s.BeganAnew() != "" {
		t.Errorf("reopened with %d values, anew for %q", s.Len(), s.BeganAnew())
	}
}

func TestNothingReadableOnDisk(t *testing.T) {
	h := newHome(t)
	s := h.store(t)
	fill(t, s, 0, 1000)
	wantNoCanary(t, h.dir())
	must(t, s.Close())
	wantNoCanary(t, h.dir())
}

func wantNoCanary(t *testing.T, dir string) {
	t.Helper()
	k := key(1)
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(path)
		if bytes.Contains(body, []byte("canary")) || bytes.Contains(body, k[:12]) {
			t.Errorf("%s tells a value or a key", path)
		}
		return err
	}))
}

func TestFreeSpaceGuard(t *testing.T) {
	h := newHome(t)
	free := uint64(DefaultFloor)
	s := newStore(h.dir(), h.keys(t), Options{Log: quiet})
	s.free = func(string) (uint64, error) { return free, nil }
	must(t, s.open())
	t.Cleanup(func() { _ = s.Close() })
	fill(t, s, 0, 10)

	free--
	if err := s.Put(key(10), value(10), start, later); !errors.Is(err, ErrNoSpace) {
		t.Errorf("Put below the floor = %v, want %v", err, ErrNoSpace)
	}
	if err := s.Delete(key(0)); !errors.Is(err, ErrNoSpace) {
		t.Errorf("Delete below the floor = %v, want %v", err, ErrNoSpace)
	}
	if _, err := s.Get(key(0), start); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get of what was to be deleted = %v, want %v", err, ErrNotFound)
	}
	wantHeld(t, s, 1, 10)

	free++
	if n, err := s.Expire(start); n != 1 || err != nil {
		t.Errorf("Expire with space again = %d, %v, want 1", n, err)
	}
	fill(t, s, 10, 20)
	must(t, s.Close())

	free--
	full := newStore(h.dir(), h.keys(t), Options{Log: quiet})
	full.free = s.free
	if err := full.open(); !errors.Is(err, ErrNoSpace) {
		t.Errorf("open below the floor = %v, want %v", err, ErrNoSpace)
	}
	again := h.store(t)
	if again.BeganAnew() != "" {
		t.Errorf("a full disk cost the store: %q", again.BeganAnew())
	}
	wantHeld(t, again, 1, 20)
}

// A disk that is really full: the child dies of SIGBUS where the guard fails.
func TestFullDisk(t *testing.T) {
	h := newHome(t)
	must(t, os.MkdirAll(h.dir(), 0o700))
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", h.dir()).CombinedOutput(); err != nil {
		t.Skipf("mounting is not allowed here: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", h.dir()).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	cmd := h.child("fill")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "full\n") {
		t.Fatalf("child: %v: %s", err, tail(out))
	}
	s, err := Open(h.dir(), h.keys(t), Options{Log: quiet, Floor: 8 << 20})
	must(t, err)
	defer func() { _ = s.Close() }()
	if s.BeganAnew() != "" || s.Len() == 0 {
		t.Errorf("after the disk was full: %d values, anew for %q", s.Len(), s.BeganAnew())
	}
}

// With no room to close in, the store is left as if the process were killed.
func TestCloseOnFullDisk(t *testing.T) {
	h := newHome(t)
	out, err := h.child("leave").CombinedOutput()
	if err != nil || string(out) != "left\n" {
		t.Fatalf("child: %v: %s", err, tail(out))
	}
	s := h.store(t)
	if s.BeganAnew() != "" {
		t.Errorf("began anew: %s", s.BeganAnew())
	}
	wantHeld(t, s, 0, 100)
}

func tail(out []byte) string {
	if len(out) > 600 {
		out = out[len(out)-600:]
	}
	return string(out)
}

func (h home) child(part string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	// Badger races with itself when it fails to open (it closes a cache that
	// its readers of tables still fill), which is not what is tested here.
	races := "GORACE=exitcode=0 atexit_sleep_ms=0 log_path=" + filepath.Join(h.root, "races")
	cmd.Env = append(os.Environ(), childPart+"="+part, childHome+"="+h.root, races)
	return cmd
}

// child plays its part and gives the exit code.
func child(part string, h home) int {
	floor := uint64(DefaultFloor)
	if part == "fill" {
		floor = 32 << 20
	}
	ring, err := h.ring()
	if err != nil {
		fmt.Println(err)
		return 2
	}
	s, err := Open(h.dir(), ring, Options{Log: quiet, Floor: floor})
	if err != nil {
		fmt.Println(err)
		return 2
	}
	switch part {
	case "open":
		fmt.Printf("%d %s\n", s.Len(), s.BeganAnew())
	case "write": // until killed
		for i := s.Len(); ; i++ {
			if err := s.Put(key(i), value(i), start, later); err != nil {
				fmt.Println(err)
				return 2
			}
			fmt.Println(i)
			if i%100 == 99 {
				if err := s.Checkpoint(); err != nil {
					fmt.Println(err)
					return 2
				}
			}
		}
	case "hold": // until killed
		fmt.Println("held")
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "leave":
		for i := range 100 {
			if err := s.Put(key(i), value(i), start, later); err != nil {
				fmt.Println(err)
				return 2
			}
		}
		s.free = func(string) (uint64, error) { return DefaultFloor/8 - 1, nil }
		if err := s.Close(); !errors.Is(err, ErrNoSpace) {
			fmt.Println(err)
			return 2
		}
		fmt.Println("left")
		return 0
	case "fill": // overwriting, so that Badger compacts as well
		big := bytes.Repeat([]byte("y"), 16<<10)
		for i := 0; ; i++ {
			err := s.Put(key(i%2000), big, start, later)
			if errors.Is(err, ErrNoSpace) {
				break
			}
			if err != nil {
				fmt.Println(err)
				return 2
			}
			if i > 200_000 {
				fmt.Println("never full")
				return 2
			}
		}
		if err := s.Close(); err != nil {
			fmt.Println(err)
			return 2
		}
		fmt.Println("full")
		return 0
	}
	if err := s.Close(); err != nil {
		fmt.Println(err)
		return 2
	}
	return 0
}

func TestKilledWhileWriting(t *testing.T) {
	h := newHome(t)
	total := 0
	for round := range 10 {
		cmd := h.child("write")
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		lines := bufio.NewScanner(out)
		last := -1
		for n := 0; n < 150+round*37 && lines.Scan(); n++ {
			if _, err := fmt.Sscan(lines.Text(), &last); err != nil {
				t.Fatalf("child: %s", lines.Text())
			}
		}
		must(t, cmd.Process.Kill())
		for lines.Scan() { // what it had put before the kill arrived
			_, _ = fmt.Sscan(lines.Text(), &last)
		}
		_ = cmd.Wait()

		s := h.store(t)
		if s.BeganAnew() != "" {
			t.Fatalf("round %d: began anew: %s", round, s.BeganAnew())
		}
		if s.Len() < last+1 {
			t.Fatalf("round %d: %d values, %d were put", round, s.Len(), last+1)
		}
		wantHeld(t, s, 0, last+1)
		total = s.Len()
		must(t, s.Close())
	}
	t.Logf("%d values through 10 kills", total)
}

func TestSecondProcess(t *testing.T) {
	h := newHome(t)
	s := h.store(t)
	fill(t, s, 0, 10)
	must(t, s.Close())

	cmd := h.child("hold")
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "held\n" {
		t.Fatalf("child: %q, %v", line, err)
	}
	if _, err := Open(h.dir(), h.keys(t), Options{Log: quiet}); !errors.Is(err, ErrInUse) {
		t.Errorf("Open = %v, want %v", err, ErrInUse)
	}
	must(t, in.Close())
	must(t, cmd.Wait())

	s = h.store(t)
	if s.BeganAnew() != "" {
		t.Errorf("began anew: %s", s.BeganAnew())
	}
	wantHeld(t, s, 0, 10)
}

func TestVerifyIsCancelled(t *testing.T) {
	s := newHome(t).store(t)
	fill(t, s, 0, 10)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Verify(ctx); !errors.Is(err, context.Canceled) || s.Lost() != "" {
		t.Errorf("Verify = %v, lost for %q", err, s.Lost())
	}
}

func BenchmarkStore(b *testing.B) {
	s := newHome(b).store(b)
	fill(b, s, 0, 20_000)
	b.Run("Put", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			must(b, s.Put(key(i%20_000), value(i%20_000), start, later))
		}
	})
	b.Run("Get", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := s.Get(key(i%20_000), start); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Verify", func(b *testing.B) {
		for b.Loop() {
			must(b, s.Verify(b.Context()))
		}
	})
	b.Run("Reopen", func(b *testing.B) {
		h := newHome(b)
		first := h.store(b)
		fill(b, first, 0, 20_000)
		must(b, first.Close())
		b.ResetTimer()
		for b.Loop() {
			must(b, h.store(b).Close())
		}
	})
}
