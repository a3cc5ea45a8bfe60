// Package intake is what a durable intake of messages is measured with: the
// registrations, the senders, and the floors.
package intake

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Registration is a registration of the size that hospitals send, each of another
// made-up child.
func Registration(n int) []byte {
	return fmt.Appendf(nil, registrationText, begun, n, begun, begun, n, number(n), n, begun)
}

// begun is when they all came.
var begun = time.Now().Format("20060102150405")

// number is the n-th NHS number of the range for tests, over again after some
// hundred thousand.
func number(n int) string {
	const range999 = 1_000_000    // six digits behind the 999
	for i := n * 11 / 10; ; i++ { // every eleventh has no check digit
		digits := fmt.Sprintf("999%06d", i%range999)
		sum := 0
		for k, d := range digits {
			sum += (10 - k) * int(d-'0')
		}
		if check := (11 - sum%11) % 11; check < 10 {
			return digits + strconv.Itoa(check)
		}
	}
}

// Next is a registration that was not made before.
func Next() []byte { return Registration(int(made.Add(1))) }

var made atomic.Int64

var registrationText = "MSH|^~\\&|PAS|RX1|SAFEGUARD|RX1|%s||ADT^A04^ADT_A01|B%d|P|2.4|||AL|NE|GBR|8859/1\r" +
	"EVN|A04|%s|||OPERATOR1|%s\r" +
	"PID|1||H%06d^^^RX1^MR~%s^^^NHS^NH||FERNSBY^TOBIAS^JAMES^^MASTER||20190203|1|||14 MADE UP STREET^^EXAMPLETON^^EX1 2AB||01632 960000|||S||||||||A|||||||NSTS01\r" +
	"PD1|||EXAMPLE SURGERY^^C81999|G9999999^EXAMPLE^GP\r" +
	"NK1|1|FERNSBY^MARA|MTH^MOTHER|14 MADE UP STREET^^EXAMPLETON^^EX1 2AB|01632 960000\r" +
	"PV1|1|E|ED^RESUS^1^RX101||||C1234567^EXAMPLE^DOCTOR|||180|||||||||V%d^^^RX1||||||||||||||||||||||||||%s\r" +
	"PV2|||^" + strings.Repeat("FELL FROM A SWING ", 6) + "\r"
