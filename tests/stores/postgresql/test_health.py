"""Durability: what the server is set to, what is forced, and what is said about it."""

import pytest

from sagafsm.testing.appends import create
from sagafsm_sql import SQLStore
from tests.servers.postgresql import PostgreSQL

SYNC = "SELECT current_setting('synchronous_commit')"


async def checked(url):
    store = SQLStore.from_url(url)
    await store.setup()
    try:
        return await store.check()
    finally:
        await store.close()


async def test_a_server_as_it_comes_is_durable(url):
    durability = await checked(url)
    assert durability.synced
    assert list(durability.warnings) == []
    assert "fsync=on" in durability.description


async def test_relaxed_is_not_durable_and_says_so(url):
    durability = await checked(f"{url}&durability=relaxed")
    assert not durability.synced
    assert ["relaxed" in warning for warning in durability.warnings] == [True]


async def test_unsafe_settings_are_told(servers):
    class Unsafe(PostgreSQL):
        def command(self):
            return [*super().command(), "-c", "fsync=off", "-c", "full_page_writes=off"]

    with servers.another(Unsafe) as server:
        durability = await checked(server.url)
    assert not durability.synced
    assert [warning.split(" is off")[0] for warning in durability.warnings] == ["fsync", "full_page_writes"]


@pytest.mark.parametrize(
    ("given", "durable", "used"), [("off", True, "on"), ("local", True, "local"), ("on", False, "off")]
)
async def test_commits_are_as_durable_as_the_url_says_whatever_the_server_is_set_to(
    store, schemas, given, durable, used
):
    """Whatever the server is set to. Until the transaction ends, not only until the function does; and no longer."""
    name = schemas.common
    async with schemas.connection() as connection:
        await connection.execute(f"SET synchronous_commit = {given}")
        for call in (
            f"SELECT {name}.saga_commit(NULL, NULL, NULL, NULL, NULL, $1)",
            f"SELECT {name}.saga_claim('w', '{{}}', 1, NULL, $1)",
        ):
            await store.heartbeat("w", 100.0)
            async with connection.transaction():
                await connection.fetchrow(call, durable)
                assert await connection.fetchval(SYNC) == used
            assert await connection.fetchval(SYNC) == given


async def test_a_commit_with_relaxed_durability_is_written(url):
    store = SQLStore.from_url(f"{url}&durability=relaxed")
    await store.setup()
    await store.commit([create("s")])
    assert list(await store.load(["s"])) == ["s"]
    await store.close()
