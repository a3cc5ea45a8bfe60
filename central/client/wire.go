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

func request(q safeguard.Query) *flagpb.LookupRequest {
	return &flagpb.LookupRequest{
		Purpose: purposes[q.Purpose],
		Author: &flagpb.Author{
			Device:       q.Author.Device,
			Organisation: q.Author.Organisation.String(),
			Site:         q.Author.Site.String(),
			CareSetting:  settings[q.Author.Setting],
			Accountable:  &flagpb.Accountable{Name: q.Author.Accountable.Name, Role: q.Author.Accountable.Role},
		},
		AttendanceId:      q.Attendance.String(),
		AttendedAt:        moment(q.At),
		NhsNumber:         q.Number.Reveal(),
		DateOfBirth:       q.Born.Reveal().String(),
		SensitiveLocation: q.Sensitive,
	}
}

// answerOf reads a response. What can not be read in full is an error, so that
// it becomes unknown, and never fewer flags than the centre sent.
func answerOf(r *flagpb.LookupResponse) (safeguard.Answer, error) {
	answer := safeguard.Answer{AsOf: timeOf(r.GetAsOf()), Source: safeguard.FromCentre}
	if answer.AsOf.IsZero() {
		return safeguard.Answer{}, errors.New("read answer: no as-of time")
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
