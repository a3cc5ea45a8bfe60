-- +goose Up

-- What was removed by the rules of retention, and when. It names nobody.
CREATE TABLE retention_runs (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	began   INTEGER NOT NULL,
	ended   INTEGER NOT NULL,
	who     TEXT NOT NULL,
	rule    TEXT NOT NULL, -- JSON
	removed TEXT NOT NULL, -- JSON
	failed  TEXT NOT NULL  -- why it ended early; empty where it did not
) STRICT;
