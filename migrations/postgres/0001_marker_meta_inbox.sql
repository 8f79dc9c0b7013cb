-- One row for each local transaction that is bound to a message: 1 = committed with it, 2 = ruled out by a checker.
-- Never partition it: a primary key other than (tx_id) lets both rows of one id exist.
-- No CHECK: each would cost every transaction more than its marker does. Another state answers no check.
CREATE TABLE escrow_marker (
  tx_id      varchar(64) COLLATE "C" PRIMARY KEY,
  state      smallint    NOT NULL DEFAULT 1,
  born_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  decided_by text
);
CREATE INDEX escrow_marker_born ON escrow_marker (born_at);

-- Which database this is (domain), which migration it is at, and up to where markers may have been deleted.
CREATE TABLE escrow_meta (
  one           boolean     PRIMARY KEY DEFAULT true CHECK (one),
  domain        uuid        NOT NULL,
  version       int         NOT NULL,
  purged_before timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO escrow_meta (domain, version) VALUES (gen_random_uuid(), 1);

-- What a consumer group has done already.
CREATE TABLE escrow_inbox (
  consumer_group text COLLATE "C" NOT NULL CHECK (octet_length(consumer_group) BETWEEN 1 AND 255),
  message_id     text COLLATE "C" NOT NULL CHECK (octet_length(message_id) BETWEEN 1 AND 255),
  done_at        timestamptz      NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (consumer_group, message_id)
);
CREATE INDEX escrow_inbox_done ON escrow_inbox (done_at);
