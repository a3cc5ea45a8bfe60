package server

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/flagpb"
)

func author() *flagpb.Author {
	return &flagpb.Author{Device: "agent one", Organisation: "RX1", Site: "RX1RA", CareSetting: flagpb.CareSetting_CARE_SETTING_MATERNITY,
		Accountable: &flagpb.Accountable{Name: "Dr A Example", Role: "Named doctor"}}
}

func seed(f *testing.F, messages ...proto.Message) {
	f.Helper()
	for _, m := range messages {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// repeats fails when an error repeats something of what was asked.
func repeats(t *testing.T, err error, private ...string) {
	t.Helper()
	for _, s := range private {
		if len(s) > 5 && strings.Contains(err.Error(), s) {
			t.Errorf("error %q repeats %q", err, s)
		}
	}
}

// Whatever comes is refused without repeating it, or is a query that can be asked.
func FuzzLookupRequest(f *testing.F) {
	now := timestamppb.Now()
	good := &flagpb.LookupRequest{Purpose: flagpb.Purpose_PURPOSE_UNSCHEDULED, Author: author(), AttendanceId: "1b4e28ba-2fa1-81d2-883f-0016d3cca427",
		AttendedAt: now, NhsNumber: "9990000107", DateOfBirth: "2019-06-07"}
	bad := proto.CloneOf(good)
	bad.NhsNumber, bad.AttendedAt = "999 000 0108", &timestamppb.Timestamp{Seconds: 1 << 60, Nanos: -1}
	later := proto.CloneOf(good)
	later.Purpose, later.Author.CareSetting, later.DateOfBirth = 99, 99, "2019-02-30"
	seed(f, good, bad, later, &flagpb.LookupRequest{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r flagpb.LookupRequest
		if proto.Unmarshal(b, &r) != nil {
			return
		}
		q, err := queryOf(&r)
		if err != nil {
			repeats(t, err, r.GetNhsNumber(), r.GetDateOfBirth(), r.GetAttendanceId(), r.GetAuthor().GetDevice(), r.GetAuthor().GetAccountable().GetName())
			return
		}
		a := q.Author
		if q.Number.IsZero() || q.Purpose == safeguard.UnknownPurpose || q.Attendance.IsZero() || q.At.IsZero() || a.Organisation.IsZero() || a.Site.IsZero() ||
			a.Setting == safeguard.UnknownSetting || a.Device == "" || len(a.Accountable.Name) > maxName || r.GetDateOfBirth() != "" && q.Born.IsZero() {
			t.Errorf("accepted: %+v", q)
		}
		if q.Attendance.String() != strings.ToLower(r.GetAttendanceId()) || !q.At.Equal(r.GetAttendedAt().AsTime()) {
			t.Errorf("accepted as another: %+v", q)
		}
	})
}

// One question of a Refresh is read as the same question alone is.
func FuzzRefreshQuestion(f *testing.F) {
	seed(f,
		&flagpb.RefreshQuestion{AttendanceId: "1b4e28ba-2fa1-81d2-883f-0016d3cca427", AttendedAt: timestamppb.Now(), NhsNumber: "9990000107", DateOfBirth: "2019-06-07"},
		&flagpb.RefreshQuestion{NhsNumber: "999 000 0108", SensitiveLocation: true}, &flagpb.RefreshQuestion{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r flagpb.RefreshQuestion
		if proto.Unmarshal(b, &r) != nil {
			return
		}
		a, err := askerOf(author())
		if err != nil {
			t.Fatal(err)
		}
		q, err := questionOf(safeguard.Refresh, a, &r)
		alone, errAlone := queryOf(&flagpb.LookupRequest{Purpose: flagpb.Purpose_PURPOSE_REFRESH, Author: author(), AttendanceId: r.GetAttendanceId(),
			AttendedAt: r.GetAttendedAt(), NhsNumber: r.GetNhsNumber(), DateOfBirth: r.GetDateOfBirth(), SensitiveLocation: r.GetSensitiveLocation()})
		if (err == nil) != (errAlone == nil) || err == nil && q != alone {
			t.Errorf("%+v, %v, and alone %+v, %v", q, err, alone, errAlone)
		}
		if err != nil {
			repeats(t, err, r.GetNhsNumber(), r.GetDateOfBirth(), r.GetAttendanceId())
		}
	})
}

func FuzzCorrectRequest(f *testing.F) {
	good := &flagpb.CorrectRequest{Author: author(), AttendanceId: "1b4e28ba-2fa1-81d2-883f-0016d3cca427", NhsNumber: "9990000107",
		Reason: flagpb.CorrectionReason_CORRECTION_REASON_OTHER_PERSON, CorrectedAt: timestamppb.Now()}
	siteless := proto.CloneOf(good)
	siteless.Author.Site = ""
	bad := proto.CloneOf(good)
	bad.NhsNumber, bad.Author.Site = "999 000 0108", "much too long"
	seed(f, good, siteless, bad, &flagpb.CorrectRequest{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r flagpb.CorrectRequest
		if proto.Unmarshal(b, &r) != nil {
			return
		}
		c, err := correctionOf(&r)
		if err != nil {
			repeats(t, err, r.GetNhsNumber(), r.GetAttendanceId(), r.GetAuthor().GetDevice())
			return
		}
		if c.Number.IsZero() || c.Attendance.IsZero() || c.At.IsZero() || c.Reason == safeguard.UnknownCorrection || c.Author.Organisation.IsZero() || c.Author.Device == "" {
			t.Errorf("accepted: %+v", c)
		}
	})
}
