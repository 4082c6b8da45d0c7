"""What all sagas of one orchestrator share: the store, the journal, the clock, the definitions, the running drivers.

What must stay true: nothing here decides what a saga does; that is the core's. One driver at most per saga. What the
world is told (hooks, log lines, waiters, parents) is told after the store has said yes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from ..core import commands as c
from ..core import events as e
from ..core.codec import decode_snapshot, replay
from ..core.definition import SagaDefinition
from ..core.errors import SagaError, StoreError
from ..core.instance import SagaInstance
from ..core.keys import Purpose, derived_key, templated_key
from ..core.lifecycle import SAGA_COMPLETED
from ..core.progress import Progress
from ..core.step import KIND_CHILD, Handler, StepDefinition
from ..core.turn import Surroundings
from ..moving import refuse_moved
from ..store import Store, StoredSaga
from .driver import Driver
from .environment import Environment, StoreClock
from .family import Family
from .hooks import Hooks, log_event
from .invoke import LATE, Interrupted, Invoker, Prepared, arguments_for, failure_of
from .journal import Journal
from .looks import Looks
from .memories import Memory, set_lost_aside
from .permits import Permits
from .reading import Reader
from .settings import Settings
from .threads import DaemonThreads
from .waiters import Waiters

LOGGER = logging.getLogger("sagafsm")

LOOK_EVERY = 1.0

T = TypeVar("T")


class Orphan(NamedTuple):
    """A saga that nobody drives; ``until``: when a write that is still under way must have arrived."""

    fence: int
    until: float


class Engine:
    """Owns the drivers of the sagas that run in this process."""

    def __init__(
        self,
        store: Store,
        definitions: Mapping[str, SagaDefinition],
        settings: Settings,
        environment: Environment,
        hooks: Sequence[Any],
        *,
        lease: float,
        hold: float,
    ) -> None:
        self.store = store
        self.definitions = definitions
        self.settings = settings
        self.environment = environment
        self.clock = StoreClock(environment)
        self._monotonic = environment.monotonic
        self.worker_id = environment.worker_id()
        self.journal = Journal(store, environment, patience=settings.store_patience)
        self.permits = Permits(self, stay=max(1, settings.concurrency // 4))
        self.surroundings = Surroundings(
            namespace=settings.namespace,
            condition=self._condition,
            spread=environment.spread,
            permitted=self.permits.permitted,
        )
        self.invoker = Invoker(
            self._threads,
            self.clock,
            self.lease_holds,
            limit=settings.payload_limit,
            grace=settings.grace_period,
        )
        self.hooks = Hooks(hooks)
        self.waiters = Waiters()
        self.looks = Looks(self)
        self.reader = Reader(self)
        self.family = Family(self)
        self.drivers: dict[str, Driver] = {}
        self.orphans: dict[str, Orphan] = {}
        self.memory = Memory()
        self.unborn: set[str] = set()  # sagas whose creation is being stored, to be driven here
        self.lease = lease
        self.hold = hold
        self.draining = False
        self.wake = asyncio.Event()  # set: the worker should look at the store now
        self.stranded = asyncio.Event()  # set: sagas are ours that nobody drives
        self.next_due: float | None = None
        self.backlog = False  # more is due than there was room for: it goes before what is started from now on
        self._lease_until = float("-inf")  # a monotonic clock may begin anywhere, below zero too
        self._held_until = 0.0  # by the store's clock
        self.lapses = 0  # how often the lease had run out before it was renewed
        self._executor: DaemonThreads | None = None
        self._background: set[asyncio.Task[Any]] = set()

    # --- the lease ---

    async def beat(self) -> None:
        """Register this worker or renew its lease."""
        before = self.environment.monotonic()
        worker = await self.store.heartbeat(self.worker_id, self.lease)
        self.renewed(before, worker.until)

    def renewed(self, before: float, until: float) -> None:
        """A heartbeat that was sent at ``before`` holds ``until`` then, by the store's clock. Called by any thread."""
        if 0.0 < self._held_until <= until - self.lease:
            self.lapses += 1  # whoever claimed our sagas in between (or at that very moment) owns them now
        self._held_until = until
        self.clock.set(until - self.lease)
        # Counted from before the request, and short of the lease: we must stop before the store thinks so.
        self._lease_until = max(self._lease_until, before + self.lease * 0.9)

    @property
    def room(self) -> int:
        """How many more sagas may be in flight in this process."""
        return self.settings.concurrency - len(self.drivers) - len(self.unborn)

    @property
    def lease_left(self) -> float:
        """Seconds for which calls may begin without another heartbeat."""
        return self._lease_until - self.environment.monotonic()

    def lease_holds(self) -> bool:
        """Whether a call may begin: nobody else can have been granted what we own."""
        monotonic = self._monotonic  # a name first: CPython 3.11 is slow to call an attribute that is not a method
        return monotonic() < self._lease_until

    async def still_owns(self, driver: Driver) -> bool:
        """A long step says that it is alive: keep the lease, and look (not too often) whether its saga is still ours.

        A store that cannot be asked is no reason for a step to fail.
        """
        now = self.environment.monotonic()
        if now - driver.seen < LOOK_EVERY:
            return True
        driver.seen = now
        try:
            if self.lease_left < self.lease / 2:  # else the heart sees to it
                await self.beat()
            stored = (await self.store.load([driver.saga_id])).get(driver.saga_id)
        except StoreError:
            return True
        if stored is None or stored.record.fence != driver.fence:
            driver.abandon()
        return not driver.let_go

    # --- definitions and calls ---

    def definition_of(self, stored: StoredSaga) -> SagaDefinition | None:
        """The definition that a stored saga was started with, if this process has it."""
        return self.definitions.get(stored.record.kind)

    def snapshot_of(self, stored: StoredSaga) -> Progress | None:
        """The stored fold, if there is one."""
        snapshot = stored.snapshot
        return None if snapshot is None else decode_snapshot(stored.record.saga_id, snapshot.data)

    def progress_of(self, stored: StoredSaga) -> Progress:
        """Where a stored saga stands. Raises StoreCorrupt or StoreTooNew; SagaMoved where it is elsewhere."""
        refuse_moved(stored.record)
        return replay(stored.record.saga_id, stored.events, self.snapshot_of(stored))

    def _condition(self, spec: StepDefinition, progress: Progress) -> bool | e.Failure:
        handler = spec.when
        if handler is None or handler.function is None:
            return True
        try:
            positional, keywords = arguments_for(handler, self.definitions[progress.kind], progress)
            return bool(handler.function(*positional, **keywords))
        except Exception as exc:
            return failure_of(exc, spec.name, self.clock())

    def action_key(self, driver: Driver, call: c.Call) -> str:
        """The key of the action that a compensation, a fallback or a probe refers to."""
        if call.role is not c.ROLE_BACKWARD and call.via == "action":
            return call.idempotency_key
        template = driver.definition.steps[call.step].idempotency_key
        purpose: Purpose = "fallback" if call.via == "fallback" and call.role is not c.ROLE_FORWARD else "action"
        if template is not None:
            return templated_key(template, driver.progress.data, purpose)
        return derived_key(self.settings.namespace, driver.saga_id, call.step, purpose)

    @property
    def listens(self) -> bool:
        """Whether anybody wants to hear of every event."""
        return self.hooks.on_transitions or LOGGER.isEnabledFor(logging.INFO)

    def call(self, driver: Driver, call: c.Call) -> Awaitable[c.CallEnded]:
        """Make one call and say how it ended."""
        spec = driver.definition.steps[call.step]
        if spec.kind is KIND_CHILD:
            return self.family.call(driver, call, spec)
        action = call.role is c.ROLE_FORWARD and call.via == "action"  # by far the most frequent
        handler = spec.action if action else self._handler(spec, call)
        if self.hooks.around_steps:
            return self._call_with_hooks(driver, call, handler, spec)
        return self.invoker.call(driver, call, handler, spec, driver.definition, driver.progress)

    async def _call_with_hooks(
        self, driver: Driver, call: c.Call, handler: Handler | None, spec: StepDefinition
    ) -> c.CallEnded:
        context = driver.context(call)
        await self.hooks.before_step(context)
        if not self.lease_holds():  # the hook took its time
            raise Interrupted(LATE)
        caller = Prepared(context, driver.bodies)
        ended = await self.invoker.call(caller, call, handler, spec, driver.definition, driver.progress)
        await self.hooks.after_step(context, ended)
        return ended

    def _handler(self, spec: StepDefinition, call: c.Call) -> Handler | None:
        if call.role is c.ROLE_FORWARD:
            return spec.forward(call.via)
        return spec.probe if call.role is c.ROLE_PROBE else spec.backward(call.via)

    def _threads(self) -> DaemonThreads:
        if self._executor is None:
            self._executor = DaemonThreads(self.settings.threads, "sagafsm")
        return self._executor

    # --- what drivers report ---

    async def stored(self, driver: Driver, events: Sequence[e.SagaEvent]) -> None:
        """Events were stored: tell the log, the hooks, the definition's own callbacks and the saga's parent."""
        progress, instance = driver.progress, driver.instance  # while a hook takes its time, the saga goes on
        await self.heard(instance, events)
        if progress.state.terminal:
            completed = progress.state is SAGA_COMPLETED
            callback = driver.definition.on_completed if completed else driver.definition.on_failed
            if callback is not None:
                await self.hooks.best_effort(callback, instance)

    async def heard(self, instance: SagaInstance, events: Sequence[e.SagaEvent]) -> None:
        """Tell the log, the hooks and the saga's parent of events, whoever stored them."""
        if LOGGER.isEnabledFor(logging.INFO):
            for event in events:
                log_event(instance.progress, event)
        if self.hooks.on_transitions:
            await self.hooks.on_transition(instance, events, instance.version - len(events))
        if instance.parent_id is not None:
            self.family.report(instance.progress, events)

    def ended(self, driver: Driver) -> None:
        """A driver let its saga go."""
        if self.drivers.get(driver.saga_id) is driver:
            del self.drivers[driver.saga_id]
        progress = driver.progress
        self.memory.keep(progress, driver.fence)
        self.waiters.tell(driver.saga_id, driver.instance)
        if driver.due_at is not None and not progress.state.terminal:
            self.wake_at(driver.due_at)
        if self.backlog and self.room > 0:
            self.wake.set()

    def orphaned(self, driver: Driver, cause: BaseException | None) -> None:
        """A driver cannot go on although the saga may still be ours: it is taken up again in a moment."""
        if driver.let_go:
            return
        LOGGER.warning(
            "saga %s is put aside for a moment: %s",
            driver.saga_id,
            cause or "its call was interrupted",
            extra={"saga_id": driver.saga_id, "correlation_id": driver.progress.correlation_id},
        )
        self.orphan(driver.saga_id, driver.fence)
        driver.abandon()

    def orphan(self, saga_id: str, fence: int) -> None:
        """A saga is ours, or is about to be, and nobody drives it; what is known of a later grant counts."""
        known = self.orphans.get(saga_id)
        if known is not None and known.fence > fence:
            return
        patience = self.settings.store_patience + self.settings.grace_period
        self.orphans[saga_id] = Orphan(fence, self.environment.monotonic() + patience)
        self.stranded.set()

    async def lost(self, driver: Driver, stored: StoredSaga | None) -> None:
        """The store shows less of a saga than its driver wrote: it goes on only once a person has looked at it."""
        if not await set_lost_aside(self, driver.saga_id, driver.progress.version, stored):
            self.orphan(driver.saga_id, driver.fence)  # an old view, perhaps: look again

    def strand_failed(self, driver: Driver, error: BaseException) -> None:
        """A driver's task ended with an error that nobody foresaw: say so loudly, and lose nothing."""
        if isinstance(error, asyncio.CancelledError):
            if not self.draining:  # a step cancelled its own task as it ended
                self.orphaned(driver, None)
            return
        if isinstance(error, (KeyboardInterrupt, SystemExit)):  # Ctrl-C came while a step was at work
            self.orphaned(driver, Interrupted(f"the process is to end: {type(error).__name__}"))
            return
        LOGGER.error("saga %s: internal error", driver.saga_id, exc_info=error)
        self.orphaned(driver, error)

    def abort_child(self, command: c.AbortChild) -> None:
        """Pass an abort on to a sub-saga."""
        self.background(self.family.abort(command.child_id, command.reason))

    # --- waking the worker ---

    def wake_at(self, due_at: float) -> None:
        """Some saga is due at this time: the worker should not sleep longer. Where full, the next end wakes it."""
        if self.room <= 0 and due_at <= self.clock():
            self.backlog = True
        elif self.next_due is None or due_at < self.next_due:
            self.next_due = due_at
            self.wake.set()

    # --- background work ---

    def background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside the sagas; it is held, its errors are logged, and closing waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background_done)
        return task

    async def to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something that must not stop half-way when its caller is cancelled: it then goes on in the background."""
        task = asyncio.get_running_loop().create_task(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.done():
                self._background_done(task)  # its error came in the same instant, and nobody else hears of it
            else:
                self._background.add(task)
                task.add_done_callback(self._background_done)
            raise

    def _background_done(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, (StoreError, SagaError)):
            LOGGER.warning("in the background: %s", error)
        elif error is not None:
            LOGGER.error("in the background: internal error", exc_info=error)

    async def close(self, drain_timeout: float) -> None:
        """Let calls end for a while, cut off the rest, and give everything back."""
        self.draining = True
        try:
            if self.drivers:
                await asyncio.gather(*(driver.drain(drain_timeout) for driver in self.drivers.values()))
        finally:  # whoever is cancelled while waiting still leaves nothing running
            self.waiters.close()
            for driver in list(self.drivers.values()):
                driver.abandon()
            try:
                if self._background:
                    await asyncio.wait(list(self._background), timeout=self.settings.grace_period)
            finally:
                await self._cancel_background()
                await self.permits.close()
                await self.journal.close()
                if self._executor is not None:
                    self._executor.shutdown(wait=False, cancel_futures=True)

    async def _cancel_background(self) -> None:
        """Leave nothing running. Work that was shielded is only let go when the one that waits for it is cancelled."""
        for _ in range(3):
            tasks = list(self._background)
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=self.settings.grace_period)

    def instance(self, progress: Progress, problem: str | None = None) -> SagaInstance:
        """What readers see of a saga; typed where its definition is known here."""
        return SagaInstance(progress, self.definitions.get(progress.kind), problem=problem)
