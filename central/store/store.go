// Package store keeps what the centre must not lose: the flags, who looked at
// them, and what each local authority is still to be told. Persons are found
// under keyed hashes and kept sealed, so that a copy of the store tells counts
// and times, and nothing about anyone.
//
// Nothing here decides: which flags are shown, and to whom, is the server's.
package store

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/identity"
)

// Store is the contract; storetest is its conformance suite. Its methods may be
// called concurrently. What a method has said is done is on disk. Two stores of
// one contract may serve one database.
type Store interface {
	// Flags gives every flag that is held for the number now, by any authority,
	// ended ones included. Withdrawn and superseded ones are not given. None is
	// an empty slice.
	Flags(ctx context.Context, number safeguard.NHSNumber) ([]Flag, error)

	// Look has decide say what is to be recorded of a look at the flags that are held
	// for the number, which are those that Flags gives, and records that as Record
	// or Settle does. All of it is shared with looks at the same time. decide must
	// not wait for anything; the number of its Look need not be given.
	Look(ctx context.Context, number safeguard.NHSNumber, decide func(held []Flag) Decision) error

	// Record writes into the audit that someone looked, and notes that the site
	// asked. It is on disk before whoever looked is answered; looks at the same
	// time share a commit.
	Record(ctx context.Context, look Look) error

	// Settle records a look that is an access too, and owes the notifications
	// that come with it, in one transaction. It is idempotent but for the audit,
	// which has every look: an access is one for each organisation, attendance
	// and number, a notification one for each of these and authority; what is
	// there already stays as it is, with its ID. An authority that comes to be
	// concerned only by a repeat is owed from then on.
	Settle(ctx context.Context, look Look, owed []safeguard.Notification) error

	// Apply applies an upload's changes in one transaction, in order, keeps the
	// upload, and says what each change did. No change removes a row: what is
	// superseded or withdrawn is kept, with the time and the upload that closed
	// it. An upload with number and digest of an earlier one is that one, and
	// changes nothing; a number that can not be the next is a *SequenceError. A
	// snapshot that does more than it may changes nothing and waits.
	Apply(ctx context.Context, upload Upload) (Kept, error)

	// Uploads gives the uploads, the latest first.
	Uploads(ctx context.Context, which UploadFilter) ([]Kept, error)

	// Upload gives one, by its id, or where that is empty by the authority's
	// sequence number. One that is not there, or is another authority's, is
	// ErrNoUpload; the zero authority is any.
	Upload(ctx context.Context, authority safeguard.ODSCode, id string, sequence int64) (Kept, error)

	// Release applies an upload that waits, except where a later one has said
	// something of a flag. One that does not wait is a *NotWaiting.
	Release(ctx context.Context, id, reason string, by audit.Who) (Kept, error)

	// Reject ends the waiting of an upload: nothing of it is applied.
	Reject(ctx context.Context, id, reason string, by audit.Who) (Kept, error)

	// ImportDemographics puts a list in the place of the one before, owes each
	// authority that holds a flag under one of its numbers that are not in use any
	// more a notice, once, and gives how many it owes now.
	ImportDemographics(ctx context.Context, list iter.Seq2[Listed, error], by audit.Who) (owed int, err error)

	// Demographics says which list was imported; the zero value is none.
	Demographics(ctx context.Context) (DemographicList, error)

	// Standings gives what the list says of the numbers, in their order.
	Standings(ctx context.Context, numbers []safeguard.NHSNumber) ([]Standing, error)

	// InactiveNumbers gives an authority's notices that are not acknowledged, as
	// Waiting gives notifications.
	InactiveNumbers(ctx context.Context, authority safeguard.ODSCode, after int64, limit int) ([]InactiveNumber, error)

	// AcknowledgeInactive is Acknowledge for these notices.
	AcknowledgeInactive(ctx context.Context, authority safeguard.ODSCode, ids []string, by string, at time.Time) (int, error)

	// Correct takes an access back: it is kept, marked, and every authority that was
	// notified of it is owed a correction. One that was corrected before, or never
	// recorded, stays as it is.
	Correct(ctx context.Context, correction Correction) (safeguard.Corrected, error)

	// Uploaded gives when each authority's last upload of which something was
	// loaded, or that was empty, was received.
	Uploaded(ctx context.Context) (map[safeguard.ODSCode]time.Time, error)

	// Accesses gives the latest accesses to the number's flags that were not
	// corrected, latest first, at most limit.
	Accesses(ctx context.Context, number safeguard.NHSNumber, limit int) ([]Access, error)

	// Waiting gives an authority's notifications that are not acknowledged, in
	// the order in which they came, at most limit, from behind position after; 0
	// is the beginning.
	Waiting(ctx context.Context, authority safeguard.ODSCode, after int64, limit int) ([]Waiting, error)

	// Owing gives how many notifications each authority has not acknowledged, and
	// since when the first of them waits. Those with none are left out.
	Owing(ctx context.Context) (map[safeguard.ODSCode]safeguard.Queue, error)

	// Notified gives an authority's notifications to each, acknowledged or not, in
	// their order. It is in the audit before the first is given.
	Notified(ctx context.Context, which Which, by string, each func(Notified) error) error

	// Acknowledge marks an authority's notifications as taken over by the one
	// named, and gives how many of the ids are the authority's, those
	// acknowledged before included.
	Acknowledge(ctx context.Context, authority safeguard.ODSCode, ids []string, by string, at time.Time) (int, error)

	// Lease tells whether the holder, and no other, has what is named for the next d,
	// by the clock of the database. Who asks again in time keeps it; 0 gives it up.
	Lease(ctx context.Context, name, holder string, d time.Duration) (bool, error)

	// FlagsAt gives what Flags would have given at a moment of the past, in the
	// same order, with where each flag came from.
	FlagsAt(ctx context.Context, number safeguard.NHSNumber, at time.Time) ([]Holding, error)

	// Changed gives the changes of flags behind a point, in the order in which
	// they came to be, at most limit, each with the sites that have asked about
	// that person since a moment. A change is there as soon as Apply has returned.
	// ErrGap says that the changes do not go on from the point.
	Changed(ctx context.Context, after ChangePoint, limit int, since time.Time) ([]Changed, error)

	// Wake calls woken when changes may have been logged by another store of the same
	// database, until ctx ends. It is no more than a hint: where the database can not
	// tell, or a connection breaks, it does not come.
	Wake(ctx context.Context, woken func())

	// LastChange is the point of the latest change by then; the zero point when
	// there was none.
	LastChange(ctx context.Context, by time.Time) (ChangePoint, error)

	// PutBackTo is the moment whose state the store was last put back to, by a
	// restore: what it was told from then on until the restore is lost. Zero for never.
	PutBackTo(ctx context.Context) (time.Time, error)

	// Turn logs as changed whoever a site has asked about and who has a flag that is
	// shown on the day and was not on that of the last Turn, or the other way round:
	// a plan that begins, or is visible no more, comes without an upload. It gives
	// how many; for a day that was turned to before, by whatever process, none.
	Turn(ctx context.Context, day safeguard.Date, shown func(f Flag, on safeguard.Date) bool) (int, error)

	// Directory gives who takes part. When nothing has changed since the version
	// known, it gives no more than that version; 0 is none.
	Directory(ctx context.Context, known int64) (Directory, error)

	// PutSite adds a site, or puts it in the place of the one with the same
	// organisation and code, whose stage it keeps.
	PutSite(ctx context.Context, site Site, by audit.Who) error

	// PutAuthority is PutSite for a local authority.
	PutAuthority(ctx context.Context, authority Authority, by audit.Who) error

	// StageSite moves a site to a stage. One that is not there is ErrUnknown.
	StageSite(ctx context.Context, organisation, site safeguard.ODSCode, stage Stage, by audit.Who) error

	// StageAuthority is StageSite for a local authority.
	StageAuthority(ctx context.Context, authority safeguard.ODSCode, stage Stage, by audit.Who) error

	// Import puts what a configuration lists into the directory: what is new as
	// it says, of what is there everything but the stage, and nothing of what an
	// operator has put there. It removes nothing.
	Import(ctx context.Context, sites []Site, authorities []Authority, by audit.Who) error

	// PutToken keeps an enrolment token.
	PutToken(ctx context.Context, t EnrolToken, by audit.Who) error

	// Tokens gives all, the latest first.
	Tokens(ctx context.Context) ([]EnrolToken, error)

	// WithdrawToken ends a token, named by identity.TokenID, that is not used. Why
	// it can not is a *Refusal.
	WithdrawToken(ctx context.Context, id string, by audit.Who) error

	// Redeem has a certificate issued for a token and keeps it, and revokes all
	// others of the identity, in one transaction. Redeemed again with the same key,
	// it gives what was issued. Why it does not is a *Refusal.
	Redeem(ctx context.Context, r Redemption, issue func(EnrolToken) (Certificate, error)) (Certificate, error)

	// Renew has a certificate issued in the place of an old one and keeps it. The
	// old one stays until the new one is confirmed. Asked again for the same key, it
	// gives what was issued. Why it does not is a *Refusal.
	Renew(ctx context.Context, old CertificateName, who identity.Identity, key []byte, at time.Time, issue func(old Certificate) (Certificate, error)) (Certificate, error)

	// Confirm notes that a certificate is in use: the one that it replaces is
	// revoked, as superseded.
	Confirm(ctx context.Context, name CertificateName, at time.Time) error

	// NoteTrust notes whom the holder of a certificate trusts.
	NoteTrust(ctx context.Context, name CertificateName, digest []byte) error

	// KeepCertificate keeps one that was issued otherwise.
	KeepCertificate(ctx context.Context, c Certificate, by audit.Who) error

	// RevokeCertificates ends the certificate with a serial, or all of an identity,
	// and gives those that it ended; superseded ones are ended for good.
	RevokeCertificates(ctx context.Context, serial, of string, r Revocation) ([]Certificate, error)

	// Certificates gives certificates, by identity and age.
	Certificates(ctx context.Context, which CertificateFilter) ([]Certificate, error)

	// CertificateStandings gives what a server has to know of those that had not
	// expired by since. When nothing has changed since the version known, it gives no
	// more than that version; 0 is none.
	CertificateStandings(ctx context.Context, known int64, since time.Time) (CertificateStandings, error)

	// Issuers gives the authorities that issue, or have issued, the oldest first.
	Issuers(ctx context.Context) ([]Issuer, error)

	// PutIssuer adds an issuer: it issues at once where there is none, and else is
	// the next. There is at most one next; another is a *Refusal.
	PutIssuer(ctx context.Context, i Issuer, by audit.Who) error

	// SwitchIssuer lets the next issue, and the one before be no more than trusted.
	SwitchIssuer(ctx context.Context, by audit.Who) error

	// EndIssuer ends the trust in one that does not issue.
	EndIssuer(ctx context.Context, id string, by audit.Who) error

	// Note writes an entry into the audit.
	Note(ctx context.Context, e audit.Entry) error

	// Erase removes everything that is kept about a person, the data key first of
	// all, and tells how much that was. The audit goes on saying that somebody was
	// looked at, and nobody can tell any more who.
	Erase(ctx context.Context, number safeguard.NHSNumber, reason string, by audit.Who) (Removed, error)

	// Retain removes what is older than the rule says.
	Retain(ctx context.Context, rule Retention, by audit.Who) (Removed, error)

	// WouldRetain tells what Retain would remove.
	WouldRetain(ctx context.Context, rule Retention) (Removed, error)

	// NoteRetention keeps what came of Retain, and RetentionRuns gives that, the latest
	// first.
	NoteRetention(ctx context.Context, run RetentionRun) error
	RetentionRuns(ctx context.Context, limit int) ([]RetentionRun, error)

	// VerifyAudit verifies every chain of the audit, and that it goes on from the
	// heads noted elsewhere.
	VerifyAudit(ctx context.Context, noted []audit.Head) (audit.Report, error)

	// ExportAudit writes the audit as JSON lines, after an entry that says so,
	// and gives how many entries.
	ExportAudit(ctx context.Context, out io.Writer, by audit.Who) (int, error)

	Fleet
	Commands
	Operators
	Staff

	// Close waits for what is being written.
	Close() error
}

// Flag is one plan that one authority holds for a person, and the date of birth
// that it gave with it. One flag is told from another of the same person by
// authority, plan and start.
type Flag struct {
	Authority safeguard.ODSCode
	Plan      safeguard.Plan
	Start     safeguard.Date
	End       safeguard.Date // zero while the plan is active
	Born      safeguard.Private[safeguard.Date]

	Row int64 // where the store has it; not part of what it says
}

// Access is one unscheduled lookup of one person's flags.
type Access struct {
	Number       safeguard.NHSNumber
	Organisation safeguard.ODSCode
	Attendance   safeguard.AttendanceID
	Site         safeguard.ODSCode
	Setting      safeguard.CareSetting
	Device       string
	Accountable  safeguard.Accountable
	At           time.Time // true time of the attendance
	Recorded     time.Time // when the centre learnt of it
	Sensitive    bool

	// Viewed says that a member of staff looked by hand, at At: Accountable is that
	// person, and Attendance names the look.
	Viewed bool
}

// Look is one look at one person's flags, for whatever purpose. Only an
// unscheduled one is an access too; Sensitive is of those.
type Look struct {
	Access
	Caller  string // the identity that asked, as its certificate has it
	Purpose safeguard.Purpose
	Reason  string // in a person's words, where one was asked for; it names nobody
	Answer  string // what was said, such as "held"
	History int    // how many past accesses were shown
	Shown   []Flag // the flags that were shown

	Born safeguard.Private[safeguard.Date] // that was asked with, zero where none was
}

// Decision is what is to be recorded of a look: as Settle has it when it is an
// access too, else as Record.
type Decision struct {
	Look   Look
	Access bool
	Owed   []safeguard.Notification // of an access

	BreakGlass *BreakGlass // to be on the privacy officer's list before anything is shown; nil for none
}

// Which says which of an authority's notifications: those of persons for whom it
// holds a flag now, ended ones included.
type Which struct {
	Authority   safeguard.ODSCode
	Number      safeguard.NHSNumber // of one person; zero for all
	From, Until time.Time           // recorded from then on, and before; zero for no bound
}

// Notified is a notification and what has become of it.
type Notified struct {
	safeguard.Notification
	Acknowledged   time.Time // zero while it waits
	AcknowledgedBy string
	CorrectedBy    string // the notification that takes it back
}

// Waiting is a notification and its position among the authority's.
type Waiting struct {
	Position     int64
	Notification safeguard.Notification
}
