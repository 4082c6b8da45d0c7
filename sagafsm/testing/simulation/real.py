"""The user's own functions as participants: they are called for real, and the faults strike around them.

What must stay true: a function runs in its process, and ends where that dies; what is counted as an effect is a
function that has returned, once for each idempotency key, as with a participant that honours keys.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import Any

import attrs

from ...core.errors import Rejected
from ...runtime.context import StepContext
from ..checker import Effect
from ..trace import Effected
from .participants import DELAYS, SITES_OF, Message, Participants
from .places import Place


@attrs.frozen
class Counted:
    """A function that returned. ``effective``: the first time under its key, and not undone before it was done."""

    function: str
    key: str
    effective: bool


class RealWorld(Participants):
    """Calls what the user wrote."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.counted: dict[str, list[Counted]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def answer(self, place: Place, context: StepContext, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Make the call, between two moments at which the process can die."""
        return self._call(place, context, functools.partial(_real, place, *arguments, **keywords))

    async def _call(self, place: Place, context: StepContext, real: functools.partial[Any]) -> Any:
        faults = self.faults
        trouble = faults.first(SITES_OF[place.role]) if faults.any_call and not faults.calm else None
        await asyncio.sleep(0)
        if trouble == "call error":
            raise ConnectionRefusedError("simulated: nobody answers")
        if trouble == "call lost before":
            raise ConnectionResetError("simulated: the connection broke")
        if trouble == "call rejected" and place.role == "forward":
            self.keys.setdefault(context.idempotency_key, "rejected")
        if self.keys.get(context.idempotency_key) == "rejected":
            raise Rejected("simulated")  # said once, it is so for all attempts, and never of what happened
        if trouble == "call lost late":
            self._later(self._begin, place, context, real)
            raise TimeoutError("simulated: no answer")
        if trouble == "call slow":
            await asyncio.sleep(DELAYS[self.below(len(DELAYS))])
        if trouble == "call interrupted" and self.below(2):
            raise asyncio.CancelledError
        value = await self._do_it(place, context, real)
        if trouble == "call lost after":
            raise ConnectionResetError("simulated: the answer was lost")
        if trouble == "call interrupted":
            raise asyncio.CancelledError
        await asyncio.sleep(0)
        if place.handler.awaits_reply and place.role != "probe":
            self._reply_later(place, context)
        return value

    async def _do_it(self, place: Place, context: StepContext, real: functools.partial[Any]) -> Any:
        if self.keys.get(context.idempotency_key) == "rejected":
            raise Rejected("simulated")
        value = await real()
        self._count(place, context)
        return value

    def _begin(self, place: Place, context: StepContext, real: functools.partial[Any]) -> None:
        """A request that was given up arrives all the same."""
        task = self.loop.create_task(self._do_it(place, context, real))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # nobody waits for it any more

    def _count(self, place: Place, context: StepContext) -> None:
        if place.role == "probe":
            return
        saga, key = context.saga_id, context.idempotency_key
        undo = place.role == "backward"
        first = self.keys.get(key) is None
        effective = first and (not undo or self.keys.get(context.action_key) == "done")
        if first:
            self.keys[key] = "done"
        if undo and first:
            done = self.keys.get(context.action_key) == "done"
            self.keys[context.action_key] = "undone" if done else "barred"
        self.counted.setdefault(saga, []).append(Counted(place.handler.name, key, effective))
        if effective:
            via = place.via
            self.effects.setdefault(saga, []).append(Effect(step=place.step.name, via=via, undo=undo))
            self.trace.add(Effected(self.loop.time(), "", saga, place.step.name, via, undo, key))

    def _reply_later(self, place: Place, context: StepContext) -> None:
        self.messages += 1
        message = Message(
            context.saga_id, place.step.name, place.role == "backward", True, self.messages, context.attempt
        )
        self._later(self.say, message)


async def _real(place: Place, *arguments: Any, **keywords: Any) -> Any:
    handler = place.handler
    if handler.function is None:
        raise NotImplementedError(f"nobody registered {handler.name}")
    call = functools.partial(handler.function, *arguments, **keywords)
    if handler.is_async:
        return await call()
    value = await asyncio.get_running_loop().run_in_executor(None, call)
    return await value if inspect.isawaitable(value) else value
