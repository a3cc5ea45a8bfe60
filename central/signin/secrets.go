package signin

import (
	"crypto/subtle"
	"fmt"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
)

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
