-- Each statement is named by the comment above it. "/* rows */" marks a row of values that is repeated for many rows in
-- one statement, "/* select */" a select that is repeated with UNION ALL.

-- name: append_steps
-- See migration 0005 for what a row does. One whose mode is NULL does nothing: it fills a batch up to a size for which a
-- statement is prepared.
INSERT INTO saga_appends (mode, id, expected, version, fence, append_id, at, type1, data1, type2, data2)
VALUES
/* rows */ (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: append_moves
INSERT INTO saga_appends (mode, id, expected, version, fence, append_id, at, type1, data1, type2, data2,
                          state, outcome, owner, due_at, finished_at)
VALUES
/* rows */ (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: append_births
INSERT INTO saga_appends (mode, id, expected, version, fence, append_id, at, type1, data1, type2, data2,
                          state, outcome, owner, due_at, finished_at,
                          type, kind, correlation_id, parent_id, digest, created_at)
VALUES
/* rows */ (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: append_all
INSERT INTO saga_appends
VALUES
/* rows */ (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: head
SELECT s.version, s.fence, s.digest, e.append_id
  FROM sagas s LEFT JOIN saga_events e ON e.saga_id = s.id AND e.seq = ?
 WHERE s.id = ?

-- name: load
-- One row of JSON, because every row that is fetched costs a trip through the interpreter's lock.
SELECT CAST(json_group_array(json_array(
    s.id, s.type, s.kind, s.state, s.outcome, s.stuck, s.suspended, s.version, s.fence, s.owner,
    iif(s.due_at IS NULL, NULL, printf('%!.26g', s.due_at)), s.attention, s.correlation_id, s.digest,
    printf('%!.26g', s.created_at), printf('%!.26g', s.updated_at),
    iif(s.finished_at IS NULL, NULL, printf('%!.26g', s.finished_at)), s.parent_id, s.problem,
    json((SELECT json_group_object(t.key, t.value) FROM saga_tags t WHERE t.saga_id = s.id)),
    n.version, CAST(n.data AS TEXT),
    json((SELECT json_group_array(json_array(e.seq, e.type, printf('%!.26g', e.at), CAST(e.data AS TEXT)))
            FROM (SELECT seq, type, at, data FROM saga_events
                   WHERE ?2 AND saga_id = s.id AND seq > coalesce(n.version, 0) ORDER BY seq) e)))) AS BLOB)
  FROM json_each(?1) i CROSS JOIN sagas s ON s.id = i.value LEFT JOIN saga_snapshots n ON n.saga_id = s.id

-- name: events
SELECT CAST(json_group_array(json_array(seq, type, printf('%!.26g', at), CAST(data AS TEXT))) AS BLOB)
  FROM (SELECT seq, type, at, data FROM saga_events WHERE saga_id = ? AND seq > ? ORDER BY seq)

-- name: owners
-- Whether the worker itself is alive, and every owner of a saga with a due time (one index seek each).
WITH RECURSIVE owners (id) AS (
    SELECT min(owner) FROM sagas WHERE due_at IS NOT NULL
    UNION ALL
    SELECT (SELECT min(owner) FROM sagas WHERE due_at IS NOT NULL AND owner > owners.id) FROM owners WHERE id IS NOT NULL
)
SELECT (SELECT until FROM saga_workers WHERE id = ?1),
       (SELECT json_group_array(id) FROM sagas WHERE owner = ?1 AND attention),
       (SELECT json_group_array(json_array(o.id, printf('%!.26g', w.until)))
          FROM owners o LEFT JOIN saga_workers w ON w.id = o.id WHERE o.id IS NOT NULL)

-- name: due
SELECT json_group_array(json_array(printf('%!.26g', due_at), id)) FROM (
/* select */ SELECT * FROM (SELECT id, due_at FROM sagas WHERE owner IS ? AND kind = ? AND due_at <= ? ORDER BY due_at, id LIMIT ?)
)

-- name: next_due
SELECT min(at) FROM (
/* select */ SELECT max((SELECT min(due_at) FROM sagas WHERE owner IS ? AND kind = ? AND due_at IS NOT NULL), ?) AS at
)

-- name: named
SELECT json_group_array(s.id)
  FROM json_each(?1) i CROSS JOIN sagas s ON s.id = i.value
 WHERE s.kind IN (SELECT value FROM json_each(?2)) AND s.state NOT IN ('completed', 'failed')
   AND (s.owner IS NULL OR s.owner <> ?3 AND s.owner NOT IN (SELECT id FROM saga_workers WHERE until > ?4))

-- name: take
UPDATE sagas SET owner = ?, fence = fence + 1, attention = 0 WHERE id IN (SELECT value FROM json_each(?))

-- name: release
UPDATE sagas SET owner = NULL WHERE id = ? AND owner = ? AND fence = ?

-- name: heartbeat
INSERT INTO saga_workers (id, until) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET until = excluded.until

-- name: workers
SELECT id, until FROM saga_workers ORDER BY id

-- name: retire
DELETE FROM saga_workers WHERE id = ?

-- name: counts
SELECT kind, type, state, stuck, suspended, count FROM saga_counts WHERE count > 0

-- name: tag_count
-- How many sagas bear a tag, as far as it matters.
SELECT count(*) FROM (SELECT 1 FROM saga_tags WHERE key = ? AND value = ? LIMIT 1000)

-- name: ended
SELECT json_group_array(id) FROM (
    SELECT id FROM sagas WHERE finished_at < ? AND state IN ('completed', 'failed') ORDER BY finished_at LIMIT ?)

-- name: named_ended
SELECT json_group_array(id) FROM (
    SELECT s.id FROM json_each(?3) i CROSS JOIN sagas s ON s.id = i.value
     WHERE s.finished_at < ?1 AND s.state IN ('completed', 'failed') LIMIT ?2)

-- name: keep_ids
INSERT INTO saga_purged (id, digest, until)
SELECT id, digest, ? FROM sagas WHERE id IN (SELECT value FROM json_each(?))
    ON CONFLICT (id) DO UPDATE SET digest = excluded.digest, until = excluded.until

-- name: purge
DELETE FROM sagas WHERE id IN (SELECT value FROM json_each(?))

-- name: purged
SELECT digest, until FROM saga_purged WHERE id = ?

-- name: free_id
DELETE FROM saga_purged WHERE id = ?

-- name: free_ids
DELETE FROM saga_purged WHERE id IN (SELECT id FROM saga_purged WHERE until <= ? ORDER BY until LIMIT ?)

-- name: save_definition
INSERT INTO saga_definitions (kind, shape) VALUES (?, ?) ON CONFLICT (kind) DO NOTHING

-- name: definitions
SELECT kind, CAST(shape AS TEXT) FROM saga_definitions

-- name: data_version
PRAGMA data_version
