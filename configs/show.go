package configs

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// Show writes a configuration as a file that would be read as the same, with
// every key and its value. Secrets are in it as they are in the file: by the
// names of their files.
func Show(v any) ([]byte, error) {
	text, err := yaml.MarshalWithOptions(shown(reflect.ValueOf(v)), yaml.IndentSequence(true))
	if err != nil {
		return nil, fmt.Errorf("show configuration: %w", err)
	}
	return text, nil
}

// ToJSON writes what Show wrote as JSON.
func ToJSON(text []byte) ([]byte, error) { return yaml.YAMLToJSON(text) }

// shown is a value as YAML has it; nil for a section that is not there.
func shown(v reflect.Value) any {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		return shown(v.Elem())
	}
	if d, ok := v.Interface().(time.Duration); ok {
		return d.String()
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, err := m.MarshalText()
		if err != nil {
			return nil
		}
		return string(text)
	}
	switch v.Kind() {
	case reflect.Struct:
		return section(v)
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = shown(v.Index(i))
		}
		return list
	case reflect.Map: // of words
		keys := yaml.MapSlice{}
		for iter := v.MapRange(); iter.Next(); {
			keys = append(keys, yaml.MapItem{Key: iter.Key().String(), Value: shown(iter.Value())})
		}
		slices.SortFunc(keys, func(a, b yaml.MapItem) int { return strings.Compare(a.Key.(string), b.Key.(string)) })
		return keys
	case reflect.Float64:
		if f := v.Float(); f == float64(int64(f)) {
			return int64(f)
		}
	case reflect.String: // of whatever type
		return v.String()
	}
	return v.Interface()
}

func section(v reflect.Value) yaml.MapSlice {
	keys := yaml.MapSlice{}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case f.Anonymous && key == "":
			keys = append(keys, section(v.Field(i))...)
		case key == "" || key == "-":
		default:
			if value := shown(v.Field(i)); value != nil {
				keys = append(keys, yaml.MapItem{Key: key, Value: value})
			}
		}
	}
	return keys
}
