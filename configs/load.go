// Package configs holds the sample configurations, and reads the ones in use.
// It is the only door to YAML.
package configs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
)

// Load reads the YAML file into v, a pointer to a struct that holds the
// defaults. Keys that v does not have are refused, with line, column and the
// nearest key that it has.
func Load(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open configuration: %w", err)
	}
	defer f.Close()
	err = yaml.NewDecoder(f, yaml.Strict(), yaml.UseJSONUnmarshaler()).Decode(v)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("configuration %s is empty", path)
	}
	if err != nil {
		return fmt.Errorf("configuration %s%s", path, describe(err, v))
	}
	return nil
}

// describe puts a YAML error on one line: where, what, and what would be right.
func describe(err error, v any) string {
	var at yaml.Error
	if !errors.As(err, &at) {
		return ": " + err.Error()
	}
	text := at.GetMessage()
	var unknown *yaml.UnknownFieldError
	if errors.As(err, &unknown) {
		if key, ok := quoted(text); ok {
			text = fmt.Sprintf("unknown key %q", key)
			if near := nearest(key, keysOf(reflect.TypeOf(v), nil)); near != "" {
				text += fmt.Sprintf(", did you mean %q?", near)
			}
		}
	}
	if token := at.GetToken(); token != nil && token.Position != nil {
		return fmt.Sprintf(":%d:%d: %s", token.Position.Line, token.Position.Column, text)
	}
	return ": " + text
}

func quoted(s string) (string, bool) {
	_, rest, ok := strings.Cut(s, `"`)
	if !ok {
		return "", false
	}
	key, _, ok := strings.Cut(rest, `"`)
	return key, ok
}

// keysOf collects every YAML key of a type.
func keysOf(t reflect.Type, keys []string) []string {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return keysOf(t.Elem(), keys)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if key, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); key != "" && key != "-" {
				keys = keysOf(f.Type, append(keys, key))
			}
		}
	}
	return keys
}

// nearest is the key that takes the fewest edits to write instead; none when it
// would take more than half of them.
func nearest(key string, keys []string) string {
	best, distance := "", len(key)/2+1
	for _, k := range keys {
		if d := edits(key, k); d < distance {
			best, distance = k, d
		}
	}
	return best
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// Beside makes a path that is not absolute relative to the folder of the
// configuration file, so that it means the same wherever the program is started.
func Beside(file, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(file), path)
}
