-- How many sagas there are of each kind and state. Counting a million finished sagas would read them all, and a counter
-- that every commit changes would make them wait for one another. So a commit adds rows that say by how much the counts
-- change, and now and then those are folded into the counts. Whoever asks adds up both.
CREATE TABLE {schema}.saga_counts (
    kind      text COLLATE "C" NOT NULL,
    type      text COLLATE "C" NOT NULL,
    state     text COLLATE "C" NOT NULL,
    stuck     boolean          NOT NULL,
    suspended boolean          NOT NULL,
    count     bigint           NOT NULL,
    PRIMARY KEY (kind, type, state, stuck, suspended)
);

CREATE TABLE {schema}.saga_count_changes (
    kind   text   NOT NULL,
    type   text   NOT NULL,
    what   text   NOT NULL,  -- state and flags, as saga_flags writes them
    change bigint NOT NULL
);

-- The row that whoever folds holds.
INSERT INTO {schema}.saga_meta VALUES ('counts_folded', '');

-- State and flags in one word.
CREATE FUNCTION {schema}.saga_flags(state text, stuck boolean, suspended boolean) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    state || CASE WHEN stuck THEN ' stuck' ELSE '' END || CASE WHEN suspended THEN ' suspended' ELSE '' END;

CREATE FUNCTION {schema}.saga_fold_counts() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM {schema}.saga_meta WHERE key = 'counts_folded' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    WITH gone AS (
        DELETE FROM {schema}.saga_count_changes RETURNING *
    ), parts AS (
        SELECT kind, type, string_to_array(what, ' ') AS part, sum(change) AS change FROM gone GROUP BY kind, type, what
    )
    INSERT INTO {schema}.saga_counts AS c (kind, type, state, stuck, suspended, count)
    SELECT kind, type, part[1], 'stuck' = ANY (part), 'suspended' = ANY (part), change FROM parts WHERE change <> 0
        ON CONFLICT (kind, type, state, stuck, suspended) DO UPDATE SET count = c.count + excluded.count;
    DELETE FROM {schema}.saga_counts WHERE count = 0;
END $$;
