package cpisxml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"testing"
)

func seeds(f *testing.F) {
	for _, name := range []string{"upload", "acknowledgement", "acknowledgement-unreadable", "access", "access-empty", "inactive"} {
		f.Add(golden(f, name))
	}
	f.Add([]byte(`<File xmlns="urn:hl7-org:v3"><id extension="1"/><record><CP-ISRecord/></record></File>`))
}

// FuzzUpload: the reader never panics, never gives a record after an error, and
// numbers the records from 1; no error has more than one line; and a record that
// can be written reads the same again.
func FuzzUpload(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, file []byte) {
		u, err := ReadUpload(bytes.NewReader(file))
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("error of several lines: %q", err)
			}
			return
		}
		var records []Record
		for {
			r, err := u.Next()
			if err != nil {
				if _, again := u.Next(); again == nil {
					t.Fatal("a record after an error")
				}
				if !errors.Is(err, io.EOF) {
					return
				}
				break
			}
			if r.Position != len(records)+1 {
				t.Fatalf("position %d of record %d", r.Position, len(records)+1)
			}
			records = append(records, r)
		}
		if len(records) != u.Header.Quantity {
			t.Fatalf("%d records, the file says %d", len(records), u.Header.Quantity)
		}
		var b bytes.Buffer
		if err := WriteUpload(&b, u.Header, each(records)); err != nil {
			return // the schemas would refuse it
		}
		again, err := ReadUpload(&b)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range collect(t, again) {
			if strings.ContainsAny(fmt.Sprint(reveal(records[i])), "\r\n\t\ufffd") || records[i].Fault != "" {
				continue // a text with such characters is written as well as XML can
			}
			if got, want := fmt.Sprint(reveal(r)), fmt.Sprint(reveal(brought(records[i]))); got != want {
				t.Fatalf("record %d reads %s, want %s", i+1, got, want)
			}
		}
	})
}

// brought gives the record with its dates in the form that is written.
func brought(r Record) Record {
	r.Plans = append([]Plan(nil), r.Plans...)
	for i := range r.Plans {
		p := &r.Plans[i]
		for _, date := range []*string{&p.Start, &p.End, &p.Delete} {
			if *date != "" {
				*date, _ = planTime(*date)
			}
		}
	}
	return r
}

func reveal(r Record) (out []any) {
	for _, p := range r.Plans {
		out = append(out, p.Plan, p.Start, p.End, p.Delete)
	}
	for _, s := range r.Subjects {
		// Of an id there is the first with something in it.
		out = append(out, s.Mother, s.NHSNumber.Reveal(), s.LocalID.Reveal(), s.Born.Reveal(), s.Given.Reveal(), s.Family.Reveal())
	}
	return out
}

// FuzzAcknowledgement: what is read and can be written reads the same again, in
// its codes, texts and numbers.
func FuzzAcknowledgement(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, file []byte) {
		a, answers, err := ReadAcknowledgement(bytes.NewReader(file))
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := WriteAcknowledgement(&b, a, func() iter.Seq2[Answer, error] { return each(answers) }); err != nil {
			return
		}
		c, again, err := ReadAcknowledgement(&b)
		if err != nil {
			t.Fatal(err)
		}
		if c.File != a.File || c.Quantity != a.Quantity || len(again) != len(answers) || !c.Created.Truncate(1e9).Equal(a.Created.Truncate(1e9)) {
			t.Fatalf("read again %+v, want %+v", c, a)
		}
		for i := range answers {
			if again[i].Code != answers[i].Code {
				t.Fatalf("answer %d: %s, want %s", i+1, again[i].Code, answers[i].Code)
			}
		}
	})
}

// FuzzNotifications: the readers of notifications never panic, and what they
// read and can be written reads the same again.
func FuzzNotifications(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, file []byte) {
		var b bytes.Buffer
		if n, err := ReadAccess(bytes.NewReader(file)); err == nil && WriteAccess(&b, n) == nil {
			again, err := ReadAccess(&b)
			if err != nil || len(again.Accesses) != len(n.Accesses) || again.ID != n.ID {
				t.Fatalf("read again %+v, %v, want %+v", again, err, n)
			}
		}
		b.Reset()
		if n, err := ReadInactive(bytes.NewReader(file)); err == nil && WriteInactive(&b, n) == nil {
			again, err := ReadInactive(&b)
			if err != nil || len(again.Numbers) != len(n.Numbers) || again.ID != n.ID {
				t.Fatalf("read again %+v, %v, want %+v", again, err, n)
			}
		}
	})
}
