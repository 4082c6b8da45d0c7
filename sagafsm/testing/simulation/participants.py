"""The participants of a simulated saga: they may fail in every way there is, and they never lie.

What must stay true, as of any good participant: one key, one effect; a compensation names the key of the action that it
cancels, and where that has not been seen (yet) it leaves a tombstone, so that a late action does nothing; "rejected" is
said only of what did not happen and will not. Everything else is open: an effect may land at once, much later or never,
whatever the caller was told. A step with ``idempotent=False`` has a participant that knows no keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any, ClassVar

import attrs

from ...core.errors import Rejected
from ...core.probe import Probe
from ...runtime.context import StepContext
from ..checker import Effect
from ..loop import PROCESS, VirtualLoop
from ..trace import CallBegan, CallOver, Effected, Trace
from .faults import Faults
from .places import Place, payload_text

FORWARD_SITES = (
    "call error", "call lost before", "call lost after", "call lost late", "call slow", "call rejected",
    "call interrupted", "call unstorable", "call died", "call stubborn",
)  # fmt: skip
BACKWARD_SITES = (
    "call error",
    "call lost before",
    "call lost after",
    "call lost late",
    "call slow",
    "call interrupted",
    "call died",
    "call stubborn",
)
PROBE_SITES = ("call error", "call lost before", "call slow", "call interrupted", "call died", "call stubborn")
SITES_OF = {"forward": FORWARD_SITES, "backward": BACKWARD_SITES, "probe": PROBE_SITES}
DELAYS = (0.3, 1.5, 3.0, 8.0)
DEATHS: tuple[type[BaseException], ...] = (MemoryError, RecursionError, GeneratorExit, SystemExit, KeyboardInterrupt)
UNSTORABLE: tuple[Any, ...] = (object(), float("nan"), "\ud800", "x" * 100_000, {"deep": object})
STUBBORN = 0.6  # seconds that a call goes on after it was cancelled: less than the grace that it is given


@attrs.define(eq=False)
class Request:
    """What a participant was asked. ``plan``: what its step is meant to do in this run ("ok", "reject", "fail", …)."""

    saga: str
    place: Place
    key: str
    action_key: str
    attempt: int
    plan: str


@attrs.define
class Message:
    """What a participant has to say to a saga that awaits its reply."""

    saga: str
    step: str
    compensation: bool
    succeeded: bool
    number: int
    attempt: int


class Participants:
    """Everything outside the sagas. ``plans``: what steps are meant to do, by name; ``say`` takes their messages."""

    sites: ClassVar[Mapping[str, Sequence[str]]] = SITES_OF  # what can go wrong around a call, by its role

    def __init__(
        self,
        loop: VirtualLoop,
        trace: Trace,
        faults: Faults,
        below: Callable[[int], int],
        plans: Mapping[str, str],
        say: Callable[[Message], object],
    ) -> None:
        self.loop = loop
        self.trace = trace
        self.faults = faults
        self.below = below
        self.plans = plans
        self.say = say
        self.effects: dict[str, list[Effect]] = {}
        self.keys: dict[str, str] = {}  # what became of each key: done, undone, barred, rejected
        self._later_work: dict[int, Callable[[], object]] = {}  # what is still under way
        self.landing: set[asyncio.Task[Any]] = set()  # what arrives late and takes its time
        self._settling = False
        self.messages = 0
        self._calls = 0
        self._numbers = 0
        self.troubles = {role: faults.possible(sites) for role, sites in self.sites.items()}
        self.context: Context = copy_context()
        self.context.run(PROCESS.set, "world")

    # --- calls ---

    async def perform(
        self, place: Place, context: StepContext, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any:
        """Make one call, with whatever goes wrong in it."""
        process, trace, loop = PROCESS.get(), self.trace, self.loop
        if loop.owners is not None:
            loop.noted()
        self._calls = number = self._calls + 1
        saga, step, role = context.saga_id, place.step.name, place.role
        via = context.via
        trace.add(
            CallBegan(
                loop.now, process, saga, step, role, via, context.attempt, context.idempotency_key,
                payload_text(arguments, keywords), number,
            )
        )  # fmt: skip
        outcome = "interrupted"
        try:
            value = await self.answer(place, context, arguments, keywords)
            outcome = "ok"
            return value
        except Rejected:
            outcome = "rejected"
            raise
        except ConnectionRefusedError:
            outcome = "failed"
            raise
        except (ConnectionError, TimeoutError):
            outcome = "open"
            raise
        except Exception:
            outcome = "error"
            raise
        finally:
            trace.add(CallOver(loop.now, process, saga, step, role, outcome, number))

    def answer(
        self, place: Place, context: StepContext, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Awaitable[Any]:
        """What comes back from a call, sooner or later."""
        loop = self.loop
        future: asyncio.Future[Any] = asyncio.Future(loop=loop)
        possible = self.troubles[place.role]
        trouble = self.faults.first(possible) if possible else None
        step = place.step.name
        plan = (
            "ok" if place.role == "probe" else self.plans.get(step if place.role == "forward" else f"undo {step}", "ok")
        )
        request = Request(context.saga_id, place, context.idempotency_key, context.action_key, context.attempt, plan)
        if trouble is None:
            loop.call_soon(self._serve, request, future, context=self.context)
        else:
            self._go_wrong(trouble, request, future)
            if trouble == "call stubborn":
                return _in_spite(future)
        return future

    def _go_wrong(self, trouble: str, request: Request, future: asyncio.Future[Any]) -> None:
        loop, context = self.loop, self.context
        if trouble == "call error":
            loop.call_soon(_raise, future, ConnectionRefusedError("nobody answers"), context=context)
        elif trouble == "call lost before":
            loop.call_soon(_raise, future, ConnectionResetError("the connection broke"), context=context)
        elif trouble == "call lost after":
            loop.call_soon(self._serve_and_lose, request, future, context=context)
        elif trouble == "call lost late":
            loop.call_soon(_raise, future, TimeoutError("no answer"), context=context)
            self._later(self._land, request)
        elif trouble == "call slow":
            self._later(self._serve, request, future)
        elif trouble == "call rejected":
            request.plan = "reject"
            loop.call_soon(self._serve, request, future, context=context)
        elif trouble == "call interrupted":
            if self.below(2):
                loop.call_soon(self._land, request, context=context)
            loop.call_soon(_raise, future, asyncio.CancelledError(), context=context)
        elif trouble == "call died":
            if self.below(2):
                loop.call_soon(self._land, request, context=context)
            loop.call_soon(_raise, future, DEATHS[self.below(len(DEATHS))]("simulated"), context=context)
        elif trouble == "call stubborn":
            loop.call_later(STUBBORN, self._serve, request, future, context=context)
        else:
            loop.call_soon(self._serve_unstorable, request, future, context=context)

    def _later(self, work: Callable[..., object], *arguments: Any) -> None:
        self._numbers = number = self._numbers + 1
        self._later_work[number] = lambda: work(*arguments)

        def land() -> None:
            self._later_work.pop(number)()

        self.loop.call_later(DELAYS[self.below(len(DELAYS))], land, context=self.context)

    def settle(self) -> None:
        """All is over: what is still under way lands now, and nobody is told."""
        self._settling = True
        while self._later_work:
            self._later_work.pop(next(iter(self._later_work)))()

    # --- serving ---

    def _serve(self, request: Request, future: asyncio.Future[Any]) -> None:
        try:
            value = self._answer(request)
        except Exception as exc:
            _raise(future, exc)
        else:
            if not future.done():
                future.set_result(value)

    def _serve_and_lose(self, request: Request, future: asyncio.Future[Any]) -> None:
        self._land(request)
        _raise(future, ConnectionResetError("the answer was lost"))

    def _serve_unstorable(self, request: Request, future: asyncio.Future[Any]) -> None:
        try:
            self._answer(request)
        except Exception as exc:
            _raise(future, exc)
        else:
            if not future.done():
                future.set_result(UNSTORABLE[self.below(len(UNSTORABLE))])

    def _land(self, request: Request) -> None:
        with suppress(Exception):  # nobody hears the answer
            self._answer(request)

    def _answer(self, request: Request) -> Any:
        place = request.place
        if place.role == "probe":
            return self._probe(request)
        if place.role == "backward":
            return self._undo(request)
        return self._do(request)

    def _do(self, request: Request) -> Any:
        known = self.keys.get(request.key)
        plan = request.plan
        if plan.startswith("fail"):
            times = int(plan.partition(" ")[2] or 1_000)
            if request.attempt <= times:
                raise ConnectionRefusedError("not now")
        elif plan.startswith("open"):
            times = int(plan.partition(" ")[2] or 1_000)
            if request.attempt <= times:
                if self.below(2):
                    self._apply(request)
                raise ConnectionResetError("who knows")
        if known == "barred" or known == "rejected" or (plan == "reject" and known is None):
            if known is None:
                self.keys[request.key] = "rejected"
            if request.place.handler.awaits_reply and plan != "reject":
                self._tell(request, succeeded=False)
                return None
            raise Rejected("no")
        if request.place.handler.awaits_reply:
            self._hand_over(request)
            return None
        self._apply(request)
        return f"{request.place.step.name} done"

    def _apply(self, request: Request) -> None:
        known = self.keys.get(request.key)
        if known is None or (known == "done" and not request.place.step.idempotent):
            self.keys[request.key] = "done"
            self._note(request, undo=False)

    def _undo(self, request: Request) -> None:
        plan = request.plan
        if plan.startswith("fail") and request.attempt <= int(plan.partition(" ")[2] or 1_000):
            raise ConnectionRefusedError("not now")
        if plan == "reject":
            raise Rejected("cannot be undone")
        if request.place.handler.awaits_reply:
            self._hand_over(request)
        else:
            self._cancel(request)

    def _cancel(self, request: Request) -> None:
        if request.key in self.keys:
            return
        self.keys[request.key] = "done"
        if self.keys.get(request.action_key) == "done":
            self.keys[request.action_key] = "undone"
            self._note(request, undo=True)
        else:
            self.keys.setdefault(request.action_key, "barred")

    def _probe(self, request: Request) -> Any:
        if self.keys.get(request.key) in ("done", "undone"):
            return Probe.HAPPENED(f"{request.place.step.name} done")
        self.keys[request.key] = "barred"
        return Probe.DID_NOT_HAPPEN

    def _note(self, request: Request, *, undo: bool) -> None:
        place = request.place
        via = place.via
        self.effects.setdefault(request.saga, []).append(Effect(step=place.step.name, via=via, undo=undo))
        self.trace.add(Effected(self.loop.now, "", request.saga, place.step.name, via, undo, request.key))

    # --- replies ---

    def _hand_over(self, request: Request) -> None:
        """The work is done later, and a message says so."""
        if self.faults.strikes("message early"):
            self._finish(request)
        else:
            self._later(self._finish, request)

    def _finish(self, request: Request) -> None:
        succeeded = True
        if request.place.role == "backward":
            self._cancel(request)
        elif self.keys.get(request.key) in ("barred", "rejected"):
            succeeded = False
        else:
            self._apply(request)
        self._tell(request, succeeded=succeeded)

    def _tell(self, request: Request, *, succeeded: bool) -> None:
        if self._settling:
            return
        self.messages += 1
        backward = request.place.role == "backward"
        self.say(Message(request.saga, request.place.step.name, backward, succeeded, self.messages, request.attempt))

    # --- people ---

    def ask_again(self, saga: str, step: str, keys: Mapping[str, str]) -> None:
        """A person sees to it that what was refused can be done now. ``keys``: those of the step, by purpose."""
        for purpose in ("action", "fallback"):
            key = keys.get(purpose, "")
            if self.keys.get(key) == "rejected":
                del self.keys[key]

    def holds(self, key: str) -> bool:
        """Whether what was asked under this key stands; if not, it never will."""
        if self.keys.get(key) in ("done", "undone"):
            return True
        self.keys[key] = "barred"
        return False


async def _in_spite(future: asyncio.Future[Any]) -> Any:
    """Wait for it, whoever cancels the wait: as a function does that does not listen, or runs in a thread."""
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({future})
    return future.result()


def _raise(future: asyncio.Future[Any], error: BaseException) -> None:
    if future.done():
        return
    if isinstance(error, asyncio.CancelledError):
        future.cancel()
    else:
        future.set_exception(error)
