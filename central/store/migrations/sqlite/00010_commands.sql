-- +goose Up

-- What central operations have asked agents to do. Nothing here is about a person.
CREATE TABLE fleet_commands (
	id       TEXT PRIMARY KEY,
	agent    TEXT NOT NULL,
	command  TEXT NOT NULL,
	by_whom  TEXT NOT NULL,
	ordered  INTEGER NOT NULL,
	expires  INTEGER NOT NULL,
	answered INTEGER NOT NULL DEFAULT 0, -- 0 for not yet
	outcome  TEXT NOT NULL DEFAULT '',
	said     TEXT NOT NULL DEFAULT '',
	bundle   BLOB -- sealed
) STRICT;
CREATE INDEX fleet_commands_open ON fleet_commands (expires) WHERE answered = 0;
CREATE INDEX fleet_commands_agent ON fleet_commands (agent, ordered);
