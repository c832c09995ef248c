-- When schedules are due, and what their runs came to. Times are microseconds since 1970.

-- The form of this table never changes: an older Eyot reads it to say which one it has met.
CREATE TABLE migrations (
    number  INTEGER PRIMARY KEY,
    eyot    TEXT NOT NULL,
    applied INTEGER NOT NULL
) STRICT;

CREATE TABLE schedules (
    id     INTEGER PRIMARY KEY,
    worker TEXT NOT NULL,
    name   TEXT NOT NULL,
    -- By what `next` was reckoned: by another plan it is reckoned anew.
    plan   TEXT NOT NULL,
    -- NULL: it is not due any more.
    next   INTEGER,
    UNIQUE (worker, name)
) STRICT;

CREATE TABLE runs (
    id       INTEGER PRIMARY KEY,
    schedule INTEGER NOT NULL REFERENCES schedules (id),
    -- When it should have begun.
    due      INTEGER NOT NULL,
    -- NULL: somebody has asked for it, and it has not begun.
    began    INTEGER,
    -- NULL: it has not ended.
    ended    INTEGER,
    outcome  TEXT,
    reason   TEXT
) STRICT;
CREATE INDEX runs_by_schedule ON runs (schedule, id);
