package hl7

import (
	"errors"
	"time"
)

// Precision is how much of a time was sent.
type Precision int

// The precisions. The zero value says that there was no time.
const (
	None Precision = iota
	Year
	Month
	Day
	Hour
	Minute
	Second
	Fraction
)

func (p Precision) String() string {
	return [...]string{"none", "year", "month", "day", "hour", "minute", "second", "fraction"}[p]
}

// Why a time is refused. The errors do not hold it.
var (
	ErrNoTime  = errors.New("parse hl7 time: nothing there")
	ErrNotTime = errors.New("parse hl7 time: not written as YYYYMMDDHHMMSS.SSSS+ZZZZ")
	ErrRange   = errors.New("parse hl7 time: no such date or time")
)

// ParseTime reads a TS, DTM, DT or year: YYYY[MM[DD[HH[MM[SS[.S...]]]]]][+ZZZZ],
// or the same with the punctuation of ISO 8601. A time without a zone is in
// loc. The hour 24 is the midnight that ends the day, where the rest is zero.
func ParseTime[T string | []byte](text T, loc *time.Location) (time.Time, Precision, error) {
	var room [longestTime]byte
	if len(text) > len(room) {
		return time.Time{}, None, ErrNotTime
	}
	rest := trimSpaces(append(room[:0], text...))
	d, err := readDate(rest)
	if err != nil {
		return time.Time{}, None, err
	}
	c, err := readClock(rest[d.length:], loc)
	if err != nil {
		return time.Time{}, None, err
	}
	switch {
	case c.precision == None:
		c.precision = d.precision
	case d.precision != Day:
		return time.Time{}, None, ErrNotTime
	}
	return time.Date(d.year, time.Month(d.month), d.day, c.hour, c.minute, c.second, c.nano, c.loc), c.precision, nil
}

// ParseDate reads the date part of a time, whatever follows it. Months and days
// that were not sent are 1; the precision says so. The result is midnight UTC.
func ParseDate[T string | []byte](text T) (time.Time, Precision, error) {
	var room [longestTime]byte
	d, err := readDate(trimSpaces(append(room[:0], text[:min(len(text), len(room))]...)))
	if err != nil {
		return time.Time{}, None, err
	}
	return time.Date(d.year, time.Month(d.month), d.day, 0, 0, 0, 0, time.UTC), d.precision, nil
}

// longestTime has room for 2026-04-02T10:20:30.123456789+01:00 and spaces.
const longestTime = 48

func trimSpaces(text []byte) []byte {
	for len(text) > 0 && text[len(text)-1] == ' ' {
		text = text[:len(text)-1]
	}
	for len(text) > 0 && text[0] == ' ' {
		text = text[1:]
	}
	return text
}

type date struct {
	year, month, day int
	precision        Precision
	length           int // of the text read
}

func readDate(text []byte) (date, error) {
	if len(text) == 0 {
		return date{}, ErrNoTime
	}
	n := digits(text)
	d := date{month: 1, day: 1, precision: Year, length: 4}
	switch {
	case n == 4 && len(text) > 6 && text[4] == '-' && digits(text[5:]) == 2:
		d.month, d.precision, d.length = pair(text[5:]), Month, 7
		if len(text) > 9 && text[7] == '-' && digits(text[8:]) == 2 {
			d.day, d.precision, d.length = pair(text[8:]), Day, 10
		}
	case n == 4:
	case n == 6:
		d.month, d.precision, d.length = pair(text[4:]), Month, 6
	case n >= 8:
		d.month, d.day, d.precision, d.length = pair(text[4:]), pair(text[6:]), Day, 8
	default:
		return date{}, ErrNotTime
	}
	d.year = 100*pair(text) + pair(text[2:])
	// A year far outside the lives of patients is a filler, such as 00010101
	// or 99991231.
	if d.year < 1800 || d.year > 2999 || d.month < 1 || d.month > 12 || d.day < 1 || d.day > daysIn(d.year, d.month) {
		return date{}, ErrRange
	}
	return d, nil
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

type clock struct {
	hour, minute, second, nano int
	loc                        *time.Location
	precision                  Precision
}

// readClock reads what follows the date: nothing, a time of day, a zone.
func readClock(text []byte, loc *time.Location) (clock, error) {
	c := clock{loc: loc}
	if len(text) > 2 && (text[0] == 'T' || text[0] == ' ') {
		text = text[1:]
	}
	for i, to := range []*int{&c.hour, &c.minute, &c.second} {
		if i > 0 && len(text) > 2 && text[0] == ':' {
			text = text[1:]
		}
		if digits(text) < 2 {
			break
		}
		*to, text = pair(text), text[2:]
		c.precision = Hour + Precision(i)
	}
	if c.hour > 24 || c.minute > 59 || c.second > 60 || c.hour == 24 && (c.minute > 0 || c.second > 0) {
		return clock{}, ErrRange
	}
	if n := fraction(text); n > 0 && c.precision == Second {
		c.nano, c.precision = nanoseconds(text[1:n]), Fraction
		text = text[n:]
	}
	err := c.readZone(text)
	return c, err
}

// readZone reads Z, +HH, +HHMM or +HH:MM.
func (c *clock) readZone(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	sign := 1
	switch {
	case len(text) == 1 && text[0] == 'Z':
		c.loc = time.UTC
		return nil
	case text[0] == '-':
		sign = -1
	case text[0] != '+':
		return ErrNotTime
	}
	text = text[1:]
	if digits(text) < 2 {
		return ErrNotTime
	}
	hours, minutes := pair(text), 0
	if text = text[2:]; len(text) > 0 && text[0] == ':' {
		text = text[1:]
	}
	if digits(text) == 2 {
		minutes, text = pair(text), text[2:]
	}
	if len(text) > 0 {
		return ErrNotTime
	}
	if hours > 14 || minutes > 59 {
		return ErrRange
	}
	c.loc = time.FixedZone("", sign*(hours*3600+minutes*60))
	if hours == 0 && minutes == 0 {
		c.loc = time.UTC
	}
	return nil
}

// digits counts the digits at the start of text.
func digits(text []byte) int {
	n := 0
	for n < len(text) && '0' <= text[n] && text[n] <= '9' {
		n++
	}
	return n
}

// pair returns the number that the first two digits of text write.
func pair(text []byte) int { return 10*int(text[0]-'0') + int(text[1]-'0') }

// fraction returns the length of a decimal point, or comma, and its digits.
func fraction(text []byte) int {
	if len(text) < 2 || text[0] != '.' && text[0] != ',' {
		return 0
	}
	if n := digits(text[1:]); n > 0 {
		return n + 1
	}
	return 0
}

func nanoseconds(text []byte) int {
	n := 0
	for i := range 9 {
		n *= 10
		if i < len(text) {
			n += int(text[i] - '0')
		}
	}
	return n
}

// FormatTime writes t to the second, as YYYYMMDDHHMMSS, in t's own zone.
func FormatTime(t time.Time) string { return t.Format("20060102150405") }
