package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/safeguard-edge/safeguard/agent"
)

type logCommands struct {
	Level  logLevel  `cmd:"" help:"Show or change the level that the running agent logs at. Exit code 0: done, 1: failed, 4: no agent runs or it does not let this user in."`
	Recent logRecent `cmd:"" help:"Print the latest lines that the running agent has logged, wherever it logs to, each as JSON. Exit code 0: done, 1: failed, 4: no agent runs or it does not let this user in."`
}

type logLevel struct {
	configured
	Level string        `arg:"" optional:"" help:"debug, info, warn or error; configured for that of the configuration. Without one, the level is shown."`
	For   time.Duration `help:"How long, such as 10m. Without it, until the next start or the next change." placeholder:"DURATION"`
	JSON  bool          `help:"Write JSON." name:"json"`
}

func (c logLevel) Run() error {
	r := agent.LogRequest{For: c.For, Reset: c.Level == "configured"}
	if c.Level != "" && !r.Reset {
		if err := r.Level.UnmarshalText([]byte(c.Level)); err != nil {
			return err
		}
	}
	if c.For != 0 && r.Level == 0 {
		return errors.New("--for: want a level with it")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return exitNoAgent(agent.OperateLog(ctx, c.Config, r, func(row json.RawMessage) error {
		var l agent.LogLevels
		if err := json.Unmarshal(row, &l); err != nil {
			return err
		}
		return c.print(os.Stdout, l)
	}))
}

func (c logLevel) print(out io.Writer, l agent.LogLevels) (err error) {
	switch {
	case c.JSON:
		err = json.NewEncoder(out).Encode(l)
	case l.Until.IsZero():
		_, err = fmt.Fprintln(out, l.Level)
	default:
		_, err = fmt.Fprintf(out, "%s until %s, then %s\n", l.Level, l.Until.Local().Format(time.TimeOnly), l.Then)
	}
	return err
}

type logRecent struct{ configured }

func (c logRecent) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return exitNoAgent(agent.OperateLog(ctx, c.Config, agent.LogRequest{Recent: true}, func(row json.RawMessage) error {
		var line string
		if err := json.Unmarshal(row, &line); err != nil {
			return err
		}
		_, err := fmt.Println(line)
		return err
	}))
}
