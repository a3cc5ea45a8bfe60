package signin

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
	"golang.org/x/crypto/argon2"
)

// The cost of a password: the second of the two that RFC 9106, section 4,
// recommends, for where 2 GiB are too much.
const (
	passes      = 3
	memory      = 64 << 10 // KiB
	lanes       = 4
	saltLength  = 16
	hashLength  = 32
	leastLength = 12
	mostLength  = 256
)

// hashing bounds the memory that passwords take at a time.
var hashing = make(chan struct{}, 2)

// HashPassword gives what is kept of a password: argon2id in the PHC string
// format. One that is too short to be one is refused.
func HashPassword(password string) (string, error) {
	if n := utf8.RuneCountInString(password); n < leastLength || n > mostLength {
		return "", fmt.Errorf("password of %d characters: want %d to %d", n, leastLength, mostLength)
	}
	salt := make([]byte, saltLength)
	_, _ = rand.Read(salt) // crypto/rand never fails
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memory, passes, lanes,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(derive(password, salt, passes, memory, lanes, hashLength))), nil
}

func derive(password string, salt []byte, t, m uint32, p uint8, length uint32) []byte {
	hashing <- struct{}{}
	defer func() { <-hashing }()
	return argon2.IDKey([]byte(password), salt, t, m, p, length)
}

var errHash = errors.New("want a hash by argon2id in the PHC string format")

// verifyPassword tells whether the hash is the password's.
func verifyPassword(hash, password string) (bool, error) {
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false, errHash
	}
	var version int
	var t, m uint32
	var p uint8
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return false, errHash
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &m, &t, &p); err != nil || t == 0 || t > 100 || m > 1<<20 || p == 0 {
		return false, errHash
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil {
		return false, errHash
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || len(want) < 16 || len(want) > 64 || utf8.RuneCountInString(password) > mostLength {
		return false, err
	}
	return subtle.ConstantTimeCompare(derive(password, salt, t, m, p, uint32(len(want))), want) == 1, nil
}

// codePeriod is the time step of RFC 6238 that authenticator apps know.
const codePeriod = 30 * time.Second

var codeOptions = totp.ValidateOpts{Period: uint(codePeriod / time.Second), Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1}

// NewFactor makes the secret of an account's one-time codes, and the address by
// which an authenticator app takes it up.
func NewFactor(centre, name string) (secret, address string, err error) {
	made, err := totp.Generate(totp.GenerateOpts{Issuer: centre, AccountName: name, Period: codeOptions.Period, Digits: codeOptions.Digits, Algorithm: codeOptions.Algorithm, SecretSize: 20})
	if err != nil {
		return "", "", fmt.Errorf("second factor: %w", err)
	}
	return made.Secret(), made.URL(), nil
}

// codeStep gives the time step that a code is of: this one, or one beside it, for
// clocks differ and people are slow.
func codeStep(secret, code string, now time.Time) (int64, bool) {
	code = strings.ReplaceAll(strings.TrimSpace(code), " ", "")
	this := now.Unix() / int64(codePeriod/time.Second)
	for _, step := range []int64{this, this - 1, this + 1} {
		want, err := totp.GenerateCodeCustom(secret, time.Unix(step*int64(codePeriod/time.Second), 0), codeOptions)
		if err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			return step, true
		}
	}
	return 0, false
}
