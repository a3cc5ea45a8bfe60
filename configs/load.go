// Package configs holds the sample configurations, and reads the ones in use.
// It is the only door to YAML.
package configs

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Load reads the YAML file into v, a pointer to a struct that holds the
// defaults. Keys that v does not have are refused, with the nearest key that it
// has, and so are secrets, and numbers that YAML reads as others than they look.
// Errors are one line, with line and column, and repeat no secret.
func Load(path string, v any) error {
	text, err := Read(path)
	if err != nil {
		return err
	}
	return Parse(path, text, v)
}

// Read gives the text of the file at path.
func Read(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("configuration %s: no such file", path)
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return text, nil
}

// Parse does with text what Load does with the file at path.
func Parse(path string, text []byte, v any) error {
	if fault := decode(text, v); fault != "" {
		return fmt.Errorf("configuration %s%s", path, fault)
	}
	return nil
}

// Digest is the SHA-256 of a file's text in hexadecimal, as sha256sum gives it.
func Digest(text []byte) string { return fmt.Sprintf("%x", sha256.Sum256(text)) }

// decode reads text into v, and says where and why it can not; nothing when it
// can.
func decode(text []byte, v any) (fault string) {
	defer func() {
		// The library panics on some rare YAML, such as a tag where a list is due.
		if recover() != nil {
			fault = ": can not be read, want plain keys and values without tags"
		}
	}()
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return describe(err, nil)
	}
	if len(file.Docs) > 1 {
		return position(file.Docs[1].Start.Position) + "a second document (---), want one"
	}
	if len(file.Docs) == 0 || hollow(file.Docs[0].Body) {
		return "" // decoding nothing would clear the defaults
	}
	body := file.Docs[0].Body
	root := reflect.TypeOf(v).Elem()
	secrets := secrets{known: pathsOf(root, "", nil)}
	if ast.Walk(&secrets, body); secrets.fault != "" {
		return secrets.fault
	}
	var numbers numbers
	if ast.Walk(&numbers, body); numbers.fault != "" {
		return numbers.fault
	}
	if err := yaml.NodeToValue(body, v, yaml.Strict()); err != nil {
		c, err := blame(body, root, "", err)
		c.root = root
		return describe(err, c)
	}
	return ""
}

// hollow tells whether there is nothing but comments.
func hollow(body ast.Node) bool {
	switch body.(type) {
	case nil, *ast.NullNode, *ast.CommentGroupNode:
		return true
	}
	return false
}

// numbers looks for numbers that YAML reads as other than they look: the code
// 0401 would become 257, and a telephone number likewise.
type numbers struct{ fault string }

// Visit implements ast.Visitor.
func (n *numbers) Visit(node ast.Node) ast.Visitor {
	scalar, ok := node.(ast.ScalarNode)
	if !ok || n.fault != "" {
		return n
	}
	switch node.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		if text := node.GetToken().Value; fmt.Sprint(scalar.GetValue()) != text {
			n.fault = fmt.Sprintf("%s%s is not a plain number, want it in quotes: %q", position(node.GetToken().Position), text, text)
		}
	}
	return n
}

// blame finds the smallest part of node that can not be read as its type, and
// how that fails, given how the whole does.
func blame(node ast.Node, t reflect.Type, path string, whole error) (*culprit, error) {
	try := func(part ast.Node, t reflect.Type, path string) (*culprit, error) {
		for t.Kind() == reflect.Pointer {
			t = t.Elem() // the library is not strict about what a pointer to a pointer points to
		}
		err := yaml.NodeToValue(part, reflect.New(t).Interface(), yaml.Strict())
		if err == nil {
			return nil, nil
		}
		return blame(part, t, path, err)
	}
	switch n := node.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			key := v.Key.String()
			if f, ok := fieldOf(t, key); ok {
				if c, err := try(v.Value, f, strings.TrimPrefix(path+"."+key, ".")); err != nil {
					return c, err
				}
			}
		}
	case *ast.SequenceNode:
		for i, v := range n.Values {
			if t.Kind() == reflect.Slice {
				if c, err := try(v, t.Elem(), fmt.Sprintf("%s[%d]", path, i)); err != nil {
					return c, err
				}
			}
		}
	}
	return &culprit{path: path, at: node.GetToken().Position, as: t}, whole
}

// culprit is what could not be read.
type culprit struct {
	path string // of keys
	at   *token.Position
	as   reflect.Type
	root reflect.Type
}

func fieldOf(t reflect.Type, key string) (reflect.Type, bool) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil, false
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if f.Anonymous && name == "" {
			if inner, ok := fieldOf(f.Type, key); ok {
				return inner, true
			}
		}
		if name == key {
			return f.Type, true
		}
	}
	return nil, false
}

// describe puts an error on one line: where, what, and what would be right.
func describe(err error, c *culprit) string {
	var at yaml.Error
	var unknown *yaml.UnknownFieldError
	switch {
	case errors.As(err, &unknown):
		key, _ := quoted(unknown.GetMessage())
		text := fmt.Sprintf("unknown key %q", key)
		if near := c.nearest(key); near != "" {
			text += fmt.Sprintf(", did you mean %q?", near)
		}
		return position(unknown.GetToken().Position) + text
	case c != nil && errors.As(err, &at):
		return position(c.at) + c.path + ": " + at.GetMessage()
	case c != nil:
		return position(c.at) + c.path + ": " + err.Error()
	case errors.As(err, &at) && at.GetToken() != nil:
		return position(at.GetToken().Position) + at.GetMessage()
	}
	return ": " + err.Error()
}

func position(p *token.Position) string {
	if p == nil {
		return ": "
	}
	return fmt.Sprintf(":%d:%d: ", p.Line, p.Column)
}

func quoted(s string) (string, bool) {
	_, rest, ok := strings.Cut(s, `"`)
	if !ok {
		return "", false
	}
	key, _, ok := strings.Cut(rest, `"`)
	return key, ok
}

// nearest is the known key that was most likely meant: one of the same section,
// or else one that stands elsewhere, with the path to it.
func (c *culprit) nearest(key string) string {
	own := pathsOf(c.as, "", nil)
	var here []string
	for _, path := range own {
		if !strings.Contains(path, ".") {
			here = append(here, path)
		}
	}
	if near := nearest(key, here); near != "" {
		return near
	}
	if near := nearest(key, own); near != "" {
		return near
	}
	for _, path := range pathsOf(c.root, "", nil) {
		if strings.HasSuffix(path, "."+key) {
			return path
		}
	}
	return ""
}

// pathsOf collects the paths of every key of a type, such as central.address and
// feeds.name.
func pathsOf(t reflect.Type, prefix string, paths []string) []string {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return pathsOf(t.Elem(), prefix, paths)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			switch {
			case f.Anonymous && key == "":
				paths = pathsOf(f.Type, prefix, paths)
			case key != "" && key != "-":
				paths = pathsOf(f.Type, prefix+key+".", append(paths, prefix+key))
			}
		}
	}
	return paths
}

// nearest is the path whose last key takes the fewest edits to write instead;
// none when it would take more than half of them.
func nearest(key string, paths []string) string {
	best, distance := "", len(key)/2+1
	for _, path := range paths {
		if d := edits(key, path[strings.LastIndexByte(path, '.')+1:]); d < distance {
			best, distance = path, d
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

// DataFolder finds the folder that a file names as data. The file may be bad
// otherwise.
func DataFolder(file string) (string, error) {
	text, err := Read(file)
	if err != nil {
		return "", err
	}
	data := Beside(file, topLevel(string(text), "data"))
	if data == "" {
		return "", fmt.Errorf("configuration %s: no data folder in it", file)
	}
	return data, nil
}

// topLevel finds a key in text that may not be YAML as a whole.
func topLevel(text, key string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			value, _, _ = strings.Cut(value, " #")
			return strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	return ""
}
