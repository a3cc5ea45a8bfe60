-- +goose Up

-- What is kept about a person is sealed under a key of its own, so that deleting
-- the key erases the person. Migration 3 makes the keys and seals anew. From now
-- on there is a row for everyone with a flag, an access or a notification.
ALTER TABLE persons ADD COLUMN key BLOB NOT NULL DEFAULT x''; -- wrapped by the ring
