package central

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/server"
	"github.com/safeguard-edge/safeguard/central/store"
)

// followEvery is how soon a centre knows what an operator, or another centre on
// the same store, has changed in the directory.
const followEvery = 2 * time.Second

// participants keeps the server's directory as the store has it.
type participants struct {
	store     store.Store
	directory *server.Directory
	log       *slog.Logger

	known              store.Directory // as of version and day
	day                safeguard.Date
	sites, authorities int
}

// Run follows the store until ctx ends. While the store can not be read the
// directory stays as it was.
func (p *participants) Run(ctx context.Context) error {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			err := p.read(ctx, now)
			if err != nil && !failing && ctx.Err() == nil {
				p.log.Warn("directory not read, going on with the last", "err", err)
			}
			failing = err != nil
		}
	}
}

// read takes up what has changed, who is to be called from today on, and when
// each authority has last uploaded.
func (p *participants) read(ctx context.Context, now time.Time) error {
	uploaded, err := p.store.Uploaded(ctx)
	if err != nil {
		return err
	}
	p.directory.SetUploaded(uploaded)
	d, err := p.store.Directory(ctx, p.known.Version)
	if err != nil {
		return err
	}
	today := safeguard.DateOf(now)
	if d.Version == p.known.Version {
		if today == p.day {
			return nil
		}
		d = p.known
	}
	changed := p.known.Version != 0 && d.Version != p.known.Version
	p.known, p.day = d, today
	var authorities []server.Authority
	for _, a := range d.Authorities {
		contact, _ := d.Contact(a.Code, today)
		authority := server.Authority{Authority: contact, Stage: a.Stage}
		if !a.OpenOn(today) {
			authority.Closed = whyClosed(d, a, today)
		}
		authorities = append(authorities, authority)
	}
	p.directory.Set(d.Sites, authorities)
	p.sites, p.authorities = len(d.Sites), len(authorities)
	if changed {
		p.log.Info("directory changed", "version", d.Version, "sites", p.sites, "authorities", p.authorities)
	}
	return nil
}

// whyClosed says why an authority that is not there on the day may not upload,
// and who is to in its place.
func whyClosed(d store.Directory, a store.Authority, today safeguard.Date) string {
	if today.Before(a.Opened) {
		return fmt.Sprintf("local authority %s, %s, begins on %s", a.Code, a.Name, a.Opened)
	}
	reason := fmt.Sprintf("local authority %s, %s, is no more since %s", a.Code, a.Name, a.Closed)
	for i, code := range a.Successors {
		join := ", "
		if i == 0 {
			join = "; its flags are to come from "
		}
		reason += join + code.String()
		if next, ok := d.Authority(code); ok {
			reason += " (" + next.Name + ")"
		}
	}
	return reason
}
