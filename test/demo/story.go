package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard/test/hospital"
	"github.com/safeguard-edge/safeguard/test/world"
)

// story tells what each party sees, as it happens.
type story struct {
	*world.World
	out    io.Writer
	visits int
}

// tell runs the whole demonstration.
func (s *story) tell(ctx context.Context) error {
	for _, chapter := range []func(context.Context) error{s.beginning, s.registrations, s.outage, s.recovery} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) beginning(ctx context.Context) error {
	s.chapter("The beginning")
	if err := s.StartCentral(ctx); err != nil {
		return err
	}
	s.say("CENTRE", "listens on %s, with its embedded store", s.Central)
	verdict, sentence, err := s.Upload(ctx)
	if err != nil {
		return err
	}
	s.say("COUNCIL", "uploads its flags: verdict %s, %s", verdict, sentence)
	if err := s.StartAgent(ctx); err != nil {
		return err
	}
	s.say("AGENT", "listens to the hospital's ADT feed on %s", s.Feed)
	return nil
}

func (s *story) registrations(ctx context.Context) error {
	s.chapter("Patients are registered in the emergency department")
	for _, c := range []struct {
		who  hospital.Person
		want string // what the EPR must show
	}{
		{hospital.Plan, "Child protection plan, active"},
		{hospital.LookedAfter, "Looked after child, active"},
		{hospital.Pregnant, "Unborn child protection plan, active"},
		{hospital.Ended, "Child protection plan, ended"},
		{hospital.NoFlag, ""},
		{hospital.Adult, ""},
		{hospital.OtherBirth, "do not confirm each other"},
		{hospital.NoNumber, "no valid NHS number"},
	} {
		if err := s.attend(ctx, c.who, c.want); err != nil {
			return err
		}
	}
	s.say("", "")
	if err := s.silent(hospital.NoFlag, "the centre holds nothing, and a list of those without a flag is nobody's business"); err != nil {
		return err
	}
	if err := s.silent(hospital.Adult, "he was not asked about"); err != nil {
		return err
	}
	return s.notifications(ctx, 4)
}

func (s *story) outage(ctx context.Context) error {
	s.chapter("The centre can not be reached")
	if err := s.StopCentral(); err != nil {
		return err
	}
	s.say("CENTRE", "is stopped")
	if err := s.attend(ctx, hospital.Plan, "kept at this hospital"); err != nil {
		return err
	}
	return s.attend(ctx, hospital.Sibling, "central service can not be reached")
}

func (s *story) recovery(ctx context.Context) error {
	s.chapter("The centre is back")
	from := len(s.EPR.Ledger())
	back := time.Now()
	if err := s.StartCentral(ctx); err != nil {
		return err
	}
	s.say("CENTRE", "is started again; the owed lookups are made by themselves")
	for _, c := range []struct {
		who  hospital.Person
		want string
	}{
		{hospital.Sibling, "Looked after child, active"},
		{hospital.Plan, "As held by the central service"},
	} {
		got, err := s.alert(ctx, from, c.who, c.want)
		if err != nil {
			return err
		}
		s.show("EPR", fmt.Sprintf("the alert of %s now reads, %s after the centre's return:", c.who.Who, got.At.Sub(back).Round(time.Millisecond)), got)
	}
	return s.notifications(ctx, 6)
}

// attend registers a person, and shows what follows until the EPR shows want.
func (s *story) attend(ctx context.Context, who hospital.Person, want string) error {
	s.visits++
	from := len(s.EPR.Ledger())
	begun := time.Now()
	s.say("", "")
	s.say("PAS", "registers %s (ADT^A04)", who.Who)
	ack, err := s.PAS.Send(ctx, s.PAS.Message("A04", who, fmt.Sprintf("V%04d", s.visits), begun))
	if err != nil {
		return fmt.Errorf("register %s: %w", who.Who, err)
	}
	s.say("AGENT", "acknowledges %s after %s: it is in the journal, on disk", hospital.Field(ack, "MSA", 1), since(begun))
	if want == "" {
		return nil
	}
	got, err := s.alert(ctx, from, who, want)
	if err != nil {
		return err
	}
	s.show("EPR", fmt.Sprintf("shows, %s after the registration:", got.At.Sub(begun).Round(time.Millisecond)), got)
	return nil
}

// alert waits until the EPR has a message about the person that says want.
func (s *story) alert(ctx context.Context, from int, who hospital.Person, want string) (hospital.Received, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	got, _, err := s.EPR.Wait(ctx, from, func(r hospital.Received) bool {
		return strings.Contains(r.Body, who.MRN+"^") && strings.Contains(strings.Join(hospital.Texts([]byte(r.Body)), " "), want)
	})
	if err != nil {
		return got, fmt.Errorf("the EPR was to show %q for %s: %w", want, who.Who, err)
	}
	return got, nil
}

// silent checks that the EPR was told nothing of a person.
func (s *story) silent(who hospital.Person, why string) error {
	for _, r := range s.EPR.Ledger() {
		if strings.Contains(r.Body, who.MRN+"^") {
			return fmt.Errorf("the EPR was told something of %s", who.Who)
		}
	}
	s.say("EPR", "shows nothing for %s: %s", who.Who, why)
	return nil
}

// notifications shows what waits for the local authority, once that many do.
func (s *story) notifications(ctx context.Context, want int) error {
	waiting, err := s.Notifications(ctx, want)
	if err != nil {
		return err
	}
	s.say("", "")
	s.say("COUNCIL", "has %d notifications waiting, one for each attendance:", want)
	for _, n := range waiting {
		late := ""
		if d := n.RecordedAt.Sub(n.AttendedAt); d > time.Second {
			late = fmt.Sprintf(" (learnt %s later, with the true time)", d.Round(time.Second))
		}
		s.say("", "%s  %-4s  %s, %s%s", n.NHSNumber, strings.Join(n.Plans, ", "), n.SiteName, n.AttendedAt.Local().Format("15:04:05"), late)
	}
	return nil
}

func (s *story) chapter(title string) {
	fmt.Fprintf(s.out, "\n%s\n%s\n", title, strings.Repeat("─", len([]rune(title))))
}

// say prints one line of a party's.
func (s *story) say(who, format string, args ...any) {
	fmt.Fprintln(s.out, strings.TrimRight(fmt.Sprintf("%-9s%s", who, fmt.Sprintf(format, args...)), " "))
}

// show prints what a message says to read.
func (s *story) show(who, lead string, r hospital.Received) {
	s.say(who, "%s", lead)
	for _, text := range hospital.Texts([]byte(r.Body)) {
		for i, line := range wrap(text, 88) {
			mark := "│ "
			if i == 0 {
				mark = "┃ "
			}
			s.say("", "%s%s", mark, line)
		}
	}
}

func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

func since(t time.Time) time.Duration { return time.Since(t).Round(100 * time.Microsecond) }
