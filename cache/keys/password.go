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
	passwordHash   = 32
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
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, passwordMemory, passwordPasses, passwordLanes,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(derivePassword(password, salt, passwordPasses, passwordMemory, passwordLanes, passwordHash))), nil
}

func derivePassword(password string, salt []byte, t, m uint32, p uint8, length uint32) []byte {
	hashing <- struct{}{}
	defer func() { <-hashing }()
	return argon2.IDKey([]byte(password), salt, t, m, p, length)
}

var errPasswordHash = errors.New("want a hash by argon2id in the PHC string format")

// CheckPassword tells whether the hash is the password's. An error says that it is
// no such hash.
func CheckPassword(hash, password string) (bool, error) {
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false, errPasswordHash
	}
	var version int
	var t, m uint32
	var p uint8
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return false, errPasswordHash
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &m, &t, &p); err != nil || t == 0 || t > 100 || m > 1<<20 || p == 0 {
		return false, errPasswordHash
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil {
		return false, errPasswordHash
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || len(want) < 16 || len(want) > 64 || utf8.RuneCountInString(password) > mostPassword {
		return false, err
	}
	return subtle.ConstantTimeCompare(derivePassword(password, salt, t, m, p, uint32(len(want))), want) == 1, nil
}
