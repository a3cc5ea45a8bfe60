package keys

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// The cost of a password: the second of the two that RFC 9106, section 4,
// recommends, for where 2 GiB are too much.
const (
	passwordPasses = 3
	passwordMemory = 64 << 10 // KiB
	passwordLanes  = 4
	passwordSalt   = 16
	passwordHashed = 32
	leastPassword  = 12
	mostPassword   = 256
)

// hashing bounds the memory that passwords take at a time.
var hashing = make(chan struct{}, 2)

// HashPassword gives what is kept of a password: argon2id in the PHC string
// format. One that is too short to be one is refused.
func HashPassword(password string) (string, error) {
	if n := utf8.RuneCountInString(password); n < leastPassword || n > mostPassword {
		return "", fmt.Errorf("password of %d characters: want %d to %d", n, leastPassword, mostPassword)
	}
	salt := make([]byte, passwordSalt)
	_, _ = rand.Read(salt) // crypto/rand never fails
	h := passwordHash{passwordMemory, passwordPasses, passwordLanes, salt, nil}
	h.key = h.derive(password, passwordHashed)
	return h.String(), nil
}

// passwordHash is what is kept of a password.
type passwordHash struct {
	memory, passes uint32 // memory in KiB
	lanes          uint8
	salt, key      []byte
}

// String writes the PHC string format.
func (h passwordHash) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.passes, h.lanes,
		base64.RawStdEncoding.EncodeToString(h.salt), base64.RawStdEncoding.EncodeToString(h.key))
}

func (h passwordHash) derive(password string, length int) []byte {
	hashing <- struct{}{}
	defer func() { <-hashing }()
	return argon2.IDKey([]byte(password), h.salt, h.passes, h.memory, h.lanes, uint32(length))
}

var errPasswordHash = errors.New("want a hash by argon2id in the PHC string format")

// parsePasswordHash reads what String writes, and nothing else; and nothing that
// would take more memory or time than a password is worth.
func parsePasswordHash(text string) (h passwordHash, err error) {
	parts := strings.Split(text, "$")
	if len(parts) != 6 {
		return h, errPasswordHash
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.passes, &h.lanes); err != nil || h.passes == 0 || h.passes > 100 || h.memory > 1<<20 || h.lanes == 0 {
		return h, errPasswordHash
	}
	if h.salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil {
		return h, errPasswordHash
	}
	if h.key, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil || len(h.key) < 16 || len(h.key) > 64 || h.String() != text {
		return h, errPasswordHash
	}
	return h, nil
}

// CheckPassword tells whether the hash is the password's. An error says that it is
// no such hash.
func CheckPassword(hash, password string) (bool, error) {
	h, err := parsePasswordHash(hash)
	if err != nil || utf8.RuneCountInString(password) > mostPassword {
		return false, err
	}
	return subtle.ConstantTimeCompare(h.derive(password, len(h.key)), h.key) == 1, nil
}
