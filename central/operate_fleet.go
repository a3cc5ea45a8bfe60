package central

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard/central/audit"
	"github.com/safeguard-edge/safeguard/central/store"
)

// Acknowledge says that the operator has taken a warning on.
func (o Operator) Acknowledge(ctx context.Context, id int64, note string, out io.Writer) error {
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		if err := s.AcknowledgeWarning(ctx, id, by); err != nil {
			return noWarning(err, id)
		}
		if note != "" {
			if err := s.NoteWarning(ctx, id, note, by); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintf(out, "warning %d: taken on by %s\n", id, by.Caller)
		return err
	})
}

// Note keeps what the operator says of a warning.
func (o Operator) Note(ctx context.Context, id int64, text string, out io.Writer) error {
	if strings.TrimSpace(text) == "" {
		return errors.New("note: empty, want what is to be remembered; it names no patient")
	}
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		if err := s.NoteWarning(ctx, id, text, by); err != nil {
			return noWarning(err, id)
		}
		_, err := fmt.Fprintf(out, "warning %d: noted\n", id)
		return err
	})
}

func noWarning(err error, id int64) error {
	if errors.Is(err, store.ErrUnknown) {
		return fmt.Errorf("warning %d: there is none, want a number that fleet show or watch gives", id)
	}
	return err
}

// Intend says which version and configuration an agent is to have; current stands
// for what it has.
func (o Operator) Intend(ctx context.Context, agent, version, config string, out io.Writer) error {
	key, err := store.ParseAgentKey(agent)
	if err != nil {
		return err
	}
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		all, err := s.FleetAgents(ctx, time.Time{})
		if err != nil {
			return err
		}
		for _, a := range all {
			if a.Key != key {
				continue
			}
			if version == "current" {
				version = a.Report.Version
			}
			if config == "current" {
				config = a.Report.Config
			}
		}
		if len(config) != 64 && config != "" || strings.Trim(config, "0123456789abcdef") != "" {
			return fmt.Errorf("configuration digest %.20q: want the 64 digits that sha256sum gives, or current", config)
		}
		if err := s.Intend(ctx, key, version, config, by); err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%s: version %s, configuration %s\n", key, orAny(version), orAny(config))
		return err
	})
}

// Forget removes what is known of an agent that is no more.
func (o Operator) Forget(ctx context.Context, agent string, out io.Writer) error {
	key, err := store.ParseAgentKey(agent)
	if err != nil {
		return err
	}
	return o.with(ctx, func(s store.Store, by audit.Who) error {
		if err := s.Forget(ctx, key, by); err != nil {
			return err
		}
		_, err := fmt.Fprintf(out, "%s: forgotten; its warnings close within minutes, and should it be heard from again it is there again\n", key)
		return err
	})
}

func orAny(s string) string {
	if s == "" {
		return "any"
	}
	return s
}
