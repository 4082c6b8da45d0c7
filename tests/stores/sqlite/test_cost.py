"""What a call costs does not grow with the sagas that are stored, nor with the number of appends in a batch."""

import threading

import pytest
from sqlalchemy.dialects import sqlite as dialect

from sagafsm.core.errors import StoreError
from sagafsm.cursor import make_cursor
from sagafsm.store import Filter
from sagafsm.testing.appends import KIND, create, finish, steady
from sagafsm_sql.queries import SIZES
from sagafsm_sql.sqlite.store import QUERIES, find_ids

BATCH = 128


@pytest.fixture
def traced(store):
    """The statements that the writing connection runs from here on."""
    statements = []
    store._writer.cursor().connection.set_trace_callback(statements.append)
    return statements


async def test_a_batch_takes_few_statements(store, traced):
    """Each statement hands the interpreter's lock to the event loop and may wait 5 ms to get it back."""
    names = [f"s{n:03}" for n in range(BATCH)]
    await store.commit([create(name) for name in names])
    assert own(traced) <= 8
    for make in (steady, finish):
        found = await store.load(names)
        traced.clear()
        await store.commit([make(saga.record) for saga in found.values()])
        assert own(traced) <= 6


async def test_a_claim_takes_few_statements(store, traced):
    await store.commit([create(f"s{n}", due_at=1.0) for n in range(50)])
    await store.heartbeat("w", 100)
    traced.clear()
    claim = await store.claim("w", [KIND, "A@1", "B@1"], limit=50)
    assert len(claim.sagas) == 50
    assert own(traced) <= 8


def own(statements):
    """How many statements there were; what a trigger does is shown as the statement that set it off."""
    return len(set(statements))


def plan(store, statement, values=None):
    """The steps of SQLite's plan, for a statement with any values."""
    cursor = store._writer.cursor()
    if values is None:
        values = (1,) * statement.count("?") if "?1" not in statement else ("[]", "[]", 1, 1)[: most(statement)]
    return [row[3] for row in cursor.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()]


def most(statement):
    return max(n for n in (1, 2, 3, 4) if f"?{n}" in statement)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["append_steps", "append_moves", "append_births", "append_all", "due", "next_due"])
async def test_no_statement_for_many_rows_reads_a_whole_table(store, name, size):
    assert scans(plan(store, QUERIES.many(name, size))) == []


@pytest.mark.parametrize(
    "name",
    [
        "head", "load", "events", "owners", "named", "take", "release", "heartbeat", "retire",
        "ended", "named_ended", "keep_ids", "purge", "purged", "free_id", "free_ids",
    ],
)  # fmt: skip
async def test_no_statement_reads_a_whole_table(store, name):
    assert scans(plan(store, QUERIES[name])) == []


def scans(steps):
    """Steps that read a table from end to end. (The table of workers is as long as there are workers.)"""
    small = (
        "SCAN saga_workers",
        "SCAN i",
        "SCAN o",
        "SCAN owners",
        "SCAN e",
        "SCAN u",
        "SCAN CONSTANT",
        "SCAN json_each",
    )
    large = [step for step in steps if step.startswith("SCAN") and not step.startswith(small)]
    return [step for step in large if "sagas" in step or "purged" in step]


@pytest.mark.parametrize(
    ("where", "index"),
    [
        (Filter(), "sagas_created"),
        (Filter(older_than=1.0), "sagas_created"),
        (Filter(live=True), "sagas_live"),
        (Filter(state="pending"), "sagas_live"),
        (Filter(state="compensating", stuck=True), "sagas_stuck"),
        (Filter(stuck=True), "sagas_stuck"),
        (Filter(suspended=True), "sagas_suspended"),
        (Filter(state="failed"), "sagas_failed"),
        (Filter(correlation_id="c"), "sagas_correlation"),
        (Filter(parent_id="p"), "sagas_parent"),
        (Filter(tags={"x": "1"}), "saga_tags_value"),
        (Filter(tags={"x": "1", "y": "2"}, state="failed"), "saga_tags_value"),
        (Filter(tags={"x": "1"}, finished_before=1.0), "saga_tags_value"),
        (Filter(tags={"x": "1"}, stuck=True), "sagas_stuck"),
        (Filter(tags={"x": "1"}, state="pending"), "sagas_live"),
        (Filter(tags={"x": "1"}, correlation_id="c"), "sagas_correlation"),
        (Filter(finished_before=1.0), "sagas_created"),
        (Filter(finished_before=1.0, state="failed"), "sagas_failed"),
    ],
)
@pytest.mark.parametrize("cursor", [None, make_cursor(1.0, "s")])
async def test_each_filter_is_served_by_an_index(store, where, index, cursor):
    query = find_ids(where, cursor, 100).compile(dialect=dialect.dialect(), compile_kwargs={"render_postcompile": True})
    steps = plan(store, str(query), tuple(query.params[name] for name in query.positiontup))
    assert any(index in step for step in steps), steps
    few = where.correlation_id or where.parent_id
    assert few or not any("TEMP B-TREE" in step for step in steps), steps  # a page is read, not all that matches
    assert not any(step.startswith("SCAN saga_tags") for step in steps), steps


async def test_of_several_tags_the_rarest_is_looked_up(store, monkeypatch):
    await store.commit([create(f"s{n}", tags={"all": "1", "some": str(n % 20)}) for n in range(40)])
    statements = []
    store._reader.cursor().connection.set_trace_callback(statements.append)
    for tags in ({"all": "1", "some": "7"}, {"some": "7", "all": "1"}):
        page = await store.find(Filter(tags=tags))
        assert [record.saga_id for record in page.records] == ["s27", "s7"]
    looked_up = [one for one in statements if "FROM saga_tags JOIN sagas" in " ".join(one.split())]
    assert len(looked_up) == 2
    assert all("saga_tags.\"key\" = 'some'" in one or "saga_tags.key = 'some'" in one for one in looked_up)


async def test_the_threads_end_with_the_store(path):
    from sagafsm_sql import SQLStore

    before = threading.active_count()
    for _ in range(3):
        store = SQLStore.from_url(f"sqlite:///{path}")
        await store.setup()
        await store.load([])
        await store.close()
    assert threading.active_count() == before


async def test_a_setup_that_fails_leaves_no_thread(tmp_path):
    from sagafsm_sql import SQLStore

    before = {thread.name for thread in threading.enumerate()}
    store = SQLStore.from_url(f"sqlite:///{tmp_path}/missing/sagas.db")
    with pytest.raises(StoreError):
        await store.setup()
    for thread in threading.enumerate():
        if thread.name not in before:
            thread.join(5)
            assert not thread.is_alive()


async def test_purged_space_is_used_again(store):
    def pages():
        return store._writer.cursor().execute("PRAGMA page_count").fetchone()[0]

    sizes = []
    for round_ in range(4):
        await store.commit([create(f"{round_}-{n}", state="failed", finished_at=1.0) for n in range(600)])
        sizes.append(pages())
        assert await store.purge(2.0, limit=5000) == 600
    assert sizes[3] < sizes[0] * 1.1
