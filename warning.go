package safeguard

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Warning is something that is wrong with an agent, a site or a local authority,
// and has been for longer than its grace. One is open until it is not wrong any
// more; it closes by itself.
type Warning struct {
	Code   WarningCode `json:"code"`
	Part   string      `json:"part,omitempty"`   // the feed or sink that it is about; empty for the whole
	Since  time.Time   `json:"since"`            // when it began, its grace included
	Detail string      `json:"detail,omitempty"` // the figures, in a few words; nothing about a patient
}

// WarningCode names a warning, here and in the runbook.
type WarningCode string

// The codes. What each means is in Declared; the remedy in full is the section of
// docs/runbook.md that has the code for its title.
const (
	AgentSilent        WarningCode = "agent-silent"
	AgentStopped       WarningCode = "agent-stopped"
	AgentShared        WarningCode = "agent-shared"
	SiteUnattended     WarningCode = "site-unattended"
	CentreAway         WarningCode = "centre-unreachable"
	IntakeStopped      WarningCode = "intake-stopped"
	FeedDown           WarningCode = "feed-down"
	FeedQuiet          WarningCode = "feed-quiet"
	FeedErrors         WarningCode = "feed-errors"
	JournalDeep        WarningCode = "journal-deep"
	JournalOld         WarningCode = "journal-old"
	SetAsideWaiting    WarningCode = "messages-set-aside"
	AlertsUndelivered  WarningCode = "alerts-undelivered"
	SinkDown           WarningCode = "sink-down"
	SinkObserving      WarningCode = "sink-observing"
	LookupsOwed        WarningCode = "lookups-owed"
	ChecksNotCompleted WarningCode = "checks-not-completed"
	NumbersMissing     WarningCode = "numbers-missing"
	CacheUnavailable   WarningCode = "cache-unavailable"
	CacheAgeing        WarningCode = "cache-ageing"
	CertificateEnding  WarningCode = "certificate-ending"
	CertificateEnded   WarningCode = "certificate-ended"
	ClockOff           WarningCode = "clock-off"
	DiskLow            WarningCode = "disk-low"
	DiskSlow           WarningCode = "disk-slow"
	CheckFails         WarningCode = "check-fails"
	VersionBehind      WarningCode = "version-behind"
	ConfigDiffers      WarningCode = "configuration-differs"
	UploadLate         WarningCode = "upload-late"
	RowsRejected       WarningCode = "rows-rejected"
	BreakGlassWaiting  WarningCode = "break-glass-waiting"
)

// Severity is how soon a person is needed.
type Severity int

// The severities.
const (
	NoSeverity Severity = iota
	Notice              // to know of
	Attention           // in office hours
	Critical            // now: patients are not checked, or clinicians not told, or soon will not be
)

var severities = names{"none", "notice", "attention", "critical"}

func (s Severity) String() string { return severities.name(int(s)) }

// MarshalText writes the severity's word.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads notice, attention or critical.
func (s *Severity) UnmarshalText(text []byte) error {
	if string(text) == severities[0] {
		*s = NoSeverity
		return nil
	}
	v, err := severities.parse("severity", string(text))
	*s = Severity(v)
	return err
}

// Declared is what is known of a warning before there is one.
type Declared struct {
	Code     WarningCode
	Severity Severity
	Sentence string        // what is wrong; {part} is the feed or sink
	Remedy   string        // what to do first, in a sentence; all of it is in the runbook
	Grace    time.Duration // for so long it may be wrong without a warning
	Central  bool          // only the centre can tell
}

// declared is the table of all warnings, for agents and centre alike.
var declared = []Declared{
	{AgentSilent, Critical, "The agent has not been heard from.", "See that the agent's computer and its line to the centre work, then that the service runs.", 2 * time.Minute, true},
	{AgentStopped, Attention, "The agent was stopped, and has not started again.", "Ask the hospital's IT why the service was stopped, and have it started.", 15 * time.Minute, true},
	{AgentShared, Critical, "Two agents speak with one certificate.", "Find the copied computer, stop its agent, and enrol it with a certificate of its own.", 0, true},
	{SiteUnattended, Attention, "No agent has ever been heard from at a site that takes part.", "Ask the site when its agent will be installed, or move the site back to invited.", 24 * time.Hour, true},
	{CentreAway, Critical, "The centre can not be reached: answers come from the cache, or are unknown.", "See whether others reach the centre; then the way there from this computer: name, firewall, proxy, certificate.", time.Minute, false},
	{IntakeStopped, Critical, "No message is taken on: {detail}.", "Run safeguard-agent journal stats: it names the cause and the remedy.", 15 * time.Second, false},
	{FeedDown, Critical, "Feed {part} takes no messages: {detail}.", "Run safeguard-agent check, and free the port or correct the feed's section; it is tried again by itself.", time.Minute, false},
	{FeedQuiet, Critical, "Feed {part} is quiet, and is not at this hour of the week.", "Ask who runs the integration engine whether the feed is sending; see the port, its firewall and certificate.", 10 * time.Minute, false},
	{FeedErrors, Attention, "Feed {part} brings more messages that can not be read than it used to.", "Run safeguard-agent journal list --state set-aside, and hl7 explain on one of them.", 15 * time.Minute, false},
	{JournalDeep, Attention, "Messages wait to be processed, more than there should be.", "See whether the centre answers, and how much is owed; the backlog works itself off once it does.", 5 * time.Minute, false},
	{JournalOld, Critical, "Messages have waited too long to be processed.", "Run safeguard-agent journal stats, and look in the log for what is tried again.", 2 * time.Minute, false},
	{SetAsideWaiting, Attention, "Messages were set aside, and wait for a person.", "Run safeguard-agent journal list --state set-aside; put right what is wrong, then replay them.", 15 * time.Minute, false},
	{AlertsUndelivered, Critical, "Alerts for {part} have not been delivered.", "See why sink {part} does not take them; clinicians are to be told by another way until it does.", 5 * time.Minute, false},
	{SinkDown, Critical, "Sink {part} does not answer.", "Ask who runs the EPR's interface; safeguard-agent epr test tries the whole way.", 2 * time.Minute, false},
	{SinkObserving, Notice, "Sink {part} observes, and shows nothing to clinicians.", "Once observing is over, fill in delivery.release_confirmed_by of the sink.", 24 * time.Hour, false},
	{LookupsOwed, Attention, "Lookups have been owed to the centre for too long.", "See that the centre answers; they are paid by themselves, slowly.", 30 * time.Minute, false},
	{ChecksNotCompleted, Attention, "More checks are not completed than is usual.", "Run safeguard-agent attendances: it names the reasons.", 15 * time.Minute, false},
	{NumbersMissing, Attention, "More attendances than usual have no NHS number to ask with.", "Ask the hospital whether its tracing with the national service works.", 30 * time.Minute, false},
	{CacheUnavailable, Attention, "The cache is not available: an outage of the centre would mean unknown.", "See the reason in the agent's log; a damaged cache begins anew by itself.", 10 * time.Minute, false},
	{CacheAgeing, Attention, "The answers that are kept grow old.", "See that the centre answers and that attendances come in; old answers stop counting by themselves.", time.Hour, false},
	{CertificateEnding, Attention, "The agent's certificate ends soon, and has not been renewed.", "See in the agent's log why renewal fails; else enrol anew.", time.Hour, false},
	{CertificateEnded, Critical, "The agent's certificate has ended.", "Enrol the agent anew, with a token of its site.", 0, false},
	{ClockOff, Attention, "The agent's clock is off.", "Have the computer's time service put right.", 10 * time.Minute, false},
	{DiskLow, Critical, "The disk is nearly full: intake stops before it is.", "Make room on the disk of the data folder, or give it more.", time.Minute, false},
	{DiskSlow, Attention, "The disk takes long to write.", "Exclude the data folder from the virus scanner, and look at what else uses the disk.", 15 * time.Minute, false},
	{CheckFails, Attention, "The agent's check of what it depends on finds what fails: {detail}.", "Run safeguard-agent check: each line that fails says what to do.", 15 * time.Minute, false},
	{VersionBehind, Notice, "The agent's version is not the one that is wanted.", "Upgrade the agent, or find out why it has not upgraded.", 24 * time.Hour, true},
	{ConfigDiffers, Attention, "The agent's configuration is not the one that is intended.", "Compare the two; deploy the intended one, or say that the new one is.", 30 * time.Minute, true},
	{UploadLate, Attention, "The local authority has not uploaded when it usually has.", "Ask the local authority's system team; answers say meanwhile how old its data are.", 6 * time.Hour, true},
	{RowsRejected, Attention, "More of the local authority's rows are rejected than before.", "Send its report to the local authority: each row that was not loaded is named in it.", 0, true},
	{BreakGlassWaiting, Attention, "A view by break-glass, number {part}, waits for the privacy officer.", "The organisation's privacy officer reviews it on the pages for staff, under views by break-glass.", 0, true},
}

// AllDeclared are the warnings that there can be, in the order of the runbook.
func AllDeclared() []Declared { return slices.Clone(declared) }

// Declared is what is known of the code. One that a newer program has given is
// for a person to look at.
func (c WarningCode) Declared() Declared {
	for _, d := range declared {
		if d.Code == c {
			return d
		}
	}
	return Declared{Code: c, Severity: Attention, Sentence: "The agent gives a warning that is not known here: " + string(c) + ".", Remedy: "Look at the agent's own status, and upgrade the centre."}
}

// Runbook is where the remedy is, within the documentation.
func (d Declared) Runbook() string { return "docs/runbook.md#" + string(d.Code) }

// Sentence says what is wrong, with the figures.
func (w Warning) Sentence() string {
	said := w.filled(w.Code.Declared().Sentence)
	if w.Detail == "" || strings.Contains(said, w.Detail) {
		return said
	}
	return fmt.Sprintf("%s (%s)", strings.TrimSuffix(said, "."), w.Detail)
}

// Remedy is what to do first.
func (w Warning) Remedy() string { return w.filled(w.Code.Declared().Remedy) }

func (w Warning) filled(s string) string {
	return strings.NewReplacer("{part}", w.Part, "{detail}", w.Detail).Replace(s)
}

// SortWarnings puts what needs a person first first: by severity, then by how
// long it has been so.
func SortWarnings(w []Warning) {
	slices.SortStableFunc(w, func(a, b Warning) int {
		return cmp.Or(cmp.Compare(b.Code.Declared().Severity, a.Code.Declared().Severity), a.Since.Compare(b.Since),
			strings.Compare(string(a.Code), string(b.Code)), strings.Compare(a.Part, b.Part))
	})
}
