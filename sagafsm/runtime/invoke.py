"""Calling one function of the user: arguments, threads, timeouts, and what its end means.

What must stay true: whatever the function does, exactly one end comes back, and nothing it raises escapes except the
end of the process. A function that is not async runs in a thread, so that it never holds up other sagas. Arguments
are decoded afresh for every call: what a function does to them is its own affair.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, Protocol

import attrs

from ..core.commands import (
    OUTCOME_FAILED,
    OUTCOME_IMPOSSIBLE,
    OUTCOME_REJECTED,
    OUTCOME_SUCCEEDED,
    OUTCOME_UNKNOWN,
    ROLE_BACKWARD,
    ROLE_PROBE,
    Call,
    CallEnded,
)
from ..core.definition import SagaDefinition
from ..core.errors import ResultNotStorable
from ..core.events import Failure
from ..core.outcome import classify
from ..core.payload import NotReadable, NotStorable, decode, encode
from ..core.probe import Probe
from ..core.progress import Progress
from ..core.step import Argument, Handler, StepDefinition
from .bodies import Bodies
from .context import StepContext

MESSAGE_LIMIT = 2000
LATE = "the lease ran out before it could begin"

_KINDS = {"rejected": OUTCOME_REJECTED, "open": OUTCOME_UNKNOWN, "failed": OUTCOME_FAILED}


class Caller(Protocol):
    """Who wants a call to be made: the driver of its saga."""

    @property
    def bodies(self) -> Bodies:
        """Where a body is kept that may outlive its call."""
        ...

    def context(self, call: Call) -> StepContext:
        """What the function called can ask."""
        ...


@attrs.frozen
class Prepared:
    """A caller whose context was made before: hooks have seen it."""

    made: StepContext
    bodies: Bodies

    def context(self, call: Call) -> StepContext:
        """The one that was made."""
        return self.made


class Interrupted(Exception):
    """The call was cut off from outside: no end of it is recorded."""


def failure_of(exc: BaseException, step: str | None, at: float) -> Failure:
    """An exception as data: its class's name and its text, shortened."""
    try:
        message = str(exc)
    except Exception:  # a broken __str__ must not hide the failure itself
        message = "(its text cannot be shown)"
    if len(message) > MESSAGE_LIMIT:
        message = message[: MESSAGE_LIMIT - 1] + "…"
    message = message.encode("utf-8", "replace").decode().replace("\0", "\\0")
    return Failure(type=type(exc).__name__, message=message, step=step, at=at)


def arguments_for(
    handler: Handler,
    definition: SagaDefinition,
    progress: Progress,
    caller: Caller | None = None,
    call: Call | None = None,
) -> tuple[list[Any], dict[str, Any]]:
    """The positional and keyword arguments of one function. Raises NotReadable where data does not fit.

    ``caller`` and ``call``: where there is one; others have no context and no result to be given.
    """
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    for argument in handler.arguments:
        value = _value(argument, definition, progress, caller, call)
        if argument.keyword_only:
            keywords[argument.parameter] = value
        else:
            positional.append(value)
    return positional, keywords


def _value(
    argument: Argument,
    definition: SagaDefinition,
    progress: Progress,
    caller: Caller | None,
    call: Call | None,
) -> Any:
    if argument.source == "input":
        return decode(progress.data, argument.type if argument.type is not Any else definition.input)
    if argument.source == "context":
        return None if caller is None or call is None else caller.context(call)
    if argument.source == "result":
        known = None if call is None else progress.steps[call.step]
    else:
        known = progress.steps[argument.step or argument.parameter]
    return None if known is None or known.result is None else decode(known.result, argument.type)


class _InThread:
    """A call for a thread. Once it runs nobody can stop it, and it counts as running; before that it can be dropped."""

    def __init__(self, call: Callable[[], Any], may_begin: Callable[[], bool]) -> None:
        self._call = call
        self._may_begin = may_begin
        self._begun = self._dropped = False

    def __call__(self) -> Any:
        self._begun = True
        if self._dropped:
            return None
        if not self._may_begin():  # it may have waited for a thread for long
            raise Interrupted(LATE)
        try:
            return self._call()
        except StopIteration as exc:  # no future takes it: whoever waits would wait for ever
            raise RuntimeError("the function raised StopIteration") from exc

    def drop(self, body: asyncio.Future[Any]) -> None:
        """Nobody waits for it any more."""
        self._dropped = True  # in this order: either we see that it has begun, or it sees that it was dropped
        if not self._begun:
            body.cancel()


class Invoker:
    """Calls functions; shared by all sagas of an orchestrator.

    ``may_begin``: asked when a call has waited for its thread. ``grace``: seconds that a cancelled call is given to
    end. ``limit``: bytes that a result may have.
    """

    def __init__(
        self,
        executor: Callable[[], Executor],
        now: Callable[[], float],
        may_begin: Callable[[], bool],
        *,
        limit: int,
        grace: float,
    ) -> None:
        self._executor = executor
        self._now = now
        self._may_begin = may_begin
        self._limit = limit
        self.grace = grace

    async def call(
        self,
        caller: Caller,
        call: Call,
        handler: Handler | None,
        spec: StepDefinition,
        definition: SagaDefinition,
        progress: Progress,
    ) -> CallEnded:
        """Make the call and say how it ended."""
        if handler is None:
            return self._impossible(call, "the definition has no such function")
        function = handler.function
        if function is None:
            return self._impossible(call, f"nobody registered {handler.name}")
        try:
            positional, keywords = arguments_for(handler, definition, progress, caller, call)
        except NotReadable as exc:
            return self._impossible(call, f"its arguments cannot be decoded: {exc}")
        try:
            if handler.is_async and handler.timeout is None:
                body = function(*positional, **keywords)
                del positional, keywords  # what is kept while a call runs is kept a thousand times
                value = await body
            else:
                running = partial(caller.bodies.__setitem__, call.step)
                value = await self._apart(handler, function, positional, keywords, running)
        except (Interrupted, asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except Exception as exc:
            return self._failed(call, handler, spec, definition, exc)
        except BaseException as exc:
            raise Interrupted(f"the call ended with {type(exc).__name__}") from exc
        return self._returned(call, handler, value)

    async def _apart(
        self,
        handler: Handler,
        function: Callable[..., Any],
        positional: list[Any],
        keywords: dict[str, Any],
        running: Callable[[asyncio.Future[Any]], None],
    ) -> Any:
        """Run the function in a task or a thread of its own, so that its timeout holds whatever it does."""
        loop = asyncio.get_running_loop()
        if handler.is_async:
            task = loop.create_task(function(*positional, **keywords), name=f"sagafsm {handler.name}")
            return await self._watch(task, task.cancel, handler.timeout, handler.timeout, running)
        began, run = loop.time(), contextvars.copy_context().run
        thread = _InThread(lambda: run(function, *positional, **keywords), self._may_begin)
        body = loop.run_in_executor(self._executor(), thread)
        value = await self._watch(body, lambda: thread.drop(body), handler.timeout, handler.timeout, running)
        if not inspect.isawaitable(value):
            return value
        # A plain wrapper around an async function: nobody could tell before it was called.
        left = None if handler.timeout is None else max(0.0, handler.timeout - (loop.time() - began))
        inner = asyncio.ensure_future(value)
        return await self._watch(inner, inner.cancel, left, handler.timeout, running)

    async def _watch(
        self,
        body: asyncio.Future[Any],
        stop: Callable[[], object],
        left: float | None,
        timeout: float | None,
        running: Callable[[asyncio.Future[Any]], None],
    ) -> Any:
        """The result of a body that has ``left`` seconds; it is stopped when they are over or nobody wants it."""
        running(body)
        try:
            done, _ = await asyncio.wait({body}, timeout=left)
        except asyncio.CancelledError:
            stop()
            body.add_done_callback(_read)
            raise
        if not done:
            stop()
            body.add_done_callback(_read)
            raise TimeoutError(f"no answer within {timeout:g} s")
        if body.cancelled():
            raise Interrupted("the call was cancelled from inside")
        error = body.exception()
        if isinstance(error, (KeyboardInterrupt, SystemExit)) or not isinstance(error, (Exception, type(None))):
            raise Interrupted(f"the call ended with {type(error).__name__}")
        return body.result()

    def _impossible(self, call: Call, why: str) -> CallEnded:
        error = Failure(type="Impossible", message=why[:MESSAGE_LIMIT], step=call.step, at=self._now())
        return CallEnded(call=call, kind=OUTCOME_IMPOSSIBLE, error=error)

    def _failed(
        self, call: Call, handler: Handler, spec: StepDefinition, definition: SagaDefinition, exc: Exception
    ) -> CallEnded:
        if call.role is ROLE_BACKWARD:
            policy = definition.backward_retry[call.step, call.via]
        else:
            policy = definition.forward_retry[call.step, call.via]
        kind = _KINDS[classify(exc, policy.non_retryable, spec.unknown_errors)]
        if call.role is ROLE_PROBE:
            kind = OUTCOME_UNKNOWN  # a probe that fails has found nothing out
        return CallEnded(call=call, kind=kind, error=failure_of(exc, call.step, self._now()))

    def _returned(self, call: Call, handler: Handler, value: Any) -> CallEnded:
        if call.role is ROLE_BACKWARD:
            return CallEnded(call=call, kind=OUTCOME_SUCCEEDED)
        happened = True
        if call.role is ROLE_PROBE:
            answer = Probe.read(value)
            if answer is None:
                error = Failure(type="StillUnknown", message=_probe_text(value), step=call.step, at=self._now())
                return CallEnded(call=call, kind=OUTCOME_UNKNOWN, error=error)
            happened, value = answer.happened, answer.result
        if value is None or handler.awaits_reply:
            return CallEnded(call=call, kind=OUTCOME_SUCCEEDED, happened=happened)
        try:
            what = f"the result of step {call.step}"
            result = encode(value, what=what, limit=self._limit, kind=handler.result_type)
        except NotStorable as exc:
            error = failure_of(ResultNotStorable(str(exc)), call.step, self._now())
            # It happened, but nobody will ever know how: not a failure, and calling again would tell no more.
            return CallEnded(call=call, kind=OUTCOME_UNKNOWN, error=error, final=True)
        return CallEnded(call=call, kind=OUTCOME_SUCCEEDED, result=result, happened=happened)


def _probe_text(value: Any) -> str:
    if value is Probe.STILL_UNKNOWN:
        return "the probe cannot tell yet"
    return (
        f"a probe must answer Probe.HAPPENED(result), Probe.DID_NOT_HAPPEN or Probe.STILL_UNKNOWN, not {value!r:.200}"
    )


def _read(body: asyncio.Future[Any]) -> None:
    """Take note of a late end, so that asyncio does not report it as forgotten."""
    if not body.cancelled():
        body.exception()
