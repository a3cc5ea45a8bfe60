package main

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"
)

// description is all that is known of a program's file.
type description struct {
	program program
	root    *key
}

// key is one key of the file, or the items of a list.
type key struct {
	name    string
	comment string
	kind    kind
	of      reflect.Type
	values  []string // that a word may have; none for any

	value    reflect.Value // in the first part of the example that has it
	example  any           // as the example has it; nil where it does not
	required bool

	keys         []*key   // of a section, in the order of the struct
	alternatives []string // of which one is wanted
	items        []*key   // of a list, as the example has them
	item         *key     // of a list: what all of them may have
}

type kind int

const (
	section kind = iota
	list
	words // a map of text to text
	text
	duration
	integer
	number
	yesNo
)

func (p program) describe(root string) (*description, error) {
	dir, err := os.MkdirTemp("", "reference")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var example map[string]any
	if err := json.Unmarshal(p.example, &example); err != nil {
		return nil, fmt.Errorf("example: %w", err)
	}
	file := filepath.Join(dir, p.name+".yaml")
	try := func() (reflect.Value, error) {
		text, err := json.Marshal(example) // which is YAML
		if err != nil {
			return reflect.Value{}, err
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return reflect.Value{}, err
		}
		return p.load(file)
	}
	value, err := try()
	if err != nil {
		return nil, fmt.Errorf("example: %w", err)
	}
	w := &walker{
		source: source{root: root, types: map[string]typeSource{}},
		needed: func(in map[string]any, key string) bool {
			kept := in[key]
			delete(in, key)
			_, err := try()
			in[key] = kept
			return err != nil
		},
	}
	k := &key{value: value, required: true}
	if err := w.fill(k, value.Type(), example); err != nil {
		return nil, err
	}
	if len(w.silent) > 0 {
		slices.Sort(w.silent)
		return nil, fmt.Errorf("no comment that says what it is: %s", strings.Join(slices.Compact(w.silent), ", "))
	}
	return &description{p, k}, nil
}

// walker makes keys of types.
type walker struct {
	source source
	needed func(in map[string]any, key string) bool
	silent []string // fields without a comment that says what they are
}

var (
	texts     = reflect.TypeFor[encoding.TextUnmarshaler]()
	durations = reflect.TypeFor[time.Duration]()
)

// fill tells what k is, given its type and the example.
func (w *walker) fill(k *key, t reflect.Type, example any) error {
	for t.Kind() == reflect.Pointer {
		if t = t.Elem(); k.value.IsValid() && k.value.Kind() == reflect.Pointer {
			k.value = k.value.Elem()
		}
	}
	k.example, k.of = example, t
	switch {
	case t == durations:
		k.kind = duration
	case reflect.PointerTo(t).Implements(texts):
		k.kind, k.values = text, wordsOf(t)
	case t.Kind() == reflect.String:
		k.kind = text
		var err error
		k.values, err = w.source.constants(t)
		return err
	case t.Kind() == reflect.Bool:
		k.kind = yesNo
	case t.Kind() == reflect.Float64:
		k.kind = number
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		k.kind = integer
	case t.Kind() == reflect.Map:
		k.kind = words
	case t.Kind() == reflect.Slice:
		return w.list(k, t.Elem(), example)
	case t.Kind() == reflect.Struct:
		return w.section(k, t, example)
	default:
		return fmt.Errorf("%s: a %s can not be described", k.name, t)
	}
	return nil
}

func (w *walker) list(k *key, t reflect.Type, example any) error {
	k.kind = list
	listed, _ := example.([]any)
	n := len(listed)
	for i := range max(n, 1) {
		item := &key{required: true}
		var e any
		if i < n {
			e = listed[i]
		}
		if k.value.IsValid() && i < k.value.Len() {
			item.value = k.value.Index(i)
		} else {
			item.value = reflect.Zero(t)
		}
		if err := w.fill(item, t, e); err != nil {
			return err
		}
		k.items = append(k.items, item)
	}
	k.item = merge(k.items)
	return nil
}

// merge makes one section of several, and finds the keys of which each has
// another one.
func merge(items []*key) *key {
	all := *items[0]
	if all.kind != section {
		return &all
	}
	all.keys = slices.Clone(all.keys)
	for i, k := range all.keys {
		somewhere, everywhere := false, true
		for _, item := range items {
			somewhere = somewhere || item.keys[i].required
			everywhere = everywhere && item.keys[i].required
			if k.example == nil && item.keys[i].example != nil {
				all.keys[i] = item.keys[i]
			}
		}
		if somewhere && !everywhere {
			all.alternatives = append(all.alternatives, k.name)
		}
	}
	for _, item := range items {
		item.alternatives = all.alternatives
	}
	return &all
}

func (w *walker) section(k *key, t reflect.Type, example any) error {
	k.kind = section
	in, _ := example.(map[string]any)
	if err := w.fields(k, t, k.value, in); err != nil {
		return err
	}
	if unknown := slices.DeleteFunc(slices.Sorted(maps.Keys(in)), func(name string) bool { return k.child(name) != nil }); len(unknown) > 0 {
		return errors.New("example has " + unknown[0] + ", which is not a key")
	}
	return nil
}

// fields makes keys of the fields of a section, and of the sections embedded in it.
func (w *walker) fields(k *key, t reflect.Type, section reflect.Value, in map[string]any) error {
	for i := range t.NumField() {
		f := t.Field(i)
		value := reflect.Value{}
		if section.IsValid() {
			value = section.Field(i)
		}
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if f.Anonymous && name == "" {
			if err := w.fields(k, f.Type, value, in); err != nil {
				return err
			}
			continue
		}
		if name == "" || name == "-" {
			continue
		}
		comment, err := w.source.comment(t, f)
		if err != nil {
			return err
		}
		child := &key{name: name, comment: comment, value: value}
		if _, there := in[name]; there {
			child.required = w.needed(in, name)
		}
		if err := w.fill(child, f.Type, in[name]); err != nil {
			return err
		}
		if child.comment == "" {
			w.silent = append(w.silent, fmt.Sprintf("%s.%s (%s)", t, f.Name, name))
			child.comment = "?"
		}
		k.keys = append(k.keys, child)
	}
	return nil
}

func (k *key) child(name string) *key {
	for _, c := range k.keys {
		if c.name == name {
			return c
		}
	}
	return nil
}

// wordsOf finds the words of a type that counts them.
func wordsOf(t reflect.Type) []string {
	if t.Kind() != reflect.Int {
		return nil
	}
	var all []string
	for n := range 64 {
		v := reflect.New(t)
		v.Elem().SetInt(int64(n))
		word, err := v.Interface().(encoding.TextMarshaler).MarshalText()
		if err != nil || v.Interface().(encoding.TextUnmarshaler).UnmarshalText(word) != nil || v.Elem().Int() != int64(n) {
			continue
		}
		if n > 0 { // the zero value is that nothing is said
			all = append(all, string(word))
		}
	}
	return all
}
