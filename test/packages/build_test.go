//go:build packages

package packages

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/test/loopback"
)

// Versions that are built: the second is signed, and is what the first is
// upgraded to.
const (
	older = "1.2.3"
	newer = "1.2.4"
)

// built are the folders of the packages, by version.
var built = map[string]string{}

var signing struct{ certificate, key string }

// TestMain builds the packages, or takes those of an earlier run from the folder
// that SAFEGUARD_PACKAGES names.
func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "packages:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if os.Getuid() != 0 {
		return 0, fmt.Errorf("installing packages takes root")
	}
	dir := os.Getenv("SAFEGUARD_PACKAGES")
	if dir == "" {
		if dir, err = os.MkdirTemp("", "safeguard-packages-"); err != nil {
			return 0, err
		}
		defer os.RemoveAll(dir)
	}
	signing.certificate, signing.key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	built[older], built[newer] = filepath.Join(dir, older), filepath.Join(dir, newer)
	if _, err := os.Stat(built[newer]); err == nil {
		return m.Run(), nil
	}
	if err := selfSigned(); err != nil {
		return 0, err
	}
	if err := build(older, built[older], "windows/amd64 linux/amd64 linux/arm64"); err != nil {
		return 0, err
	}
	if err := build(newer, built[newer], "windows/amd64 linux/amd64", "SIGN_CERT="+signing.certificate, "SIGN_KEY="+signing.key); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

func build(version, folder, platforms string, env ...string) error {
	cmd := exec.Command("../../installer/packages/build.sh", folder)
	cmd.Env = append(append(os.Environ(), "VERSION="+version, "PLATFORMS="+platforms), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", version, err, out)
	}
	return nil
}

// selfSigned makes a certificate to sign with.
func selfSigned() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Safeguard packages test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(signing.key), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(signing.certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(signing.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
}

// command runs a command of this machine, and fails the test when that fails.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	var errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, errs.Bytes())
	}
	return string(out)
}

// file is the one of a version whose name has the pattern.
func file(t *testing.T, version, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(built[version], pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: found %v, %v, want one file", pattern, found, err)
	}
	return found[0]
}

func TestEveryPlatformHasItsPackages(t *testing.T) {
	var got []string
	entries, err := os.ReadDir(built[older])
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		got = append(got, e.Name())
	}
	want := []string{"SHA256SUMS"}
	for _, program := range []string{"agent", "central"} {
		want = append(want, "safeguard-"+program+"_1.2.3_windows_amd64.msi")
		for _, platform := range []string{"linux_amd64", "linux_arm64", "windows_amd64"} {
			want = append(want, "safeguard-"+program+"_1.2.3_"+platform+".zip", "safeguard-"+program+"_1.2.3_"+platform+".cdx.json")
		}
		for _, arch := range []string{"amd64", "arm64"} {
			want = append(want, "safeguard-"+program+"_1.2.3-1_"+arch+".deb")
		}
		for _, arch := range []string{"x86_64", "aarch64"} {
			want = append(want, "safeguard-"+program+"-1.2.3-1."+arch+".rpm")
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if out := command(t, "sh", "-c", "cd "+built[older]+" && sha256sum -c SHA256SUMS | grep -c OK"); strings.TrimSpace(out) != fmt.Sprint(len(want)-1) {
		t.Errorf("%s checksums hold, want %d", strings.TrimSpace(out), len(want)-1)
	}
}

func TestBillOfMaterialsNamesWhatIsBuiltIn(t *testing.T) {
	for _, program := range []string{"agent", "central"} {
		text, err := os.ReadFile(file(t, older, "safeguard-"+program+"_1.2.3_linux_amd64.cdx.json"))
		if err != nil {
			t.Fatal(err)
		}
		var bom struct {
			Format     string `json:"bomFormat"`
			Components []struct{ Name, Version, PURL string }
		}
		if err := json.Unmarshal(text, &bom); err != nil {
			t.Fatal(err)
		}
		named := map[string]bool{}
		for _, c := range bom.Components {
			named[c.Name] = c.Version != "" && c.PURL != ""
		}
		for _, module := range []string{"google.golang.org/grpc", "modernc.org/sqlite", "std"} {
			if !named[module] {
				t.Errorf("%s: %s is not named with its version", program, module)
			}
		}
		if bom.Format != "CycloneDX" || len(named) < 20 {
			t.Errorf("%s: format %q, %d components", program, bom.Format, len(named))
		}
	}
}

func TestWindowsFilesAreSignedAndAChangeIsNoticed(t *testing.T) {
	dir := t.TempDir()
	command(t, "unzip", "-q", file(t, newer, "safeguard-agent_*_windows_amd64.zip"), "-d", dir)
	exe := filepath.Join(dir, "safeguard-agent_1.2.4_windows_amd64", "safeguard-agent.exe")
	for _, signed := range []string{file(t, newer, "safeguard-agent_*.msi"), file(t, newer, "safeguard-central_*.msi"), exe} {
		command(t, "osslsigncode", "verify", "-CAfile", signing.certificate, "-in", signed)
		text, err := os.ReadFile(signed)
		if err != nil {
			t.Fatal(err)
		}
		text[len(text)/2] ^= 1
		changed := filepath.Join(dir, "changed")
		if err := os.WriteFile(changed, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), "osslsigncode", "verify", "-CAfile", signing.certificate, "-in", changed).CombinedOutput(); err == nil {
			t.Errorf("%s: one flipped bit is not noticed:\n%s", filepath.Base(signed), out)
		}
	}
}

func TestZipHoldsAProgramThatRuns(t *testing.T) {
	for _, program := range []string{"agent", "central"} {
		dir := t.TempDir()
		command(t, "unzip", "-q", file(t, older, "safeguard-"+program+"_*_linux_amd64.zip"), "-d", dir)
		name := "safeguard-" + program
		out := command(t, filepath.Join(dir, name+"_1.2.3_linux_amd64", name), "version")
		if !strings.HasPrefix(out, name+" 1.2.3") {
			t.Errorf("got %q, want version 1.2.3", out)
		}
	}
}

func TestRPMHoldsWhatTheDebDoes(t *testing.T) {
	for _, program := range []string{"agent", "central"} {
		name := "safeguard-" + program
		rpm := file(t, older, name+"-*.x86_64.rpm")
		files := strings.Fields(command(t, "rpm", "-qlp", rpm))
		for _, want := range []string{"/usr/bin/" + name, "/usr/lib/systemd/system/" + name + ".service", "/usr/share/doc/" + name + "/" + program + ".reference.yaml"} {
			if !slices.Contains(files, want) {
				t.Errorf("%s is not in the rpm: %v", want, files)
			}
		}
		if out := command(t, "rpm", "-qcp", rpm); strings.TrimSpace(out) != "/etc/logrotate.d/"+name {
			t.Errorf("kept configuration is %q, want that of logrotate", out)
		}
		scripts := command(t, "rpm", "-qp", "--scripts", rpm)
		for _, want := range []string{`"$name" service prepare`, `"$name" service stop`} {
			if !strings.Contains(scripts, want) {
				t.Errorf("no script does %s", want)
			}
		}
		dir := t.TempDir()
		command(t, "sh", "-c", "cd "+dir+" && rpm2cpio "+rpm+" | cpio -idm --quiet --no-absolute-filenames")
		if out := command(t, filepath.Join(dir, "usr/bin", name), "version"); !strings.HasPrefix(out, name+" 1.2.3") {
			t.Errorf("got %q, want version 1.2.3", out)
		}
	}
}

// admit sends a message about a made-up patient as a hospital does, and wants it
// accepted.
func admit(t *testing.T, address, control string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	message := strings.Join([]string{
		`MSH|^~\&|PAS|RX101|SAFEGUARD|RX101|20260314093000||ADT^A04^ADT_A01|` + control + `|P|2.4`,
		"EVN|A04|20260314093000",
		"PID|1||H000123^^^RX1^MR~9990000018^^^NHS^NH||ZZTEST^ASTER||20190203|F",
		"PV1|1|E|ED^^^RX101||||||||||||||||A000123|||||||||||||||||||||||||20260314093000",
	}, "\r")
	if _, err := io.WriteString(conn, "\x0b"+message+"\r\x1c\r"); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 4096)
	n, err := conn.Read(answer)
	if err != nil || !strings.Contains(string(answer[:n]), "MSA|AA|"+control) {
		t.Fatalf("the feed answered %q, %v, want AA", answer[:n], err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	address, err := loopback.Free()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// configuration is the sample, with other values for some of its lines.
func configuration(t *testing.T, program string, pairs ...string) string {
	t.Helper()
	text, err := os.ReadFile("../../configs/" + program + ".sample.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(string(text), pairs[i]) {
			t.Fatalf("the sample has no %q", pairs[i])
		}
	}
	return strings.NewReplacer(pairs...).Replace(string(text))
}
