// Package intake is what a durable intake of messages is measured with: the
// registrations, the senders, and the floors.
package intake

import (
	"fmt"
	"strings"
	"sync/atomic"
)

// Registration is a registration of the size that hospitals send.
func Registration(n int) []byte { return fmt.Appendf(nil, registrationText, n, n) }

// Next is a registration that was not made before.
func Next() []byte { return Registration(int(made.Add(1))) }

var made atomic.Int64

var registrationText = "MSH|^~\\&|PAS|RX1|SAFEGUARD|RX1|20260314101500||ADT^A04^ADT_A01|B%d|P|2.4|||AL|NE|GBR|8859/1\r" +
	"EVN|A04|20260314101500|||OPERATOR1\r" +
	"PID|1||H100001^^^RX1^MR~9990000344^^^NHS^NH||FERNSBY^TOBIAS^JAMES^^MASTER||20190203|1|||14 MADE UP STREET^^EXAMPLETON^^EX1 2AB||0115 4960000|||S||||||||A|||||||NSTS01\r" +
	"PD1|||EXAMPLE SURGERY^^C81999|G9999999^EXAMPLE^GP\r" +
	"NK1|1|FERNSBY^MARA|MTH^MOTHER|14 MADE UP STREET^^EXAMPLETON^^EX1 2AB|0115 4960000\r" +
	"PV1|1|E|ED^RESUS^1^RX101||||C1234567^EXAMPLE^DOCTOR|||180|||||||||V%d^^^RX1||||||||||||||||||||||||||20260314101500\r" +
	"PV2|||^" + strings.Repeat("FELL FROM A SWING ", 6) + "\r"
