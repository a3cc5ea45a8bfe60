package fhir

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/safeguard-edge/safeguard"
)

const (
	pageSize  = "200"
	mostPages = 500
)

// Alerts are those that the EPR shows by active Flags, whoever wrote them: it asks
// for the Flags with any identifier of the system that names alerts. The time limit
// is for each page.
func (s *Sink) Alerts(ctx context.Context) ([]safeguard.AlertID, error) {
	var all []safeguard.AlertID
	seen := map[safeguard.AlertID]bool{}
	query := url.Values{"identifier": {alertSystem + "|"}, "_count": {pageSize}}
	next := request{method: http.MethodGet, path: "Flag?" + query.Encode()}
	for range mostPages {
		got, err := s.page(ctx, next)
		if err != nil {
			return nil, fmt.Errorf("read Flags: %w", err)
		}
		for _, e := range got.Entry {
			r, err := parseResource(e.Resource)
			if err != nil {
				return nil, err
			}
			if r.kind != "Flag" || r.status != "active" {
				continue
			}
			for _, i := range r.identifiers {
				if id := safeguard.AlertID(i.Value); i.System == alertSystem && !seen[id] {
					seen[id] = true
					all = append(all, id)
				}
			}
		}
		if next.url = got.next(); next.url == "" {
			return all, nil
		}
	}
	return nil, errors.New("read Flags: the pages do not end")
}

func (s *Sink) page(ctx context.Context, r request) (bundle, error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	r.id = uuid("shown", rand.Text())
	return s.read(ctx, r)
}

func (b bundle) next() string {
	for _, l := range b.Link {
		if l.Relation == "next" {
			return l.URL
		}
	}
	return ""
}
