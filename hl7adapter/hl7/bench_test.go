package hl7

import (
	"bytes"
	"os"
	"testing"
	"time"
)

// attendanceSample returns an ADT of about so many bytes: the fields that an
// attendance needs, and for the rest what real feeds carry along.
func attendanceSample(t testing.TB, size int) []byte {
	t.Helper()
	body, err := os.ReadFile("testdata/a04-emergency.hl7")
	if err != nil {
		t.Fatal(err)
	}
	note := []byte("OBX|1|TX|NOTE^Triage note||walked in with an adult, pain in the left wrist since this morning||||||F\r")
	for len(body)+len(note) <= size {
		body = append(body, note...)
	}
	return body
}

// readAttendance reads what an attendance is made of, and counts what it found.
func readAttendance(body []byte, room []byte) int {
	m, err := Parse(body)
	if err != nil {
		return -1
	}
	found := 0
	count := func(v Value) {
		if len(v.AppendText(room[:0])) > 0 {
			found++
		}
	}
	h := m.Header()
	for _, f := range [...]Field{h.Application, h.Facility, h.Time, h.Processing, h.Version, h.Sequence} {
		count(f.Value)
	}
	if h.Type.Is("ADT") && h.Event.Is("A04") && len(h.ControlID) > 0 {
		found++
	}
	for seg := range m.Segments() {
		fields := seg.Cursor()
		switch {
		case seg.Is("EVN"):
			count(fields.Field(2).Value)
			count(fields.Field(6).Value)
		case seg.Is("PID"):
			for r := range fields.Field(3).Repetitions() {
				if r.Component(4).Is("NHS") {
					count(r.Component(1).Value)
				}
			}
			count(fields.Field(5).Value)
			if _, _, err := ParseDate(fields.Field(7).Raw()); err == nil {
				found++
			}
			for _, n := range [...]int{8, 21, 30, 32} {
				count(fields.Field(n).Value)
			}
		case seg.Is("PV1"):
			count(fields.Field(2).Value)
			at := fields.Field(3)
			count(at.Value)
			count(at.Component(4).Value)
			for _, n := range [...]int{4, 10, 19} {
				count(fields.Field(n).Value)
			}
			if _, _, err := ParseTime(fields.Field(44).Raw(), time.UTC); err == nil {
				found++
			}
		case seg.Is("ZU1"):
			count(fields.Field(27).Value)
		case seg.Is("ZU8"):
			count(fields.Field(4).Value)
		}
	}
	return found
}

const attendanceFields = 22

func TestReadingAnAttendanceDoesNotAllocate(t *testing.T) {
	room := make([]byte, 0, 256)
	for _, size := range []int{1 << 10, 50 << 10} {
		body := attendanceSample(t, size)
		if got := readAttendance(body, room); got != attendanceFields {
			t.Errorf("found %d fields, want %d", got, attendanceFields)
		}
		if n := testing.AllocsPerRun(100, func() { readAttendance(body, room) }); n != 0 {
			t.Errorf("%d bytes: %v allocations, want 0", size, n)
		}
	}
}

// BenchmarkReadAttendance reads all that an attendance needs, with escapes,
// character set, date and time. It must not allocate. The floor is a loop that looks
// at each byte once, to find where segments and fields begin, and reads nothing.
func BenchmarkReadAttendance(b *testing.B) {
	for _, c := range []struct {
		name string
		size int
	}{{"1KB", 1 << 10}, {"50KB", 50 << 10}, {"1MB", 1 << 20}} {
		body := attendanceSample(b, c.size)
		b.Run("bare/"+c.name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if segments, fields := countDelimiters(body); segments == 0 || fields == 0 {
					b.Fatal("nothing found")
				}
			}
		})
		b.Run("safeguard/"+c.name, func(b *testing.B) {
			room := make([]byte, 0, 256)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				readAttendance(body, room)
			}
		})
	}
}

func countDelimiters(body []byte) (segments, fields int) {
	for _, c := range body {
		switch c {
		case '\r':
			segments++
		case '|':
			fields++
		}
	}
	return segments, fields
}

func BenchmarkParse(b *testing.B) {
	body := attendanceSample(b, 1<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(body); err != nil {
			b.Fatal(err)
		}
	}
}

// A field of 16 MB, as a document in base64 is.
func BenchmarkParseHugeField(b *testing.B) {
	body := append(attendanceSample(b, 1<<10), "OBX|1|ED|DOC^x||^^PDF^Base64^"...)
	body = append(append(body, bytes.Repeat([]byte("QUJD"), 4<<20)...), "||||||F\r"...)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	room := make([]byte, 0, 256)
	for b.Loop() {
		readAttendance(body, room)
	}
}

func BenchmarkAcknowledge(b *testing.B) {
	m, err := Parse(attendanceSample(b, 1<<10))
	if err != nil {
		b.Fatal(err)
	}
	a := Ack{Code: AA, ControlID: "SG1", Time: time.Now()}
	b.ReportAllocs()
	for b.Loop() {
		a.To(m)
	}
}

func BenchmarkBatch(b *testing.B) {
	file := bytes.Repeat(attendanceSample(b, 1<<10), 1000)
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		if parts, _, err := readBatch(bytes.NewReader(file), 1<<20); err != nil || len(parts) != 1000 {
			b.Fatalf("%d parts, %v", len(parts), err)
		}
	}
}
