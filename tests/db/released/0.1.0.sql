-- A database of 0.1.0, as `sqlite3 aurora.sqlite3 .dump` writes it. The blobs are in test_released.py.
BEGIN TRANSACTION;
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
INSERT INTO "account" VALUES('did:web:alice.test','alice.test','alice@example.com','$argon2id$v=19$m=7168,t=5,p=1$sRuAmSrdRGp07i3tjwR44A$JDMyRa+JiUEDkEyvkTt9EVhnfMKBrpdVkU55hlclaGw',1795994743240613,NULL,NULL,NULL,'3n3ieifi6dw7c',NULL,NULL,3,67);
INSERT INTO "account" VALUES('did:web:bob.test','bob.test','bob@example.com','$argon2id$v=19$m=7168,t=5,p=1$rD8mclMveXwoIlP6EDm/mA$Oz8x+5ZoQ4+/2VI/a1fJzS1em0RktIlePQ29zICeRBc',1795994743333391,NULL,NULL,NULL,'3n3ieifkp6tap',NULL,NULL,2,55);
CREATE TABLE blob (
    cid         TEXT   PRIMARY KEY,
    size        BIGINT NOT NULL CHECK (size >= 0),
    created_at  BIGINT NOT NULL,
    stored_at   BIGINT,
    verified_at BIGINT
);
INSERT INTO "blob" VALUES('bafkreihny2doocboydkkrl7vmogkeo6kt7pm7n2vj6uyymqckbek7ew4ha',29,1795994743608567,1795994743608567,NULL);
INSERT INTO "blob" VALUES('bafkreidvunlee3rl674ficsg7istinhqe23b4jvqawrtsew56yuhmezesy',14,1795994743671116,1795994743671116,NULL);
INSERT INTO "blob" VALUES('bafkreiepf65c4bo534vxfqgsmc3qof3724xj33g2k347kdbk2xxhkm5idi',24,1795994743715297,1795994743715297,NULL);
INSERT INTO "blob" VALUES('bafkreihcoilsvlrqxb4m7n3bxaaf4nic2yzry5k5plw5t6tfhv2elmxtha',26,1795994743743079,1795994743743079,NULL);
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
INSERT INTO "blob_metadata" VALUES('did:web:alice.test','bafkreihny2doocboydkkrl7vmogkeo6kt7pm7n2vj6uyymqckbek7ew4ha','text/plain',29,NULL,NULL,NULL,1795994743608567,1795994743608567,NULL);
INSERT INTO "blob_metadata" VALUES('did:web:bob.test','bafkreihny2doocboydkkrl7vmogkeo6kt7pm7n2vj6uyymqckbek7ew4ha','text/plain',29,NULL,NULL,NULL,1795994743632346,1795994743632346,NULL);
INSERT INTO "blob_metadata" VALUES('did:web:alice.test','bafkreidvunlee3rl674ficsg7istinhqe23b4jvqawrtsew56yuhmezesy','text/plain',14,NULL,NULL,NULL,1795994743671116,1795994743671116,NULL);
INSERT INTO "blob_metadata" VALUES('did:web:alice.test','bafkreiepf65c4bo534vxfqgsmc3qof3724xj33g2k347kdbk2xxhkm5idi','text/plain',24,NULL,NULL,NULL,1795994743715297,1795994743715297,1795994743715297);
INSERT INTO "blob_metadata" VALUES('did:web:bob.test','bafkreihcoilsvlrqxb4m7n3bxaaf4nic2yzry5k5plw5t6tfhv2elmxtha','text/plain',26,NULL,NULL,NULL,1795994743743079,1795994743743079,NULL);
CREATE TABLE blob_start (
    cid   TEXT   PRIMARY KEY REFERENCES blob (cid) ON DELETE CASCADE,
    start BIGINT NOT NULL
);
CREATE TABLE deleted_account (
    did        TEXT   PRIMARY KEY,
    deleted_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
INSERT INTO "deleted_account" VALUES('did:web:carol.test',1795994744042256,1796001944042256);
CREATE TABLE derivative (
    name    TEXT   PRIMARY KEY,
    cid     TEXT   NOT NULL,
    size    BIGINT NOT NULL CHECK (size >= 0),
    failure TEXT,
    used_at BIGINT NOT NULL
);
CREATE TABLE identity (
    did        TEXT   PRIMARY KEY,
    document   TEXT,
    fetched_at BIGINT NOT NULL
);
CREATE TABLE job (
    name       TEXT   PRIMARY KEY,
    position   TEXT   NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE TABLE record (
    did        TEXT   NOT NULL REFERENCES account (did) ON DELETE CASCADE,
    collection TEXT   NOT NULL,
    rkey       TEXT   NOT NULL,
    cid        TEXT   NOT NULL,
    value      TEXT   NOT NULL,
    rev        TEXT   NOT NULL,
    PRIMARY KEY (did, collection, rkey)
);
INSERT INTO "record" VALUES('did:web:alice.test','com.example.file','shared','bafyreib3yio3sxv6drcb3n3paeq27wb222y3ih3ocuohtsmsdurrxbnfji','{"$type":"com.example.file","file":{"$type":"blob","ref":{"$link":"bafkreihny2doocboydkkrl7vmogkeo6kt7pm7n2vj6uyymqckbek7ew4ha"},"mimeType":"text/plain","size":29},"text":"éshared"}','3n3ieifgcnwoz');
INSERT INTO "record" VALUES('did:web:bob.test','com.example.file','shared','bafyreib3yio3sxv6drcb3n3paeq27wb222y3ih3ocuohtsmsdurrxbnfji','{"$type":"com.example.file","file":{"$type":"blob","ref":{"$link":"bafkreihny2doocboydkkrl7vmogkeo6kt7pm7n2vj6uyymqckbek7ew4ha"},"mimeType":"text/plain","size":29},"text":"éshared"}','3n3ieifgzxcu4');
INSERT INTO "record" VALUES('did:web:alice.test','com.example.file','one','bafyreid2kgdwmp346wn7k4oibtnnbzhs2va4hs43e6z3kw6w53zbw3eiim','{"$type":"com.example.file","file":{"$type":"blob","ref":{"$link":"bafkreidvunlee3rl674ficsg7istinhqe23b4jvqawrtsew56yuhmezesy"},"mimeType":"text/plain","size":14},"text":"éone"}','3n3ieifi6dw7c');
INSERT INTO "record" VALUES('did:web:bob.test','com.example.file','hidden','bafyreidbdetx72cyz7vzcdx446bs5cbfv6hpgk2kbubsnkxvh2au7su7ra','{"$type":"com.example.file","file":{"$type":"blob","ref":{"$link":"bafkreihcoilsvlrqxb4m7n3bxaaf4nic2yzry5k5plw5t6tfhv2elmxtha"},"mimeType":"text/plain","size":26},"text":"éhidden"}','3n3ieifkp6tap');
CREATE TABLE record_blob (
    did        TEXT   NOT NULL REFERENCES account (did) ON DELETE CASCADE,
    record_uri TEXT   NOT NULL,
    cid        TEXT   NOT NULL,
    rev        TEXT   NOT NULL,
    mime_type  TEXT,
    size       BIGINT,
    PRIMARY KEY (did, record_uri, cid)
);
INSERT INTO "record_blob" VALUES('did:web:alice.test','at://did:web:alice.test/com.example.file/shared','bafkreihny2doocboydkkrl7vmogkeo6kt7pm7n2vj6uyymqckbek7ew4ha','3n3ieifgcnwoz','text/plain',29);
INSERT INTO "record_blob" VALUES('did:web:bob.test','at://did:web:bob.test/com.example.file/shared','bafkreihny2doocboydkkrl7vmogkeo6kt7pm7n2vj6uyymqckbek7ew4ha','3n3ieifgzxcu4','text/plain',29);
INSERT INTO "record_blob" VALUES('did:web:alice.test','at://did:web:alice.test/com.example.file/one','bafkreidvunlee3rl674ficsg7istinhqe23b4jvqawrtsew56yuhmezesy','3n3ieifi6dw7c','text/plain',14);
INSERT INTO "record_blob" VALUES('did:web:bob.test','at://did:web:bob.test/com.example.file/hidden','bafkreihcoilsvlrqxb4m7n3bxaaf4nic2yzry5k5plw5t6tfhv2elmxtha','3n3ieifkp6tap','text/plain',26);
CREATE TABLE schema_version (
    version BIGINT NOT NULL
);
INSERT INTO "schema_version" VALUES(1);
CREATE TABLE seen_token (
    issuer     TEXT   NOT NULL,
    jti        TEXT   NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (issuer, jti)
);
CREATE TABLE session (
    id          TEXT   PRIMARY KEY,
    did         TEXT   NOT NULL REFERENCES account (did) ON DELETE CASCADE,
    refresh_jti TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL
);
INSERT INTO "session" VALUES('sO5_FtzTBQ1UOv7E8jwyuQ','did:web:alice.test','B4KLqcLqqfVJLOYHlv6t7cRgErR5vDWvn7W-kn6XVaI',1795994743242128,1803770743242128);
INSERT INTO "session" VALUES('NZ-S1ROffC8q5EobWZLyAQ','did:web:bob.test','ElfrCKiLT5YCSu3rManIxcVcFUs6vnAYUR7Cvxp_X28',1795994743338513,1803770743338513);
CREATE TABLE takedown (
    cid        TEXT   NOT NULL,
    did        TEXT   NOT NULL,
    ref        TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (cid, did)
);
INSERT INTO "takedown" VALUES('bafkreihcoilsvlrqxb4m7n3bxaaf4nic2yzry5k5plw5t6tfhv2elmxtha','did:web:bob.test','ticket 7',1795994743764351);
CREATE TABLE total (
    name  TEXT   PRIMARY KEY,
    bytes BIGINT NOT NULL
);
INSERT INTO "total" VALUES('derivative',0);
CREATE TABLE usage_counter (
    name       TEXT   NOT NULL,
    subject    TEXT   NOT NULL,
    window_end BIGINT NOT NULL,
    used       BIGINT NOT NULL,
    PRIMARY KEY (name, subject)
);
CREATE INDEX deleted_account_by_expiry ON deleted_account (expires_at);
CREATE INDEX blob_not_stored ON blob (created_at) WHERE stored_at IS NULL;
CREATE INDEX blob_start_by_start ON blob_start (start);
CREATE INDEX blob_metadata_by_cid ON blob_metadata (cid);
CREATE INDEX blob_metadata_temporary ON blob_metadata (unreferenced_since, creator_did, cid)
    WHERE unreferenced_since IS NOT NULL;
CREATE INDEX blob_metadata_temporary_of_account ON blob_metadata (creator_did, size)
    WHERE unreferenced_since IS NOT NULL;
CREATE INDEX record_blob_by_cid ON record_blob (did, cid, rev, record_uri);
CREATE INDEX session_by_did ON session (did);
CREATE INDEX session_by_expiry ON session (expires_at);
CREATE INDEX seen_token_by_expiry ON seen_token (expires_at);
CREATE INDEX identity_by_age ON identity (fetched_at);
CREATE INDEX usage_counter_by_end ON usage_counter (window_end);
CREATE INDEX derivative_kept ON derivative (used_at, name) WHERE failure IS NULL;
CREATE INDEX derivative_failed ON derivative (used_at) WHERE failure IS NOT NULL;
CREATE INDEX derivative_by_cid ON derivative (cid);
COMMIT;
