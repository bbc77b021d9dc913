-- The message box on SQLite, schema 1.

-- schema: this version. parts: into how many parts an owned group divides its keys; 64 at most.
-- routing: the epoch of the group table; whoever adds or removes a group, or changes how it is taken, raises it.
-- members: the epoch of membership in owned groups; raised when a member comes, goes, or gives up a part.
-- stirred: raised when a row of an owned group became ready that is not a new one.
CREATE TABLE pabal_meta (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO pabal_meta (name, value) VALUES ('schema', 1), ('parts', 64), ('routing', 1), ('members', 1), ('stirred', 1);

-- A name that begins with ~ is a listener's private group: it goes with its member.
-- taking: shared, any member takes any message; owned, a member reads the parts that it owns, and marks nothing.
CREATE TABLE pabal_group (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL,
    name TEXT NOT NULL,
    taking TEXT NOT NULL CHECK (taking IN ('shared', 'owned')),
    on_dead TEXT NOT NULL DEFAULT 'park' CHECK (on_dead IN ('park', 'continue')),
    UNIQUE (source, name)
);

-- One row for each process that reads, and one for each of its readers of owned groups: the only heartbeats.
CREATE TABLE pabal_member (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    alive_until REAL NOT NULL
);

-- Who reads what; a group without a row here has no living member. takes: whether its window is more than 0.
CREATE TABLE pabal_listening (
    grp INTEGER NOT NULL,
    member INTEGER NOT NULL,
    takes INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (grp, member)
) WITHOUT ROWID;

-- Which member owns which part of an owned group. Who claims one raises its epoch.
-- clean: 0 while what was in hand when an owner died is not settled.
CREATE TABLE pabal_slot (
    grp INTEGER NOT NULL,
    part INTEGER NOT NULL,
    member INTEGER,
    epoch INTEGER NOT NULL DEFAULT 0,
    clean INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (grp, part)
) WITHOUT ROWID;

-- place 0: ready, in the order of publishing, or leased by a take. Above 0, 1 + part: ready again; these are few.
-- Below 0, -1 - place: waiting to come to that place; until due, and leased where it has a token; without due behind
-- another message of its key. part: of an owned group, that of the key.
-- Ids are never used again (AUTOINCREMENT), so that a stale delete can only miss; a new row always has a higher one.
CREATE TABLE pabal_message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    grp INTEGER NOT NULL,
    part INTEGER NOT NULL DEFAULT 0,
    place INTEGER NOT NULL,
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
-- The group comes first: a large backlog of one group must not slow down the looking of another. The part is in it
-- so that an owner passes by what others own without a look at the rows.
CREATE INDEX pabal_message_place ON pabal_message (grp, place, id, part);
CREATE INDEX pabal_message_due ON pabal_message (due) WHERE due IS NOT NULL;
-- What a member of a shared group has taken at once: what is left at place 0 from first to last is leased until due.
-- Above the highest last of a group all of place 0 is ready.
CREATE TABLE pabal_take (
    grp INTEGER NOT NULL,
    last INTEGER NOT NULL,
    first INTEGER NOT NULL,
    due REAL NOT NULL,
    PRIMARY KEY (grp, last)
) WITHOUT ROWID;
CREATE INDEX pabal_take_due ON pabal_take (due);
-- What holds up a key: its message that waits for a retry, and those that stand behind it. (-place > 0 is place < 0,
-- but never tempts SQLite to search by it instead of by the place that is asked for.)
CREATE INDEX pabal_message_holding ON pabal_message (grp, place, key)
    WHERE -place > 0 AND token IS NULL AND key IS NOT NULL AND (due IS NULL OR attempt > 0);

-- source and name: the group that failed, as people know it; name is NULL for a listener.
-- seq: the id that the message had, its place in the group when it is sent again.
-- holds: the owned group in which it holds up its key; NULL: none.
-- cause: what the last attempt failed of; empty where no exception is known.
CREATE TABLE pabal_dead (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT,
    name TEXT,
    seq INTEGER,
    holds INTEGER,
    redrive INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    reason TEXT NOT NULL,
    parked REAL NOT NULL,
    cause TEXT NOT NULL GENERATED ALWAYS AS
        (CASE WHEN json_valid(errors) THEN coalesce(json_extract(errors, '$[#-1].cause'), '') ELSE '' END) STORED,
    key TEXT,
    channel TEXT NOT NULL,
    message_id TEXT NOT NULL,
    errors TEXT,
    edits TEXT,
    headers BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX pabal_dead_holding ON pabal_dead (holds, key) WHERE holds IS NOT NULL;
CREATE INDEX pabal_dead_message ON pabal_dead (message_id);

-- Letters that were redriven, under their own ids, to be read for a while; the newest 10,000 stay.
-- sent: the ids of the messages that were made of it, as JSON; empty when another transport sent it.
CREATE TABLE pabal_redriven (
    id INTEGER PRIMARY KEY,
    source TEXT,
    name TEXT,
    redrive INTEGER NOT NULL,
    reason TEXT NOT NULL,
    parked REAL NOT NULL,
    cause TEXT NOT NULL GENERATED ALWAYS AS
        (CASE WHEN json_valid(errors) THEN coalesce(json_extract(errors, '$[#-1].cause'), '') ELSE '' END) STORED,
    redriven REAL NOT NULL,
    sent TEXT NOT NULL,
    channel TEXT NOT NULL,
    message_id TEXT NOT NULL,
    errors TEXT,
    edits TEXT,
    headers BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX pabal_redriven_message ON pabal_redriven (message_id);
CREATE INDEX pabal_redriven_age ON pabal_redriven (redriven, id);
