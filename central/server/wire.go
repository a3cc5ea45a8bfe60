package server

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/flagpb"
	"github.com/safeguard-edge/safeguard/central/store"
)

var purposes = map[flagpb.Purpose]safeguard.Purpose{
	flagpb.Purpose_PURPOSE_UNSCHEDULED: safeguard.Unscheduled,
	flagpb.Purpose_PURPOSE_SCHEDULED:   safeguard.Scheduled,
	flagpb.Purpose_PURPOSE_REFRESH:     safeguard.Refresh,
}

var settings = map[flagpb.CareSetting]safeguard.CareSetting{
	flagpb.CareSetting_CARE_SETTING_EMERGENCY_DEPARTMENT: safeguard.EmergencyDepartment,
	flagpb.CareSetting_CARE_SETTING_WALK_IN_CENTRE:       safeguard.WalkInCentre,
	flagpb.CareSetting_CARE_SETTING_MINOR_INJURY_UNIT:    safeguard.MinorInjuryUnit,
	flagpb.CareSetting_CARE_SETTING_OUT_OF_HOURS_GP:      safeguard.OutOfHoursGP,
	flagpb.CareSetting_CARE_SETTING_AMBULANCE_SERVICE:    safeguard.AmbulanceService,
	flagpb.CareSetting_CARE_SETTING_MATERNITY:            safeguard.Maternity,
	flagpb.CareSetting_CARE_SETTING_PAEDIATRIC_WARD:      safeguard.PaediatricWard,
}

var wireSettings = inverse(settings)

func inverse[K, V comparable](m map[K]V) map[V]K {
	out := make(map[V]K, len(m))
	for k, v := range m {
		out[v] = k
	}
	return out
}

var wirePlans = map[safeguard.Plan]flagpb.Plan{
	safeguard.ChildProtection: flagpb.Plan_PLAN_CHILD_PROTECTION,
	safeguard.LookedAfter:     flagpb.Plan_PLAN_LOOKED_AFTER,
	safeguard.UnbornChild:     flagpb.Plan_PLAN_UNBORN_CHILD,
}

// maxName is the longest name or role, in bytes.
const maxName = 200

// queryOf reads a request, or says which field is wrong and what would be right,
// without repeating it.
func queryOf(r *flagpb.LookupRequest) (safeguard.Query, error) {
	purpose := purposes[r.GetPurpose()]
	if purpose == safeguard.UnknownPurpose {
		return safeguard.Query{}, errors.New("purpose: none that is known, want unscheduled, scheduled or refresh")
	}
	author, err := askerOf(r.GetAuthor())
	if err != nil {
		return safeguard.Query{}, err
	}
	return questionOf(purpose, author, r)
}

// asked is what a question says of whom it is about, alone or among others.
type asked interface {
	GetAttendanceId() string
	GetAttendedAt() *timestamppb.Timestamp
	GetNhsNumber() string
	GetDateOfBirth() string
	GetSensitiveLocation() bool
}

func questionOf(purpose safeguard.Purpose, author safeguard.Author, r asked) (safeguard.Query, error) {
	q := safeguard.Query{Purpose: purpose, Author: author, Sensitive: r.GetSensitiveLocation()}
	if r.GetAttendedAt() == nil || r.GetAttendedAt().CheckValid() != nil {
		return q, errors.New("attended_at: no valid time, want the true time of the attendance")
	}
	q.At = r.GetAttendedAt().AsTime()
	var err error
	if q.Attendance, err = attendanceOf(r.GetAttendanceId()); err != nil {
		return q, err
	}
	if q.Number, err = safeguard.ParseNHSNumber(r.GetNhsNumber()); err != nil {
		return q, fmt.Errorf("nhs_number: %w", err)
	}
	if r.GetDateOfBirth() != "" {
		born, err := safeguard.ParseDate(r.GetDateOfBirth())
		if err != nil {
			return q, errors.New("date_of_birth: no day of the calendar, want YYYY-MM-DD, or nothing when it is not known")
		}
		q.Born = safeguard.Hide(born)
	}
	return q, nil
}

// askerOf reads the author of lookups, who says the place too.
func askerOf(r *flagpb.Author) (safeguard.Author, error) {
	a, err := authorOf(r)
	if err != nil {
		return a, err
	}
	if a.Setting == safeguard.UnknownSetting {
		return a, errors.New("author.care_setting: none that is known, want the type of the site")
	}
	if a.Site, err = safeguard.ParseODSCode(r.GetSite()); err != nil {
		return a, errSite
	}
	return a, nil
}

var errSite = errors.New("author.site: want an ODS code of three to six letters and digits")

// authorOf reads what every author says: the rest, of lookups alone, is empty
// where it is not known.
func authorOf(r *flagpb.Author) (safeguard.Author, error) {
	a := safeguard.Author{
		Device:      r.GetDevice(),
		Setting:     settings[r.GetCareSetting()],
		Accountable: safeguard.Accountable{Name: r.GetAccountable().GetName(), Role: r.GetAccountable().GetRole()},
	}
	switch {
	case a.Device == "" || len(a.Device) > 64:
		return a, fmt.Errorf("author.device: %d bytes, want the agent's name, of 1 to 64", len(a.Device))
	case len(a.Accountable.Name) > maxName || len(a.Accountable.Role) > maxName:
		return a, fmt.Errorf("author.accountable: want name and role of at most %d bytes each", maxName)
	}
	var err error
	if a.Organisation, err = safeguard.ParseODSCode(r.GetOrganisation()); err != nil {
		return a, errors.New("author.organisation: want an ODS code of three to six letters and digits")
	}
	return a, nil
}

func attendanceOf(s string) (safeguard.AttendanceID, error) {
	id, err := safeguard.ParseAttendanceID(s)
	if err != nil || id.IsZero() {
		return id, errors.New("attendance_id: want the attendance's UUID")
	}
	return id, nil
}

func identityNotConfirmed(now time.Time) *flagpb.LookupResponse {
	reason := flagpb.UnknownReason_UNKNOWN_REASON_IDENTITY_NOT_CONFIRMED
	return &flagpb.LookupResponse{AsOf: timestamppb.New(now), Answer: &flagpb.LookupResponse_Unknown{Unknown: &flagpb.UnknownAnswer{Reason: reason}}}
}

func noneHeld(now time.Time) *flagpb.LookupResponse {
	return &flagpb.LookupResponse{AsOf: timestamppb.New(now), Answer: &flagpb.LookupResponse_NoneHeld{NoneHeld: &flagpb.NoneHeld{}}}
}

func (s *Server) held(now time.Time, list []safeguard.Flag) *flagpb.LookupResponse {
	out := &flagpb.Held{}
	for _, f := range list {
		out.Flags = append(out.Flags, &flagpb.Flag{
			Plan:  wirePlans[f.Plan],
			Start: f.Start.String(),
			End:   f.End.String(),
			Authority: &flagpb.Authority{
				Code:               f.Authority.Code.String(),
				Name:               f.Authority.Name,
				EmergencyDutyPhone: f.Authority.EmergencyDutyPhone,
				OfficeHoursPhone:   f.Authority.OfficeHoursPhone,
			},
		})
	}
	return &flagpb.LookupResponse{AsOf: timestamppb.New(now), Answer: &flagpb.LookupResponse_Held{Held: out}, Data: s.ages(list, now)}
}

func wireNotification(n safeguard.Notification) *flagpb.Notification {
	out := &flagpb.Notification{
		Id:                n.ID,
		NhsNumber:         n.Number.Reveal(),
		DateOfBirth:       n.Born.Reveal().String(),
		Organisation:      n.Organisation.String(),
		Site:              n.Site.String(),
		SiteName:          n.SiteName,
		CareSetting:       wireSettings[n.Setting],
		Accountable:       &flagpb.Accountable{Name: n.Accountable.Name, Role: n.Accountable.Role},
		AttendanceId:      n.Attendance.String(),
		AttendedAt:        timestamppb.New(n.At),
		RecordedAt:        timestamppb.New(n.Recorded),
		SensitiveLocation: n.Sensitive,
		Late:              n.Late,
		Upload:            n.Upload,
		Viewed:            n.Viewed,
	}
	if n.Corrects != "" {
		out.Correction = &flagpb.Correction{
			NotificationId: n.Corrects,
			Reason:         wireCorrections[n.Reason],
			CorrectedAt:    timestamppb.New(n.CorrectedAt),
		}
	}
	for _, p := range n.Plans {
		out.Plans = append(out.Plans, wirePlans[p])
	}
	return out
}

func wireInactive(n store.InactiveNumber) *flagpb.InactiveNumber {
	standing := flagpb.InactiveStanding_INACTIVE_STANDING_INACTIVE
	if n.Standing == store.Superseded {
		standing = flagpb.InactiveStanding_INACTIVE_STANDING_SUPERSEDED
	}
	return &flagpb.InactiveNumber{Id: n.ID, NhsNumber: n.Number.Reveal(), Standing: standing, Upload: n.Upload, RecordedAt: timestamppb.New(n.Recorded)}
}
