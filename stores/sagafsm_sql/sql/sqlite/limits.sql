-- Permits under limits that all workers share (see migration 0006).

-- name: limits
-- Which of the workers (?3) are alive at the time (?4); and of each name (?1) up to when its rate is filled, how many
-- tokens of living workers hold it, and which of the tokens that are asked for (?2) do.
WITH alive (id) AS MATERIALIZED (SELECT id FROM saga_workers WHERE until > ?4)
SELECT (SELECT json_group_array(id) FROM alive WHERE id IN (SELECT value FROM json_each(?3))),
       (SELECT json_group_array(json_array(
            i.value,
            (SELECT printf('%!.26g', filled_until) FROM saga_rates WHERE name = i.value),
            (SELECT count(*) FROM saga_permits WHERE name = i.value AND worker_id IN (SELECT id FROM alive)),
            json((SELECT json_group_array(token) FROM saga_permits
                   WHERE name = i.value AND worker_id IN (SELECT id FROM alive)
                     AND token IN (SELECT value FROM json_each(?2))))))
          FROM json_each(?1) i)

-- name: hold
-- A token of a worker that died may be asked for again by another.
INSERT INTO saga_permits (name, token, worker_id)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(?) WHERE true
ON CONFLICT (name, token) DO UPDATE SET worker_id = excluded.worker_id

-- name: fill
INSERT INTO saga_rates (name, filled_until)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?) WHERE true
ON CONFLICT (name) DO UPDATE SET filled_until = excluded.filled_until

-- name: forget_rates
DELETE FROM saga_rates WHERE name IN (SELECT name FROM saga_rates WHERE filled_until < ? ORDER BY filled_until LIMIT ?)

-- name: give_back
DELETE FROM saga_permits WHERE worker_id = ? AND token IN (SELECT value FROM json_each(?))
