package client

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/flagpb"
)

var purposes = map[safeguard.Purpose]flagpb.Purpose{
	safeguard.Unscheduled: flagpb.Purpose_PURPOSE_UNSCHEDULED,
	safeguard.Scheduled:   flagpb.Purpose_PURPOSE_SCHEDULED,
	safeguard.Refresh:     flagpb.Purpose_PURPOSE_REFRESH,
}

var settings = map[safeguard.CareSetting]flagpb.CareSetting{
	safeguard.EmergencyDepartment: flagpb.CareSetting_CARE_SETTING_EMERGENCY_DEPARTMENT,
	safeguard.WalkInCentre:        flagpb.CareSetting_CARE_SETTING_WALK_IN_CENTRE,
	safeguard.MinorInjuryUnit:     flagpb.CareSetting_CARE_SETTING_MINOR_INJURY_UNIT,
	safeguard.OutOfHoursGP:        flagpb.CareSetting_CARE_SETTING_OUT_OF_HOURS_GP,
	safeguard.AmbulanceService:    flagpb.CareSetting_CARE_SETTING_AMBULANCE_SERVICE,
	safeguard.Maternity:           flagpb.CareSetting_CARE_SETTING_MATERNITY,
	safeguard.PaediatricWard:      flagpb.CareSetting_CARE_SETTING_PAEDIATRIC_WARD,
}

// plans has no entry for a kind that this version does not know: its flag is
// shown all the same, as of unknown kind.
var plans = map[flagpb.Plan]safeguard.Plan{
	flagpb.Plan_PLAN_CHILD_PROTECTION: safeguard.ChildProtection,
	flagpb.Plan_PLAN_LOOKED_AFTER:     safeguard.LookedAfter,
	flagpb.Plan_PLAN_UNBORN_CHILD:     safeguard.UnbornChild,
}

var corrections = map[safeguard.CorrectionReason]flagpb.CorrectionReason{
	safeguard.AttendanceCancelled: flagpb.CorrectionReason_CORRECTION_REASON_ATTENDANCE_CANCELLED,
	safeguard.OtherPerson:         flagpb.CorrectionReason_CORRECTION_REASON_OTHER_PERSON,
}

var outcomes = map[flagpb.CorrectOutcome]safeguard.Corrected{
	flagpb.CorrectOutcome_CORRECT_OUTCOME_NEVER_RECORDED:    safeguard.NeverRecorded,
	flagpb.CorrectOutcome_CORRECT_OUTCOME_CORRECTED:         safeguard.CorrectedNow,
	flagpb.CorrectOutcome_CORRECT_OUTCOME_CORRECTED_ALREADY: safeguard.CorrectedAlready,
}

func author(a safeguard.Author) *flagpb.Author {
	return &flagpb.Author{
		Device:       a.Device,
		Organisation: a.Organisation.String(),
		Site:         a.Site.String(),
		CareSetting:  settings[a.Setting],
		Accountable:  &flagpb.Accountable{Name: a.Accountable.Name, Role: a.Accountable.Role},
	}
}

func correctRequest(c safeguard.Correction) *flagpb.CorrectRequest {
	return &flagpb.CorrectRequest{
		Author:       author(c.Author),
		AttendanceId: c.Attendance.String(),
		NhsNumber:    c.Number.Reveal(),
		Reason:       corrections[c.Reason],
		CorrectedAt:  moment(c.At),
	}
}

func request(q safeguard.Query) *flagpb.LookupRequest {
	return &flagpb.LookupRequest{
		Purpose:           purposes[q.Purpose],
		Author:            author(q.Author),
		AttendanceId:      q.Attendance.String(),
		AttendedAt:        moment(q.At),
		NhsNumber:         q.Number.Reveal(),
		DateOfBirth:       q.Born.Reveal().String(),
		SensitiveLocation: q.Sensitive,
	}
}

// refreshRequest is of the first query's author.
func refreshRequest(queries []safeguard.Query) *flagpb.RefreshRequest {
	r := &flagpb.RefreshRequest{Questions: make([]*flagpb.RefreshQuestion, len(queries))}
	for i, q := range queries {
		if i == 0 {
			r.Author = author(q.Author)
		}
		r.Questions[i] = &flagpb.RefreshQuestion{
			AttendanceId:      q.Attendance.String(),
			AttendedAt:        moment(q.At),
			NhsNumber:         q.Number.Reveal(),
			DateOfBirth:       q.Born.Reveal().String(),
			SensitiveLocation: q.Sensitive,
		}
	}
	return r
}

// refreshedOf reads as many as there were questions: with another number it would
// not be known whose they are. One that can not be read concerns no other.
func refreshedOf(r *flagpb.RefreshResponse, questions int) ([]safeguard.Refreshed, error) {
	if len(r.GetOutcomes()) != questions {
		return nil, fmt.Errorf("read outcomes: %d for %d questions", len(r.GetOutcomes()), questions)
	}
	policy := policyOf(r.GetPolicy())
	overdue, err := dataAgesOf(r.GetOverdue())
	if err != nil {
		return nil, err
	}
	out := make([]safeguard.Refreshed, questions)
	for i, o := range r.GetOutcomes() {
		switch {
		case o.GetAnswer() != nil:
			if out[i].Answer, err = answerOf(o.GetAnswer()); err != nil {
				out[i] = safeguard.Refreshed{Err: fmt.Errorf("%w: %w", ErrUnreachable, err)}
				continue
			}
			out[i].Answer.Policy = policy
			out[i].Answer.Data = safeguard.MergeData(out[i].Answer.Data, overdue)
		case o.GetRefusal() != nil:
			out[i].Err = &Refused{Reason: o.GetRefusal().GetReason()}
		default:
			out[i].Err = ErrUnreachable
		}
	}
	return out, nil
}

// answerOf reads a response. What can not be read in full is an error, so that
// it becomes unknown, and never fewer flags than the centre sent.
func answerOf(r *flagpb.LookupResponse) (safeguard.Answer, error) {
	answer := safeguard.Answer{
		AsOf:      timeOf(r.GetAsOf()),
		Source:    safeguard.FromCentre,
		Policy:    policyOf(r.GetPolicy()),
		OwedPause: max(0, r.GetOwedPause().AsDuration()),
	}
	if answer.AsOf.IsZero() {
		return safeguard.Answer{}, errors.New("read answer: no as-of time")
	}
	var err error
	if answer.Data, err = dataAgesOf(r.GetData()); err != nil {
		return safeguard.Answer{}, fmt.Errorf("read answer: %w", err)
	}
	for _, a := range r.GetHistory() {
		past, err := pastAccessOf(a)
		if err != nil {
			return safeguard.Answer{}, fmt.Errorf("read answer: past access: %w", err)
		}
		answer.History = append(answer.History, past)
	}
	switch a := r.GetAnswer().(type) {
	case *flagpb.LookupResponse_Unknown:
		// A reason that this version does not know is a refusal to say.
		answer.Reason = safeguard.CentreRefused
		if a.Unknown.GetReason() == flagpb.UnknownReason_UNKNOWN_REASON_IDENTITY_NOT_CONFIRMED {
			answer.Reason = safeguard.IdentityNotConfirmed
		}
		return answer, nil
	case *flagpb.LookupResponse_NoneHeld:
		answer.Status = safeguard.NoneHeld
		return answer, nil
	case *flagpb.LookupResponse_Held:
		if len(a.Held.GetFlags()) == 0 {
			return safeguard.Answer{}, errors.New("read answer: held, without a flag")
		}
		answer.Status = safeguard.Held
		for i, f := range a.Held.GetFlags() {
			flag, err := flagOf(f)
			if err != nil {
				return safeguard.Answer{}, fmt.Errorf("read answer: flag %d: %w", i+1, err)
			}
			answer.Flags = append(answer.Flags, flag)
		}
		return answer, nil
	}
	return safeguard.Answer{}, errors.New("read answer: neither unknown, none nor held")
}

// policyOf reads a policy. One that says of how long something counts nothing, or
// what can not be, lets it count for no time at all.
func policyOf(p *flagpb.CachePolicy) *safeguard.CachePolicy {
	if p == nil {
		return nil
	}
	return &safeguard.CachePolicy{Off: p.GetOff(), Held: agesOf(p.GetHeld()), None: agesOf(p.GetNone())}
}

func agesOf(a *flagpb.Ages) safeguard.Ages {
	usable := max(0, a.GetUsable().AsDuration())
	return safeguard.Ages{Fresh: min(usable, max(0, a.GetFresh().AsDuration())), Usable: usable}
}

func dataAgesOf(list []*flagpb.DataAge) ([]safeguard.DataAge, error) {
	var out []safeguard.DataAge
	for _, d := range list {
		age, err := dataAgeOf(d)
		if err != nil {
			return nil, fmt.Errorf("data age: %w", err)
		}
		out = append(out, age)
	}
	return out, nil
}

func dataAgeOf(d *flagpb.DataAge) (out safeguard.DataAge, err error) {
	out = safeguard.DataAge{Name: d.GetName(), Uploaded: timeOf(d.GetUploadedAt()), Overdue: d.GetOverdue()}
	out.Authority, err = safeguard.ParseODSCode(d.GetAuthority())
	return out, err
}

func pastAccessOf(a *flagpb.PastAccess) (safeguard.PastAccess, error) {
	out := safeguard.PastAccess{
		At:               timeOf(a.GetAttendedAt()),
		Setting:          settingOf(a.GetCareSetting()),
		OrganisationName: a.GetOrganisationName(),
		SiteName:         a.GetSiteName(),
		Accountable:      safeguard.Accountable{Name: a.GetAccountable().GetName(), Role: a.GetAccountable().GetRole()},
		Sensitive:        a.GetSensitiveLocation(),
	}
	var err error
	if out.Organisation, err = optionalCode(a.GetOrganisation()); err != nil {
		return out, err
	}
	out.Site, err = optionalCode(a.GetSite())
	return out, err
}

func optionalCode(s string) (safeguard.ODSCode, error) {
	if s == "" {
		return safeguard.ODSCode{}, nil
	}
	return safeguard.ParseODSCode(s)
}

// settingOf gives no setting for a type that this version does not know.
func settingOf(wire flagpb.CareSetting) safeguard.CareSetting {
	for setting, w := range settings {
		if w == wire {
			return setting
		}
	}
	return safeguard.UnknownSetting
}

func flagOf(f *flagpb.Flag) (safeguard.Flag, error) {
	flag := safeguard.Flag{Plan: plans[f.GetPlan()]}
	var err error
	if flag.Start, err = safeguard.ParseDate(f.GetStart()); err != nil {
		return flag, fmt.Errorf("start: %w", err)
	}
	if flag.End, err = optionalDate(f.GetEnd()); err != nil {
		return flag, fmt.Errorf("end: %w", err)
	}
	a := f.GetAuthority()
	if flag.Authority.Code, err = safeguard.ParseODSCode(a.GetCode()); err != nil {
		return flag, fmt.Errorf("local authority: %w", err)
	}
	flag.Authority.Name = a.GetName()
	flag.Authority.EmergencyDutyPhone = a.GetEmergencyDutyPhone()
	flag.Authority.OfficeHoursPhone = a.GetOfficeHoursPhone()
	return flag, nil
}

func optionalDate(s string) (safeguard.Date, error) {
	if s == "" {
		return safeguard.Date{}, nil
	}
	return safeguard.ParseDate(s)
}

// moment leaves out a time that is not known.
func moment(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil || t.CheckValid() != nil {
		return time.Time{}
	}
	return t.AsTime()
}
