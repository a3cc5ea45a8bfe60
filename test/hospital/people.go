// Package hospital simulates the hospital around an agent: a PAS that sends ADT
// over MLLP, and an EPR that receives alerts over MLLP and acknowledges. It shares
// no code with the product, so that neither hides a fault of the other. Its
// patients are made up.
package hospital

import "time"

// Person is a made-up patient.
type Person struct {
	Key    string // what the demonstration calls the person by
	Who    string // in words
	Number string // NHS number of the 999 test range; empty for none
	MRN    string
	Family string
	Given  string
	Born   time.Time
	Sex    string // PID-8
	Class  string // PV1-2
	Status string // PID-32
}

func years(n int) time.Time { return time.Now().AddDate(-n, -3, -10) }

// The patients of the demonstration.
var (
	Plan        = Person{"plan", "a child with a protection plan", "9990000344", "H100001", "FERNSBY", "TOBIAS", years(7), "1", "E", "NSTS01"}
	LookedAfter = Person{"looked-after", "a looked-after child", "9990000352", "H100002", "OKONJO", "MAYA", years(14), "2", "E", "NSTS01"}
	Pregnant    = Person{"pregnant", "a pregnant woman whose unborn child has a plan", "9990000360", "H100003", "HALLORAN", "BRIDGET", years(26), "2", "E", "NSTS01"}
	NoFlag      = Person{"no-flag", "a child with no flag", "9990000379", "H100004", "QUILL", "EDWIN", years(5), "1", "E", "NSTS01"}
	OtherBirth  = Person{"other-birth", "a child whose date of birth is not the flag's", "9990000387", "H100005", "VANTER", "ISLA", years(9), "2", "E", "NSTS01"}
	Adult       = Person{"adult", "an adult man, who must not be asked about", "9990000395", "H100006", "DRUMMEL", "HARVEY", years(41), "1", "E", "NSTS01"}
	NoNumber    = Person{"no-number", "a child without an NHS number", "", "H100007", "ASHDOWN", "RUBY", years(3), "2", "E", ""}
	Ended       = Person{"ended", "a child whose plan ended three months ago", "9990000409", "H100008", "MERRIDEW", "LEO", years(11), "1", "E", "NSTS01"}
	Sibling     = Person{"sibling", "a looked-after child never seen here before", "9990000417", "H100009", "PELLOW", "NELL", years(10), "2", "E", "NSTS01"}
)

// People are all of them.
var People = []Person{Plan, LookedAfter, Pregnant, NoFlag, OtherBirth, Adult, NoNumber, Ended, Sibling}
