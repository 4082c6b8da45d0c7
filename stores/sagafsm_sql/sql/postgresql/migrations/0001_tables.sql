-- {schema} stands for the schema that the URL names. Ids are compared byte by byte, as every other store does.

-- One row per saga, as it is after its newest event. Half of each page is left free, so that an append that touches no
-- indexed column finds room on the same page and writes no index.
CREATE TABLE {schema}.sagas (
    id             text COLLATE "C" NOT NULL PRIMARY KEY,
    type           text             NOT NULL,
    kind           text COLLATE "C" NOT NULL,
    state          text             NOT NULL,
    outcome        text,
    stuck          boolean          NOT NULL,
    suspended      boolean          NOT NULL,
    version        bigint           NOT NULL,
    fence          bigint           NOT NULL,
    owner          text COLLATE "C",
    due_at         double precision,
    attention      boolean          NOT NULL,
    correlation_id text             NOT NULL,
    parent_id      text,
    digest         text             NOT NULL,
    created_at     double precision NOT NULL,
    updated_at     double precision NOT NULL,
    finished_at    double precision,
    problem        text,
    was            text             NOT NULL  -- state and flags before the last change: see saga_commit
) WITH (fillfactor = 50);

-- What happened, in rows of up to two events: an append hardly ever has more, and each row costs as much as its events.
-- No foreign key: checking it would lock the saga's row once more for each event. The view saga_events shows one by one.
CREATE TABLE {schema}.saga_log (
    saga_id   text COLLATE "C" NOT NULL,
    seq       bigint           NOT NULL,  -- of the first event; the second one's is one more
    append_id text             NOT NULL,
    type      text             NOT NULL,
    at        double precision NOT NULL,
    data      text             NOT NULL,
    type2     text,
    at2       double precision,
    data2     text,
    PRIMARY KEY (saga_id, seq)
);

CREATE VIEW {schema}.saga_events AS
SELECT l.saga_id, l.seq + e.nth AS seq, e.type, e.at, e.data, l.append_id
  FROM {schema}.saga_log l
 CROSS JOIN LATERAL (VALUES (0, l.type, l.at, l.data), (1, l.type2, l.at2, l.data2)) e (nth, type, at, data)
 WHERE e.type IS NOT NULL;

CREATE TABLE {schema}.saga_snapshots (
    saga_id text COLLATE "C" NOT NULL PRIMARY KEY,
    version bigint           NOT NULL,
    data    text             NOT NULL
);

-- With the creation time of the saga, so that a page of what bears a tag is read off the index in its order.
CREATE TABLE {schema}.saga_tags (
    saga_id    text COLLATE "C" NOT NULL,
    key        text             NOT NULL,
    value      text             NOT NULL,
    created_at double precision NOT NULL,
    PRIMARY KEY (saga_id, key)
);

CREATE TABLE {schema}.saga_definitions (
    kind  text COLLATE "C" NOT NULL PRIMARY KEY,
    shape text             NOT NULL
);

-- A worker owns the sagas that name it for as long as its row says so.
CREATE TABLE {schema}.saga_workers (
    id    text COLLATE "C" NOT NULL PRIMARY KEY,
    until double precision NOT NULL
) WITH (fillfactor = 50);

-- Ids of sagas that are gone, and until when they must not be used again.
CREATE TABLE {schema}.saga_purged (
    id     text COLLATE "C" NOT NULL PRIMARY KEY,
    digest text             NOT NULL,
    until  double precision NOT NULL
);

-- Permits under limits that all workers share. Whoever decides about a name holds its row until it is decided.
CREATE TABLE {schema}.saga_limits (
    name         text COLLATE "C" NOT NULL PRIMARY KEY,
    filled_until double precision,
    used_at      double precision NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE {schema}.saga_permits (
    name      text COLLATE "C" NOT NULL,
    token     text COLLATE "C" NOT NULL,
    worker_id text COLLATE "C" NOT NULL REFERENCES {schema}.saga_workers (id) ON DELETE CASCADE,
    PRIMARY KEY (name, token)
);

-- Raised by whoever tells the others of changes, so that one who did not listen just then sees it too.
CREATE SEQUENCE {schema}.saga_changes AS bigint;

-- Claims ask per owner and kind for what is due: sagas in flight, asleep or finished are never passed over.
CREATE INDEX sagas_due ON {schema}.sagas (owner, kind, due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX sagas_attention ON {schema}.sagas (owner) WHERE attention;
CREATE INDEX sagas_created ON {schema}.sagas (created_at, id);
-- Most sagas have no correlation id but their own id, which is indexed already.
CREATE INDEX sagas_correlation ON {schema}.sagas (correlation_id) WHERE correlation_id <> id;
CREATE INDEX sagas_parent ON {schema}.sagas (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX sagas_finished ON {schema}.sagas (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX sagas_live ON {schema}.sagas (created_at, id) WHERE state NOT IN ('completed', 'failed');
CREATE INDEX sagas_stuck ON {schema}.sagas (created_at, id) WHERE stuck;
CREATE INDEX sagas_suspended ON {schema}.sagas (created_at, id) WHERE suspended;
CREATE INDEX sagas_failed ON {schema}.sagas (created_at, id) WHERE state = 'failed';
CREATE INDEX saga_tags_value ON {schema}.saga_tags (key, value, created_at, saga_id);
CREATE INDEX saga_purged_until ON {schema}.saga_purged (until);
CREATE INDEX saga_permits_worker ON {schema}.saga_permits (worker_id, token);
CREATE INDEX saga_limits_used ON {schema}.saga_limits (used_at);
