package epr_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
)

const head = `MSH|^~\&|{sending_application}|{organisation}|{receiving_application}||{decided}||ADT^A08|{control_id}|{processing}|{version}` + "\n"

func written(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "site.hl7")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func site(path string) (*epr.Format, error) {
	c := epr.DefaultMessageConfig()
	c.Template = path
	return epr.NewFormat("epr", c, epr.DefaultWording(), nil)
}

func TestSiteTemplate(t *testing.T) {
	f, err := site(written(t, head+`
# what this EPR wants
PID|1||{nhs_number}^^^NHS^NH
[raise, update] ZAL|{n}|ADD|{headline}|{alert_key}
[withdraw] ZAL|{n}|DEL||{alert_key}
[held] [each plan] ZPL|{n}|{plan_type}|{authority_name}&{emergency_phone}^T\T\C {plan_state}|{plan_start}|{plan_end}
[unknown] ZPL|1|UNKNOWN
`))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"raise":         "ZAL|1|ADD|Safeguarding information: open|TLCSYLWZ74XM\rZPL|1|CPP|Ashmere \\F\\ Vale Council&01632 960001^T\\T\\C active|20260105\r",
		"update":        "ZPL|1|CPP|Ashmere \\F\\ Vale Council&01632 960001^T\\T\\C ended|20260105|20260331\rZPL|2|LAC|Brackwater Council&01632 960100^T\\T\\C active|20260401\r",
		"withdraw":      "ZAL|1|DEL||TLCSYLWZ74XM\r",
		"not-completed": "ZPL|1|UNKNOWN\r",
	} {
		got, err := f.Message(cases(t)[name])
		if err != nil || !strings.Contains(string(got), want) {
			t.Errorf("%s: got %q, want %q in it: %v", name, got, want, err)
		}
	}
}

func TestWrongTemplateIsNamed(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"nothing":                      {"# only a comment\n", "no segment"},
		"unknown field":                {head + "PID|1||{nhs_nummer}\n", "line 2: PID-3: {nhs_nummer}: no such field, want one of"},
		"open brace":                   {head + "PID|1||{nhs_number\n", "line 2: PID-3: a { without"},
		"plan's field anywhere":        {head + "PID|1||{plan_code}\n", "[each plan]"},
		"composite among others":       {head + "PID|1||{identifiers}^X\n", "alone in its field"},
		"composite with text":          {head + "PID|1||X{identifiers}\n", "alone in its field"},
		"null":                         {head + "PID|1||{nhs_number}||\"\"\n", "would delete"},
		"no PID":                       {head + "OBX|1|TX|X||{text}\n", "want a PID"},
		"no control id":                {strings.Replace(head, "{control_id}", "1", 1) + "PID|1\n", "want {control_id} in MSH-10"},
		"other sender":                 {strings.Replace(head, "{sending_application}", "EPR", 1) + "PID|1\n", "want {sending_application} in MSH-3"},
		"other delimiters":             {strings.Replace(head, `^~\&`, `$~\&`, 1) + "PID|1\n", `want MSH|^~\&|`},
		"allergy":                      {head + "PID|1\nAL1|1\n", "no allergy"},
		"diagnosis":                    {head + "PID|1\nDG1|1\n", "no allergy, diagnosis"},
		"protection indicator":         {head + "PID|1\nPD1||||||||||||Y\n", "PD1-12"},
		"VIP":                          {head + "PID|1\nPV1|1|E||||||||||||||S\n", "PV1-16"},
		"charset":                      {strings.TrimSuffix(head, "\n") + "||||||8859/1\nPID|1\n", "MSH-18"},
		"unknown tag":                  {head + "[sometimes] PID|1\n", `tag "sometimes"`},
		"open tag":                     {head + "[raise PID|1\n", "without its ]"},
		"two headers":                  {head + head + "PID|1\n", "one MSH, and it first"},
		"no header for a withdrawal":   {"[raise, update] " + head + "PID|1\n", "one MSH, and it first"},
		"not a segment":                {head + "PID|1\nhello\n", `line 3: segment "hello"`},
		"lower case segment":           {head + "PID|1\npid|1\n", `line 3: segment "pid": want three capitals`},
		"no message type":              {strings.Replace(head, "ADT^A08", "", 1) + "PID|1\n", "message type in MSH-9"},
		"header segment of a batch":    {head + "PID|1\nBHS|^~\\&|x\n", "BHS"},
		"continued in another message": {head + "PID|1\nDSC|x\n", "DSC"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := site(written(t, c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "site.hl7") {
				t.Errorf("got %v, want one that names the file and says %s", err, c.want)
			}
		})
	}
	if _, err := site("nowhere.hl7"); err == nil || !strings.Contains(err.Error(), "nowhere.hl7") {
		t.Errorf("got %v, want one that names the missing file", err)
	}
}
