package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

const module = "github.com/safeguard-edge/safeguard"

// source reads what the Go files say about types.
type source struct {
	root  string // of the module
	types map[string]typeSource
	read  map[string]bool // packages
}

// typeSource is what is written about one type.
type typeSource struct {
	fields    map[string]string // comments, by the field's Go name
	names     map[string]string // YAML names, by the same
	constants []string          // of a type of words
	doc       string            // the first sentence, without "Name is"
}

// comment is what stands at the field of a struct, or else at its type.
func (s *source) comment(t reflect.Type, field reflect.StructField) (string, error) {
	ts, err := s.of(t)
	if err != nil {
		return "", err
	}
	comment := ts.fields[field.Name]
	if comment == "" {
		of := field.Type
		for of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		if !strings.HasPrefix(of.PkgPath(), module+"/") {
			return "", nil
		}
		typed, err := s.of(of)
		return typed.doc, err
	}
	for goName, yamlName := range ts.names {
		if goName == strings.ToUpper(goName) {
			continue // an abbreviation, which is a word too
		}
		comment = regexp.MustCompile(`\b`+goName+`\b`).ReplaceAllStringFunc(comment, func(word string) string { return yamlName })
	}
	comment = regexp.MustCompile(`\bnil\b`).ReplaceAllString(comment, "absent")
	if comment != "" && ts.names[field.Name] != "" { // "folder is looked into" says its name twice
		for _, verb := range []string{" is ", " are ", " says ", " names "} {
			if rest, ok := strings.CutPrefix(comment, ts.names[field.Name]+verb); ok {
				comment = map[string]string{" says ": "says ", " names ": "names "}[verb] + rest
			}
		}
	}
	return comment, nil
}

// constants are the words that a type of text has constants for.
func (s *source) constants(t reflect.Type) ([]string, error) {
	if t.PkgPath() == "" {
		return nil, nil
	}
	ts, err := s.of(t)
	return ts.constants, err
}

func (s *source) of(t reflect.Type) (typeSource, error) {
	pkg := t.PkgPath()
	if s.read == nil {
		s.read = map[string]bool{}
	}
	if !s.read[pkg] {
		s.read[pkg] = true
		if err := s.parse(pkg); err != nil {
			return typeSource{}, err
		}
	}
	return s.types[pkg+"."+t.Name()], nil
}

func (s *source) parse(pkg string) error {
	inside, ok := strings.CutPrefix(pkg, module)
	if !ok {
		return fmt.Errorf("%s: not of this module", pkg)
	}
	dir := filepath.Join(s.root, filepath.FromSlash(inside))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.ParseComments)
		if err != nil {
			return err
		}
		for _, d := range file.Decls {
			if general, ok := d.(*ast.GenDecl); ok {
				for _, spec := range general.Specs {
					s.take(pkg, spec, general.Doc)
				}
			}
		}
	}
	return nil
}

func (s *source) take(pkg string, spec ast.Spec, doc *ast.CommentGroup) {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		ts := s.types[pkg+"."+spec.Name.Name]
		if st, ok := spec.Type.(*ast.StructType); ok {
			ts.fields, ts.names = fields(st)
		}
		ts.doc = sentence(spec.Name.Name, doc.Text())
		s.types[pkg+"."+spec.Name.Name] = ts
	case *ast.ValueSpec:
		named, ok := spec.Type.(*ast.Ident)
		if !ok {
			return
		}
		for _, v := range spec.Values {
			if word, ok := v.(*ast.BasicLit); ok && word.Kind == token.STRING {
				if text, err := strconv.Unquote(word.Value); err == nil {
					ts := s.types[pkg+"."+named.Name]
					ts.constants = append(ts.constants, text)
					s.types[pkg+"."+named.Name] = ts
				}
			}
		}
	}
}

// sentence is the first one of a type's comment, as a key's comment would be.
func sentence(name, doc string) string {
	first, _, _ := strings.Cut(strings.Join(strings.Fields(doc), " ")+" ", ". ")
	first = strings.TrimPrefix(strings.TrimSuffix(first, "."), name+" ")
	for _, verb := range []string{"is ", "are "} {
		first = strings.TrimPrefix(first, verb)
	}
	return strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(first), "."))
}

func fields(st *ast.StructType) (comments, names map[string]string) {
	comments, names = map[string]string{}, map[string]string{}
	for _, f := range st.Fields.List {
		var parts []string
		for _, group := range []*ast.CommentGroup{f.Doc, f.Comment} {
			if text := strings.Join(strings.Fields(group.Text()), " "); text != "" {
				parts = append(parts, text)
			}
		}
		for _, name := range f.Names {
			comments[name.Name] = strings.Join(parts, " ")
			if f.Tag != nil {
				tag, _ := strconv.Unquote(f.Tag.Value)
				names[name.Name], _, _ = strings.Cut(reflect.StructTag(tag).Get("yaml"), ",")
			}
		}
	}
	return comments, names
}
