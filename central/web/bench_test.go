package web_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/fleet"
	"github.com/safeguard-edge/safeguard/central/store"
)

// BenchmarkPages has pages of 1,500 sites fetched as a browser does, packed and
// over TLS. Its floor is a file that the same server has in memory. Overview is
// what the pages are drawn from, made anew; pages share one for seconds.
func BenchmarkPages(b *testing.B) {
	c := serve(b, nil)
	many(b, c, 1500)
	in := c.in("vera", store.Viewer)
	for _, page := range []struct{ name, path string }{
		{"bare/file", "/static/style.css"},
		{"safeguard/fleet", "/"},
		{"safeguard/fragment", "/?fragment"}, // of many who look: it is drawn once in two seconds
		{"safeguard/find", "/?q=region+7"},
		{"safeguard/site", "/sites/R0007/S0007"},
	} {
		b.Run(page.name, func(b *testing.B) {
			for b.Loop() {
				if got := c.get(in, page.path); got.Status != http.StatusOK {
					b.Fatalf("status %d", got.Status)
				}
			}
		})
	}
	b.Run("safeguard/overview", func(b *testing.B) {
		for b.Loop() {
			seen, err := fleet.Look(b.Context(), c.store, time.Now())
			if err != nil || len(seen.Sites) != 1500 || len(seen.Agents) != 1500 {
				b.Fatalf("%d sites, %d agents, %v", len(seen.Sites), len(seen.Agents), err)
			}
		}
	})
}

// many puts as many sites in, each with an agent, and something wrong at every
// tenth.
func many(b *testing.B, c *centre, n int) {
	now := time.Now()
	var sites []store.Site
	var beats []store.Beat
	var open []store.FleetWarning
	for i := range n {
		organisation := code(fmt.Sprintf("R%04d", i))
		sites = append(sites, store.Site{Organisation: organisation, Code: code(fmt.Sprintf("S%04d", i)), Name: fmt.Sprintf("Made-up Hospital %d", i), Region: fmt.Sprintf("Region %d", i%10), Settings: []safeguard.CareSetting{safeguard.EmergencyDepartment}, Stage: store.Live})
		beat := beatOf(organisation.String(), now, safeguard.Working)
		beat.Periods = beat.Periods[:12]
		beats = append(beats, beat)
		if i%10 == 0 {
			open = append(open, store.FleetWarning{Subject: store.Subject{Kind: store.AboutAgent, Name: beat.Agent.String()}, Warning: safeguard.Warning{Code: safeguard.DiskLow, Since: now.Add(-time.Hour), Detail: "2 GiB free"}})
		}
	}
	must(b, c.store.Import(b.Context(), sites, nil, audit.Who{Caller: "test"}))
	_, err := c.store.Beat(b.Context(), beats)
	must(b, err)
	must(b, c.store.ChangeWarnings(b.Context(), now, open, nil))
}
