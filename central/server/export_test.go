package server

// SendingOf is for tests.
var SendingOf = sendingOf

// ReportOf and PeriodOf are for tests.
var (
	ReportOf = reportOf
	PeriodOf = periodOf
)
