package journal

import (
	"context"
	"database/sql"
	"strings"

	"github.com/safeguard-edge/safeguard/hl7adapter/hl7"
)

// sender is MSH-3 and MSH-4, verbatim. Who has sent is written down once, so
// that an operator who knows a control id only can find its message by the key
// of its origin.
type sender struct{ application, facility string }

func senderOf(h hl7.Header) sender {
	return sender{string(h.Application.Raw()), string(h.Facility.Raw())}
}

func (s sender) name() string { return s.application + "\x00" + s.facility }

// maxSenders bounds what a sender of nonsense can make us write down. The
// messages of those beyond are found by time.
const maxSenders = 1000

func (j *Journal) putSender(t *tx, s sender) error {
	key := j.key("sender", []byte(s.name()))
	body, err := j.ring.Seal([]byte(s.name()), senderIdentity(key))
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO senders (key, body) SELECT ?1, ?2
		WHERE (SELECT COUNT(*) FROM senders) < ?3 ON CONFLICT (key) DO NOTHING`, key, body, maxSenders)
	return err
}

// origins are the keys under which a message with the control id may be found.
func (j *Journal) origins(ctx context.Context, control string) (origins []origin, err error) {
	err = j.each(ctx, `SELECT key, body FROM senders`, nil, func(rows *sql.Rows) error {
		var key, sealed []byte
		if err := rows.Scan(&key, &sealed); err != nil {
			return err
		}
		plain, err := j.ring.Open(sealed, senderIdentity(key))
		if err != nil {
			return nil // one that rotted hides its own messages only
		}
		application, facility, _ := strings.Cut(string(plain), "\x00")
		origins = append(origins, j.origin(sender{application, facility}, []byte(control)))
		return nil
	})
	return origins, err
}

func senderIdentity(key []byte) []byte { return append([]byte("journal sender "), key...) }
