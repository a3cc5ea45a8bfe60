package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

const head = `# Every key of safeguard-%[1]s's configuration file. Written by "make generate" from the program itself: do not edit.
#
# A value is the default, unless its comment says "required" (there is none) or "example" (the key may be left out).
# To write a file, begin with a sample or with "safeguard-%[1]s config init", and take from here what differs.
# Durations are written as 800ms, 15s, 5m or 24h. A path that is not absolute is taken from this file's folder.
# Secrets are never written here: a key that ends with _file names the file that holds one.
# The same for editors: %[1]s.schema.json.
`

// reference writes the commented file.
func (d *description) reference() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, head, d.program.name)
	w := &printer{Buffer: &b, told: map[reflect.Type]string{}}
	for _, k := range d.root.keys {
		fmt.Fprintln(w)
		w.key(k, k.name, "")
	}
	return b.Bytes()
}

type printer struct {
	*bytes.Buffer
	told map[reflect.Type]string // where the keys of a section were listed
}

// key writes one key with all that is in it. path is where it stands.
func (w *printer) key(k *key, path, indent string) {
	comment := k.comment
	if len(k.values) > 0 {
		comment += ": " + strings.Join(k.values, ", ")
	}
	switch {
	case k.required:
		comment += " (required)"
	case k.kind == section && k.example == nil && absent(k.value):
		w.comment(fmt.Sprintf("%s (absent). Its keys are those of %s.", comment, w.told[k.of]), indent)
		fmt.Fprintf(w, "%s# %s:\n", indent, k.name)
		return
	case k.example != nil && k.kind != section:
		comment += " (example)"
	}
	w.comment(comment, indent)
	fmt.Fprintf(w, "%s%s:", indent, k.name)
	w.value(k, path, indent+"  ")
}

// value writes what stands behind the colon, with its line's end.
func (w *printer) value(k *key, path, indent string) {
	switch {
	case k.kind == section:
		var body bytes.Buffer
		(&printer{&body, w.told}).section(k, path, indent, indent)
		if bytes.HasPrefix(bytes.TrimSpace(body.Bytes()), []byte("#")) && bytes.Count(body.Bytes(), []byte("\n")) == 1 {
			fmt.Fprint(w, " {}")
		}
		fmt.Fprintf(w, "\n%s", &body)
	case k.kind == list && k.items[0].kind == section:
		if k.example == nil {
			fmt.Fprintln(w, " []")
			return
		}
		fmt.Fprintln(w)
		for _, item := range k.items {
			fmt.Fprintf(w, "%s- ", indent)
			w.section(item, path+"[]", "", indent+"  ")
		}
	case k.kind == words && len(plainMap(k)) > 0:
		fmt.Fprintln(w)
		m := plainMap(k)
		for _, name := range slices.Sorted(maps.Keys(m)) {
			fmt.Fprintf(w, "%s%s: %s\n", indent, quoted(name), quoted(m[name]))
		}
	default:
		fmt.Fprintf(w, " %s\n", scalar(k))
	}
}

// section writes the keys: all of them where the type is met first, and then
// those alone that the example has.
func (w *printer) section(k *key, path, first, indent string) {
	where, told := w.told[k.of]
	if !told {
		w.told[k.of] = path
	}
	var body bytes.Buffer
	inner := &printer{&body, w.told}
	for _, c := range k.keys {
		if absent(c.value) && c.example == nil && slices.Contains(k.alternatives, c.name) {
			continue // another one of them is there
		}
		if !told || c.example != nil {
			if c.kind == section && c.example == nil && absent(c.value) && w.told[c.of] == "" {
				continue // is told where the example has it
			}
			inner.key(c, path+"."+c.name, indent)
		}
	}
	if told {
		inner.comment("Further keys are those of "+where+".", indent)
	}
	out := body.Bytes()
	if first == "" { // behind a dash
		out = bytes.TrimPrefix(out, []byte(indent))
	}
	w.Write(out)
}

// comment writes lines of at most 120 characters.
func (w *printer) comment(text, indent string) {
	line := indent + "#"
	for _, word := range strings.Fields(text) {
		if len(line)+1+len(word) > 120 {
			fmt.Fprintln(w, line)
			line = indent + "#"
		}
		line += " " + word
	}
	fmt.Fprintln(w, line)
}

func absent(v reflect.Value) bool {
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}

func plainMap(k *key) map[string]string {
	m := map[string]string{}
	if k.value.IsValid() {
		for iter := k.value.MapRange(); iter.Next(); {
			m[iter.Key().String()] = iter.Value().String()
		}
	}
	return m
}

// scalar is the value on one line: the example's, or else the default.
func scalar(k *key) string {
	switch e := k.example.(type) {
	case string:
		return quoted(e)
	case []any:
		var all []string
		for _, v := range e {
			all = append(all, quoted(fmt.Sprint(v)))
		}
		return "[" + strings.Join(all, ", ") + "]"
	}
	switch v := k.standard().(type) {
	case nil:
		return `""`
	case string:
		return quoted(v)
	case []string:
		var all []string
		for _, s := range v {
			all = append(all, quoted(s))
		}
		return "[" + strings.Join(all, ", ") + "]"
	case map[string]string:
		return "{}"
	default:
		return fmt.Sprint(v)
	}
}

// standard is the default, as JSON has it. A zero value of words is none.
func (k *key) standard() any {
	v := k.value
	if !v.IsValid() {
		return nil
	}
	switch k.kind {
	case duration:
		return span(short(time.Duration(v.Int())))
	case text:
		if v.Kind() == reflect.String {
			if v.String() == "" && len(k.values) > 0 {
				return k.values[0] // where nothing is said the first one holds
			}
			return v.String()
		}
		if s := fmt.Sprint(v.Interface()); len(k.values) == 0 || slices.Contains(k.values, s) {
			return s
		}
		return nil
	case yesNo:
		return v.Bool()
	case integer:
		return v.Int()
	case number:
		return v.Float()
	case list:
		all := []string{}
		for i := range v.Len() {
			all = append(all, fmt.Sprint(v.Index(i).Interface()))
		}
		return all
	case words:
		return plainMap(k)
	}
	return nil
}

// span is a duration, which needs no quotes.
type span string

// short writes 24h0m0s as 24h.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

var plain = regexp.MustCompile(`^[A-Za-z/][\w ./@-]*(:\d+)?$`)

// quoted puts text in quotes where YAML would read it as something else.
func quoted(s string) string {
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "null", "y", "n":
	default:
		if plain.MatchString(s) && strings.TrimSpace(s) == s {
			return s
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // text always can be
	return strings.TrimSpace(b.String())
}
