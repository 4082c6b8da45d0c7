-- Permits under limits that all workers share (see migration 0001). One transaction locks, reads, and writes.

-- name: lock_limits
-- In the order of the names, so that no two requests wait for each other. It writes the row where it could only lock it,
-- because a row that was just forgotten has to be there again. A process that is frozen before it commits must not hold
-- them for long.
INSERT INTO {schema}.saga_limits AS l (name, used_at)
SELECT name, {schema}.saga_now() FROM (SELECT DISTINCT unnest($1::text[]) COLLATE "C" AS name ORDER BY 1) n
    ON CONFLICT (name) DO UPDATE SET used_at = excluded.used_at
RETURNING l.name, l.filled_until, set_config('idle_in_transaction_session_timeout', '10s', true)

-- name: limits
-- The time; the workers that are alive; and of each name, in order, how many tokens of the living hold it, and which of
-- those that are asked for do.
WITH alive AS MATERIALIZED (SELECT id FROM {schema}.saga_workers WHERE until > {schema}.saga_now()),
holders AS MATERIALIZED (
    SELECT p.name, p.token FROM {schema}.saga_permits p JOIN alive a ON a.id = p.worker_id WHERE p.name = ANY ($1::text[])
)
SELECT {schema}.saga_now(), ARRAY (SELECT id FROM alive WHERE id = ANY ($3::text[])),
       ARRAY (SELECT (SELECT count(*) FROM holders h WHERE h.name = n.name)::text
                FROM unnest($1::text[]) WITH ORDINALITY n (name, nth) ORDER BY nth),
       ARRAY (SELECT h.name FROM holders h WHERE h.token = ANY ($2::text[]) ORDER BY h.name, h.token),
       ARRAY (SELECT h.token FROM holders h WHERE h.token = ANY ($2::text[]) ORDER BY h.name, h.token)

-- name: hold
-- A token of a worker that died may be asked for again by another.
INSERT INTO {schema}.saga_permits (name, token, worker_id)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
    ON CONFLICT (name, token) DO UPDATE SET worker_id = excluded.worker_id

-- name: fill
UPDATE {schema}.saga_limits l SET filled_until = f.filled_until
  FROM unnest($1::text[], $2::double precision[]) f (name, filled_until) WHERE l.name = f.name

-- name: forget_limits
-- Those that nobody has asked for lately, that nobody holds, and whose rate is not filled.
DELETE FROM {schema}.saga_limits WHERE name IN (
    SELECT l.name FROM {schema}.saga_limits l
     WHERE l.used_at < {schema}.saga_now() - $1 AND coalesce(l.filled_until, 0) < {schema}.saga_now()
       AND NOT EXISTS (SELECT FROM {schema}.saga_permits p WHERE p.name = l.name)
     ORDER BY l.used_at LIMIT $2 FOR UPDATE SKIP LOCKED)

-- name: give_back
DELETE FROM {schema}.saga_permits WHERE worker_id = $1 AND token = ANY ($2::text[])
