package hl7

import (
	"errors"
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Skipf("no time zones here: %v", err)
	}
	utc := func(y int, mo time.Month, d, h, mi, s, ns int) time.Time {
		return time.Date(y, mo, d, h, mi, s, ns, time.UTC)
	}
	for _, c := range []struct {
		text      string
		want      time.Time
		precision Precision
		err       error
	}{
		{"2026", utc(2026, 1, 1, 0, 0, 0, 0), Year, nil},
		{"202606", utc(2026, 5, 31, 23, 0, 0, 0), Month, nil},
		{"20261123", utc(2026, 11, 23, 0, 0, 0, 0), Day, nil},
		{"2026112310", utc(2026, 11, 23, 10, 0, 0, 0), Hour, nil},
		{"202611231015", utc(2026, 11, 23, 10, 15, 0, 0), Minute, nil},
		{"20261123101512", utc(2026, 11, 23, 10, 15, 12, 0), Second, nil},
		{"20260623101512", utc(2026, 6, 23, 9, 15, 12, 0), Second, nil},
		{"20261123101512.5", utc(2026, 11, 23, 10, 15, 12, 500_000_000), Fraction, nil},
		{"20261123101512,1234567891", utc(2026, 11, 23, 10, 15, 12, 123_456_789), Fraction, nil},
		{"20261123101512.1234+0100", utc(2026, 11, 23, 9, 15, 12, 123_400_000), Fraction, nil},
		{"202611231015-0530", utc(2026, 11, 23, 15, 45, 0, 0), Minute, nil},
		{"20261123101512+0000", utc(2026, 11, 23, 10, 15, 12, 0), Second, nil},
		{"20261123+0100", utc(2026, 11, 22, 23, 0, 0, 0), Day, nil},
		{"2026-11-23", utc(2026, 11, 23, 0, 0, 0, 0), Day, nil},
		{"2026-11", utc(2026, 11, 1, 0, 0, 0, 0), Month, nil},
		{"2026-11-23T10:15:12Z", utc(2026, 11, 23, 10, 15, 12, 0), Second, nil},
		{"2026-11-23T10:15:12.25+01:00", utc(2026, 11, 23, 9, 15, 12, 250_000_000), Fraction, nil},
		{"2026-11-23 10:15", utc(2026, 11, 23, 10, 15, 0, 0), Minute, nil},
		{"20261123T1015", utc(2026, 11, 23, 10, 15, 0, 0), Minute, nil},
		{" 20261123 ", utc(2026, 11, 23, 0, 0, 0, 0), Day, nil},
		{"20261123240000", utc(2026, 11, 24, 0, 0, 0, 0), Second, nil},
		{"20261123235960", utc(2026, 11, 24, 0, 0, 0, 0), Second, nil},
		{"20240229", utc(2024, 2, 29, 0, 0, 0, 0), Day, nil},

		{"", time.Time{}, None, ErrNoTime},
		{"   ", time.Time{}, None, ErrNoTime},
		{"20260229", time.Time{}, None, ErrRange},
		{"20261323", time.Time{}, None, ErrRange},
		{"20260023", time.Time{}, None, ErrRange},
		{"20261100", time.Time{}, None, ErrRange},
		{"20261131", time.Time{}, None, ErrRange},
		{"196513121515", time.Time{}, None, ErrRange},
		{"2026112325", time.Time{}, None, ErrRange},
		{"202611231060", time.Time{}, None, ErrRange},
		{"20261123101561", time.Time{}, None, ErrRange},
		{"202611232401", time.Time{}, None, ErrRange},
		{"20261123101512+1500", time.Time{}, None, ErrRange},
		{"20261123101512+0160", time.Time{}, None, ErrRange},
		{"00010101", time.Time{}, None, ErrRange},
		{"99991231", time.Time{}, None, ErrRange},
		{"202", time.Time{}, None, ErrNotTime},
		{"20261", time.Time{}, None, ErrNotTime},
		{"2026112", time.Time{}, None, ErrNotTime},
		{"202611231", time.Time{}, None, ErrNotTime},
		{"23/11/2026", time.Time{}, None, ErrNotTime},
		{"20261123101512.", time.Time{}, None, ErrNotTime},
		{"20261123101512+1", time.Time{}, None, ErrNotTime},
		{"20261123101512+010", time.Time{}, None, ErrNotTime},
		{"20261123x", time.Time{}, None, ErrNotTime},
		{"yesterday", time.Time{}, None, ErrNotTime},
		{"2026112310151200000000000000000000000000000000000000", time.Time{}, None, ErrNotTime},
	} {
		t.Run(c.text, func(t *testing.T) {
			got, precision, err := ParseTime(c.text, london)
			if !errors.Is(err, c.err) || precision != c.precision || !got.Equal(c.want) {
				t.Errorf("got %v %v, %v; want %v %v, %v", got, precision, err, c.want, c.precision, c.err)
			}
			same, _, _ := ParseTime([]byte(c.text), london)
			if !same.Equal(got) {
				t.Errorf("from bytes: got %v, want %v", same, got)
			}
		})
	}
}

func TestParseDate(t *testing.T) {
	for _, c := range []struct {
		text, want string
		precision  Precision
		err        error
	}{
		{"20190412", "2019-04-12", Day, nil},
		{"201904121230", "2019-04-12", Day, nil},
		{"20190412 and more", "2019-04-12", Day, nil},
		{"2019041299", "2019-04-12", Day, nil},
		{"2019-04-12", "2019-04-12", Day, nil},
		{"201904", "2019-04-01", Month, nil},
		{"2019", "2019-01-01", Year, nil},
		{"196513121515", "", None, ErrRange},
		{"20190230", "", None, ErrRange},
		{"12/04/2019", "", None, ErrNotTime},
		{"", "", None, ErrNoTime},
	} {
		got, precision, err := ParseDate(c.text)
		if !errors.Is(err, c.err) || precision != c.precision || err == nil && got.Format(time.DateOnly) != c.want {
			t.Errorf("%q: got %v %v, %v; want %s %v, %v", c.text, got, precision, err, c.want, c.precision, c.err)
		}
	}
}

// FuzzTime: nothing panics; a time that is read has a precision, and written in
// full it is read as the same moment; its date is a date too.
func FuzzTime(f *testing.F) {
	for _, s := range []string{"2026", "20261123101512.1234+0100", "2026-11-23T10:15:12Z", "20240229", "196513121515", "+", "20261123T"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, precision, err := ParseTime(text, time.UTC)
		if (err == nil) != (precision != None) {
			t.Fatalf("got %v with precision %v, %v", got, precision, err)
		}
		if err != nil {
			return
		}
		if y := got.UTC().Year(); y < 1799 || y > 3000 {
			t.Fatalf("got the year %d", y)
		}
		full := got.Format("20060102150405.000000000-0700")
		again, _, err := ParseTime(full, time.UTC)
		if y := got.Year(); err != nil && y >= 1800 && y <= 2999 || err == nil && !again.Equal(got) {
			t.Fatalf("%q is %v, but %q is %v, %v", text, got, full, again, err)
		}
		if _, _, err := ParseDate(text); err != nil {
			t.Fatalf("a time without a date: %v", err)
		}
	})
}

func TestFormatTime(t *testing.T) {
	if got, want := FormatTime(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)), "20260102030405"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
