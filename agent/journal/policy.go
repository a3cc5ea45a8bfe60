package journal

import (
	"fmt"
	"time"

	"github.com/safeguard-edge/safeguard/disk"
)

// Policy is how long and how much the journal keeps, and when it stops intake.
type Policy struct {
	Duplicates  time.Duration `yaml:"duplicates"`  // how long a repeated message is recognised as one
	Bodies      time.Duration `yaml:"bodies"`      // how long message and alert are kept after settling, where the patient is eligible
	SetAside    time.Duration `yaml:"set_aside"`   // how long what is set aside keeps its message
	Settled     time.Duration `yaml:"settled"`     // how long settled entries and items are kept, without their messages
	Attendances time.Duration `yaml:"attendances"` // how long an attendance is kept after its last change
	MaxSizeMB   int64         `yaml:"max_size_mb"` // over this, settled entries go before their time; 0 for no limit
	MinFreeMB   int64         `yaml:"min_free_mb"` // intake stops with less free on the disk
}

const day = 24 * time.Hour

// DefaultPolicy is what holds unless a site says otherwise.
func DefaultPolicy() Policy {
	return Policy{
		Duplicates:  7 * day,
		Bodies:      72 * time.Hour,
		SetAside:    30 * day,
		Settled:     30 * day,
		Attendances: 60 * day,
		MaxSizeMB:   4096,
		MinFreeMB:   512,
	}
}

// longestStay is how long an attendance may be open without a word, and asked
// about after that.
const longestStay = 37 * day

// Validate names the first key that can not work, and what would.
func (p Policy) Validate() error {
	limits := DefaultPolicy()
	for _, c := range []struct {
		key   string
		wrong bool
		value any
		want  string
	}{
		{"duplicates", p.Duplicates < time.Hour, p.Duplicates, "at least 1h: senders repeat what was not acknowledged"},
		{"bodies", p.Bodies <= 0 || p.Bodies > limits.Bodies, p.Bodies, "more than 0 and at most 72h: no message is kept for longer"},
		{"set_aside", p.SetAside <= 0 || p.SetAside > limits.SetAside, p.SetAside, "more than 0 and at most 720h: no message is kept for longer"},
		{"settled", p.Settled < max(p.Duplicates, p.Bodies, p.SetAside), p.Settled, "at least as long as duplicates, bodies and set_aside"},
		{"attendances", p.Attendances < longestStay, p.Attendances, "at least 888h, 37 days: an inpatient may be open for so long"},
		{"max_size_mb", p.MaxSizeMB < 0 || p.MaxSizeMB > 0 && p.MaxSizeMB < 16, p.MaxSizeMB, "at least 16, or 0 for no limit"},
		{"min_free_mb", p.MinFreeMB < 0, p.MinFreeMB, "0 or more"},
	} {
		if c.wrong {
			return fmt.Errorf("%s: %v, want %s", c.key, c.value, c.want)
		}
	}
	return nil
}

// Free is what may still be written on the disk of dir, in bytes.
func Free(dir string) (uint64, error) { return disk.Free(dir) }
