package epr_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
)

func TestDefaultWordingIsValid(t *testing.T) {
	if err := epr.DefaultWording().Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestWrongWordingIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*epr.Wording)
		want   string
	}{
		"empty":           {func(w *epr.Wording) { w.Headline = " " }, "headline: empty"},
		"no phone":        {func(w *epr.Wording) { w.Active = "{plan}{mothers} {authority}{office_hours}" }, "active: {emergency_phone} is missing"},
		"no time":         {func(w *epr.Wording) { w.FromCentre = "As held." }, "from_centre: {as_of} is missing"},
		"unknown fact":    {func(w *epr.Wording) { w.Ended += "{category}" }, "ended: {category}: want one of"},
		"fact in a title": {func(w *epr.Wording) { w.Headline = "{plan}" }, "headline: {plan}: want plain words"},
		"brace":           {func(w *epr.Wording) { w.NotCompleted = "{reason" }, "not_completed: a { without"},
		"no name":         {func(w *epr.Wording) { w.Plans["LAC"] = "" }, "plans: no name for LAC"},
		"no reason":       {func(w *epr.Wording) { w.Reasons["no-nhs-number"] = "" }, "reasons: nothing said for no-nhs-number"},
	} {
		w := epr.DefaultWording()
		c.change(&w)
		if err := w.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want one that says %s", name, err, c.want)
		}
	}
}

// TestNoticeSaysWhatTheClinicianNeeds checks the rules of what is read.
func TestNoticeSaysWhatTheClinicianNeeds(t *testing.T) {
	w := epr.DefaultWording()
	for name, a := range cases(t) {
		n := w.Notice(a, time.UTC)
		text := n.Text()
		if count := utf8.RuneCountInString(n.Brief); count == 0 || count >= 140 {
			t.Errorf("%s: the brief line has %d characters, want 1 to 139", name, count)
		}
		for _, f := range a.Content.Flags {
			for _, fact := range []string{f.Authority.Name, f.Authority.EmergencyDutyPhone, f.Authority.OfficeHoursPhone, f.Plan.Title()} {
				if !strings.Contains(text, fact) {
					t.Errorf("%s: lacks %q: %s", name, fact, text)
				}
			}
		}
		if a.Content.Kind == safeguard.CheckNotCompleted && !strings.Contains(text, "does not mean that there is no plan") {
			t.Errorf("%s: may read as none held: %s", name, text)
		}
		if a.Content.Kind == safeguard.NoneFound && !strings.Contains(text, "does not rule out concern") {
			t.Errorf("%s: may read as no concern: %s", name, text)
		}
		// A list may be seen by who came with the child.
		for _, f := range a.Content.Flags {
			if strings.Contains(n.Headline, f.Plan.Title()) || strings.Contains(n.Headline, f.Authority.Name) {
				t.Errorf("%s: the headline says what is held: %s", name, n.Headline)
			}
		}
		p := a.Attendance.Patient
		for _, private := range []string{p.Number.Reveal(), p.Family.Reveal(), p.Given.Reveal()} {
			if private != "" && strings.Contains(n.Headline+text, private) {
				t.Errorf("%s: repeats who it is about", name)
			}
		}
	}
}

func TestManyPlansFitTheBriefLine(t *testing.T) {
	a := alert()
	for range 5 {
		a.Content.Flags = append(a.Content.Flags, a.Content.Flags[0])
	}
	n := epr.DefaultWording().Notice(a, nil)
	if got := utf8.RuneCountInString(n.Brief); got > 139 || !strings.HasSuffix(n.Brief, "…") {
		t.Errorf("%d characters, want 139 at most, and a sign that there is more: %s", got, n.Brief)
	}
	if len(n.Plans()) != 6 {
		t.Errorf("%d plans in full, want 6", len(n.Plans()))
	}
}
