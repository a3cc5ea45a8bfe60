package storetest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/store"
)

// The size of England: flags with those that ended within a year, and local
// authorities.
const (
	NationalFlags       = 250_000
	NationalAuthorities = 153
)

// Numbers are so many made-up NHS numbers with right check digits, of the range
// for tests (999), which has some 900,000.
func Numbers(n int) []safeguard.NHSNumber {
	numbers := make([]safeguard.NHSNumber, 0, n)
	for i := 0; len(numbers) < n; i++ {
		digits := strconv.Itoa(999_000_000 + i)
		sum := 0
		for place, digit := range digits {
			sum += int(digit-'0') * (10 - place)
		}
		check := (11 - sum%11) % 11
		if check == 10 {
			continue
		}
		if n := number(digits + strconv.Itoa(check)); n != safeguard.TestPatient {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// NationalAuthority is the i-th local authority of the national set.
func NationalAuthority(i int) safeguard.ODSCode { return code(strconv.Itoa(200 + i)) }

// Born is the date of birth that the national set has for the i-th number: a
// child's of up to 12 years.
func Born(i int) safeguard.Date {
	return safeguard.DateOf(time.Now()).Add(-(i % 12), -(i % 11), -(i % 28))
}

// LoadNational uploads an active flag for each number, from all local
// authorities in turn.
func LoadNational(ctx context.Context, s store.Store, flagged []safeguard.NHSNumber) error {
	each := (len(flagged) + NationalAuthorities - 1) / NationalAuthorities
	start := safeguard.DateOf(time.Now())
	for a := range NationalAuthorities {
		upload := store.Upload{ID: fmt.Sprint("national ", a), Authority: NationalAuthority(a), By: "national", Received: time.Now()}
		var changes []store.Change
		for i := a * each; i < min((a+1)*each, len(flagged)); i++ {
			f := store.Flag{
				Plan:  []safeguard.Plan{safeguard.ChildProtection, safeguard.LookedAfter}[i%2],
				Start: start.Add(0, 0, -(i % 300)),
				Born:  safeguard.Hide(Born(i)),
			}
			changes = append(changes, store.Change{Number: flagged[i], Flag: f})
		}
		upload.Rows, upload.Changes = len(changes), slices.Values(changes)
		if _, err := s.Apply(ctx, upload); err != nil {
			return err
		}
	}
	return nil
}
