package adt

import (
	"slices"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// Replacement is what one PID and MRG say: who or which visit takes the place of
// which. Identifiers that both name are in neither list of Prior.
type Replacement struct {
	Survivor safeguard.Patient // PID
	// Prior is whom MRG names: of a merge or a change, discarded from now on; of
	// a move, another person, who remains.
	Prior Identity
	Visit ReplacedVisit // of merges, moves and changes that name a visit
}

// Identity is every number that names one patient.
type Identity struct {
	Numbers []safeguard.NHSNumber
	Local   []safeguard.Private[safeguard.Identifier]
}

// IsZero tells whether nobody is named.
func (i Identity) IsZero() bool { return len(i.Numbers) == 0 && len(i.Local) == 0 }

// ReplacedVisit is a visit under the number before and the number from now on.
// They are the same where only its patient changes.
type ReplacedVisit struct {
	From, To safeguard.AttendanceID
	Number   safeguard.Private[safeguard.Identifier] // from now on
}

// replaced reads every PID and MRG of a merge, a move or a change of identifier.
func (r *reader) replaced() error {
	mv := r.movement
	found := false
	for _, g := range r.groups {
		if !has(g.mrg) {
			r.doubt("a PID without MRG: it replaces nothing")
			continue
		}
		found = true
		p := r.replacement(g)
		if err := r.visits(g, &p); err != nil {
			return err
		}
		if mv.Attendance.Patient == (safeguard.Patient{}) {
			mv.Attendance = safeguard.Attendance{Organisation: r.site.Organisation, Patient: p.Survivor, Test: r.test(p.Survivor.Number)}
		}
		if !p.Prior.IsZero() || p.Visit != (ReplacedVisit{}) {
			mv.Replaced = append(mv.Replaced, p)
		}
	}
	switch {
	case !found:
		return r.trouble("without an MRG segment, want what is replaced")
	case len(mv.Replaced) == 0:
		mv.Kind, mv.Rule = Other, mv.Trigger+": MRG names nothing that PID and PV1 do not, nothing follows"
	case mv.Attendance.Patient.MRN.IsZero() && mv.Attendance.Patient.Number.IsZero() && mv.Replaced[0].Visit == (ReplacedVisit{}):
		return r.trouble("with neither a hospital number nor an NHS number in PID-3, want one to tell the survivor by")
	}
	return nil
}

// replacement reads who survives, and whom MRG names besides: the identifier
// list MRG-1, the patient id MRG-4 where PID-2 differs, and where the site has
// NHS numbers in PID-4, MRG-2 (HL7 v2.4 chapter 3.4.9).
//
// Senders list discarded identifiers in PID-3 too, as aliases. The survivor goes
// by the others, if there are any.
func (r *reader) replacement(g group) Replacement {
	var prior Identity
	r.name(&prior, g.mrg.Field(1), false)
	r.name(&prior, g.mrg.Field(4), slices.Contains(r.site.NHSNumber.Fields, "PID-2"))
	if slices.Contains(r.site.NHSNumber.Fields, "PID-4") {
		r.name(&prior, g.mrg.Field(2), true)
	}
	r.discarded = prior
	survivor := r.patient(g.pid)
	r.discarded = Identity{}
	doubts := r.movement.Doubts
	listed := r.patient(g.pid)
	r.movement.Doubts = doubts
	if survivor.MRN.IsZero() {
		survivor.MRN = listed.MRN
	}
	if survivor.Number.IsZero() {
		survivor.Number, survivor.NumberStatus = listed.Number, listed.NumberStatus
	}

	var stays Identity
	r.name(&stays, g.pid.Field(2), slices.Contains(r.site.NHSNumber.Fields, "PID-2"))
	if !survivor.MRN.IsZero() {
		stays.Local = append(stays.Local, survivor.MRN)
	}
	if !survivor.Number.IsZero() {
		stays.Numbers = append(stays.Numbers, survivor.Number)
	}
	for i, id := range prior.Local {
		prior.Local[i] = completed(id, survivor.MRN)
	}
	prior.Numbers = slices.DeleteFunc(prior.Numbers, func(n safeguard.NHSNumber) bool { return slices.Contains(stays.Numbers, n) })
	prior.Local = slices.DeleteFunc(prior.Local, func(id safeguard.Private[safeguard.Identifier]) bool { return stays.names(id.Reveal()) })
	return Replacement{Survivor: survivor, Prior: prior}
}

// completed gives an identifier that names no authority that of the survivor:
// senders leave it out of MRG.
func completed(id, survivor safeguard.Private[safeguard.Identifier]) safeguard.Private[safeguard.Identifier] {
	full := id.Reveal()
	if full.Authority == "" {
		full.Authority = survivor.Reveal().Authority
	}
	return safeguard.Hide(full)
}

// names goes by value and authority, because the type is left out too.
func (i Identity) names(want safeguard.Identifier) bool {
	return slices.ContainsFunc(i.Local, func(p safeguard.Private[safeguard.Identifier]) bool {
		got := p.Reveal()
		return got.Value == want.Value && (got.Authority == want.Authority || got.Authority == "" || want.Authority == "")
	})
}

// name adds the identifiers of a field. unmarked takes an unmarked one as an NHS
// number where it is valid.
func (r *reader) name(to *Identity, f hl7.Field, unmarked bool) {
	for v := range f.Repetitions() {
		id := r.cx(v)
		if id.Value == "" {
			continue
		}
		number, err := safeguard.ParseNHSNumber(id.Value)
		switch {
		case err == nil && (r.site.isNHSNumber(&id) || unmarked && id.unmarked()):
			if !slices.Contains(to.Numbers, number) {
				to.Numbers = append(to.Numbers, number)
			}
		case !r.site.isNHSNumber(&id):
			if !to.names(id.Identifier) {
				to.Local = append(to.Local, safeguard.Hide(id.Identifier))
			}
		}
	}
}

// visitEvents name a visit by MRG-5 and PV1-19, and must.
var visitEvents = []string{"A42", "A45", "A50"}

// visits reads the visit numbers of a pair, where there are some.
func (r *reader) visits(g group, p *Replacement) error {
	must := slices.Contains(visitEvents, r.movement.Trigger)
	from := r.visitNumber(g.mrg.Field(5))
	to := r.visitNumber(g.pv1.Field(19))
	if from.Value == "" || to.Value == "" {
		if must {
			return r.trouble("without a visit number in MRG-5 and in PV1-19, want both")
		}
		return nil
	}
	p.Visit = r.replacedVisit(to, from)
	if p.Visit.From == p.Visit.To && (r.movement.Kind != Move || p.Prior.IsZero()) {
		p.Visit = ReplacedVisit{}
	}
	if must && r.movement.Kind != Move && !p.Prior.IsZero() {
		// A visit's merge or change leaves the patient (HL7 v2.4 chapter 3.6.2).
		return r.trouble("with another patient in MRG-1 than in PID-3, want a visit of one patient")
	}
	return nil
}

// replacedVisit pairs the visit numbers. MRG-5 often leaves the authority out:
// it is then that of PV1-19.
func (r *reader) replacedVisit(to, from safeguard.Identifier) ReplacedVisit {
	if from.Authority == "" {
		from.Authority = to.Authority
	}
	org := r.site.Organisation
	return ReplacedVisit{From: visitID(org, from), To: visitID(org, to), Number: safeguard.Hide(to)}
}
