// Package cdshooks answers an EPR that asks when a record is opened (CDS Hooks):
// with what the agent knows of the patient's open attendances. It never asks the
// centre, so that opening a record is no act that notifies anybody.
package cdshooks

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
)

// Source tells which alerts are in force about a person.
type Source interface {
	InForce(ctx context.Context, number safeguard.NHSNumber) ([]safeguard.Alert, error)
}

// Service is the CDS service. Make one with Listen.
type Service struct {
	config   Config
	wording  epr.Wording
	zone     *time.Location
	source   Source
	guests   *guests
	listener net.Listener
	log      *slog.Logger
	stats    struct{ asked, cards, observed, unidentified, refused, feedback atomic.Int64 }
}

// Stats is what was counted since the start.
type Stats struct {
	Asked        int64 `json:"asked"`
	Cards        int64 `json:"cards"`
	Observed     int64 `json:"observed"`     // cards that were not shown, as it observes
	Unidentified int64 `json:"unidentified"` // asked without a patient who has an NHS number
	Refused      int64 `json:"refused"`      // without a token that admits
	Feedback     int64 `json:"feedback"`
}

// Listen takes the address.
func Listen(c Config, w epr.Wording, zone *time.Location, source Source, log *slog.Logger) (*Service, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &Service{config: c, wording: w, zone: zone, source: source, log: log.With("service", "cds-hooks")}
	if live, why := c.Delivery.Live(); !live {
		s.log.Warn("service observes, and shows no cards", "why", why)
	}
	var err error
	if s.guests, err = newGuests(c.Clients); err != nil {
		return nil, fmt.Errorf("clients: %w", err)
	}
	if s.listener, err = net.Listen("tcp", c.Address); err != nil {
		return nil, err
	}
	if c.TLS != nil {
		secured, err := c.TLS.Listening(s.log)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("tls: %w", err), s.listener.Close())
		}
		s.listener = tls.NewListener(s.listener, secured)
	}
	return s, nil
}

// Addr is where it listens.
func (s *Service) Addr() string { return s.listener.Addr().String() }

// Close gives the address up without Run.
func (s *Service) Close() error { return s.listener.Close() }

// Stats tells what was counted so far.
func (s *Service) Stats() Stats {
	c := &s.stats
	return Stats{c.asked.Load(), c.cards.Load(), c.observed.Load(), c.unidentified.Load(), c.refused.Load(), c.feedback.Load()}
}

// State tells how the service is, as of a sink, and what was asked of it.
func (s *Service) State() (epr.State, Stats) {
	asked := s.Stats()
	state := epr.State{Name: "cds-hooks", Carrier: "cds_hooks", Delivered: int(asked.Cards), Observed: int(asked.Observed)}
	state.Live, state.Why = s.config.Delivery.Live()
	return state, asked
}

// Run answers until ctx ends, and ends what it is answering then.
func (s *Service) Run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /cds-services", s.discover)
	for _, hook := range hooks {
		mux.HandleFunc("POST /cds-services/"+serviceID(hook), s.ask)
		mux.HandleFunc("POST /cds-services/"+serviceID(hook)+"/feedback", s.feedback)
	}
	server := &http.Server{Handler: http.TimeoutHandler(mux, s.config.Timeout, ""), ReadTimeout: s.config.Timeout, WriteTimeout: 2 * s.config.Timeout,
		IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		end, cancel := context.WithTimeout(context.Background(), s.config.Timeout)
		defer cancel()
		_ = server.Shutdown(end)
	})
	err := server.Serve(s.listener)
	if !stop() {
		<-stopped // the answers in hand
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve CDS Hooks: %w", err)
	}
	return nil
}

// hooks are those that are answered.
var hooks = []string{"patient-view", "encounter-start"}

func serviceID(hook string) string { return "safeguard-" + hook }

func (s *Service) discover(w http.ResponseWriter, _ *http.Request) {
	type service struct {
		Hook        string            `json:"hook"`
		ID          string            `json:"id"`
		Title       string            `json:"title"`
		Description string            `json:"description"`
		Prefetch    map[string]string `json:"prefetch"`
	}
	var list []service
	for _, hook := range hooks {
		list = append(list, service{hook, serviceID(hook), "Safeguarding information", "Shows safeguarding information that is held about the patient",
			map[string]string{"patient": "Patient/{{context.patientId}}"}})
	}
	answer(w, map[string]any{"services": list})
}

// card is what is shown.
type card struct {
	UUID      string            `json:"uuid"`
	Summary   string            `json:"summary"`
	Detail    string            `json:"detail"`
	Indicator string            `json:"indicator"`
	Source    map[string]string `json:"source"`
}

const longestRequest = 1 << 20

// admitted reads the request of one who may ask.
func (s *Service) admitted(w http.ResponseWriter, r *http.Request, v any) bool {
	issuer, err := s.guests.admit(r, strings.TrimSuffix(s.config.PublicURL, "/")+r.URL.Path)
	if err != nil {
		s.stats.refused.Add(1)
		s.log.Warn("caller refused", "peer", r.RemoteAddr, "err", err)
		http.Error(w, "", http.StatusUnauthorized)
		return false
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, longestRequest)).Decode(v); err != nil {
		s.log.Warn("request not understood", "client", issuer)
		http.Error(w, "", http.StatusBadRequest)
		return false
	}
	return true
}

func (s *Service) ask(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Hook     string `json:"hook"`
		Prefetch struct {
			Patient struct {
				Identifier []struct {
					System string `json:"system"`
					Value  string `json:"value"`
				} `json:"identifier"`
				BirthDate string `json:"birthDate"`
			} `json:"patient"`
		} `json:"prefetch"`
	}
	if !s.admitted(w, r, &in) {
		return
	}
	if !strings.HasSuffix(r.URL.Path, "/"+serviceID(in.Hook)) {
		http.Error(w, "", http.StatusBadRequest)
		return
	}
	s.stats.asked.Add(1)
	var number safeguard.NHSNumber
	for _, id := range in.Prefetch.Patient.Identifier {
		if n, err := safeguard.ParseNHSNumber(id.Value); err == nil && id.System == s.config.NHSSystem {
			number = n
		}
	}
	if number.IsZero() {
		s.stats.unidentified.Add(1)
		answer(w, map[string]any{"cards": []card{}})
		return
	}
	alerts, err := s.source.InForce(r.Context(), number)
	if err != nil {
		s.log.Error("alerts in force not read", "err", err)
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	cards := s.cards(alerts, in.Prefetch.Patient.BirthDate)
	if live, _ := s.config.Delivery.Live(); live {
		s.stats.cards.Add(int64(len(cards)))
	} else {
		s.stats.observed.Add(int64(len(cards)))
		cards = []card{}
	}
	answer(w, map[string]any{"cards": cards})
}

// cards are what there is to show about the patient, each thing once.
func (s *Service) cards(alerts []safeguard.Alert, born string) []card {
	cards := []card{}
	seen := map[string]bool{}
	for _, a := range alerts {
		if !s.config.Delivery.Takes(a.Attendance) {
			continue
		}
		if known := a.Attendance.Patient.Born.Reveal().String(); known != "" && len(born) == len(known) && born != known {
			continue // the record that is open is somebody else's
		}
		n := s.wording.Notice(a, s.zone)
		if seen[n.Text()] {
			continue
		}
		seen[n.Text()] = true
		indicator := "warning"
		if a.Content.Kind == safeguard.NoneFound {
			indicator = "info"
		}
		var lines []string
		for _, l := range n.Lines {
			lines = append(lines, markdown.Replace(l.Text))
		}
		cards = append(cards, card{string(a.ID), n.Brief, strings.Join(lines, "\n\n"), indicator, map[string]string{"label": "Safeguard"}})
	}
	return cards
}

// markdown keeps names from being read as formatting.
var markdown = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", `\<`, ">", `\>`, "#", `\#`, "|", `\|`)

// feedback keeps what became of cards: in the log, with nothing about the patient.
func (s *Service) feedback(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Feedback []struct {
			Card           string `json:"card"`
			Outcome        string `json:"outcome"`
			OverrideReason struct {
				Reason struct {
					Code string `json:"code"`
				} `json:"reason"`
			} `json:"overrideReason"`
			At string `json:"outcomeTimestamp"`
		} `json:"feedback"`
	}
	if !s.admitted(w, r, &in) {
		return
	}
	for _, f := range in.Feedback {
		if _, err := safeguard.ParseAttendanceID(f.Card); err != nil || f.Outcome != "accepted" && f.Outcome != "overridden" {
			http.Error(w, "", http.StatusBadRequest)
			return
		}
	}
	for _, f := range in.Feedback {
		s.stats.feedback.Add(1)
		s.log.Info("feedback on a card", "card", f.Card, "outcome", f.Outcome)
	}
	answer(w, map[string]any{})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v)
}
