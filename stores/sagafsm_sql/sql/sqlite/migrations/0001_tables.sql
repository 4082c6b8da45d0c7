-- One row per saga, as it is after its newest event.
CREATE TABLE sagas (
    id             TEXT    NOT NULL PRIMARY KEY,
    type           TEXT    NOT NULL,
    kind           TEXT    NOT NULL,
    state          TEXT    NOT NULL,
    outcome        TEXT,
    stuck          INTEGER NOT NULL,
    suspended      INTEGER NOT NULL,
    version        INTEGER NOT NULL,
    fence          INTEGER NOT NULL,
    owner          TEXT,
    due_at         REAL,
    attention      INTEGER NOT NULL,
    correlation_id TEXT    NOT NULL,
    parent_id      TEXT,
    digest         TEXT    NOT NULL,
    created_at     REAL    NOT NULL,
    updated_at     REAL    NOT NULL,
    finished_at    REAL,
    problem        TEXT
);

-- Has a rowid on purpose: new events land side by side at the end of the table, whichever sagas they belong to, so that
-- one commit of many sagas writes few pages.
CREATE TABLE saga_events (
    saga_id   TEXT    NOT NULL REFERENCES sagas (id) ON DELETE CASCADE,
    seq       INTEGER NOT NULL,
    type      TEXT    NOT NULL,
    at        REAL    NOT NULL,
    data      TEXT    NOT NULL,
    append_id TEXT    NOT NULL,
    PRIMARY KEY (saga_id, seq)
);

CREATE TABLE saga_snapshots (
    saga_id TEXT    NOT NULL PRIMARY KEY REFERENCES sagas (id) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    data    TEXT    NOT NULL
) WITHOUT ROWID;

CREATE TABLE saga_tags (
    saga_id TEXT NOT NULL REFERENCES sagas (id) ON DELETE CASCADE,
    key     TEXT NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (saga_id, key)
) WITHOUT ROWID;

CREATE TABLE saga_definitions (
    kind  TEXT NOT NULL PRIMARY KEY,
    shape TEXT NOT NULL
);

-- A worker owns the sagas that name it for as long as its row says so.
CREATE TABLE saga_workers (
    id    TEXT NOT NULL PRIMARY KEY,
    until REAL NOT NULL
);

-- Claims ask per owner and kind for what is due: sagas in flight, asleep or finished are never passed over.
CREATE INDEX sagas_due ON sagas (owner, kind, due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX sagas_attention ON sagas (owner) WHERE attention;
CREATE INDEX sagas_created ON sagas (created_at, id);
-- Most sagas have no correlation id but their own id, which is indexed already.
CREATE INDEX sagas_correlation ON sagas (correlation_id) WHERE correlation_id <> id;
CREATE INDEX sagas_parent ON sagas (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX sagas_finished ON sagas (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX sagas_live ON sagas (created_at, id, state) WHERE state NOT IN ('completed', 'failed');
CREATE INDEX sagas_stuck ON sagas (created_at, id) WHERE stuck = 1;
CREATE INDEX sagas_suspended ON sagas (created_at, id) WHERE suspended = 1;
CREATE INDEX sagas_failed ON sagas (created_at, id) WHERE state = 'failed';
CREATE INDEX saga_tags_value ON saga_tags (key, value, saga_id);
