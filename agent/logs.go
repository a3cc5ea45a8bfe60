package agent

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/safeguard-edge/safeguard/agent/control"
	"github.com/safeguard-edge/safeguard/logging"
)

// LogRequest is what is asked of the running agent's log: to be told its level,
// to have another one, or with Recent to give its latest lines.
type LogRequest struct {
	Level  logging.Level `json:"level,omitzero"` // that is wanted; zero to leave it
	For    time.Duration `json:"for_ns"`         // how long; 0 for until the next start or change
	Reset  bool          `json:"reset"`          // to the configured level
	Recent bool          `json:"recent"`
}

// LogLevels are the level that is in force, and the one that comes after it.
type LogLevels struct {
	Level logging.Level `json:"level"`
	Until time.Time     `json:"until,omitzero"` // zero for no end
	Then  logging.Level `json:"then"`
}

// operateLog answers what commands ask of the log.
func operateLog(log *slog.Logger) control.Handler {
	return func(_ context.Context, who string, args json.RawMessage, send func(any) error) error {
		var r LogRequest
		if err := json.Unmarshal(args, &r); err != nil {
			return errors.New("log: want a request")
		}
		logs := logging.Of(log)
		switch {
		case logs == nil:
			return errors.New("log: this agent's log can not be changed")
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
		return send(LogLevels{now, until, then})
	}
}

// OperateLog asks it of the log of the agent that runs with the file, which may be
// bad: only its data folder is needed. take is handed the LogLevels, or each of
// the latest lines.
func OperateLog(ctx context.Context, file string, r LogRequest, take func(row json.RawMessage) error) error {
	data, err := dataFolder(file)
	if err != nil {
		return err
	}
	return control.Call(ctx, control.Address(data), "log", r, take)
}
