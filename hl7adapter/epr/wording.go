package epr

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/safeguard-edge/safeguard"
)

// Wording is what a clinician reads, in sentences with names in braces for the
// facts. A site may change each; the defaults were written to be read in seconds,
// and say what is known, whom to call and what is not known. None reads as a
// diagnosis, and none says that there is no reason for concern.
type Wording struct {
	// Headlines stand in lists, which a parent may see over a shoulder: by
	// default they do not say what is held.
	Headline             string `yaml:"headline"`
	HeadlineNotCompleted string `yaml:"headline_not_completed"` // of a check that was not completed
	HeadlineNoneHeld     string `yaml:"headline_none_held"`     // where none is held
	HeadlineWithdrawn    string `yaml:"headline_withdrawn"`     // of what is withdrawn

	Active       string            `yaml:"active"`        // a plan that runs
	Ended        string            `yaml:"ended"`         // a plan that has ended and is still shown
	Mothers      string            `yaml:"mothers"`       // {mothers}, of an infant's plan that is under its mother's number
	OfficeHours  string            `yaml:"office_hours"`  // {office_hours}, where the authority gave a number
	Plans        map[string]string `yaml:"plans"`         // {plan}, by CPP, LAC, UCPP
	FromCentre   string            `yaml:"from_centre"`   // as of when, as the centre said
	FromCache    string            `yaml:"from_cache"`    // the same, as kept here
	Unverified   string            `yaml:"unverified"`    // added where the hospital does not vouch for the number
	NotCompleted string            `yaml:"not_completed"` // the check was not completed
	Reasons      map[string]string `yaml:"reasons"`       // {reason}, by the reason's word
	NoneHeld     string            `yaml:"none_held"`     // only where rules.say_none asks for it

	Withdrawn             string `yaml:"withdrawn"`               // before what is withdrawn
	NotCompletedWithdrawn string `yaml:"not_completed_withdrawn"` // of a check that needs no answer any more
	NoneHeldWithdrawn     string `yaml:"none_held_withdrawn"`     // of an answer that none is held
	Test                  string `yaml:"test"`                    // before everything in a test alert

	Brief string `yaml:"brief"` // one plan in short; where there is one line for all
}

// DefaultWording is the reviewed one.
func DefaultWording() Wording {
	return Wording{
		Headline:             "Safeguarding information: open",
		HeadlineNotCompleted: "Safeguarding check: not completed",
		HeadlineNoneHeld:     "Safeguarding check: completed",
		HeadlineWithdrawn:    "Safeguarding information: withdrawn",
		Active:               "{plan}{mothers}, active since {start}. {authority}. Emergency duty team: {emergency_phone}.{office_hours}",
		Ended:                "{plan}{mothers}, ended {end}, started {start}. {authority}. Emergency duty team: {emergency_phone}.{office_hours}",
		Mothers:              " (held under the mother's NHS number)",
		OfficeHours:          " Office hours: {office_phone}.",
		Plans: map[string]string{
			"CPP":  safeguard.ChildProtection.Title(),
			"LAC":  safeguard.LookedAfter.Title(),
			"UCPP": safeguard.UnbornChild.Title(),
		},
		FromCentre: "As held by the central service on {as_of}.",
		FromCache:  "The central service can not be reached now. This is its answer of {as_of} ({age} ago), kept at this hospital. It may have changed; it will be checked again.",
		Unverified: " The NHS number is not confirmed as verified: check that this is the right person.",
		NotCompleted: "SAFEGUARDING CHECK NOT COMPLETED: {reason}, follow your local procedure and ask social care. " +
			"This does not mean that there is no plan.",
		Reasons: map[string]string{
			"centre-unreachable":     "the central service can not be reached; it is asked again until it answers. Until then",
			"centre-refused":         "the central service refused the question; tell the IT service desk. Until then",
			"no-nhs-number":          "there is no valid NHS number. Trace it and enter it; the check then runs by itself. Until then",
			"number-in-conflict":     "the NHS number is not settled. Resolve it; the check then runs by itself. Until then",
			"identity-not-confirmed": "the NHS number and date of birth do not confirm each other. Check both; the check then runs by itself. Until then",
		},
		NoneHeld:              "Safeguarding information checked on {as_of}: none held. This does not rule out concern.",
		Withdrawn:             "WITHDRAWN. ",
		NotCompletedWithdrawn: "WITHDRAWN. The safeguarding check no longer waits for an answer.",
		NoneHeldWithdrawn:     "WITHDRAWN. The earlier safeguarding check no longer stands.",
		Test:                  "TEST ALERT, about nobody: take no action. ",
		Brief:                 "{plan}: {authority}, emergency duty {emergency_phone}",
	}
}

// Completed has the default names and reasons where a site gave some of them only.
func (w Wording) Completed() Wording {
	d := DefaultWording()
	maps.Copy(d.Plans, w.Plans)
	maps.Copy(d.Reasons, w.Reasons)
	w.Plans, w.Reasons = d.Plans, d.Reasons
	return w
}

// facts are the names that each sentence may have, and those that it must.
var facts = struct{ plan, office, answer, reason, none []string }{
	plan:   []string{"plan", "mothers", "start", "end", "authority", "emergency_phone", "office_hours"},
	office: []string{"office_phone"},
	answer: []string{"as_of", "age"},
	reason: []string{"reason"},
}

// Validate names the first sentence that is wrong, and what it lacks.
func (w Wording) Validate() error {
	for _, s := range []struct {
		key, text string
		may, must []string
	}{
		{"headline", w.Headline, facts.none, nil},
		{"headline_not_completed", w.HeadlineNotCompleted, facts.none, nil},
		{"headline_none_held", w.HeadlineNoneHeld, facts.none, nil},
		{"headline_withdrawn", w.HeadlineWithdrawn, facts.none, nil},
		{"active", w.Active, facts.plan, []string{"plan", "mothers", "authority", "emergency_phone", "office_hours"}},
		{"ended", w.Ended, facts.plan, []string{"plan", "mothers", "end", "authority", "emergency_phone", "office_hours"}},
		{"mothers", w.Mothers, facts.none, nil},
		{"office_hours", w.OfficeHours, facts.office, facts.office},
		{"from_centre", w.FromCentre, facts.answer, []string{"as_of"}},
		{"from_cache", w.FromCache, facts.answer, []string{"as_of"}},
		{"unverified", w.Unverified, facts.none, nil},
		{"not_completed", w.NotCompleted, facts.reason, facts.reason},
		{"none_held", w.NoneHeld, facts.answer, []string{"as_of"}},
		{"withdrawn", w.Withdrawn, facts.none, nil},
		{"not_completed_withdrawn", w.NotCompletedWithdrawn, facts.none, nil},
		{"none_held_withdrawn", w.NoneHeldWithdrawn, facts.none, nil},
		{"test", w.Test, facts.none, nil},
		{"brief", w.Brief, facts.plan, []string{"plan"}},
	} {
		if err := checkSentence(s.text, s.may, s.must); err != nil {
			return fmt.Errorf("%s: %w", s.key, err)
		}
	}
	for _, p := range []safeguard.Plan{safeguard.ChildProtection, safeguard.LookedAfter, safeguard.UnbornChild} {
		if w.Plans[p.String()] == "" {
			return fmt.Errorf("plans: no name for %s", p)
		}
	}
	for r := safeguard.CentreUnreachable; r <= safeguard.IdentityNotConfirmed; r++ {
		if w.Reasons[r.String()] == "" {
			return fmt.Errorf("reasons: nothing said for %s", r)
		}
	}
	return nil
}

func checkSentence(text string, may, must []string) error {
	if strings.TrimSpace(text) == "" {
		return errors.New("empty, want a sentence")
	}
	pieces, err := parsePieces(text)
	if err != nil {
		return err
	}
	found := map[string]bool{}
	for _, p := range pieces {
		if p.name != "" && !slices.Contains(may, p.name) {
			if len(may) == 0 {
				return fmt.Errorf("{%s}: want plain words, there is no fact to put here", p.name)
			}
			return fmt.Errorf("{%s}: want one of {%s}", p.name, strings.Join(may, "}, {"))
		}
		found[p.name] = true
	}
	for _, name := range must {
		if !found[name] {
			return fmt.Errorf("{%s} is missing: the clinician needs it", name)
		}
	}
	return nil
}

// piece is some literal text, or the name of a fact that was in braces.
type piece struct{ text, name string }

func parsePieces(text string) ([]piece, error) {
	var out []piece
	for text != "" {
		before, rest, found := strings.Cut(text, "{")
		if strings.Contains(before, "}") {
			return nil, errors.New("a } without its {: want names in braces, such as {plan}")
		}
		if before != "" {
			out = append(out, piece{text: before})
		}
		if !found {
			return out, nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed || !isName(name) {
			return nil, errors.New("a { without a name and }: want names in braces, such as {plan}")
		}
		out = append(out, piece{name: name})
		text = after
	}
	return out, nil
}

func isName(s string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return s != ""
}

// fact is what a name in a sentence stands for.
type fact struct{ name, is string }

// fill puts the facts into a sentence that was checked.
func fill(sentence string, facts ...fact) string {
	var b strings.Builder
	b.Grow(2 * len(sentence))
	for {
		before, rest, _ := strings.Cut(sentence, "{")
		b.WriteString(before)
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return b.String()
		}
		for _, f := range facts {
			if f.name == name {
				b.WriteString(f.is)
			}
		}
		sentence = after
	}
}
