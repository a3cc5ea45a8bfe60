package conformance

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/central/client"
	"github.com/safeguard-edge/safeguard/central/identity"
	"github.com/safeguard-edge/safeguard/central/server"
	"github.com/safeguard-edge/safeguard/central/store"
)

// centre is a flag service for one run, with a hospital that asks it.
type centre struct {
	run    Run
	aside  string // its store, removed at the end
	held   *store.DB
	store  *watched
	server *server.Server
	agent  *client.Client
	stop   context.CancelFunc
	ended  chan error

	rows []row // drawn for this run
}

// row is one of a file for the system.
type row struct {
	number      safeguard.NHSNumber
	born, start safeguard.Date
	plan        safeguard.Plan
}

var (
	hospital, _ = safeguard.ParseODSCode("RX1")
	site, _     = safeguard.ParseODSCode("RX1RA")
)

// begin starts the centre, and writes what the system needs to reach it.
func begin(ctx context.Context, r Run) (_ *centre, err error) {
	c := &centre{run: r, ended: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.end())
		}
	}()
	certificates := filepath.Join(r.Folder, "certificates")
	if _, err := identity.WriteDevelopment(certificates, identity.Development{
		Hosts: r.Hosts, Authorities: []safeguard.ODSCode{r.Authority}, Agents: []safeguard.ODSCode{hospital},
	}); err != nil {
		return nil, err
	}
	if c.aside, err = os.MkdirTemp("", "safeguard-conformance-"); err != nil {
		return nil, err
	}
	ring, err := keys.Open(filepath.Join(c.aside, "keys"), keys.FileMaster(filepath.Join(c.aside, "master.key")))
	if err != nil {
		return nil, err
	}
	if c.held, err = store.OpenSQLite(ctx, filepath.Join(c.aside, "central.db"), ring); err != nil {
		return nil, err
	}
	c.store = &watched{Store: c.held, given: map[string]bool{}}
	if err := c.serve(certificates); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(r.Folder, "server.txt"), []byte(c.address()+"\n"), 0o600); err != nil {
		return nil, err
	}
	for range drawn {
		c.rows = append(c.rows, draw(c.rows))
	}
	_, err = fmt.Fprintf(r.Tell, "the centre listens on %s (also in server.txt)\nthe system's certificate is certificates/authority-%s.pem, its key is beside it, and certificates/ca.pem vouches for the centre\nwhat is to be done is told here and in task.txt\n",
		c.address(), r.Authority)
	return c, err
}

func (c *centre) serve(certificates string) error {
	files := func(name string) identity.Files {
		return identity.Files{Certificate: filepath.Join(certificates, name+".pem"), Key: filepath.Join(certificates, name+"-key.pem"), CA: filepath.Join(certificates, "ca.pem")}
	}
	config, err := identity.ServerTLS(files("centre"))
	if err != nil {
		return err
	}
	policy := server.DefaultPolicy()
	policy.ProductionChecks = false // the persons have test numbers
	policy.SnapshotShare = 0.5
	directory := server.NewDirectory([]store.Site{{
		Organisation: hospital, Code: site, Name: "Example Infirmary", Stage: store.Live, Settings: []safeguard.CareSetting{safeguard.EmergencyDepartment},
		Accountable: safeguard.Accountable{Name: "Dr A Example", Role: "Named doctor for safeguarding"},
	}}, []server.Authority{{
		Authority: safeguard.Authority{Code: c.run.Authority, Name: "Local authority " + c.run.Authority.String(), EmergencyDutyPhone: "01632 960900"}, Stage: store.Live,
	}})
	if c.server, err = server.Listen(c.run.Listen, config, c.store, directory, policy, slog.New(slog.NewTextHandler(io.Discard, nil))); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	go func() { c.ended <- c.server.Run(ctx) }()
	mine, err := identity.ClientTLS(files("agent-"+hospital.String()), identity.Agent)
	if err != nil {
		return err
	}
	c.agent, err = client.Dial(c.address(), mine, client.Deadline(time.Minute))
	return err
}

func (c *centre) address() string { return c.server.Addr().String() }

func (c *centre) end() error {
	var errs []error
	if c.agent != nil {
		errs = append(errs, c.agent.Close())
	}
	if c.stop != nil {
		c.stop()
		errs = append(errs, <-c.ended)
	}
	if c.held != nil {
		errs = append(errs, c.held.Close())
	}
	if c.aside != "" {
		errs = append(errs, os.RemoveAll(c.aside))
	}
	return errors.Join(errs...)
}

// drawn is how many persons a run has.
const drawn = 12

// draw makes up someone who is not among those drawn before.
func draw(before []row) row {
	for {
		digits := fmt.Sprintf("999%06d", roll(1_000_000))
		for check := range 10 {
			n, err := safeguard.ParseNHSNumber(fmt.Sprint(digits, check))
			taken := slices.ContainsFunc(before, func(r row) bool { return r.number == n })
			if err != nil || n == safeguard.TestPatient || taken {
				continue
			}
			today := safeguard.DateOf(time.Now())
			return row{
				number: n,
				born:   today.Add(-4-roll(10), 0, -roll(300)),
				start:  today.Add(0, -1-roll(10), 0),
				plan:   []safeguard.Plan{safeguard.ChildProtection, safeguard.LookedAfter}[roll(2)],
			}
		}
	}
}

func roll(sides int64) int {
	n, _ := rand.Int(rand.Reader, big.NewInt(sides)) // crypto/rand never fails
	return int(n.Int64())
}

// write writes rows as the columns of an upload.
func (c *centre) write(name string, rows []row) error {
	f, err := os.OpenFile(filepath.Join(c.run.Folder, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	b := bufio.NewWriter(f)
	fmt.Fprintln(b, "nhs_number,date_of_birth,plan,start,end")
	for _, r := range rows {
		fmt.Fprintf(b, "%s,%s,%s,%s,\n", r.number.Reveal(), r.born, r.plan, r.start)
	}
	return errors.Join(b.Flush(), f.Close())
}

// attend has someone come to the hospital, and gives the attendance. A flag that an
// earlier step has not brought is put there first: what is tried now has nothing to
// do with that.
func (c *centre) attend(ctx context.Context, r row, visit string) (safeguard.Query, error) {
	change := store.Change{Number: r.number, Flag: store.Flag{Authority: c.run.Authority, Plan: r.plan, Start: r.start, Born: safeguard.Hide(r.born)}}
	_, err := c.held.Apply(ctx, store.Upload{
		ID: "conformance " + visit, Authority: c.run.Authority, By: "conformance", Received: time.Now(), Rows: 1, Changes: slices.Values([]store.Change{change}),
	})
	if err != nil {
		return safeguard.Query{}, err
	}
	q := safeguard.Query{
		Number: r.number, Born: safeguard.Hide(r.born), Purpose: safeguard.Unscheduled,
		Author: safeguard.Author{
			Device: "conformance", Organisation: hospital, Site: site, Setting: safeguard.EmergencyDepartment,
			Accountable: safeguard.Accountable{Name: "Dr A Example", Role: "Named doctor for safeguarding"},
		},
		Attendance: safeguard.NewAttendanceID(hospital, visit),
		At:         time.Now(),
	}
	answer, err := c.agent.Lookup(ctx, q)
	if err == nil && answer.Status != safeguard.Held {
		err = fmt.Errorf("the hospital was answered %v, want held", answer.Status)
	}
	return q, err
}
