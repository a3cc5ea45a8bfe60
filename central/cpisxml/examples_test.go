package cpisxml

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// example reads one of the example messages that lie beside the project where it
// is developed; they are no part of it.
func example(t *testing.T, name string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "data", "cpis-xml", name+".xml"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("the examples are not here")
	}
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// What is read of an example and written again has the same elements, attributes
// and texts in the same order, but for what needs not be written.
func TestExamplesAreWrittenTheSame(t *testing.T) {
	for name, again := range map[string]func(*testing.T, []byte, io.Writer) error{
		"la-upload-minimal":             uploadAgain,
		"la-upload-full":                uploadAgain,
		"la-acknowledgement-minimal":    acknowledgementAgain,
		"la-acknowledgement-full":       acknowledgementAgain,
		"la-acknowledgement-unreadable": acknowledgementAgain,
		"access-notification-minimal":   accessAgain,
		"access-notification-full":      accessAgain,
		"access-notification-empty":     accessAgain,
		"inactive-nhs-number-minimal":   inactiveAgain,
		"inactive-nhs-number-full":      inactiveAgain,
	} {
		t.Run(name, func(t *testing.T) {
			body := example(t, name)
			var b bytes.Buffer
			if err := again(t, body, &b); err != nil {
				t.Fatal(err)
			}
			got, want := outline(t, b.Bytes()), outline(t, body)
			for i := range max(len(got), len(want)) {
				if i >= len(got) || i >= len(want) || got[i] != want[i] {
					t.Fatalf("at %d: %q, want %q", i, got[i:min(i+3, len(got))], want[i:min(i+3, len(want))])
				}
			}
		})
	}
}

func uploadAgain(t *testing.T, body []byte, w io.Writer) error {
	u, err := ReadUpload(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return WriteUpload(w, u.Header, u.Records())
}

func acknowledgementAgain(t *testing.T, body []byte, w io.Writer) error {
	a, answers, err := ReadAcknowledgement(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return WriteAcknowledgement(w, a, func() iter.Seq2[Answer, error] { return each(answers) })
}

func accessAgain(t *testing.T, body []byte, w io.Writer) error {
	n, err := ReadAccess(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return WriteAccess(w, n)
}

func inactiveAgain(t *testing.T, body []byte, w io.Writer) error {
	n, err := ReadInactive(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return WriteInactive(w, n)
}

// outline spells out a message's elements and texts, without blanks, comments,
// what is nil, and the refining code that is not written here.
func outline(t *testing.T, body []byte) []string {
	t.Helper()
	var out []string
	d := xml.NewDecoder(bytes.NewReader(body))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		switch v := token.(type) {
		case xml.StartElement:
			var attrs []string
			skip := v.Name.Local == "translation"
			for _, a := range v.Attr {
				if a.Name.Local == "nil" {
					skip = true
				}
				if a.Name.Space != "xmlns" && a.Name.Local != "xmlns" {
					attrs = append(attrs, a.Name.Local+"="+a.Value)
				}
			}
			if skip {
				if err := d.Skip(); err != nil {
					t.Fatal(err)
				}
				continue
			}
			slices.Sort(attrs)
			out = append(out, v.Name.Space+" "+v.Name.Local+" "+strings.Join(attrs, " "))
		case xml.EndElement:
			out = append(out, "/"+v.Name.Local)
		case xml.CharData:
			if text := strings.TrimSpace(string(v)); text != "" {
				out = append(out, text)
			}
		}
	}
}
