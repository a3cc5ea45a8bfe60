package safeguard_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/safeguard-edge/safeguard"

// layers is who may import whom: a package imports only packages of the layers
// before its own, so that nothing depends on what is built from it.
var layers = [][]string{
	{"."},
	{"hl7adapter/hl7", "central/cpisxml", "central/flagpb", "central/identity", "central/audit", "central/notice", "cache/keys", "installer", "configs", "findings", "disk", "docs", "page", "page/pagetest", "logging", "logging/loggingtest", "holidays", "test/loopback"},
	{"hl7adapter/feed", "tracing", "tracing/tracingtest", "control"},
	{"hl7adapter/mllp", "hl7adapter/httpfeed", "hl7adapter/dropfolder", "hl7adapter/mqtt", "hl7adapter/adt", "hl7adapter/feed/feedtest", "hl7adapter/explain/mask", "hl7adapter/epr/document",
		"cache/sealed", "central/client", "central/store"},
	{"cache", "agent/journal", "agent/lookup", "agent/status", "agent/support", "hl7adapter/epr", "hl7adapter/explain", "hl7adapter/survey", "central/store/storetest", "central/upload", "central/webhook", "central/fleet", "central/signin"},
	{"hl7adapter/epr/eprtest", "hl7adapter/epr/fhir", "hl7adapter/epr/cdshooks", "agent/pipeline", "agent/statuspage", "central/inbox", "central/server", "central/alarm"},
	{"agent/metrics", "central/web", "central/staff", "central/metrics"},
	{"central", "central/conformance"},
	{"agent"},
	{"agent/cmd/safeguard-agent", "central/cmd/safeguard-central"},
	{"test/hospital", "test/bench", "test/interleave", "test/exposition", "test/demo", "test/e2e", "test/report", "test/world", "test/intake", "test/packages", "test/reference"},
}

// separations are imports that the layers would allow, and the reason against.
var separations = []struct {
	from, to string
	except   []string
	why      string
}{
	{"hl7adapter", "agent", nil, "the hospital's side of the wire serves any program"},
	{"hl7adapter", "central", nil, "what a hospital sends has nothing to do with the centre"},
	{"hl7adapter", "cache", nil, "a feed keeps nothing: the journal does"},
	{"central", "agent", nil, "the centre runs without an agent"},
	{"central", "hl7adapter", nil, "the centre does not speak HL7 v2"},
	{"central", "cache", []string{"cache/keys"}, "the centre has a store of its own; only the keys are shared"},
	{"agent", "central", []string{"central/client", "central/identity"}, "an agent knows of the centre only what it says to it, and how both read certificates"},
	{"", "central/flagpb", []string{"central/client", "central/server"}, "messages on the wire are not types to work with"},
}

// doors are the modules that one package alone may import, in the whole module.
var doors = []struct {
	module string
	door   []string
	why    string
}{
	{"github.com/dgraph-io/badger", []string{"cache/sealed"}, "its traps are kept in one place"},
	{"github.com/eclipse/paho.mqtt.golang", []string{"hl7adapter/mqtt"}, "its traps are kept in one place"},
	{"github.com/fsnotify/fsnotify", []string{"hl7adapter/dropfolder"}, "its traps are kept in one place"},
	{"github.com/kardianos/service", []string{"installer"}, "its traps are kept in one place"},
	{"github.com/DeRuina/timberjack", []string{"logging"}, "what is logged where is decided in one place of both programs"},
	{"github.com/coreos/go-systemd", []string{"installer"}, "what is told to a service manager is told in one place"},
	{"github.com/tink-crypto/tink-go", []string{"cache/keys"}, "cryptography is decided once"},
	{"codeberg.org/go-pdf/fpdf", []string{"hl7adapter/epr/document"}, "what a document looks like is kept in one place"},
	{"github.com/go-jose/go-jose", []string{"hl7adapter/epr/fhir", "hl7adapter/epr/cdshooks"}, "tokens are the EPR's two web interfaces' alone"},
	{"github.com/jackc/pgx", []string{"central/store"}, "one store contract"},
	{"github.com/goccy/go-yaml", []string{"configs"}, "configuration is read one way, and equally strictly"},
	{"modernc.org/sqlite", []string{"agent/journal", "central/store"}, "one door in each program"},
	{"github.com/pressly/goose", []string{"central/store"}, "migrations are the store's"},
	{"github.com/alecthomas/kong", []string{"agent/cmd/safeguard-agent", "central/cmd/safeguard-central"}, "flags are the program's"},
	{"github.com/prometheus/client_golang", []string{"agent/metrics", "central/metrics"}, "names and labels are decided in one place of each program"},
	{"go.opentelemetry.io", []string{"tracing", "tracing/tracingtest"}, "what a trace may say is decided in one place"},
	{"github.com/rickar/cal", []string{"holidays"}, "which days are unlike others is decided in one place"},
	{"github.com/wneessen/go-mail", []string{"central/alarm"}, "what is mailed is decided in one place"},
	{"github.com/standard-webhooks/standard-webhooks", []string{"central/webhook"}, "what is signed is decided once"},
	{"github.com/yuin/goldmark", []string{"agent/statuspage"}, "what the documentation looks like is decided in one place"},
	{"github.com/coreos/go-oidc", []string{"central/signin"}, "who signs in is decided once"},
	{"golang.org/x/oauth2", []string{"central/signin"}, "who signs in is decided once"},
	{"github.com/pquerna/otp", []string{"central/signin"}, "who signs in is decided once"},
	{"google.golang.org/grpc", []string{"central/flagpb", "central/client", "central/server", "central", "agent"}, "the wire is the client's and the server's"},
}

type listed struct {
	ImportPath string
	Imports    []string
}

// packages lists the module's packages as they are built for the system.
func packages(t *testing.T, system string) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			t.Fatalf("go list: %v: %s", err, failed.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImportsGoDown(t *testing.T) {
	layer := map[string]int{}
	for n, l := range layers {
		for _, p := range l {
			layer[p] = n
		}
	}
	for _, system := range []string{"linux", "windows"} {
		for _, p := range packages(t, system) {
			name := local(p.ImportPath)
			own, known := layer[name]
			if !known {
				t.Errorf("%s stands in no layer: give it one", name)
			}
			for _, i := range p.Imports {
				checkDoor(t, name, i)
				if i != module && !strings.HasPrefix(i, module+"/") {
					if name == "." && strings.Contains(i, ".") {
						t.Errorf("the domain imports %s: it knows the standard library only", i)
					}
					continue
				}
				to := local(i)
				if own <= layer[to] && own < len(layers)-1 {
					t.Errorf("%s imports %s: imports only go down", name, to)
				}
				checkSeparation(t, name, to)
			}
		}
	}
}

func checkDoor(t *testing.T, name, imported string) {
	for _, d := range doors {
		if within(imported, d.module) && !slices.Contains(d.door, name) {
			t.Errorf("%s imports %s, whose door is %v: %s", name, imported, d.door, d.why)
		}
	}
}

func checkSeparation(t *testing.T, from, to string) {
	for _, s := range separations {
		if s.from == "" && to == s.to && !slices.Contains(s.except, from) ||
			s.from != "" && within(from, s.from) && within(to, s.to) && !slices.Contains(s.except, to) {
			t.Errorf("%s imports %s: %s", from, to, s.why)
		}
	}
}

func local(path string) string {
	if path == module {
		return "."
	}
	return strings.TrimPrefix(path, module+"/")
}

func within(path, folder string) bool { return path == folder || strings.HasPrefix(path, folder+"/") }
