"""A line of an archive holds a saga byte for byte, and nothing that is damaged is taken for whole."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagafsm import SagaDefinition, StoreCorrupt, StoreTooNew
from sagafsm.moving.line import read_line, write_line
from sagafsm.moving.whole import Whole, log_hash, read_whole
from sagafsm.runtime.memory import MemoryStore
from sagafsm.store import Record, StoredEvent
from sagafsm.testing.appends import create, events, finish

REAL_TIME = True

RECORD = Record(
    saga_id="s", saga_type="Order", kind="Order@1", state="completed", outcome=None, stuck=False, suspended=False,
    version=2, fence=7, owner=None, due_at=None, attention=False, correlation_id="c", digest="d", created_at=1.1,
    updated_at=2.2, finished_at=3.3, parent_id="p", tags={"ä": "ö"}, problem=None,
)  # fmt: skip


def whole(*data, **changes):
    log = [StoredEvent(seq, "Happened", 1e9 + seq / 3, one) for seq, one in enumerate(data, start=1)]
    return Whole(record=msgspec.structs.replace(RECORD, version=len(log), **changes), events=log)


DATA = [
    b"{}",
    b'{"a": [1, 2.50, null], "b" : "\xc3\xa4"}',
    b'{"two\\nlines": 1}',
    b'{\n"really two lines": 1\r\n}',
    b" {} ",
    b"",
    b"{",
    b"\xff\xfe\x00",
    b'"\x85\xe2\x80\xa8"',
    b"123456789012345678901234567890",
    b"NaN",
    b"[" * 5000,
]


@pytest.mark.parametrize("data", DATA, ids=repr)
def test_every_event_comes_back_byte_for_byte(data):
    saga = whole(b"{}", data)
    line = write_line(saga)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    found = read_line(line, "here")
    assert (found.record, list(found.events)) == (saga.record, saga.events)
    assert found.hash == log_hash(saga.record, saga.events)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(
    data=st.lists(st.binary() | json.map(msgspec.json.encode), max_size=4), tags=st.dictionaries(st.text(), st.text())
)
def test_any_saga_comes_back(data, tags):
    saga = whole(*data, tags=tags)
    found = read_line(write_line(saga), "here")
    assert (found.record, list(found.events)) == (saga.record, saga.events)


def test_a_line_is_json_with_the_events_as_they_were():
    line = msgspec.json.decode(write_line(whole(b'{"step":"pay"}')))
    assert line["sagafsm_archive"] == 1
    assert line["record"]["saga_id"] == "s"
    assert line["events"] == [{"seq": 1, "type": "Happened", "at": 1e9 + 1 / 3, "data": {"step": "pay"}}]


def test_the_same_saga_gives_the_same_line_and_another_log_another_hash():
    assert write_line(whole(b"1", b"2")) == write_line(whole(b"1", b"2"))
    hashes = {log_hash(s.record, s.events) for s in (whole(), whole(b"1"), whole(b"1", b"2"), whole(b"12"))}
    assert len(hashes) == 4
    assert log_hash(RECORD, ()) != log_hash(msgspec.structs.replace(RECORD, correlation_id="d", digest="c"), ())


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda line: line[:-20], StoreCorrupt, "part-1, line 3 is no line of an archive"),
        (lambda line: b"", StoreCorrupt, "no line of an archive"),
        (lambda line: b"\xff" + line, StoreCorrupt, "no line of an archive"),
        (lambda line: b'{"sagafsm_archive": 2, "shape": "new"}', StoreTooNew, "archive format 2"),
        (lambda line: b'{"order": 1}', StoreCorrupt, "no line of an archive"),
        (lambda line: line.replace(b'"pay"', b'"say"'), StoreCorrupt, "hash of saga s does not fit"),
        (lambda line: line.replace(b'"correlation_id":"c"', b'"correlation_id":"e"'), StoreCorrupt, "does not fit"),
    ],
)
def test_a_damaged_line_is_refused_with_its_place(change, error, words):
    line = write_line(whole(b'{"step":"pay"}'))
    assert change(line) != line
    with pytest.raises(error, match=words):
        read_line(change(line), "part-1, line 3")


async def test_a_saga_is_read_whole_whatever_its_snapshot_spares():
    from sagafsm.store import Snapshot

    store = MemoryStore()
    await store.commit([create("s", events=events(5), snapshot=Snapshot(version=4, data=b"{}"))])
    saga = (await read_whole(store, ["s", "nobody"]))["s"]
    assert [event.seq for event in saga.events] == [1, 2, 3, 4, 5]
    assert saga.snapshot == Snapshot(version=4, data=b"{}")
    assert not saga.ended
    await store.commit([finish(saga.record)])
    assert (await read_whole(store, ["s"]))["s"].ended


async def test_an_archived_saga_can_be_looked_at_like_any_other():
    from sagafsm import Orchestrator, Step

    definition = SagaDefinition(name="one", steps=[Step("work", lambda data: data["n"] + 1, compensatable=False)])
    store = MemoryStore()
    async with Orchestrator(store, sagas=[definition]) as orchestrator:
        await orchestrator.run(definition, {"n": 1}, saga_id="s", tags={"x": "1"})
        saga = read_line(write_line((await read_whole(store, ["s"]))["s"]), "here")
        assert saga.saga_id == "s"
        assert (saga.instance.state.value, saga.instance.results, dict(saga.instance.tags)) == (
            "completed", {"work": 2}, {"x": "1"},
        )  # fmt: skip
        assert saga.history() == await orchestrator.history("s")
