-- The whole database, in the SQL that SQLite and PostgreSQL share.
-- Times are microseconds since the epoch, UTC. Sizes are bytes.
-- A new database is made of it. The steps in aurora_blobs/db/steps/ lead older ones to it.

CREATE TABLE schema_version (
    version BIGINT NOT NULL
);

-- One row per account that may own blobs.
-- handle, email and password_hash are NULL for an account that a PDS keeps.
-- rev is the newest revision (TID) of its records, NULL before the first.
-- deactivated_at and takedown_at are NULL while the account is not in that state.
-- quota_bytes and uploads_per_day are NULL where the service's default holds; 0 is no limit.
-- blob_count and blob_bytes sum up its blob_metadata rows, in the transaction that changes them.
CREATE TABLE account (
    did             TEXT   PRIMARY KEY,
    handle          TEXT   UNIQUE,
    email           TEXT   UNIQUE,
    password_hash   TEXT,
    created_at      BIGINT NOT NULL,
    deactivated_at  BIGINT,
    takedown_at     BIGINT,
    takedown_ref    TEXT,
    rev             TEXT,
    quota_bytes     BIGINT,
    uploads_per_day BIGINT,
    blob_count      BIGINT NOT NULL DEFAULT 0 CHECK (blob_count >= 0),
    blob_bytes      BIGINT NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0)
);
CREATE INDEX account_taken_down ON account (did) WHERE takedown_at IS NOT NULL;

-- One row per deleted account, until expires_at. By then every token of the account has expired.
-- Such a token neither belongs to a new account of the same DID nor creates one.
CREATE TABLE deleted_account (
    did        TEXT   PRIMARY KEY,
    deleted_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX deleted_account_by_expiry ON deleted_account (expires_at);

-- One row per account whose deletion is under way. The account is gone for everybody; its rows go
-- in steps, this one and that in account last.
CREATE TABLE account_deletion (
    did        TEXT   PRIMARY KEY REFERENCES account (did) ON DELETE CASCADE,
    started_at BIGINT NOT NULL
);

-- One row per account that moves in or has done so: a repository was imported while it was
-- deactivated, or by the administrator. While is_open is 1, uploads for which its records wait are
-- in no limit, as many as its largest repository named blobs: used of allowed. The next activation
-- ends that, and there is no second time.
CREATE TABLE migration (
    did     TEXT   PRIMARY KEY REFERENCES account (did) ON DELETE CASCADE,
    allowed BIGINT NOT NULL,
    used    BIGINT NOT NULL,
    is_open BIGINT NOT NULL
);

-- One row per distinct content.
-- created_at and number, with cid, tell this row from one that was collected and made again.
-- stored_at is NULL while the backend lacks the bytes: an upload is under way, or they are lost.
-- verified_at is when the bytes were last read and hashed, NULL if never since they were stored.
-- The bytes lie under <cid>, or under <cid>.<number> if number is not 0. No removal has that name.
CREATE TABLE blob (
    cid         TEXT   PRIMARY KEY,
    size        BIGINT NOT NULL CHECK (size >= 0),
    created_at  BIGINT NOT NULL,
    stored_at   BIGINT,
    verified_at BIGINT,
    number      BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX blob_not_stored ON blob (created_at) WHERE stored_at IS NULL;

-- One row per removal of bytes that has begun: of those under <cid>, or <cid>.<number>.
-- Whoever began it deletes the row when it has ended. swept_at is NULL unless somebody else has
-- removed the bytes: its own removal may still come, so nothing is stored under the name.
CREATE TABLE removal (
    id       BIGINT PRIMARY KEY,
    cid      TEXT   NOT NULL,
    number   BIGINT NOT NULL,
    began_at BIGINT NOT NULL,
    swept_at BIGINT
);
CREATE INDEX removal_by_cid ON removal (cid);
CREATE INDEX removal_not_swept ON removal (id) WHERE swept_at IS NULL;

-- One row per store that is this database's: kind is disk or s3.
-- mark is the id that the mark in the store has. marked_at is NULL until it was seen there, and
-- again when the settings no longer name the store.
CREATE TABLE store (
    kind      TEXT   PRIMARY KEY,
    mark      TEXT   NOT NULL,
    marked_at BIGINT
);

-- One row per blob of 8 MiB and more. start is a hash of its size and first 8 KiB.
-- An upload with another start is known to be new while it still arrives.
CREATE TABLE blob_start (
    cid   TEXT   PRIMARY KEY REFERENCES blob (cid) ON DELETE CASCADE,
    start BIGINT NOT NULL
);
CREATE INDEX blob_start_by_start ON blob_start (start);

-- One row per account and blob that it owns.
-- unreferenced_since is NULL while a record of the account references the blob: it is public.
-- Otherwise it is when the blob became temporary or was last uploaded again.
-- width and height (pixels, as shown) and duration_ms are NULL if they do not apply or are unknown.
-- probed_at is when the header was read for them, NULL if never.
-- blob_metadata_by_age is for the newest ones of the console. An upload writes 11.7 pages of 4 KiB with
-- it and 10.6 without; without it, the newest 48 of 300,000 take 110 ms in place of 0.2 (SQLite, measured).
CREATE TABLE blob_metadata (
    creator_did        TEXT   NOT NULL REFERENCES account (did) ON DELETE CASCADE,
    cid                TEXT   NOT NULL REFERENCES blob (cid),
    mime_type          TEXT   NOT NULL,
    size               BIGINT NOT NULL CHECK (size >= 0),
    width              BIGINT,
    height             BIGINT,
    duration_ms        BIGINT,
    probed_at          BIGINT,
    created_at         BIGINT NOT NULL,
    unreferenced_since BIGINT,
    PRIMARY KEY (creator_did, cid)
);
CREATE INDEX blob_metadata_by_cid ON blob_metadata (cid);
CREATE INDEX blob_metadata_by_age ON blob_metadata (created_at);
CREATE INDEX blob_metadata_temporary ON blob_metadata (unreferenced_since, creator_did, cid, size)
    WHERE unreferenced_since IS NOT NULL;
CREATE INDEX blob_metadata_temporary_of_account ON blob_metadata (creator_did, size)
    WHERE unreferenced_since IS NOT NULL;

-- One row per text that an account declared to be in another charset than UTF-8.
CREATE TABLE blob_charset (
    did     TEXT NOT NULL,
    cid     TEXT NOT NULL,
    charset TEXT NOT NULL,
    PRIMARY KEY (did, cid),
    FOREIGN KEY (did, cid) REFERENCES blob_metadata (creator_did, cid) ON DELETE CASCADE
);

-- One row per object of the object API that no record names yet: an upload of a PDS. name is what the
-- PDS calls it, until expires_at. The blob is the account's own, and temporary until it is promoted.
CREATE TABLE staged_object (
    did        TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    cid        TEXT   NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (did, name),
    FOREIGN KEY (did, cid) REFERENCES blob_metadata (creator_did, cid) ON DELETE CASCADE
);
CREATE INDEX staged_object_by_blob ON staged_object (did, cid);
CREATE INDEX staged_object_by_expiry ON staged_object (expires_at);

-- One row per record of an account: an index of what the PDS keeps, not a signed repository.
-- value is JSON.
CREATE TABLE record (
    did        TEXT   NOT NULL REFERENCES account (did) ON DELETE CASCADE,
    collection TEXT   NOT NULL,
    rkey       TEXT   NOT NULL,
    cid        TEXT   NOT NULL,
    value      TEXT   NOT NULL,
    rev        TEXT   NOT NULL,
    PRIMARY KEY (did, collection, rkey)
);

-- One row per record and blob that it references.
-- The blob may be missing: an import names blobs that were never uploaded.
-- Of an account whose PDS has listed its blobs, record_uri is at://<did>: the list names no records.
-- mime_type and size are those in the reference, NULL if it is of the legacy form and has none.
CREATE TABLE record_blob (
    did        TEXT   NOT NULL REFERENCES account (did) ON DELETE CASCADE,
    record_uri TEXT   NOT NULL,
    cid        TEXT   NOT NULL,
    rev        TEXT   NOT NULL,
    mime_type  TEXT,
    size       BIGINT,
    PRIMARY KEY (did, record_uri, cid)
);
CREATE INDEX record_blob_by_cid ON record_blob (did, cid, rev, record_uri);

-- One row per account that has or had records.
-- bytes sums up its rows of record and record_blob, in the transactions that change them: of a record
-- the bytes of value and of its URI, of a reference those of record_uri and cid.
CREATE TABLE record_usage (
    did   TEXT   PRIMARY KEY REFERENCES account (did) ON DELETE CASCADE,
    bytes BIGINT NOT NULL
);

-- One row per blob that must not be served, stored or referenced.
-- did is '' where that holds for every account.
-- The row outlives the blob, its records and the account, and may precede them.
CREATE TABLE takedown (
    cid        TEXT   NOT NULL,
    did        TEXT   NOT NULL,
    ref        TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (cid, did)
);

-- One row per hidden blob that has more owners than one transaction hides: links for nginx may be
-- left. position is the DID of the last owner that was done, in their order.
CREATE TABLE hiding (
    cid      TEXT PRIMARY KEY,
    position TEXT NOT NULL
);

-- One row per account that was deleted while it was taken down. Whoever comes under its DID later is taken down too,
-- until an admin lifts it.
CREATE TABLE taken_down_account (
    did        TEXT   PRIMARY KEY,
    ref        TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);

-- One row per log-in. refresh_jti is the jti of the only refresh token that is valid.
CREATE TABLE session (
    id          TEXT   PRIMARY KEY,
    did         TEXT   NOT NULL REFERENCES account (did) ON DELETE CASCADE,
    refresh_jti TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL
);
CREATE INDEX session_by_did ON session (did);
CREATE INDEX session_by_expiry ON session (expires_at);

-- One row per invite code. uses_left is how many accounts can still be made with it.
-- for_account is the DID that it was made for, NULL if for nobody in particular. It may give the code away, and need not
-- be of an account here.
-- ends_at is when the code expires, NULL if it does not. The last use sets it to the time of that use.
CREATE TABLE invite_code (
    code        TEXT   PRIMARY KEY,
    for_account TEXT,
    uses        BIGINT NOT NULL,
    uses_left   BIGINT NOT NULL CHECK (uses_left >= 0),
    created_at  BIGINT NOT NULL,
    ends_at     BIGINT
);
CREATE INDEX invite_code_by_age ON invite_code (created_at, code);
CREATE INDEX invite_code_by_end ON invite_code (ends_at);

-- One row per one-time token that was used, until the token expires. issuer is who chose the jti.
CREATE TABLE seen_token (
    issuer     TEXT   NOT NULL,
    jti        TEXT   NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (issuer, jti)
);
CREATE INDEX seen_token_by_expiry ON seen_token (expires_at);

-- One row per DID whose document was fetched. document is JSON, NULL if it could not be had.
CREATE TABLE identity (
    did        TEXT   PRIMARY KEY,
    document   TEXT,
    fetched_at BIGINT NOT NULL
);
CREATE INDEX identity_by_age ON identity (fetched_at);
CREATE INDEX identity_not_had ON identity (fetched_at) WHERE document IS NULL;

-- One row per counter of a rate limit: uploads per account and day, sign-ups per address.
-- used is the count in the window of time that ends at window_end.
CREATE TABLE usage_counter (
    name       TEXT   NOT NULL,
    subject    TEXT   NOT NULL,
    window_end BIGINT NOT NULL,
    used       BIGINT NOT NULL,
    PRIMARY KEY (name, subject)
);
CREATE INDEX usage_counter_by_end ON usage_counter (window_end);

-- One row per derived picture in the cache folder, or per blob of which none can be made.
-- name is the file below images/, size is that file's, checksum is the CRC-32 of name and file.
-- Of a failure, name is the blob's place without a preset, failure is the message, size is 0 and
-- checksum is NULL. It is NULL too of a file of 0.1.0, which begins with it.
-- Rows and files can be deleted at any time.
-- On PostgreSQL it is empty: each node has a SQLite file with its own rows.
CREATE TABLE derivative (
    name     TEXT   PRIMARY KEY,
    cid      TEXT   NOT NULL,
    size     BIGINT NOT NULL CHECK (size >= 0),
    failure  TEXT,
    used_at  BIGINT NOT NULL,
    checksum BIGINT
);
CREATE INDEX derivative_kept ON derivative (used_at, name) WHERE failure IS NULL;
CREATE INDEX derivative_failed ON derivative (used_at) WHERE failure IS NOT NULL;
CREATE INDEX derivative_by_cid ON derivative (cid);

-- One row per table whose sizes are summed up, in the transactions that change them: derivative.
CREATE TABLE total (
    name  TEXT   PRIMARY KEY,
    bytes BIGINT NOT NULL
);
INSERT INTO total (name, bytes) VALUES ('derivative', 0);

-- One row per job that can be resumed: scrub. position is the last CID that was done.
-- Where nodes share a job, one row per shard of it that is left: <job>/<shard>.
CREATE TABLE job (
    name       TEXT   PRIMARY KEY,
    position   TEXT   NOT NULL,
    updated_at BIGINT NOT NULL
);

-- One row per run of a job: gc, fsck, scrub, backup. Of each job the last ten are kept, and the last one that came to
-- its end. number counts the runs of a job.
-- ended_at is NULL while the run lasts, and for good if its process died. So are the counts.
-- failure says why an ended run did not come to its end, NULL if it did.
-- blobs and bytes are what it has read, or looked at, or removed, or copied. findings is how much was wrong, and
-- repaired how much of that is right by now. first_findings has the first hundred of them, as a JSON array of arrays:
-- kind, subject, detail, whether it is repaired. It is NULL where there are none.
CREATE TABLE job_run (
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

-- One row per PDS that is followed. host is its URL, as AURORA_BLOBS_FOLLOW has it.
-- cursor is the number of the last event that was handled, NULL where the stream begins with what
-- happens next. event_at is when the PDS sent that event, handled_at when it was handled here.
-- seen_at is when the stream was last known to work. listed_at is when all accounts of the PDS were
-- last compared with those here, NULL if that is due.
CREATE TABLE upstream_host (
    host       TEXT   PRIMARY KEY,
    cursor     BIGINT,
    event_at   BIGINT,
    handled_at BIGINT,
    seen_at    BIGINT,
    listed_at  BIGINT
);

-- One row per account that a followed PDS says to keep. It may precede the one in account, which is
-- made when the PDS has proven it.
-- status is why the account is not active there, in the words of the protocol or of
-- catalog/upstream.py, NULL if it is;
-- status_at is when that was learned. It says nothing of takedowns and deactivations here.
-- rev is the revision there whose records are here, tree the CID of its tree; both are NULL before
-- the first. due_at is when its repository is to be fetched, NULL while the records are those of
-- rev; tries have failed since they were, the last one by failure. In a mirror of the network, rev is
-- the revision as of which its PDS has listed its blobs, '' where it states none, and due_at is when
-- it is to list them again.
CREATE TABLE upstream_account (
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
CREATE INDEX upstream_account_due ON upstream_account (host, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX upstream_account_due_anywhere ON upstream_account (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX upstream_account_listed ON upstream_account (host, listed_at);
CREATE INDEX upstream_account_gone ON upstream_account (status, status_at) WHERE status IS NOT NULL;

-- One row per blob that a record of a followed account names and that is to be fetched, at due_at.
-- tries have failed, the last one by failure. In a mirror of the network, one row per blob that
-- somebody asked for and that was not to be had: it is not asked for again before due_at.
CREATE TABLE upstream_blob (
    did     TEXT   NOT NULL,
    cid     TEXT   NOT NULL,
    due_at  BIGINT NOT NULL,
    tries   BIGINT NOT NULL,
    failure TEXT,
    PRIMARY KEY (did, cid)
);
CREATE INDEX upstream_blob_due ON upstream_blob (due_at, did, cid);

-- One row per PDS that is followed: how far it was asked again for what is held of it. The round
-- began at began_at; asked blobs were asked for in it, the last one cid of did.
-- alarm is why nothing more of it is hidden or collected, NULL if all is well. What was refused up
-- to accepted_at raises none. due_at is when a mirror of the network goes on, NULL in another one.
CREATE TABLE upstream_round (
    host        TEXT   PRIMARY KEY,
    began_at    BIGINT NOT NULL,
    asked       BIGINT NOT NULL,
    did         TEXT   NOT NULL,
    cid         TEXT   NOT NULL,
    alarm       TEXT,
    accepted_at BIGINT NOT NULL,
    due_at      BIGINT
);
CREATE INDEX upstream_round_due ON upstream_round (due_at) WHERE due_at IS NOT NULL;

-- One row per blob that is held and that its PDS refuses: tries times, first at refused_at. It is
-- asked for again at due_at. hidden_at is since when it is hidden for it, NULL while it is served.
CREATE TABLE upstream_refusal (
    did        TEXT   NOT NULL,
    cid        TEXT   NOT NULL,
    refused_at BIGINT NOT NULL,
    due_at     BIGINT NOT NULL,
    tries      BIGINT NOT NULL,
    hidden_at  BIGINT,
    PRIMARY KEY (did, cid),
    FOREIGN KEY (did, cid) REFERENCES blob_metadata (creator_did, cid) ON DELETE CASCADE
);
CREATE INDEX upstream_refusal_due ON upstream_refusal (due_at, did, cid);

-- One row per blob that a mirror of the network has fetched or served. used_at is about when it was
-- last read.
CREATE TABLE upstream_read (
    did     TEXT   NOT NULL,
    cid     TEXT   NOT NULL,
    used_at BIGINT NOT NULL,
    PRIMARY KEY (did, cid),
    FOREIGN KEY (did, cid) REFERENCES blob_metadata (creator_did, cid) ON DELETE CASCADE
);
CREATE INDEX upstream_read_by_age ON upstream_read (used_at);

-- One row per act of the administrator, a moderator, an owner, a command or a PDS, in the transaction
-- that it is of. number is random.
-- actor is admin, a DID, user:NAME of the machine, pds or program. via is the method or command.
-- did and cid are whom and what it is about, each '' where that is nothing or every account.
-- reason is NULL if none was given. old_value is what the act has replaced, new_value what it has put
-- there: the reference of a takedown, a time, a limit, a place; NULL where there was or is nothing.
CREATE TABLE audit (
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
CREATE INDEX audit_by_did ON audit (did, acted_at, number);
CREATE INDEX audit_by_cid ON audit (cid, acted_at, number);
CREATE INDEX audit_by_action ON audit (action, acted_at, number);
CREATE INDEX audit_by_actor ON audit (actor, acted_at, number);
CREATE INDEX audit_by_actor_and_action ON audit (actor, action, acted_at, number);

-- One row per day on which clients uploaded, or tried. day is its beginning.
-- bytes are those of the uploads that were answered, refusals the uploads that were not taken.
CREATE TABLE daily_total (
    day      BIGINT PRIMARY KEY,
    uploads  BIGINT NOT NULL,
    bytes    BIGINT NOT NULL,
    refusals BIGINT NOT NULL
);

-- One row per blob that was hidden and of which caches are to be told at due_at; tries have begun.
-- An empty cid is every blob of the account.
CREATE TABLE purge (
    id     BIGINT PRIMARY KEY,
    did    TEXT   NOT NULL,
    cid    TEXT   NOT NULL,
    due_at BIGINT NOT NULL,
    tries  BIGINT NOT NULL
);
CREATE INDEX purge_due ON purge (due_at);

-- One row per lease: what one process at a time does, over all nodes that share the database.
-- holder begins with the node. expires_at is by the database's clock; after it anybody may take it.
CREATE TABLE lease (
    name       TEXT   PRIMARY KEY,
    holder     TEXT   NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX lease_by_expiry ON lease (expires_at);
