-- The message box on SQLite, schema 1.

-- schema: this version. parts: into how many parts an owned group divides its keys.
-- routing: the epoch of the group table; whoever adds or removes a group raises it.
CREATE TABLE pabal_meta (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO pabal_meta (name, value) VALUES ('schema', 1), ('parts', 64), ('routing', 1);

-- A name that begins with ~ is a listener's private group: it goes with its member.
CREATE TABLE pabal_group (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL,
    name TEXT NOT NULL,
    taking TEXT NOT NULL CHECK (taking IN ('shared', 'owned')),
    on_dead TEXT NOT NULL DEFAULT 'park' CHECK (on_dead IN ('park', 'continue')),
    UNIQUE (source, name)
);

-- One row for each process that reads: the only heartbeat that is written.
CREATE TABLE pabal_member (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    alive_until REAL NOT NULL
);

-- Who reads what; a group without a row here has no living member.
CREATE TABLE pabal_listening (
    grp INTEGER NOT NULL,
    member INTEGER NOT NULL,
    PRIMARY KEY (grp, member)
) WITHOUT ROWID;

-- Which member owns which part of an owned group.
CREATE TABLE pabal_slot (
    grp INTEGER NOT NULL,
    part INTEGER NOT NULL,
    member INTEGER,
    epoch INTEGER NOT NULL DEFAULT 0,
    clean INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (grp, part)
) WITHOUT ROWID;

-- part >= 0: ready. part < 0, kept as -1 - part: waiting until due, and leased where it has a token.
-- Ids are never used again (AUTOINCREMENT), so that a stale delete can only miss.
CREATE TABLE pabal_message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    grp INTEGER NOT NULL,
    part INTEGER NOT NULL,
    due REAL,
    token INTEGER,
    attempt INTEGER NOT NULL,
    redrive INTEGER NOT NULL,
    key TEXT,
    channel TEXT NOT NULL,
    message_id TEXT NOT NULL,
    errors TEXT,
    headers BLOB NOT NULL,
    body BLOB NOT NULL
);
-- The group comes first: a large backlog of one group must not slow down the looking of another.
CREATE UNIQUE INDEX pabal_message_place ON pabal_message (grp, part, id);
CREATE INDEX pabal_message_due ON pabal_message (due) WHERE due IS NOT NULL;

-- source and name: the group that failed, as people know it; name is NULL for a listener.
-- seq: the id that the message had, its place in the group when it is sent again.
CREATE TABLE pabal_dead (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT,
    name TEXT,
    part INTEGER,
    seq INTEGER,
    redrive INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    reason TEXT NOT NULL,
    parked REAL NOT NULL,
    key TEXT,
    channel TEXT NOT NULL,
    message_id TEXT NOT NULL,
    errors TEXT,
    headers BLOB NOT NULL,
    body BLOB NOT NULL
);
