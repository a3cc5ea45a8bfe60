//go:build packages

package packages

import (
	"os"
	"strings"
	"testing"
)

// TestRPMIsInstalledUpgradedAndRemoved: rpm itself does it, in a root of its own and
// with a database of its own. Its scripts are run; what the service manager would do
// is not, as neither systemd nor an init script is there.
func TestRPMIsInstalledUpgradedAndRemoved(t *testing.T) {
	for _, program := range []string{"agent", "central"} {
		t.Run(program, func(t *testing.T) {
			m := newMachine(t)
			name, config := "safeguard-"+program, "/etc/safeguard-"+program+"/"+program+".yaml"
			// --nodeps: this machine's database of packages is another one's.
			rpm := func(args ...string) string {
				t.Helper()
				return m.run(append([]string{"rpm", "--dbpath", "/tmp/rpm", "--nodeps"}, args...)...)
			}
			for _, version := range []string{older, newer} {
				text, err := os.ReadFile(file(t, version, name+"-*.x86_64.rpm"))
				if err != nil {
					t.Fatal(err)
				}
				m.write("/tmp/"+version+".rpm", string(text))
			}
			rpm("--install", "/tmp/"+older+".rpm")
			m.want(0, name+" 1.2.3", name, "version")
			m.want(0, name+"-1.2.3-1", "rpm", "--dbpath", "/tmp/rpm", "-q", name)
			for path, want := range map[string]string{
				"/etc/" + name: "1770 root:" + name, "/etc/" + name + "/certificates": "750 " + name + ":" + name,
				"/var/lib/" + name: "700 " + name + ":" + name, "/usr/bin/" + name: "755 root:root",
			} {
				if got := strings.TrimSpace(m.run("stat", "-c", "%a %U:%G", path)); got != want {
					t.Errorf("%s is %s, want %s", path, got, want)
				}
			}
			m.run("systemd-analyze", "verify", "--man=no", "/usr/lib/systemd/system/"+name+".service")

			m.write(config, "# an administrator's\n")
			m.run("sh", "-c", "echo '# edited' >> /etc/logrotate.d/"+name)
			rpm("--upgrade", "/tmp/"+newer+".rpm")
			m.want(0, name+" 1.2.4", name, "version")
			m.want(0, "# an administrator's", "cat", config)
			m.want(0, "# edited", "tail", "-n", "1", "/etc/logrotate.d/"+name)
			rpm("--upgrade", "--oldpackage", "/tmp/"+older+".rpm")
			m.want(0, name+" 1.2.3", name, "version")

			rpm("--erase", name)
			if m.has("/usr/bin/"+name) || m.has("/usr/lib/systemd/system/"+name+".service") || !m.has(config) || !m.has("/var/lib/"+name) {
				t.Error("want the program gone, its configuration and data kept")
			}
			m.want(1, "", "rpm", "--dbpath", "/tmp/rpm", "-q", name)
		})
	}
}
