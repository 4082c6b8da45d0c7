"""The harness for tests of sagas: runs them for real on virtual time, with failures where the test wants them.

What must stay true: the engine that runs is the one of production, on a MemoryStore; sleeps, backoffs and timeouts
pass in no time; the same test gives the same run.

A test usually runs inside an event loop already, and one thread can run only one loop: swapping the running loop for
another works only as long as asyncio does not notice (Python 3.14 does). So the virtual loop runs in a thread of its
own for the length of each call, and the test's loop waits. Between two calls nothing runs and no orchestrator is
open, so there is nothing to close, and every call is also a test that the saga can be taken up where it was left.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Literal, Self

from ..core.commands import Delivery
from ..core.errors import InvalidInput, Rejected
from ..core.events import Event
from ..core.instance import SagaInstance
from ..core.retry import RetryPolicy
from ..declare import definition_of
from ..runtime.orchestrator import Orchestrator
from ..runtime.session import Definable
from ..runtime.settings import Settings
from .cues import Cue
from .script import Behaviour, NotReached, Script
from .stage import Stage, Verb
from .story import Prompter


class SagaTestHarness:
    """Runs sagas on virtual time and notes what was called.

    The first saga given is the one that :meth:`run` runs; sub-sagas come along by themselves. The real functions are
    called, except where a ``configure_…`` method says otherwise; functions go by their own name or, for the action
    of a step, by the step's (``"Saga.name"`` where two sagas have the same). ``retry``, ``compensation_retry``,
    ``hooks`` and ``settings`` are those of the orchestrator; backoffs have no jitter.

    As a context manager it checks at the end that everything configured was reached.
    """

    def __init__(
        self,
        *sagas: Definable,
        retry: RetryPolicy | None = None,
        compensation_retry: RetryPolicy | None = None,
        hooks: Sequence[Any] = (),
        settings: Settings | None = None,
    ) -> None:
        if not sagas:
            raise InvalidInput("give the harness the saga to test: SagaTestHarness(OrderFulfillment)")
        self._definitions = [definition_of(saga) for saga in sagas]
        options: dict[str, Any] = {
            "retry": retry,
            "compensation_retry": compensation_retry,
            "hooks": hooks,
            "settings": settings,
        }
        self._script = Script(self._definitions)
        self._stage = Stage(self._definitions, self._script, options)
        self._saga: SagaInstance | None = None
        self._history: list[Event] = []
        self.delivery: Delivery | None = None
        """What became of the last signal or reply."""

    # --- configuring ---

    def configure_failure(
        self,
        name: str,
        error: BaseException | type[BaseException] | None = None,
        *,
        times: int | None = None,
        after_effect: bool = False,
    ) -> None:
        """Let calls of a function raise ``error`` (default: Rejected), the next ``times`` or all of them.

        ``after_effect``: after the function did its work, as when the answer is lost on the way back. Raises
        InvalidInput for a name that no function has.
        """
        error = Rejected(f"{name} was configured to fail") if error is None else error
        if not isinstance(error, BaseException) and not (isinstance(error, type) and issubclass(error, BaseException)):
            raise InvalidInput(f"configure_failure takes an exception to raise, got {error!r}")
        self._configure(name, times, Behaviour("failure", error=error, after_effect=after_effect))

    def configure_result(self, name: str, result: Any = None, *, times: int | None = None) -> None:
        """Let calls of a function return ``result`` (a probe: one of its answers) instead of calling it."""
        self._configure(name, times, Behaviour("result", value=result))

    def configure_delay(self, name: str, seconds: float, *, times: int | None = None) -> None:
        """Let calls of a function begin only after so many seconds."""
        if not seconds >= 0:
            raise InvalidInput(f"a delay is in seconds and not negative, got {seconds!r}")
        self._configure(name, times, Behaviour("delay", seconds=seconds))

    def configure_hang(self, name: str, *, times: int | None = None, after_effect: bool = False) -> None:
        """Let calls of a function never come back (until their timeout), with or without having done their work."""
        self._configure(name, times, Behaviour("hang", after_effect=after_effect))

    def configure_crash(self, name: str, *, when: Literal["before", "after"] = "after", times: int = 1) -> None:
        """Let the process die during calls of a function, before or after it did its work; then a new one starts."""
        if when not in ("before", "after"):
            raise InvalidInput(f"when is 'before' or 'after', not {when!r}")
        self._configure(name, times, Behaviour("crash", after_effect=when == "after"))

    def _configure(self, name: str, times: int | None, behaviour: Behaviour) -> None:
        if times is not None and times < 1:
            raise InvalidInput(f"times must be at least 1, got {times!r}")
        behaviour.left = times
        self._script.find(name).add(behaviour)

    # --- running ---

    async def run(
        self,
        data: Any = None,
        *,
        saga: Definable | None = None,
        saga_id: str | None = None,
        correlation_id: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> SagaInstance:
        """Start a saga and run it until it is over, stuck or suspended, or waits for a reply or a signal.

        Sleeps and backoffs pass at once. Raises Hangs where it would go on for ever.
        """
        return await asyncio.to_thread(self._play, self._start(data, saga, saga_id, correlation_id, tags))

    def run_sync(
        self,
        data: Any = None,
        *,
        saga: Definable | None = None,
        saga_id: str | None = None,
        correlation_id: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> SagaInstance:
        """:meth:`run` for tests without ``await``. (There, the other methods go through ``asyncio.run``.)"""
        with ThreadPoolExecutor(1) as thread:
            run = contextvars.copy_context().run
            return thread.submit(run, self._play, self._start(data, saga, saga_id, correlation_id, tags)).result()

    def _start(
        self,
        data: Any,
        saga: Definable | None,
        saga_id: str | None,
        correlation_id: str | None,
        tags: Mapping[str, str] | None,
    ) -> Verb[str]:
        definition = self._definitions[0] if saga is None else definition_of(saga)

        async def start(orchestrator: Orchestrator) -> str:
            handle = await orchestrator.start(
                definition, data, saga_id=saga_id, correlation_id=correlation_id, tags=tags
            )
            return handle.saga_id

        return start

    async def play(
        self,
        data: Any = None,
        cues: Sequence[Cue] = (),
        *,
        conditions: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
        saga_id: str | None = None,
    ) -> SagaInstance:
        """Start a saga and let exactly this happen, in this order: every call waits for its cue.

        No function is called: the cues say how the calls end. ``conditions``: what the conditions (``when``) of steps
        answer, by step (None: they raise; a list: one after the other); without it the real ones are asked.
        ``inputs``: likewise the inputs of sub-sagas. What is configured does not count. The saga is returned as it is
        after the last cue. Raises NotReached for a cue that cannot be given.
        """
        return await asyncio.to_thread(self._tell, data, cues, conditions or {}, inputs or {}, saga_id)

    def play_sync(
        self,
        data: Any = None,
        cues: Sequence[Cue] = (),
        *,
        conditions: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
        saga_id: str | None = None,
    ) -> SagaInstance:
        """:meth:`play` for tests without ``await``."""
        with ThreadPoolExecutor(1) as thread:
            run = contextvars.copy_context().run
            return thread.submit(run, self._tell, data, cues, conditions or {}, inputs or {}, saga_id).result()

    def _tell(
        self,
        data: Any,
        cues: Sequence[Cue],
        conditions: Mapping[str, Any],
        inputs: Mapping[str, Any],
        saga_id: str | None,
    ) -> SagaInstance:
        prompter = Prompter(self._definitions, self._script.calls, conditions, inputs)
        start = self._start(data, None, saga_id, None, None)
        self._saga, self._history = self._stage.tell(prompter, start, cues)
        return self._saga

    async def signal(
        self, name: str, payload: Any = None, *, message_id: str | None = None, saga_id: str | None = None
    ) -> SagaInstance:
        """Deliver an outside event to the saga (default: the last one run), and run it on; see ``delivery``."""
        return await self._message(saga_id, lambda to, saga: to.signal(saga, name, payload, message_id=message_id))

    async def complete_step(
        self,
        step: str,
        result: Any = None,
        *,
        attempt: int | None = None,
        message_id: str | None = None,
        compensation: bool = False,
        saga_id: str | None = None,
    ) -> SagaInstance:
        """Give a step (or its compensation) the reply that it awaits, and run the saga on."""
        return await self._message(
            saga_id,
            lambda to, saga: to.complete_step(
                saga, step, result, attempt=attempt, message_id=message_id, compensation=compensation
            ),
        )

    async def fail_step(
        self,
        step: str,
        error: str | BaseException,
        *,
        retryable: bool = False,
        attempt: int | None = None,
        message_id: str | None = None,
        compensation: bool = False,
        saga_id: str | None = None,
    ) -> SagaInstance:
        """Reply that a step (or its compensation) failed, and run the saga on."""
        return await self._message(
            saga_id,
            lambda to, saga: to.fail_step(
                saga,
                step,
                error,
                retryable=retryable,
                attempt=attempt,
                message_id=message_id,
                compensation=compensation,
            ),
        )

    async def advance(self, seconds: float) -> SagaInstance:
        """Let so much time pass, for a saga that waits for something that does not come."""
        if not seconds >= 0:
            raise InvalidInput(f"time only goes forward, got {seconds!r} seconds")
        saga_id = self.saga_id
        return await asyncio.to_thread(self._play, None, saga_id, seconds)

    async def perform(self, verb: Verb[Any]) -> SagaInstance:
        """Ask something else of the orchestrator, and run the saga on.

        ``await harness.perform(lambda orchestrator: orchestrator.abort(harness.saga_id, "changed their mind"))``
        """
        saga_id = self.saga_id

        async def perform(orchestrator: Orchestrator) -> str:
            await verb(orchestrator)
            return saga_id

        return await asyncio.to_thread(self._play, perform)

    async def _message(
        self, saga_id: str | None, send: Callable[[Orchestrator, str], Awaitable[Delivery]]
    ) -> SagaInstance:
        to = self.saga_id if saga_id is None else saga_id

        async def message(orchestrator: Orchestrator) -> None:
            self.delivery = await send(orchestrator, to)

        return await self.perform(message)

    def _play(self, verb: Verb[str] | None, saga_id: str | None = None, seconds: float | None = None) -> SagaInstance:
        self._saga, self._history = self._stage.play(verb, saga_id, seconds)
        return self._saga

    # --- looking ---

    @property
    def saga(self) -> SagaInstance:
        """The saga that was run last, as it is now. Raises InvalidInput where none was run."""
        if self._saga is None:
            raise InvalidInput("no saga has run yet: call run() first")
        return self._saga

    @property
    def saga_id(self) -> str:
        """Its id."""
        return self.saga.saga_id

    @property
    def history(self) -> list[Event]:
        """Its events."""
        return list(self._history)

    @property
    def calls(self) -> list[str]:
        """The names of the functions called, in order, every attempt of every saga."""
        return [called.name for called in self._script.calls]

    def was_called(self, name: str) -> bool:
        """Whether a function was called. Raises InvalidInput for a name that no function has."""
        return self._script.find(name).name in self.calls

    def call_args(self, name: str, number: int = -1) -> Mapping[str, Any]:
        """What a function was given, by parameter, in its last call (or its first, ``number=0``, …)."""
        wanted = self._script.find(name).name
        found = [called.arguments for called in self._script.calls if called.name == wanted]
        try:
            return found[number]
        except IndexError:
            raise InvalidInput(f"{name} was called {len(found)} times; there is no call {number}") from None

    @property
    def elapsed(self) -> float:
        """The seconds of virtual time that have passed since the harness was made."""
        return self._stage.loop.time()

    def check_all_reached(self) -> None:
        """Raise NotReached where something was configured that never happened: then the test proves nothing."""
        missing = self._script.not_reached()
        if missing:
            raise NotReached(f"configured, but never reached: {', '.join(missing)} (called: {', '.join(self.calls)})")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.check_all_reached()
