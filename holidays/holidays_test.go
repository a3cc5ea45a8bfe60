package holidays_test

import (
	"slices"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/safeguard-edge/safeguard/holidays"
)

// The days are those that the Government has announced (gov.uk, UK bank holidays,
// England and Wales), with the weekend's days that others stand for.
func TestEngland(t *testing.T) {
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	for year, want := range map[int][]string{
		2025: {"01-01", "04-18", "04-21", "05-05", "05-26", "08-25", "12-25", "12-26"},
		2026: {"01-01", "04-03", "04-06", "05-04", "05-25", "08-31", "12-25", "12-26", "12-28"},
		2027: {"01-01", "03-26", "03-29", "05-03", "05-31", "08-30", "12-25", "12-26", "12-27", "12-28"},
	} {
		var got []string
		for day := time.Date(year, 1, 1, 23, 30, 0, 0, london); day.Year() == year; day = day.AddDate(0, 0, 1) {
			if holidays.England(day) {
				got = append(got, day.Format("01-02"))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d: got %v, want %v", year, got, want)
		}
	}
}
