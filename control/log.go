package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/safeguard-edge/safeguard/logging"
)

// LogCommands are what an administrator does with the log of the running service,
// as flags of a program.
type LogCommands struct {
	Level  logLevel  `cmd:"" help:"Show or change the level that the running service logs at. Exit code 0: done, 1: failed, 4: it does not run or does not let this user in."`
	Recent logRecent `cmd:"" help:"Print the latest lines that the running service has logged, wherever it logs to, each as JSON. Exit code 0: done, 1: failed, 4: it does not run or does not let this user in."`
}

// Operated are the flags of a command that asks a running service.
type Operated struct {
	Config string `help:"Configuration file." required:"" type:"path" placeholder:"FILE"`
}

type logLevel struct {
	Operated
	Level string        `arg:"" optional:"" help:"debug, info, warn or error; configured for that of the configuration. Without one, the level is shown."`
	For   time.Duration `help:"How long, such as 10m. Without it, until the next start or the next change." placeholder:"DURATION"`
	JSON  bool          `help:"Write JSON." name:"json"`
}

// Run is called by the command line, as are those of the other commands.
func (c logLevel) Run(s Service) error {
	r := logRequest{For: c.For, Reset: c.Level == "configured"}
	if c.Level != "" && !r.Reset {
		if err := r.Level.UnmarshalText([]byte(c.Level)); err != nil {
			return err
		}
	}
	if c.For != 0 && r.Level == 0 {
		return errors.New("--for: want a level with it")
	}
	return c.ask(s, "log", r, func(row json.RawMessage) error {
		var l logLevels
		if err := json.Unmarshal(row, &l); err != nil {
			return err
		}
		return l.print(os.Stdout, c.JSON)
	})
}

type logRecent struct{ Operated }

func (c logRecent) Run(s Service) error {
	return c.ask(s, "log", logRequest{Recent: true}, func(row json.RawMessage) error {
		var line string
		if err := json.Unmarshal(row, &line); err != nil {
			return err
		}
		_, err := fmt.Println(line)
		return err
	})
}

// ask calls the service that runs with the file, until it is interrupted.
func (o Operated) ask(s Service, command string, args any, take func(row json.RawMessage) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return CallOf(ctx, s, o.Config, command, args, take)
}

// logRequest is what is asked of the running service's log: to be told its level,
// to have another one, or to give its latest lines.
type logRequest struct {
	Level  logging.Level `json:"level,omitzero"` // that is wanted; zero to leave it
	For    time.Duration `json:"for_ns"`         // how long; 0 for until the next start or change
	Reset  bool          `json:"reset"`          // to the configured level
	Recent bool          `json:"recent"`
}

// logLevels are the level that is in force, and the one that comes after it.
type logLevels struct {
	Level logging.Level `json:"level"`
	Until time.Time     `json:"until,omitzero"` // zero for no end
	Then  logging.Level `json:"then"`
}

func (l logLevels) print(out io.Writer, asJSON bool) (err error) {
	switch {
	case asJSON:
		err = json.NewEncoder(out).Encode(l)
	case l.Until.IsZero():
		_, err = fmt.Fprintln(out, l.Level)
	default:
		_, err = fmt.Fprintf(out, "%s until %s, then %s\n", l.Level, l.Until.Local().Format(time.TimeOnly), l.Then)
	}
	return err
}

// HandleLog answers what LogCommands ask of the log; it is the handler of "log".
func HandleLog(log *slog.Logger) Handler {
	return func(_ context.Context, who string, args json.RawMessage, send func(any) error) error {
		var r logRequest
		if err := json.Unmarshal(args, &r); err != nil {
			return errors.New("log: want a request")
		}
		logs := logging.Of(log)
		switch {
		case logs == nil:
			return errors.New("log: this service's log can not be changed")
		case r.Recent:
			for _, line := range logging.Recent(log) {
				if err := send(line); err != nil {
					return err
				}
			}
			return nil
		case r.For < 0:
			return errors.New("log: want a time such as 10m")
		case r.Reset:
			logs.ResetLevel()
			log.Warn("log level changed by an operator", "to", "the configured one", "by", who)
		case r.Level != 0:
			logs.SetLevel(r.Level, r.For)
			log.Warn("log level changed by an operator", "to", r.Level, "for", r.For, "by", who)
		}
		now, until, then := logs.Levels()
		return send(logLevels{now, until, then})
	}
}
