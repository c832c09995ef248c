-- The keys and values of workers. Times are microseconds since 1970. A seal is a digest of the columns before it; a value has a
-- digest of its own there, so that a key can be believed without reading its value. SQLite finds a damaged page, not a damaged text.

-- The form of this table never changes: an older Eyot reads it to say which one it has met.
CREATE TABLE migrations (
    number  INTEGER PRIMARY KEY,
    eyot    TEXT NOT NULL,
    applied INTEGER NOT NULL
) STRICT;

-- A worker and a name of its own: two columns, so that no name of one worker is a name of another.
CREATE TABLE namespaces (
    id     INTEGER PRIMARY KEY,
    worker TEXT NOT NULL,
    name   TEXT NOT NULL,
    UNIQUE (worker, name)
) STRICT;

CREATE TABLE entries (
    id        INTEGER PRIMARY KEY,
    namespace INTEGER NOT NULL REFERENCES namespaces (id),
    key       TEXT NOT NULL,
    metadata  TEXT,
    expires   INTEGER,
    revision  INTEGER NOT NULL,
    size      INTEGER NOT NULL,
    digest    BLOB NOT NULL,
    seal      BLOB NOT NULL,
    -- Last, so that nothing else is read by way of it.
    value     BLOB NOT NULL,
    UNIQUE (namespace, key)
) STRICT;
CREATE INDEX entries_by_expiry ON entries (expires) WHERE expires IS NOT NULL;

-- What the entries of a worker take, in bytes, expired ones that are still there included.
CREATE TABLE used (
    worker TEXT PRIMARY KEY,
    bytes  INTEGER NOT NULL CHECK (bytes >= 0)
) STRICT, WITHOUT ROWID;

-- The number of the last change. Each is used once, so that a key that was deleted and written again is never taken for what it was.
CREATE TABLE revisions (last INTEGER NOT NULL) STRICT;
INSERT INTO revisions VALUES (0);
