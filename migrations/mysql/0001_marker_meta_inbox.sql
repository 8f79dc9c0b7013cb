-- One row for each local transaction that is bound to a message: 1 = committed with it, 2 = ruled out by a checker.
-- Never partition it and keep it in InnoDB: the row must vanish with its transaction, and one id must have one row.
CREATE TABLE escrow_marker (
  tx_id      VARBINARY(64) NOT NULL PRIMARY KEY CHECK (LENGTH(tx_id) BETWEEN 1 AND 64),
  state      TINYINT       NOT NULL DEFAULT 1 CHECK (state IN (1, 2)),
  born_at    TIMESTAMP(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  decided_by VARCHAR(64),
  KEY escrow_marker_born (born_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- Which database this is (domain), which migration it is at, and up to where markers may have been deleted
-- (milliseconds since 1970 UTC, so that no session's time zone takes part).
CREATE TABLE escrow_meta (
  one           TINYINT  NOT NULL DEFAULT 1 PRIMARY KEY CHECK (one = 1),
  domain        CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  version       INT      NOT NULL,
  purged_before BIGINT   NOT NULL DEFAULT 0
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
-- By a variable, which statement-based replication carries by value: a replica must not draw its own.
SET @escrow_domain = UUID();
INSERT INTO escrow_meta (domain, version) VALUES (@escrow_domain, 1);

-- What a consumer group has done already.
CREATE TABLE escrow_inbox (
  consumer_group VARBINARY(255) NOT NULL CHECK (LENGTH(consumer_group) BETWEEN 1 AND 255),
  message_id     VARBINARY(255) NOT NULL CHECK (LENGTH(message_id) BETWEEN 1 AND 255),
  done_at        TIMESTAMP(3)   NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  PRIMARY KEY (consumer_group, message_id),
  KEY escrow_inbox_done (done_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
