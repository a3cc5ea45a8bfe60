package world

import (
	"fmt"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard/test/hospital"
)

// grace is how soon "check not completed" appears here; in a hospital it is
// longer, so that a short interruption is not worth a word.
const grace = 2 * time.Second

func (w *World) centralConfig() string {
	return fmt.Sprintf(`listen: %s
data: central
master_key: keys/central.key
tls:
  certificate: certificates/centre.pem
  key: certificates/centre-key.pem
  clients_ca: certificates/ca.pem
production_checks: false   # made-up patients have NHS numbers of the test range
sites:
  - organisation: %s
    site: %s
    name: Ashmere General Hospital
    care_settings: [emergency-department]
authorities:
  - code: %q
    name: Ashmere Council
    emergency_duty_phone: 01632 960001
    office_hours_phone: 01632 960002
`, w.Central, organisation, site, authority)
}

func (w *World) agentConfig(feeds []string) string {
	more := ""
	for i, section := range feeds {
		more += fmt.Sprintf("\n  - name: feed%d\n    site: %s\n    care_setting: emergency-department\n    %s", i+1, site, section)
	}
	return fmt.Sprintf(`device: ashmere-ed-1
organisation: %s
sites: [%s]
accountable:
  name: Dr Imogen Hale
  role: Named doctor for safeguarding
production_checks: false   # made-up patients have NHS numbers of the test range
data: agent
master_key: keys/agent.key
central:
  address: %s
  certificate: agent/central.pem
  key: agent/central-key.pem
  ca: agent/central-ca.pem
cache:
  agreement: demonstration only
status:
  listen: 127.0.0.1:0
  address_file: agent-status.address
rules:
  unanswered_after: %s
  unidentified_after: %s
feeds:
  - name: pas
    site: %s
    care_setting: emergency-department
    mllp:
      address: %s%s
sinks:
  - name: epr
    delivery:
      release_confirmed_by: nobody, this EPR is simulated and has no portal
      rate: 0
    message:
      application: EPR
      facility: %s
    mllp:
      address: %s
  - name: files
    delivery:
      release_confirmed_by: nobody, nobody reads this folder
      rate: 0
    folder:
      folder: alerts
`, organisation, site, w.Central, grace, grace, site, w.Feed, more, site, w.EPR.Addr())
}

// flags is what the local authority uploads.
func flags() string {
	var b strings.Builder
	b.WriteString("nhs_number,date_of_birth,plan,start,end\n")
	row := func(p hospital.Person, born time.Time, plan string, start, end time.Time) {
		day := func(t time.Time) string {
			if t.IsZero() {
				return ""
			}
			return t.Format(time.DateOnly)
		}
		fmt.Fprintf(&b, "%s,%s,%s,%s,%s\n", p.Number, day(born), plan, day(start), day(end))
	}
	ago := func(months int) time.Time { return time.Now().AddDate(0, -months, 0) }
	row(hospital.Plan, hospital.Plan.Born, "CPP", ago(5), time.Time{})
	row(hospital.LookedAfter, hospital.LookedAfter.Born, "LAC", ago(30), time.Time{})
	row(hospital.Pregnant, hospital.Pregnant.Born, "UCPP", ago(2), time.Time{})
	row(hospital.OtherBirth, hospital.OtherBirth.Born.AddDate(0, 0, 9), "CPP", ago(8), time.Time{})
	row(hospital.Ended, hospital.Ended.Born, "CPP", ago(20), ago(3))
	row(hospital.Sibling, hospital.Sibling.Born, "LAC", ago(7), time.Time{})
	return b.String()
}
