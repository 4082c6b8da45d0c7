"""One saga's loop: decide, store, call, decide again.

What must stay true: a call begins only after its ``AttemptStarted`` is stored, under a lease that still holds. One
append of a saga is under way at a time. A refused append means that somebody else wrote: on a newer version the driver
reads and decides again, on a newer fence it ends at once and touches nothing more. A saga in which nothing runs costs
no task: its driver lets it go, in the same append that says what it waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..core import commands as c
from ..core.codec import replay
from ..core.decider import decide, is_wanted, names_a_call, next_wake
from ..core.definition import SagaDefinition
from ..core.errors import StoreError
from ..core.instance import SagaInstance
from ..core.progress import Progress
from ..store import AppendResult, Committed, Conflict, Duplicate, Refused
from .alarm import Alarm
from .appending import append_for
from .bodies import Bodies
from .context import StepContext
from .invoke import Interrupted
from .passes import Passes
from .strands import Strands
from .turnstile import Turnstile

if TYPE_CHECKING:
    from .engine import Engine


class LostOwnership(Exception):
    """Another worker has claimed the saga: nothing more may be written or called here."""


class Driver:
    """Runs one saga in this process, from the moment it is taken up until it waits, ends or is lost."""

    __slots__ = (
        "_alarm",
        "_bodies",
        "_closing",
        "_lapses",
        "_live",
        "_passes",
        "_running",
        "_strands",
        "_timerless",
        "_told",
        "_turn",
        "definition",
        "due_at",
        "engine",
        "fence",
        "let_go",
        "progress",
        "seen",
    )

    def __init__(self, engine: Engine, definition: SagaDefinition, progress: Progress, fence: int) -> None:
        self.engine = engine
        self.definition = definition
        self.progress = progress
        self.fence = fence
        self.let_go = False
        self.seen = float("-inf")  # when a step last asked whether the saga is still ours
        self.due_at: float | None = None  # when the saga is due again, once it is let go
        self._live = 0  # calls that have begun, or are about to, and have not ended
        self._running: bool | None = None  # whether our last append left calls running (None: it was not the last)
        self._turn = Turnstile()  # taken while a decision is being stored
        self._strands = Strands()
        self._bodies: Bodies | None = None
        self._passes = Passes(self, engine.permits) if definition.limited else None
        self._alarm: Alarm | None = None
        self._lapses = engine.lapses  # of the lease, when what is stored of the saga was handed in
        # Steps strictly one after the other and no deadline: while a call runs, nothing can fall due.
        self._timerless = definition.sequential and progress.deadline is None
        self._told = engine.listens or progress.parent_id is not None  # somebody wants to hear of every event
        self._closing = False

    @property
    def saga_id(self) -> str:
        """The saga that is driven."""
        return self.progress.saga_id

    @property
    def bodies(self) -> Bodies:
        """What may go on although its call has ended."""
        if self._bodies is None:
            self._bodies = Bodies()
        return self._bodies

    @property
    def instance(self) -> SagaInstance:
        """The saga as it stands."""
        return SagaInstance(self.progress, self.definition)

    def born(self, calls: Sequence[c.Call], lapses: int) -> None:
        """The saga was created by an append that announced these calls; ``lapses`` of the lease came before it."""
        self._live, self._lapses = len(calls), lapses
        self._running = True

    def begin(self, calls: Sequence[c.Call], now: float) -> None:
        """Make the calls that it was born with."""
        for call in calls:
            self._spawn(self.run(call))
        if not self._timerless:
            self._set_timer(now)

    # --- deciding and storing ---

    async def apply(self, given: c.Input, *, anyway: bool = False) -> tuple[c.Delivery, Progress]:
        """Decide what follows from an input, store it, and carry it out. Calls run on; they are not waited for.

        Raises what the decider raises, StoreError where the store fails for good, LostOwnership where it is no
        longer ours.
        """
        delivery, progress, calls = await self._store(given, ended=0, anyway=anyway)
        for call in calls:
            self._spawn(self.run(call))
        return delivery, progress

    async def _store(
        self, given: c.Input, *, ended: int, anyway: bool = False
    ) -> tuple[c.Delivery, Progress, Sequence[c.Call]]:
        """Decide and store; cancel what is to be cancelled; return the calls that are now due.

        ``ended``: how many live calls this input is the end of. ``anyway``: even where nothing is new.
        """
        engine = self.engine
        try:
            if self._turn.taken:
                await self._turn.wait()
            self._turn.taken = True
            try:
                while True:
                    if self.let_go:
                        raise LostOwnership(self.saga_id)
                    now = engine.clock()
                    advance, anew = not engine.draining, self._running is None
                    decision = decide(
                        self.definition, self.progress, given, now, engine.surroundings, advance=advance, anew=anew
                    )
                    progress, events, commands = decision.progress, decision.events, decision.commands
                    delivery, calls = decision.delivery, c.calls_among(commands)
                    running = self._live - ended + len(calls)
                    if self._passes is not None and await self._passes.asked(decision, calls, running):
                        continue  # it got its permits meanwhile
                    owner, due_at = self._hold(progress, now, running)
                    if not events and owner is not None:
                        if calls:
                            raise RuntimeError(f"saga {self.saga_id}: {calls} were decided without an event")
                        if not anyway:
                            break  # nothing new, and the saga stays here
                    # Where the record says the same besides as our last append left there, no index is touched.
                    before = self.progress
                    steady = (
                        running > 0
                        and self._running is True
                        and progress.state is before.state
                        and progress.stuck is before.stuck
                        and progress.suspended is before.suspended
                    )
                    lapses = engine.lapses
                    append = append_for(
                        engine, progress, events, fence=self.fence, owner=owner, due_at=due_at, now=now, steady=steady
                    )
                    del decision  # what is kept while an append is written is kept a thousand times
                    if not (self._told or owner is None):
                        events = ()  # nobody is going to hear of them
                    result = await engine.journal.commit(append)
                    if type(result) is Committed or type(result) is Duplicate:
                        self.progress, self._running, self._lapses = progress, running > 0, lapses
                        if owner is None:
                            self.let_go, self.due_at = True, due_at
                        break
                    await self._refused(result)  # somebody else wrote first: decide again on what is there now
                self._live += len(calls)
                if self._passes is not None:
                    self._passes.begin(calls)
            finally:
                self._turn.leave()
        finally:
            self._live -= ended
        # After the turn: a hook may well ask something of this very saga.
        if events and (self._told or self.let_go):
            await engine.stored(self, events)
        if len(calls) != len(commands):
            self._carry_out(commands)
        if self.let_go:
            self._end()
            calls = []  # it was abandoned while this was stored: whoever takes it up makes them
        elif not (self._timerless and calls):
            self._set_timer(now)
        return delivery, progress, calls

    def _hold(self, progress: Progress, now: float, running: int) -> tuple[str | None, float | None]:
        """Who is to own the saga from now on, and when it is due should that be nobody, or nobody alive.

        ``running``: how many calls will be live. With none, the saga waits or is at its end: it is let go.
        """
        engine = self.engine
        if progress.state.terminal:
            return None, None
        if running > 0:
            return engine.worker_id, now
        if engine.draining:
            return None, now
        due_at = self._next_wake(progress, now)
        if not (progress.stuck or progress.suspended):
            if self._passes is not None and self._passes.held:
                return self._passes.hold(engine.worker_id, now, due_at)
            if names_a_call(progress):
                return None, now  # which nobody makes: whoever takes the saga up does
        lingers = self._bodies is not None and self._bodies.linger
        stays = due_at is not None and not progress.stuck and (due_at - now <= engine.hold or lingers)
        return engine.worker_id if stays else None, due_at

    def _next_wake(self, progress: Progress, now: float) -> float | None:
        return next_wake(self.definition, progress, now, () if self._passes is None else self._passes.held)

    def go_on(self, interrupted: Sequence[str]) -> None:
        """Look again at what was held up. ``interrupted``: steps whose calls died, and may be made again now."""
        self._spawn(self._take(c.TakenOver(steps=tuple(interrupted)) if interrupted else c.Tick()))

    async def _refused(self, result: AppendResult) -> None:
        """An append was not accepted: read what is there now, or end where the saga is no longer ours."""
        if isinstance(result, Conflict):
            await self._read_again()
            return
        if isinstance(result, Refused):
            raise StoreError(f"saga {self.saga_id}: the store refuses an append: {result.reason}")
        self.abandon()
        raise LostOwnership(self.saga_id)

    async def _read_again(self) -> bool:
        """Take over what was written elsewhere; whether that was asked for. Ends where it is not ours, or lost."""
        stored = (await self.engine.store.load([self.saga_id])).get(self.saga_id)
        if stored is None or stored.record.version < self.progress.version:
            self.abandon()
            await self.engine.lost(self, stored)
            raise LostOwnership(self.saga_id)
        if stored.record.fence != self.fence or stored.record.owner != self.engine.worker_id:
            self.abandon()
            raise LostOwnership(self.saga_id)
        self._running = None
        start = self.engine.snapshot_of(stored)
        self.progress = replay(self.saga_id, stored.events, start)
        return stored.record.attention

    async def refresh(self) -> None:
        """Somebody else has written to the saga: read it and act on it."""
        if self._turn.taken:
            await self._turn.wait()
        if self.let_go:
            return
        self._turn.taken = True
        try:
            asked = await self._read_again()
        finally:
            self._turn.leave()
        await self.apply(c.Tick(), anyway=asked)  # else the store would name it again and again

    # --- carrying out ---

    def _carry_out(self, commands: Iterable[c.Command]) -> None:
        for command in commands:
            if isinstance(command, c.CancelCall):
                gone = self._strands.cut_short(command.step)
                if gone is not None:
                    self.bodies.setdefault(command.step, gone)
            elif isinstance(command, c.AbortChild):
                self.engine.abort_child(command)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._strands.begin(work, f"sagafsm {self.saga_id}", self._strand_ended)

    def _strand_ended(self, task: asyncio.Task[None]) -> None:
        self._strands.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            self.engine.strand_failed(self, error)

    def _first(self, calls: Sequence[c.Call]) -> c.Call | None:
        """The call that goes on in this task; each of the others gets its own."""
        for other in calls[1:]:
            self._spawn(self.run(other))
        return calls[0] if calls else None

    async def run(self, call: c.Call | None) -> None:
        """Make a call, decide on its end, make the next one: a sequence of steps stays in this one task."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - one of the strands
        try:
            while call is not None:
                ended = await self._perform(call, task)
                if ended is None:
                    if not (self.let_go or self._closing or self._live):
                        await self.apply(c.Tick())  # a call was cut: perhaps nothing holds the saga here any more
                    break
                call = self._first((await self._store(ended, ended=1))[2])
        except LostOwnership:
            pass
        except StoreError as exc:
            self.engine.orphaned(self, exc)
        self._strands.end(task, self._strand_ended)

    async def _perform(self, call: c.Call, task: asyncio.Task[None]) -> c.CallEnded | None:
        """One call, and how it ended; None where it was cut off and no end of it is to be recorded."""
        others = self._strands.calls(task, call.step)
        if others is not None:
            self.bodies.setdefault(call.step, others)
        permit = None if self._passes is None else self._passes.take(call)
        try:
            if self._bodies:
                await self._bodies.after_the_last(call.step, self.engine.invoker.grace)
            if not is_wanted(self.progress, call):
                self._live -= 1
                return None
            if not self.engine.lease_holds() or self._lapses != self.engine.lapses:
                self._live -= 1  # since it was announced, somebody else may have taken the saga
                self.engine.orphaned(self, None)
                return None
            return await self.engine.call(self, call)
        except asyncio.CancelledError:
            self._live -= 1
            if not (self._strands.is_cut(task) or self._closing or self.let_go):
                self.engine.orphaned(self, None)  # the body cancelled itself: it may have happened
            return None
        except Interrupted as exc:
            self._live -= 1
            self.engine.orphaned(self, exc)
            return None
        except (KeyboardInterrupt, SystemExit):
            self._live -= 1
            raise
        finally:
            if self._passes is not None and permit is not None:
                self._passes.give_back(call.step, permit, self.bodies)
            self._strands.call_ended(task, call.step)

    # --- time ---

    def _set_timer(self, now: float) -> None:
        if self._alarm is None:
            self._alarm = Alarm(self._wake)
        self._alarm.set(self._next_wake(self.progress, now), now)

    def _wake(self) -> None:
        self._spawn(self._take(c.Tick()))

    async def _take(self, given: c.Input) -> None:
        try:
            await self.apply(given)
        except LostOwnership:
            return
        except StoreError as exc:
            self.engine.orphaned(self, exc)

    # --- the end ---

    def _end(self) -> None:
        """The saga is no longer driven here."""
        if self._alarm is not None:
            self._alarm.stop()
        self._strands.cancel_others()
        if self._passes is not None:
            self._passes.leave()
        self.engine.ended(self)

    def abandon(self) -> None:
        """Stop driving without writing anything: the log says how far the saga came."""
        self.let_go = True
        self._end()

    async def drain(self, timeout: float) -> None:
        """Let running calls end for ``timeout`` seconds, then cut them off; nothing is recorded of those."""
        await self._strands.drain(timeout)
        self._closing = True
        await self._strands.cut_off(self.engine.invoker.grace)

    def context(self, call: c.Call) -> StepContext:
        """What the function called can ask."""
        return StepContext(self.progress, self.definition, call, self.engine.action_key(self, call), self._alive)

    async def _alive(self) -> None:
        if self.let_go or self._closing or not await self.engine.still_owns(self):
            raise asyncio.CancelledError
