"""A simulated worker process: the real orchestrator in a context of its own; it can be killed, frozen and stopped.

What must stay true: every incarnation has an id of its own, and so has its worker; one that was killed says no last
word.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from ...core.definition import SagaDefinition
from ...core.errors import SagaError
from ...core.retry import ACTION_RETRY, COMPENSATION_RETRY
from ...runtime.orchestrator import Orchestrator
from ...runtime.settings import Settings
from ..environment import VirtualEnvironment
from ..loop import PROCESS, VirtualLoop
from ..trace import Fault, Trace
from .chance import Chance
from .front import Front
from .server import Server

T = TypeVar("T")

LEASE = 5.0
POLL = 3.0
RESTART = (0.2, 2.0, 6.0)  # seconds until a dead process is replaced: at once, soon, after its lease


class Process:
    """One place in the cluster. ``definitions``: what this one knows."""

    def __init__(
        self,
        name: str,
        loop: VirtualLoop,
        server: Server,
        trace: Trace,
        chance: Chance,
        definitions: Sequence[SagaDefinition],
        *,
        settings: Settings,
        numbers: itertools.count[int],
        dead: set[str],
        skew: float = 0.0,
        drift: float = 0.0,
    ) -> None:
        self.name = name
        self.definitions = definitions
        self.kinds = frozenset(definition.kind for definition in definitions)
        self.orchestrator: Orchestrator | None = None
        self.up = False
        self.frozen = False
        self.missing = False  # for good: nobody waits for it any more
        self.id = ""
        self._loop = loop
        self._server = server
        self._trace = trace
        self._chance = chance
        self._settings = settings
        self._numbers = numbers
        self._dead = dead
        self._skew = skew
        self._drift = drift
        self._count = 0
        self._context = contextvars.copy_context()
        self._opening: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin a new incarnation."""
        self._count += 1
        self.id = f"{self.name}.{self._count}"
        self._context = contextvars.copy_context()
        self._context.run(PROCESS.set, self.id)
        self.orchestrator = None
        self.up, self.frozen = True, False
        self._opening = self._loop.create_task(self._open(), context=self._context)

    async def _open(self) -> None:
        while True:
            orchestrator = Orchestrator(
                Front(self._server, self.id),
                sagas=self.definitions,
                poll_interval=POLL,
                lease=LEASE,
                drain_timeout=2.0,
                retry=ACTION_RETRY,
                compensation_retry=COMPENSATION_RETRY,
                settings=self._settings,
                environment=self._environment(),
            )
            try:
                await orchestrator.__aenter__()
            except SagaError:
                await asyncio.sleep(0.5)
                continue
            self.orchestrator = orchestrator
            return

    def _environment(self) -> VirtualEnvironment:
        environment = VirtualEnvironment(
            self._loop,
            spread=self._chance.spread,
            numbers=self._numbers,
            is_alive=lambda worker: worker not in self._dead,
        )
        if self._skew or self._drift:
            time, skew, rate = self._loop.time, self._skew, 1.0 + self._drift
            environment.monotonic = lambda: skew + time() * rate
        return environment

    async def opened(self) -> None:
        """Wait until it serves, or has died."""
        opening = self._opening
        while opening is not None and not opening.done() and self.up:
            await asyncio.wait({opening}, timeout=1.0)

    # --- what can befall it ---

    def kill(self, *, noticed: bool) -> None:
        """It dies without a word; ``noticed``: others on its host can tell that it is gone."""
        if not self.up:
            return
        self._trace.add(Fault(self._loop.now, self.id, "crash"))
        self._loop.kill(self.id)
        if noticed and self.orchestrator is not None and self.orchestrator._engine_ is not None:
            self._dead.add(self.orchestrator._engine_.worker_id)
        self.up, self.orchestrator = False, None

    def freeze(self) -> None:
        """It stops, as by SIGSTOP, and knows nothing of it."""
        if self.up and not self.frozen:
            self._trace.add(Fault(self._loop.now, self.id, "freeze"))
            self._loop.freeze(self.id)
            self.frozen = True

    def thaw(self) -> None:
        """It goes on where it was."""
        if self.frozen:
            self._trace.add(Fault(self._loop.now, self.id, "thaw"))
            self._loop.thaw(self.id)
            self.frozen = False

    async def stop(self) -> None:
        """It is asked to leave, and leaves in good order."""
        orchestrator, process = self.orchestrator, self.id
        if not self.up or orchestrator is None:
            return
        self._trace.add(Fault(self._loop.now, process, "stop"))
        self.orchestrator = None
        closing = self._loop.create_task(orchestrator.close(), context=self._context)
        while not closing.done() and self.up and self.id == process and not self.missing:
            await asyncio.wait({closing}, timeout=1.0)
        if not closing.done():
            return  # it died while it was leaving
        if closing.exception() is not None and not isinstance(closing.exception(), SagaError):
            raise closing.exception()  # type: ignore[misc]
        self._trace.add(Fault(self._loop.now, process, "stopped"))
        if self.id == process:
            self.up = False

    # --- what can be asked of it ---

    @property
    def serves(self) -> bool:
        """Whether it takes calls of its API."""
        return self.up and self.orchestrator is not None

    def begin(self, verb: Callable[[Orchestrator], Awaitable[T]]) -> asyncio.Task[T]:
        """Ask something of its orchestrator. The task never ends if the process dies before it does."""
        orchestrator = self.orchestrator
        if orchestrator is None:
            raise RuntimeError(f"process {self.name} does not serve")

        async def work(open_one: Orchestrator) -> T:
            return await verb(open_one)

        return self._loop.create_task(work(orchestrator), context=self._context)
