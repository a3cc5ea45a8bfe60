package keys

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	body, err := os.ReadFile(path)
	must(t, err)
	return body
}

func (h home) ringPath() string { return filepath.Join(h.data, ringName) }
func (h home) copyPath() string { return filepath.Join(h.data, copyName) }

func TestRotateKeepsOldValuesAndTokens(t *testing.T) {
	h := newHome(t)
	r := h.open()
	old, token := seal(t, r, "old", "row 1"), r.Token("d", []byte("v"))
	must(t, r.Rotate())
	young := seal(t, r, "young", "row 2")
	if bytes.Equal(old[:5], young[:5]) {
		t.Error("sealed by the same data key after rotation")
	}
	for _, ring := range []*Ring{r, h.open()} {
		wantOpens(t, ring, old, "row 1", "old")
		wantOpens(t, ring, young, "row 2", "young")
		if !bytes.Equal(ring.Token("d", []byte("v")), token) {
			t.Error("rotation changed a token")
		}
	}
	s, err := r.Status()
	must(t, err)
	if s.DataKeys != 2 || s.RewrapDue || s.ID != r.ID() || s.Master != h.master {
		t.Errorf("Status = %+v", s)
	}
}

func TestRotationByAnotherProcessIsFollowed(t *testing.T) {
	h := newHome(t)
	here, there := h.open(), h.open()
	must(t, there.Rotate())
	wantOpens(t, here, seal(t, there, "theirs", "row"), "row", "theirs")
	must(t, here.Rotate()) // must not lose their key
	wantOpens(t, there, seal(t, here, "ours", "row"), "row", "ours")
	if s, err := h.open().Status(); err != nil || s.DataKeys != 3 {
		t.Errorf("Status = %+v, %v, want 3 data keys", s, err)
	}
}

func TestRotateWhileInUse(t *testing.T) {
	r := newHome(t).open()
	var users sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		users.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					wantOpens(t, r, seal(t, r, "plain", "row"), "row", "plain")
				}
			}
		})
	}
	for range 5 {
		must(t, r.Rotate())
	}
	close(stop)
	users.Wait()
}

func TestRewrap(t *testing.T) {
	notOnWindows(t)
	h := newHome(t)
	r := h.open()
	sealed, master, ring := seal(t, r, "plain", "row"), read(t, h.master), read(t, h.ringPath())
	must(t, r.Rewrap())
	wantOpens(t, r, sealed, "row", "plain")
	wantOpens(t, h.open(), sealed, "row", "plain")

	t.Run("old master key is of no use", func(t *testing.T) {
		stolen := newHome(t)
		must(t, os.MkdirAll(filepath.Dir(stolen.master), 0o700))
		must(t, os.WriteFile(stolen.master, master, 0o600))
		must(t, os.CopyFS(stolen.data, os.DirFS(h.data)))
		stolen.wantRefused(ErrMasterWrong)
	})
	t.Run("backup of before needs the old master key", func(t *testing.T) {
		must(t, os.WriteFile(h.ringPath(), ring, 0o600))
		h.wantRefused(ErrMasterWrong)
	})
}

// Rewrap writes the master keys, the ring file, its copy, the master keys. A
// ring interrupted between any two opens, and finishes when called again.
func TestInterruptedRewrap(t *testing.T) {
	notOnWindows(t)
	h := newHome(t)
	r := h.open()
	sealed := seal(t, r, "plain", "row")
	oldMaster, oldRing := read(t, h.master), read(t, h.ringPath())
	must(t, r.Rewrap())
	newMaster, newRing := read(t, h.master), read(t, h.ringPath())
	both := append(bytes.Clone(newMaster), oldMaster...)

	for name, files := range map[string]struct{ master, ring, copy []byte }{
		"master keys written": {both, oldRing, oldRing},
		"ring written":        {both, newRing, oldRing},
		"copy written":        {both, newRing, newRing},
		"ring damaged too":    {both, []byte("{"), oldRing},
	} {
		must(t, os.WriteFile(h.master, files.master, 0o600))
		must(t, os.WriteFile(h.ringPath(), files.ring, 0o600))
		must(t, os.WriteFile(h.copyPath(), files.copy, 0o600))
		r := h.open()
		wantOpens(t, r, sealed, "row", "plain")
		if err := r.Rewrap(); err != nil {
			t.Errorf("%s: Rewrap = %v", name, err)
		}
		wantOpens(t, h.open(), sealed, "row", "plain")
		if n := bytes.Count(read(t, h.master), []byte("\n")); n != 1 {
			t.Errorf("%s: %d master keys left, want 1", name, n)
		}
	}
}

func TestCredential(t *testing.T) {
	notOnWindows(t)
	h := newHome(t)
	credentials := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	path := filepath.Join(credentials, CredentialName)
	open := func() *Ring {
		t.Helper()
		r, err := Open(h.data, SystemMaster(h.master))
		must(t, err)
		return r
	}

	first := NewMasterKey()
	must(t, os.WriteFile(path, []byte(first), 0o440)) // as systemd shows an access list
	r := open()
	sealed := seal(t, r, "plain", "row")
	if _, err := os.Stat(h.master); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a master key file was made beside the credential: %v", err)
	}
	if err := r.Rewrap(); !errors.Is(err, ErrMasterRemains) {
		t.Errorf("Rewrap = %v, want %v", err, ErrMasterRemains)
	}

	must(t, os.Chmod(path, 0o600))
	must(t, os.WriteFile(path, []byte(NewMasterKey()+first), 0o600))
	r = open()
	if s, err := r.Status(); err != nil || !s.RewrapDue || s.Master != path {
		t.Errorf("Status = %+v, %v, want a rewrap due", s, err)
	}
	must(t, r.Rewrap())
	wantOpens(t, open(), sealed, "row", "plain")

	must(t, os.Remove(path))
	if _, err := Open(h.data, SystemMaster(h.master)); !errors.Is(err, ErrMasterMissing) || !strings.Contains(err.Error(), CredentialName) {
		t.Errorf("Open = %v, want %v", err, ErrMasterMissing)
	}
	must(t, os.WriteFile(path, []byte(first), 0o604))
	if _, err := Open(h.data, SystemMaster(h.master)); !errors.Is(err, ErrMasterExposed) {
		t.Errorf("Open = %v, want %v", err, ErrMasterExposed)
	}
}

func TestCredentialIsPreferredToFile(t *testing.T) {
	notOnWindows(t)
	h := newHome(t)
	sealed := seal(t, h.open(), "plain", "row")
	credentials := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	r, err := Open(h.data, SystemMaster(h.master)) // none of ours in it: the file counts
	must(t, err)
	wantOpens(t, r, sealed, "row", "plain")
	must(t, os.WriteFile(filepath.Join(credentials, CredentialName), []byte(NewMasterKey()), 0o600))
	if _, err := Open(h.data, SystemMaster(h.master)); !errors.Is(err, ErrMasterWrong) {
		t.Errorf("Open = %v, want %v", err, ErrMasterWrong)
	}
}

func TestRestoredBackupWithoutMasterIsUseless(t *testing.T) {
	h := newHome(t)
	seal(t, h.open(), "plain", "row")
	thief := newHome(t)
	must(t, os.CopyFS(thief.data, os.DirFS(h.data)))
	thief.wantRefused(ErrMasterMissing)

	other := newHome(t)
	other.open()
	must(t, os.RemoveAll(other.data))
	must(t, os.CopyFS(other.data, os.DirFS(h.data)))
	other.wantRefused(ErrMasterWrong)
}

// notOnWindows skips what writes master keys by hand: DPAPI protects them there.
func notOnWindows(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("master keys are protected here")
	}
}

func TestMasterThatCanNotBeUsed(t *testing.T) {
	notOnWindows(t)
	for name, c := range map[string]struct {
		spoil func(h home) error
		want  error
	}{
		"empty":             {func(h home) error { return os.WriteFile(h.master, nil, 0o600) }, ErrMasterWrong},
		"not base64":        {func(h home) error { return os.WriteFile(h.master, []byte("canary!"), 0o600) }, ErrMasterWrong},
		"too short":         {func(h home) error { return os.WriteFile(h.master, []byte("Y2FuYXJ5\n"), 0o600) }, ErrMasterWrong},
		"another":           {func(h home) error { return os.WriteFile(h.master, []byte(NewMasterKey()), 0o600) }, ErrMasterWrong},
		"readable by group": {func(h home) error { return os.Chmod(h.master, 0o640) }, ErrMasterExposed},
		"readable by all":   {func(h home) error { return os.Chmod(h.master, 0o604) }, ErrMasterExposed},
		"of another user": {func(h home) error {
			if os.Geteuid() != 0 {
				t.Skip("only root can give a file away")
			}
			return os.Chown(h.master, 12345, -1)
		}, ErrMasterExposed},
		"a folder": {func(h home) error { return errors.Join(os.Remove(h.master), os.Mkdir(h.master, 0o700)) }, ErrMasterUnreadable},
		"gone":     {func(h home) error { return os.Remove(h.master) }, ErrMasterMissing},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t)
			r := h.open()
			sealed := seal(t, r, "plain", "row")
			kept := read(t, h.master)
			must(t, c.spoil(h))
			_, err := Open(h.data, FileMaster(h.master))
			if !errors.Is(err, c.want) {
				t.Fatalf("Open = %v, want %v", err, c.want)
			}
			for _, secret := range []string{"canary", "Y2FuYXJ5", strings.TrimSpace(string(kept))} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("error tells the key: %v", err)
				}
			}
			wantOpens(t, r, sealed, "row", "plain") // what runs goes on
			if err := r.Rotate(); !errors.Is(err, c.want) {
				t.Errorf("Rotate = %v, want %v", err, c.want)
			}
			must(t, os.RemoveAll(h.master))
			must(t, os.WriteFile(h.master, kept, 0o600))
			wantOpens(t, h.open(), sealed, "row", "plain")
		})
	}
}

func TestMasterInTheRingsFolderIsRefused(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{filepath.Join(dir, "master.key"), filepath.Join(dir, "deep", "master.key")} {
		if _, err := Open(dir, FileMaster(path)); !errors.Is(err, ErrMasterExposed) {
			t.Errorf("Open(%s) = %v, want %v", path, err, ErrMasterExposed)
		}
	}
	if _, err := Open(dir, FileMaster("")); err == nil {
		t.Error("Open without a path for the master key succeeded")
	}
}

func TestDamagedRingFile(t *testing.T) {
	h := newHome(t)
	sealed := seal(t, h.open(), "plain", "row")
	good := read(t, h.ringPath())
	f := new(ringFile)
	must(t, json.Unmarshal(good, f))
	f.AEAD, f.PRF = f.PRF, f.AEAD
	swapped, err := json.Marshal(f)
	must(t, err)

	for name, bad := range map[string][]byte{"cut": good[:len(good)/2], "empty": {}, "swapped keysets": swapped} {
		must(t, os.WriteFile(h.ringPath(), bad, 0o600))
		must(t, os.WriteFile(h.copyPath(), good, 0o600))
		t.Run(name+", copy is whole", func(t *testing.T) {
			wantOpens(t, h.open(), sealed, "row", "plain")
			if !bytes.Equal(read(t, h.ringPath()), read(t, h.copyPath())) {
				t.Error("the ring file was not mended from its copy")
			}
		})
		must(t, os.WriteFile(h.ringPath(), bad, 0o600))
		must(t, os.WriteFile(h.copyPath(), bad, 0o600))
		t.Run(name+", and its copy", func(t *testing.T) { h.wantRefused(ErrRingDamaged) })
		must(t, os.Remove(h.ringPath()))
		t.Run("gone, and its copy "+name, func(t *testing.T) { h.wantRefused(ErrRingDamaged) })
	}
}

func TestDestroy(t *testing.T) {
	h := newHome(t)
	r := h.open()
	sealed, token := seal(t, r, "plain", "row"), r.Token("d", []byte("v"))
	must(t, r.Destroy())
	for _, path := range []string{h.master, h.ringPath(), h.copyPath()} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	if _, err := r.Open(sealed, []byte("row")); !errors.Is(err, ErrDestroyed) {
		t.Errorf("Open = %v, want %v", err, ErrDestroyed)
	}
	if _, err := r.Seal(nil, nil); !errors.Is(err, ErrDestroyed) {
		t.Errorf("Seal = %v, want %v", err, ErrDestroyed)
	}
	if err := r.Rotate(); !errors.Is(err, ErrDestroyed) {
		t.Errorf("Rotate = %v, want %v", err, ErrDestroyed)
	}
	if a, b := r.Token("d", []byte("v")), r.Token("d", []byte("v")); bytes.Equal(a, token) || bytes.Equal(a, b) || len(a) != TokenSize {
		t.Error("a destroyed ring still makes tokens that match")
	}
	young := h.open()
	if _, err := young.Open(sealed, []byte("row")); !errors.Is(err, ErrRefused) || young.ID() == r.ID() {
		t.Errorf("new ring: Open = %v, want %v", err, ErrRefused)
	}
}

func TestDestroyWithoutOpening(t *testing.T) {
	h := newHome(t)
	h.open()
	must(t, os.Remove(h.master))
	must(t, Destroy(h.data, FileMaster(h.master)))
	h.open()
}

func TestDestroyNamesTheCredentialThatRemains(t *testing.T) {
	notOnWindows(t)
	h := newHome(t)
	credentials := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	must(t, os.WriteFile(filepath.Join(credentials, CredentialName), []byte(NewMasterKey()), 0o600))
	r, err := Open(h.data, SystemMaster(h.master))
	must(t, err)
	if err := r.Destroy(); !errors.Is(err, ErrMasterRemains) {
		t.Errorf("Destroy = %v, want %v", err, ErrMasterRemains)
	}
	if _, err := os.Stat(h.ringPath()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("keysets are left: %v", err)
	}
}

func BenchmarkRing(b *testing.B) {
	r := newHome(b).open()
	plain, ad := make([]byte, 300), []byte("row 1")
	sealed := seal(b, r, string(plain), string(ad))
	b.Run("Seal300", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = r.Seal(plain, ad)
		}
	})
	b.Run("Open300", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = r.Open(sealed, ad)
		}
	})
	b.Run("Token", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = r.Token("nhs number", []byte("9990000018"))
		}
	})
}
