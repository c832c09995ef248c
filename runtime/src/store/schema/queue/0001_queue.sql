-- The messages of queues. Times are microseconds since 1970.

-- The form of this table never changes: an older Eyot reads it to say which one it has met.
CREATE TABLE migrations (
    number  INTEGER PRIMARY KEY,
    eyot    TEXT NOT NULL,
    applied INTEGER NOT NULL
) STRICT;

-- A worker and a name of its own; what is in it is counted here, so that a full queue is known without looking at it.
CREATE TABLE queues (
    id       INTEGER PRIMARY KEY,
    worker   TEXT NOT NULL,
    name     TEXT NOT NULL,
    paused   INTEGER NOT NULL DEFAULT 0,
    messages INTEGER NOT NULL DEFAULT 0 CHECK (messages >= 0),
    -- Of their bodies, and 256 for each.
    bytes    INTEGER NOT NULL DEFAULT 0 CHECK (bytes >= 0),
    UNIQUE (worker, name)
) STRICT;

-- There is one index: each costs a message as much as the message itself.
CREATE TABLE messages (
    id       INTEGER PRIMARY KEY,
    queue    INTEGER NOT NULL REFERENCES queues (id),
    -- From when on it may be delivered: later than now while it waits or is out.
    due      INTEGER NOT NULL,
    -- How often it was delivered.
    attempts INTEGER NOT NULL DEFAULT 0,
    -- Whose it is while it is out: another number with each delivery.
    lease    INTEGER,
    name     TEXT NOT NULL,
    sent     INTEGER NOT NULL,
    -- When it came into this queue.
    since    INTEGER NOT NULL,
    content_type TEXT,
    trace    TEXT,
    -- Why it is where it is: what its last delivery came to.
    reason   TEXT,
    digest   BLOB NOT NULL,
    body     BLOB NOT NULL
) STRICT;
CREATE INDEX messages_by_due ON messages (queue, due, id);

-- What was sent under a key is sent once, for as long as that is remembered.
CREATE TABLE keys (
    queue   INTEGER NOT NULL REFERENCES queues (id),
    key     TEXT NOT NULL,
    name    TEXT NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (queue, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_by_expiry ON keys (expires);

CREATE TABLE leases (last INTEGER NOT NULL) STRICT;
INSERT INTO leases VALUES (0);
