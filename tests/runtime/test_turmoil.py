"""Everything goes wrong at once, at random: when it stops, every saga has ended, or somebody was told why it has not.

What the simulation has not: outages longer than the store's patience while somebody waits for an answer, hooks that
take their time and ask something of their own saga, limits beside other steps, callers that are cancelled.
"""

import asyncio
import contextlib
import inspect
import random

import pytest

from sagafsm import (
    Compensation,
    Limit,
    OutcomeUnknown,
    Parallel,
    Probe,
    Rejected,
    RetryPolicy,
    SagaDefinition,
    SagaError,
    Sequence,
    Settings,
    Sleep,
    Step,
    StoreError,
    StoreUnavailable,
    SubSaga,
    Unknown,
    WaitFor,
)
from sagafsm.testing import VirtualLoop
from tests.runtime.world import Around, World

SETTINGS = Settings(store_patience=2, grace_period=0.5)
FIRM = RetryPolicy(max_attempts=None, initial_interval=0.2, max_interruptions=1000)
SHORT = RetryPolicy(max_attempts=3, initial_interval=0.3, max_interruptions=1000)
SPELLS = [0, 0.1, 1, 4, 8]  # seconds that a trouble lasts


class Troubled(Around):
    """Slow, and now and then away for a while; what it was asked then was done, or not, and nobody knows."""

    def __init__(self, world, chance):
        super().__init__(world.store)
        self._world, self._chance = world, chance
        self._until, self._trouble = 0.0, ""

    def __getattr__(self, name):
        method = getattr(self.inner, name)
        if not inspect.iscoroutinefunction(method) or name in ("setup", "close", "definitions", "save_definition"):
            return method

        async def troubled(*arguments, **keywords):
            await self._pause()
            trouble = self._now()
            if trouble == "away":
                raise StoreUnavailable("away")
            if trouble == "lost":
                raise OutcomeUnknown("not done")
            answer = await method(*arguments, **keywords)
            await self._pause()
            if trouble == "late":
                raise OutcomeUnknown("done")
            return answer

        return troubled

    async def acquire(self, permits):
        return await self.__getattr__("acquire")(permits)

    async def give_back(self, worker_id, tokens):
        return await self.__getattr__("give_back")(worker_id, tokens)

    async def _pause(self):
        if self._chance.random() < 0.5:
            await asyncio.sleep(self._chance.choice([0, 0, 0.01, 0.3]))

    def _now(self):
        if self._world.time >= self._until:
            self._trouble = ""
            if self._chance.random() < 0.04:
                self._until = self._world.time + self._chance.choice(SPELLS)
                self._trouble = self._chance.choice(["away", "lost", "late"])
        return self._trouble


class Meddling:
    """A hook that takes its time, and asks something of the saga it is told of."""

    def __init__(self, chance):
        self._chance = chance
        self.orchestrator = None

    async def on_transition(self, instance, event):
        pick = self._chance.random()
        if pick < 0.2:
            await asyncio.sleep(self._chance.choice([0, 0.1, 1]))
        elif pick < 0.22:
            raise asyncio.CancelledError
        elif pick < 0.3 and self.orchestrator is not None:
            verbs = {"signal": ["go", None], "resume": []}
            verb = self._chance.choice([*verbs])
            with contextlib.suppress(SagaError):
                await getattr(self.orchestrator, verb)(instance.saga_id, *verbs[verb])


def definitions(chance):
    def ends(*errors):
        async def work(data):
            await asyncio.sleep(chance.choice([0, 0, 0.01, 0.5, 3]))
            if chance.random() < 0.15:
                raise chance.choice(errors)
            return 1

        return work

    async def undo(data, result):
        await asyncio.sleep(chance.choice([0, 0, 0.5]))
        if chance.random() < 0.1:
            raise OSError("busy")

    def maybe(limit):
        return limit if chance.random() < 0.6 else None

    def step(name, **options):
        back = Compensation(undo, retry=FIRM, limit=maybe(Limit("back", concurrency=1)))
        return Step(
            name, ends(OSError("busy"), TimeoutError(), Rejected("no")), compensation=back, retry=SHORT, **options
        )

    def probe(data):
        return chance.choice([Probe.HAPPENED(1), Probe.DID_NOT_HAPPEN, Probe.STILL_UNKNOWN])

    few, seldom = Limit("few", concurrency=2), Limit("seldom", rate=5, burst=2, key=lambda data: "k")
    child = SagaDefinition(name="child", steps=[step("x"), step("y", limit=maybe(few))])
    waits = Sequence(WaitFor("go", signal="go", timeout=30, on_timeout="continue"), step("b", timeout=2))
    wide = SagaDefinition(
        name="wide",
        parallel_compensation=chance.random() < 0.5,
        steps=[
            step("a"),
            Parallel(step("c"), waits, step("d", limit=maybe(few)), step("e", limit=maybe(seldom))),
            SubSaga("kid", child),
            Step("go_ahead", ends(Unknown("?"), OSError("busy")), pivot=True, probe=probe, retry=SHORT),
            Step("tell", ends(Unknown("?")), compensatable=False, on_unknown="probe", probe=probe, limit=maybe(seldom)),
        ],
    )
    narrow = SagaDefinition(
        name="narrow",
        deadline=chance.choice([None, 5, 20]),
        steps=[step("a"), Sleep("nap", chance.choice([0.3, 2, 9])), step("asks", awaits_reply=True, timeout=4)],
    )
    return wide, narrow, child


ASKED = [
    *["start"] * 4,
    *["signal"] * 3,
    *["reply"] * 2,
    "abort",
    "suspend",
    "resume",
    "retry",
    "execute",
    "resume all",
]


def ask(orchestrator, chance, saga_id, definition, new):
    """Something that a user, a message or an operator asks."""
    match chance.choice(ASKED):
        case "start":
            return orchestrator.start(definition, saga_id=new)
        case "signal":
            return orchestrator.signal(saga_id, "go", message_id="m")
        case "reply":
            return orchestrator.complete_step(saga_id, "asks", 1)
        case "abort":
            return orchestrator.abort(saga_id, "stop", cut=chance.random() < 0.5)
        case "suspend":
            return orchestrator.suspend(saga_id, actor="eve", reason="audit")
        case "resume":
            return orchestrator.resume(saga_id)
        case "retry":
            return orchestrator.retry(saga_id, actor="eve", reason="again")
        case "execute":
            return orchestrator.execute(saga_id, timeout=1)
        case _:
            return orchestrator.resume_all()


async def meddle(orchestrator, chance, ids, sagas):
    """Ask one thing after the other; now and then whoever asks gives up waiting."""
    for _ in range(chance.randrange(5, 25)):
        await asyncio.sleep(chance.choice([0, 0.05, 0.3, 1]))
        known = chance.choice(ids) if ids else "nobody"
        ids.append(f"s-{len(ids)}")
        task = asyncio.ensure_future(ask(orchestrator, chance, known, chance.choice(sagas[:2]), ids[-1]))
        if chance.random() < 0.3:
            await asyncio.sleep(chance.choice([0, 0.01, 0.2]))
            task.cancel()
        with contextlib.suppress(SagaError, TimeoutError, asyncio.CancelledError):
            await task


async def turmoil(chance):
    """What is left to nobody in the end."""
    world, ids, sagas = World(), [], definitions(chance)

    async def one():
        hook = Meddling(chance)
        to = world.orchestrator(
            *sagas,
            store=Troubled(world, chance),
            hooks=[hook],
            settings=SETTINGS,
            lease=chance.choice([2, 3, 10]),
            poll_interval=chance.choice([0.2, 1, 5]),
            drain_timeout=chance.choice([0, 1]),
            worker=chance.random() < 0.8,
        )
        with contextlib.suppress(StoreError):
            async with to as hook.orchestrator:
                await meddle(to, chance, ids, sagas)

    for _ in range(chance.randrange(1, 4)):
        await asyncio.gather(*(one() for _ in range(chance.randrange(1, 4))))
    async with world.orchestrator(*sagas) as orchestrator:
        for _ in range(40):
            await asyncio.sleep(10)
            for saga_id, stored in list(world.store._sagas.items()):
                with contextlib.suppress(SagaError):
                    if stored.record.stuck:
                        await orchestrator.retry(saga_id, actor="eve", reason="mended")
                    elif stored.record.suspended:
                        await orchestrator.resume(saga_id)
        records = [stored.record for stored in world.store._sagas.values()]
        return [one for one in records if one.state not in ("completed", "failed") and not one.stuck]


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_when_the_trouble_is_over_no_saga_is_left_to_nobody(first):
    for seed in range(first, first + 20):
        order = random.Random(seed).randrange if seed % 2 else None
        loop = VirtualLoop(choose=order, max_steps=3_000_000)
        try:
            assert loop.run_until_complete(turmoil(random.Random(seed))) == [], f"seed {seed}"
        finally:
            loop.close()
