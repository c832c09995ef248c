-- What should run, who changed it, and which changes are made only once. Times are microseconds since 1970. A seal is a digest of the
-- other columns of its row: SQLite finds a damaged page, not a damaged text.

-- The form of this table never changes: an older Eyot reads it to say which one it has met.
CREATE TABLE migrations (
    number  INTEGER PRIMARY KEY,
    eyot    TEXT NOT NULL,
    applied INTEGER NOT NULL
) STRICT;

CREATE TABLE workers (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE CHECK (name <> ''),
    created INTEGER NOT NULL,
    seal    BLOB NOT NULL
) STRICT;

-- Stays when its content goes, so that history can still name it and its number is never used again.
CREATE TABLE versions (
    id      TEXT NOT NULL PRIMARY KEY,
    worker  INTEGER NOT NULL REFERENCES workers (id),
    number  INTEGER NOT NULL CHECK (number > 0),
    created INTEGER NOT NULL,
    message TEXT NOT NULL,
    seal    BLOB NOT NULL,
    UNIQUE (worker, number)
) STRICT;

CREATE TABLE contents (
    version   TEXT NOT NULL PRIMARY KEY REFERENCES versions (id),
    component BLOB NOT NULL CHECK (length(component) = 32),
    manifest  TEXT NOT NULL,
    seal      BLOB NOT NULL
) STRICT;
CREATE INDEX contents_by_component ON contents (component);

-- One without shares says that its worker was removed.
CREATE TABLE deployments (
    number  INTEGER PRIMARY KEY,
    id      TEXT NOT NULL UNIQUE,
    worker  INTEGER NOT NULL REFERENCES workers (id),
    created INTEGER NOT NULL,
    who     TEXT NOT NULL,
    why     TEXT NOT NULL CHECK (why IN ('deploy', 'rollout', 'rollback', 'automatic rollback', 'remove')),
    note    TEXT NOT NULL,
    seal    BLOB NOT NULL
) STRICT;
CREATE INDEX deployments_by_worker ON deployments (worker, number);

CREATE TABLE shares (
    deployment INTEGER NOT NULL REFERENCES deployments (number),
    version    TEXT NOT NULL REFERENCES versions (id),
    weight     INTEGER NOT NULL CHECK (weight BETWEEN 1 AND 10000),
    PRIMARY KEY (deployment, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX shares_by_version ON shares (version);

CREATE TABLE idempotency_keys (
    who     TEXT NOT NULL,
    key     TEXT NOT NULL,
    request BLOB NOT NULL CHECK (length(request) = 32),
    answer  TEXT NOT NULL,
    expires INTEGER NOT NULL,
    seal    BLOB NOT NULL,
    PRIMARY KEY (who, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires);

CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    actor  TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    detail TEXT NOT NULL,
    seal   BLOB NOT NULL
) STRICT;

-- Values are encrypted under a key that is not here. One without a value was removed: its revision is remembered, so that the next value
-- has another one. A worker need not exist: its secrets are set before its first version is added.
CREATE TABLE secrets (
    worker     TEXT NOT NULL CHECK (worker <> ''),
    name       TEXT NOT NULL CHECK (name <> ''),
    revision   INTEGER NOT NULL CHECK (revision > 0),
    changed    INTEGER NOT NULL,
    key        BLOB CHECK (length(key) = 4),
    nonce      BLOB CHECK (length(nonce) = 12),
    ciphertext BLOB,
    seal       BLOB NOT NULL,
    PRIMARY KEY (worker, name),
    CHECK ((key IS NULL) = (ciphertext IS NULL) AND (nonce IS NULL) = (ciphertext IS NULL))
) STRICT;

-- What operators' tools show. Only the digest of a token is here. Globs are JSON.
CREATE TABLE tokens (
    id         TEXT NOT NULL PRIMARY KEY,
    hash       BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    name       TEXT NOT NULL,
    scope      TEXT NOT NULL CHECK (scope IN ('read', 'deploy', 'admin')),
    workers    TEXT NOT NULL,
    hosts      TEXT NOT NULL,
    hint       TEXT NOT NULL,
    created    INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires    INTEGER,
    revoked    INTEGER,
    seal       BLOB NOT NULL
) STRICT;

-- Where kept history begins. What lies before it, and nothing else of history, may be deleted. The audit's has no worker (0).
CREATE TABLE horizons (
    history TEXT NOT NULL CHECK (history IN ('audit', 'deployments')),
    worker  INTEGER NOT NULL,
    begins  INTEGER NOT NULL,
    seal    BLOB NOT NULL,
    PRIMARY KEY (history, worker)
) STRICT, WITHOUT ROWID;

-- What is history is only ever added to, whoever writes the statement, until it lies before its horizon.
CREATE TRIGGER workers_stay BEFORE UPDATE ON workers BEGIN SELECT raise(ABORT, 'workers are never changed'); END;
CREATE TRIGGER workers_remain BEFORE DELETE ON workers BEGIN SELECT raise(ABORT, 'workers are never deleted'); END;
CREATE TRIGGER versions_stay BEFORE UPDATE ON versions BEGIN SELECT raise(ABORT, 'versions are never changed'); END;
CREATE TRIGGER versions_remain BEFORE DELETE ON versions BEGIN SELECT raise(ABORT, 'versions are never deleted'); END;
CREATE TRIGGER contents_stay BEFORE UPDATE ON contents BEGIN SELECT raise(ABORT, 'contents are never changed'); END;
CREATE TRIGGER deployments_stay BEFORE UPDATE ON deployments BEGIN SELECT raise(ABORT, 'deployments are never changed'); END;
CREATE TRIGGER deployments_remain BEFORE DELETE ON deployments
    WHEN old.number >= coalesce((SELECT begins FROM horizons WHERE history = 'deployments' AND worker = old.worker), 0)
    BEGIN SELECT raise(ABORT, 'deployments are never deleted from their horizon on'); END;
CREATE TRIGGER shares_stay BEFORE UPDATE ON shares BEGIN SELECT raise(ABORT, 'shares are never changed'); END;
CREATE TRIGGER shares_remain BEFORE DELETE ON shares
    WHEN old.deployment >= coalesce((SELECT begins FROM horizons WHERE history = 'deployments'
        AND worker = (SELECT worker FROM deployments WHERE number = old.deployment)), 0)
    BEGIN SELECT raise(ABORT, 'shares are never deleted from their horizon on'); END;
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit BEGIN SELECT raise(ABORT, 'the audit is never changed'); END;
CREATE TRIGGER audit_remains BEFORE DELETE ON audit
    WHEN old.number >= coalesce((SELECT begins FROM horizons WHERE history = 'audit' AND worker = 0), 0)
    BEGIN SELECT raise(ABORT, 'the audit is never deleted from its horizon on'); END;
CREATE TRIGGER horizons_advance BEFORE UPDATE ON horizons
    WHEN new.begins < old.begins OR new.history <> old.history OR new.worker <> old.worker
    BEGIN SELECT raise(ABORT, 'horizons are never moved back'); END;
CREATE TRIGGER horizons_remain BEFORE DELETE ON horizons BEGIN SELECT raise(ABORT, 'horizons are never deleted'); END;
-- A token can only be revoked, once, and goes only when it holds no more.
CREATE TRIGGER tokens_stay BEFORE UPDATE OF id, hash, name, scope, workers, hosts, hint, created, created_by, expires ON tokens
    BEGIN SELECT raise(ABORT, 'tokens are never changed'); END;
CREATE TRIGGER tokens_stay_revoked BEFORE UPDATE OF revoked ON tokens WHEN old.revoked IS NOT NULL
    BEGIN SELECT raise(ABORT, 'a revocation is never changed'); END;
CREATE TRIGGER tokens_remain BEFORE DELETE ON tokens WHEN old.revoked IS NULL AND old.expires IS NULL
    BEGIN SELECT raise(ABORT, 'a token that holds is never deleted'); END;
