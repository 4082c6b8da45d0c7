"""What the tests of this folder share: one store on virtual time, and processes that run orchestrators on it."""

import asyncio
import contextlib
import contextvars
import itertools

from sagafsm import Orchestrator, RetryPolicy
from sagafsm.runtime.memory import MemoryStore
from sagafsm.testing.environment import VirtualClock, VirtualEnvironment
from sagafsm.testing.loop import PROCESS, running_loop

EXACT = RetryPolicy(max_attempts=3, initial_interval=1.0, jitter=0)
NEVER = RetryPolicy.none()


def types(history):
    """The event types of a history."""
    return [event.type for event in history]


def state_of(saga):
    """A saga in one word, with its outcome or its flag where it has one."""
    flags = [word for word, on in (("stuck", saga.stuck), ("suspended", saga.suspended)) if on]
    return " ".join([saga.state.value, *flags, *([saga.outcome] if saga.outcome else [])])


class World:
    """Opens orchestrators on one store; each may be a process of its own, which can be killed."""

    def __init__(self):
        self.loop = running_loop()
        self.store = MemoryStore(clock=VirtualClock(self.loop))
        self._numbers = itertools.count(1)
        self._dead = set()

    @property
    def time(self):
        return self.loop.time()

    def environment(self):
        return VirtualEnvironment(
            self.loop, numbers=self._numbers, is_alive=lambda worker_id: worker_id not in self._dead
        )

    def orchestrator(self, *sagas, store=None, **options):
        """An orchestrator on the store (or on a store around it)."""
        return Orchestrator(
            self.store if store is None else store, sagas=sagas, environment=self.environment(), **options
        )

    async def open(self, process, *sagas, **options):
        """An orchestrator that is open, in a process of its own; what is asked of it belongs to that process."""
        context = contextvars.copy_context()
        context.run(PROCESS.set, process)
        orchestrator = self.orchestrator(*sagas, **options)
        await self.loop.create_task(orchestrator.__aenter__(), context=context)
        return Process(self, process, orchestrator, context)

    async def idle(self):
        """Wait until nothing more happens now."""
        return await self.loop.idle()


class Process:
    """An orchestrator in a process of its own."""

    def __init__(self, world, name, orchestrator, context):
        self._world = world
        self._name = name
        self._context = context
        self.orchestrator = orchestrator

    def spawn(self, verb):
        """Begin to ask something of the orchestrator: ``spawn(lambda to: to.run(…))``."""

        async def work():
            return await verb(self.orchestrator)

        return self._world.loop.create_task(work(), context=self._context)

    async def ask(self, verb):
        """Ask something of the orchestrator."""
        return await self.spawn(verb)

    def kill(self, *, noticed=True):
        """The process dies. ``noticed`` false: as on another host, where only its lease tells."""
        self._world.loop.kill(self._name)
        if noticed:
            self._world._dead.add(self.worker_id)

    @property
    def worker_id(self):
        return self.orchestrator._engine.worker_id

    async def close(self):
        await self.ask(lambda to: to.close())


class Ledger:
    """What steps did, in order, with the time at which they did it."""

    def __init__(self, time=lambda: 0.0):
        self.entries = []
        self._time = time

    def __call__(self, entry):
        self.entries.append((entry, self._time()))

    @property
    def names(self):
        return [entry for entry, _ in self.entries]

    @property
    def times(self):
        return [at for _, at in self.entries]

    def count(self, name):
        return self.names.count(name)


class Around:
    """A store around another: everything goes through, unless a subclass says otherwise."""

    def __init__(self, store):
        self.inner = store
        self.batches = store.batches

    def __getattr__(self, name):
        return getattr(self.inner, name)


@contextlib.asynccontextmanager
async def cancelled_at(work, instant):
    """Run ``work`` as a task and cancel it at the ``instant``-th time that it waits; yields whether it was."""
    task = asyncio.ensure_future(work)
    for _ in range(instant):
        if task.done():
            break
        await asyncio.sleep(0)
    cancelled = task.cancel()
    await asyncio.wait({task})
    yield cancelled
