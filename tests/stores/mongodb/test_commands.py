"""What is sent to the server: our own concerns whatever the URL says, one document per append, and no transaction."""

from urllib.parse import urlencode, urlsplit

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.monitoring import CommandListener

from sagafsm.core.errors import SettingsError
from sagafsm.store import Append, Filter, Snapshot
from sagafsm.supports import Permit
from sagafsm.testing.appends import create, events, finish, follow
from sagafsm.testing.conformance.base import LONG, read
from sagafsm_mongo import MongoStore, sealing

WRITES = {"insert", "update", "delete", "findAndModify", "createIndexes"}
READS = {"find", "aggregate", "distinct"}
ASKED_OF_THE_SERVER = {"hello", "isMaster", "buildInfo", "serverStatus"}
OF_A_TRANSACTION = {"txnNumber", "startTransaction", "autocommit", "commitTransaction", "abortTransaction"}
CARELESS = [
    {"w": "1", "journal": "false", "readConcernLevel": "local", "readPreference": "secondaryPreferred"},
    {"w": "0", "retryWrites": "true", "readPreference": "nearest", "maxStalenessSeconds": "90"},
    {"w": "careless-tag", "wtimeoutMS": "1", "readConcernLevel": "available"},
]


class Heard(CommandListener):
    """Every command that the driver has sent."""

    def __init__(self):
        self.commands = []

    def started(self, event):
        self.commands.append(dict(event.command))

    def succeeded(self, event):
        pass

    def failed(self, event):
        pass

    def of(self, name):
        return [command for command in self.commands if name in command]


def with_options(url, options):
    parts = urlsplit(url)
    return parts._replace(query="&".join(filter(None, [parts.query, urlencode(options)]))).geturl()


async def use_all_of_it(store):
    """Call every method, with a saga that is sealed, one that is purged, and a batch that does not go as it should."""
    await store.setup()
    await store.heartbeat("w", LONG)
    await store.check()
    await store.now()
    await store.save_definition("Order@1", b"{}")
    assert await store.definitions()
    await store.commit([create("s", owner="w", due_at=1.0), create("t", due_at=1.0), create("u")])
    for _ in range(3):
        record = (await read(store, "s")).record
        snapshot = Snapshot(version=record.version, data=b"{}")
        await store.commit([follow(record, events=events(3), snapshot=snapshot), create("t"), create("s")])
    await store._parts.sealer.caught_up()
    assert (await store.claim("w", ["Order@1"], limit=9)).sagas
    await store.release("t", worker_id="w", fence=2)
    await store.commit([finish((await read(store, "s")).record, at=1.0)])
    await store.find(Filter(tags={"a": "b"}, live=True))
    await store.counts()
    await store.events("s", 1)
    assert await store.acquire([Permit(name="p", token="1", worker_id="w", concurrency=1)]) == [0.0]
    await store.give_back("w", ["1"])
    assert await store.purge(2.0) == 1
    await store.workers()
    await store.retire("w")


def assert_careful(commands):
    assert {next(iter(command)) for command in commands} <= WRITES | READS | ASKED_OF_THE_SERVER
    for command in commands:
        kind = next(iter(command))
        assert not OF_A_TRANSACTION & set(command), command
        assert command.get("$readPreference", {"mode": "primary"})["mode"] == "primary", command
        if kind in WRITES:
            assert command["writeConcern"] == {"w": "majority", "j": True, "wtimeout": 10_000}, command
        elif kind in READS:
            assert command["readConcern"] == {"level": "majority"}, command


@pytest.mark.parametrize("options", CARELESS, ids=lambda options: f"w={options['w']}")
async def test_whatever_the_url_says_writes_are_majority_and_journalled_and_reads_are_what_a_majority_has(
    url, monkeypatch, options
):
    monkeypatch.setattr(sealing, "EVERY", 4)
    heard = Heard()
    store = MongoStore.from_url(with_options(url, options), event_listeners=[heard])
    await use_all_of_it(store)
    await store.close()
    assert {next(iter(command)) for command in heard.commands} >= WRITES | READS
    assert_careful(heard.commands)


@pytest.mark.parametrize("options", CARELESS, ids=lambda options: f"w={options['w']}")
async def test_so_they_are_through_a_motor_client_of_the_callers(url, monkeypatch, options):
    monkeypatch.setattr(sealing, "EVERY", 4)
    heard = Heard()
    client = AsyncIOMotorClient(with_options(url, options), event_listeners=[heard])
    store = MongoStore(client, database=urlsplit(url).path.strip("/"))
    await use_all_of_it(store)
    await store.close()
    await client.admin.command("ping")  # whoever made it closes it
    client.close()
    assert_careful([command for command in heard.commands if "ping" not in command])


async def test_an_append_is_one_conditional_update_of_one_document_by_its_id(url):
    heard = Heard()
    store = MongoStore.from_url(url, event_listeners=[heard])
    await store.setup()
    await store.commit([create(name) for name in "abc"])
    records = [(await read(store, name)).record for name in "abc"]
    heard.commands.clear()
    batch: list[Append] = [follow(records[0]), finish(records[1]), follow(records[2], events=())]
    await store.commit([*batch, create("d")])
    await store.close()
    (update,), (insert,) = heard.of("update"), heard.of("insert")
    assert len(heard.commands) == 2
    for append, operation in zip(batch, update["updates"], strict=True):
        assert operation["q"] == {"_id": append.saga_id, "version": 2, "fence": 1}
        assert not {"multi", "upsert"} & set(operation)
    assert [document["_id"] for document in insert["documents"]] == ["d"]
    assert not update["ordered"]
    assert not insert["ordered"]


async def test_patience_is_what_the_server_is_given_to_find_a_majority(url):
    heard = Heard()
    store = MongoStore.from_url(with_options(url, {"patience": "2.5"}), event_listeners=[heard])
    await store.setup()
    await store.commit([create("s")])
    await store.close()
    assert {command["writeConcern"]["wtimeout"] for command in heard.of("insert")} == {2500}


def test_a_client_that_blocks_is_refused(admin):
    with pytest.raises(SettingsError, match="make an AsyncMongoClient"):
        MongoStore(admin)
