package configs

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// SetAny is Set with the first of the paths at which there is a value.
func SetAny(text string, paths []string, value string) (changed string, ok bool) {
	for _, path := range paths {
		if changed, ok = Set(text, path, value); ok {
			return changed, true
		}
	}
	return text, false
}

// Set gives the value at path, such as feeds[0].mllp.address, another one, and
// leaves the rest of the text as it is, with its comments. ok is whether there
// is such a value, on one line.
func Set(text, path, value string) (changed string, ok bool) {
	file, err := parser.ParseBytes([]byte(text), 0)
	if err != nil || len(file.Docs) == 0 {
		return text, false
	}
	node := walk(file.Docs[0].Body, path)
	if node == nil {
		return text, false
	}
	if _, scalar := plainText(node); !scalar {
		return text, false
	}
	lines := strings.Split(text, "\n")
	at := node.GetToken().Position
	line := lines[at.Line-1]
	before, rest := line[:at.Column-1], line[at.Column-1:]
	old := scalarAtStart.FindString(rest)
	lines[at.Line-1] = before + aligned(quote(value), old, rest[len(old):])
	return strings.Join(lines, "\n"), true
}

var (
	steps         = regexp.MustCompile(`([a-z_0-9]+)|\[(\d+)\]`)
	scalarAtStart = regexp.MustCompile(`^("([^"\\]|\\.)*"|'[^']*'|([^#,\]}\s]|[^\s]#|,\S| [^#\s,\]}])*)`)
	plainScalar   = regexp.MustCompile(`^[A-Za-z/][\w ./@\\-]*(:\d+)?$|^\d+\.\d+\.\d+\.\d+:\d+$`)
)

func into(node ast.Node, key, index string) ast.Node {
	switch n := node.(type) {
	case *ast.MappingNode:
		for _, pair := range n.Values {
			if pair.Key.String() == key {
				return pair.Value
			}
		}
	case *ast.SequenceNode:
		if i, err := strconv.Atoi(index); err == nil && i < len(n.Values) {
			return n.Values[i]
		}
	}
	return nil
}

// aligned keeps the comment behind a value in its column.
func aligned(value, old, rest string) string {
	at := strings.Index(rest, " #")
	if at < 0 {
		return value + rest
	}
	code, comment := strings.TrimRight(rest[:at], " "), rest[at+1:]
	pad := at + 1 - len(code) + len(old) - len(value)
	return value + code + strings.Repeat(" ", max(1, pad)) + comment
}

// quote writes a value so that it is read as text.
func quote(value string) string {
	switch strings.ToLower(value) {
	case "true", "false", "yes", "no", "on", "off", "null":
	default:
		if plainScalar.MatchString(value) && strings.TrimSpace(value) == value {
			return value
		}
	}
	return fmt.Sprintf("%q", value)
}

// Value is the text of the value at the first of the paths that there is, and
// which it is.
func Value(text string, paths []string) (path, value string) {
	file, err := parser.ParseBytes([]byte(text), 0)
	if err != nil || len(file.Docs) == 0 {
		return "", ""
	}
	for _, path := range paths {
		if node := walk(file.Docs[0].Body, path); node != nil {
			if value, ok := plainText(node); ok {
				return path, value
			}
		}
	}
	return "", ""
}

// walk finds the node at a path; nil if there is none.
func walk(node ast.Node, path string) ast.Node {
	for _, step := range steps.FindAllStringSubmatch(path, -1) {
		if node = into(node, step[1], step[2]); node == nil {
			return nil
		}
	}
	return node
}
