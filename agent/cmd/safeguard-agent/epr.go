package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"text/tabwriter"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/agent"
	"github.com/safeguard-edge/safeguard/control"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr"
	"github.com/safeguard-edge/safeguard/hl7adapter/epr/cdshooks"
)

type eprCommands struct {
	Preview   previewEPR   `cmd:"" help:"Show what would be sent for a made-up patient."`
	Test      testEPR      `cmd:"" help:"Send a marked test alert about the sink's own test patient, and show the answer. Exit code 0: delivered, 1: failed, 5: not delivered."`
	States    statesEPR    `cmd:"" help:"Show whether each sink of the running agent is live and answers. Exit code 0: all do, 1: failed, 4: no agent runs or it does not let this user in, 5: one observes or rests."`
	Check     checkEPR     `cmd:"" help:"Try each sink's form, and ask the FHIR servers what they can. Exit code 0: nothing to say, 1: failed, 5: something is missing."`
	Observed  observedEPR  `cmd:"" help:"Show what sinks that observe would have shown, beside what the site's present process showed. Exit code 0: done, 1: failed, 3: nothing to list, 4: no agent runs or it does not let this user in."`
	Reconcile reconcileEPR `cmd:"" help:"List what each EPR is believed to show, compare where it can be read, and repair what is not as it should be. Exit code 0: all is as it should be, or was repaired, 1: failed, 3: nothing to list, 4: no agent runs or it does not let this user in, 5: something is not as it should be."`
	Template  templateEPR  `cmd:"" help:"Print a built-in form, to begin a site's own from."`
	Fields    fieldsEPR    `cmd:"" help:"List the fields that a form may have."`
}

// withSinks is a command about the sinks of a configuration.
type withSinks struct {
	Config string `help:"Configuration file." required:"" type:"path" placeholder:"FILE"`
	Sink   string `help:"That sink only." placeholder:"NAME"`
}

// each opens the sinks and visits those that are meant.
func (w withSinks) each(visit func(g *epr.Guard) error) (err error) {
	config, err := agent.LoadConfig(w.Config)
	if err != nil {
		return err
	}
	sinks, err := config.OpenSinks(slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sinks.Close()) }()
	if w.Sink != "" {
		g, err := sinks.Named(w.Sink)
		if err != nil {
			return err
		}
		return visit(g)
	}
	for _, g := range sinks {
		if err := visit(g); err != nil {
			return err
		}
	}
	return nil
}

type previewEPR struct {
	withSinks
	Action string `help:"raise, update, withdraw or all." enum:"raise,update,withdraw,all" default:"all"`
	Kind   string `help:"What the alert says: held, unknown or none." enum:"held,unknown,none" default:"held"`
}

func (c previewEPR) Run() error {
	kind := map[string]safeguard.Kind{"held": safeguard.FlagsHeld, "unknown": safeguard.CheckNotCompleted, "none": safeguard.NoneFound}[c.Kind]
	return c.each(func(g *epr.Guard) error {
		for _, action := range []safeguard.Action{safeguard.Raise, safeguard.Update, safeguard.Withdraw} {
			if c.Action != "all" && c.Action != action.String() {
				continue
			}
			text, err := g.Preview(epr.Sample(action, kind))
			if err != nil {
				return fmt.Errorf("sink %s: %w", g.Name(), err)
			}
			fmt.Printf("# %s, %s\n%s\n", g.Name(), action, text)
		}
		return nil
	})
}

type testEPR struct {
	Config   string `help:"Configuration file of the agent." required:"" type:"path" placeholder:"FILE"`
	Sink     string `help:"The sink." required:"" placeholder:"NAME"`
	Withdraw bool   `help:"Take the test alert away again."`
	JSON     bool   `name:"json" help:"One JSON object."`
}

func (c testEPR) Run() error {
	config, err := agent.LoadConfig(c.Config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var report agent.TestReport
	err = control.Call(ctx, control.Address(control.Agent, config.Data), "epr", agent.SinkRequest{Do: "test", Sink: c.Sink, Withdraw: c.Withdraw},
		func(row json.RawMessage) error { return json.Unmarshal(row, &report) })
	if errors.Is(err, control.ErrNotRunning) {
		fmt.Fprintln(os.Stderr, "the agent is not running: sending from here")
		report, err = c.alone(ctx, config)
	}
	if err != nil {
		return err
	}
	if err := c.print(os.Stdout, report); err != nil {
		return err
	}
	if report.Outcome != safeguard.Delivered.String() {
		os.Exit(exitSkipped)
	}
	return nil
}

func (c testEPR) alone(ctx context.Context, config agent.Config) (report agent.TestReport, err error) {
	sinks, err := config.OpenSinks(slog.New(slog.DiscardHandler))
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, sinks.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return config.TestSink(ctx, sinks, c.Sink, c.Withdraw)
}

func (c testEPR) print(w io.Writer, r agent.TestReport) error {
	if c.JSON {
		return json.NewEncoder(w).Encode(r)
	}
	_, err := fmt.Fprintf(w, "%s\n%s: %s after %s", r.Sent, r.Sink, r.Outcome, r.Took)
	for _, more := range []string{r.Code, r.Text, r.Error} {
		if more != "" && err == nil {
			_, err = fmt.Fprint(w, ", ", printable(more))
		}
	}
	fmt.Fprintln(w)
	return err
}

type statesEPR struct {
	Config string `help:"Configuration file of the agent." required:"" type:"path" placeholder:"FILE"`
	JSON   bool   `name:"json" help:"One JSON object a line."`
}

func (c statesEPR) Run() error {
	config, err := agent.LoadConfig(c.Config)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	wrong := false
	var asked *cdshooks.Stats
	fmt.Fprint(map[bool]io.Writer{false: table, true: io.Discard}[c.JSON], "SINK\tBY\tSTATE\tDELIVERED\tOBSERVED\tRETRIED\tREFUSED\tUNANSWERED\tLAST ANSWER\n")
	err = operated(config, "epr", agent.SinkRequest{Do: "states"}, func(row json.RawMessage) error {
		var s agent.SinkState
		if err := json.Unmarshal(row, &s); err != nil {
			return err
		}
		wrong = wrong || !s.Live || s.Resting
		if c.JSON {
			_, err := fmt.Printf("%s\n", row)
			return err
		}
		if s.Asked != nil {
			asked = s.Asked
		}
		state := "live"
		switch {
		case !s.Live:
			state = "observes: " + s.Why
		case s.Resting:
			state = "rests, as the EPR does not answer"
		}
		switch {
		case s.Error != "" && s.Down.IsZero():
			state += " (" + s.Error + ")"
		case s.Error != "":
			state += " (" + s.Error + " since " + clock(s.Down) + ")"
		}
		_, err := fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s %s\n", s.Name, s.Carrier, state, s.Delivered, s.Observed, s.Retried, s.Refused, s.Failed, clock(s.Answered), printable(s.Code))
		return err
	})
	if errors.Is(err, control.ErrNotRunning) || errors.Is(err, control.ErrDenied) {
		return err // and no table
	}
	_ = table.Flush()
	if asked != nil && !c.JSON {
		fmt.Printf("\nEPRs asked %d times by CDS Hooks: %d without an NHS number in the Patient, %d cards shown, feedback on %d; %d callers were refused\n",
			asked.Asked, asked.Unidentified, asked.Cards, asked.Feedback, asked.Refused)
	}
	if err == nil && wrong {
		os.Exit(exitSkipped)
	}
	return err
}

type checkEPR struct{ withSinks }

func (c checkEPR) Run() error {
	missing := false
	err := c.each(func(g *epr.Guard) error {
		notes, err := g.Check(context.Background()) // each sink has a deadline of its own
		if err != nil {
			return fmt.Errorf("sink %s: %w", g.Name(), err)
		}
		if s := g.State(); !s.Live {
			notes = append(notes, "observes: "+s.Why)
		}
		for _, n := range notes {
			missing = true
			fmt.Printf("%s: %s\n", g.Name(), printable(n))
		}
		if len(notes) == 0 {
			fmt.Printf("%s: nothing to say\n", g.Name())
		}
		return nil
	})
	if err == nil && missing {
		os.Exit(exitSkipped)
	}
	return err
}

type templateEPR struct {
	Format string `arg:"" help:"One of the formats: oru-r01, adt-a08, adt-a31, mdm-t02, mdm-t02-pdf."`
}

func (c templateEPR) Run() error {
	text, err := epr.BuiltIn(c.Format)
	if err != nil {
		return err
	}
	fmt.Print(text)
	return nil
}

type fieldsEPR struct{}

func (fieldsEPR) Run() error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, name := range epr.TemplateFields() {
		fmt.Fprintf(table, "{%s}\t%s\n", name, epr.TemplateHelp(name))
	}
	return table.Flush()
}
