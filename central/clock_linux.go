package central

import "golang.org/x/sys/unix"

// keptTime tells whether the system's clock is kept by time servers, as the kernel
// says (adjtimex(2), STA_UNSYNC); known is false where it does not say.
func keptTime() (kept, known bool) {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return false, false
	}
	return t.Status&unix.STA_UNSYNC == 0, true
}
