-- Times are milliseconds since 1970. state: 0 waiting, 1 settled, 2 ignored, 3 set aside, 4 late.
-- A key is the beginning of a keyed hash. What is sealed is bound to its table, column and row.

CREATE TABLE about ( -- one row
	one   INTEGER PRIMARY KEY CHECK (one = 1),
	ring  TEXT    NOT NULL, -- the key ring that seals
	began INTEGER NOT NULL, -- when this journal began
	stamp INTEGER NOT NULL, -- a time that has been; none before it is stamped again
	probe INTEGER NOT NULL, -- counts the writes that proved the file
	indexed INTEGER NOT NULL, -- up to here, origins has every entry
	given INTEGER NOT NULL, -- no entry has or had a higher number, nor a turn
	lost  INTEGER NOT NULL, -- rows that a damaged file took with it
	mended INTEGER          -- when that was
);

CREATE TABLE entries (
	seq        INTEGER PRIMARY KEY, -- never used again, also after pruning
	turn       INTEGER NOT NULL, -- the order in which the waiting are taken: seq, or a later number after a replay
	state      INTEGER NOT NULL,
	received   INTEGER NOT NULL, -- never less than that of an earlier entry
	settled    INTEGER,
	feed       TEXT    NOT NULL,
	site       TEXT    NOT NULL, -- ODS code, where the transport tells it
	peer       TEXT    NOT NULL,
	charset    TEXT    NOT NULL, -- the feed's override of MSH-18
	process    TEXT    NOT NULL, -- the feed's override of MSH-11
	reused     INTEGER NOT NULL, -- the origin came before with another body
	origin     INTEGER,          -- key of MSH-3, MSH-4 and MSH-10; null where they can not be read
	source     BLOB,             -- key of what the transport names the message; null where it does not
	digest     BLOB    NOT NULL, -- key of the body
	attendance BLOB,             -- key of the attendance it was settled into
	label      BLOB,             -- sealed: that attendance, and the rule or reason
	ack        BLOB    NOT NULL, -- sealed: the acknowledgement sent, replayed for a duplicate
	body       BLOB              -- sealed; null once destroyed
);
CREATE INDEX entries_source ON entries (source) WHERE source IS NOT NULL;
CREATE INDEX entries_waiting ON entries (turn) WHERE state = 0;
CREATE INDEX entries_ended ON entries (state, settled) WHERE state <> 0;
CREATE INDEX entries_kept ON entries (state, settled) WHERE state <> 0 AND body IS NOT NULL;
CREATE INDEX entries_reused ON entries (seq) WHERE reused;
CREATE INDEX entries_attendance ON entries (attendance) WHERE attendance IS NOT NULL;

-- The index of entries by origin. The latest entries may not be in it yet.
CREATE TABLE origins (
	origin INTEGER NOT NULL,
	seq    INTEGER NOT NULL,
	PRIMARY KEY (origin, seq)
) WITHOUT ROWID;

-- Who sends: MSH-3 and MSH-4, sealed, so that a control id alone leads to its origin.
CREATE TABLE senders (
	key  BLOB PRIMARY KEY,
	body BLOB NOT NULL -- sealed
) WITHOUT ROWID;

CREATE TABLE attendances (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	key     BLOB    NOT NULL UNIQUE, -- of the attendance's id
	rev     INTEGER NOT NULL,
	open    INTEGER NOT NULL,
	begun   INTEGER NOT NULL,
	changed INTEGER NOT NULL,
	due     INTEGER,          -- when it is to be looked at although nothing happens; null for never
	unknown INTEGER NOT NULL, -- the reason why nothing is known, while it is to be found out; else 0
	since   INTEGER NOT NULL, -- when the message that began it was accepted
	body    BLOB    NOT NULL  -- sealed
);
CREATE INDEX attendances_begun ON attendances (begun);
CREATE INDEX attendances_changed ON attendances (changed);
CREATE INDEX attendances_due ON attendances (due) WHERE due IS NOT NULL;
CREATE INDEX attendances_unknown ON attendances (unknown, since) WHERE unknown <> 0;

-- Every number that an attendance's patient goes by now.
CREATE TABLE named (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	name       BLOB NOT NULL, -- key of a hospital number, an NHS number, or that of an infant's mother
	attendance BLOB NOT NULL  -- key
);
CREATE INDEX named_name ON named (name);
CREATE INDEX named_attendance ON named (attendance);
CREATE TRIGGER attendance_is_gone AFTER DELETE ON attendances BEGIN DELETE FROM named WHERE attendance = OLD.key; END;

-- A visit that continues an earlier attendance, such as an admission from the emergency department.
CREATE TABLE continued (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	visit      BLOB NOT NULL UNIQUE, -- key
	attendance BLOB NOT NULL         -- key
);
CREATE INDEX continued_attendance ON continued (attendance);

CREATE TABLE outbox (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	outbox     TEXT    NOT NULL, -- a sink's name, or what else is owed: lookups, corrections, …
	attendance BLOB    NOT NULL, -- key
	entry      INTEGER NOT NULL, -- the entry it follows from; 0 for none
	state      INTEGER NOT NULL,
	head       INTEGER NOT NULL, -- no earlier one of its attendance or patient waits in this outbox
	due        INTEGER NOT NULL, -- 0 for at once
	tries      INTEGER NOT NULL,
	queued     INTEGER NOT NULL,
	settled    INTEGER,
	patient    BLOB,             -- key of whom an alert is about; null for what is no alert
	alert      BLOB,             -- key of the alert's id; null for what is no alert
	version    INTEGER NOT NULL,
	control    BLOB,             -- key of MSH-10 of what is sent, or of the lookup that is corrected; else null
	code       TEXT    NOT NULL, -- of the receipt
	text       BLOB,             -- sealed: what a refusal said, which may hold anything
	label      BLOB    NOT NULL, -- sealed: which attendance, alert, action, and what kind of alert
	body       BLOB              -- sealed; null once destroyed
);
CREATE INDEX outbox_ready ON outbox (outbox, due, id) WHERE state = 0 AND head;
CREATE INDEX outbox_waiting ON outbox (outbox, id) WHERE state = 0;
CREATE INDEX outbox_attendance ON outbox (attendance, outbox, id);
CREATE INDEX outbox_patient ON outbox (patient, outbox, id) WHERE state = 0 AND patient IS NOT NULL;
CREATE INDEX outbox_entry ON outbox (entry);
CREATE INDEX outbox_control ON outbox (control) WHERE control IS NOT NULL;
CREATE INDEX outbox_ended ON outbox (state, settled) WHERE state <> 0;
CREATE INDEX outbox_delivered ON outbox (settled) WHERE state = 1 AND alert IS NOT NULL;
CREATE INDEX outbox_kept ON outbox (state, settled) WHERE state <> 0 AND body IS NOT NULL;

-- Who used a command, when, for what, on which rows. Each row is chained to the one before.
CREATE TABLE audit (
	id    INTEGER PRIMARY KEY AUTOINCREMENT,
	at    INTEGER NOT NULL,
	who   TEXT    NOT NULL,
	what  TEXT    NOT NULL,
	rows  TEXT    NOT NULL,
	chain BLOB    NOT NULL
);
CREATE TRIGGER audit_stays BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
