package web

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/fleet"
	"github.com/safeguard-edge/safeguard/central/store"
)

// authoritiesContent is how the local authorities keep their flags up to date, and
// take over what they are told.
type authoritiesContent struct {
	At          time.Time
	Authorities []authorityRow
	Count       count
}

type authorityRow struct {
	fleet.Authority
	Age            time.Duration // of the last upload
	Rhythm         time.Duration // that uploads are apart usually, at most; 0 where it is not known
	Rows, Rejected int           // of the uploads of the last days
	Held           int           // uploads that wait for a person
	Waiting        safeguard.Queue
}

const (
	uploadsOver  = 30 * 24 * time.Hour // that shares are of
	rhythmOver   = 120 * 24 * time.Hour
	uploadsFresh = time.Minute
	rhythmOf     = 21 // uploads
)

func (s *Server) authoritiesPage(r *http.Request, now time.Time) (string, any, error) {
	seen, err := s.fleet.Look(r.Context(), now)
	if err != nil {
		return "", nil, err
	}
	uploads, err := s.uploads.look(r.Context(), s.Store, now)
	if err != nil {
		return "", nil, err
	}
	owing, err := s.Store.Owing(r.Context())
	if err != nil {
		return "", nil, err
	}
	c := authoritiesContent{At: seen.At}
	for _, a := range seen.Authorities {
		c.Count.add(a.Severity, a.Stage)
		row := authorityRow{Authority: a, Waiting: owing[a.Code]}
		if !a.Uploaded.IsZero() {
			row.Age = now.Sub(a.Uploaded)
		}
		own := uploads[a.Code]
		for _, k := range own {
			if k.State == store.Waits {
				row.Held++
			}
			if k.State == store.Applied && now.Sub(k.Received) < uploadsOver {
				row.Rows, row.Rejected = row.Rows+k.Rows, row.Rejected+k.Rows-k.Loaded
			}
		}
		row.Rhythm, _ = fleet.Rhythm(own[:min(len(own), rhythmOf)])
		c.Authorities = append(c.Authorities, row)
	}
	return "Local authorities", c, nil
}

// uploads are the authorities', read now and then: there are many, and few come
// in a minute.
type uploads struct {
	mu   sync.Mutex // guards the fields below
	read time.Time
	of   map[safeguard.ODSCode][]store.Kept // the latest first
}

func (u *uploads) look(ctx context.Context, from Store, now time.Time) (map[safeguard.ODSCode][]store.Kept, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if age := now.Sub(u.read); u.of != nil && age >= 0 && age < uploadsFresh {
		return u.of, nil
	}
	list, err := from.Uploads(ctx, store.UploadFilter{Since: now.Add(-rhythmOver)})
	if err != nil {
		return nil, err
	}
	of := map[safeguard.ODSCode][]store.Kept{}
	for _, k := range list {
		of[k.Authority] = append(of[k.Authority], k)
	}
	u.read, u.of = now, of
	return of, nil
}
