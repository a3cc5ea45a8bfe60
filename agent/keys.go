package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/safeguard-edge/safeguard/cache/keys"
	"github.com/safeguard-edge/safeguard/control"
)

// KeysStatus is what an administrator is shown of the keys; nothing in it is secret.
type KeysStatus struct {
	Ring      string    `json:"ring"`
	DataKeys  int       `json:"data_keys"` // those that open what is sealed; the newest seals
	Made      time.Time `json:"made"`
	Rotated   time.Time `json:"rotated"`
	Rewrapped time.Time `json:"rewrapped"`
	Master    string    `json:"master"` // path of the file or credential with the master key
	MasterID  string    `json:"master_id"`
	RewrapDue bool      `json:"rewrap_due"` // a newer master key stands first
	Running   bool      `json:"running"`    // the agent does, and this is its word
}

// What can be done with the keys of an agent, running or not.
const (
	StatusOfKeys = "status"
	RotateKeys   = "rotate"
	RewrapKeys   = "rewrap"
)

// ErrNoKeys says that there are none yet: the agent makes them at its first start.
var ErrNoKeys = errors.New("no keys here: the agent makes them at its first start")

// ErrRunning says that the agent has to be stopped first.
var ErrRunning = errors.New("the agent is running: stop it first")

// ErrOtherRing says that the confirmation does not name the keys that are here.
var ErrOtherRing = errors.New("not confirmed")

// OperateKeys does it: through the agent where it runs, so that it seals with the
// new key from then on, and else on the files.
func (c Config) OperateKeys(ctx context.Context, do string) (KeysStatus, error) {
	var status KeysStatus
	err := control.Call(ctx, control.Address(control.Agent, c.Data), "keys", do, func(row json.RawMessage) error { return json.Unmarshal(row, &status) })
	if !errors.Is(err, control.ErrNotRunning) {
		return status, err
	}
	ring, err := c.openKeys()
	if err != nil {
		return KeysStatus{}, err
	}
	return operateKeys(ring, do)
}

// DestroyKeys shreds the keys and the master key of an agent that does not run:
// nothing that it sealed can be read any more, here or in a backup. ring names
// the keys, so that none is destroyed by mistake.
func (c Config) DestroyKeys(ctx context.Context, ring string) error {
	status, err := c.OperateKeys(ctx, StatusOfKeys)
	switch {
	case err == nil && status.Running:
		return ErrRunning
	case err == nil && status.Ring != ring:
		return fmt.Errorf("%w: the keys here are %s", ErrOtherRing, status.Ring)
	case err != nil && !errors.Is(err, keys.ErrMasterMissing) && !errors.Is(err, keys.ErrMasterWrong) && !errors.Is(err, keys.ErrRingDamaged):
		return err
	}
	return keys.Destroy(c.keysFolder(), keys.SystemMaster(c.MasterKey))
}

func (c Config) keysFolder() string { return filepath.Join(c.Data, "keys") }

// openKeys opens keys that are there, and makes none.
func (c Config) openKeys() (*keys.Ring, error) {
	if entries, err := os.ReadDir(c.keysFolder()); errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil, ErrNoKeys
	}
	return keys.Open(c.keysFolder(), keys.SystemMaster(c.MasterKey))
}

func operateKeys(ring *keys.Ring, do string) (KeysStatus, error) {
	var err error
	switch do {
	case StatusOfKeys:
	case RotateKeys:
		err = ring.Rotate()
	case RewrapKeys:
		err = ring.Rewrap()
	default:
		err = fmt.Errorf("keys %q: want one of %s, %s, %s", do, StatusOfKeys, RotateKeys, RewrapKeys)
	}
	if err != nil {
		return KeysStatus{}, err
	}
	s, err := ring.Status()
	return KeysStatus{Ring: s.ID, DataKeys: s.DataKeys, Made: s.Made, Rotated: s.Rotated, Rewrapped: s.Rewrapped,
		Master: s.Master, MasterID: s.MasterID, RewrapDue: s.RewrapDue}, err
}

// handleKeys answers the commands of a running agent. Who changed keys is logged.
func handleKeys(ring *keys.Ring, log *slog.Logger) control.Handler {
	return func(_ context.Context, who string, args json.RawMessage, send func(any) error) error {
		var do string
		if err := json.Unmarshal(args, &do); err != nil {
			return errors.New("keys: want one word")
		}
		status, err := operateKeys(ring, do)
		switch {
		case do != StatusOfKeys && err != nil:
			log.Warn("keys not changed", "do", do, "by", who, "err", err)
		case do != StatusOfKeys:
			log.Warn("keys changed by an operator", "do", do, "by", who)
		}
		if err != nil {
			return err
		}
		status.Running = true
		return send(status)
	}
}
