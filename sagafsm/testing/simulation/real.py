"""The user's own functions as participants: they are called for real, and the faults strike around them.

What must stay true: a function runs in its process, and ends where that dies; what is counted as an effect is a
function that has returned, once for each idempotency key, as with a participant that honours keys.

What calls are meant to do (the behaviour of a run) goes by ``Saga.step.role``: ``reject``, ``fail`` (nobody answers),
``open`` (the connection broke, nothing was done), ``lost`` (done, and the answer was lost), ``twice`` (done, and the
process was interrupted), each with the number of calls of one key, or without: all.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections import Counter
from typing import Any

import attrs

from ...core.errors import Rejected
from ...runtime.context import StepContext
from ..checker import Effect
from ..trace import Effected
from .outside import CALL, Call
from .participants import DELAYS, SITES_OF, Message, Participants
from .places import Place
from .watch import Watch

MEANT = {
    "reject": "call rejected",
    "fail": "call error",
    "open": "call lost before",
    "lost": "call lost after",
    "twice": "call twice",
}


def label_of(definition: str, step: str, role: str) -> str:
    """What a function is called by in the behaviour of a run."""
    return f"{definition}.{step}.{role}"


# What only a function itself could do is not done around it.
TROUBLES = {
    role: [site for site in sites if site not in ("call died", "call stubborn")] for role, sites in SITES_OF.items()
}

ROLE_OF = {
    ("forward", "action"): "action",
    ("forward", "fallback"): "fallback",
    ("backward", "action"): "compensation",
    ("backward", "fallback"): "fallback_compensation",
    ("probe", "action"): "probe",
}


@attrs.frozen
class Counted:
    """A function that returned. ``effective``: the first time under its key, and not undone before it was done."""

    function: str
    key: str
    effective: bool


class RealWorld(Participants):
    """Calls what the user wrote. ``met``: what was meant to go wrong and did, and how often each key was called."""

    sites = TROUBLES

    def __init__(self, *arguments: Any, watch: Watch) -> None:
        super().__init__(*arguments)
        self.watch = watch
        self.counted: dict[str, list[Counted]] = {}
        self.met: Counter[tuple[str, str]] = Counter()
        self.begun: Counter[tuple[str, str]] = Counter()
        self.asserted: list[str] = []
        self.doubtful: set[str] = set()
        self._forbidden: set[str] = set()  # keys of which a person has said that they will never be done
        self._entered: dict[str, str] = {}  # the saga of every key with which a function was begun

    def answer(self, place: Place, context: StepContext, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Make the call, between two moments at which the process can die."""
        return self._call(place, context, functools.partial(_real, place, *arguments, **keywords))

    async def _call(self, place: Place, context: StepContext, real: functools.partial[Any]) -> Any:
        trouble = self.faults.first(self.troubles[place.role])
        trouble = self._meant(place, context.idempotency_key) or trouble
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
        if trouble in ("call interrupted", "call twice"):
            raise asyncio.CancelledError
        await asyncio.sleep(0)
        if place.handler.awaits_reply and place.role != "probe":
            self._reply_later(place, context)
        return value

    def _meant(self, place: Place, key: str) -> str | None:
        """What this call is meant to meet in this run."""
        label = label_of(place.definition.name, place.step.name, ROLE_OF[place.role, place.via])
        self.begun[label, key] += 1
        what, _, times = self.plans.get(label, "").partition(" ")
        if not what or (times and self.met[label, key] >= int(times)):
            return None
        self.met[label, key] += 1
        return MEANT[what]

    async def _do_it(self, place: Place, context: StepContext, real: functools.partial[Any]) -> Any:
        key = context.idempotency_key
        if self.keys.get(key) == "rejected" or key in self._forbidden:
            raise Rejected("simulated")
        name, watch = place.handler.name, self.watch
        watch.called[name] += 1
        self._entered[key] = context.saga_id
        call = Call(name, watch)
        CALL.set(call)
        try:
            value = await real()
        except AssertionError as exc:
            self.asserted.append(f"{name}: {str(exc) or 'an assertion failed'}")
            raise
        except Exception as exc:
            watch.note_error(name, exc)
            raise
        finally:
            CALL.set(None)
            while self.loop.refused:
                watch.refuse(name, self.loop.refused.pop())
        if call.slept:
            await asyncio.sleep(call.slept)  # it did its work, and then took its time
        self._count(place, context)
        return value

    def holds(self, key: str) -> bool:
        """Whether what was asked under this key stands; in doubt where its function was begun and did not return."""
        if self.keys.get(key) is None and key in self._entered:
            self.doubtful.add(self._entered[key])
        if super().holds(key):
            return True
        self._forbidden.add(key)
        return False

    def _begin(self, place: Place, context: StepContext, real: functools.partial[Any]) -> None:
        """A request that was given up arrives all the same."""
        task = self.loop.create_task(self._do_it(place, context, real))
        self.landing.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.landing.discard(task)
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
            self.trace.add(Effected(self.loop.now, "", saga, place.step.name, via, undo, key))

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
