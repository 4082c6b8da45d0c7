"""The stage a harness plays on: one virtual process with an orchestrator, which is opened anew for every call.

What must stay true: a saga has settled when only somebody outside could bring it on; until then time is moved forward,
from one instant at which something happens to the next; a process that crashes says no last word.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from ..core.definition import SagaDefinition
from ..core.errors import InvalidInput
from ..core.events import Event
from ..core.instance import SagaInstance
from ..runtime.memory import MemoryStore
from ..runtime.orchestrator import Orchestrator
from .cues import Cue
from .environment import EPOCH, VirtualClock, VirtualEnvironment
from .loop import PROCESS, VirtualLoop
from .script import ROLES, Script
from .story import Prompter, cannot

T = TypeVar("T")
Verb = Callable[[Orchestrator], Awaitable[T]]

YEAR = 365 * 86_400.0
POLL, LEASE = 100 * YEAR, 1000 * YEAR  # one process and nobody else: nothing to look for, nothing to lose
LONGEST = 50 * YEAR
MOST_AT_ONCE = 200_000  # steps of the loop at one instant; that takes seconds, and no saga needs so many


class Hangs(AssertionError):
    """The saga would go on for ever: a call does not end and has no timeout, or it is retried without end."""


class Stage:
    """Runs sagas whose functions follow a script. ``options`` are those of the orchestrator."""

    def __init__(self, definitions: Sequence[SagaDefinition], script: Script, options: Mapping[str, Any]) -> None:
        self.loop = VirtualLoop(max_at_once=MOST_AT_ONCE)
        self.store = MemoryStore(clock=VirtualClock(self.loop))
        self._definitions = definitions
        self._script = script
        self._options = options
        self._numbers = itertools.count(1)
        self._dead: set[str] = set()
        self._turn = threading.Lock()
        self._orchestrator: Orchestrator | None = None
        self._context = contextvars.copy_context()

    def play(
        self, verb: Verb[str] | None, saga_id: str | None, seconds: float | None
    ) -> tuple[SagaInstance, list[Event]]:
        """Do something to a saga and let it settle, or let ``seconds`` pass; where it stands then, and its history.

        ``verb`` returns the id of the saga. Runs in the calling thread, which must have no event loop running.
        Raises Livelock where something goes round in circles; the stage is closed then.
        """
        with self._turn:
            return self._run(self._session(verb, saga_id, seconds))

    async def _session(
        self, verb: Verb[str] | None, saga_id: str | None, seconds: float | None
    ) -> tuple[SagaInstance, list[Event]]:
        await self._open()
        try:
            saga_id = await self._within(verb) if verb is not None else saga_id
            saga = await self._settle(saga_id or "", None if seconds is None else self.loop.time() + seconds)
            return saga, await self._within(lambda orchestrator: orchestrator.history(saga.saga_id))
        finally:
            await self._within(lambda orchestrator: orchestrator.close())

    def tell(self, prompter: Prompter, start: Verb[str], cues: Sequence[Cue]) -> tuple[SagaInstance, list[Event]]:
        """Start a saga and give it one cue after the other; where it stands after the last, and its history."""
        with self._turn:
            script, self._script = self._script, prompter
            try:
                return self._run(self._story(prompter, start, cues))
            finally:
                self._script = script

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Play to the end; what cannot be played to its end is ended here and now, and the stage with it."""
        if self.loop.is_closed():
            work.close()
            raise InvalidInput("an earlier play was broken off, and with it all sagas here: make a new harness")
        task: asyncio.Task[T] = self.loop.create_task(work)
        try:
            return self.loop.run_until_complete(task)
        finally:
            if not task.done():
                self.loop.close()

    async def _story(
        self, prompter: Prompter, start: Verb[str], cues: Sequence[Cue]
    ) -> tuple[SagaInstance, list[Event]]:
        await self._open()
        try:
            saga_id = await self._within(start)
            await self.loop.idle()
            for number, cue in enumerate(cues):
                if not await self._give(saga_id, cue, prompter):
                    saga = await self._get(saga_id)
                    raise cannot(cue, number, cues, prompter, "stuck" if saga.stuck else saga.state.value)
                await self.loop.idle()
            saga = await self._get(saga_id)
            return saga, await self._within(lambda orchestrator: orchestrator.history(saga.saga_id))
        finally:
            await self._within(lambda orchestrator: orchestrator.close())

    async def _give(self, saga_id: str, cue: Cue, prompter: Prompter) -> bool:
        """Let what a cue says happen; False: it cannot."""
        if cue.kind == "asks":
            to = f"{saga_id}:{cue.of}" if cue.of else saga_id
            await self._within(lambda asked: getattr(asked, cue.name)(to, *cue.arguments, **cue.keywords))
        elif cue.kind == "dies":
            prompter.lose_all()
            await self._crash()
        elif cue.kind == "passes":
            return await self._pass(saga_id, cue.seconds)
        else:
            while (held := prompter.find_held(cue.name)) is None:
                if not await self._pass(saga_id, None):
                    return False
            if cue.error is not None:
                held.end.set_exception(cue.error)
            else:
                held.end.set_result(cue.result)
        return True

    async def _pass(self, saga_id: str, seconds: float | None) -> bool:
        """Let time go on: for so many seconds, or until the saga or a sub-saga does; False: none will by itself."""
        family = await self._family(saga_id)
        began = [saga.version for saga in family]
        until = self._latest(family) if seconds is None else self.loop.time() + seconds
        while True:
            next_timer = await self.loop.idle()
            if seconds is None and [saga.version for saga in await self._family(saga_id)] != began:
                return True
            if next_timer is None or next_timer > until:
                if seconds is None:
                    return False
                await self._at(until)
                return True
            await self._at(next_timer)

    async def _family(self, saga_id: str) -> list[SagaInstance]:
        """A saga and its sub-sagas."""

        async def find(orchestrator: Orchestrator) -> list[SagaInstance]:
            return [saga async for saga in orchestrator.find() if f"{saga.saga_id}:".startswith(f"{saga_id}:")]

        return await self._within(find)

    def _latest(self, family: Sequence[SagaInstance]) -> float:
        """When the last of these sagas' timers will have run out."""
        times = [self.loop.time()]
        for saga in family:
            due = [step.due_at for step in saga.progress.steps.values()] + [saga.deadline]
            times += [at - EPOCH for at in due if at is not None]
        limits = [
            handler.timeout
            for definition in self._script.definitions
            for step in definition.steps.values()
            for handler in (getattr(step, role) for role in ROLES)
            if handler is not None and handler.timeout is not None
        ]
        return max(times) + max(limits, default=0.0) + 1.0

    async def _open(self) -> None:
        environment = VirtualEnvironment(
            self.loop, numbers=self._numbers, is_alive=lambda worker: worker not in self._dead
        )
        self._context = contextvars.copy_context()
        self._context.run(PROCESS.set, f"process-{next(self._numbers)}")
        self._orchestrator = Orchestrator(
            self.store,
            sagas=[self._script.scripted(definition) for definition in self._definitions],
            poll_interval=POLL,
            lease=LEASE,
            environment=environment,
            **self._options,
        )
        await self._within(lambda orchestrator: orchestrator.__aenter__())

    async def _get(self, saga_id: str) -> SagaInstance:
        return await self._within(lambda orchestrator: orchestrator.get(saga_id))

    async def _within(self, verb: Verb[T]) -> T:
        """Do something in the process of the orchestrator: what it starts can be killed with it."""
        assert self._orchestrator is not None  # noqa: S101 - a session has one

        async def work(orchestrator: Orchestrator) -> T:
            return await verb(orchestrator)

        task: asyncio.Task[T] = self.loop.create_task(work(self._orchestrator), context=self._context)
        return await task

    async def _crash(self) -> None:
        self._script.crashed = False
        self.loop.kill(self._context.get(PROCESS, ""))
        self._dead.update(worker.worker_id for worker in await self.store.workers())
        await self._open()

    async def _settle(self, saga_id: str, until: float | None) -> SagaInstance:
        limit = self.loop.time() + LONGEST if until is None else until
        while True:
            next_timer = await self.loop.idle()
            if self._script.crashed:
                await self._crash()
                continue
            saga = await self._get(saga_id)
            if until is None and await self._rests(saga):
                return saga
            if next_timer is None or next_timer > limit:
                if until is None:
                    raise Hangs(_why(saga))
                await self._at(until)
                await self.loop.idle()
                return await self._get(saga_id)
            await self._at(next_timer)

    async def _at(self, when: float) -> None:
        moved: asyncio.Future[None] = self.loop.create_future()
        self.loop.call_at(when, moved.set_result, None)
        await moved

    async def _rests(self, saga: SagaInstance) -> bool:
        """Whether only the test can bring the saga on."""
        if saga.state.terminal or saga.stuck or saga.suspended:
            return True
        if not saga.waiting or any(step.calling or step.probing for step in saga.progress.steps.values()):
            return False
        for waiting in saga.waiting:
            if waiting.kind == "child" and waiting.name is not None:
                child = await self._get(waiting.name)
                if child.state.terminal or not await self._rests(child):
                    return False
            elif waiting.kind not in ("reply", "signal"):
                return False
        return True


def _why(saga: SagaInstance) -> str:
    calling = [name for name, step in saga.progress.steps.items() if step.calling or step.probing]
    if calling:
        return f"saga {saga.saga_id} never ends: the call of {', '.join(calling)} does not come back and has no timeout"
    waits = ", ".join(f"{waiting.step} ({waiting.kind})" for waiting in saga.waiting) or saga.state.value
    return f"saga {saga.saga_id} has not ended after {LONGEST / YEAR:g} years: {waits}"
