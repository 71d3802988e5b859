-- From version 1, that of 0.1.0, to 2. Development versions have made some of these tables already.

ALTER TABLE blob ADD COLUMN number BIGINT NOT NULL DEFAULT 0;

ALTER TABLE derivative ADD COLUMN checksum BIGINT;

CREATE TABLE IF NOT EXISTS removal (
    id       BIGINT PRIMARY KEY,
    cid      TEXT   NOT NULL,
    number   BIGINT NOT NULL,
    began_at BIGINT NOT NULL,
    swept_at BIGINT
);

CREATE INDEX IF NOT EXISTS removal_by_cid ON removal (cid);

CREATE INDEX IF NOT EXISTS removal_not_swept ON removal (id) WHERE swept_at IS NULL;

CREATE TABLE IF NOT EXISTS account_deletion (
    did        TEXT   PRIMARY KEY REFERENCES account (did) ON DELETE CASCADE,
    started_at BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS migration (
    did     TEXT   PRIMARY KEY REFERENCES account (did) ON DELETE CASCADE,
    allowed BIGINT NOT NULL,
    used    BIGINT NOT NULL,
    is_open BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS store (
    kind      TEXT   PRIMARY KEY,
    mark      TEXT   NOT NULL,
    marked_at BIGINT
);

CREATE TABLE IF NOT EXISTS blob_charset (
    did     TEXT NOT NULL,
    cid     TEXT NOT NULL,
    charset TEXT NOT NULL,
    PRIMARY KEY (did, cid),
    FOREIGN KEY (did, cid) REFERENCES blob_metadata (creator_did, cid) ON DELETE CASCADE
);

CREATE TABLE IF NOT EXISTS staged_object (
    did        TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    cid        TEXT   NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (did, name),
    FOREIGN KEY (did, cid) REFERENCES blob_metadata (creator_did, cid) ON DELETE CASCADE
);

CREATE TABLE IF NOT EXISTS record_usage (
    did   TEXT   PRIMARY KEY REFERENCES account (did) ON DELETE CASCADE,
    bytes BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS hiding (
    cid      TEXT PRIMARY KEY,
    position TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS taken_down_account (
    did        TEXT   PRIMARY KEY,
    ref        TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS invite_code (
    code        TEXT   PRIMARY KEY,
    for_account TEXT,
    uses        BIGINT NOT NULL,
    uses_left   BIGINT NOT NULL CHECK (uses_left >= 0),
    created_at  BIGINT NOT NULL,
    ends_at     BIGINT
);

CREATE INDEX IF NOT EXISTS invite_code_by_age ON invite_code (created_at, code);

CREATE INDEX IF NOT EXISTS invite_code_by_end ON invite_code (ends_at);

CREATE TABLE IF NOT EXISTS job_run (
    job            TEXT   NOT NULL,
    number         BIGINT NOT NULL,
    started_at     BIGINT NOT NULL,
    ended_at       BIGINT,
    failure        TEXT,
    blobs          BIGINT,
    bytes          BIGINT,
    findings       BIGINT,
    repaired       BIGINT,
    first_findings TEXT,
    PRIMARY KEY (job, number)
);

CREATE TABLE IF NOT EXISTS lease (
    name       TEXT   PRIMARY KEY,
    holder     TEXT   NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE INDEX IF NOT EXISTS lease_by_expiry ON lease (expires_at);

CREATE INDEX IF NOT EXISTS staged_object_by_blob ON staged_object (did, cid);

CREATE INDEX IF NOT EXISTS staged_object_by_expiry ON staged_object (expires_at);

CREATE INDEX IF NOT EXISTS account_taken_down ON account (did) WHERE takedown_at IS NOT NULL;

DROP INDEX IF EXISTS blob_metadata_temporary;
CREATE INDEX blob_metadata_temporary ON blob_metadata (unreferenced_since, creator_did, cid, size)
    WHERE unreferenced_since IS NOT NULL;

CREATE INDEX IF NOT EXISTS identity_not_had ON identity (fetched_at) WHERE document IS NULL;

CREATE TABLE IF NOT EXISTS upstream_host (
    host       TEXT   PRIMARY KEY,
    cursor     BIGINT,
    event_at   BIGINT,
    handled_at BIGINT,
    seen_at    BIGINT,
    listed_at  BIGINT
);

CREATE TABLE IF NOT EXISTS upstream_account (
    did       TEXT   PRIMARY KEY,
    host      TEXT   NOT NULL,
    status    TEXT,
    status_at BIGINT NOT NULL,
    listed_at BIGINT NOT NULL,
    rev       TEXT,
    tree      TEXT,
    due_at    BIGINT,
    tries     BIGINT NOT NULL,
    failure   TEXT
);
CREATE INDEX IF NOT EXISTS upstream_account_due ON upstream_account (host, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS upstream_account_due_anywhere ON upstream_account (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS upstream_account_listed ON upstream_account (host, listed_at);
CREATE INDEX IF NOT EXISTS upstream_account_gone ON upstream_account (status, status_at) WHERE status IS NOT NULL;

CREATE TABLE IF NOT EXISTS upstream_blob (
    did     TEXT   NOT NULL,
    cid     TEXT   NOT NULL,
    due_at  BIGINT NOT NULL,
    tries   BIGINT NOT NULL,
    failure TEXT,
    PRIMARY KEY (did, cid)
);
CREATE INDEX IF NOT EXISTS upstream_blob_due ON upstream_blob (due_at, did, cid);

CREATE TABLE IF NOT EXISTS upstream_round (
    host        TEXT   PRIMARY KEY,
    began_at    BIGINT NOT NULL,
    asked       BIGINT NOT NULL,
    did         TEXT   NOT NULL,
    cid         TEXT   NOT NULL,
    alarm       TEXT,
    accepted_at BIGINT NOT NULL,
    due_at      BIGINT
);
CREATE INDEX IF NOT EXISTS upstream_round_due ON upstream_round (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE IF NOT EXISTS upstream_refusal (
    did        TEXT   NOT NULL,
    cid        TEXT   NOT NULL,
    refused_at BIGINT NOT NULL,
    due_at     BIGINT NOT NULL,
    tries      BIGINT NOT NULL,
    hidden_at  BIGINT,
    PRIMARY KEY (did, cid),
    FOREIGN KEY (did, cid) REFERENCES blob_metadata (creator_did, cid) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS upstream_refusal_due ON upstream_refusal (due_at, did, cid);

CREATE TABLE IF NOT EXISTS upstream_read (
    did     TEXT   NOT NULL,
    cid     TEXT   NOT NULL,
    used_at BIGINT NOT NULL,
    PRIMARY KEY (did, cid),
    FOREIGN KEY (did, cid) REFERENCES blob_metadata (creator_did, cid) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS upstream_read_by_age ON upstream_read (used_at);

CREATE TABLE IF NOT EXISTS purge (
    id     BIGINT PRIMARY KEY,
    did    TEXT   NOT NULL,
    cid    TEXT   NOT NULL,
    due_at BIGINT NOT NULL,
    tries  BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS purge_due ON purge (due_at);

CREATE TABLE IF NOT EXISTS audit (
    acted_at  BIGINT NOT NULL,
    number    BIGINT NOT NULL,
    actor     TEXT   NOT NULL,
    via       TEXT   NOT NULL,
    action    TEXT   NOT NULL,
    did       TEXT   NOT NULL,
    cid       TEXT   NOT NULL,
    reason    TEXT,
    old_value TEXT,
    new_value TEXT,
    PRIMARY KEY (acted_at, number)
);
CREATE INDEX IF NOT EXISTS audit_by_did ON audit (did, acted_at, number);
CREATE INDEX IF NOT EXISTS audit_by_cid ON audit (cid, acted_at, number);
CREATE INDEX IF NOT EXISTS audit_by_action ON audit (action, acted_at, number);
CREATE INDEX IF NOT EXISTS audit_by_actor ON audit (actor, acted_at, number);
CREATE INDEX IF NOT EXISTS audit_by_actor_and_action ON audit (actor, action, acted_at, number);
CREATE INDEX IF NOT EXISTS blob_metadata_by_age ON blob_metadata (created_at);

CREATE TABLE IF NOT EXISTS daily_total (
    day      BIGINT PRIMARY KEY,
    uploads  BIGINT NOT NULL,
    bytes    BIGINT NOT NULL,
    refusals BIGINT NOT NULL
);

INSERT INTO record_usage (did, bytes)
SELECT did, SUM(bytes)
  FROM (SELECT did, OCTET_LENGTH(value) + 7 + LENGTH(did) + LENGTH(collection) + LENGTH(rkey) AS bytes
          FROM record
         UNION ALL
        SELECT did, LENGTH(record_uri) + LENGTH(cid) AS bytes
          FROM record_blob) AS found
 WHERE NOT EXISTS (SELECT 1 FROM record_usage)
 GROUP BY did
    ON CONFLICT (did) DO NOTHING;
