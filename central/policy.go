package central

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/server"
	"github.com/safeguard-edge/safeguard/central/webhook"
	"github.com/safeguard-edge/safeguard/configs"
)

// Policy is what central operations decide for all sites and authorities. What a
// site may keep can be decided for each site too.
type Policy struct {
	TailMonths     int           `yaml:"tail_months"`      // that an ended CPP or LAC is shown
	TailDaysUnborn int           `yaml:"tail_days_unborn"` // that an ended UCPP is shown
	ChildUntil     int           `yaml:"child_until"`      // age in years at which CPP and LAC end by themselves
	Cache          CachePolicy   `yaml:"cache"`
	DataOverdue    time.Duration `yaml:"data_overdue"` // after a local authority's last upload
	Late           time.Duration `yaml:"late"`         // after the attendance; then its notification says that it is late
	OwedRate       int           `yaml:"owed_rate"`    // lookups per second that all agents may add while they pay what they owe since an outage
	RefreshRate    int           `yaml:"refresh_rate"` // lookups per second that all agents may add to keep what they have cached fresh
}

// CachePolicy is how long the answers that a site keeps count.
type CachePolicy struct {
	Off        bool          `yaml:"off"`         // no site may keep any
	HeldFresh  time.Duration `yaml:"held_fresh"`  // how long an answer that flags are held is as good as a new one
	HeldUsable time.Duration `yaml:"held_usable"` // and how long it is shown with its age
	NoneFresh  time.Duration `yaml:"none_fresh"`  // the same of an answer that none is held
	NoneUsable time.Duration `yaml:"none_usable"` // and how long it is shown with its age
}

// Webhook is where a local authority wants its notifications pushed.
type Webhook struct {
	Authority  string `yaml:"authority"`   // its code
	URL        string `yaml:"url"`         // https
	SecretFile string `yaml:"secret_file"` // a secret (whsec_…) a line; each signs
	CA         string `yaml:"ca"`          // PEM file of who vouches for the receiver; empty for whom the system trusts
}

func defaultPolicy() Policy {
	p := server.DefaultPolicy()
	return Policy{
		TailMonths: p.Tails.Months, TailDaysUnborn: p.Tails.Days, ChildUntil: safeguard.Adulthood,
		Cache: CachePolicy{
			HeldFresh: p.Cache.Held.Fresh, HeldUsable: p.Cache.Held.Usable,
			NoneFresh: p.Cache.None.Fresh, NoneUsable: p.Cache.None.Usable,
		},
		DataOverdue: p.DataAge, Late: p.Late, OwedRate: p.OwedRate, RefreshRate: p.RefreshRate,
	}
}

func (p Policy) validate() error {
	switch {
	case p.TailMonths < 0:
		return fmt.Errorf("policy.tail_months: %d, want 0 or more", p.TailMonths)
	case p.TailDaysUnborn < 0:
		return fmt.Errorf("policy.tail_days_unborn: %d, want 0 or more", p.TailDaysUnborn)
	case p.ChildUntil < safeguard.Adulthood || p.ChildUntil > 25:
		return fmt.Errorf("policy.child_until: %d, want an age of %d to 25 years", p.ChildUntil, safeguard.Adulthood)
	case p.DataOverdue <= 0:
		return fmt.Errorf("policy.data_overdue: %v, want more than 0, such as 168h", p.DataOverdue)
	case p.Late <= 0:
		return fmt.Errorf("policy.late: %v, want more than 0, such as 1h", p.Late)
	case p.OwedRate < 1:
		return fmt.Errorf("policy.owed_rate: %d, want lookups per second, 1 or more", p.OwedRate)
	case p.RefreshRate < 1:
		return fmt.Errorf("policy.refresh_rate: %d, want lookups per second, 1 or more", p.RefreshRate)
	}
	for _, a := range []struct {
		name string
		safeguard.Ages
	}{{"held", p.cache().Held}, {"none", p.cache().None}} {
		if err := checkAges(a.Ages); err != nil {
			return fmt.Errorf("policy.cache.%s_%w", a.name, err)
		}
	}
	return nil
}

// longestUsable is what agents take at most.
const longestUsable = 90 * 24 * time.Hour

func checkAges(a safeguard.Ages) error {
	switch {
	case a.Usable <= 0 || a.Usable > longestUsable:
		return fmt.Errorf("usable: %v, want more than 0 and at most %v", a.Usable, longestUsable)
	case a.Fresh <= 0 || a.Fresh > a.Usable:
		return fmt.Errorf("fresh: %v, want more than 0 and at most what is usable, %v", a.Fresh, a.Usable)
	}
	return nil
}

func (p Policy) cache() safeguard.CachePolicy {
	c := p.Cache
	return safeguard.CachePolicy{
		Off:  c.Off,
		Held: safeguard.Ages{Fresh: c.HeldFresh, Usable: c.HeldUsable},
		None: safeguard.Ages{Fresh: c.NoneFresh, Usable: c.NoneUsable},
	}
}

// serverPolicy is the policy as the server has it.
func (c Config) serverPolicy() server.Policy {
	p := server.DefaultPolicy()
	p.AgentVersion = c.Fleet.AgentVersion
	p.ProductionChecks, p.SnapshotShare = c.ProductionChecks, c.Uploads.SnapshotShare
	p.Tails = safeguard.Tails{Months: c.Policy.TailMonths, Days: c.Policy.TailDaysUnborn, Adult: c.Policy.ChildUntil}
	p.Cache, p.DataAge, p.Late = c.Policy.cache(), c.Policy.DataOverdue, c.Policy.Late
	p.OwedRate, p.RefreshRate = c.Policy.OwedRate, c.Policy.RefreshRate
	p.CertificateLife, p.RenewLapsed = c.Certificates.Life, c.Certificates.RenewLapsed
	return p
}

// targets are the webhooks, with their secrets.
func (c Config) targets() ([]webhook.Target, error) {
	var targets []webhook.Target
	seen := map[safeguard.ODSCode]bool{}
	for i, w := range c.Webhooks {
		t, err := w.target()
		if err == nil && seen[t.Authority] {
			err = fmt.Errorf("authority: %s has one already, want each once", t.Authority)
		}
		if err != nil {
			return nil, fmt.Errorf("webhooks[%d].%w", i, err)
		}
		seen[t.Authority] = true
		targets = append(targets, t)
	}
	return targets, nil
}

func (w Webhook) target() (t webhook.Target, err error) {
	t.URL = w.URL
	if t.Authority, err = safeguard.ParseODSCode(w.Authority); err != nil {
		return t, fmt.Errorf("authority: %w", err)
	}
	if err := withSecrets(&t, w.SecretFile, w.CA); err != nil {
		return t, err
	}
	return t, nil
}

// withSecrets gives a target its secrets and whom it trusts, and checks it.
func withSecrets(t *webhook.Target, secretFile, ca string) (err error) {
	if secretFile == "" {
		return errors.New("secret_file: missing, want a file that safeguard-central webhook secret made")
	}
	text, err := os.ReadFile(secretFile)
	if err != nil {
		return fmt.Errorf("secret_file: %w", err)
	}
	t.Secrets = strings.Fields(string(text))
	if t.CA, err = vouching(ca); err != nil {
		return err
	}
	return t.Check()
}

// beside takes the paths from the folder of the configuration.
func (w *Webhook) beside(path string) {
	w.SecretFile, w.CA = configs.Beside(path, w.SecretFile), configs.Beside(path, w.CA)
}

// TestWebhook sends a local authority's webhook a request that is about nobody.
func (o Operator) TestWebhook(ctx context.Context, authority safeguard.ODSCode, out io.Writer) error {
	targets, err := o.Config.targets()
	if err != nil {
		return err
	}
	for _, t := range targets {
		if t.Authority != authority {
			continue
		}
		if err := t.Test(ctx); err != nil {
			return fmt.Errorf("webhook of local authority %s: %w", authority, err)
		}
		_, err := fmt.Fprintf(out, "%s: the receiver has taken it\n", authority)
		return err
	}
	return fmt.Errorf("local authority %s has no webhook in the configuration", authority)
}
