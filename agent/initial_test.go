package agent_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/safeguard-edge/safeguard/agent"
	"github.com/safeguard-edge/safeguard/configs"
)

func TestInitialFileOfEachKindIsGood(t *testing.T) {
	for _, kind := range configs.Kinds("agent") {
		t.Run(kind, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "agent.yaml")
			i := agent.Initial{Kind: kind, Organisation: "rx9", Site: "rx901", AccountableName: "Dr Ada Ash", Central: "centre.example:7443",
				TestNumbers: kind == "maternity"}
			if err := i.Write(file, nil, &bytes.Buffer{}); err != nil {
				t.Fatal(err)
			}
			c, err := agent.LoadConfig(file)
			if err != nil {
				t.Fatal(err)
			}
			if c.ProductionChecks == i.TestNumbers {
				t.Errorf("test numbers asked for: %v, and production_checks: %v", i.TestNumbers, c.ProductionChecks)
			}
			if err := c.CheckMessages(); err != nil {
				t.Error(err)
			}
			if c.Organisation.String() != "RX9" || c.Sites[0].String() != "RX901" || c.Accountable.Name != "Dr Ada Ash" ||
				c.Central.Address != "centre.example:7443" || filepath.Base(c.Central.Key) != "agent-RX9-key.pem" || c.Feeds[0].CareSetting.String() != kind {
				t.Errorf("got %+v", c)
			}
			text, err := os.ReadFile(file)
			if err != nil || strings.Contains(string(text), "RX1") || strings.Contains(string(text), "Imogen Hale") {
				t.Errorf("what the sample made up is still in it (%v):\n%s", err, text)
			}
			if err := i.Write(file, nil, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "is there already") {
				t.Errorf("got %v, want one that says that the file is there", err)
			}
		})
	}
}

func TestInitialFileAsksForWhatIsMissing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "agent.yaml")
	var asked bytes.Buffer
	answers := strings.Join([]string{"maternity", "RX9", "", "RX901", "Dr Ada Ash", "", "centre.example:7443"}, "\n") + strings.Repeat("\n", 20)
	if err := (agent.Initial{}).Write(file, strings.NewReader(answers), &asked); err != nil {
		t.Fatalf("%v after %s", err, &asked)
	}
	c, err := agent.LoadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	if c.Accountable.Role != "Named doctor for safeguarding" || c.Device != "rx9-maternity-1" || c.Feeds[0].MLLP.Address != "10.20.30.40:2575" {
		t.Errorf("got %+v", c)
	}
}

func TestInitialFileSaysWhichFlagsAreMissing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "agent.yaml")
	err := agent.Initial{Organisation: "RX9"}.Write(file, nil, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "--site, --accountable-name, --central") {
		t.Errorf("got %v, want one that names the flags", err)
	}
	err = agent.Initial{Organisation: "R!", Site: "RX901", AccountableName: "A", Central: "c:1"}.Write(file, nil, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "ODS code") || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v, want one that names the file and what is wrong", err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a bad file was written")
	}
}

func TestShownConfigurationLoadsAsTheSame(t *testing.T) {
	for _, file := range []string{"../configs/agent.reference.yaml", sample} {
		file, err := filepath.Abs(file)
		if err != nil {
			t.Fatal(err)
		}
		c, err := agent.LoadConfig(file)
		if err != nil {
			t.Fatal(err)
		}
		text, err := configs.Show(c)
		if err != nil {
			t.Fatal(err)
		}
		shown := filepath.Join(t.TempDir(), "agent.yaml")
		if err := os.WriteFile(shown, text, 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := agent.LoadConfig(shown)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if diff := configs.Diff(c, again); len(diff) > 0 {
			t.Errorf("%s: %v differ", file, diff)
		}
	}
}
