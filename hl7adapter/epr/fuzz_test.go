package epr

import (
	"bytes"
	"strings"
	"testing"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// FuzzTemplate: whatever the template and the patient's data, what is written is
// one message whose delimiters are the template's: the data brings none.
func FuzzTemplate(f *testing.F) {
	const head = `MSH|^~\&|{sending_application}|{organisation}|{receiving_application}||{decided}||ADT^A08|{control_id}|{processing}|{version}` + "\n"
	f.Add("PID|1||{nhs_number}^{family}~{given}&x", "A|B", "C^D&E~F\\G\rMSH|")
	f.Add("[each line] OBX|{n}|TX|{line_code}^{line_title}||{line}", "\x1c\r\x0b", "\\.br\\")
	f.Add("PID|{mrn}|{family}{given}|{identifiers}", "\"\"", "")
	format, err := NewFormat("epr", DefaultMessageConfig(), DefaultWording(), nil)
	if err != nil {
		f.Fatal(err)
	}
	sample := Sample(safeguard.Raise, safeguard.FlagsHeld)
	f.Fuzz(func(t *testing.T, line, family, given string) {
		if strings.ContainsAny(line, "\r\n") || strings.HasPrefix(strings.TrimSpace(line), "MSH") {
			t.Skip("the line is to be one more segment")
		}
		template, err := ParseTemplate("site.hl7", strings.NewReader(head+line+"\nPID|1\n"))
		if err != nil || template.check(format) != nil {
			return
		}
		write := func(family, given string) []byte {
			a := sample
			a.Attendance.Patient.Family, a.Attendance.Patient.Given = safeguard.Hide(family), safeguard.Hide(given)
			message, err := template.render(a, format)
			if err != nil {
				t.Fatal(err)
			}
			return message
		}
		want, got := write("X", "Y"), write("X"+family, "Y"+given)
		if _, err := hl7.Parse(got); err != nil {
			t.Fatalf("what was written can not be read: %v", err)
		}
		for _, c := range []byte("|^~&\r\n\x0b") {
			if bytes.Count(got, []byte{c}) != bytes.Count(want, []byte{c}) {
				t.Errorf("the data brought a %q: %q", c, got)
			}
		}
	})
}
