// Command reference writes the reference and the JSON Schema of both programs'
// configuration files into the folder configs. Both come from the structs that
// the files are read into: names and types, the comments of their fields, and
// their defaults. What has no default has an example in agent.json and
// central.json, and what can not be left out is found by leaving it out.
package main

import (
	_ "embed"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"

	"github.com/safeguard-edge/safeguard/agent"
	"github.com/safeguard-edge/safeguard/central"
)

//go:embed agent.json
var agentExample []byte

//go:embed central.json
var centralExample []byte

// program is one of the two whose file is described.
type program struct {
	name    string // safeguard-NAME
	example []byte
	load    func(path string) (reflect.Value, error)
}

var programs = []program{
	{"agent", agentExample, func(path string) (reflect.Value, error) {
		c, err := agent.LoadConfig(path)
		return reflect.ValueOf(c), err
	}},
	{"central", centralExample, func(path string) (reflect.Value, error) {
		c, err := central.Load(path)
		return reflect.ValueOf(c), err
	}},
}

func main() {
	root := flag.String("module", ".", "folder of the module")
	flag.Parse()
	if err := write(*root); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

func write(root string) error {
	for _, p := range programs {
		files, err := p.files(root)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(root, "configs", name), text, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// files are what is written, by name.
func (p program) files(root string) (map[string][]byte, error) {
	d, err := p.describe(root)
	if err != nil {
		return nil, err
	}
	schema, err := d.schema()
	if err != nil {
		return nil, err
	}
	return map[string][]byte{p.name + ".reference.yaml": d.reference(), p.name + ".schema.json": schema}, nil
}
