"""What docs/how-to/postgresql.md says is so: rights that are enough, queries that run, options that are known."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sagafsm import Orchestrator, Rejected, Saga, Settings, step
from sagafsm.core.errors import StoreUnavailable
from sagafsm.store import Committed, Filter
from sagafsm.supports import Permit
from sagafsm.testing.appends import KIND, create
from sagafsm_sql import SQLStore
from sagafsm_sql.postgresql.options import DRIVERS, OURS

PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "postgresql.md").read_text()
BLOCKS = re.findall(r"^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


class Order(Saga[dict]):
    """Fails, and is undone."""

    @step
    async def charge(self, order: dict) -> str:
        return "paid"

    @charge.compensation
    async def refund(self, order: dict, payment: str | None) -> None: ...

    @step(compensatable=False)
    async def ship(self, order: dict) -> None:
        raise Rejected("no such street")


@pytest.fixture
async def page(schemas):
    """A schema whose name stands for ``sagas`` of the page; the roles of the page exist and own nothing."""
    name = schemas.new()
    roles = {"shop_worker": f"{name}_worker", "shop_reader": f"{name}_reader"}

    def fitted(block):
        block = re.sub(
            r"(?<=search_path = )sagas|(?<=SCHEMA )sagas|(?<=IF EXISTS )sagas(?=\.)|(?<=')sagas(?=')", name, block
        )
        for role, ours in roles.items():
            block = block.replace(role, ours)
        return block

    store = SQLStore.from_url(schemas.url(name))
    await store.setup()
    await store.close()
    async with schemas.connection() as connection:
        for block in BLOCKS:
            if "CREATE ROLE" in block:
                await connection.execute(fitted(block))
        yield name, fitted, connection, schemas.url(name)
        for role in roles.values():
            await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def as_role(url, name, role):
    return re.sub(r"://[^@]*@", f"://{name}_{role}:PASSWORD@", url)


async def test_the_rights_of_a_worker_are_enough(page):
    """Whatever a store can do; also make the history's partitions, though it may not make tables."""
    name, _, connection, url = page
    mine = as_role(url, name, "worker")
    async with Orchestrator(f"{mine}&history=monthly", sagas=[Order], settings=Settings(retention=3600.0)) as works:
        ended = await works.run(Order, {}, saga_id="order-1", tags={"customer": "ann"}, timeout=20)
        assert ended.state.value == "failed"
        store = works.store
        await store.heartbeat("w", 60.0)
        assert await store.acquire([Permit(name="n", token="t", worker_id="w", concurrency=1, rate=9.0)]) == [0.0]
        await store.give_back("w", ["t"])
        assert await store.commit([create("s", due_at=1.0)]) == [Committed(2)]
        assert len((await store.claim("w", [KIND], limit=1)).sagas) == 1
        assert len((await store.find(Filter())).records) == 2
        assert (await store.check()).synced
        await store._write("fold_counts")
        await store._write("tell", "sagafsm_x", "w")
        assert await works.purge(finished_before=0) == 1
        await store.retire("w")
    assert await connection.fetchval(f"SELECT id FROM {name}.saga_history") == "order-1"
    with pytest.raises(Exception, match="permission denied"):
        await connection.execute(f"SET ROLE {name}_worker; CREATE TABLE {name}.mine (a int)")
    await connection.execute("RESET ROLE")


@pytest.mark.timeout(180)
async def test_the_rights_of_a_reader_are_enough_to_look_and_for_nothing_else(page, tmp_path):
    name, _, _, url = page
    async with Orchestrator(url, sagas=[Order]) as works:
        await works.run(Order, {}, saga_id="order-1", timeout=20)
    mine = as_role(url, name, "reader")
    environ = {**os.environ, "SAGAFSM_STORE": mine, "NO_COLOR": "1"}

    def sagafsm(*words):
        command = [str(Path(sys.executable).with_name("sagafsm")), *words]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=50, check=False, env=environ, cwd=tmp_path
        )

    for words in (["ls"], ["show", "order-1"], ["history", "order-1"], ["stats"], ["stuck"], ["doctor"]):
        done = sagafsm(*words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
    for words in (["abort", "order-1"], ["purge", "--older-than", "0s", "--yes"]):
        done = sagafsm(*words)
        assert done.returncode != 0, (words, done.stdout)
        assert "PASSWORD" not in done.stdout + done.stderr
    reader = SQLStore.from_url(mine)
    await reader.setup(migrate=False)
    with pytest.raises(StoreUnavailable, match=r"more rights: see docs/how-to/postgresql\.md"):
        await reader.commit([create("s")])
    await reader.close()


async def test_every_statement_of_the_page_runs(page):
    _, fitted, connection, url = page
    async with Orchestrator(f"{url}&history=monthly", sagas=[Order]) as works:
        for _ in range(2):  # one in the history, and one that was born since
            await works.purge(finished_before=0, keep_ids=0)
            await works.run(Order, {}, saga_id="order-1", tags={"customer": "ann"}, timeout=20)
    shown = []
    for block in BLOCKS:
        if "CREATE ROLE" not in block:
            statements = re.split(r";\s*$", fitted(block), flags=re.MULTILINE)
            shown += [await connection.fetch(statement) for statement in statements if statement.strip()]
    assert len(shown) >= 12
    text = json.dumps([[list(map(str, row)) for row in rows] for rows in shown])
    for expected in ("order-1", "SagaFailed", "StepCompensated", "saga_log", "failed"):
        assert expected in text
    assert text.count("SagaFailed") == 2


async def test_a_span_of_time_is_looked_up_in_its_partitions(page):
    name, fitted, connection, _ = page
    for ended_at in (1_790_000_000.0, 1_793_600_000.0, 1_797_000_000.0):  # September to December 2026
        await connection.execute(f"SELECT {name}.saga_history_month({ended_at})")
    await connection.execute(f"SET search_path = {name}")
    (statement,) = re.findall(r"SELECT count\(\*\) FROM saga_history\n.*?;", fitted("\n".join(BLOCKS)), re.DOTALL)
    plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}"))
    assert len(set(re.findall(r"saga_history_2026_\d\d", plan))) <= 1, plan


async def test_a_process_takes_no_more_connections_than_the_page_says(url, schemas):
    (most,) = re.findall(r"So the default takes at most (\d+)", PAGE)
    mine = f"{url}&application_name=counted_here"
    async with Orchestrator(mine, sagas=[Order], settings=Settings(poll_interval=0.05)) as works:
        await asyncio.gather(
            *(works.run(Order, {}, timeout=50) for _ in range(150)), *(works.store.counts() for _ in range(50))
        )
        await works.store.wait_for_change(0.0)
        async with schemas.connection() as connection:
            count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'counted_here'"
            assert 8 <= await connection.fetchval(count) <= int(most)


def test_every_option_is_on_the_page():
    for option in (*OURS, *DRIVERS):
        assert re.search(rf"[`?&]{option}[`=]", PAGE), option
