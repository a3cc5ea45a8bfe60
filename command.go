package safeguard

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// RemoteCommand is something that central operations ask an agent to do. There
// are no others than these few; none shows the centre anything about a patient, and
// none changes what clinicians see. The site decides which it allows.
type RemoteCommand struct {
	ID      string    `json:"id"`    // no other has the same
	Agent   string    `json:"agent"` // organisation and id, as the certificate of the agent has them
	Do      RemoteDo  `json:"do"`
	By      string    `json:"by"` // who ordered it, as the centre's audit has them
	Ordered time.Time `json:"ordered"`
	Expires time.Time `json:"expires"` // it is not done later
}

// RemoteDo is what a command has an agent do.
type RemoteDo string

// All that there is.
const (
	RunCheck     RemoteDo = "check"          // look at all that the agent depends on, and say what was found
	RefreshCache RemoteDo = "refresh-cache"  // ask again for kept answers that are due, now
	RotateKeys   RemoteDo = "rotate-keys"    // seal with new data keys from now on
	SendBundle   RemoteDo = "support-bundle" // send the support bundle
)

// Does says what the command has an agent do, for whoever orders it.
func (d RemoteDo) Does() string {
	switch d {
	case RunCheck:
		return "say what its own check finds"
	case RefreshCache:
		return "ask again, at once, for kept answers that are due"
	case RotateKeys:
		return "make new data keys, which seal from now on"
	case SendBundle:
		return "send its support bundle"
	}
	return string(d)
}

// RemoteDos are all that there is.
var RemoteDos = []RemoteDo{RunCheck, RefreshCache, RotateKeys, SendBundle}

// UnmarshalText reads one that there is.
func (d *RemoteDo) UnmarshalText(text []byte) error {
	if !slices.Contains(RemoteDos, RemoteDo(text)) {
		return fmt.Errorf("command %q: want one of %v", text, RemoteDos)
	}
	*d = RemoteDo(text)
	return nil
}

// RemoteOutcome is what became of a command.
type RemoteOutcome string

// The outcomes.
const (
	CommandDone    RemoteOutcome = "done"
	CommandRefused RemoteOutcome = "refused" // by the site, or as one that is not the agent's, or late
	CommandFailed  RemoteOutcome = "failed"
)

// RemoteAnswer is what an agent says to a command.
type RemoteAnswer struct {
	Outcome RemoteOutcome
	Text    string // what was found, or why not; nothing about a patient
	Bundle  []byte // of SendBundle, a zip archive
}

// LongestCommand is how long a command may wait to be done.
const LongestCommand = 7 * 24 * time.Hour

// The limits of an answer, in bytes.
const (
	MostRemoteText   = 64 << 10
	MostRemoteBundle = 900 << 10
)

// ErrAnswered says that a command was answered before.
var ErrAnswered = errors.New("the command was answered already")
