-- +goose Up

-- How each agent is, by its last heartbeat. Nothing here is about a person.
CREATE TABLE fleet_agents (
	agent         text PRIMARY KEY, -- organisation and id, as its certificate has them
	boot          text NOT NULL,    -- the run of the agent
	sequence      bigint NOT NULL, -- of its last heartbeat
	first_heard   bigint NOT NULL,
	heard         bigint NOT NULL, -- by the clock of the centre
	superseded    bigint NOT NULL DEFAULT 0, -- when a run that another has followed was heard last; 0 for never
	report        bytea NOT NULL,    -- JSON
	kept          bigint NOT NULL DEFAULT 0, -- its periods are kept that end by then
	want_version  text NOT NULL DEFAULT '',
	want_config   text NOT NULL DEFAULT '',
	usual         bytea, -- what has been learnt of it, JSON
	learnt        bigint NOT NULL DEFAULT 0 -- up to this hour
);
CREATE INDEX fleet_agents_heard ON fleet_agents (heard);

-- Every run there was, so that none comes again.
CREATE TABLE fleet_boots (
	agent text NOT NULL,
	boot  text NOT NULL,
	PRIMARY KEY (agent, boot)
);

-- What each agent saw, by the hour.
CREATE TABLE fleet_hours (
	agent   text NOT NULL,
	hour    bigint NOT NULL,
	whole   bytea NOT NULL, -- JSON
	columns bytea,          -- the hour in shorter periods, packed JSON; null once these have gone
	PRIMARY KEY (agent, hour)
);

-- What is and was wrong.
CREATE TABLE fleet_warnings (
	id              bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
	kind            text NOT NULL, -- of the subject: agent, site or authority
	subject         text NOT NULL,
	code            text NOT NULL,
	part            text NOT NULL,
	since           bigint NOT NULL,
	detail          text NOT NULL,
	opened          bigint NOT NULL,
	closed          bigint, -- null while it is open
	acknowledged    bigint,
	acknowledged_by text NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX fleet_warnings_once ON fleet_warnings (kind, subject, code, part) WHERE closed IS NULL;
CREATE INDEX fleet_warnings_closed ON fleet_warnings (closed) WHERE closed IS NOT NULL;
CREATE INDEX fleet_warnings_subject ON fleet_warnings (kind, subject, opened);

CREATE TABLE fleet_notes (
	id      bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
	warning bigint NOT NULL REFERENCES fleet_warnings (id),
	at      bigint NOT NULL,
	by      text NOT NULL,
	text    text NOT NULL
);
CREATE INDEX fleet_notes_of_warning ON fleet_notes (warning);

-- What each route has been told of.
CREATE TABLE fleet_told (
	route   text NOT NULL,
	warning bigint NOT NULL REFERENCES fleet_warnings (id),
	opened  bigint NOT NULL, -- when it was told of the opening
	closed  bigint,          -- and of the closing
	PRIMARY KEY (route, warning)
);
