-- One row for each local transaction that is bound to a message: 1 = committed with it, 2 = ruled out by a checker.
-- Times are milliseconds since 1970 UTC.
CREATE TABLE escrow_marker (
  tx_id      TEXT    NOT NULL PRIMARY KEY CHECK (typeof(tx_id) = 'text' AND length(tx_id) BETWEEN 1 AND 64),
  state      INTEGER NOT NULL DEFAULT 1 CHECK (state IN (1, 2)),
  born_at    INTEGER NOT NULL DEFAULT (CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)),
  decided_by TEXT
) WITHOUT ROWID;
CREATE INDEX escrow_marker_born ON escrow_marker (born_at);

-- Which database this is (domain), which migration it is at, and up to where markers may have been deleted.
CREATE TABLE escrow_meta (
  one           INTEGER NOT NULL PRIMARY KEY DEFAULT 1 CHECK (one = 1),
  domain        TEXT    NOT NULL,
  version       INTEGER NOT NULL,
  purged_before INTEGER NOT NULL DEFAULT 0
);
-- A random UUID (version 4).
INSERT INTO escrow_meta (domain, version)
SELECT lower(substr(r, 1, 8) || '-' || substr(r, 9, 4) || '-4' || substr(r, 14, 3) || '-' ||
             substr('89ab', 1 + (abs(random()) % 4), 1) || substr(r, 18, 3) || '-' || substr(r, 21, 12)), 1
FROM (SELECT hex(randomblob(16)) AS r);

-- What a consumer group has done already.
CREATE TABLE escrow_inbox (
  consumer_group TEXT    NOT NULL CHECK (length(consumer_group) BETWEEN 1 AND 255),
  message_id     TEXT    NOT NULL CHECK (length(message_id) BETWEEN 1 AND 255),
  done_at        INTEGER NOT NULL DEFAULT (CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)),
  PRIMARY KEY (consumer_group, message_id)
) WITHOUT ROWID;
CREATE INDEX escrow_inbox_done ON escrow_inbox (done_at);
