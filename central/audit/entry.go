// Package audit is the append-only record of who looked at whose flags, and of
// what was done to the centre: entries in chains, each entry bound to the one
// before it by a hash, so that what was changed, removed, moved or cut off is
// found. It keeps nothing itself; the store does.
//
// No entry names a patient. It holds a commitment: the hash of a secret salt and
// of the person's token, and both are kept beside the entry. Erasing the two
// leaves an entry that nobody can lead back to the person, and a chain that
// still verifies.
package audit

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Act is what was done.
type Act string

// The acts.
const (
	Opened           Act = "chain opened"
	Closed           Act = "chain closed"
	Anchored         Act = "heads seen" // of the other chains
	Looked           Act = "looked"     // at a person's flags
	Corrected        Act = "lookup corrected"
	SiteChanged      Act = "site changed"
	AuthorityChanged Act = "authority changed"
	Erased           Act = "person erased"
	Retained         Act = "retention applied"
	Exported         Act = "audit exported"
	BackedUp         Act = "store backed up"
	PutBack          Act = "store put back"  // to what a backup held
	UploadReleased   Act = "upload released" // that waited for a person
	UploadRejected   Act = "upload rejected"

	AgentIntended       Act = "agent intended" // its version and configuration
	AgentForgotten      Act = "agent forgotten"
	CommandOrdered      Act = "command ordered" // for an agent
	CommandAnswered     Act = "command answered"
	BundleTaken         Act = "support bundle taken" // that an agent sent
	WarningAcknowledged Act = "warning acknowledged"
	WarningNoted        Act = "warning noted"

	OperatorChanged Act = "operator changed" // an account at the centre itself
	OperatorRemoved Act = "operator removed"
	SignedIn        Act = "signed in" // to the centre's pages
	SignInRefused   Act = "sign-in refused"
	SessionEnded    Act = "session ended"

	StaffSearched      Act = "staff searched" // for a person, by NHS number and date of birth
	ViewRefused        Act = "view refused"
	BreakGlassSeen     Act = "break-glass seen" // by the privacy officer
	BreakGlassReviewed Act = "break-glass reviewed"

	DemographicsImported Act = "demographics imported"

	TokenMade          Act = "enrolment token made"
	TokenWithdrawn     Act = "enrolment token withdrawn"
	Enrolled           Act = "certificate issued"
	Renewed            Act = "certificate renewed"
	EnrolmentRefused   Act = "enrolment refused"
	CertificateRevoked Act = "certificate revoked"
	IssuerChanged      Act = "issuer of certificates changed"
)

// Entry is one act. Its JSON is what is hashed, and is kept as it is.
type Entry struct {
	Chain string    `json:"chain"`
	Seq   uint64    `json:"seq"`            // from 1, without a gap
	Prev  string    `json:"prev,omitempty"` // hash of the entry before
	At    time.Time `json:"at"`
	Act   Act       `json:"act"`
	Who   Who       `json:"who"`
	Where *Where    `json:"where,omitempty"`

	Purpose    string    `json:"purpose,omitempty"` // why, of a look
	Reason     string    `json:"reason,omitempty"`  // why, in a person's words
	Attendance string    `json:"attendance,omitempty"`
	AttendedAt time.Time `json:"attended_at,omitzero"`
	Answer     string    `json:"answer,omitempty"`
	Flags      []int64   `json:"flags,omitempty"`   // the store's rows that were shown
	Subject    string    `json:"subject,omitempty"` // the commitment to a person

	Heads   []Head            `json:"heads,omitempty"`  // of other chains, as this one saw them
	Erased  []Position        `json:"erased,omitempty"` // entries that lead to nobody any more
	Details map[string]string `json:"details,omitempty"`

	// Token is the person's, under a key that is not in the store. It is kept
	// beside the entry, and is not part of it.
	Token []byte `json:"-"`
}

// Who did it: an identity, as its certificate or the operating system has it,
// with the device and the person who answers for it.
type Who struct {
	Caller string `json:"caller,omitempty"`
	Device string `json:"device,omitempty"`
	Name   string `json:"name,omitempty"`
	Role   string `json:"role,omitempty"`
}

// Where it was done.
type Where struct {
	Organisation string `json:"organisation"`
	Site         string `json:"site,omitempty"`
	Setting      string `json:"setting,omitempty"`
}

// Position names an entry.
type Position struct {
	Chain string `json:"chain"`
	Seq   uint64 `json:"seq"`
}

func (p Position) String() string { return fmt.Sprintf("entry %d of chain %s", p.Seq, p.Chain) }

// Head is how far a chain has come.
type Head struct {
	Chain string `json:"chain"`
	Seq   uint64 `json:"seq"`
	Hash  string `json:"hash"`
}

// Record is an entry as it is kept.
type Record struct {
	Position
	At    time.Time
	Body  []byte // the entry's JSON
	Hash  []byte // SHA-256 of Body
	Token []byte // with Salt, what Subject commits to; both nil where there is none, or it was erased
	Salt  []byte
}

// Chain is where a chain stands. It is a value: one that was advanced by entries
// that then could not be kept is dropped, and the one before stays good.
type Chain struct{ head Head }

// NewChain begins a chain of a name of its own.
func NewChain() Chain { return Chain{Head{Chain: rand.Text()}} }

// From goes on with a chain.
func From(h Head) Chain { return Chain{h} }

// Head is the last entry's.
func (c Chain) Head() Head { return c.head }

// Next appends an entry: it gives what is to be kept, and the chain after it.
func (c Chain) Next(e Entry) (Record, Chain, error) {
	e.Chain, e.Seq, e.Prev = c.head.Chain, c.head.Seq+1, c.head.Hash
	e.At = e.At.UTC().Truncate(time.Millisecond)
	r := Record{Position: Position{e.Chain, e.Seq}, At: e.At}
	if e.Token != nil {
		r.Token, r.Salt = e.Token, make([]byte, 16)
		_, _ = rand.Read(r.Salt) // crypto/rand never fails
		e.Subject = commitment(r.Salt, r.Token)
	}
	var err error
	if r.Body, err = json.Marshal(e); err != nil {
		return Record{}, c, fmt.Errorf("write audit entry: %w", err)
	}
	sum := sha256.Sum256(r.Body)
	r.Hash = sum[:]
	return r, Chain{Head{e.Chain, e.Seq, hex.EncodeToString(r.Hash)}}, nil
}

func commitment(salt, token []byte) string {
	sum := sha256.Sum256(append(append([]byte{}, salt...), token...))
	return hex.EncodeToString(sum[:])
}
