package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/test/hospital"
	"github.com/safeguard-edge/safeguard/test/world"
)

// patients uploads a protection plan for each of so many made-up children, and
// gives the children.
func patients(t testing.TB, w *world.World, n int) []hospital.Person {
	t.Helper()
	var children []hospital.Person
	rows := "nhs_number,date_of_birth,plan,start,end\n"
	for i := 0; len(children) < n; i++ {
		digits := fmt.Sprintf("99977%04d", i)
		sum := 0
		for at, digit := range digits {
			sum += int(digit-'0') * (10 - at)
		}
		check := 11 - sum%11
		if check == 10 {
			continue // no number has this one
		}
		child := hospital.Plan
		child.Number, child.MRN, child.Family = digits+fmt.Sprint(check%11), fmt.Sprintf("C%06d", i), fmt.Sprintf("CHILD%c%c", 'A'+i/26%26, 'A'+i%26)
		children = append(children, child)
		rows += fmt.Sprintf("%s,%s,CPP,%s,\n", child.Number, child.Born.Format(time.DateOnly), time.Now().AddDate(0, -2, 0).Format(time.DateOnly))
	}
	if err := os.WriteFile(w.Path("children.csv"), []byte(rows), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := w.AsAuthority(t.Context(), "upload", w.Path("children.csv"), "--json"); err != nil || !strings.Contains(out, "CPF02") {
		t.Fatalf("upload of the children: %v %s", err, out)
	}
	return children
}

// register registers an attendance after the other for each of the children, over a
// connection of its own, with a pause between two, until stop is called: it returns
// when all that was sent is in the ledger.
func register(ctx context.Context, t *testing.T, w *world.World, children []hospital.Person, pause time.Duration) (l *ledger, stop func()) {
	l = &ledger{news: make(chan struct{}, 1<<16)}
	sending, stopSending := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for n, child := range children {
		wg.Go(func() {
			pas := hospital.NewPAS(w.Feed, w.PAS.Facility)
			defer pas.Close()
			for i := 0; sending.Err() == nil; i++ {
				visit := fmt.Sprintf("S%dV%d", n, i)
				// The message goes out whole even when no more are to follow: what
				// the agent acknowledges must be in the ledger.
				if _, err := pas.Send(ctx, pas.Message("A04", child, visit, time.Now())); err != nil {
					t.Errorf("register: %v", err)
					return
				}
				l.acknowledged(visit)
				if pause == 0 {
					continue
				}
				select {
				case <-time.After(pause):
				case <-sending.Done():
				}
			}
		})
	}
	return l, func() {
		stopSending()
		wg.Wait()
	}
}

// ledger is what the hospital knows to be acknowledged.
type ledger struct {
	mu   sync.Mutex
	list []string
	news chan struct{} // one for each, as far as there is room
}

func (l *ledger) acknowledged(visit string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, visit)
	l.news <- struct{}{}
}

func (l *ledger) visits() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.list
}

// wait waits for n more acknowledgements.
func (l *ledger) wait(ctx context.Context, n int) error {
	for {
		select {
		case <-l.news: // those of before do not count
			continue
		default:
		}
		break
	}
	for range n {
		select {
		case <-l.news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// told is what the EPR was told about one visit, repeats left out.
type told struct {
	alert    string   // OBR-3
	controls []string // MSH-10 of each version, in order
	last     string   // what the last says
	final    int      // the first version that says what the centre holds; -1 before
}

// heldByCentre is in the text of an alert that gives the centre's own answer.
const heldByCentre = "As held by the central service"

// read reads the EPR's ledger: a repeat is the same to the byte, a visit has one
// alert, and once it says what the centre holds it says nothing else any more.
func readLedger(t *testing.T, list []hospital.Received) (visits map[string]*told, repeats int) {
	t.Helper()
	visits, bodies := map[string]*told{}, map[string]string{}
	for _, r := range list {
		if body, came := bodies[r.ControlID]; came {
			repeats++
			if body != r.Body {
				t.Errorf("control id %s came again with another content", r.ControlID)
			}
			continue
		}
		bodies[r.ControlID] = r.Body
		alert := hospital.Field([]byte(r.Body), "OBR", 3)
		v := visits[visitOf(r)]
		if v == nil {
			v = &told{alert: alert, final: -1}
			visits[visitOf(r)] = v
		}
		if v.alert != alert {
			t.Errorf("visit %s has a second alert: %s beside %s", visitOf(r), alert, v.alert)
		}
		if v.final >= 0 {
			t.Errorf("visit %s was told %q behind the centre's own answer", visitOf(r), hospital.Texts([]byte(r.Body)))
		}
		v.controls = append(v.controls, r.ControlID)
		v.last = strings.Join(hospital.Texts([]byte(r.Body)), " ")
		if strings.Contains(v.last, heldByCentre) {
			v.final = len(v.controls) - 1
		}
	}
	return visits, repeats
}

// settled waits until every visit's alert says what the centre holds.
func settled(ctx context.Context, t *testing.T, w *world.World, visits []string) {
	t.Helper()
	missing := set(visits)
	for from := 0; len(missing) > 0; {
		r, next, err := w.EPR.Wait(ctx, from, func(hospital.Received) bool { return true })
		if err != nil {
			t.Fatalf("%d of %d acknowledged registrations have no alert with the centre's answer: %v", len(missing), len(visits), err)
		}
		from = next
		if strings.Contains(strings.Join(hospital.Texts([]byte(r.Body)), " "), heldByCentre) {
			delete(missing, visitOf(r))
		}
	}
}

// notifiedOnce waits until the local authority has a notification for each of so
// many attendances, and no more.
func notifiedOnce(ctx context.Context, t *testing.T, w *world.World, attendances int) {
	t.Helper()
	list, err := w.Notifications(ctx, attendances)
	if err != nil {
		t.Fatal(err)
	}
	ids, seen := map[string]bool{}, map[string]bool{}
	for _, n := range list {
		if ids[n.ID] || seen[n.Attendance] {
			t.Errorf("attendance %s was notified twice", n.Attendance)
		}
		ids[n.ID], seen[n.Attendance] = true, true
	}
}
