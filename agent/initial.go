package agent

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/safeguard-edge/safeguard/configs"
)

// Initial is what a new configuration file is told. What is empty is asked for,
// or is that of the sample for the kind of site.
type Initial struct {
	Kind             string // of site: a care setting
	Organisation     string // ODS code
	Site             string // ODS code
	Device           string
	AccountableName  string
	AccountableRole  string
	Central          string // host:port
	Feed             string // what the sample's transport is told first: an address, or a folder
	EPR              string // the same of its sink
	Data             string // folder
	MasterKey        string // file
	Certificate, Key string // files
	CA               string // file
	TestNumbers      bool   // of the range 999 are patients' as any others
}

// Write writes a file that loads, at path, and not over one that is there. What
// is missing is asked of from, unless that is nil.
func (i Initial) Write(path string, from io.Reader, out io.Writer) error {
	var in *bufio.Scanner
	if from != nil {
		in = bufio.NewScanner(from)
	}
	if i.Kind == "" {
		kind := []configs.Answer{{Flag: "--kind", Question: "Kind of site, one of " + strings.Join(configs.Kinds("agent"), ", "), Default: configs.Kinds("agent")[0]}}
		if err := configs.Ask(kind, in, out); err != nil {
			return err
		}
		i.Kind = kind[0].Value
	}
	text, err := configs.Sample("agent", i.Kind)
	if err != nil {
		return err
	}
	text, err = i.fill(text, in, out)
	if err != nil {
		return err
	}
	return configs.WriteNew(path, text, func(path string) error {
		_, err := LoadConfig(path)
		return err
	})
}

func (i Initial) fill(text string, in *bufio.Scanner, out io.Writer) (string, error) {
	who := []configs.Answer{
		{Flag: "--organisation", Question: "ODS code of the organisation", Value: i.Organisation},
		{Flag: "--site", Question: "ODS code of the site", Value: i.Site},
		{Flag: "--accountable-name", Question: "Name of the person who answers for the lookups", Value: i.AccountableName},
		{Flag: "--accountable-role", Question: "That person's role", Value: i.AccountableRole, Default: "Named doctor for safeguarding"},
		{Flag: "--central", Question: "The centre, as host:port", Value: i.Central},
	}
	if err := configs.Ask(who, in, out); err != nil {
		return "", err
	}
	organisation := strings.ToUpper(who[0].Value)
	where := []configs.Answer{
		{Flag: "--device", Question: "Name of this agent", Value: i.Device, Default: strings.ToLower(organisation + "-" + i.Kind + "-1")},
		{Flag: "--feed", Question: "The feed: " + question(text, feedPaths), Value: i.Feed, Default: at(text, feedPaths)},
		{Flag: "--epr", Question: "The EPR: " + question(text, sinkPaths), Value: i.EPR, Default: at(text, sinkPaths)},
		{Flag: "--data", Question: "Folder for what the agent keeps", Value: i.Data, Default: onThisSystem(at(text, []string{"data"}), `data`)},
		{Flag: "--master-key", Question: "File for the master key", Value: i.MasterKey, Default: onThisSystem(at(text, []string{"master_key"}), `keys\master.key`)},
		{Flag: "--certificate", Question: "File of the agent's certificate", Value: i.Certificate, Default: "certificates/agent-" + organisation + ".pem"},
		{Flag: "--key", Question: "File of its key", Value: i.Key, Default: "certificates/agent-" + organisation + "-key.pem"},
		{Flag: "--ca", Question: "File of who signed the centre's certificate", Value: i.CA, Default: at(text, []string{"central.ca"})},
	}
	if err := configs.Ask(where, in, out); err != nil {
		return "", err
	}
	site := strings.ToUpper(who[1].Value)
	for _, set := range []struct {
		paths []string
		value string
	}{
		{[]string{"organisation"}, organisation},
		{[]string{"sites[0]"}, site},
		{[]string{"feeds[0].site"}, site},
		{[]string{"sinks[0].message.facility"}, site},
		{[]string{"accountable.name"}, who[2].Value},
		{[]string{"accountable.role"}, who[3].Value},
		{[]string{"central.address"}, who[4].Value},
		{[]string{"device"}, where[0].Value},
		{feedPaths, where[1].Value},
		{sinkPaths, where[2].Value},
		{[]string{"data"}, where[3].Value},
		{[]string{"master_key"}, where[4].Value},
		{[]string{"central.certificate"}, where[5].Value},
		{[]string{"central.key"}, where[6].Value},
		{[]string{"central.ca"}, where[7].Value},
	} {
		changed, ok := configs.SetAny(text, set.paths, set.value)
		if !ok {
			return "", fmt.Errorf("the sample for %s has no %s", i.Kind, set.paths[0])
		}
		text = changed
	}
	// What the sample alone has, and needs the same organisation.
	text, _ = configs.Set(text, "sinks[0].test_patient.hospital_number_authority", organisation)
	_, rest, _ := strings.Cut(text, "\n")
	if i.TestNumbers {
		rest = "\nproduction_checks: false         # a test environment: NHS numbers of the test range (999) are patients' as any others\n" + rest
	}
	return "# Written by safeguard-agent config init. Paths are relative to this file's folder.\n" + rest, nil
}

// What a feed and a sink are told first, by transport.
var (
	feedPaths = []string{"feeds[0].mllp.address", "feeds[0].mllp_client.address", "feeds[0].http.address", "feeds[0].folder.folder", "feeds[0].mqtt.broker.address"}
	sinkPaths = []string{"sinks[0].mllp.address", "sinks[0].folder.folder", "sinks[0].mqtt.broker.address", "sinks[0].fhir.base"}
)

var asked = map[string]string{
	"feeds[0].mllp.address":        "this host's address and port to listen on, for MLLP",
	"feeds[0].mllp_client.address": "the sender's host and port to connect to, for MLLP",
	"feeds[0].http.address":        "this host's address and port to listen on, for HTTP",
	"feeds[0].folder.folder":       "the folder into which messages are dropped",
	"feeds[0].mqtt.broker.address": "the broker's host and port",
	"sinks[0].mllp.address":        "its host and port, for MLLP",
	"sinks[0].folder.folder":       "the folder into which alerts are put",
	"sinks[0].mqtt.broker.address": "the broker's host and port",
	"sinks[0].fhir.base":           "the base of its FHIR server",
}

// onThisSystem is the sample's path, or where Windows keeps such things.
func onThisSystem(sample, windows string) string {
	if runtime.GOOS != "windows" {
		return sample
	}
	return filepath.Join(cmp.Or(os.Getenv("ProgramData"), `C:\ProgramData`), "Safeguard", "Agent", windows)
}

func question(text string, paths []string) string {
	path, _ := configs.Value(text, paths)
	return asked[path]
}

// at is what the sample has.
func at(text string, paths []string) string {
	_, value := configs.Value(text, paths)
	return value
}
