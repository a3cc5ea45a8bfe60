package safeguard

import (
	"fmt"
	"time"
)

// Date is a day of the calendar, without time or zone. The zero value is none.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// ParseDate reads YYYY-MM-DD (ISO 8601). No error repeats the input, which may
// be a date of birth.
func ParseDate(s string) (Date, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return Date{}, fmt.Errorf("date: %d characters that are no day of the calendar, want YYYY-MM-DD", len(s))
	}
	return DateOf(t), nil
}

// DateOf is the day of t in its own zone.
func DateOf(t time.Time) Date {
	y, m, d := t.Date()
	return Date{y, m, d}
}

// IsZero tells whether there is no date.
func (d Date) IsZero() bool { return d == Date{} }

// String is YYYY-MM-DD, or nothing for no date.
func (d Date) String() string {
	if d.IsZero() {
		return ""
	}
	return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day)
}

// Before tells whether d is an earlier day than e.
func (d Date) Before(e Date) bool { return d.in(time.UTC).Before(e.in(time.UTC)) }

// Add gives the day that many years, months and days later. A day that the
// month does not have becomes the first of the next: who is born on 29 February
// turns 18 on 1 March.
func (d Date) Add(years, months, days int) Date {
	return DateOf(d.in(time.UTC).AddDate(years, months, days))
}

// YearsAt is the age in whole years on the given day; negative before birth.
func (d Date) YearsAt(on Date) int {
	years := on.Year - d.Year
	if on.Before(d.Add(years, 0, 0)) {
		years--
	}
	return years
}

// MarshalText writes YYYY-MM-DD.
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads YYYY-MM-DD, or nothing.
func (d *Date) UnmarshalText(text []byte) (err error) {
	if len(text) == 0 {
		*d = Date{}
		return nil
	}
	*d, err = ParseDate(string(text))
	return err
}

func (d Date) in(loc *time.Location) time.Time {
	return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, loc)
}
