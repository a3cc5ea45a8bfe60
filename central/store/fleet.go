package store

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central/audit"
)

// Fleet keeps how the agents are, and what is wrong with them. Nothing in it is
// about a person. It is a part of Store.
type Fleet interface {
	// Beat takes heartbeats, in their order, and tells what became of each. Those that
	// were taken are on disk.
	Beat(ctx context.Context, beats []Beat) ([]Taken, error)

	// FleetAgents gives the agents that were heard from since then, or of which
	// something was decided; the zero time is all.
	FleetAgents(ctx context.Context, since time.Time) ([]FleetAgent, error)

	// FleetHours gives what an agent saw from then on, in hours. Of the last two
	// days each hour has its shorter periods.
	FleetHours(ctx context.Context, agent AgentKey, from time.Time) ([]FleetHour, error)

	// Intend says which version and configuration an agent is to have; empty for
	// any. One that was never heard from is ErrUnknown.
	Intend(ctx context.Context, agent AgentKey, version, config string, by audit.Who) error

	// Forget removes what is known of an agent that is no more. One that is heard
	// from again is there again. One that is not there is ErrUnknown.
	Forget(ctx context.Context, agent AgentKey, by audit.Who) error

	// FleetUsual gives what has been learnt of an agent, and up to which hour.
	FleetUsual(ctx context.Context, agent AgentKey) (safeguard.Usual, time.Time, error)

	// LearnUsual keeps it.
	LearnUsual(ctx context.Context, agent AgentKey, usual safeguard.Usual, until time.Time) error

	// ChangeWarnings opens and closes warnings. One that is open already stays as
	// it is, but for its detail.
	ChangeWarnings(ctx context.Context, at time.Time, open []FleetWarning, closed []int64) error

	// FleetWarnings gives warnings, the latest first.
	FleetWarnings(ctx context.Context, which WarningFilter) ([]FleetWarning, error)

	// AcknowledgeWarning says that a person has taken it on. One that is not there is
	// ErrUnknown.
	AcknowledgeWarning(ctx context.Context, id int64, by audit.Who) error

	// NoteWarning keeps what a person says of it.
	NoteWarning(ctx context.Context, id int64, text string, by audit.Who) error

	// Untold gives the warnings that a route has not been told of, or not of their
	// closing, which opened or closed since then.
	Untold(ctx context.Context, route string, since time.Time) ([]FleetWarning, error)

	// Told notes that a route has been told of warnings as they are.
	Told(ctx context.Context, route string, warnings []FleetWarning, at time.Time) error

	// RetainFleet removes the short periods, the hours, and the closed warnings and
	// the commands, that are older than that.
	RetainFleet(ctx context.Context, periods, hours, warnings time.Time) error
}

// AgentKey names an agent, as its certificate does.
type AgentKey struct {
	Organisation safeguard.ODSCode
	ID           string
}

func (k AgentKey) String() string { return k.Organisation.String() + "/" + k.ID }

// MarshalText writes the key as RX1/a1.
func (k AgentKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a key such as RX1/a1.
func (k *AgentKey) UnmarshalText(text []byte) (err error) {
	*k, err = ParseAgentKey(string(text))
	return err
}

// ParseAgentKey reads what String writes.
func ParseAgentKey(s string) (AgentKey, error) {
	organisation, id, ok := strings.Cut(s, "/")
	code, err := safeguard.ParseODSCode(organisation)
	if !ok || err != nil || id == "" {
		return AgentKey{}, fmt.Errorf("agent %q: want organisation and id such as RX1/a1", s)
	}
	return AgentKey{code, id}, nil
}

// Beat is a heartbeat as it was received, its times by the centre's clock.
type Beat struct {
	Agent    AgentKey
	Received time.Time
	Report   safeguard.Heartbeat
	Periods  []safeguard.Period
}

// Taken is what became of a heartbeat.
type Taken struct {
	Err         error // ErrReplayed or ErrSuperseded where it was not taken
	Kept        time.Time
	WantVersion string
	WantConfig  string
}

// Why a heartbeat is not taken.
var (
	ErrReplayed   = errors.New("this heartbeat, or a later one of the same run, was taken already")
	ErrSuperseded = errors.New("another run of the agent has followed this one: two agents may have one certificate")
)

// FleetAgent is what is known of an agent.
type FleetAgent struct {
	Key         AgentKey
	FirstHeard  time.Time
	Heard       time.Time           // by the centre's clock
	Superseded  time.Time           // when a run that another has followed was heard last; zero for never
	Report      safeguard.Heartbeat // the last; its times are by the centre's clock
	Kept        time.Time           // the end of its last period that is kept
	WantVersion string              // empty for any
	WantConfig  string
}

// FleetHour is an hour of an agent.
type FleetHour struct {
	Whole   safeguard.Period
	Periods []safeguard.Period // shorter; none of an hour that is long ago
}

// Beat implements Fleet.
func (s *DB) Beat(ctx context.Context, beats []Beat) ([]Taken, error) {
	verdicts := make([]Taken, len(beats))
	err := s.beside(ctx, func(ctx context.Context, tx transaction) error {
		// By agent, so that two processes do not wait for each other.
		order := make([]int, len(beats))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(beats[a].Agent.String(), beats[b].Agent.String()) })
		var statements []statement
		for _, i := range order {
			own, err := beats[i].statements()
			if err != nil {
				return err
			}
			statements = append(statements, own...)
		}
		touched, err := tx.exec(ctx, statements...)
		if err != nil {
			return err
		}
		for n, i := range order {
			switch b := beats[i]; {
			case touched[2*n] == 0:
				verdicts[i].Err, err = b.refused(ctx, tx)
			case len(b.Periods) > 0:
				err = b.keep(ctx, tx)
			}
			if err != nil {
				return err
			}
		}
		return wanted(ctx, tx, beats, verdicts)
	})
	if err != nil {
		return nil, fmt.Errorf("take heartbeats: %w", err)
	}
	return verdicts, nil
}

// wanted reads what each agent is to be told.
func wanted(ctx context.Context, tx transaction, beats []Beat, verdicts []Taken) error {
	of := map[string]Taken{}
	var queries []statement
	for some := range slices.Chunk(beats, 500) {
		marks, args := "?", []any{some[0].Agent.String()}
		for _, b := range some[1:] {
			marks, args = marks+", ?", append(args, b.Agent.String())
		}
		queries = append(queries, stmt(`SELECT agent, kept, want_version, want_config FROM fleet_agents WHERE agent IN (`+marks+`)`, args...))
	}
	err := tx.query(ctx, func(row scanner) error {
		var agent string
		var kept int64
		var t Taken
		err := row.Scan(&agent, &kept, &t.WantVersion, &t.WantConfig)
		t.Kept = sometime(kept)
		of[agent] = t
		return err
	}, queries...)
	for i, b := range beats {
		t := of[b.Agent.String()]
		t.Err = verdicts[i].Err
		verdicts[i] = t
	}
	return err
}

// statements take the heartbeat if it is the next, and note its run.
func (b Beat) statements() ([]statement, error) {
	report, err := json.Marshal(b.Report)
	if err != nil {
		return nil, err
	}
	agent, boot, at := b.Agent.String(), b.Report.Boot, millis(b.Received)
	return []statement{
		stmt(`INSERT INTO fleet_agents (agent, boot, sequence, first_heard, heard, report) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (agent) DO UPDATE SET boot = excluded.boot, sequence = excluded.sequence, heard = excluded.heard, report = excluded.report
			WHERE fleet_agents.boot = excluded.boot AND fleet_agents.sequence < excluded.sequence
			OR fleet_agents.boot <> excluded.boot AND NOT EXISTS (SELECT 1 FROM fleet_boots WHERE fleet_boots.agent = excluded.agent AND fleet_boots.boot = excluded.boot)`,
			agent, boot, int64(b.Report.Sequence), at, at, report),
		stmt(`INSERT INTO fleet_boots (agent, boot) VALUES (?, ?) ON CONFLICT DO NOTHING`, agent, boot),
	}, nil
}

// refused tells why it was.
func (b Beat) refused(ctx context.Context, tx transaction) (why, err error) {
	var boot string
	err = tx.query(ctx, func(row scanner) error { return row.Scan(&boot) }, stmt(`SELECT boot FROM fleet_agents WHERE agent = ?`, b.Agent.String()))
	if err != nil || boot == b.Report.Boot {
		return ErrReplayed, err
	}
	_, err = tx.exec(ctx, stmt(`UPDATE fleet_agents SET superseded = ? WHERE agent = ?`, millis(b.Received), b.Agent.String()))
	return ErrSuperseded, err
}

// keep puts the periods into their hours. One that is there already is replaced.
func (b Beat) keep(ctx context.Context, tx transaction) error {
	hours := map[time.Time][]safeguard.Period{}
	var until time.Time
	for _, p := range b.Periods {
		hour := p.Start.UTC().Truncate(time.Hour)
		hours[hour] = append(hours[hour], p)
		if end := p.Start.Add(p.Length); end.After(until) {
			until = end
		}
	}
	statements := []statement{stmt(`UPDATE fleet_agents SET kept = ? WHERE agent = ? AND kept < ?`, millis(until), b.Agent.String(), millis(until))}
	for hour, periods := range hours {
		var packed []byte
		err := tx.query(ctx, func(row scanner) error { return row.Scan(&packed) },
			stmt(`SELECT columns FROM fleet_hours WHERE agent = ? AND hour = ?`, b.Agent.String(), millis(hour)))
		if err != nil {
			return err
		}
		have, err := unpack(packed)
		if err != nil {
			return err
		}
		for _, p := range periods {
			have = slices.DeleteFunc(have, func(q safeguard.Period) bool { return q.Start.Equal(p.Start) })
			have = append(have, p)
		}
		slices.SortFunc(have, func(p, q safeguard.Period) int { return p.Start.Compare(q.Start) })
		whole := safeguard.Period{Start: hour, Length: time.Hour}
		for _, p := range have {
			whole = whole.With(p)
		}
		text, err := json.Marshal(whole)
		if err != nil {
			return err
		}
		columns, err := pack(have)
		if err != nil {
			return err
		}
		statements = append(statements, stmt(`INSERT INTO fleet_hours (agent, hour, whole, columns) VALUES (?, ?, ?, ?)
			ON CONFLICT (agent, hour) DO UPDATE SET whole = excluded.whole, columns = excluded.columns`, b.Agent.String(), millis(hour), text, columns))
	}
	_, err := tx.exec(ctx, statements...)
	return err
}

func pack(periods []safeguard.Period) ([]byte, error) {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err == nil {
		err = errors.Join(json.NewEncoder(w).Encode(periods), w.Close())
	}
	return out.Bytes(), err
}

func unpack(packed []byte) (periods []safeguard.Period, err error) {
	if len(packed) == 0 {
		return nil, nil
	}
	r := flate.NewReader(bytes.NewReader(packed))
	err = json.NewDecoder(io.LimitReader(r, 1<<20)).Decode(&periods)
	return periods, errors.Join(err, r.Close())
}

// FleetAgents implements Fleet.
func (s *DB) FleetAgents(ctx context.Context, since time.Time) ([]FleetAgent, error) {
	var list []FleetAgent
	after := int64(-1)
	if !since.IsZero() {
		after = millis(since)
	}
	err := s.engine.query(ctx, func(row scanner) error {
		var a FleetAgent
		var key string
		var first, heard, superseded, kept int64
		var report []byte
		if err := row.Scan(&key, &first, &heard, &superseded, &report, &kept, &a.WantVersion, &a.WantConfig); err != nil {
			return err
		}
		var err error
		if a.Key, err = ParseAgentKey(key); err != nil {
			return err
		}
		a.FirstHeard, a.Heard, a.Superseded, a.Kept = fromMillis(first), fromMillis(heard), sometime(superseded), sometime(kept)
		if err := json.Unmarshal(report, &a.Report); err != nil {
			return fmt.Errorf("report of agent %s: %w", key, err)
		}
		list = append(list, a)
		return nil
	}, stmt(`SELECT agent, first_heard, heard, superseded, report, kept, want_version, want_config FROM fleet_agents
		WHERE heard >= ? OR superseded >= ? ORDER BY agent`, after, max(after, 1)))
	if err != nil {
		return nil, fmt.Errorf("read agents: %w", err)
	}
	return list, nil
}

// sometime is a moment of which 0 is never.
func sometime(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return fromMillis(ms)
}

// FleetHours implements Fleet.
func (s *DB) FleetHours(ctx context.Context, agent AgentKey, from time.Time) ([]FleetHour, error) {
	var list []FleetHour
	err := s.engine.query(ctx, func(row scanner) error {
		var whole, columns []byte
		if err := row.Scan(&whole, &columns); err != nil {
			return err
		}
		var h FleetHour
		err := json.Unmarshal(whole, &h.Whole)
		if err == nil {
			h.Periods, err = unpack(columns)
		}
		list = append(list, h)
		return err
	}, stmt(`SELECT whole, columns FROM fleet_hours WHERE agent = ? AND hour >= ? ORDER BY hour`, agent.String(), millis(from)))
	if err != nil {
		return nil, fmt.Errorf("read hours of agent %s: %w", agent, err)
	}
	return list, nil
}

// Intend implements Fleet.
func (s *DB) Intend(ctx context.Context, agent AgentKey, version, config string, by audit.Who) error {
	err := s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		touched, err := tx.exec(ctx, stmt(`UPDATE fleet_agents SET want_version = ?, want_config = ? WHERE agent = ?`, version, config, agent.String()))
		if err == nil && touched[0] == 0 {
			err = ErrUnknown
		}
		return []audit.Entry{{
			At: time.Now(), Act: audit.AgentIntended, Who: by, Where: &audit.Where{Organisation: agent.Organisation.String()},
			Details: map[string]string{"agent": agent.String(), "version": version, "config": config},
		}}, err
	})
	if err != nil {
		return fmt.Errorf("intend agent %s: %w", agent, err)
	}
	return nil
}

// Forget implements Fleet. The names of its runs stay, so that none comes again.
func (s *DB) Forget(ctx context.Context, agent AgentKey, by audit.Who) error {
	err := s.alone(ctx, func(ctx context.Context, tx transaction) ([]audit.Entry, error) {
		touched, err := tx.exec(ctx, stmt(`DELETE FROM fleet_agents WHERE agent = ?`, agent.String()), stmt(`DELETE FROM fleet_hours WHERE agent = ?`, agent.String()))
		if err == nil && touched[0] == 0 {
			err = ErrUnknown
		}
		return []audit.Entry{{
			At: time.Now(), Act: audit.AgentForgotten, Who: by, Where: &audit.Where{Organisation: agent.Organisation.String()},
			Details: map[string]string{"agent": agent.String()},
		}}, err
	})
	if err != nil {
		return fmt.Errorf("forget agent %s: %w", agent, err)
	}
	return nil
}

// FleetUsual implements Fleet.
func (s *DB) FleetUsual(ctx context.Context, agent AgentKey) (u safeguard.Usual, until time.Time, err error) {
	err = s.engine.query(ctx, func(row scanner) error {
		var text []byte
		var learnt int64
		if err := row.Scan(&text, &learnt); err != nil || text == nil {
			return err
		}
		until = sometime(learnt)
		return json.Unmarshal(text, &u)
	}, stmt(`SELECT usual, learnt FROM fleet_agents WHERE agent = ?`, agent.String()))
	if err != nil {
		return u, until, fmt.Errorf("read what is usual for agent %s: %w", agent, err)
	}
	return u, until, nil
}

// LearnUsual implements Fleet.
func (s *DB) LearnUsual(ctx context.Context, agent AgentKey, usual safeguard.Usual, until time.Time) error {
	text, err := json.Marshal(usual)
	if err == nil {
		err = s.engine.atomically(ctx, stmt(`UPDATE fleet_agents SET usual = ?, learnt = ? WHERE agent = ?`, text, millis(until), agent.String()))
	}
	if err != nil {
		return fmt.Errorf("keep what is usual for agent %s: %w", agent, err)
	}
	return nil
}

// RetainFleet implements Fleet.
func (s *DB) RetainFleet(ctx context.Context, periods, hours, warnings time.Time) error {
	err := s.beside(ctx, func(ctx context.Context, tx transaction) error {
		old := millis(warnings)
		_, err := tx.exec(ctx,
			stmt(`UPDATE fleet_hours SET columns = NULL WHERE hour < ? AND columns IS NOT NULL`, millis(periods)),
			stmt(`DELETE FROM fleet_hours WHERE hour < ?`, millis(hours)),
			stmt(`DELETE FROM fleet_told WHERE warning IN (SELECT id FROM fleet_warnings WHERE closed < ?)`, old),
			stmt(`DELETE FROM fleet_notes WHERE warning IN (SELECT id FROM fleet_warnings WHERE closed < ?)`, old),
			stmt(`DELETE FROM fleet_warnings WHERE closed < ?`, old),
			stmt(`DELETE FROM fleet_commands WHERE ordered < ?`, old),
			stmt(`UPDATE fleet_commands SET bundle = NULL WHERE ordered < ? AND bundle IS NOT NULL`, millis(hours)))
		return err
	})
	if err != nil {
		return fmt.Errorf("retain fleet: %w", err)
	}
	return nil
}
