package mask

import (
	"fmt"
	"strconv"
	"strings"
)

// table names segments and fields as HL7 v2.4 does (chapters 2.16, 3.4, 6.5 and
// 7.4; ERR as 2.5, SFT and ARV as later versions; ZU1 and ZU8 are HL7 UK A.3's), and says what may be shown of each: a kind of value
// for every component, or for some (4:place), or nothing (-). What stands
// nowhere is masked.
const table = `
MSH Message header
1 - Field separator
2 - Encoding characters
3 place Sending application
4 place Sending facility
5 place Receiving application
6 place Receiving facility
7 time Date/time of message
8 - Security
9 event Message type
10 id Message control ID
11 one Processing ID
12 1:version Version ID
13 count Sequence number
14 - Continuation pointer
15 code Accept acknowledgement type
16 code Application acknowledgement type
17 code Country code
18 charset Character set
19 code Principal language of message
20 - Alternate character set handling scheme
21 - Conformance statement ID

EVN Event type
1 event Event type code
2 time Recorded date/time
3 time Date/time planned event
4 short Event reason code
5 - Operator ID
6 time Event occurred
7 place Event facility

PID Patient identification
1 count Set ID
2 4:place,5:type,6:place Patient ID
3 4:place,5:type,6:place,7:time,8:time Patient identifier list
4 4:place,5:type,6:place Alternate patient ID
5 7:one Patient name
6 7:one Mother's maiden name
7 - Date/time of birth
8 sex Administrative sex
9 - Patient alias
10 - Race
11 7:one Patient address
12 - County code
13 2:code,3:code Phone number - home
14 2:code,3:code Phone number - business
15 - Primary language
16 - Marital status
17 - Religion
18 4:place,5:type Patient account number
19 - SSN number
20 - Driver's license number
21 4:place,5:type Mother's identifier
22 - Ethnic group
23 - Birth place
24 - Multiple birth indicator
25 - Birth order
26 - Citizenship
27 - Veterans military status
28 - Nationality
29 - Patient death date and time
30 - Patient death indicator
31 one Identity unknown indicator
32 status Identity reliability code
33 time Last update date/time
34 place Last update facility
35 - Species code
36 - Breed code
37 - Strain
38 - Production class code

PD1 Patient additional demographic
1 - Living dependency
2 - Living arrangement
3 - Patient primary facility
4 - Patient primary care provider
5 - Student indicator
6 - Handicap
7 - Living will
8 - Organ donor
9 - Separate bill
10 - Duplicate patient
11 - Publicity code
12 - Protection indicator
13 - Protection indicator effective date
14 - Place of worship
15 - Advance directive code
16 - Immunization registry status
17 - Immunization registry status effective date
18 - Publicity code effective date
19 - Military branch
20 - Military rank/grade
21 - Military status

NK1 Next of kin / associated parties
1 count Set ID
2 - Name
3 - Relationship
4 - Address
5 - Phone number
6 - Business phone number
7 - Contact role
8 - Start date
9 - End date
10 - Job title
11 - Job code/class
12 - Employee number
13 - Organization name
14 - Marital status
15 - Administrative sex
16 - Date/time of birth
17 - Living dependency
18 - Ambulatory status
19 - Citizenship
20 - Primary language
21 - Living arrangement
22 - Publicity code
23 - Protection indicator
24 - Student indicator
25 - Religion
26 - Mother's maiden name
27 - Nationality
28 - Ethnic group
29 - Contact reason
30 - Contact person's name
31 - Contact person's telephone number
32 - Contact person's address
33 - Identifiers
34 - Job status
35 - Race
36 - Handicap
37 - Contact person social security number

PV1 Patient visit
1 count Set ID
2 one Patient class
3 1:place,2:place,4:place,6:short,7:place,8:short Assigned patient location
4 short Admission type
5 4:place,5:type Preadmit number
6 1:place,2:place,4:place Prior patient location
7 - Attending doctor
8 - Referring doctor
9 - Consulting doctor
10 short Hospital service
11 1:place,2:place,4:place Temporary location
12 - Preadmit test indicator
13 - Re-admission indicator
14 short Admit source
15 - Ambulatory status
16 - VIP indicator
17 - Admitting doctor
18 - Patient type
19 4:place,5:type,6:place Visit number
20 - Financial class
21 - Charge price indicator
22 - Courtesy code
23 - Credit rating
24 - Contract code
25 - Contract effective date
26 - Contract amount
27 - Contract period
28 - Interest code
29 - Transfer to bad debt code
30 - Transfer to bad debt date
31 - Bad debt agency code
32 - Bad debt transfer amount
33 - Bad debt recovery amount
34 - Delete account indicator
35 - Delete account date
36 short Discharge disposition
37 - Discharged to location
38 - Diet type
39 place Servicing facility
40 - Bed status
41 - Account status
42 1:place,2:place,4:place Pending location
43 1:place,2:place,4:place Prior temporary location
44 time Admit date/time
45 time Discharge date/time
46 - Current patient balance
47 - Total charges
48 - Total adjustments
49 - Total payments
50 4:place,5:type Alternate visit ID
51 one Visit indicator
52 - Other healthcare provider

PV2 Patient visit - additional information
1 1:place,2:place,4:place Prior pending location
2 - Accommodation code
3 - Admit reason
4 - Transfer reason
5 - Patient valuables
6 - Patient valuables location
7 - Visit user code
8 time Expected admit date/time
9 time Expected discharge date/time
10 - Estimated length of inpatient stay
11 - Actual length of inpatient stay
12 - Visit description
13 - Referral source code
14 - Previous service date
15 - Employment illness related indicator
16 - Purge status code
17 - Purge status date
18 - Special program code
19 - Retention indicator
20 - Expected number of insurance plans
21 - Visit publicity code
22 - Visit protection indicator
23 - Clinic organization name
24 - Patient status code
25 one Visit priority code
26 - Previous treatment date
27 - Expected discharge disposition
28 - Signature on file date
29 - First similar illness date
30 - Patient charge adjustment code
31 - Recurring service code
32 - Billing media code
33 - Expected surgery date and time
34 - Military partnership code
35 - Military non-availability code
36 - Newborn baby indicator
37 - Baby detained indicator
38 short Mode of arrival code
39 - Recreational drug use code
40 - Admission level of care code
41 - Precaution code
42 - Patient condition code
43 - Living will code
44 - Organ donor code
45 - Advance directive code

MRG Merge patient information
1 4:place,5:type,6:place Prior patient identifier list
2 4:place,5:type Prior alternate patient ID
3 4:place,5:type Prior patient account number
4 4:place,5:type Prior patient ID
5 4:place,5:type Prior visit number
6 4:place,5:type Prior alternate visit ID
7 - Prior patient name

ZU1 Additional patient visit information (HL7 UK)
27 status NHS number tracing status

ZU8 Additional patient information (HL7 UK)
4 one Location hiding

OBX Observation/result
1 count Set ID
2 short Value type
3 - Observation identifier
4 - Observation sub-ID
5 - Observation value
6 - Units
7 - References range
8 - Abnormal flags
9 - Probability
10 - Nature of abnormal test
11 one Observation result status
12 - Date last observation normal values
13 - User defined access checks
14 time Date/time of the observation
15 - Producer's ID
16 - Responsible observer
17 - Observation method
18 - Equipment instance identifier
19 - Date/time of the analysis

AL1 Patient allergy information
1 count Set ID
2 - Allergen type code
3 - Allergen code/mnemonic/description
4 - Allergy severity code
5 - Allergy reaction code
6 - Identification date
MSA Message acknowledgment
1 code Acknowledgement code
2 id Message control ID
3 - Text message
4 count Expected sequence number
6 - Error condition
ERR Error
1 - Error code and location
2 - Error location
3 - HL7 error code
4 one Severity
7 - Diagnostic information
8 - User message
NTE Notes and comments
1 count Set ID
3 - Comment
SFT Software segment
ARV Access restriction
ROL Role
DB1 Disability
DG1 Diagnosis
DRG Diagnosis related group
PR1 Procedures
GT1 Guarantor
IN1 Insurance
IN2 Insurance additional information
IN3 Insurance additional information, certification
ACC Accident
UB1 UB82
UB2 UB92 data
PDA Patient death and autopsy
IAM Patient adverse reaction information
NPU Bed status update
ORC Common order
OBR Observation request
`

type segment struct {
	title  string
	fields map[int]field
}

type field struct {
	name  string
	all   string         // what every component may be, empty for none
	parts map[int]string // what single components may be
}

var segments = readTable(table)

func readTable(text string) map[string]segment {
	out := map[string]segment{}
	current := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		head, rest, _ := strings.Cut(line, " ")
		n, err := strconv.Atoi(head)
		switch {
		case line == "":
		case err != nil:
			current = head
			out[current] = segment{rest, map[int]field{}}
		default:
			show, name, _ := strings.Cut(rest, " ")
			out[current].fields[n] = readField(name, show)
		}
	}
	return out
}

func readField(name, show string) field {
	f := field{name: name}
	switch {
	case show == "-":
	case !strings.Contains(show, ":"):
		f.all = show
		mustKind(show)
	default:
		f.parts = map[int]string{}
		for _, part := range strings.Split(show, ",") {
			at, kind, _ := strings.Cut(part, ":")
			n, err := strconv.Atoi(at)
			if err != nil {
				panic("mask: " + part + " of " + name)
			}
			mustKind(kind)
			f.parts[n] = kind
		}
	}
	return f
}

func mustKind(kind string) {
	if kinds[kind] == nil {
		panic(fmt.Sprintf("mask: no kind %q", kind))
	}
}
