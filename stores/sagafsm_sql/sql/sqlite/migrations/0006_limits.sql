-- Who holds which limit: permits go with the worker's row, and count while its lease lives.
CREATE TABLE saga_permits (
    name      TEXT NOT NULL,
    token     TEXT NOT NULL,
    worker_id TEXT NOT NULL REFERENCES saga_workers (id) ON DELETE CASCADE,
    PRIMARY KEY (name, token)
) WITHOUT ROWID;

CREATE INDEX saga_permits_worker ON saga_permits (worker_id, token);

-- Up to when what was granted fills the rate of a limit. A row whose time is over says nothing and is deleted in time.
CREATE TABLE saga_rates (
    name         TEXT NOT NULL PRIMARY KEY,
    filled_until REAL NOT NULL
) WITHOUT ROWID;

CREATE INDEX saga_rates_filled ON saga_rates (filled_until);
