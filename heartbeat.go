package safeguard

import (
	"slices"
	"time"
)

// Heartbeat is how an agent is: what it reports to the centre, and what its own
// status page shows. Nothing in it is about a patient. Whose it is, and for which
// sites, is its certificate's to say, and never its own.
//
// All times are the agent's own clock's: whoever reads it elsewhere takes ages
// from At, and asks Clock how far that is from the centre's time. What is counted
// is counted since the agent started.
type Heartbeat struct {
	Boot     string     `json:"boot"`     // names this run of the agent; no other run has the same
	Sequence uint64     `json:"sequence"` // of the heartbeats of the run, from 1
	At       time.Time  `json:"at"`
	State    AgentState `json:"state"`
	Since    time.Time  `json:"since"` // State

	Device  string    `json:"device"`        // what the agent calls itself in lookups
	Version string    `json:"version"`       // of the program
	Config  string    `json:"config_digest"` // SHA-256 of the configuration in force, in hexadecimal
	Started time.Time `json:"started"`

	Feeds       []FeedHealth      `json:"feeds"`
	Journal     JournalHealth     `json:"journal"`
	Sinks       []SinkHealth      `json:"sinks"`
	Lookups     Queue             `json:"lookups"`     // owed to the centre
	Corrections Queue             `json:"corrections"` // owed to the centre
	Centre      CentreHealth      `json:"centre"`
	Cache       CacheHealth       `json:"cache"`
	Certificate CertificateHealth `json:"certificate"`
	Clock       ClockHealth       `json:"clock"`
	Disk        DiskHealth        `json:"disk"`
	Attendances AttendanceHealth  `json:"attendances"`
	Failing     []string          `json:"failing,omitempty"` // what fails of all that the agent has checked that it depends on, by name

	Warnings []Warning `json:"warnings"` // open ones, as the agent sees them
}

// AgentState is an agent's condition in one word.
type AgentState int

// The states, from nothing known to the worst.
const (
	UnknownAgent AgentState = iota
	Starting                // it has not seen all its parts yet
	Working
	Stopping // it was told to stop
	Degraded // the centre can not be reached: answers come from the cache, or are unknown
	Failing  // a critical warning is open: patients are not checked, or clinicians not told
)

var agentStates = names{"unknown", "starting", "working", "stopping", "degraded", "failing"}

func (s AgentState) String() string { return agentStates.name(int(s)) }

// MarshalText writes the state's word.
func (s AgentState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the state's word. One that is not known here is unknown.
func (s *AgentState) UnmarshalText(text []byte) error {
	*s = AgentState(max(0, slices.Index(agentStates, string(text))))
	return nil
}

// Queue is how much waits, and since when.
type Queue struct {
	Length int       `json:"length"`
	Oldest time.Time `json:"oldest,omitzero"` // since when the first of it waits; zero where nothing does
}

// Age is how long the oldest has waited at a moment; 0 where nothing waits.
func (q Queue) Age(at time.Time) time.Duration { return age(at, q.Oldest) }

// age is never negative, whatever a clock did, and 0 since never.
func age(at, since time.Time) time.Duration {
	if since.IsZero() {
		return 0
	}
	return max(0, at.Sub(since))
}

// FeedHealth is one feed from the hospital.
type FeedHealth struct {
	Name        string    `json:"name"`
	Transport   string    `json:"transport"` // the key of its section in the configuration
	Connections int       `json:"connections"`
	LastMessage time.Time `json:"last_message,omitzero"` // zero for none since the start
	Messages    uint64    `json:"messages"`
	Errors      uint64    `json:"errors"`              // messages that could not be read or were rejected, and broken frames
	LastHour    int       `json:"last_hour"`           // messages in it
	HourErrors  int       `json:"last_hour_errors"`    // errors in it
	HeldSince   time.Time `json:"held_since,omitzero"` // it waits for intake; zero while it does not
	Fault       string    `json:"fault,omitempty"`     // why it takes no messages, as when its port is taken; empty while it does
}

// JournalHealth is what was acknowledged, and whether more can be.
type JournalHealth struct {
	Stopped  string    `json:"stopped,omitempty"` // why intake is stopped, in a few words; empty while it is open
	Since    time.Time `json:"since,omitzero"`    // Stopped
	Waiting  Queue     `json:"waiting"`           // messages that are not processed
	SetAside int       `json:"set_aside"`         // messages and items that wait for a person
	Late     int       `json:"late"`              // alerts that came too late for their attendance
	Size     int64     `json:"size_bytes"`
	Lost     int       `json:"lost,omitempty"` // rows that a damaged file took with it
}

// SinkHealth is one way into the EPR, and what waits for it.
type SinkHealth struct {
	Name      string    `json:"name"`
	Carrier   string    `json:"carrier"` // mllp, folder, mqtt or fhir
	Live      bool      `json:"live"`    // else it observes, and shows nothing
	Waiting   Queue     `json:"waiting"`
	DownSince time.Time `json:"down_since,omitzero"` // no answer since then; zero while it answers
	Answered  time.Time `json:"answered,omitzero"`   // its last answer
	Took      time.Time `json:"took,omitzero"`       // when it last took an alert
	Error     string    `json:"error,omitempty"`     // why it does not answer, or did not take the last alert; nothing that the EPR wrote
	Delivered int       `json:"delivered"`
	Refused   int       `json:"refused"`
	Failed    int       `json:"failed"` // tries without an answer
}

// CentreHealth is the link to the centre.
type CentreHealth struct {
	Since   time.Time     `json:"unreachable_since,omitzero"` // zero while it answers
	Latency time.Duration `json:"latency_ns"`                 // of the last heartbeat and its reply; 0 before the first
	Heard   time.Time     `json:"heard,omitzero"`             // its last reply to a heartbeat
}

// CacheHealth is what is kept for when the centre can not be reached.
type CacheHealth struct {
	State   string    `json:"state"` // off, ready, read-only or unavailable
	Why     string    `json:"why,omitempty"`
	Entries int       `json:"entries"`
	Oldest  time.Time `json:"oldest,omitzero"` // when the centre gave the oldest answer that is kept
	Newest  time.Time `json:"newest,omitzero"`
}

// CertificateHealth is how long the agent may still speak to the centre.
type CertificateHealth struct {
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`
}

// ClockHealth is how far the agent's clock is from the centre's.
type ClockHealth struct {
	Offset   time.Duration `json:"offset_ns"`         // to be added to the agent's time to have the centre's
	Within   time.Duration `json:"within_ns"`         // the offset is known to that much: half a round trip
	Measured time.Time     `json:"measured,omitzero"` // zero for never
}

// DiskHealth is the disk that journal and cache are on.
type DiskHealth struct {
	Free  uint64        `json:"free_bytes"`
	Floor uint64        `json:"floor_bytes"` // intake stops with less
	Sync  time.Duration `json:"sync_ns"`     // that a small write took to be on the disk; 0 before the first
}

// AttendanceHealth is what became of the attendances of the last hours.
type AttendanceHealth struct {
	Window       time.Duration `json:"window_ns"`     // what Begun, NotCompleted and NoNumber count
	Begun        int           `json:"begun"`         // attendances that somebody was to be asked about
	NotCompleted int           `json:"not_completed"` // of Begun: not answered when they were first processed, though there was a number
	NoNumber     int           `json:"no_number"`     // of Begun: without an NHS number that can be asked with
	Unknown      Queue         `json:"unknown"`       // attendances that still wait for an answer, of whatever age
	Unanswered   int           `json:"unanswered"`    // since the start: whose time to be asked about ended without one
}

// Worst is the most severe of the open warnings; NoSeverity where there is none.
func (h Heartbeat) Worst() (worst Severity) {
	for _, w := range h.Warnings {
		worst = max(worst, w.Code.Declared().Severity)
	}
	return worst
}

// Condition is the state that follows from what is open and from the link.
func (h Heartbeat) Condition() AgentState {
	for _, w := range h.Warnings {
		if w.Code != CentreAway && w.Code.Declared().Severity == Critical {
			return Failing
		}
	}
	if !h.Centre.Since.IsZero() {
		return Degraded
	}
	return Working
}

// HeartbeatReply is what the centre says to a heartbeat.
type HeartbeatReply struct {
	At       time.Time // by the centre's clock
	Version  string    // of the program that is wanted; empty for any
	Config   string    // digest of the configuration that is intended; empty for any
	Kept     time.Time // the periods that end by then need not be sent again
	Commands []string  // ids of what the agent is asked to do, to be fetched
}
