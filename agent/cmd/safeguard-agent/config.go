package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/mattn/go-isatty"

	"github.com/safeguard-edge/safeguard/agent"
	"github.com/safeguard-edge/safeguard/configs"
	"github.com/safeguard-edge/safeguard/control"
)

type configCommands struct {
	Check     configCheck           `cmd:"" help:"Read the configuration file and say what is wrong with it: the line, the key, and what would be right. Nothing else is touched. Exit code 0: good, 1: not."`
	Show      configShow            `cmd:"" help:"Print every key with the value that holds, defaults too; secrets by the names of their files. Exit code 0: done, 1: failed, 4: no agent runs or it does not let this user in."`
	Init      configInit            `cmd:"" help:"Write a new configuration file that is good, from the sample for the kind of site. What no flag says is asked on a terminal. Exit code 0: written, 1: not."`
	Reload    control.ReloadCommand `cmd:"" help:"Have the running agent take the configuration file again. It is checked whole before anything changes; feeds and sinks that it leaves as they are keep their connections. Exit code 0: all of it is in force, 1: it is bad and nothing has changed, 3: some keys need a restart, 4: no agent runs or it does not let this user in."`
	Schema    configSchema          `cmd:"" help:"Print the JSON Schema of the file, for editors."`
	Reference configRef             `cmd:"" help:"Print a file with every key, what it is, and its default."`
}

type configured struct {
	Config string `help:"Configuration file." required:"" type:"path" placeholder:"FILE"`
}

type configCheck struct{ configured }

func (c configCheck) Run() error {
	config, err := agent.LoadConfig(c.Config)
	if err != nil {
		return err
	}
	if err := config.CheckMessages(); err != nil {
		return err
	}
	fmt.Println("configuration is valid")
	return nil
}

type configShow struct {
	configured
	Running bool `help:"Show what is in force in the running agent instead."`
	JSON    bool `help:"Write JSON." name:"json"`
}

func (c configShow) Run() error {
	config, err := agent.LoadConfig(c.Config)
	if err != nil && !c.Running {
		return err
	}
	if c.Running {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		r, err := agent.InForce(ctx, c.Config)
		if err != nil {
			return err
		}
		if r.Aside != "" {
			fmt.Fprintln(os.Stderr, "the agent started with its last good configuration:", r.Aside)
		}
		return c.print(r.InForce)
	}
	text, err := configs.Show(config)
	if err != nil {
		return err
	}
	return c.print(text)
}

func (c configShow) print(text []byte) (err error) {
	if c.JSON {
		if text, err = configs.ToJSON(text); err != nil {
			return err
		}
	}
	_, err = os.Stdout.Write(text)
	return err
}

type configInit struct {
	Output          string `arg:"" optional:"" type:"path" default:"agent.yaml" placeholder:"FILE" help:"The file to write; one that is there is left alone."`
	Kind            string `placeholder:"KIND" help:"Kind of site: emergency-department, maternity, paediatric-ward, minor-injury-unit, out-of-hours-gp, walk-in-centre or ambulance-service."`
	Organisation    string `placeholder:"ODS" help:"The organisation's ODS code."`
	Site            string `placeholder:"ODS" help:"The site's ODS code."`
	Device          string `placeholder:"NAME" help:"What this agent is called in the access history."`
	AccountableName string `placeholder:"NAME" help:"Who answers for the lookups."`
	AccountableRole string `placeholder:"ROLE" help:"That person's role."`
	Central         string `placeholder:"HOST:PORT" help:"The centre."`
	Feed            string `placeholder:"WHERE" help:"What the feed needs first: an address to listen on or to call, or a folder."`
	EPR             string `name:"epr" placeholder:"WHERE" help:"The same of the EPR."`
	Data            string `placeholder:"FOLDER" help:"For what the agent keeps."`
	MasterKey       string `placeholder:"FILE" help:"The master key, outside that folder."`
	Certificate     string `placeholder:"FILE" help:"The agent's certificate, PEM."`
	Key             string `placeholder:"FILE" help:"Its key, PEM."`
	TestNumbers     bool   `help:"For a test environment: take NHS numbers of the test range (999) as any others."`
	CA              string `name:"ca" placeholder:"FILE" help:"Who signed the centre's certificate, PEM."`
}

func (c configInit) Run() error {
	var in io.Reader
	if isatty.IsTerminal(os.Stdin.Fd()) {
		in = os.Stdin
	}
	answers := agent.Initial{Kind: c.Kind, Organisation: c.Organisation, Site: c.Site, Device: c.Device, AccountableName: c.AccountableName,
		AccountableRole: c.AccountableRole, Central: c.Central, Feed: c.Feed, EPR: c.EPR, Data: c.Data, MasterKey: c.MasterKey,
		Certificate: c.Certificate, Key: c.Key, CA: c.CA, TestNumbers: c.TestNumbers}
	if err := answers.Write(c.Output, in, os.Stderr); err != nil {
		return err
	}
	fmt.Printf("%s is written. Next: safeguard-agent check --config %s\n", c.Output, c.Output)
	return nil
}

type configSchema struct{}

func (configSchema) Run() error { return print(configs.Schema("agent")) }

type configRef struct{}

func (configRef) Run() error { return print(configs.Reference("agent")) }

func print(text string) error {
	_, err := os.Stdout.WriteString(text)
	return err
}
