package main

import (
	"fmt"
	"os"

	"github.com/safeguard-edge/safeguard/central"
	"github.com/safeguard-edge/safeguard/configs"
	"github.com/safeguard-edge/safeguard/control"
)

type configCommands struct {
	Check struct {
		Config string `required:"" type:"path" placeholder:"FILE" help:"The configuration, YAML."`
	} `cmd:"" help:"Read the configuration file and say what is wrong with it: the line, the key, and what would be right. Exit code 0: good, 1: not."`
	Show struct {
		Config string `required:"" type:"path" placeholder:"FILE" help:"The configuration, YAML."`
		JSON   bool   `name:"json" help:"Write JSON."`
	} `cmd:"" help:"Print every key with the value that holds, defaults too; secrets by the names of their files."`
	Init struct {
		Output      string `arg:"" optional:"" type:"path" default:"central.yaml" placeholder:"FILE" help:"The file to write; one that is there is left alone."`
		Listen      string `placeholder:"HOST:PORT" help:"Where to listen."`
		Address     string `name:"public-address" placeholder:"HOST:PORT" help:"What agents and local authorities dial."`
		Data        string `placeholder:"FOLDER" help:"For what the centre keeps."`
		MasterKey   string `placeholder:"FILE" help:"The master key, outside that folder."`
		Certificate string `placeholder:"FILE" help:"The centre's certificate, PEM."`
		Key         string `placeholder:"FILE" help:"Its key, PEM."`
		TestNumbers bool   `help:"For a test environment: take NHS numbers of the test range (999) as any others."`
		ClientsCA   string `name:"clients-ca" placeholder:"FILE" help:"An authority whose certificates are trusted besides those that the centre issues, PEM."`
	} `cmd:"" help:"Write a new configuration file that is good."`
	Reload    control.ReloadCommand `cmd:"" help:"Have the running centre take the configuration file again: new and changed sites and authorities, and how it logs. It is checked whole before anything changes. Exit code 0: all of it is in force, 1: it is bad and nothing has changed, 3: some keys need a restart, 4: no centre runs or it does not let this user in."`
	Schema    struct{}              `cmd:"" help:"Print the JSON Schema of the file, for editors."`
	Reference struct{}              `cmd:"" help:"Print a file with every key, what it is, and its default."`
}

func (c *configCommands) run(command string) error {
	switch command {
	case "config check":
		if _, err := central.Load(c.Check.Config); err != nil {
			return err
		}
		fmt.Println("configuration is valid")
		return nil
	case "config show":
		return c.show()
	case "config schema":
		return write(configs.Schema("central"))
	case "config reference":
		return write(configs.Reference("central"))
	}
	i := central.Initial{Listen: c.Init.Listen, PublicAddress: c.Init.Address, TestNumbers: c.Init.TestNumbers, Data: c.Init.Data, MasterKey: c.Init.MasterKey,
		Certificate: c.Init.Certificate, Key: c.Init.Key, ClientsCA: c.Init.ClientsCA}
	if err := i.Write(c.Init.Output); err != nil {
		return err
	}
	fmt.Printf("%s is written. Next: safeguard-central run --config %s\n", c.Init.Output, c.Init.Output)
	return nil
}

func (c *configCommands) show() error {
	config, err := central.Load(c.Show.Config)
	if err != nil {
		return err
	}
	text, err := configs.Show(config)
	if err == nil && c.Show.JSON {
		text, err = configs.ToJSON(text)
	}
	if err != nil {
		return err
	}
	return write(string(text))
}

func write(text string) error {
	_, err := os.Stdout.WriteString(text)
	return err
}
