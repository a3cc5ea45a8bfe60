// Package survey reads a sample of a site's messages and says what its feed is
// like: who sends what, how patients, visits and places are named, what Safeguard
// would make of it, and which configuration would fit. It keeps counts and codes
// only, so its size does not grow with the sample, and no patient data leaves it.
package survey

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
	"github.com/safeguard-edge/safeguard/hl7adapter/explain/mask"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// Survey counts. Make one with New; it is not for several goroutines at once.
type Survey struct {
	Charset    string // instead of MSH-18; empty for none
	Processing string // instead of MSH-11; empty for none

	parser adt.Parser
	rules  safeguard.Rules

	messages, bytes       int64
	strays, long          int64
	refused               *tally
	versions, events      *tally
	senders, receivers    *tally
	processing            *tally
	charsets, encodings   *tally
	delimiters, lineEnds  *tally
	segments              *tally
	identifiers           *tally
	details               map[string]*identifier // by the row of identifiers
	statuses, born, sexes *tally
	classes, admissions   *tally
	specialties           *tally
	locations, wards      *tally
	facilities            *tally
	places                map[string]*place // by the row of locations
	visits                *tally
	decisions             *tally
	ruled                 map[string]string // purpose, by the row of decisions
	asked                 *tally
	doubts                *tally
	seen                  counts
}

// counts are what the notes are made of, of messages that begin or change an
// attendance.
type counts struct {
	attending, beginning         int64
	noNumber, noStatus, noVisit  int64
	noAdmit, noFacility          int64
	test, testNumber, mother     int64
	arriving, discharges, merges int64
	badCharset, unknownSet       int64
}

// New makes a survey of the messages of one site, read as it is configured.
func New(parser adt.Parser) *Survey {
	s := &Survey{parser: parser, rules: safeguard.DefaultRules(), details: map[string]*identifier{}, places: map[string]*place{}, ruled: map[string]string{}}
	for _, t := range []**tally{&s.refused, &s.versions, &s.events, &s.senders, &s.receivers, &s.processing, &s.charsets, &s.encodings,
		&s.delimiters, &s.lineEnds, &s.segments, &s.identifiers, &s.statuses, &s.born, &s.sexes, &s.classes, &s.admissions,
		&s.specialties, &s.locations, &s.wards, &s.facilities, &s.visits, &s.decisions, &s.asked, &s.doubts} {
		*t = newTally()
	}
	return s
}

// Messages tells how many were added.
func (s *Survey) Messages() int64 { return s.messages }

// Stray counts what belongs to no message.
func (s *Survey) Stray() { s.strays++ }

// Long counts a message that is longer than the survey reads.
func (s *Survey) Long() { s.long++ }

// Add reads one message.
func (s *Survey) Add(body []byte, received time.Time) {
	s.messages++
	s.bytes += int64(len(body))
	movement, err := s.parser.Parse(adt.Message{Body: body, Received: received, Charset: s.Charset, Processing: s.Processing})
	if err != nil {
		s.refused.add(anonymous(err.Error()))
	}
	m, headerErr := hl7.ParseHeader(body)
	if headerErr != nil {
		return
	}
	if s.Charset != "" {
		m = m.WithCharset(s.Charset)
	}
	k := mask.New(m, false)
	s.header(m, k, movement, err)
	for _, doubt := range movement.Doubts {
		s.doubts.add(anonymous(doubt))
	}
	if err == nil && movement.Kind != adt.Other {
		s.patient(m, k, movement)
		s.visit(m, k, movement)
	}
}

// header counts what a message says about itself.
func (s *Survey) header(m hl7.Message, k *mask.Mask, movement adt.Movement, err error) {
	h := m.Header()
	s.versions.add(safe(k, "MSH", 12, 1, h.Version.Value))
	s.senders.add(pair(k, "MSH", 3, h.Application, 4, h.Facility))
	s.receivers.add(pair(k, "MSH", 5, h.ReceivingApplication, 6, h.ReceivingFacility))
	s.processing.add(safe(k, "MSH", 11, 1, h.Processing.Value))
	event := safe(k, "MSH", 9, 1, h.Type.Value)
	if !h.Event.IsAbsent() {
		event += "^" + safe(k, "MSH", 9, 2, h.Event.Value)
	} else if movement.Trigger != "" {
		event += " with " + movement.Trigger + " in EVN-1"
	}
	treatment := movement.Kind.String()
	if err != nil {
		treatment = "refused"
	}
	s.events.add(event + sep + treatment)
	switch movement.Trigger {
	case "A10":
		s.seen.arriving++
	case "A03":
		s.seen.discharges++
	case "A18", "A30", "A34", "A36", "A39", "A40":
		s.seen.merges++
	}
	s.charset(m, k, h)
	d := m.Delimiters()
	s.delimiters.add(string([]byte{d.Field, d.Component, or(d.Repetition), or(d.Escape), or(d.Sub)}))
	s.lineEnds.add(lineEnd(m.Bytes()))
	for seg := range m.Segments() {
		s.segments.add(mask.SegmentName(seg))
	}
}

func or(c byte) byte {
	if c == 0 {
		return '-'
	}
	return c
}

func lineEnd(body []byte) string {
	i := bytes.IndexAny(body, "\r\n")
	switch {
	case i < 0:
		return "none"
	case body[i] == '\n':
		return "LF"
	case i+1 < len(body) && body[i+1] == '\n':
		return "CR LF"
	}
	return "CR"
}

// charset compares the character set that is declared with the bytes.
func (s *Survey) charset(m hl7.Message, k *mask.Mask, h hl7.Header) {
	declared := safe(k, "MSH", 18, 1, h.Charset.Value)
	encoding := "ASCII"
	for _, c := range m.Bytes() {
		if c >= utf8.RuneSelf {
			encoding = "UTF-8"
			if !utf8.Valid(m.Bytes()) {
				encoding = "one byte a character, such as Windows-1252"
			}
			break
		}
	}
	s.charsets.add(declared + sep + encoding)
	s.encodings.add(encoding)
	if name := h.Charset.Text(); name != "" && !hl7.KnownCharset(name) && s.Charset == "" {
		s.seen.unknownSet++
	}
	// A message that is valid UTF-8 and says that it is Windows-1252 would be
	// read as gibberish.
	if encoding == "UTF-8" && m.Charset() != "" {
		s.seen.badCharset++
	}
}

// patient counts how patients are named.
func (s *Survey) patient(m hl7.Message, k *mask.Mask, movement adt.Movement) {
	pid, ok := m.Segment("PID")
	if !ok {
		return
	}
	for _, n := range []int{2, 3, 4, 19} {
		for v := range pid.Field(n).Repetitions() {
			s.identifier(k, n, v)
		}
	}
	status := pid.Field(32)
	if status.IsAbsent() {
		s.statuses.add(none)
	}
	for v := range status.Repetitions() {
		s.statuses.add(safe(k, "PID", 32, 1, v.Component(1).Value))
	}
	s.born.add(dateForm(pid.Field(7)))
	s.sexes.add(safe(k, "PID", 8, 1, pid.Field(8).Value))
	p := movement.Attendance.Patient
	s.seen.attending++
	if p.Number.IsZero() {
		s.seen.noNumber++
	} else if p.NumberStatus == safeguard.StatusNotStated {
		s.seen.noStatus++
	}
	if p.Number.IsTest() {
		s.seen.testNumber++
	}
	if !pid.Field(21).IsAbsent() {
		s.seen.mother++
	}
	if movement.Attendance.Test {
		s.seen.test++
	}
}

// dateForm is how a date is written, without it.
func dateForm(f hl7.Field) string {
	text := f.Component(1).Text()
	switch {
	case f.IsNull():
		return "null"
	case text == "":
		return none
	}
	_, precision, err := hl7.ParseDate(text)
	switch {
	case err != nil:
		return "no date"
	case precision < hl7.Day:
		return "year or month only"
	case len(strings.TrimSpace(text)) > 10:
		return "with a time"
	}
	return "a day"
}

// visit counts how visits and places are named, and what is made of them.
func (s *Survey) visit(m hl7.Message, k *mask.Mask, movement adt.Movement) {
	pv1, ok := m.Segment("PV1")
	a := movement.Attendance
	if !ok || a.ID.IsZero() {
		return
	}
	class := safe(k, "PV1", 2, 1, pv1.Field(2).Value)
	s.classes.add(class)
	s.admissions.add(safe(k, "PV1", 4, 1, pv1.Field(4).Value))
	s.specialties.add(safe(k, "PV1", 10, 1, pv1.Field(10).Value))
	at := pv1.Field(3)
	location := safe(k, "PV1", 3, 1, at.Component(1).Value)
	s.wards.add(safe(k, "PV1", 3, 2, at.Component(2).Value))
	s.facilities.add(safe(k, "PV1", 3, 4, at.Component(4).Value))
	visit := none
	if v := pv1.Field(19); !v.IsAbsent() && !v.IsNull() {
		visit = "authority " + safe(k, "PV1", 19, 4, v.Component(4).Value)
	} else {
		s.seen.noVisit++
	}
	s.visits.add(visit)
	if pv1.Field(44).IsAbsent() {
		s.seen.noAdmit++
	}
	if at.Component(4).IsAbsent() {
		s.seen.noFacility++
	}
	s.decide(location, class, movement)
}

// decide counts what is made of the messages that begin an attendance.
func (s *Survey) decide(location, class string, movement adt.Movement) {
	a := movement.Attendance
	if row := s.locations.add(location); row != "" {
		p := s.places[row]
		if p == nil {
			p = &place{classes: newTally()}
			s.places[row] = p
		}
		p.classes.add(class)
	}
	if movement.Kind != adt.Register {
		return
	}
	s.seen.beginning++
	setting := "the feed's care setting"
	if a.Setting != safeguard.UnknownSetting {
		setting = a.Setting.String()
	}
	if row := s.decisions.add(a.Rule + sep + setting); row != "" {
		s.ruled[row] = a.Purpose.String()
	}
	eligible, why := s.rules.Eligible(a)
	says := "no: " + why
	if reason := a.Unasked(); eligible && reason != safeguard.NoReason {
		says = "not before it is mended: " + reason.String()
	} else if eligible {
		says = "yes: " + why
	}
	s.asked.add(says)
}

// anonymous leaves the numbers out of a reason, so that reasons of a kind are
// counted together.
func anonymous(reason string) string {
	if strings.HasPrefix(reason, "parse hl7: byte ") {
		_, reason, _ = strings.Cut(strings.TrimPrefix(reason, "parse hl7: byte "), ": ")
		return "not HL7: " + reason
	}
	if i := strings.Index(reason, "character "); i >= 0 && strings.HasSuffix(reason, "is not a digit, want ten digits") {
		return reason[:i] + "characters that are not digits, want ten digits"
	}
	return reason
}

// safe is the text of a component where it may be shown.
func safe(k *mask.Mask, segment string, n, c int, v hl7.Value) string {
	if v.IsAbsent() || v.IsNull() {
		return none
	}
	text, ok := k.Safe(segment, n, c, v)
	if !ok {
		return masked
	}
	return text
}

func pair(k *mask.Mask, segment string, n int, a hl7.Field, o int, b hl7.Field) string {
	return fmt.Sprintf("%s at %s", safe(k, segment, n, 1, a.Value), safe(k, segment, o, 1, b.Value))
}

const (
	none   = "(none)"
	masked = "(not shown)"
	others = "(others)"
	sep    = "\x1f" // between a row's value and its note
)
