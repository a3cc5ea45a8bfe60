package configs

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed *.sample.yaml *.reference.yaml *.schema.json
var files embed.FS

// Schema is the JSON Schema of the file of safeguard-program, for editors.
func Schema(program string) string { return read(program + ".schema.json") }

// Reference is a file of safeguard-program with every key.
func Reference(program string) string { return read(program + ".reference.yaml") }

// Sample is a file of safeguard-program to begin with, for a kind of site.
// Kinds are the words of care settings; none is the one that is met most.
func Sample(program, kind string) (string, error) {
	name := program + ".sample.yaml"
	if kind != "" && kind != usual {
		name = program + "." + kind + ".sample.yaml"
	}
	text, err := files.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("kind %q: want one of %s", kind, strings.Join(Kinds(program), ", "))
	}
	return string(text), nil
}

// usual is the kind of the sample that names none.
const usual = "emergency-department"

// Kinds are what there are samples for.
func Kinds(program string) []string {
	kinds := []string{usual}
	entries, _ := files.ReadDir(".") // is always there
	for _, e := range entries {
		if rest, ok := strings.CutPrefix(e.Name(), program+"."); ok {
			if kind, ok := strings.CutSuffix(rest, ".sample.yaml"); ok {
				kinds = append(kinds, kind)
			}
		}
	}
	return kinds
}

// read gives an embedded file, which is there: a test reads each.
func read(name string) string {
	text, err := files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return string(text)
}
