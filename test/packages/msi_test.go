//go:build packages

package packages

import (
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func netListen(address string) (net.Listener, error) { return net.Listen("tcp", address) }

func netDial(address string) (net.Conn, error) {
	return net.DialTimeout("tcp", address, 10*time.Second)
}

// table reads a table of an MSI: its rows, with the cells by the column's name.
func table(t *testing.T, msi, name string) []map[string]string {
	t.Helper()
	lines := strings.Split(strings.TrimRight(strings.ReplaceAll(command(t, "msiinfo", "export", msi, name), "\r", ""), "\n"), "\n")
	columns := strings.Split(lines[0], "\t")
	var rows []map[string]string
	for _, line := range lines[3:] {
		row := map[string]string{}
		for i, cell := range strings.Split(line, "\t") {
			row[columns[i]] = cell
		}
		rows = append(rows, row)
	}
	return rows
}

func TestMSIsHaveOneServiceEachAndNoSecret(t *testing.T) {
	upgraded := map[string]string{}
	for program, title := range map[string]string{"agent": "Agent", "central": "Central"} {
		t.Run(program, func(t *testing.T) { upgraded[program] = oneServiceAndNoSecret(t, program, title) })
	}
	if upgraded["agent"] == upgraded["central"] {
		t.Errorf("one would replace the other: both have the upgrade code %s", upgraded["agent"])
	}
}

// oneServiceAndNoSecret looks at the MSIs of a program, and gives their upgrade code.
func oneServiceAndNoSecret(t *testing.T, program, title string) (upgrade string) {
	properties := map[string]map[string]string{}
	for _, version := range []string{older, newer} {
		msi := file(t, version, "safeguard-"+program+"_*.msi")
		properties[version] = map[string]string{}
		for _, row := range table(t, msi, "Property") {
			properties[version][row["Property"]] = row["Value"]
		}
		services := table(t, msi, "ServiceInstall")
		if len(services) != 1 || services[0]["Name"] != "Safeguard"+title || services[0]["StartName"] == "" || services[0]["Password"] != "" {
			t.Errorf("services %v, want one, under an account that needs no password", services)
		}
		const stopAndRemove = "162" // stop at install and uninstall, delete at uninstall (ServiceControl table, Event)
		if controls := table(t, msi, "ServiceControl"); len(controls) != 1 || controls[0]["Event"] != stopAndRemove {
			t.Errorf("service control %v, want it to be stopped and removed", controls)
		}
		order := map[string]int{}
		conditions := map[string]string{}
		for _, row := range table(t, msi, "InstallExecuteSequence") {
			order[row["Action"]], _ = strconv.Atoi(row["Sequence"])
			conditions[row["Action"]] = row["Condition"]
		}
		sequence := []string{"InstallInitialize", "RemoveExistingProducts", "StopService", "StopServices", "Purge", "DeleteServices", "RemoveFiles", "InstallFiles", "InstallServices", "Configure", "StartServices", "StartService", "InstallFinalize"}
		if !slices.IsSortedFunc(sequence, func(a, b string) int { return order[a] - order[b] }) || order["Configure"] == 0 {
			t.Errorf("order %v, want %v", order, sequence)
		}
		if !strings.Contains(conditions["Purge"], "PURGE=1") || !strings.Contains(conditions["Purge"], "NOT UPGRADINGPRODUCTCODE") {
			t.Errorf("a purge happens when %s", conditions["Purge"])
		}
		for _, row := range table(t, msi, "CustomAction") {
			const deferredAsSystem = 0x400 | 0x800
			if kind, _ := strconv.Atoi(row["Type"]); kind&deferredAsSystem != deferredAsSystem {
				t.Errorf("%s has type %s, want one that is deferred and not the caller's", row["Action"], row["Type"])
			}
			if strings.Contains(strings.ReplaceAll(row["Target"], "[TOKENFILE]", ""), "TOKEN") || strings.Contains(row["Target"], "PASSWORD") {
				t.Errorf("%s takes a secret: %s", row["Action"], row["Target"])
			}
		}
	}
	if properties[older]["UpgradeCode"] != properties[newer]["UpgradeCode"] || properties[older]["ProductCode"] == properties[newer]["ProductCode"] {
		t.Errorf("want one upgrade code and two product codes: %v", properties)
	}
	// What may be named on the command line is all there is; none holds a secret.
	if got := properties[older]["SecureCustomProperties"]; got != "CONFIGFILE;PURGE;STARTSERVICE;TOKENFILE;WIX_DOWNGRADE_DETECTED;WIX_UPGRADE_DETECTED" {
		t.Errorf("properties of the command line: %s", got)
	}
	dir := t.TempDir()
	command(t, "msiextract", "-C", dir, file(t, older, "safeguard-"+program+"_*.msi"))
	for _, name := range []string{"safeguard-" + program + ".exe", program + ".sample.yaml", "install-windows.md", "LICENSE.txt"} {
		if found, _ := filepath.Glob(filepath.Join(dir, "*", title, name)); len(found) != 1 {
			t.Errorf("%s is not in the MSI", name)
		}
	}
	return properties[older]["UpgradeCode"]
}
