// Demo shows the whole path on one machine: a centre, an agent and a simulated
// hospital, with made-up patients, as processes that speak over real sockets.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/safeguard-edge/safeguard/test/hospital"
	"github.com/safeguard-edge/safeguard/test/world"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "register" {
		return register(ctx, args[1:])
	}
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	programs := flags.String("programs", "bin", "folder of safeguard-agent and safeguard-central")
	keep := flags.Bool("keep", false, "leave everything running until interrupted")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "safeguard-demo-")
	if err != nil {
		return err
	}
	err = show(ctx, dir, *programs, *keep)
	if err = errors.Join(err, os.RemoveAll(dir)); err == nil {
		fmt.Println("\nThat was all. Nothing is left behind.")
	}
	return err
}

func show(ctx context.Context, dir, programs string, keep bool) (err error) {
	w, err := world.New(ctx, dir, programs)
	defer func() { err = errors.Join(err, w.Close()) }()
	if err != nil {
		return err
	}
	s := &story{World: w, out: os.Stdout}
	if err := s.tell(ctx); err != nil {
		return errors.Join(err, s.logs())
	}
	if keep {
		s.keep(ctx)
	}
	return nil
}

// logs is the end of what the programs logged, for an error to be understood.
func (s *story) logs() error {
	var tails []error
	for _, program := range []string{"safeguard-central", "safeguard-agent"} {
		text, err := os.ReadFile(s.Path(program + ".log"))
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		tails = append(tails, fmt.Errorf("%s logged:\n%s", program, strings.Join(lines[max(0, len(lines)-20):], "\n")))
	}
	return errors.Join(tails...)
}

// keep leaves everything running, and shows what arrives in the EPR.
func (s *story) keep(ctx context.Context) {
	s.chapter("It runs on: try it from another terminal, end it here with Ctrl-C")
	fmt.Fprintln(s.out, "Register a patient again, as one of:")
	for _, p := range hospital.People {
		fmt.Fprintf(s.out, "  bin/demo register %s %-14s # %s\n", s.Dir, p.Key, p.Who)
	}
	fmt.Fprintf(s.out, "What waits for the council:\n  %s/safeguard-central notifications list %s\n", s.Programs, strings.Join(s.AuthorityFlags(), " "))
	fmt.Fprintf(s.out, "Logs and configurations:\n  %s\n\n", s.Dir)
	from := len(s.EPR.Ledger())
	for {
		got, next, err := s.EPR.Wait(ctx, from, func(hospital.Received) bool { return true })
		if err != nil {
			return // interrupted: that is how it ends
		}
		from = next
		s.show("EPR", got.At.Format("15:04:05")+" shows:", got)
	}
}

// register sends one registration to a demonstration that is kept running.
func register(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("want: demo register FOLDER PATIENT")
	}
	w, err := world.Join(args[0])
	if err != nil {
		return err
	}
	defer w.PAS.Close()
	for _, p := range hospital.People {
		if p.Key != args[1] {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		now := time.Now()
		ack, err := w.PAS.Send(ctx, w.PAS.Message("A04", p, fmt.Sprintf("K%d", now.UnixMilli()), now))
		if err != nil {
			return err
		}
		fmt.Printf("registered %s; the agent acknowledged %s after %s\n", p.Who, hospital.Field(ack, "MSA", 1), since(now))
		return nil
	}
	return fmt.Errorf("no patient %q", args[1])
}
