package adt_test

import (
	"fmt"
	"testing"

	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
)

// TestEveryTrigger: A01 to A62 are all treated, in order, each with a reason; and
// a message of each is read or says what it lacks.
func TestEveryTrigger(t *testing.T) {
	all := adt.Triggers()
	if len(all) != 62 {
		t.Fatalf("%d trigger events, want A01 to A62", len(all))
	}
	for i, e := range all {
		if want := fmt.Sprintf("A%02d", i+1); e.Event != want {
			t.Errorf("%s stands where %s should", e.Event, want)
		}
		if e.Name == "" || e.Reason == "" {
			t.Errorf("%s: no name or no reason", e.Event)
		}
		if got, listed := adt.TriggerOf(e.Event); !listed || got != e {
			t.Errorf("%s is not found", e.Event)
		}
		m, err := adt.Parser{Site: trust(t)}.Parse(adt.Message{Received: received, Body: message(e.Event,
			"MRG-1", "H500109^^^RX1^MR", "MRG-5", "V1")})
		switch e.Kind {
		case adt.Link, adt.Unlink, adt.Swap:
			if err == nil {
				t.Errorf("%s of one patient is taken", e.Event)
			}
			continue
		case adt.Merge, adt.Change:
			if e.Event == "A42" || e.Event == "A50" {
				if err == nil {
					t.Errorf("%s of a visit of two patients is taken", e.Event)
				}
				continue
			}
		}
		if err != nil {
			t.Errorf("%s: %v", e.Event, err)
			continue
		}
		if m.Kind != e.Kind || m.Trigger != e.Event || m.Rule != e.Event+": "+e.Reason {
			t.Errorf("%s: got %v by %s, want %v", e.Event, m.Kind, m.Rule, e.Kind)
		}
		attends := m.Kind == adt.Register || m.Kind == adt.Update || m.Kind == adt.PreAdmission || m.Kind == adt.Discharge ||
			m.Kind == adt.Reopen || m.Kind == adt.Cancel || m.Kind == adt.CancelPreAdmission
		if attends == m.Attendance.ID.IsZero() {
			t.Errorf("%s: attendance %v", e.Event, m.Attendance.ID)
		}
	}
	for _, event := range []string{"", "A", "A00", "A63", "A99", "a04", "B01", "A4", "A001", "A0x"} {
		if _, listed := adt.TriggerOf(event); listed {
			t.Errorf("%q is listed", event)
		}
	}
}

func TestKindHasAName(t *testing.T) {
	for k := adt.Other; k <= adt.Swap; k++ {
		if name := k.String(); name == "" || name[len(name)-1] == '?' {
			t.Errorf("kind %d has no name", int(k))
		}
	}
	if got := adt.Kind(99).String(); got != "99?" {
		t.Errorf("got %q", got)
	}
}

func TestEventWithoutMSH9(t *testing.T) {
	for name, c := range map[string]struct {
		fields []string
		kind   adt.Kind
	}{
		"in EVN-1 only":           {[]string{"MSH-9", "ADT", "EVN-1", "A03"}, adt.Discharge},
		"small letters":           {[]string{"MSH-9", "ADT^a03"}, adt.Discharge},
		"structure besides":       {[]string{"MSH-9", "ADT^A03^ADT_A03"}, adt.Discharge},
		"MSH-9 is taken":          {[]string{"MSH-9", "ADT^A03", "EVN-1", "A08"}, adt.Discharge},
		"neither":                 {[]string{"MSH-9", "ADT"}, adt.Other},
		"an event of no standard": {[]string{"MSH-9", "ADT^MARLOWE"}, adt.Other},
	} {
		t.Run(name, func(t *testing.T) {
			if got := parse(t, trust(t), message("", c.fields...)).Kind; got != c.kind {
				t.Errorf("got %v, want %v", got, c.kind)
			}
		})
	}
}
