package identity

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name, in string
		want     string // what the error must say; empty for none
	}{
		{"agent", "spiffe://safeguard/agent/RX1/a1", ""},
		{"authority", "spiffe://safeguard/authority/806/main", ""},
		{"centre", "spiffe://safeguard/centre/DEV/centre", ""},
		{"nothing", "", "want a URI such as"},
		{"other trust domain", "spiffe://elsewhere/agent/RX1/a1", "want a URI such as"},
		{"web address", "https://safeguard/agent/RX1/a1", "want a URI such as"},
		{"no id", "spiffe://safeguard/agent/RX1", "want a URI such as"},
		{"empty id", "spiffe://safeguard/agent/RX1/", "want a URI such as"},
		{"one part more", "spiffe://safeguard/agent/RX1/a1/b", "want a URI such as"},
		{"escape in id", "spiffe://safeguard/agent/RX1/a%2Fb", "want a URI such as"},
		{"query", "spiffe://safeguard/agent/RX1/a1?x=1", "want a URI such as"},
		{"unknown kind", "spiffe://safeguard/doctor/RX1/a1", `kind "doctor"`},
		{"empty kind", "spiffe://safeguard//RX1/a1", `kind ""`},
		{"no code", "spiffe://safeguard/agent/R%58/a1", "letters and digits"},
		{"small letters", "spiffe://safeguard/agent/rx1/a1", "capital letters"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id, err := Parse(tt.in)
			if tt.want == "" {
				if err != nil || id.String() != tt.in {
					t.Errorf("Parse = %v, %v, want the same back", id, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one that says %q", err, tt.want)
			}
		})
	}
}

func ods(t *testing.T, s string) safeguard.ODSCode {
	t.Helper()
	code, err := safeguard.ParseODSCode(s)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func development(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	_, err := WriteDevelopment(dir, Development{
		Agents:      []safeguard.ODSCode{ods(t, "RX1")},
		Authorities: []safeguard.ODSCode{ods(t, "806")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func files(dir, name string) Files {
	return Files{filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem"), filepath.Join(dir, "ca.pem")}
}

func TestWriteDevelopment(t *testing.T) {
	dir := development(t)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 8 {
		t.Fatalf("%d files, %v, want 8", len(entries), err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if os.PathSeparator == '/' && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, want 0600", e.Name(), info.Mode())
		}
	}
	before, _ := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if _, err := WriteDevelopment(dir, Development{Agents: []safeguard.ODSCode{ods(t, "RX2")}}); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.ReadFile(filepath.Join(dir, "ca.pem")); string(after) != string(before) {
		t.Error("a second call made another authority, want the same")
	}
	if _, err := ClientTLS(files(dir, "agent-RX2"), Agent); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(dir, "ca-key.pem")); err != nil {
		t.Fatal(err)
	}
	if _, err := WriteDevelopment(dir, Development{}); err == nil || !strings.Contains(err.Error(), "or neither") {
		t.Errorf("without the key: %v, want a refusal", err)
	}
}

// shake runs one handshake over a real connection and gives what each side made
// of it.
func shake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		s := tls.Server(c, server)
		if err = s.Handshake(); err == nil {
			_, err = s.Write([]byte("x"))
		}
		done <- err
	}()
	client = client.Clone()
	client.ServerName = "127.0.0.1"
	client.NextProtos = []string{"h2"}
	c, err := tls.Dial("tcp", l.Addr().String(), client)
	if err == nil {
		// In TLS 1.3 a refused client certificate shows with the first read.
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, err = io.ReadFull(c, make([]byte, 1))
		c.Close()
	}
	return <-done, err
}

func TestHandshake(t *testing.T) {
	dir, other := development(t), development(t)
	server, err := ServerTLS(files(dir, "centre"))
	if err != nil {
		t.Fatal(err)
	}
	client := func(f Files, kind Kind) *tls.Config {
		c, err := ClientTLS(f, kind)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	good := client(files(dir, "agent-RX1"), Agent)
	bare := good.Clone()
	bare.GetClientCertificate = nil
	old := good.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12

	tests := []struct {
		name           string
		client         *tls.Config
		server, caller string // what the error of each side says; empty for none
	}{
		{"agent", good, "", ""},
		{"authority", client(files(dir, "authority-806"), Authority), "", ""},
		{"no certificate", bare, "", ""}, // may connect: what it may ask for is the server's to say; see TestEntrance
		{"trusts another CA", client(files(other, "agent-RX1"), Agent), "", "unknown authority"},
		{"TLS 1.2", old, "unsupported versions", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			serverErr, clientErr := shake(t, server.Config(), tt.client)
			if tt.server == "" && tt.caller == "" {
				if serverErr != nil || clientErr != nil {
					t.Fatalf("server %v, client %v, want neither", serverErr, clientErr)
				}
				return
			}
			if serverErr == nil && clientErr == nil {
				t.Fatal("accepted")
			}
			if tt.server != "" && !strings.Contains(serverErr.Error(), tt.server) {
				t.Errorf("server %v, want %q", serverErr, tt.server)
			}
			if tt.caller != "" && !strings.Contains(clientErr.Error(), tt.caller) {
				t.Errorf("client %v, want %q", clientErr, tt.caller)
			}
		})
	}
}

// An agent's certificate must not do for pretending to be the centre, nor the
// centre's under another name.
func TestClientRefusesWhoIsNotTheCentre(t *testing.T) {
	dir := development(t)
	good, err := ClientTLS(files(dir, "agent-RX1"), Agent)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "agent-RX1.pem"), filepath.Join(dir, "agent-RX1-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	_, clientErr := shake(t, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}}, good)
	if clientErr == nil || !strings.Contains(clientErr.Error(), "verify certificate") {
		t.Errorf("agent as server: %v, want a refusal", clientErr)
	}

	ca, _, err := developmentCA(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := ca.Issue(Identity{Centre, ods(t, "DEV"), "x"}, []string{"elsewhere.example"}, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writePair(dir, "elsewhere", elsewhere); err != nil {
		t.Fatal(err)
	}
	server, err := ServerTLS(files(dir, "elsewhere"))
	if err != nil {
		t.Fatal(err)
	}
	_, clientErr = shake(t, server.Config(), good)
	if clientErr == nil || !strings.Contains(clientErr.Error(), "127.0.0.1") {
		t.Errorf("centre of another name: %v, want a refusal", clientErr)
	}
}

func TestFilesSayWhatIsWrong(t *testing.T) {
	dir := development(t)
	good := files(dir, "agent-RX1")
	garbage := filepath.Join(dir, "garbage.pem")
	if err := os.WriteFile(garbage, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	ca, _, err := developmentCA(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	issued := func(name string, from, until time.Duration) Files {
		pair, err := ca.Issue(Identity{Agent, ods(t, "RX1"), "a1"}, nil, time.Now().Add(from), time.Now().Add(until))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := writePair(dir, name, pair); err != nil {
			t.Fatal(err)
		}
		return files(dir, name)
	}
	tests := []struct {
		name  string
		files Files
		want  []string
	}{
		{"none named", Files{}, []string{"certificate", "no file named", "PEM"}},
		{"missing certificate", Files{dir + "/x.pem", good.Key, good.CA}, []string{"x.pem", "no such file", "dev-ca"}},
		{"missing key", Files{good.Certificate, dir + "/y.pem", good.CA}, []string{"key", "y.pem", "no such file"}},
		{"missing CA", Files{good.Certificate, good.Key, dir + "/z.pem"}, []string{"CA", "z.pem", "no such file"}},
		{"not PEM", Files{garbage, good.Key, good.CA}, []string{"garbage.pem", "no PEM", "-----BEGIN"}},
		{"another's key", Files{good.Certificate, files(dir, "centre").Key, good.CA}, []string{"does not match", "issued together"}},
		{"CA holds a key", Files{good.Certificate, good.Key, good.Key}, []string{"holds no certificate"}},
		{"folder", Files{dir, good.Key, good.CA}, []string{"certificate", dir}},
		{"other kind", files(dir, "authority-806"), []string{"authority/806", "want one of kind agent"}},
		{"expired", issued("old", -2*time.Hour, -time.Hour), []string{"old.pem", "expired 20", "renew"}},
		{"not yet valid", issued("new", time.Hour, 2*time.Hour), []string{"new.pem", "valid only from 20", "clock"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ClientTLS(tt.files, Agent)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is more than one line", err)
			}
		})
	}
}

func TestRenewedCertificateIsUsed(t *testing.T) {
	dir := development(t)
	w, err := open(files(dir, "agent-RX1"), Agent, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	first, err := w.current()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := WriteDevelopment(dir, Development{Agents: []safeguard.ODSCode{ods(t, "RX1")}}); err != nil {
		t.Fatal(err)
	}
	// Two writes may fall into one tick of the file system's clock.
	later := time.Now().Add(2 * time.Second)
	if err := os.Chtimes(w.files.Certificate, later, later); err != nil {
		t.Fatal(err)
	}
	w.checked = time.Time{}
	second, err := w.current()
	if err != nil {
		t.Fatal(err)
	}
	if second.certificate.Leaf.SerialNumber.Cmp(first.certificate.Leaf.SerialNumber) == 0 {
		t.Error("the old certificate is still in use")
	}

	// A renewal caught half way leaves what was there in use.
	if err := os.WriteFile(w.files.Key, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.checked = time.Time{}
	third, err := w.current()
	if err != nil || third.certificate != second.certificate {
		t.Errorf("half a renewal: %v, want the certificate of before", err)
	}
}

// FuzzParse: what Parse accepts, it writes back the same.
func FuzzParse(f *testing.F) {
	f.Add("spiffe://safeguard/agent/RX1/a1")
	f.Add("spiffe://safeguard/centre/DEV/..")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := Parse(s); err == nil && (id.String() != s || id.Kind == NoKind || id.Code.IsZero()) {
			t.Errorf("Parse(%q) = %q", s, id)
		}
	})
}
