package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The program proves itself, by its own commands, as a supplier would.
func TestConformanceOfOwnCommands(t *testing.T) {
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip("needs /bin/sh")
	}
	p := newPlace(t)
	p.write("driver.sh", `set -eu
step=$1; dir=$CONFORMANCE_FOLDER
call() { "$PROGRAM" "$@" --server "$CONFORMANCE_SERVER" --cert "$dir/certificates/authority-906.pem" --key "$dir/certificates/authority-906-key.pem" --ca "$dir/certificates/ca.pem"; }
mkdir -p "$dir/in"
# The attendances of all files that were pulled, and which of them are taken back.
stored() { cat "$dir"/in/*.csv | awk -F, '
	$1 != "id" { if ($16 == "") at[$1] = $11; else back[$16] = 1 }
	END { print "attendance,state"; for (id in at) print at[id] "," (id in back ? "taken-back" : "open") }' > "$dir/stored.csv"; }
case $step in
upload) call upload "$dir/upload-1.csv" --sequence 1 ;;
verdicts)
	call upload "$dir/upload-2.csv" --sequence 2 > "$dir/report.txt" || [ $? = 3 ]
	line=$(sed -n 's/.*upload-2.csv:\([0-9]*\): .*(CPR05)$/\1/p' "$dir/report.txt")
	{ echo nhs_number,code; sed -n "${line}p" "$dir/upload-2.csv" | sed 's/,.*/,CPR05/'; } > "$dir/verdicts.csv" ;;
lost-reply) call upload "$dir/upload-3.csv" --sequence 3 || call upload "$dir/upload-3.csv" --sequence 3 ;;
snapshot) call upload "$dir/snapshot.csv" --sequence 4 --snapshot ;;
lost-acknowledgement) call notifications pull --into "$dir/in" || call notifications pull --into "$dir/in"; stored ;;
*) call notifications pull --into "$dir/in"; stored ;;
esac
`)
	c := p.command("conformance", "proof", "--json", "--report", "report.json", "--", "sh", p.path("driver.sh"))
	c.Env = append(c.Env, "PROGRAM="+os.Args[0])
	out, err := c.CombinedOutput()
	text, readErr := os.ReadFile(p.path("report.json"))
	if err != nil || readErr != nil {
		t.Fatalf("%v, %v: %s\n%s", err, readErr, out, text)
	}
	var report struct {
		Passed  bool  `json:"passed"`
		Clauses []any `json:"clauses"`
	}
	if err := json.Unmarshal(text, &report); err != nil || !report.Passed || len(report.Clauses) == 0 {
		t.Errorf("report: %v: %s\n%s", err, text, out)
	}
	if regexp.MustCompile(`\b999\d{7}\b`).Match(text) { // durations have such digits, too
		t.Errorf("the report holds NHS numbers: %s", text)
	}

	if out, code := p.run("conformance", "other", "--", "true"); code != exitFaults || !strings.Contains(out, "FAIL  upload") || !strings.Contains(out, "does not conform") {
		t.Errorf("a system that does nothing: %d: %s", code, out)
	}
}
