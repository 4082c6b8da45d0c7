"""Fuzzing the engine: one stored event is malformed, and the whole of it goes on.

Whatever lies in a store: the sweep goes on with the other sagas, the saga is run or set aside, readers get one of two
documented errors, nothing that was stored is changed or lost, and no internal error is logged.
"""

import asyncio
import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sagafsm import Rejected, RetryPolicy, SagaDefinition, Sleep, Step, StoreCorrupt, StoreTooNew, WaitFor
from sagafsm.core.events import EVENT_TYPES
from sagafsm.store import StoredEvent
from sagafsm.testing.loop import VirtualLoop
from tests.core.malformed import malformed
from tests.runtime.world import World

WHO = {"actor": "eve", "reason": "try"}


async def reserve(data: dict) -> dict:
    return {"shelf": 7}


async def release(data: dict, reserve: dict | None) -> None: ...


async def charge(data: dict) -> None:
    if data.get("bad"):
        raise Rejected("no")


SAGA = SagaDefinition(
    name="order",
    deadline=900,
    retry=RetryPolicy(max_attempts=2, jitter=0),
    steps=[
        Step("reserve", reserve, compensation=release),
        Sleep("nap", 20),
        WaitFor("approval", signal="approval", timeout=60),
        Sleep("again", 20),
        Step("charge", charge, compensatable=False),
    ],
)


class Records(logging.Handler):
    def __init__(self):
        super().__init__(logging.ERROR)
        self.found = []

    def emit(self, record):
        self.found.append(record)


def spoil(draw, events):
    """Change one of the stored events; nothing else."""
    place = draw(st.integers(0, len(events) - 1), "place")
    one = events[place]
    kind, data, at = one.type, one.data, one.at
    how = draw(st.sampled_from(["data", "data", "data", "type", "both", "at"]), "how")
    if how == "at":
        at = draw(st.sampled_from([0.0, -1e15, 1e15, 1e308, float("inf"), float("nan")]), "at")
    elif how != "data":
        kind = draw(st.sampled_from([*EVENT_TYPES, "Newer", "", "\x1b[2J"]), "type")
    if how in ("data", "both"):
        data = draw(malformed(one.data), "data")
    events[place] = StoredEvent(seq=one.seq, type=kind, at=at, data=data)


async def ask(verb):
    """Ask something of a saga that may be spoilt: it is answered, or refused as documented."""
    from sagafsm import SagaError

    try:
        return await verb
    except (StoreCorrupt, StoreTooNew, TimeoutError):
        return None
    except SagaError:  # finished, not stuck, not suspended: as any saga may be
        return None


async def play(draw):
    world = World()
    bad = draw(st.booleans(), "charge fails")
    async with world.orchestrator(SAGA) as first:
        for name in ("before", "spoilt", "zafter"):
            await first.start(SAGA, {"bad": bad}, saga_id=name)
        await asyncio.sleep(draw(st.sampled_from([0, 10, 30, 70, 100, 300]), "until"))
    stored = world.store._sagas["spoilt"].events
    spoil(draw, stored)
    as_it_was = list(stored)
    async with world.orchestrator(SAGA) as second:
        if draw(st.booleans(), "look first"):
            await ask(second.get("spoilt"))
        for name in ("before", "spoilt", "zafter"):
            await ask(second.signal(name, "approval"))
        await asyncio.sleep(400)
        for name in ("before", "zafter"):
            assert (await second.get(name)).state.terminal
        await ask(second.get("spoilt"))
        history = await second.history("spoilt")
        assert [event.type for event in history][: len(as_it_was)] == [event.type for event in as_it_was]
        assert {saga.saga_id async for saga in second.find()} == {"before", "spoilt", "zafter"}
        await ask(second.retry("spoilt", **WHO))
        await ask(second.abort("spoilt", "enough", actor="eve"))
        await asyncio.sleep(100)
        await second.resume_all()
    assert world.store._sagas["spoilt"].events[: len(as_it_was)] == as_it_was


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_one_malformed_event_harms_nothing_else(data):
    records, logger = Records(), logging.getLogger("sagafsm")
    logger.addHandler(records)
    loop = VirtualLoop(max_steps=200_000)
    try:
        loop.run_until_complete(play(data.draw))
    finally:
        logger.removeHandler(records)
        loop.close()
    internal = [record.getMessage() for record in records.found if "internal error" in record.getMessage()]
    assert not internal, records.found[0].exc_info


@pytest.mark.parametrize(
    ("number", "old", "new"),
    [
        pytest.param(0, b'"saga_id":"spoilt"', b'"saga_id":"another"', id="the events of another saga"),
        pytest.param(3, b'"kind":"sleep"', b'"kind":"dream"', id="a wait that does not exist"),
    ],
)
def test_what_was_gone_round_in_circles_with_is_set_aside(number, old, new):
    """Found by fuzzing: both were folded, nothing could be done with them, and they were taken up again and again."""

    async def main():
        world = World()
        async with world.orchestrator(SAGA) as first:
            await first.start(SAGA, {}, saga_id="spoilt")
            await asyncio.sleep(10)
        events = world.store._sagas["spoilt"].events
        one = events[number]
        assert old in one.data
        events[number] = StoredEvent(seq=one.seq, type=one.type, at=one.at, data=one.data.replace(old, new))
        async with world.orchestrator(SAGA) as second:
            await asyncio.sleep(100)
            (found,) = [saga async for saga in second.find(stuck=True)]
            assert found.saga_id == "spoilt"

    VirtualLoop(max_steps=20_000).run_until_complete(main())


@pytest.mark.parametrize("what", [b"[" * 3_000 + b"]" * 3_000, b'"\\ud800"', b"1e999", b'{"\xc0\x80": 1}', b'"\xff"'],
                         ids=["deep", "half a pair", "huge", "bad key", "bad text"])  # fmt: skip
@pytest.mark.parametrize("field", [b'"data":{"bad":false}', b'"result":{"shelf":7}'], ids=["input", "result"])
async def test_an_input_or_a_result_that_no_decoder_reads(caplog, what, field):
    """Found by fuzzing: the decoder of an event passes over what its raw fields hold."""

    async def main():
        world = World()
        async with world.orchestrator(SAGA) as first:
            await first.start(SAGA, {"bad": False}, saga_id="spoilt")
            await asyncio.sleep(10)
        events = world.store._sagas["spoilt"].events
        place = next(place for place, one in enumerate(events) if field in one.data)
        one = events[place]
        spoilt = one.data.replace(field, field.partition(b":")[0] + b":" + what)
        events[place] = StoredEvent(seq=one.seq, type=one.type, at=one.at, data=spoilt)
        async with world.orchestrator(SAGA) as second:
            await asyncio.sleep(200)
            assert await second.history("spoilt")
            instance = await ask(second.get("spoilt"))
            if instance is not None:
                assert "unreadable" in str(instance.to_dict()) or instance.state.terminal
            assert [saga async for saga in second.find()]

    await asyncio.to_thread(lambda: VirtualLoop(max_steps=50_000).run_until_complete(main()))
    assert "internal error" not in caplog.text
