-- A batch of appends in one statement, which is a transaction of its own. The rows of a batch come as arrays of these
-- types; their columns are those of postgresql/batch.py. One round trip, one plan that does not depend on what the
-- planner believes, and next to nothing to encode.

CREATE TYPE {schema}.saga_append AS (
    id text, expected bigint, version bigint, fence bigint, append_id text, updated_at double precision,
    type text, at double precision, data text, type2 text, at2 double precision, data2 text,
    -- Null from here on: steady, nothing but the version changes.
    state text, outcome text, stuck boolean, suspended boolean, owner text, due_at double precision, attention boolean,
    finished_at double precision, problem text
);

CREATE TYPE {schema}.saga_birth AS (
    id text, version bigint, fence bigint, append_id text, updated_at double precision,
    type text, at double precision, data text, type2 text, at2 double precision, data2 text,
    state text, outcome text, stuck boolean, suspended boolean, owner text, due_at double precision, attention boolean,
    finished_at double precision, problem text,
    saga_type text, kind text, correlation_id text, parent_id text, digest text, created_at double precision
);

-- The third and fourth event of an append, and so on.
CREATE TYPE {schema}.saga_more AS (
    saga_id text, seq bigint, append_id text,
    type text, at double precision, data text, type2 text, at2 double precision, data2 text
);

CREATE TYPE {schema}.saga_tag AS (saga_id text, key text, value text, created_at double precision);

CREATE TYPE {schema}.saga_snapshot AS (saga_id text, version bigint, data text);

-- Null: all of it was accepted; else the ids of those that were. The rows are in the order of their ids, and are locked
-- in that order: updates first, then births. So no two batches wait for each other.
CREATE FUNCTION {schema}.saga_commit(
    updates {schema}.saga_append[], births {schema}.saga_birth[], more {schema}.saga_more[], tags {schema}.saga_tag[],
    snapshots {schema}.saga_snapshot[], durable boolean
) RETURNS text[] LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_indexscan = on SET enable_nestloop = on SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    updated  text[] := '{}';
    born     text[] := '{}';
    complete boolean;
BEGIN
    PERFORM {schema}.saga_be_durable(durable);

    IF updates IS NOT NULL THEN
        -- Under READ COMMITTED a blocked update looks at the new row again: the loser of a race changes nothing. Where
        -- no indexed column changes, no index is written, although all columns are set. `was` holds what the row
        -- was counted as before (PostgreSQL 18 could return the old row instead).
        WITH done AS (
            UPDATE {schema}.sagas s
               SET version = a.version, updated_at = a.updated_at,
                   was = CASE WHEN a.state IS NULL THEN s.was
                              ELSE {schema}.saga_flags(s.state, s.stuck, s.suspended) END,
                   state = CASE WHEN a.state IS NULL THEN s.state ELSE a.state END,
                   outcome = CASE WHEN a.state IS NULL THEN s.outcome ELSE a.outcome END,
                   stuck = CASE WHEN a.state IS NULL THEN s.stuck ELSE a.stuck END,
                   suspended = CASE WHEN a.state IS NULL THEN s.suspended ELSE a.suspended END,
                   owner = CASE WHEN a.state IS NULL THEN s.owner ELSE a.owner END,
                   due_at = CASE WHEN a.state IS NULL THEN s.due_at ELSE a.due_at END,
                   attention = CASE WHEN a.state IS NULL THEN s.attention ELSE a.attention END,
                   finished_at = CASE WHEN a.state IS NULL THEN s.finished_at ELSE a.finished_at END,
                   problem = CASE WHEN a.state IS NULL THEN s.problem ELSE a.problem END
              FROM unnest(updates) a
             WHERE s.id = a.id AND s.version = a.expected AND s.fence = a.fence
            RETURNING a.id, a.expected + 1 AS seq, a.append_id, a.type, a.at, a.data, a.type2, a.at2, a.data2,
                      a.state IS NOT NULL AS moved, s.kind, s.type AS saga_type, s.was, s.state, s.stuck, s.suspended
        ), logged AS (
            INSERT INTO {schema}.saga_log (saga_id, seq, append_id, type, at, data, type2, at2, data2)
            SELECT d.id, d.seq, d.append_id, d.type, d.at, d.data, d.type2, d.at2, d.data2
              FROM done d WHERE d.type IS NOT NULL
        ), counted AS (
            INSERT INTO {schema}.saga_count_changes (kind, type, what, change)
            SELECT d.kind, d.saga_type, c.what, sum(c.change)
              FROM done d
             CROSS JOIN LATERAL (
                VALUES (d.was, -1), ({schema}.saga_flags(d.state, d.stuck, d.suspended), 1)) c (what, change)
             WHERE d.moved
             GROUP BY d.kind, d.saga_type, c.what HAVING sum(c.change) <> 0
        )
        SELECT coalesce(array_agg(d.id), '{}') INTO updated FROM done d;
    END IF;

    IF births IS NOT NULL THEN
        WITH made AS (
            INSERT INTO {schema}.sagas (
                id, version, fence, updated_at, state, outcome, stuck, suspended, owner, due_at, attention, finished_at,
                problem, type, kind, correlation_id, parent_id, digest, created_at, was)
            SELECT b.id, b.version, b.fence, b.updated_at, b.state, b.outcome, b.stuck, b.suspended, b.owner, b.due_at,
                   b.attention, b.finished_at, b.problem, b.saga_type, b.kind, b.correlation_id, b.parent_id, b.digest,
                   b.created_at, ''
              FROM unnest(births) b
             WHERE NOT EXISTS (
                SELECT FROM {schema}.saga_purged p WHERE p.id = b.id AND p.until > {schema}.saga_now())
                ON CONFLICT (id) DO NOTHING
            RETURNING id, kind, type, state, stuck, suspended
        ), counted AS (
            INSERT INTO {schema}.saga_count_changes (kind, type, what, change)
            SELECT m.kind, m.type, {schema}.saga_flags(m.state, m.stuck, m.suspended), count(*) FROM made m GROUP BY 1, 2, 3
        )
        SELECT coalesce(array_agg(m.id), '{}') INTO born FROM made m;
        -- The insert may have waited for a purge that it could not see when it began.
        IF EXISTS (SELECT FROM {schema}.saga_purged p WHERE p.id = ANY (born) AND p.until > {schema}.saga_now()) THEN
            RAISE EXCEPTION 'purged meanwhile' USING ERRCODE = 'serialization_failure';
        END IF;
        complete := cardinality(born) = cardinality(births);
        INSERT INTO {schema}.saga_log (saga_id, seq, append_id, type, at, data, type2, at2, data2)
        SELECT b.id, 1, b.append_id, b.type, b.at, b.data, b.type2, b.at2, b.data2
          FROM unnest(births) b WHERE complete OR b.id = ANY (born);
        IF tags IS NOT NULL THEN
            INSERT INTO {schema}.saga_tags (saga_id, key, value, created_at)
            SELECT t.saga_id, t.key, t.value, t.created_at FROM unnest(tags) t WHERE complete OR t.saga_id = ANY (born);
        END IF;
    END IF;

    complete := cardinality(updated) + cardinality(born) = coalesce(cardinality(updates), 0) + coalesce(cardinality(births), 0);
    IF more IS NOT NULL THEN
        INSERT INTO {schema}.saga_log (saga_id, seq, append_id, type, at, data, type2, at2, data2)
        SELECT m.saga_id, m.seq, m.append_id, m.type, m.at, m.data, m.type2, m.at2, m.data2
          FROM unnest(more) m WHERE complete OR m.saga_id = ANY (updated || born);
    END IF;
    IF snapshots IS NOT NULL THEN
        INSERT INTO {schema}.saga_snapshots AS n (saga_id, version, data)
        SELECT t.saga_id, t.version, t.data FROM unnest(snapshots) t WHERE complete OR t.saga_id = ANY (updated || born)
            ON CONFLICT (saga_id) DO UPDATE SET version = excluded.version, data = excluded.data;
    END IF;
    RETURN CASE WHEN NOT complete THEN updated || born END;
END $$;
