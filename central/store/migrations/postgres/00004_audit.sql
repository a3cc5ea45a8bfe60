-- +goose Up

-- The audit: chains of entries, one chain for each process that wrote, each
-- entry bound to the one before by its hash.
CREATE TABLE audit (
	chain   text NOT NULL,
	seq     bigint NOT NULL, -- from 1, without a gap
	at      bigint NOT NULL,
	body    bytea NOT NULL,    -- JSON, as it was hashed
	hash    bytea NOT NULL,    -- SHA-256 of body
	subject bytea,             -- keyed hash of the person that the entry is about
	salt    bytea,             -- with which body commits to subject; erasure removes both
	PRIMARY KEY (chain, seq)
);
CREATE INDEX audit_of_subject ON audit (subject) WHERE subject IS NOT NULL;

-- +goose StatementBegin
CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'UPDATE' THEN
		IF (NEW.chain, NEW.seq, NEW.at, NEW.body, NEW.hash) IS NOT DISTINCT FROM (OLD.chain, OLD.seq, OLD.at, OLD.body, OLD.hash)
			AND NEW.subject IS NULL AND NEW.salt IS NULL THEN
			RETURN NEW;
		END IF;
	END IF;
	RAISE EXCEPTION 'the audit is append-only';
END;
$$;
-- +goose StatementEnd

CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE ON audit
	FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON audit
	FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

-- How far each chain has come, so that one that was cut off is noticed.
CREATE TABLE audit_heads (
	chain    text PRIMARY KEY,
	seq      bigint NOT NULL,
	hash     bytea NOT NULL,
	mac      bytea NOT NULL,    -- by the ring
	anchored bigint NOT NULL  -- up to where an entry of another chain names it
);
