package main

import (
	"net"
	"os"
	"strings"
	"testing"
)

// What is missing before the first start, what passes beside a centre that runs, and
// what fails, each with what to do.
func TestCheck(t *testing.T) {
	p := newPlace(t)
	want := func(code int, lines ...string) {
		t.Helper()
		out, got := p.run("check", "--config", "central.yaml")
		if got != code {
			t.Errorf("exit code %d, want %d:\n%s", got, code, out)
		}
		for _, line := range lines {
			if !strings.Contains(out, line) {
				t.Errorf("no %q in\n%s", line, out)
			}
		}
	}
	want(exitWarnings, "PASS  configuration: ", "WARN  keys: none yet", " 0 failed")
	p.start()
	// Whether the machine of the test keeps its time is not this program's to say.
	well, warnings := 0, " 0 warnings, 0 failed"
	if out, _ := p.run("check", "--config", "central.yaml"); strings.Contains(out, "WARN  clock: the system does not keep its time") {
		well, warnings = exitWarnings, " 1 warnings, 0 failed"
	}
	want(well, "PASS  keys: ring ", "PASS  store: ", "PASS  certificate: it is good until ", "PASS  disk: ", warnings)
	if out, code := p.run("check", "--json", "--config", "central.yaml"); code != well || !strings.Contains(out, `{"check":"store","result":"pass","text":"`) {
		t.Errorf("as JSON: %d: %s", code, out)
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	text, err := os.ReadFile(p.path("central.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p.write("central.yaml", string(text)+"web: {listen: \""+other.Addr().String()+"\"}\n")
	want(exitFailed, "FAIL  web.listen: "+other.Addr().String()+" is taken by another program", "      do: ss -ltnp")
}
