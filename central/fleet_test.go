package central

import (
	"strings"
	"testing"

	"github.com/safeguard-edge/safeguard"
)

func TestRoutesThatCanNotWork(t *testing.T) {
	good := Route{Name: "on-call", Severity: safeguard.Critical, Codes: []string{"RX1", "906"}, Quiet: &QuietHours{From: "18:00", Until: "08:00"},
		Mail: &Mail{Server: "mail.example.nhs.uk:587", From: "a@example.nhs.uk", To: []string{"b@example.nhs.uk"}}}
	fleet := defaultFleet()
	fleet.Metrics, fleet.Routes = "127.0.0.1:9643", []Route{good}
	if err := fleet.validate(); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(f *Fleet, r *Route){
		`fleet.time_zone: "Mars"`:                 func(f *Fleet, _ *Route) { f.TimeZone = "Mars" },
		`fleet.metrics: "9643"`:                   func(f *Fleet, _ *Route) { f.Metrics = "9643" },
		`routes[0].name: ""`:                      func(_ *Fleet, r *Route) { r.Name = "" },
		`routes[0].name: "on call"`:               func(_ *Fleet, r *Route) { r.Name = "on call" },
		"routes[0].severity: missing":             func(_ *Fleet, r *Route) { r.Severity = safeguard.NoSeverity },
		"routes[0].webhook, mail: want one":       func(_ *Fleet, r *Route) { r.Webhook = &FleetWebhook{} },
		"routes[0].codes[1]":                      func(_ *Fleet, r *Route) { r.Codes = []string{"RX1", "no code"} },
		`routes[0].quiet.from: "six"`:             func(_ *Fleet, r *Route) { r.Quiet = &QuietHours{From: "six", Until: "08:00"} },
		`routes[0].quiet.until: ""`:               func(_ *Fleet, r *Route) { r.Quiet = &QuietHours{From: "18:00"} },
		`routes[0].mail.server: "mail"`:           func(_ *Fleet, r *Route) { r.Mail = &Mail{Server: "mail"} },
		"routes[0].mail.user, password_file":      func(_ *Fleet, r *Route) { m := *r.Mail; m.User = "x"; r.Mail = &m },
		`routes[0].mail.from: ""`:                 func(_ *Fleet, r *Route) { m := *r.Mail; m.From = ""; r.Mail = &m },
		`routes[1].name: "on-call", want one of `: func(f *Fleet, r *Route) { f.Routes = append(f.Routes, *r) },
	} {
		f, r := fleet, good
		spoil(&f, &r)
		if len(f.Routes) == 1 {
			f.Routes = []Route{r}
		}
		if err := f.validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %s", err, want)
		}
	}
	weekends := good
	weekends.Quiet = &QuietHours{Weekends: true}
	fleet.Routes = []Route{weekends}
	if err := fleet.validate(); err != nil {
		t.Errorf("weekends alone: %v", err)
	}
}
