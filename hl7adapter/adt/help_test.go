package adt_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/safeguard-edge/safeguard/hl7adapter/adt"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// Numbers of the 999 range, which are never issued.
const (
	juniper = "9990123004"
	other   = "9990123012"
	mum     = "9990123101"
)

// usual is what message holds where a test says nothing else.
var usual = map[string]string{
	"MSH-3": "PAS", "MSH-4": "RX101", "MSH-7": "20260314091205", "MSH-10": "C1", "MSH-11": "P", "MSH-12": "2.4",
	"EVN-6": "20260314091100",
	"PID-3": "H500100^^^RX1^MR~" + juniper + "^^^NHS^NH", "PID-5": "MARLOWE^JUNIPER", "PID-7": "20190807", "PID-8": "2", "PID-32": "NSTS01",
	"PV1-2": "E", "PV1-3": "ED^^^RX101", "PV1-19": "V700100^^^VISITID", "PV1-44": "202603140905",
}

// message is an ADT message of that event, as usual but for the fields given as
// path and raw value in turn. An empty value leaves the field out; a segment of
// which nothing is left is not there.
func message(event string, fields ...string) []byte {
	all := maps.Clone(usual)
	for i := 0; i < len(fields); i += 2 {
		all[fields[i]] = fields[i+1]
	}
	values := map[string]map[int]string{}
	for at, value := range all {
		p, err := hl7.ParsePath(at)
		if err != nil {
			panic(err)
		}
		if value == "" {
			continue
		}
		if values[p.Segment] == nil {
			values[p.Segment] = map[int]string{}
		}
		values[p.Segment][p.Field] = value
	}
	if values["MSH"][9] == "" {
		values["MSH"][9] = "ADT^" + event
	}
	var b strings.Builder
	for _, name := range []string{"MSH", "EVN", "PID", "MRG", "PV1", "PV2", "ZU1", "ZU8"} {
		set := values[name]
		if len(set) == 0 {
			continue
		}
		b.WriteString(name)
		first, last := 1, slices.Max(slices.Collect(maps.Keys(set)))
		if name == "MSH" {
			b.WriteString(`|^~\&`)
			first = 3
		}
		for n := first; n <= last; n++ {
			fmt.Fprintf(&b, "|%s", set[n])
		}
		b.WriteString("\r")
	}
	return []byte(b.String())
}

func parse(t testing.TB, site adt.Site, body []byte) adt.Movement {
	t.Helper()
	m, err := adt.Parser{Site: site}.Parse(adt.Message{Body: body, Received: received})
	if err != nil {
		t.Fatalf("%v, of %s", err, strings.ReplaceAll(string(body), "\r", "\n"))
	}
	return m
}
