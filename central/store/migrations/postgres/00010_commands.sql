-- +goose Up

-- What central operations have asked agents to do. Nothing here is about a person.
CREATE TABLE fleet_commands (
	id       text PRIMARY KEY,
	agent    text NOT NULL,
	command  text NOT NULL,
	by_whom  text NOT NULL,
	ordered  bigint NOT NULL,
	expires  bigint NOT NULL,
	answered bigint NOT NULL DEFAULT 0, -- 0 for not yet
	outcome  text NOT NULL DEFAULT '',
	said     text NOT NULL DEFAULT '',
	bundle   bytea -- sealed
);
CREATE INDEX fleet_commands_open ON fleet_commands (expires) WHERE answered = 0;
CREATE INDEX fleet_commands_agent ON fleet_commands (agent, ordered);
