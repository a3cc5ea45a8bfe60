package upload

// Verdicts on a row (CP-ISUploadRecordResponse,
// 2.16.840.1.113883.2.1.3.2.4.17.473). NotFound, Sensitive, NotVerified and
// Superseded only a demographic service can give: without one they are not
// given.
const (
	NotFound    = "CPR01"
	Sensitive   = "CPR02"
	NotVerified = "CPR03"
	NotANumber  = "CPR04" // the NHS number is of an old format, or none
	Superseded  = "CPR05"
	Loaded      = "CPR06"
	Rejected    = "CPR07"
)

// Verdicts on an upload (CP-ISUploadFileResponse,
// 2.16.840.1.113883.2.1.3.2.4.17.474).
const (
	Malformed   = "CPF01"
	AllLoaded   = "CPF02"
	SomeLoaded  = "CPF03"
	NoneLoaded  = "CPF04"
	Unavailable = "CPF05" // the demographic service can not be asked: send again
	OldClient   = "CPF06" // the sender's program is not supported any more
)

// Verdict is what became of one row.
type Verdict struct {
	Line     int    `json:"line"`
	Code     string `json:"code"`
	Column   string `json:"column,omitempty"` // at fault; empty when it is the whole row, or none
	Sentence string `json:"sentence"`         // what is wrong, and what would be right; or what was done
}
