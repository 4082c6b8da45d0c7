-- What has to find its sagas by an index, whatever the planner believes about a table that has just begun to grow, and
-- whatever it was told by the server's settings: a function brings its own settings. Without JIT: beside a million
-- sagas the planner took a claim for so dear that it was compiled, for 0.3 s on each new connection.

CREATE FUNCTION {schema}.saga_now() RETURNS double precision LANGUAGE sql VOLATILE PARALLEL SAFE RETURN
    extract(epoch FROM clock_timestamp())::double precision;

-- Let this transaction be durable when it is acknowledged, also where the server or the role was set not to; or let it
-- not wait, where the store's URL says so. For this transaction only.
CREATE FUNCTION {schema}.saga_be_durable(durable boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF durable AND current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    ELSIF NOT durable THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
END $$;

-- Takes sagas for a worker: those of the kinds that are due, or the named ones. Contended: some are due, but each of
-- them is just being taken or written to by somebody else.
CREATE FUNCTION {schema}.saga_claim(
    worker text, wanted text[], most bigint, named text[], durable boolean,
    OUT now double precision, OUT alive boolean, OUT taken text[], OUT noticed text[], OUT next_due double precision,
    OUT contended boolean
) LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_indexscan = on SET enable_nestloop = on SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    kinds  text[] := ARRAY (SELECT DISTINCT unnest(wanted));
    owners text[];
    leases double precision[];
    dead   text[];
BEGIN
    now := {schema}.saga_now();
    alive := EXISTS (SELECT FROM {schema}.saga_workers w WHERE w.id = worker AND w.until > now);
    IF NOT alive THEN
        RETURN;
    END IF;
    PERFORM {schema}.saga_be_durable(durable);
    -- The caller commits when it has read what it got. One that is frozen before it does must not hold these for long.
    PERFORM set_config('idle_in_transaction_session_timeout', '10s', true);
    noticed := ARRAY (SELECT s.id FROM {schema}.sagas s WHERE s.owner = worker AND s.attention);

    -- Every owner of a saga with a due time, by one look at the index for each.
    WITH RECURSIVE o (id) AS (
        (SELECT s.owner FROM {schema}.sagas s WHERE s.due_at IS NOT NULL AND s.owner IS NOT NULL ORDER BY s.owner LIMIT 1)
        UNION ALL
        SELECT (SELECT s.owner FROM {schema}.sagas s WHERE s.due_at IS NOT NULL AND s.owner > o.id ORDER BY s.owner LIMIT 1)
          FROM o WHERE o.id IS NOT NULL
    )
    SELECT array_agg(o.id), array_agg(coalesce(w.until, 0)), array_agg(o.id) FILTER (WHERE coalesce(w.until, 0) <= now)
      INTO owners, leases, dead
      FROM o LEFT JOIN {schema}.saga_workers w ON w.id = o.id
     WHERE o.id IS NOT NULL AND o.id <> worker;

    IF named IS NOT NULL THEN
        -- Waits for whoever holds one of them, in the order in which appends lock too.
        taken := ARRAY (
            SELECT s.id FROM {schema}.sagas s
             WHERE s.id = ANY (named) AND s.kind = ANY (kinds) AND s.state NOT IN ('completed', 'failed')
               AND (s.owner IS NULL OR s.owner <> worker
                    AND NOT EXISTS (SELECT FROM {schema}.saga_workers w WHERE w.id = s.owner AND w.until > now))
             ORDER BY s.id LIMIT most FOR UPDATE OF s);
    ELSE
        -- First, without a lock, how many of each owner and kind are among the longest due; then as many are locked of
        -- those that nobody else is just taking. Materialized: otherwise a plan may run the limit more than once.
        WITH candidates AS MATERIALIZED (
            SELECT NULL::text AS owner, k.kind, f.due_at, f.id
              FROM unnest(kinds) k (kind)
             CROSS JOIN LATERAL (
                SELECT s.due_at, s.id FROM {schema}.sagas s WHERE s.owner IS NULL AND s.kind = k.kind AND s.due_at <= now
                 ORDER BY s.due_at, s.id LIMIT most) f
            UNION ALL
            SELECT o.id, k.kind, f.due_at, f.id
              FROM unnest(dead) o (id)
             CROSS JOIN unnest(kinds) k (kind)
             CROSS JOIN LATERAL (
                SELECT s.due_at, s.id FROM {schema}.sagas s WHERE s.owner = o.id AND s.kind = k.kind AND s.due_at <= now
                 ORDER BY s.due_at, s.id LIMIT most) f
        ), quotas AS MATERIALIZED (
            SELECT l.owner, l.kind, count(*) AS most
              FROM (SELECT c.owner, c.kind FROM candidates c ORDER BY c.due_at, c.id LIMIT most) l
             GROUP BY l.owner, l.kind
        ), locked AS MATERIALIZED (
            SELECT f.id
              FROM quotas q
             CROSS JOIN LATERAL (
                SELECT s.id FROM {schema}.sagas s WHERE s.owner IS NULL AND s.kind = q.kind AND s.due_at <= now
                 ORDER BY s.due_at, s.id LIMIT q.most FOR UPDATE SKIP LOCKED) f
             WHERE q.owner IS NULL
            UNION ALL
            SELECT f.id
              FROM quotas q
             CROSS JOIN LATERAL (
                SELECT s.id FROM {schema}.sagas s WHERE s.owner = q.owner AND s.kind = q.kind AND s.due_at <= now
                 ORDER BY s.due_at, s.id LIMIT q.most FOR UPDATE SKIP LOCKED) f
             WHERE q.owner IS NOT NULL
        )
        SELECT coalesce(array_agg(l.id), '{}'), count(*) = 0 AND EXISTS (SELECT FROM candidates)
          INTO taken, contended FROM locked l;
    END IF;
    UPDATE {schema}.sagas s SET owner = worker, fence = s.fence + 1, attention = false WHERE s.id = ANY (taken);

    SELECT min(d.at) INTO next_due FROM (
        SELECT f.due_at AS at
          FROM unnest(kinds) k (kind)
         CROSS JOIN LATERAL (
            SELECT s.due_at FROM {schema}.sagas s WHERE s.owner IS NULL AND s.kind = k.kind AND s.due_at IS NOT NULL
             ORDER BY s.due_at LIMIT 1) f
        UNION ALL
        SELECT greatest(f.due_at, o.until)
          FROM unnest(owners, leases) o (id, until)
         CROSS JOIN unnest(kinds) k (kind)
         CROSS JOIN LATERAL (
            SELECT s.due_at FROM {schema}.sagas s WHERE s.owner = o.id AND s.kind = k.kind AND s.due_at IS NOT NULL
             ORDER BY s.due_at LIMIT 1) f
    ) d;
    next_due := CASE WHEN next_due IS NOT NULL THEN greatest(next_due - now, 0) END;
END $$;

-- Deletes sagas that ended before, each whole, and keeps their ids from being used for so many seconds; how many.
CREATE FUNCTION {schema}.saga_purge(ended_before double precision, most bigint, keep double precision, named text[])
RETURNS bigint LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_indexscan = on SET enable_nestloop = on SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    moment double precision := {schema}.saga_now();
    ended  text[];
    gone   text[];
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
        -- Locked in a statement of its own, in the order in which appends lock: what is deleted below is then all that
        -- there is. Another purge may have been quicker; then there are others, or none.
        gone := ARRAY (
            SELECT s.id FROM {schema}.sagas s
             WHERE s.id = ANY (ended) AND s.finished_at < ended_before AND s.state IN ('completed', 'failed')
             ORDER BY s.id FOR UPDATE);
        EXIT WHEN ended = '{}' OR gone <> '{}';
    END LOOP;
    DELETE FROM {schema}.saga_purged p WHERE p.id IN (
        SELECT o.id FROM {schema}.saga_purged o WHERE o.until <= moment ORDER BY o.until LIMIT 500 FOR UPDATE SKIP LOCKED);
    IF keep > 0 THEN
        INSERT INTO {schema}.saga_purged (id, digest, until)
        SELECT s.id, s.digest, moment + keep FROM {schema}.sagas s WHERE s.id = ANY (gone) ORDER BY s.id
            ON CONFLICT (id) DO UPDATE SET digest = excluded.digest, until = excluded.until;
    END IF;
    DELETE FROM {schema}.saga_log l WHERE l.saga_id = ANY (gone);
    DELETE FROM {schema}.saga_snapshots n WHERE n.saga_id = ANY (gone);
    DELETE FROM {schema}.saga_tags t WHERE t.saga_id = ANY (gone);
    WITH deleted AS (
        DELETE FROM {schema}.sagas s WHERE s.id = ANY (gone) RETURNING s.kind, s.type, s.state, s.stuck, s.suspended
    )
    INSERT INTO {schema}.saga_count_changes (kind, type, what, change)
    SELECT d.kind, d.type, {schema}.saga_flags(d.state, d.stuck, d.suspended), -count(*) FROM deleted d GROUP BY 1, 2, 3;
    RETURN cardinality(gone);
END $$;
