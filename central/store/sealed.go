package store

import (
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/cache/keys"
)

// vault turns values about persons into tokens and sealed bytes, the same for
// every kind of store. The additional data of each sealed value names its row,
// so that no value can be moved to another.
type vault struct {
	ring *keys.Ring
	mark []byte // what the ring's keys made of nothing when the store was opened
}

func newVault(ring *keys.Ring) vault { return vault{ring, markOf(ring)} }

func markOf(ring *keys.Ring) []byte { return ring.Token("central mark", nil) }

// person is the keyed hash under which a number is found.
func (v vault) person(number safeguard.NHSNumber) ([]byte, error) {
	person := v.token(number)
	return person, v.sameKeys()
}

// token is person for whoever sees to the keys.
func (v vault) token(number safeguard.NHSNumber) []byte {
	return v.ring.Token("central person", []byte(number.Reveal()))
}

// sameKeys is asked whenever a token was made. Under keys that are no more the
// same, such as those of a ring that was destroyed meanwhile, it would find
// nobody, which must not read as "none held".
func (v vault) sameKeys() error {
	if !hmac.Equal(markOf(v.ring), v.mark) {
		return errors.New("the keys are not those that the store was opened with")
	}
	return nil
}

// notificationID follows from what makes a notification one, so that it is the
// same even after the store was rebuilt; it tells nothing without the keys.
func (v vault) notificationID(n safeguard.Notification) string {
	parts := []string{n.Organisation.String(), n.Attendance.String(), n.Number.Reveal(), n.Authority.String()}
	if n.Corrects != "" {
		parts = append(parts, n.Corrects)
	}
	return v.uuid("central notification", key(parts...))
}

func (v vault) uuid(purpose string, of []byte) string {
	var id safeguard.AttendanceID // for the form of its text
	copy(id[:], v.ring.Token(purpose, of))
	id[6] = id[6]&0x0f | 0x80 // UUID version 8
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}

// key joins parts that hold no NUL so that no two lists give the same.
func key(parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		b = append(append(b, p...), 0)
	}
	return b
}

// What is sealed, as JSON. The domain's own types mask themselves when encoded,
// so the sealed forms are spelled out. A field is never given another meaning.
type (
	sealedFlag struct {
		Plan  safeguard.Plan `json:"plan"`
		Start safeguard.Date `json:"start"`
		End   safeguard.Date `json:"end"`
		Born  safeguard.Date `json:"born"`
	}
	sealedAccess struct {
		Number    string                `json:"number"`
		Site      safeguard.ODSCode     `json:"site"`
		Setting   safeguard.CareSetting `json:"setting"`
		Device    string                `json:"device"`
		Name      string                `json:"name"`
		Role      string                `json:"role"`
		At        time.Time             `json:"at"`
		Sensitive bool                  `json:"sensitive"`
		Viewed    bool                  `json:"viewed,omitempty"`
	}
	sealedNotification struct {
		Number    string                `json:"number"`
		Born      safeguard.Date        `json:"born"`
		Plans     []safeguard.Plan      `json:"plans"`
		Site      safeguard.ODSCode     `json:"site"`
		SiteName  string                `json:"siteName"`
		Setting   safeguard.CareSetting `json:"setting"`
		Name      string                `json:"name"`
		Role      string                `json:"role"`
		At        time.Time             `json:"at"`
		Sensitive bool                  `json:"sensitive"`
		Late      bool                  `json:"late,omitempty"`
		Viewed    bool                  `json:"viewed,omitempty"`

		Corrects    string                     `json:"corrects,omitempty"`
		Reason      safeguard.CorrectionReason `json:"reason,omitzero"`
		CorrectedAt time.Time                  `json:"correctedAt,omitzero"`
	}
)

func read(plain []byte, value any) error {
	if err := json.Unmarshal(plain, value); err != nil {
		return fmt.Errorf("read sealed value: %w", err)
	}
	return nil
}

func (k dataKey) sealJSON(value any, ad []byte) ([]byte, error) {
	plain, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return k.seal(plain, ad), nil
}

func (k dataKey) openJSON(sealed, ad []byte, value any) error {
	plain, err := k.open(sealed, ad)
	if err != nil {
		return err
	}
	return read(plain, value)
}

func flagAD(person []byte, authority safeguard.ODSCode) []byte {
	return key("flag", authority.String(), string(person))
}

func (k dataKey) sealFlag(person []byte, f Flag) ([]byte, error) {
	return k.sealJSON(sealedFlag{f.Plan, f.Start, f.End, f.Born.Reveal()}, flagAD(person, f.Authority))
}

func (k dataKey) openFlag(person []byte, authority safeguard.ODSCode, sealed []byte) (Flag, error) {
	var f sealedFlag
	if err := k.openJSON(sealed, flagAD(person, authority), &f); err != nil {
		return Flag{}, err
	}
	return Flag{Authority: authority, Plan: f.Plan, Start: f.Start, End: f.End, Born: safeguard.Hide(f.Born)}, nil
}

func accessAD(person []byte, organisation safeguard.ODSCode, attendance safeguard.AttendanceID) []byte {
	return key("access", organisation.String(), attendance.String(), string(person))
}

func (k dataKey) sealAccess(person []byte, a Access) ([]byte, error) {
	return k.sealJSON(sealedAccess{
		Number:    a.Number.Reveal(),
		Site:      a.Site,
		Setting:   a.Setting,
		Device:    a.Device,
		Name:      a.Accountable.Name,
		Role:      a.Accountable.Role,
		At:        a.At.UTC(),
		Sensitive: a.Sensitive,
		Viewed:    a.Viewed,
	}, accessAD(person, a.Organisation, a.Attendance))
}

// openAccess fills in what is sealed of an access; a holds the rest.
func (k dataKey) openAccess(person []byte, a Access, sealed []byte) (Access, error) {
	var s sealedAccess
	if err := k.openJSON(sealed, accessAD(person, a.Organisation, a.Attendance), &s); err != nil {
		return Access{}, err
	}
	number, err := safeguard.ParseNHSNumber(s.Number)
	if err != nil {
		return Access{}, fmt.Errorf("read sealed value: %w", err)
	}
	a.Number = number
	a.Site, a.Setting, a.Device = s.Site, s.Setting, s.Device
	a.Accountable = safeguard.Accountable{Name: s.Name, Role: s.Role}
	a.At, a.Sensitive, a.Viewed = s.At, s.Sensitive, s.Viewed
	return a, nil
}

func (k dataKey) sealNotification(n safeguard.Notification) ([]byte, error) {
	return k.sealJSON(sealedNotification{
		Number:    n.Number.Reveal(),
		Born:      n.Born.Reveal(),
		Plans:     n.Plans,
		Site:      n.Site,
		SiteName:  n.SiteName,
		Setting:   n.Setting,
		Name:      n.Accountable.Name,
		Role:      n.Accountable.Role,
		At:        n.At.UTC(),
		Sensitive: n.Sensitive,
		Late:      n.Late,
		Viewed:    n.Viewed,

		Corrects:    n.Corrects,
		Reason:      n.Reason,
		CorrectedAt: n.CorrectedAt.UTC(),
	}, key("notification", n.ID, n.Authority.String()))
}

// openNotification fills in what is sealed of a notification; n holds the rest.
func (k dataKey) openNotification(n safeguard.Notification, sealed []byte) (safeguard.Notification, error) {
	var s sealedNotification
	if err := k.openJSON(sealed, key("notification", n.ID, n.Authority.String()), &s); err != nil {
		return safeguard.Notification{}, err
	}
	number, err := safeguard.ParseNHSNumber(s.Number)
	if err != nil {
		return safeguard.Notification{}, fmt.Errorf("read sealed value: %w", err)
	}
	n.Number, n.Born = number, safeguard.Hide(s.Born)
	n.Plans, n.Site, n.SiteName, n.Setting = s.Plans, s.Site, s.SiteName, s.Setting
	n.Accountable = safeguard.Accountable{Name: s.Name, Role: s.Role}
	n.At, n.Sensitive, n.Late, n.Viewed = s.At, s.Sensitive, s.Late, s.Viewed
	n.Corrects, n.Reason, n.CorrectedAt = s.Corrects, s.Reason, s.CorrectedAt
	return n, nil
}
