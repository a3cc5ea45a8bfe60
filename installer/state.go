package installer

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Phase is where a service is in its life.
type Phase string

// The phases.
const (
	Starting Phase = "starting"
	Up       Phase = "ready"   // it does its work
	Stopped  Phase = "stopped" // it was told to
	Failed   Phase = "failed"
)

// State is what a program that runs as a service says of itself. It is kept in a
// file, so that what went wrong can be asked for when nothing runs any more, on
// each system in the same way.
type State struct {
	Phase  Phase     `json:"state"`
	Since  time.Time `json:"since"`
	PID    int       `json:"pid"`
	Reason string    `json:"reason,omitempty"` // one line, when it failed
}

const stateFile = "state.json"

func (s Service) writeState(state State) error {
	body, err := json.Marshal(state)
	if err != nil {
		return err
	}
	path := filepath.Join(s.stateFolder(), stateFile)
	if err := os.WriteFile(path+".new", append(body, '\n'), 0o644); err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	// On Windows a file that is being read can not be replaced.
	for try := 0; ; try++ {
		err := os.Rename(path+".new", path)
		if err == nil {
			return nil
		}
		if try == 20 {
			return fmt.Errorf("state file: %w", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// readState gives what the last program that ran as this service said; nothing
// when none has. One that died without a word has failed.
func (s Service) readState() (State, error) {
	body, err := os.ReadFile(filepath.Join(s.stateFolder(), stateFile))
	if errors.Is(err, os.ErrNotExist) {
		return State{}, nil
	}
	if err != nil {
		return State{}, fmt.Errorf("state file: %w", err)
	}
	var state State
	if err := json.Unmarshal(body, &state); err != nil {
		return State{}, fmt.Errorf("state file: %w", err)
	}
	if (state.Phase == Starting || state.Phase == Up) && !exists(state.PID) {
		state.Phase, state.Reason = Failed, "it was killed, or crashed: see the log"
	}
	return state, nil
}
