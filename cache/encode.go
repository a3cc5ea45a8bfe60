package cache

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/safeguard-edge/safeguard"
)

// kept is what is stored about one NHS number.
type kept struct {
	answer   safeguard.Answer
	attended time.Time       // begin of the last attendance that asked
	born     []byte          // token of the date of birth that the centre confirmed; may be none
	query    safeguard.Query // how to ask again: whom, for which attendance and place; may be none
	outdated bool            // the centre has said that it is not so any more
}

// The stored encoding is of its own, so that a change of the domain does not
// change quietly what is on disk. Of a person it has the NHS number and the date of
// birth only, without which the answer could not be asked for again before it is
// too old; no name, and no hospital number.
type (
	storedAnswer struct {
		Format   int          `json:"v"`
		Status   string       `json:"s"` // held or none
		AsOf     int64        `json:"t"` // nanoseconds of Unix time
		Attended int64        `json:"a"` // seconds of Unix time
		Born     []byte       `json:"b,omitempty"`
		Flags    []storedFlag `json:"f,omitempty"`
		Query    *storedQuery `json:"q,omitempty"`
		Outdated bool         `json:"x,omitempty"`
	}
	storedQuery struct {
		Number     string           `json:"n"`
		Born       string           `json:"b,omitempty"` // YYYY-MM-DD
		Author     safeguard.Author `json:"a"`
		Attendance string           `json:"i"`
		At         int64            `json:"t"` // milliseconds of Unix time
		Sensitive  bool             `json:"s,omitempty"`
	}
	storedFlag struct {
		Plan      string `json:"p"` // CPP, LAC or UCPP
		Start     string `json:"s"` // YYYY-MM-DD, or empty
		End       string `json:"e,omitempty"`
		Code      string `json:"c"` // ODS code of the authority
		Name      string `json:"n"`
		Emergency string `json:"d,omitempty"` // phone of its emergency duty team
		Office    string `json:"o,omitempty"` // phone in office hours
	}
)

const (
	storedFormat = 1
	storedHeld   = "held"
	storedNone   = "none"
)

// errUnreadable says that what is stored is not what this program stores, as
// after a newer one ran here.
var errUnreadable = errors.New("stored answer not readable")

var errNotKept = errors.New("want an answer of the centre, held with flags or none held without, and its time")

// encode refuses what decode would not give back the same.
func (k kept) encode() ([]byte, error) {
	a := k.answer
	s := storedAnswer{Format: storedFormat, AsOf: a.AsOf.UnixNano(), Attended: k.attended.Unix(), Born: k.born, Query: storeQuery(k.query), Outdated: k.outdated}
	switch {
	case a.Source != safeguard.FromCentre || a.Reason != safeguard.NoReason || a.AsOf.IsZero():
		return nil, errNotKept
	case a.Status == safeguard.Held && len(a.Flags) > 0:
		s.Status = storedHeld
	case a.Status == safeguard.NoneHeld && len(a.Flags) == 0:
		s.Status = storedNone
	default:
		return nil, errNotKept
	}
	for _, f := range a.Flags {
		s.Flags = append(s.Flags, storedFlag{
			Plan: f.Plan.String(), Start: f.Start.String(), End: f.End.String(),
			Code: f.Authority.Code.String(), Name: f.Authority.Name,
			Emergency: f.Authority.EmergencyDutyPhone, Office: f.Authority.OfficeHoursPhone,
		})
	}
	body, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	back, err := decode(body)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(back.answer.Flags, a.Flags) || !back.answer.AsOf.Equal(a.AsOf) {
		return nil, errors.New("answer does not encode: a date, code or text of a flag is not what it should be")
	}
	return body, nil
}

func decode(body []byte) (kept, error) {
	var s storedAnswer
	if err := json.Unmarshal(body, &s); err != nil {
		return kept{}, errUnreadable
	}
	if s.Format != storedFormat {
		return kept{}, fmt.Errorf("%w: format %d, want %d", errUnreadable, s.Format, storedFormat)
	}
	k := kept{
		answer:   safeguard.Answer{AsOf: time.Unix(0, s.AsOf).UTC(), Source: safeguard.FromCache},
		attended: time.Unix(s.Attended, 0).UTC(),
		born:     s.Born,
		outdated: s.Outdated,
	}
	if s.Query != nil {
		var err error
		if k.query, err = s.Query.decode(); err != nil {
			return kept{}, fmt.Errorf("%w: how to ask again", errUnreadable)
		}
	}
	switch {
	case s.Status == storedHeld && len(s.Flags) > 0:
		k.answer.Status = safeguard.Held
	case s.Status == storedNone && len(s.Flags) == 0:
		k.answer.Status = safeguard.NoneHeld
	default:
		return kept{}, fmt.Errorf("%w: neither held with flags nor none held without", errUnreadable)
	}
	for _, f := range s.Flags {
		flag, err := f.decode()
		if err != nil {
			return kept{}, fmt.Errorf("%w: %w", errUnreadable, err)
		}
		k.answer.Flags = append(k.answer.Flags, flag)
	}
	return k, nil
}

// storeQuery keeps what an attendance asked; a query without one can not be
// asked again.
func storeQuery(q safeguard.Query) *storedQuery {
	if q.Attendance.IsZero() {
		return nil
	}
	return &storedQuery{
		Number: q.Number.Reveal(), Born: q.Born.Reveal().String(), Author: q.Author,
		Attendance: q.Attendance.String(), At: q.At.UnixMilli(), Sensitive: q.Sensitive,
	}
}

func (s storedQuery) decode() (q safeguard.Query, err error) {
	q = safeguard.Query{Author: s.Author, Purpose: safeguard.Refresh, At: time.UnixMilli(s.At).UTC(), Sensitive: s.Sensitive}
	if q.Number, err = safeguard.ParseNHSNumber(s.Number); err != nil {
		return safeguard.Query{}, err
	}
	if q.Attendance, err = safeguard.ParseAttendanceID(s.Attendance); err != nil {
		return safeguard.Query{}, err
	}
	var born safeguard.Date
	if err := born.UnmarshalText([]byte(s.Born)); err != nil {
		return safeguard.Query{}, err
	}
	if !born.IsZero() {
		q.Born = safeguard.Hide(born)
	}
	return q, nil
}

func (s storedFlag) decode() (f safeguard.Flag, err error) {
	f.Authority = safeguard.Authority{Name: s.Name, EmergencyDutyPhone: s.Emergency, OfficeHoursPhone: s.Office}
	if err := f.Plan.UnmarshalText([]byte(s.Plan)); err != nil {
		return safeguard.Flag{}, err
	}
	if err := f.Start.UnmarshalText([]byte(s.Start)); err != nil {
		return safeguard.Flag{}, err
	}
	if err := f.End.UnmarshalText([]byte(s.End)); err != nil {
		return safeguard.Flag{}, err
	}
	return f, f.Authority.Code.UnmarshalText([]byte(s.Code))
}
