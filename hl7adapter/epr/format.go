package epr

import (
	"embed"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// MessageConfig says how an alert is written as an HL7 v2 message.
type MessageConfig struct {
	Format      string   `yaml:"format"`      // oru-r01, adt-a08, adt-a31, mdm-t02 or mdm-t02-pdf
	Template    string   `yaml:"template"`    // file of the site's own form, instead of a format
	Version     string   `yaml:"version"`     // MSH-12
	Application string   `yaml:"application"` // MSH-5
	Facility    string   `yaml:"facility"`    // MSH-6
	Charset     string   `yaml:"charset"`     // MSH-18
	Identifiers []string `yaml:"identifiers"` // PID-3, in this order: nhs, mrn

	NHSAuthority    string `yaml:"nhs_authority"`   // PID-3.4 of the NHS number
	NHSType         string `yaml:"nhs_type"`        // PID-3.5 of the NHS number; "-" for none
	Confidentiality string `yaml:"confidentiality"` // TXA-18 (HL7 table 0272)
	AccessCheck     string `yaml:"access_check"`    // OBX-13
	DocumentType    string `yaml:"document_type"`   // TXA-2 (HL7 table 0270)
	TestProcessing  string `yaml:"test_processing"` // MSH-11 of test alerts
}

// The identifiers of a patient.
const (
	NHS = "nhs"
	MRN = "mrn"
)

// DefaultMessageConfig is ORU^R01 of HL7 v2.4.
func DefaultMessageConfig() MessageConfig {
	return MessageConfig{
		Format: "oru-r01", Version: "2.4", Charset: "UNICODE UTF-8", Identifiers: []string{NHS, MRN},
		NHSAuthority: "NHS", NHSType: "NH", Confidentiality: "R", DocumentType: "SAFEGUARDING", TestProcessing: "T",
	}
}

//go:embed templates/*.hl7
var builtIn embed.FS

// Formats are the names of the built-in forms.
func Formats() []string {
	var names []string
	entries, _ := builtIn.ReadDir("templates") // is built in
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".hl7"))
	}
	return names
}

// BuiltIn is the text of a built-in form, to begin a site's own from.
func BuiltIn(format string) (string, error) {
	text, err := builtIn.ReadFile(path.Join("templates", format+".hl7"))
	if err != nil {
		return "", fmt.Errorf("format %q: want one of %s", format, strings.Join(Formats(), ", "))
	}
	return string(text), nil
}

var versions = []string{"2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6"}

// Validate names the first key that is wrong.
func (c MessageConfig) Validate() error {
	if c.Template == "" {
		if _, err := BuiltIn(c.Format); err != nil {
			return err
		}
	}
	switch {
	case !slices.Contains(versions, c.Version):
		return fmt.Errorf("version %q: want one of %s", c.Version, strings.Join(versions, ", "))
	case !hl7.KnownCharset(c.Charset) || c.Charset == "ASCII":
		return fmt.Errorf("charset %q: want a name of HL7 table 0211 that has the letters of names, such as %q or 8859/1", c.Charset, "UNICODE UTF-8")
	case len(c.Identifiers) == 0:
		return fmt.Errorf("identifiers: empty, want nhs, mrn or both")
	case c.NHSAuthority == "" && c.NHSType == "":
		return fmt.Errorf("nhs_authority and nhs_type: both empty, want what tells the NHS number from other numbers")
	case c.TestProcessing != "T" && c.TestProcessing != "P" && c.TestProcessing != "D":
		return fmt.Errorf("test_processing %q: want T, D or P (HL7 table 0103)", c.TestProcessing)
	}
	for _, id := range c.Identifiers {
		if id != NHS && id != MRN {
			return fmt.Errorf("identifiers: %q, want nhs or mrn", id)
		}
	}
	return nil
}

// Format writes alerts for one sink. Make one with NewFormat.
type Format struct {
	MessageConfig
	Sink     string
	Wording  Wording
	template *Template
	zone     *time.Location
}

// NewFormat reads the form and tries it on made-up alerts of every kind, so that
// what is wrong with it shows at the start. Times are written in the zone.
func NewFormat(sink string, c MessageConfig, w Wording, zone *time.Location) (*Format, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if zone == nil {
		zone = time.UTC
	}
	if c.NHSType == "-" {
		c.NHSType = ""
	}
	f := &Format{MessageConfig: c, Sink: sink, Wording: w, zone: zone}
	var err error
	if c.Template != "" {
		file, err := os.Open(c.Template)
		if err != nil {
			return nil, fmt.Errorf("template: %w", err)
		}
		defer file.Close()
		if f.template, err = ParseTemplate(c.Template, file); err != nil {
			return nil, err
		}
	} else {
		text, err := BuiltIn(c.Format)
		if err != nil {
			return nil, err
		}
		if f.template, err = ParseTemplate(c.Format, strings.NewReader(text)); err != nil {
			return nil, err
		}
	}
	if err = f.template.check(f); err != nil {
		return nil, err
	}
	return f, nil
}

// Message writes the alert. It depends on nothing but the alert and the
// configuration, so that a repeat is the same to the byte. What is not known is
// absent, and so changes nothing in the EPR.
func (f *Format) Message(a safeguard.Alert) ([]byte, error) {
	out, err := f.template.render(a, f)
	if err != nil {
		return nil, fmt.Errorf("write message: %w", err)
	}
	return out, nil
}

func (f *Format) processing(a safeguard.Alert) string {
	if a.Attendance.Test {
		return f.TestProcessing
	}
	return "P"
}

// coded is the data type of a coded value: CE was withdrawn with 2.6.
func (f *Format) coded() string {
	if f.Version >= "2.6" {
		return "CWE"
	}
	return "CE"
}

func (f *Format) old() bool { return f.Version == "2.3" }

// Preview is the message as people read it: a segment a line, a document left out.
func (f *Format) Preview(a safeguard.Alert) (string, error) {
	message, err := f.Message(a)
	if err != nil {
		return "", err
	}
	return longBase64.ReplaceAllStringFunc(strings.ReplaceAll(string(message), "\r", "\n"), func(s string) string {
		return fmt.Sprintf("(%d characters of base64)", len(s))
	}), nil
}

var longBase64 = regexp.MustCompile(`[A-Za-z0-9+/]{200,}={0,2}`)
