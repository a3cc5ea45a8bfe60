-- +goose Up

-- What was removed by the rules of retention, and when. It names nobody.
CREATE TABLE retention_runs (
	id      bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
	began   bigint NOT NULL,
	ended   bigint NOT NULL,
	who     text NOT NULL,
	rule    text NOT NULL, -- JSON
	removed text NOT NULL, -- JSON
	failed  text NOT NULL  -- why it ended early; empty where it did not
);
