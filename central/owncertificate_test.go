package central

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/store"
	"github.com/safeguard-edge/safeguard/logging/loggingtest"
)

func TestEndOfTheIssuingAuthorityIsSaidInTime(t *testing.T) {
	for name, c := range map[string]struct {
		days int
		said bool
	}{
		"years left":  {3650, false},
		"months left": {100, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			ring, err := keys.Open(filepath.Join(dir, "ring"), keys.FileMaster(filepath.Join(dir, "master.key")))
			if err != nil {
				t.Fatal(err)
			}
			s, err := store.OpenSQLite(t.Context(), filepath.Join(dir, "central.db"), ring)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			centre, err := safeguard.ParseODSCode("CENTRE")
			if err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			ca, pair, err := identity.NewCA("Ashmere authority", now.Add(-time.Hour), now.AddDate(0, 0, c.days))
			if err != nil {
				t.Fatal(err)
			}
			issuer := store.Issuer{ID: "a1", State: store.IssuerIssuing, Chain: pair.Certificate, Root: pair.Certificate, Key: pair.Key, Made: now}
			if err := s.PutIssuer(t.Context(), issuer, audit.Who{Caller: "test"}); err != nil {
				t.Fatal(err)
			}
			leaf, err := ca.Issue(identity.Identity{Kind: identity.Centre, Code: centre, ID: "a1"}, []string{"127.0.0.1"}, now.Add(-time.Hour), now.AddDate(0, 0, 90))
			if err != nil {
				t.Fatal(err)
			}
			files := identity.Files{Certificate: filepath.Join(dir, "centre.pem"), Key: filepath.Join(dir, "centre-key.pem"), CA: filepath.Join(dir, "ca.pem")}
			for path, text := range map[string][]byte{files.Certificate: leaf.Certificate, files.Key: leaf.Key, files.CA: pair.Certificate} {
				if err := os.WriteFile(path, text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			entrance, err := identity.ServerTLS(files)
			if err != nil {
				t.Fatal(err)
			}
			var log loggingtest.Log
			own := ownCertificate{store: s, entrance: entrance, place: identity.Place{Files: files}, life: 90 * 24 * time.Hour, log: slog.New(slog.NewTextHandler(&log, nil))}
			if err := own.look(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(log.String(), "issuing authority ends soon"); got != c.said {
				t.Errorf("said %v, want %v: %s", got, c.said, &log)
			}
		})
	}
}
