package store

import (
	"context"
	"fmt"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
)

// Commands keeps what operations have asked agents to do, and what became of it.
// It is a part of Store.
type Commands interface {
	// Order has an agent asked. One that was never heard from is ErrUnknown.
	Order(ctx context.Context, c safeguard.RemoteCommand, by audit.Who) error

	// OpenCommands gives what is not answered and has not expired at the time, of
	// all agents, the oldest first.
	OpenCommands(ctx context.Context, now time.Time) ([]safeguard.RemoteCommand, error)

	// AnswerCommand keeps what an agent says to one of its own commands. One that is
	// not its own, or not there, is ErrUnknown; one that was answered is
	// safeguard.ErrAnswered.
	AnswerCommand(ctx context.Context, agent AgentKey, id string, a safeguard.RemoteAnswer, at time.Time) error

	// OrderedCommands gives those that were ordered, the latest first, without the
	// bundles.
	OrderedCommands(ctx context.Context, which CommandFilter) ([]OrderedCommand, error)

	// CommandBundle gives the bundle that was sent to a command. ErrUnknown says that
	// there is none. It is audited who took it.
	CommandBundle(ctx context.Context, id string, by audit.Who) ([]byte, error)
}

// OrderedCommand is a command and what became of it.
type OrderedCommand struct {
	safeguard.RemoteCommand
	Answered time.Time               `json:"answered,omitzero"`
	Outcome  safeguard.RemoteOutcome `json:"outcome,omitempty"` // empty for none yet
	Text     string                  `json:"text,omitempty"`
	Bundle   bool                    `json:"bundle,omitempty"` // there is one
}

// CommandFilter says which commands are wanted. The zero value is all.
type CommandFilter struct {
	Agent AgentKey // that was asked
	Since time.Time
	Limit int
}

func bundleAD(id string) []byte { return key("command bundle", id) }

// Order implements Commands.
func (s *DB) Order(ctx context.Context, c safeguard.RemoteCommand, by audit.Who) error {
	agent, err := ParseAgentKey(c.Agent)
	if err != nil {
		return err
	}
	err = s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		touched, err := tx.exec(ctx, stmt(`INSERT INTO fleet_commands (id, agent, command, by_whom, ordered, expires)
			SELECT ?, agent, ?, ?, ?, ? FROM fleet_agents WHERE agent = ?`, c.ID, string(c.Do), c.By, millis(c.Ordered), millis(c.Expires), c.Agent))
		if err == nil && touched[0] == 0 {
			err = ErrUnknown
		}
		return []audit.Entry{commanded(audit.CommandOrdered, agent, by, c.Ordered, c.ID, map[string]string{"command": string(c.Do)})}, err
	})
	if err != nil {
		return fmt.Errorf("order command for agent %s: %w", c.Agent, err)
	}
	return nil
}

func commanded(act audit.Act, agent AgentKey, by audit.Who, at time.Time, id string, details map[string]string) audit.Entry {
	details["agent"], details["id"] = agent.String(), id
	return audit.Entry{At: at, Act: act, Who: by, Where: &audit.Where{Organisation: agent.Organisation.String()}, Details: details}
}

const commandColumns = `SELECT id, agent, command, by_whom, ordered, expires, answered, outcome, said, bundle IS NOT NULL FROM fleet_commands `

func scanCommand(row scanner) (c OrderedCommand, err error) {
	var ordered, expires, answered int64
	err = row.Scan(&c.ID, &c.Agent, (*string)(&c.Do), &c.By, &ordered, &expires, &answered, (*string)(&c.Outcome), &c.Text, &c.Bundle)
	c.Ordered, c.Expires = fromMillis(ordered), fromMillis(expires)
	if answered != 0 {
		c.Answered = fromMillis(answered)
	}
	return c, err
}

// OpenCommands implements Commands.
func (s *DB) OpenCommands(ctx context.Context, now time.Time) (list []safeguard.RemoteCommand, err error) {
	err = s.engine.query(ctx, func(row scanner) error {
		c, err := scanCommand(row)
		list = append(list, c.RemoteCommand)
		return err
	}, stmt(commandColumns+`WHERE answered = 0 AND expires > ? ORDER BY ordered, id`, millis(now)))
	if err != nil {
		return nil, fmt.Errorf("read open commands: %w", err)
	}
	return list, nil
}

// AnswerCommand implements Commands.
func (s *DB) AnswerCommand(ctx context.Context, agent AgentKey, id string, a safeguard.RemoteAnswer, at time.Time) error {
	var bundle []byte
	if len(a.Bundle) > 0 {
		var err error
		if bundle, err = s.ring.Seal(a.Bundle, bundleAD(id)); err != nil {
			return fmt.Errorf("seal bundle: %w", err)
		}
	}
	err := s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		touched, err := tx.exec(ctx, stmt(`UPDATE fleet_commands SET answered = ?, outcome = ?, said = ?, bundle = ? WHERE id = ? AND agent = ? AND answered = 0`,
			millis(at), string(a.Outcome), a.Text, bundle, id, agent.String()))
		if err == nil && touched[0] == 0 {
			err = ErrUnknown
			_ = tx.query(ctx, func(scanner) error { err = safeguard.ErrAnswered; return nil }, stmt(`SELECT id FROM fleet_commands WHERE id = ? AND agent = ?`, id, agent.String()))
		}
		by := audit.Who{Caller: "agent " + agent.String()}
		return []audit.Entry{commanded(audit.CommandAnswered, agent, by, at, id, map[string]string{"outcome": string(a.Outcome)})}, err
	})
	if err != nil {
		return fmt.Errorf("answer command: %w", err)
	}
	return nil
}

// OrderedCommands implements Commands.
func (s *DB) OrderedCommands(ctx context.Context, which CommandFilter) (list []OrderedCommand, err error) {
	text, args := commandColumns+`WHERE ordered >= ?`, []any{millis(which.Since)}
	if which.Agent != (AgentKey{}) {
		text, args = text+` AND agent = ?`, append(args, which.Agent.String())
	}
	text += ` ORDER BY ordered DESC, id`
	if which.Limit > 0 {
		text, args = text+` LIMIT ?`, append(args, which.Limit)
	}
	err = s.engine.query(ctx, func(row scanner) error {
		c, err := scanCommand(row)
		list = append(list, c)
		return err
	}, stmt(text, args...))
	if err != nil {
		return nil, fmt.Errorf("read commands: %w", err)
	}
	return list, nil
}

// CommandBundle implements Commands.
func (s *DB) CommandBundle(ctx context.Context, id string, by audit.Who) (bundle []byte, err error) {
	var sealed []byte
	err = s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		var name string
		if err := tx.query(ctx, func(row scanner) error { return row.Scan(&name, &sealed) }, stmt(`SELECT agent, bundle FROM fleet_commands WHERE id = ? AND bundle IS NOT NULL`, id)); err != nil {
			return nil, err
		}
		agent, err := ParseAgentKey(name)
		if err != nil {
			return nil, ErrUnknown
		}
		return []audit.Entry{commanded(audit.BundleTaken, agent, by, time.Now(), id, map[string]string{})}, nil
	})
	if err == nil {
		bundle, err = s.ring.Open(sealed, bundleAD(id))
	}
	if err != nil {
		return nil, fmt.Errorf("bundle of command %s: %w", id, err)
	}
	return bundle, nil
}
