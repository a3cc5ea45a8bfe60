package adt_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
)

func TestNHSNumber(t *testing.T) {
	const oid, uri = "2.16.840.1.113883.2.1.4.1", "https://fhir.nhs.uk/Id/nhs-number"
	plain := adt.Site{}
	named := adt.Site{}
	named.NHSNumber = adt.NHSNumbers{Authorities: []string{"SPINE"}, Types: []string{"SP"}}
	for name, c := range map[string]struct {
		pid3   string
		site   adt.Site
		want   string
		status safeguard.NumberStatus
		doubt  string
	}{
		"ITK form":                           {pid3: juniper + "^^^NHS", want: juniper},
		"HL7 UK form":                        {pid3: juniper + "^^^NHS^NH", want: juniper},
		"type only":                          {pid3: juniper + "^^^^NH", want: juniper},
		"type NHS":                           {pid3: juniper + "^^^^NHS", want: juniper},
		"small letters":                      {pid3: juniper + "^^^nhs^nh", want: juniper},
		"authority with OID":                 {pid3: juniper + "^^^NHS&" + oid + "&ISO^NH", want: juniper},
		"OID as universal id only":           {pid3: juniper + "^^^&" + oid + "&ISO", want: juniper},
		"OID as namespace":                   {pid3: juniper + "^^^" + oid, want: juniper},
		"OID as URN":                         {pid3: juniper + "^^^urn:oid:" + oid, want: juniper},
		"URI as namespace":                   {pid3: juniper + "^^^" + uri + "^NH", want: juniper},
		"URI as universal id":                {pid3: juniper + "^^^&" + uri + "&URI", want: juniper},
		"spaces":                             {pid3: "999 012 3004^^^NHS", want: juniper},
		"hyphens":                            {pid3: "999-012-3004^^^NHS", want: juniper},
		"behind others":                      {pid3: "H1^^^RX1^MR~H2^^^OLD^PI~" + juniper + "^^^NHS", want: juniper},
		"check digit in CX-2":                {pid3: "999012300^4^M11^NHS^NH", want: juniper},
		"the hospital's type NH":             {pid3: juniper + "^^^RX1^NH", want: juniper},
		"status in the type":                 {pid3: juniper + "^^^^NH{status:03}", want: juniper, status: safeguard.TraceRequired},
		"twice the same":                     {pid3: juniper + "^^^NHS~" + juniper + "^^^NHS^NH", want: juniper},
		"valid one behind one that is not":   {pid3: "9990123005^^^NHS~" + juniper + "^^^NHS", want: juniper, doubt: "PID-3[1]: NHS number: wrong check digit"},
		"two that differ":                    {pid3: juniper + "^^^NHS~" + other + "^^^NHS", want: juniper, status: safeguard.InConflict, doubt: "PID-3[2]: a second NHS number that differs, the number is in conflict"},
		"expired one beside":                 {pid3: other + "^^^NHS^NH^^^20250101~" + juniper + "^^^NHS", want: juniper, doubt: "PID-3[1]: an NHS number past its last day (CX-8), not taken"},
		"last day today":                     {pid3: juniper + "^^^NHS^NH^^^20260314", want: juniper},
		"CHI by authority":                   {pid3: "1015012000^^^CHI^NH"},
		"CHI by OID":                         {pid3: "1015012000^^^&2.16.840.1.113883.2.1.3.2.4.16.53&ISO^NH"},
		"CHI by URN":                         {pid3: "1015012000^^^urn:oid:2.16.840.1.113883.2.1.3.2.4.16.53^NH"},
		"CHI in small letters":               {pid3: "1015012000^^^chi^NH"},
		"CHI by type":                        {pid3: "1015012000^^^^CHI"},
		"Northern Ireland's":                 {pid3: "3201234003^^^HSC^NH"},
		"not marked":                         {pid3: juniper + "^^^SPINE^SP"},
		"bare":                               {pid3: juniper},
		"marked as the site says":            {pid3: juniper + "^^^SPINE", site: named, want: juniper},
		"typed as the site says":             {pid3: juniper + "^^^X^SP", site: named, want: juniper},
		"universal id as the site says":      {pid3: juniper + "^^^&spine&L", site: named, want: juniper},
		"wrong check digit":                  {pid3: "9990123005^^^NHS", doubt: "PID-3[1]: NHS number: wrong check digit"},
		"ten equal digits":                   {pid3: "3333333333^^^NHS", doubt: "PID-3[1]: NHS number: ten equal digits, want a number that was issued"},
		"null":                               {pid3: `""^^^NHS`},
		"a number that is not one of theirs": {pid3: "H1^^^NHS", doubt: "PID-3[1]: NHS number: character 1 is not a digit, want ten digits"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.site.NHSNumber.Authorities == nil {
				c.site = plain
			}
			m := parse(t, c.site, message("A04", "PID-3", c.pid3, "PID-32", ""))
			p := m.Attendance.Patient
			if got := p.Number.Reveal(); got != c.want {
				t.Errorf("number %q, want %q", got, c.want)
			}
			if p.NumberStatus != c.status {
				t.Errorf("status %v, want %v", p.NumberStatus, c.status)
			}
			if got := strings.Join(m.Doubts, "; "); got != c.doubt {
				t.Errorf("doubts %q, want %q", got, c.doubt)
			}
			if id := p.MRN.Reveal(); id.Value == juniper && c.want != "" {
				t.Error("the NHS number is taken as the hospital's too")
			}
		})
	}
}

func TestNumberInOlderFields(t *testing.T) {
	site := adt.Site{}
	site.NHSNumber.Fields = []string{"PID-2", "PID-4", "PID-19"}
	for name, c := range map[string]struct {
		fields []string
		want   string
	}{
		"PID-2, bare":               {[]string{"PID-2", juniper}, juniper},
		"PID-2, marked":             {[]string{"PID-2", juniper + "^^^NHS^NH"}, juniper},
		"PID-2, another's":          {[]string{"PID-2", juniper + "^^^OLDPAS^PE"}, ""},
		"PID-2, CHI":                {[]string{"PID-2", "1015012000^^^CHI"}, ""},
		"PID-4 when PID-2 has none": {[]string{"PID-2", "H9", "PID-4", juniper}, juniper},
		"PID-19":                    {[]string{"PID-19", "999 012 3004"}, juniper},
		"PID-3 comes first":         {[]string{"PID-3", other + "^^^NHS", "PID-2", juniper}, other},
		"PID-2 first of the others": {[]string{"PID-2", juniper, "PID-4", other}, juniper},
		"PID-4 alone, not PID-2":    {[]string{"PID-4", "x~" + juniper}, juniper},
		"nowhere":                   {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			body := message("A04", append([]string{"PID-3", "H1^^^RX1^MR"}, c.fields...)...)
			if got := parse(t, site, body).Attendance.Patient.Number.Reveal(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if c.want == other {
				return
			}
			if got := parse(t, adt.Site{}, body).Attendance.Patient.Number; !got.IsZero() {
				t.Error("looked into though the site does not say so")
			}
		})
	}
}

func TestNumberStatus(t *testing.T) {
	for name, c := range map[string]struct {
		pid32, zu127 string
		want         safeguard.NumberStatus
		doubted      bool
	}{
		"absent":                    {"", "", safeguard.StatusNotStated, false},
		"NSTS01":                    {"NSTS01", "", safeguard.Verified, false},
		"PDS01":                     {"PDS01", "", safeguard.Verified, false},
		"NSTS1":                     {"NSTS1", "", safeguard.Verified, false},
		"01":                        {"01", "", safeguard.Verified, false},
		"1":                         {"1", "", safeguard.Verified, false},
		"small letters":             {"nsts02", "", safeguard.PresentNotTraced, false},
		"coded, with its meaning":   {"03^Trace required^NHS", "", safeguard.TraceRequired, false},
		"04":                        {"NSTS04", "", safeguard.NoMatch, false},
		"05":                        {"NSTS05", "", safeguard.InConflict, false},
		"06":                        {"06", "", safeguard.TraceInProgress, false},
		"07":                        {"07", "", safeguard.AbsentNoTraceRequired, false},
		"08":                        {"NSTS08", "", safeguard.AbsentTracePostponed, false},
		"behind others":             {"AL~ED~NSTS01", "", safeguard.Verified, false},
		"only others":               {"AL~UA", "", safeguard.StatusNotStated, false},
		"a code that is none":       {"NSTS09", "", safeguard.UnrecognisedNumberCode, false},
		"in ZU1":                    {"", "NSTS01", safeguard.Verified, false},
		"in ZU1, short":             {"AL", "2", safeguard.PresentNotTraced, false},
		"both the same":             {"NSTS01", "01", safeguard.Verified, false},
		"both, ZU1 more careful":    {"NSTS01", "NSTS05", safeguard.InConflict, true},
		"both, PID-32 more careful": {"NSTS04", "NSTS01", safeguard.NoMatch, true},
		"two repetitions":           {"NSTS01~NSTS03", "", safeguard.TraceRequired, true},
		"more careful first":        {"NSTS03~NSTS01", "", safeguard.TraceRequired, true},
		"null":                      {`""`, "", safeguard.StatusNotStated, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := parse(t, adt.Site{}, message("A04", "PID-32", c.pid32, "ZU1-27", c.zu127))
			if got := m.Attendance.Patient.NumberStatus; got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
			doubted := slices.ContainsFunc(m.Doubts, func(d string) bool { return strings.Contains(d, "two statuses") })
			if doubted != c.doubted {
				t.Errorf("doubts %q", m.Doubts)
			}
		})
	}
}

func TestBorn(t *testing.T) {
	for name, c := range map[string]struct {
		pid7, pid32, want string
		doubted           bool
	}{
		"a day":                   {"20190807", "", "2019-08-07", false},
		"with a time":             {"201908071512", "", "2019-08-07", false},
		"with seconds and a zone": {"20190807151200.0000+0100", "", "2019-08-07", false},
		"ISO 8601":                {"2019-08-07", "", "2019-08-07", false},
		"impossible month":        {"196513121515", "", "", true},
		"impossible day":          {"20190230", "", "", true},
		"leap day":                {"20200229", "", "2020-02-29", false},
		"year and month":          {"201908", "", "", true},
		"year":                    {"2019", "", "", true},
		"another country's":       {"07/08/2019", "", "", true},
		"words":                   {"unknown", "", "", true},
		"absent":                  {"", "", "", false},
		"null":                    {`""`, "", "", false},
		"a filler":                {"19000101", "", "", true},
		"a hundred and five":      {"19201231", "", "1920-12-31", false},
		"tomorrow":                {"20260315", "", "2026-03-15", false},
		"next week":               {"20260321", "", "", true},
		"estimated":               {"20190807", "NSTS01~ED", "2019-08-07", true},
		"said to be unknown":      {"20190807", "UD", "", true},
		"as a component":          {"20190807^D", "", "2019-08-07", false},
	} {
		t.Run(name, func(t *testing.T) {
			m := parse(t, adt.Site{}, message("A04", "PID-7", c.pid7, "PID-32", c.pid32))
			if got := m.Attendance.Patient.Born.Reveal().String(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if got := len(m.Doubts) > 0; got != c.doubted {
				t.Errorf("doubts %q", m.Doubts)
			}
		})
	}
}

func TestSex(t *testing.T) {
	for code, want := range map[string]safeguard.Sex{
		"M": safeguard.Male, "1": safeguard.Male, "m": safeguard.Male, "Male": safeguard.Male,
		"F": safeguard.Female, "2": safeguard.Female, "f": safeguard.Female, "2^Female": safeguard.Female,
		"9": safeguard.UnspecifiedSex, "A": safeguard.UnspecifiedSex, "O": safeguard.UnspecifiedSex,
		"0": safeguard.UnknownSex, "U": safeguard.UnknownSex, "": safeguard.UnknownSex, `""`: safeguard.UnknownSex, "Mx": safeguard.UnknownSex,
	} {
		if got := parse(t, adt.Site{}, message("A04", "PID-8", code)).Attendance.Patient.Sex; got != want {
			t.Errorf("%q: got %v, want %v", code, got, want)
		}
	}
}

func TestMother(t *testing.T) {
	for name, c := range map[string]struct{ born, pid21, want string }{
		"of a newborn":         {"20260314", "H7^^^RX1^MR~" + mum + "^^^NHS^NH", mum},
		"at 27 days":           {"20260215", mum + "^^^NHS", mum},
		"at 28 days":           {"20260214", mum + "^^^NHS", ""},
		"of a child":           {"20190807", mum + "^^^NHS", ""},
		"age unknown":          {"", mum + "^^^NHS", ""},
		"hospital number only": {"20260314", "H7^^^RX1^MR", ""},
		"invalid":              {"20260314", "9990123100^^^NHS", ""},
		"the infant's own":     {"20260314", juniper + "^^^NHS", ""},
		"Scottish":             {"20260314", "1015012000^^^CHI^NH", ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := parse(t, adt.Site{}, message("A01", "PID-7", c.born, "PID-21", c.pid21))
			if got := m.Attendance.Patient.Mother.Reveal(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestHospitalNumber(t *testing.T) {
	prefers := adt.Site{}
	prefers.HospitalNumber.Authorities = []string{"RX1PAS", "RX1"}
	for name, c := range map[string]struct {
		pid3 string
		site adt.Site
		want string
	}{
		"marked MR before another":     {"X1^^^OTHER^XX~H1^^^RX1^MR", adt.Site{}, "H1"},
		"unmarked before another type": {"X1^^^OTHER^XX~H1", adt.Site{}, "H1"},
		"first of equals":              {"H1^^^A^MR~H2^^^B^MR", adt.Site{}, "H1"},
		"as the site prefers":          {"H1^^^A^MR~H2^^^RX1~H3^^^rx1pas", prefers, "H3"},
		"second choice":                {"H1^^^A^MR~H2^^^RX1", prefers, "H2"},
		"not one that has expired":     {"H1^^^A^MR^^^20200101~H2^^^B", adt.Site{}, "H2"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := parse(t, c.site, message("A04", "PID-3", c.pid3)).Attendance.Patient.MRN.Reveal().Value; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestName(t *testing.T) {
	for name, c := range map[string]struct{ pid5, family, given string }{
		"first":                    {"MARLOWE^JUNIPER~ALIAS^JUNE", "MARLOWE", "JUNIPER"},
		"legal name behind":        {"ALIAS^JUNE^^^^^A~MARLOWE^JUNIPER^^^^^L", "MARLOWE", "JUNIPER"},
		"surname of subcomponents": {"MARLOWE&VAN&MARLOWE^JUNIPER", "MARLOWE", "JUNIPER"},
		"escaped":                  {`O\T\MARLOWE^J`, "O&MARLOWE", "J"},
		"null":                     {`""`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := parse(t, adt.Site{}, message("A04", "PID-5", c.pid5)).Attendance.Patient
			if p.Family.Reveal() != c.family || p.Given.Reveal() != c.given {
				t.Errorf("got %q, %q", p.Family.Reveal(), p.Given.Reveal())
			}
		})
	}
}

// TestIdentity: the same visit has the same id whatever else the messages about
// it say, and other visits have others.
func TestIdentity(t *testing.T) {
	site := trust(t)
	id := func(event string, fields ...string) safeguard.AttendanceID {
		t.Helper()
		return parse(t, site, message(event, fields...)).Attendance.ID
	}
	first := id("A04")
	if first.IsZero() {
		t.Fatal("no id")
	}
	for name, again := range map[string]safeguard.AttendanceID{
		"updated later":          id("A08", "EVN-6", "20260316101500", "MSH-7", "20260316101501"),
		"without admit time":     id("A03", "PV1-44", ""),
		"under a merged patient": id("A08", "PID-3", "H9^^^RX1^MR"),
		"in another place":       id("A02", "PV1-3", "MIU1^^^RX102"),
	} {
		if again != first {
			t.Errorf("%s: another id", name)
		}
	}
	for name, other := range map[string]safeguard.AttendanceID{
		"another visit":                 id("A04", "PV1-19", "V700101^^^VISITID"),
		"another authority":             id("A04", "PV1-19", "V700100^^^OTHER"),
		"no visit number":               id("A04", "PV1-19", ""),
		"no visit number, a day later":  id("A04", "PV1-19", "", "PV1-44", "202603150905", "EVN-6", "202603150906"),
		"no visit number, another site": id("A04", "PV1-19", "", "PV1-3", "MIU1^^^RX102"),
		"null visit number":             id("A04", "PV1-19", `""`, "PV1-3", "X^^^RX102", "PV1-44", "202603140906"),
	} {
		if other == first {
			t.Errorf("%s: the same id", name)
		}
	}
	same := id("A04", "PV1-19", "")
	if got := id("A08", "PV1-19", "", "EVN-6", "20260316101500"); got != same {
		t.Error("without a visit number, the admit time does not tell the visit")
	}
	// Without either, the day does; but never of an update.
	day := id("A04", "PV1-19", "", "PV1-44", "")
	if got := id("A03", "PV1-19", "", "PV1-44", "", "EVN-6", "20260314200000"); got != day {
		t.Error("the day does not tell the visit")
	}
	m := parse(t, site, message("A08", "PV1-19", "", "PV1-44", "", "EVN-6", "20260315100000"))
	if m.Kind != adt.PersonUpdate || !m.Attendance.ID.IsZero() {
		t.Errorf("got %v: an update a day later would begin a second attendance", m.Kind)
	}
}

func TestTimes(t *testing.T) {
	site := trust(t)
	const day = "2006-01-02T15:04:05Z07:00"
	for name, c := range map[string]struct {
		event           string
		fields          []string
		occurred, begun string
	}{
		"all there":          {"A04", nil, "2026-03-14T09:11:00Z", "2026-03-14T09:05:00Z"},
		"no EVN-6":           {"A04", []string{"EVN-6", ""}, "2026-03-14T09:12:05Z", "2026-03-14T09:05:00Z"},
		"neither":            {"A04", []string{"EVN-6", "", "MSH-7", ""}, "2026-03-14T09:12:06Z", "2026-03-14T09:05:00Z"},
		"EVN-6 a day only":   {"A04", []string{"EVN-6", "20260314"}, "2026-03-14T09:12:05Z", "2026-03-14T09:05:00Z"},
		"no admit time":      {"A04", []string{"PV1-44", ""}, "2026-03-14T09:11:00Z", "2026-03-14T09:11:00Z"},
		"admit day":          {"A04", []string{"PV1-44", "20260314"}, "2026-03-14T09:11:00Z", "2026-03-14T09:11:00Z"},
		"admit day before":   {"A08", []string{"PV1-44", "20260311"}, "2026-03-14T09:11:00Z", "2026-03-11T00:00:00Z"},
		"admit time no time": {"A04", []string{"PV1-44", "soon"}, "2026-03-14T09:11:00Z", "2026-03-14T09:11:00Z"},
		"summer time":        {"A04", []string{"EVN-6", "202607011200", "PV1-44", "202607011155"}, "2026-07-01T12:00:00+01:00", "2026-07-01T11:55:00+01:00"},
		"with its own zone":  {"A04", []string{"PV1-44", "202603140905+0000"}, "2026-03-14T09:11:00Z", "2026-03-14T09:05:00Z"},
		"admitted next week": {"A01", []string{"PV1-44", "202603211200"}, "2026-03-14T09:11:00Z", "2026-03-14T09:11:00Z"},
		"expected next week": {"A05", []string{"PV1-44", "202603211200"}, "2026-03-14T09:11:00Z", "2026-03-21T12:00:00Z"},
		"expected in PV2":    {"A14", []string{"PV1-44", "", "PV2-8", "202603211200"}, "2026-03-14T09:11:00Z", "2026-03-21T12:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			m := parse(t, site, message(c.event, c.fields...))
			if got := m.Occurred.Format(day); got != c.occurred {
				t.Errorf("occurred %s, want %s", got, c.occurred)
			}
			if got := m.Attendance.Begun.Format(day); got != c.begun {
				t.Errorf("begun %s, want %s", got, c.begun)
			}
		})
	}
	if got := parse(t, site, message("A04", "MSH-13", "0041")).Sequence; got != 41 {
		t.Errorf("sequence %d, want 41", got)
	}
	for _, bad := range []string{"", "x", "-3", "99999999999999999999"} {
		if got := parse(t, site, message("A04", "MSH-13", bad)).Sequence; got != 0 {
			t.Errorf("sequence %q: got %d, want none", bad, got)
		}
	}
	ended := parse(t, site, message("A03", "PV1-45", "202603141300")).Attendance
	if got := ended.Finished.Format(day); got != "2026-03-14T13:00:00Z" || ended.State != safeguard.Ended {
		t.Errorf("%v at %s", ended.State, got)
	}
}

func TestTestTraffic(t *testing.T) {
	production := trust(t)
	production.Production = true
	real := "4012345670" // is in the range of issued numbers, and fails modulus 11
	for name, c := range map[string]struct {
		site       adt.Site
		number     string
		processing string
		override   string
		want       bool
	}{
		"production":                            {trust(t), juniper, "P", "", false},
		"no processing id":                      {trust(t), juniper, "", "", false},
		"with a mode":                           {trust(t), juniper, "P^T", "", false},
		"training":                              {trust(t), juniper, "T", "", true},
		"debugging":                             {trust(t), juniper, "D", "", true},
		"training, overridden":                  {trust(t), juniper, "T", "P", false},
		"production, overridden":                {trust(t), juniper, "P", "T", true},
		"999 number in production":              {production, juniper, "P", "", true},
		"other number in production":            {production, real, "P", "", false},
		"the number of round trips":             {production, safeguard.TestPatient.Reveal(), "P", "", false},
		"the number of round trips in training": {production, safeguard.TestPatient.Reveal(), "T", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := adt.Parser{Site: c.site}.Parse(adt.Message{
				Body: message("A04", "PID-3", "H1~"+c.number+"^^^NHS", "MSH-11", c.processing), Received: received, Processing: c.override})
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Attendance.Test; got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestSensitive(t *testing.T) {
	for code, want := range map[string]bool{"1": true, "2": true, "0": false, "": false, `""`: false, "Yes": false} {
		if got := parse(t, adt.Site{}, message("A04", "ZU8-1", "U", "ZU8-4", code)).Attendance.Sensitive; got != want {
			t.Errorf("ZU8-4 %q: got %v", code, got)
		}
	}
}

func TestSite(t *testing.T) {
	site := trust(t)
	for facility, want := range map[string]string{"RX102": "RX102", "rx102": "RX102", "RX9": "RX101", "": "RX101", "not a code": "RX101"} {
		if got := parse(t, site, message("A04", "PV1-3", "X^^^"+facility)).Attendance.Site.String(); got != want {
			t.Errorf("%q: got %s, want %s", facility, got, want)
		}
	}
}

// TestSiteOfTheTransport: the message's own word comes first, then the
// transport's, then the feed's.
func TestSiteOfTheTransport(t *testing.T) {
	for _, c := range []struct {
		facility, transport, want string
		doubt                     bool
	}{
		{"RX101", "RX102", "RX101", false},
		{"", "RX102", "RX102", false},
		{"", "rx102", "RX102", false},
		{"not a code", "RX102", "RX102", false},
		{"", "RX999", "RX101", true},
		{"RX102", "RX999", "RX102", false},
	} {
		m, err := adt.Parser{Site: trust(t)}.Parse(adt.Message{Body: message("A04", "PV1-3", "X^^^"+c.facility), Received: received, Site: c.transport})
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Attendance.Site.String(); got != c.want || len(m.Doubts) > 0 != c.doubt {
			t.Errorf("PV1-3.4 %q, transport %q: got %s, doubts %q; want %s", c.facility, c.transport, got, m.Doubts, c.want)
		}
	}
}

func TestCharsetOverride(t *testing.T) {
	body := message("A04", "PID-5", "LINDSTR\xd6M^A", "MSH-18", "CP437")
	m, err := adt.Parser{}.Parse(adt.Message{Body: body, Received: received, Charset: "8859/1"})
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Attendance.Patient.Family.Reveal(); got != "LINDSTRÖM" {
		t.Errorf("got %q", got)
	}
}

// TestPrintsNothingPrivate prints movements in every way and finds no patient in
// them.
func TestPrintsNothingPrivate(t *testing.T) {
	for _, body := range [][]byte{
		message("A01", "PID-7", "20260310", "PID-21", mum+"^^^NHS"),
		message("A40", "MRG-1", "H500109^^^RX1^MR~"+other+"^^^NHS"),
	} {
		m := parse(t, trust(t), body)
		for _, text := range []string{fmt.Sprint(m), fmt.Sprintf("%+v", m), fmt.Sprintf("%#v", m)} {
			for _, private := range []string{juniper, other, mum, "MARLOWE", "JUNIPER", "H500100", "H500109", "V700100", "2026, Month:3, Day:10"} {
				if strings.Contains(text, private) {
					t.Errorf("%s is in %s", private, text)
				}
			}
		}
	}
}

func TestEcho(t *testing.T) {
	m := parse(t, adt.Site{}, message("A08", "MSH-3", adt.Application+"^1.2.3^ISO"))
	if m.Kind != adt.Other || m.Rule != "echo of our own message" {
		t.Errorf("got %v, %s", m.Kind, m.Rule)
	}
}

func TestArrivingIsPolicy(t *testing.T) {
	site := trust(t)
	for _, event := range []string{"A10", "A32"} {
		if got := parse(t, site, message(event)).Kind; got != adt.Other {
			t.Errorf("%s: got %v, want it ignored where the site says nothing", event, got)
		}
	}
	site.Arriving = adt.ArrivingRegisters
	for event, want := range map[string]adt.Kind{"A10": adt.Register, "A32": adt.Cancel} {
		if got := parse(t, site, message(event)).Kind; got != want {
			t.Errorf("%s as the site says: got %v, want %v", event, got, want)
		}
	}
}

func TestOrderOfAMessageWithoutAnyNumber(t *testing.T) {
	m := parse(t, adt.Site{}, message("A04", "PID-3", ""))
	if m.Order() == "" || m.Order() != "attendance "+m.Attendance.ID.String() {
		t.Errorf("got %q", m.Order())
	}
}

func TestOccurredWithoutAnyTime(t *testing.T) {
	m := parse(t, adt.Site{}, message("A04", "EVN-6", "", "MSH-7", "", "PV1-44", ""))
	if !m.Occurred.Equal(received) || !m.Attendance.Begun.Equal(received) {
		t.Errorf("occurred %v, begun %v, want when it was received", m.Occurred, m.Attendance.Begun)
	}
}
