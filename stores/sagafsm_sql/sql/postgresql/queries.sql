-- Each statement is named by the comment above it; {schema} stands for the schema that the URL names. What needs a plan
-- of its own, or several steps in one go, is a function: see the migrations.

-- name: know_types
-- Every type that is not built into the driver: it looks them up when it first meets them.
SELECT NULL::{schema}.saga_append[], NULL::{schema}.saga_birth[], NULL::{schema}.saga_more[], NULL::{schema}.saga_tag[],
       NULL::{schema}.saga_snapshot[], NULL::bigint[], NULL::double precision[]

-- name: commit
-- See migration 0004. Null: all of it was accepted; else the ids of those that were.
SELECT {schema}.saga_commit($1, $2, $3, $4, $5, $6)

-- name: heads
-- What an append has to be compared with, for each one that was refused. The row that holds the event after the
-- expected version begins with it or with the one before.
SELECT i.id, s.version, s.fence, s.digest, l.append_id, p.digest
  FROM unnest($1::text[], $2::bigint[]) i (id, expected)
  LEFT JOIN {schema}.sagas s ON s.id = i.id
  LEFT JOIN LATERAL (
    SELECT append_id FROM {schema}.saga_log
     WHERE saga_id = i.id AND (seq = i.expected + 1 OR seq = i.expected AND type2 IS NOT NULL)) l ON true
  LEFT JOIN {schema}.saga_purged p ON p.id = i.id AND p.until > {schema}.saga_now()

-- name: load
SELECT s.id, s.type, s.kind, s.state, s.outcome, s.stuck, s.suspended, s.version, s.fence, s.owner, s.due_at,
       s.attention, s.correlation_id, s.digest, s.created_at, s.updated_at, s.finished_at, s.parent_id, s.problem,
       (SELECT json_object_agg(t.key, t.value)::text FROM {schema}.saga_tags t WHERE t.saga_id = s.id),
       n.version, n.data, e.seqs, e.types, e.ats, e.datas, e.types2, e.ats2, e.datas2
  FROM {schema}.sagas s
  LEFT JOIN {schema}.saga_snapshots n ON n.saga_id = s.id
 CROSS JOIN LATERAL (
    SELECT array_agg(l.seq) AS seqs, array_agg(l.type) AS types, array_agg(l.at) AS ats, array_agg(l.data) AS datas,
           array_agg(l.type2) AS types2, array_agg(l.at2) AS ats2, array_agg(l.data2) AS datas2
      FROM (SELECT * FROM {schema}.saga_log WHERE $2 AND saga_id = s.id AND seq >= coalesce(n.version, 0) ORDER BY seq) l
 ) e
 WHERE s.id = ANY ($1::text[])

-- name: events
SELECT array_agg(l.seq), array_agg(l.type), array_agg(l.at), array_agg(l.data), array_agg(l.type2), array_agg(l.at2),
       array_agg(l.data2)
  FROM (SELECT * FROM {schema}.saga_log WHERE saga_id = $1 AND seq >= $2 ORDER BY seq) l

-- name: claim
SELECT * FROM {schema}.saga_claim($1, $2, $3, $4, $5)

-- name: owners
-- Waits for whoever is just writing to one of them.
SELECT id, owner, fence FROM {schema}.sagas WHERE id = ANY ($1::text[]) ORDER BY id FOR SHARE

-- name: release
UPDATE {schema}.sagas SET owner = NULL WHERE id = $1 AND owner = $2 AND fence = $3 RETURNING true

-- name: heartbeat
-- The clock is read when the row is held: waiting for it must not shorten the lease.
INSERT INTO {schema}.saga_workers AS w (id, until) VALUES ($1, {schema}.saga_now() + $2)
    ON CONFLICT (id) DO UPDATE SET until = {schema}.saga_now() + $2 RETURNING until

-- name: workers
SELECT id, until FROM {schema}.saga_workers ORDER BY id

-- name: retire
DELETE FROM {schema}.saga_workers WHERE id = $1

-- name: now
SELECT {schema}.saga_now()

-- name: counts
SELECT kind, type, state, stuck, suspended, sum(count)::bigint
  FROM (SELECT kind, type, state, stuck, suspended, count FROM {schema}.saga_counts
        UNION ALL
        SELECT kind, type, split_part(what, ' ', 1), what LIKE '% stuck%', what LIKE '% suspended%', change
          FROM {schema}.saga_count_changes) c
 GROUP BY kind, type, state, stuck, suspended
HAVING sum(count) > 0

-- name: fold_counts
SELECT {schema}.saga_fold_counts()

-- name: purge
SELECT {schema}.saga_purge($1, $2, $3, $4)

-- name: shelve
SELECT {schema}.saga_shelve($1, $2, $3, $4)

-- name: save_definition
INSERT INTO {schema}.saga_definitions (kind, shape) VALUES ($1, $2) ON CONFLICT (kind) DO NOTHING

-- name: definitions
SELECT kind, shape FROM {schema}.saga_definitions

-- name: changes
-- How often others have told of a change.
SELECT last_value, is_called FROM {schema}.saga_changes

-- name: tell
-- Nobody waits for this one, and if a crash forgets it, polling finds what it told of.
SELECT set_config('synchronous_commit', 'off', true), nextval('{schema}.saga_changes'), pg_notify($1, $2)
