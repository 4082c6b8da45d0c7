-- What has ended can be kept for long without being in the way (the option history=monthly): a purge then moves it into a
-- table of one row per saga, partitioned by the month (UTC) in which it ended. Dropping a month costs nothing, however
-- many sagas it holds, and leaves no dead rows behind.

-- An event of a saga that was moved, as it was: its data is text, byte for byte.
CREATE TYPE {schema}.saga_past_event AS (seq bigint, type text, at double precision, data text);

CREATE TABLE {schema}.saga_history (
    id             text COLLATE "C" NOT NULL,
    type           text             NOT NULL,
    kind           text COLLATE "C" NOT NULL,
    state          text             NOT NULL,
    outcome        text,
    stuck          boolean          NOT NULL,
    suspended      boolean          NOT NULL,
    version        bigint           NOT NULL,
    correlation_id text             NOT NULL,
    parent_id      text,
    digest         text             NOT NULL,
    created_at     double precision NOT NULL,
    finished_at    double precision NOT NULL,
    problem        text,
    tags           jsonb            NOT NULL,
    events         {schema}.saga_past_event[] NOT NULL
) PARTITION BY RANGE (finished_at);

CREATE INDEX saga_history_id ON {schema}.saga_history (id);

CREATE VIEW {schema}.saga_history_events AS
SELECT h.id AS saga_id, e.seq, e.type, e.at, e.data, h.finished_at FROM {schema}.saga_history h CROSS JOIN unnest(h.events) e;

-- Makes the partition for what ended then. It is made beside the others and then attached, because that keeps nobody
-- from reading them; and with the rights of whoever owns the tables, so that a worker need not own them.
CREATE FUNCTION {schema}.saga_history_month(ended_at double precision) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    begins timestamp := date_trunc('month', to_timestamp(ended_at) AT TIME ZONE 'UTC');
    part   text := '{schema}.saga_history_' || to_char(begins, 'YYYY_MM');
BEGIN
    IF to_regclass(part) IS NOT NULL THEN
        RETURN;
    END IF;
    -- Of several that purge at once one makes it. Whoever has waited for it must not look by to_regclass: that may answer
    -- from before.
    PERFORM pg_advisory_xact_lock(hashtextextended(part, 0));
    PERFORM FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid
      WHERE i.inhparent = '{schema}.saga_history'::regclass AND c.relname = split_part(part, '.', 2);
    IF NOT FOUND THEN
        EXECUTE format('CREATE TABLE %s (LIKE {schema}.saga_history INCLUDING ALL)', part);
        EXECUTE format(
            'ALTER TABLE {schema}.saga_history ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%s)', part,
            extract(epoch FROM begins), extract(epoch FROM begins + interval '1 month'));
    END IF;
END $$;
REVOKE EXECUTE ON FUNCTION {schema}.saga_history_month FROM PUBLIC;

-- As saga_purge, but what it deletes stands in the history from then on.
CREATE FUNCTION {schema}.saga_shelve(ended_before double precision, most bigint, keep double precision, named text[])
RETURNS bigint LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_indexscan = on SET enable_nestloop = on SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    ended text[];
    gone  text[];
BEGIN
    LOOP
        IF named IS NULL THEN
            ended := ARRAY (
                SELECT s.id FROM {schema}.sagas s
                 WHERE s.finished_at < ended_before AND s.state IN ('completed', 'failed')
                 ORDER BY s.finished_at LIMIT most);
        ELSE
            ended := ARRAY (
                SELECT s.id FROM {schema}.sagas s
                 WHERE s.id = ANY (named) AND s.finished_at < ended_before AND s.state IN ('completed', 'failed')
                 LIMIT most);
        END IF;
        -- Held until they are deleted, and in the order in which saga_purge takes them too.
        gone := ARRAY (
            SELECT s.id FROM {schema}.sagas s
             WHERE s.id = ANY (ended) AND s.finished_at < ended_before AND s.state IN ('completed', 'failed')
             ORDER BY s.id FOR UPDATE);
        EXIT WHEN ended = '{}' OR gone <> '{}';
    END LOOP;
    PERFORM {schema}.saga_history_month(m.ended_at)
       FROM (SELECT min(s.finished_at) AS ended_at FROM {schema}.sagas s WHERE s.id = ANY (gone)
              GROUP BY date_trunc('month', to_timestamp(s.finished_at) AT TIME ZONE 'UTC')) m;
    INSERT INTO {schema}.saga_history (
        id, type, kind, state, outcome, stuck, suspended, version, correlation_id, parent_id, digest, created_at,
        finished_at, problem, tags, events)
    SELECT s.id, s.type, s.kind, s.state, s.outcome, s.stuck, s.suspended, s.version, s.correlation_id, s.parent_id,
           s.digest, s.created_at, s.finished_at, s.problem,
           coalesce((SELECT jsonb_object_agg(t.key, t.value) FROM {schema}.saga_tags t WHERE t.saga_id = s.id), '{}'),
           ARRAY (SELECT (e.seq, e.type, e.at, e.data)::{schema}.saga_past_event
                    FROM {schema}.saga_events e WHERE e.saga_id = s.id ORDER BY e.seq)
      FROM {schema}.sagas s WHERE s.id = ANY (gone);
    RETURN {schema}.saga_purge(ended_before, most, keep, gone);
END $$;
