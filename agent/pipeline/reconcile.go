package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent/journal"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
)

// ReconcileRequest asks what each EPR is believed to show, and may have repaired
// what it should show.
type ReconcileRequest struct {
	Since      time.Time `json:"since,omitzero"`       // attendances that begun or changed since
	Sink       string    `json:"sink,omitempty"`       // that one only
	Attendance string    `json:"attendance,omitempty"` // that one only
	All        bool      `json:"all,omitempty"`        // also what was withdrawn, and is gone as it should be
	Apply      bool      `json:"apply,omitempty"`      // repair, as against saying what would be
	Again      bool      `json:"again,omitempty"`      // send again also what is believed to be shown, as after an EPR lost it
	Unknown    bool      `json:"unknown,omitempty"`    // withdraw also what the EPR shows of alerts that the journal does not know
	Reveal     bool      `json:"reveal,omitempty"`
}

// EPRRow is one alert and one sink.
type EPRRow struct {
	Sink       string    `json:"sink"`
	Attendance string    `json:"attendance,omitempty"` // none of an alert that the journal does not know
	Open       bool      `json:"open"`                 // the attendance is
	Alert      string    `json:"alert"`
	Version    int       `json:"version"`         // that the EPR was told last
	Shows      string    `json:"shows"`           // what we believe it shows
	Kind       string    `json:"kind,omitempty"`  // what that says
	Since      time.Time `json:"since,omitzero"`  // when the EPR said so
	Read       bool      `json:"read"`            // the EPR was asked, and says what follows
	Needs      string    `json:"needs,omitempty"` // what is not as it should be
	Done       string    `json:"done,omitempty"`
	Site       string    `json:"site,omitempty"`
	Location   string    `json:"location,omitempty"`
	Patient    *Patient  `json:"patient,omitempty"`
	Visit      string    `json:"visit,omitempty"`
}

// What an EPR is believed to show.
const (
	showsAlert     = "shown"
	showsWithdrawn = "withdrawn"
	showsNothing   = "nothing" // it never took any of it
)

// EPRSummary counts the rows.
type EPRSummary struct {
	Listed   int `json:"listed"`
	Shown    int `json:"shown"`
	Needs    int `json:"needs"`    // that are not as they should be
	Repaired int `json:"repaired"` // queued to be sent
}

// EPRResult is one line of an answer; one field is set.
type EPRResult struct {
	Row     *EPRRow     `json:"row,omitempty"`
	Summary *EPRSummary `json:"summary,omitempty"` // the last line
}

// liver is a sink that may only observe.
type liver interface{ Live() bool }

// Reader is a sink whose EPR may tell what it shows.
type Reader interface {
	Reads() bool
	// Compare says what differs from what the alert wants shown; nothing for none.
	Compare(ctx context.Context, a safeguard.Alert) (differs string, err error)
	// Alerts are those that the EPR shows, whoever put them there.
	Alerts(ctx context.Context) ([]safeguard.AlertID, error)
}

// Reconcile lists what each EPR is believed to show, compares where it can be
// read, and repairs it on request: by the same outbox as all alerts. It is written
// into the audit before anything is sent or changed. It is a handler of the
// control channel.
func (p *Pipeline) Reconcile(ctx context.Context, who string, args json.RawMessage, send func(any) error) error {
	var r ReconcileRequest
	d := json.NewDecoder(bytes.NewReader(args))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	if _, known := p.sink(r.Sink); r.Sink != "" && !known {
		return fmt.Errorf("sink %q is not configured", r.Sink)
	}
	var summary EPRSummary
	// Read before the journal, so that nothing is unknown that comes meanwhile.
	strangers := p.shownBySinks(ctx, r)
	for after := int64(0); ; {
		kept, err := p.Journal.Attendances(ctx, r.Since, time.Now().Add(time.Hour), after, page)
		if err != nil {
			return err
		}
		var beliefs []belief
		var ids []string
		for _, k := range kept {
			after = k.Row
			if r.Attendance != "" && k.Attendance.ID.String() != r.Attendance {
				continue
			}
			strangers.know(k)
			if b := r.chosen(append(believed(k), p.missing(k)...), strangers); len(b) > 0 {
				beliefs, ids = append(beliefs, b...), append(ids, fmt.Sprint("a", k.Row))
			}
		}
		if err := p.audited(ctx, who, r.what(), ids); err != nil {
			return err
		}
		for _, b := range beliefs {
			row, err := p.reconcile(ctx, r, b)
			if err != nil {
				return err
			}
			summary.count(row)
			if err := send(EPRResult{Row: &row}); err != nil {
				return err
			}
		}
		if len(kept) < page {
			break
		}
	}
	rows, err := p.unknown(ctx, who, r, strangers)
	for _, row := range rows {
		summary.count(row)
		err = errors.Join(err, send(EPRResult{Row: &row}))
	}
	if err != nil {
		return err
	}
	return send(EPRResult{Summary: &summary})
}

func (s *EPRSummary) count(r EPRRow) {
	s.Listed++
	if r.Shows == showsAlert {
		s.Shown++
	}
	if r.Needs != "" {
		s.Needs++
	}
	if r.Done == Queued || r.Done == Withdrawn {
		s.Repaired++
	}
}

func (r ReconcileRequest) what() string {
	w := []string{"epr reconcile"}
	for _, flag := range []struct {
		set  bool
		text string
	}{
		{r.All, "--all"}, {r.Apply, "--apply"}, {r.Again, "--again"}, {r.Unknown, "--unknown"}, {r.Reveal, "--reveal"}, {r.Sink != "", "--sink " + r.Sink},
		{r.Attendance != "", "--attendance " + r.Attendance}, {!r.Since.IsZero(), "--since " + r.Since.UTC().Format(time.RFC3339)},
	} {
		if flag.set {
			w = append(w, flag.text)
		}
	}
	return strings.Join(w, " ")
}

// belief is what became of one alert at one sink.
type belief struct {
	kept journal.Kept
	sink string
	last journal.Sent // decided last
	took journal.Sent // that the EPR took last; the zero value for none
	// missed is what a sink that is newer than the alert was never told; the zero
	// value where it was told something.
	missed safeguard.Alert
}

// missing finds the sinks that would be told now of what the others show.
func (p *Pipeline) missing(k journal.Kept) (all []belief) {
	alert, shown := k.Shown.InForce(k.Attendance, time.Now())
	if !shown || k.Attendance.State != safeguard.Open {
		return nil
	}
	for _, s := range p.Sinks {
		told := slices.ContainsFunc(k.Sent, func(sent journal.Sent) bool { return sent.Sink == s.Name() && sent.Alert == alert.ID })
		if !told && live(s) && takes(s, k.Attendance) {
			all = append(all, belief{kept: k, sink: s.Name(), missed: alert})
		}
	}
	return all
}

// believed finds each alert that each sink was to have.
func believed(k journal.Kept) (all []belief) {
	for _, s := range k.Sent {
		i := 0
		for ; i < len(all) && (all[i].sink != s.Sink || all[i].last.Alert != s.Alert); i++ {
		}
		if i == len(all) {
			all = append(all, belief{kept: k, sink: s.Sink})
		}
		all[i].last = s
		if s.State == journal.Settled && s.Code != epr.Observed {
			all[i].took = s
		}
	}
	return all
}

func (r ReconcileRequest) chosen(all []belief, shown strangers) (some []belief) {
	for _, b := range all {
		gone := b.missed.ID == "" && !shown.by(b.sink, b.last.Alert) && b.last.Action == safeguard.Withdraw && b.last.State == journal.Settled && (b.took.Item == 0 || b.took.Item == b.last.Item)
		if (r.Sink == "" || b.sink == r.Sink) && (r.All || r.Attendance != "" || !gone) {
			some = append(some, b)
		}
	}
	return some
}

func (p *Pipeline) sink(name string) (Sink, bool) {
	for _, s := range p.Sinks {
		if s.Name() == name {
			return s, true
		}
	}
	return nil, false
}

func live(s Sink) bool {
	l, some := s.(liver)
	return !some || l.Live()
}

func (p *Pipeline) reconcile(ctx context.Context, r ReconcileRequest, b belief) (EPRRow, error) {
	row := b.row(r.Reveal)
	needs, read, err := p.needs(ctx, b)
	if err != nil {
		return row, err
	}
	row.Needs, row.Read = needs.text, read
	repairs := needs.repairable || r.Again && needs.text == "" && b.last.State == journal.Settled && b.took.Item != 0
	switch {
	case !repairs:
		return row, nil
	case !r.Apply:
		row.Done = "would be sent again"
		return row, nil
	}
	row.Done, err = p.repair(ctx, b)
	return row, err
}

// row is what may be told.
func (b belief) row(reveals bool) EPRRow {
	a := b.kept.Attendance
	row := EPRRow{Sink: b.sink, Attendance: a.ID.String(), Open: a.State == safeguard.Open, Alert: string(b.last.Alert), Shows: showsNothing,
		Version: b.took.Version, Since: b.took.Settled, Site: a.Site.String(), Location: a.Location}
	if b.missed.ID != "" {
		row.Alert = string(b.missed.ID)
	}
	if b.took.Item != 0 {
		row.Shows, row.Kind = showsAlert, b.took.Kind.String()
		if b.took.Action == safeguard.Withdraw {
			row.Shows = showsWithdrawn
		}
	}
	if a.Sensitive && !reveals {
		row.Location = "hidden"
	}
	if reveals {
		row.Patient, row.Visit = reveal(a), a.Visit.Reveal().Value
	}
	return row
}

// need is what is not as it should be.
type need struct {
	text       string
	repairable bool // by sending the last version
}

func (p *Pipeline) needs(ctx context.Context, b belief) (n need, read bool, err error) {
	sink, configured := p.sink(b.sink)
	shows := b.took.Item != 0 && b.took.Action != safeguard.Withdraw
	open := b.kept.Attendance.State == safeguard.Open
	withdraws := b.last.Action == safeguard.Withdraw
	switch {
	case b.missed.ID != "":
		return need{"never told: the sink, or its filter, is newer than the alert", true}, false, nil
	case !configured && shows:
		return need{text: "its sink is not configured any more: have it taken away by hand"}, false, nil
	case !configured, b.last.State == journal.Waiting, b.last.State == journal.Ignored:
		return need{}, false, nil
	case b.last.State == journal.SetAside:
		return need{"set aside: " + b.last.Code, withdraws || open}, false, nil
	case b.last.State == journal.Late && shows:
		return need{text: "a later version came when the attendance was over"}, false, nil
	case b.last.State == journal.Late:
		return need{}, false, nil
	case observed(b.last) && shows:
		return need{"changed while the sink observed", live(sink) && (withdraws || open)}, false, nil
	case observed(b.last) && live(sink) && open && !withdraws:
		return need{"decided while the sink observed", true}, false, nil
	case observed(b.last):
		return need{}, false, nil
	}
	return p.compare(ctx, b, sink)
}

// compare asks the EPR, where that can be.
func (p *Pipeline) compare(ctx context.Context, b belief, sink Sink) (n need, read bool, err error) {
	r, some := sink.(Reader)
	if !some || !r.Reads() || !live(sink) {
		return need{}, false, nil
	}
	alert, known, err := p.told(ctx, b)
	if err != nil || !known {
		return need{}, false, err
	}
	differs, err := r.Compare(ctx, alert)
	switch {
	case ctx.Err() != nil:
		return need{}, false, ctx.Err()
	case err != nil:
		return need{text: "the EPR could not be read: " + err.Error()}, false, nil
	case differs == "":
		return need{}, true, nil
	}
	return need{differs, alert.Action == safeguard.Withdraw || b.kept.Attendance.State == safeguard.Open}, true, nil
}

// told is the last version: as it was sent, or made anew from what is known of the
// attendance, without the patient's name.
func (p *Pipeline) told(ctx context.Context, b belief) (a safeguard.Alert, known bool, err error) {
	a, kept, err := p.Journal.Alert(ctx, b.last)
	if err != nil && !errors.Is(err, journal.ErrBroken) || kept {
		return a, kept, err
	}
	return b.anew()
}

func (b belief) anew() (a safeguard.Alert, known bool, err error) {
	if a, known = b.kept.Shown.InForce(b.kept.Attendance, b.last.Queued); known && a.ID == b.last.Alert && a.Version == b.last.Version {
		return a, true, nil
	}
	if b.last.Action != safeguard.Withdraw || b.last.Alert == "" {
		return safeguard.Alert{}, false, nil
	}
	return safeguard.Alert{ID: b.last.Alert, Version: b.last.Version, Action: safeguard.Withdraw, Attendance: b.kept.Attendance, Decided: b.last.Queued}, true, nil
}

// What came of a repair.
const (
	Queued  = "queued" // to be sent
	changed = "not sent: it changed meanwhile"
)

// repair sends the last version again, by the outbox.
func (p *Pipeline) repair(ctx context.Context, b belief) (done string, err error) {
	id := b.kept.Attendance.ID
	if b.last.Action != safeguard.Withdraw && b.kept.Attendance.State != safeguard.Open {
		return "not sent: the attendance is over", nil
	}
	unlock, err := p.locks.lock(ctx, []safeguard.AttendanceID{id})
	if err != nil {
		return "", err
	}
	defer unlock()
	record, known, err := p.Journal.Record(ctx, id)
	if err != nil {
		return "", err
	}
	sent, err := p.Journal.Sent(ctx, id)
	if err != nil {
		return "", err
	}
	now := b.kept
	now.Record, now.Sent = record, sent
	if b.missed.ID != "" {
		return p.introduce(ctx, now, b)
	}
	same := false
	for _, n := range believed(now) {
		same = same || n.sink == b.sink && n.last == b.last
	}
	if !known || !same {
		return changed, nil
	}
	if b.last.Kept {
		skipped, err := p.Journal.SendAgain(ctx, b.last)
		if skipped != "" {
			return "not sent: " + skipped, err
		}
		return Queued, err
	}
	b.kept = now
	alert, known, err := b.anew()
	if err != nil {
		return "", err
	}
	sink, _ := p.sink(b.sink)
	if r, some := sink.(Reader); alert.Action == safeguard.Withdraw && !(some && r.Reads()) {
		known = false // what it has to name is destroyed
	}
	if !known {
		return "not sent, as its message has had its time and is destroyed: have it put right by hand", nil
	}
	err = p.Journal.SendAnew(ctx, record, journal.Addressed{Sink: b.sink, Alert: alert})
	if errors.Is(err, journal.ErrConflict) {
		return changed, nil
	}
	return Queued, err
}

// introduce sends a newer sink what the others were told, as a first version to it,
// and has it told of all that follows.
func (p *Pipeline) introduce(ctx context.Context, now journal.Kept, b belief) (done string, err error) {
	same := false
	for _, n := range p.missing(now) {
		same = same || n.sink == b.sink && n.missed.ID == b.missed.ID
	}
	if !same {
		return changed, nil
	}
	alert, _ := now.Shown.InForce(now.Attendance, time.Now())
	for _, s := range now.Sent { // as another sink was told, where that is kept: with the patient's name
		if s.Alert != alert.ID || s.Version != alert.Version || !s.Kept {
			continue
		}
		as, kept, err := p.Journal.Alert(ctx, s)
		if err != nil && !errors.Is(err, journal.ErrBroken) {
			return "", err
		}
		if err == nil && kept {
			alert = as
		}
	}
	alert.Action, alert.Gone = safeguard.Raise, safeguard.Told{}
	record := now.Record
	if !slices.Contains(record.Sinks, b.sink) {
		record.Sinks = append(slices.Clip(record.Sinks), b.sink)
		err = p.Journal.Ahead(ctx, &record)
	}
	if err == nil {
		err = p.Journal.SendAnew(ctx, record, journal.Addressed{Sink: b.sink, Alert: alert})
	}
	if errors.Is(err, journal.ErrConflict) {
		return changed, nil
	}
	return Queued, err
}

// catchUp sends what was decided while a sink observed that is live now: for
// attendances that are still open it is not in the EPR yet.
func (p *Pipeline) catchUp(ctx context.Context) error {
	for {
		if err := p.insist(ctx, func() error { return p.sendObserved(ctx) }); err != nil {
			return err
		}
		select {
		case <-p.Released:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *Pipeline) sendObserved(ctx context.Context) error {
	if some, err := p.Journal.WasCoded(ctx, epr.Observed); err != nil || !some {
		return err
	}
	for after := int64(0); ; {
		kept, err := p.Journal.Attendances(ctx, time.Time{}, time.Now().Add(time.Hour), after, page)
		if err != nil {
			return err
		}
		for _, k := range kept {
			after = k.Row
			for _, b := range believed(k) {
				if sink, configured := p.sink(b.sink); !configured || !live(sink) || !observed(b.last) {
					continue
				}
				needs, _, err := p.needs(ctx, b)
				if err != nil {
					return err
				}
				if !needs.repairable {
					continue
				}
				done, err := p.repair(ctx, b)
				if err != nil {
					return err
				}
				p.Log.Info("alert of the time when the sink observed", "sink", b.sink, "outcome", done)
			}
		}
		if len(kept) < page {
			return nil
		}
	}
}
