"""Those who use the orchestrators of a simulated run: clients, participants with their replies, operators.

What must stay true: whoever gets no answer does not know, and asks again; nothing is asked behind the API's back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ...core import events as e
from ...core.codec import decode_event
from ...core.commands import Delivery
from ...core.errors import InvalidInput, OutcomeUnknown, PastPivot, SagaError, SagaFinished, SagaNotFound, StoreError
from ...core.instance import SagaInstance
from ...core.lifecycle import StepState
from ...core.step import StepKind
from ...runtime.orchestrator import Orchestrator
from ...store import Append, StoredEvent
from ..judging.logs import ASTRAY
from ..trace import Answered, Asked
from .participants import Message
from .plan import NOTHING_ELSE

if TYPE_CHECKING:
    from .run import Run

T = TypeVar("T")

PATIENCE = 9.0
PAUSE = 0.7
DEAD_LETTERS = 13.0  # seconds after which what was not wanted is delivered once more: by then all is calm
ACTOR = {"actor": "operator", "reason": "because"}
Verb = Callable[[Orchestrator], Awaitable[Any]]


class Clients:
    """Everybody outside the processes, in one run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.busy = 0  # those who still want something
        self.asking: dict[int, asyncio.Task[Any]] = {}
        self.steps_asking: list[tuple[int, int]] = []  # of the loop, during which somebody waited for an answer
        self._asked = 0
        self._retried: dict[str, int] = {}
        self._tending: set[str] = set()

    # --- asking ---

    async def ask(self, client: str, verb: str, saga: str, work: Verb, kind: str | None = None) -> tuple[str, Any]:
        """Ask some process; ``ok`` and the answer, ``fail`` and the error, or ``info``: nobody knows.

        ``kind``: one that has this definition.
        """
        run = self.run
        process = run.pick_process(kind)
        if process is None:
            return "down", None
        self._asked += 1
        number, add, loop, asked = self._asked, run.trace.add, run.loop, process.id
        add(Asked(loop.now, asked, client, verb, saga, number))
        task = process.begin(work)
        outcome, answer = "info", None
        self.asking[number], since = task, loop.steps
        await asyncio.wait({task}, timeout=PATIENCE)
        del self.asking[number]
        self.steps_asking.append((since, loop.steps))
        if not task.done():
            task.cancel()
            task.add_done_callback(_heard)
        elif not task.cancelled():
            error = task.exception()
            outcome, answer = ("ok", task.result()) if error is None else ("fail", error)
            if isinstance(error, (OutcomeUnknown, TimeoutError)) or (error is not None and not process.serves):
                outcome = "info"  # one that is leaving says no, whatever it was asked
            elif error is not None and not isinstance(error, SagaError):
                raise error
        told = answer if isinstance(answer, SagaInstance) else None
        what = type(answer).__name__ if outcome == "fail" else answer.name if isinstance(answer, Delivery) else ""
        add(
            Answered(
                loop.now, asked, client, verb, saga, number, outcome, what,
                None if told is None else told.version, None if told is None else told.state.value,
            )
        )  # fmt: skip
        if told is not None:
            run.views.append((saga, told.progress))
        return outcome, answer

    async def insist(self, client: str, verb: str, saga: str, work: Verb, kind: str | None = None) -> Any:
        """Ask until there is an answer; the answer, or the error of one that is final."""
        self.busy += 1
        try:
            while True:
                outcome, answer = await self.ask(client, verb, saga, work, kind)
                if saga == self.run.plan.victim and outcome in ("ok", "fail"):
                    return answer  # of this one nothing can be expected
                not_yet = isinstance(answer, SagaNotFound) and not self.run.existed(saga)
                if outcome == "ok" or (outcome == "fail" and not isinstance(answer, StoreError) and not not_yet):
                    return answer
                await asyncio.sleep(PAUSE)
        finally:
            self.busy -= 1
            self.run.look()

    def go(self, work: Any) -> None:
        """Begin something beside the others."""
        self.run.hold(self.run.loop.create_task(work))

    async def after(self, seconds: float, work: Any) -> None:
        """Do something later."""
        self.busy += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self.busy -= 1
        await work

    # --- clients ---

    def start(self, number: int, saga: str) -> None:
        """Have a saga started, perhaps twice, and perhaps stopped again."""
        run = self.run
        definition, data = run.plan.starts[number]

        def work(orchestrator: Orchestrator) -> Awaitable[Any]:
            return orchestrator.start(definition, data, saga_id=saga)

        kind = definition.kind
        self.go(self.insist("client", "start", saga, work, kind))
        faults, below = run.faults, run.chance.below
        if faults.strikes("start twice"):
            self.go(self.after(below(6) / 2, self.insist("client", "start", saga, work, kind)))
            if below(2) and run.plan.other_data is not NOTHING_ELSE:
                other = lambda orchestrator: orchestrator.start(definition, run.plan.other_data, saga_id=saga)  # noqa: E731
                self.go(self.after(2.0, self.insist("client", "start other", saga, other, kind)))
        if faults.strikes("abort"):
            cut, undo = below(3) == 1, below(5) != 1
            stop: Verb = lambda orchestrator: orchestrator.abort(  # noqa: E731
                saga, "no longer wanted", actor="ann", cut=cut, compensate=undo
            )
            self.go(self.after(0.1 + below(12) / 3, self.insist("client", "abort", saga, stop)))
        if faults.strikes("suspend"):
            self.go(self.after(below(8) / 2, self._suspend(saga, below(4) + 0.5)))
        if faults.strikes("look"):
            for _ in range(1 + below(4)):
                look: Verb = lambda orchestrator: orchestrator.get(saga)  # noqa: E731
                self.go(self.after(below(16) / 4, self.insist("client", "get", saga, look)))
        if faults.strikes("retry"):
            retry: Verb = lambda orchestrator: orchestrator.retry(saga, **ACTOR)  # noqa: E731
            self.go(self.after(below(12) / 2, self.insist("client", "retry", saga, retry)))
        if faults.strikes("resume all"):
            self.go(self.after(below(16) / 4, self._resume_all()))
        if faults.strikes("purge"):
            purge: Verb = lambda orchestrator: orchestrator.purge(finished_before=float(below(3)))  # noqa: E731
            self.go(self.after(1 + below(8), self.insist("client", "purge", saga, purge)))

    async def _resume_all(self) -> None:
        """Every process is told at once to take up whatever it can, again and again."""
        self.busy += 1
        try:
            resume: Verb = lambda orchestrator: orchestrator.resume_all()  # noqa: E731
            for _ in range(2):
                asked = [self.ask("operator", "resume all", "", resume) for _ in self.run.processes]
                await asyncio.gather(*asked)
        finally:
            self.busy -= 1
            self.run.look()

    async def _suspend(self, saga: str, seconds: float) -> None:
        self.busy += 1
        try:
            await self.insist("client", "suspend", saga, lambda orchestrator: orchestrator.suspend(saga, **ACTOR))
            await asyncio.sleep(seconds)
            await self.insist("client", "resume", saga, lambda orchestrator: orchestrator.resume(saga, **ACTOR))
        finally:
            self.busy -= 1
            self.run.look()

    # --- what sagas wait for ---

    def notice(self, append: Append) -> None:
        """A saga has begun to wait for a signal: whoever is to send it does so, or has done so already."""
        for new in append.events:
            if new.type == "WaitStarted":
                event = decode_event(append.saga_id, StoredEvent(0, new.type, new.at, new.data))
                if not isinstance(event, e.WaitStarted) or event.kind != "signal":
                    continue
                if event.name is not None and event.name in self.run.plan.signals:
                    self.go(self.after(0.4, self.signal(append.saga_id, event.name, f"awaited-{event.step}")))

    def early_signals(self, saga: str) -> None:
        """Signals that come before their step."""
        for name in self.run.plan.signals:
            if self.run.faults.strikes("message early"):
                self.go(self.signal(saga, name, "early"))

    async def signal(self, saga: str, name: str, reason: str) -> None:
        """Send a signal until it is answered, perhaps twice."""
        payload = self.run.plan.signals[name]
        message_id = f"{saga}:{name}:{reason}"
        send: Verb = lambda orchestrator: orchestrator.signal(saga, name, payload, message_id=message_id)  # noqa: E731
        await self.insist("outside", "signal", saga, send)
        if self.run.faults.strikes("signal twice"):
            await self.insist("outside", "signal", saga, send)

    def say(self, message: Message) -> None:
        """A participant has something to say."""
        self.go(self._say(message))

    async def _say(self, message: Message) -> None:
        self.busy += 1
        try:
            faults = self.run.faults
            if faults.strikes("message lost"):
                await asyncio.sleep(4.0)  # the broker delivers it again
            if faults.strikes("message astray"):
                await self._mislead(message)
            await self._deliver(message)
            if faults.strikes("message twice"):
                await self._deliver(message)
        finally:
            self.busy -= 1
            self.run.look()

    async def _deliver(self, message: Message) -> None:
        saga, step, backward = message.saga, message.step, message.compensation
        attempt = message.attempt if message.number % 2 else None  # some brokers keep it, some do not
        message_id = f"{saga}:message-{message.number}" + ("" if attempt is None else f":attempt-{attempt}")

        def tell(orchestrator: Orchestrator) -> Awaitable[Delivery]:
            if message.succeeded:
                return orchestrator.complete_step(
                    saga, step, self.run.plan.reply(step), attempt=attempt, message_id=message_id, compensation=backward
                )
            return orchestrator.fail_step(
                saga, step, "no", attempt=attempt, message_id=message_id, compensation=backward
            )

        answer = await self.insist("participant", "reply", saga, tell)
        if answer in (Delivery.UNEXPECTED, Delivery.LATE) and "read stale" in self.run.faults.struck:
            # Judged by an old view of the saga, and no write shows it: nobody can do better, so the broker tries again.
            await asyncio.sleep(DEAD_LETTERS)
            await self.insist("participant", "reply", saga, tell)

    async def _mislead(self, message: Message) -> None:
        """Say something of an attempt that never was, of the wrong direction, or to a saga that does not exist."""
        below = self.run.chance.below
        saga = "saga-astray" if below(3) == 1 else message.saga
        backward = message.compensation is not (below(2) == 1)
        attempt = message.attempt + 50
        message_id = f"{message.saga}:{ASTRAY}{message.number}"

        def tell(orchestrator: Orchestrator) -> Awaitable[Delivery]:
            return orchestrator.complete_step(
                saga, message.step, "nonsense", attempt=attempt, message_id=message_id, compensation=backward
            )

        for _ in range(1 + below(3)):
            await self.ask("participant", "stray reply", saga, tell)

    # --- operators ---

    def tend(self, saga: str) -> None:
        """A person looks after a saga that is stuck or suspended."""
        if saga not in self._tending and saga != self.run.plan.victim:
            self._tending.add(saga)
            self.go(self._tend(saga))

    async def _tend(self, saga: str) -> None:
        self.busy += 1
        try:
            await asyncio.sleep(1.0)
            outcome, found = await self.ask("operator", "get", saga, lambda orchestrator: orchestrator.get(saga))
            if outcome == "ok" and isinstance(found, SagaInstance):
                await self._lead_on(found)
        finally:
            self.busy -= 1
            self._tending.discard(saga)
            self.run.look()

    async def _lead_on(self, saga: SagaInstance) -> None:
        name = saga.saga_id
        if saga.suspended:
            await self.insist("operator", "resume", name, lambda o: o.resume(name, **ACTOR))
        if not saga.stuck or saga.state.terminal:
            return
        if saga.progress.stuck_child is not None:
            return  # whoever tends the child tends it
        if not self.run.faults.calm:  # all that helps while things go wrong is to try again
            await self.insist("operator", "retry", name, lambda o: o.retry(name, **ACTOR))
            return
        tries = self._retried[name] = self._retried.get(name, 0) + 1
        step = saga.progress.stuck_step
        if step is not None:
            self.run.world.ask_again(name, step, self.run.keys_of(name, step))
        if tries <= 2:
            answer = await self.insist("operator", "retry", name, lambda o: o.retry(name, **ACTOR))
            if not isinstance(answer, InvalidInput):
                return
        if step is None:
            return
        progress = saga.progress.steps.get(step)
        if progress is not None and progress.state is StepState.UNKNOWN and self._answers(saga, step):
            await self._settle(saga, step, progress.via)
            return
        answer = await self.insist("operator", "skip", name, lambda o: o.skip(name, step, **ACTOR))
        if isinstance(answer, InvalidInput):
            answer = await self.insist("operator", "abort", name, lambda o: o.abort(name, "no way on", actor="ann"))
            if not isinstance(answer, (PastPivot, SagaFinished, SagaInstance)):
                raise AssertionError(f"{name}: nothing that a person can do leads on: {answer!r}")

    def _answers(self, saga: SagaInstance, step: str) -> bool:
        definition = self.run.definition_of(saga.progress.kind)
        return definition.steps[step].kind is StepKind.ACTION

    async def _settle(self, saga: SagaInstance, step: str, via: str) -> None:
        """A person finds out what happened, sees to it that it stays so, and says it."""
        name = saga.saga_id
        happened = self.run.world.holds(self.run.keys_of(name, step).get(via, ""))
        if happened:
            value = self.run.plan.reply(step)
            await self.insist("operator", "settle", name, lambda o: o.complete_step(name, step, value))
        else:
            await self.insist("operator", "settle", name, lambda o: o.fail_step(name, step, "it did not happen"))


def _heard(task: asyncio.Task[Any]) -> None:
    """Whoever asked has given up: the answer is of no interest any more."""
    if not task.cancelled():
        task.exception()
