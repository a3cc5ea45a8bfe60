package adt_test

import (
	"testing"

	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

func TestIdentify(t *testing.T) {
	var older adt.Config
	older.NHSNumber.Fields = []string{"PID-2"}
	for name, c := range map[string]struct {
		config adt.Config
		field  int
		cx     string
		want   adt.Identifier
	}{
		"marked":                 {adt.Config{}, 3, juniper + "^^^NHS^NH", adt.Identifier{Authority: "NHS", Type: "NH", Taken: true, Valid: true, Present: true}},
		"marked and wrong":       {adt.Config{}, 3, "9990123005^^^NHS", adt.Identifier{Authority: "NHS", Taken: true, Present: true}},
		"not marked":             {adt.Config{}, 3, juniper + "^^^SPINE^SP", adt.Identifier{Authority: "SPINE", Type: "SP", Valid: true, Present: true}},
		"Scottish":               {adt.Config{}, 3, "1015012000^^^CHI^NH", adt.Identifier{Authority: "CHI", Type: "NH", Valid: true, Alike: true, Present: true}},
		"a local one":            {adt.Config{}, 3, "H1^^^RX1^MR", adt.Identifier{Authority: "RX1", Type: "MR", Present: true}},
		"PID-2, not looked into": {adt.Config{}, 2, juniper, adt.Identifier{Valid: true, Present: true}},
		"PID-2, looked into":     {older, 2, juniper, adt.Identifier{Taken: true, Valid: true, Present: true}},
		"PID-2, another's":       {older, 2, juniper + "^^^X", adt.Identifier{Authority: "X", Valid: true, Present: true}},
		"PID-4, not looked into": {older, 4, juniper + "^^^NHS", adt.Identifier{Authority: "NHS", Valid: true, Present: true}},
		"absent":                 {adt.Config{}, 3, "^^^NHS", adt.Identifier{Authority: "NHS", Taken: true}},
		"null":                   {adt.Config{}, 3, `""`, adt.Identifier{}},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := hl7.Parse(message("A04", "PID-3", c.cx))
			if err != nil {
				t.Fatal(err)
			}
			pid, _ := m.Segment("PID")
			if got := c.config.Identify(pid.Field(3).Repetition(1), c.field); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}
