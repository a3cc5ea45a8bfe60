package central

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/server"
	"github.com/safeguard-edge/safeguard/central/store"
)

// An authority that is no more uploads nothing, is told who is to, and its flags
// are answered with the successor's phones.
func TestDissolvedAuthority(t *testing.T) {
	ring, err := keys.Open(filepath.Join(t.TempDir(), "ring"), keys.FileMaster(filepath.Join(t.TempDir(), "master.key")))
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "central.db"), ring)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	code := func(s string) safeguard.ODSCode {
		c, err := safeguard.ParseODSCode(s)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	today := safeguard.DateOf(time.Now())
	tomorrow := today.Add(0, 0, 1)
	authority := func(c, phone string, opened, closed safeguard.Date, successors ...string) store.Authority {
		a := store.Authority{Authority: safeguard.Authority{Code: code(c), Name: "Authority " + c, EmergencyDutyPhone: phone}, Opened: opened, Closed: closed, Stage: store.Live}
		for _, s := range successors {
			a.Successors = append(a.Successors, code(s))
		}
		return a
	}
	for _, a := range []store.Authority{
		authority("801", "01632 960801", safeguard.Date{}, today, "802"),
		authority("802", "01632 960802", today, safeguard.Date{}),
		authority("803", "01632 960803", safeguard.Date{}, today.Add(-1, 0, 0), "802", "804"),
		authority("804", "01632 960804", tomorrow, safeguard.Date{}),
		authority("805", "01632 960805", safeguard.Date{}, tomorrow, "804"),
	} {
		if err := s.PutAuthority(context.Background(), a, audit.Who{Caller: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	p := participants{store: s, directory: server.NewDirectory(nil, nil), log: slog.New(slog.DiscardHandler)}
	if err := p.read(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	for c, want := range map[string]struct{ refused, phone string }{
		"801": {"is no more since " + today.String() + "; its flags are to come from 802 (Authority 802)", "01632 960802"},
		"802": {"", "01632 960802"},
		"803": {"its flags are to come from 802 (Authority 802), 804 (Authority 804)", "01632 960803"},
		"804": {"begins on " + tomorrow.String(), "01632 960804"},
		"805": {"", "01632 960805"}, // until tomorrow
		"899": {"not registered", ""},
	} {
		err := p.directory.AdmitUpload(code(c))
		if (err == nil) != (want.refused == "") || err != nil && !strings.Contains(err.Error(), want.refused) {
			t.Errorf("%s: %v, want %q", c, err, want.refused)
		}
		if got := p.directory.Authority(code(c)).EmergencyDutyPhone; got != want.phone {
			t.Errorf("%s: phone %s, want %s", c, got, want.phone)
		}
	}
}
