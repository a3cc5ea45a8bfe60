package main

import (
	"bytes"
	"encoding/json"
	"slices"
)

type object = map[string]any

// schema writes the JSON Schema (draft 2020-12).
func (d *description) schema() ([]byte, error) {
	s := d.root.schema()
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["$id"] = "https://github.com/safeguard-edge/safeguard/configs/" + d.program.name + ".schema.json"
	s["title"] = "Configuration of safeguard-" + d.program.name
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(s)
	return b.Bytes(), err
}

// durationPattern is what time.ParseDuration reads of what makes sense here.
const durationPattern = `^(0|([0-9]+(\.[0-9]+)?(ms|us|µs|ns|s|m|h))+)$`

func (k *key) schema() object {
	s := object{}
	if k.comment != "" {
		s["description"] = k.comment
	}
	switch k.kind {
	case section:
		s["type"], s["additionalProperties"] = "object", false
		properties, required := object{}, []string{}
		for _, c := range k.keys {
			properties[c.name] = c.schema()
			if c.required && !slices.Contains(k.alternatives, c.name) {
				required = append(required, c.name)
			}
		}
		s["properties"] = properties
		if len(required) > 0 {
			s["required"] = required
		}
		if len(k.alternatives) > 0 {
			var one []object
			for _, name := range k.alternatives {
				one = append(one, object{"required": []string{name}})
			}
			s["oneOf"] = one
		}
	case list:
		s["type"], s["items"] = []string{"array", "null"}, k.item.schema()
		if k.required {
			s["type"], s["minItems"] = "array", 1
		}
	case words:
		s["type"], s["additionalProperties"] = "object", object{"type": "string"}
	case duration:
		s["type"], s["pattern"] = "string", durationPattern
	case integer:
		s["type"] = "integer"
	case number:
		s["type"] = "number"
	case yesNo:
		s["type"] = "boolean"
	case text:
		s["type"] = "string"
		if len(k.values) > 0 {
			s["enum"] = k.values
			if !k.required && k.of.Kind().String() == "string" { // nothing said is the default
				s["enum"] = append([]string{""}, k.values...)
			}
		}
	}
	if v := k.standard(); v != nil && k.example == nil && k.kind != section {
		s["default"] = v
	}
	if k.example != nil && k.kind != section && !(k.kind == list && k.items[0].kind == section) {
		s["examples"] = []any{k.example}
	}
	return s
}
