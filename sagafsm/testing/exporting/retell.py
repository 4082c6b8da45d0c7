"""A log, and the logs of its sub-sagas, as a story: the cues after which the same things happen again.

What must stay true: only what came from outside becomes a cue (how calls ended, what was said, deaths of processes,
the passing of time); what the engine decided is what the test is there to see again.
"""

from __future__ import annotations

import builtins
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import msgspec

from ...core import events as e
from ...core.errors import InvalidInput, Rejected, Unknown
from ...core.outcome import classify
from ...core.probe import Probe
from ...core.retry import RetryPolicy
from ...core.step import Handler, StepKind
from ..account import Entry
from ..cues import Cue, asks, dies, ends, fails, passes
from .merge import Log, merged
from .redact import Redactor

SOMEBODY = {"actor": "somebody"}


class CannotRetell(InvalidInput):
    """The history holds something that a story cannot tell."""


@attrs.frozen(kw_only=True)
class Story:
    """What the harness plays, and what has to come out. ``calls``: the functions that are called, in order."""

    data: Any
    cues: Sequence[Cue]
    conditions: Mapping[str, list[bool | None]]
    inputs: Mapping[str, Any]
    calls: Sequence[str]


def retell(logs: Sequence[Log], redactor: Redactor) -> Story:
    """The story of a saga (the first log) and of its sub-sagas. Raises CannotRetell."""
    tellers = [_Teller(log, redactor) for log in logs]
    scene = _Scene()
    for place, entry in merged(logs):
        tellers[place].tell(entry, scene)
    first = logs[0]
    started = first.entries[0].event
    if not isinstance(started, e.SagaStarted):
        raise CannotRetell("the history does not begin with the beginning")
    return Story(
        data=redactor.value(msgspec.json.decode(started.data), first.definition.input, "the input"),
        cues=scene.cues,
        conditions=scene.conditions,
        inputs=scene.inputs,
        calls=scene.calls,
    )


@attrs.define
class _Scene:
    """What all the sagas of the story share."""

    cues: list[Cue] = attrs.field(factory=list)
    conditions: dict[str, list[bool | None]] = attrs.field(factory=dict)
    inputs: dict[str, Any] = attrs.field(factory=dict)
    calls: list[str] = attrs.field(factory=list)
    live: dict[tuple[str, str], str] = attrs.field(factory=dict)  # (saga, step) -> the role that is being called
    lost: set[tuple[str, str]] = attrs.field(factory=set)  # whose process is known to have died

    def die(self, call: tuple[str, str]) -> None:
        """The process that made this call died, with all the others."""
        if call not in self.lost:
            self.cues.append(dies())
            self.lost = set(self.live)
        self.lost.discard(call)


class _Teller:
    """Tells the log of one saga."""

    def __init__(self, log: Log, redactor: Redactor) -> None:
        self._definition = log.definition
        self._of = log.step
        self._prefix = f"{log.definition.name}." if log.step else ""
        self._redactor = redactor
        self._via: dict[str, str] = {}
        self._tried: Counter[str] = Counter()  # attempts of the call at work that ended, since it was granted them
        self._backoff: set[str] = set()
        self._probing: set[str] = set()
        self._awaiting: set[str] = set()  # steps whose reply is awaited
        self._waiting: set[str] = set()  # steps that wait for a signal or a time
        self._begun: set[str] = set()
        self._waives = False

    def tell(self, entry: Entry, scene: _Scene) -> None:
        """Add what this event tells of the outside."""
        event = entry.event
        name = type(event).__name__
        tell = getattr(self, f"_{name}", None)
        if tell is not None:
            tell(event, entry.at, scene)

    # --- helpers ---

    def _call(self, step: str) -> tuple[str, str]:
        return (self._of, step)

    def _place(self, step: str, role: str) -> str:
        return f"{self._prefix}{step}" + ("" if role == "action" else f".{role}")

    def _ask(self, scene: _Scene, verb: str, *arguments: Any, **keywords: Any) -> None:
        scene.cues.append(asks(verb, *arguments, of=self._of, **keywords))

    def _is_child(self, step: str) -> bool:
        return self._definition.steps[step].kind is StepKind.CHILD

    def _begin(self, step: str, role: str, handler: Handler | None, interruption: int, scene: _Scene) -> None:
        call = self._call(step)
        if call in scene.live and interruption:
            scene.die(call)
        elif step in self._backoff:
            scene.cues.append(passes())
        self._backoff.discard(step)
        self._awaiting.discard(step)
        if self._is_child(step):
            return
        scene.live[call] = role
        if handler is not None:
            scene.calls.append(handler.name)

    def _end(self, step: str, scene: _Scene) -> str | None:
        """The role of the call that was under way, which ends now."""
        call = self._call(step)
        scene.lost.discard(call)
        return scene.live.pop(call, None)

    def _result(self, raw: msgspec.Raw, kind: Any, where: str) -> Any:
        return self._redactor.value(msgspec.json.decode(raw), kind, where)

    def _error(self, failure: e.Failure, step: str, wanted: str) -> BaseException:
        """An exception that says the same of the outcome: of the same kind, if that is Python's own."""
        message = self._redactor.text(failure.message) if failure.message else ""
        kind = getattr(builtins, failure.type, None)
        retry = self._definition.forward_retry[step, self._via.get(step, "action")]
        unknown = self._definition.steps[step].unknown_errors
        if isinstance(kind, type) and issubclass(kind, Exception):
            try:
                made = kind(message)
            except TypeError:
                made = None
            if made is not None and classify(made, retry.non_retryable, unknown) == wanted:
                return made
        return {"rejected": Rejected, "open": Unknown, "failed": RuntimeError}[wanted](message)

    def _used_up(self, step: str, retry: RetryPolicy, error: e.Failure) -> bool:
        """Whether the call would not be made again anyhow: then any failure of it is the last."""
        return error.type != "Rejected" and retry.exhausted(self._tried[step] + 1)

    def _result_kind(self, step: str) -> Any:
        handler = self._definition.steps[step].forward(self._via.get(step, "action"))
        return Any if handler is None else handler.result_type

    def _undo_role(self, step: str) -> str:
        own = self._via.get(step) == "fallback" and self._definition.steps[step].fallback_compensation is not None
        return "fallback_compensation" if own else "compensation"

    def _condition(self, step: str, answer: bool | None, scene: _Scene) -> None:
        if self._definition.steps[step].when is not None and step not in self._begun:
            scene.conditions.setdefault(step, []).append(answer)
        self._begun.add(step)

    # --- the saga ---

    def _SagaStarted(self, event: e.SagaStarted, at: float, scene: _Scene) -> None:  # noqa: N802
        if self._of and event.parent_step is not None:
            kind = self._definition.input
            scene.inputs[event.parent_step] = self._result(event.data, kind, f"the input of {self._of}")

    def _SagaSuspended(self, event: e.SagaSuspended, at: float, scene: _Scene) -> None:  # noqa: N802
        self._ask(scene, "suspend", **SOMEBODY, reason="recorded")

    def _SagaResumed(self, event: e.SagaResumed, at: float, scene: _Scene) -> None:  # noqa: N802
        self._ask(scene, "resume")

    def _AbortRequested(self, event: e.AbortRequested, at: float, scene: _Scene) -> None:  # noqa: N802
        self._waives = not event.compensate
        if not self._begun:
            raise CannotRetell("the saga was aborted before its first step began; there is nothing to play")
        if self._of and event.actor is None and event.outcome == "compensated":
            return  # its parent asked
        reason = self._redactor.text(event.reason)
        if event.outcome == "compensated":
            self._ask(scene, "compensate", reason)
            return
        more = {"cut": True} if event.cut else {}
        more |= {} if event.compensate else {"compensate": False}
        self._ask(scene, "abort", reason, **SOMEBODY, **more)

    def _DeadlineExpired(self, event: e.DeadlineExpired, at: float, scene: _Scene) -> None:  # noqa: N802
        scene.cues.append(passes())

    def _SagaUnstuck(self, event: e.SagaUnstuck, at: float, scene: _Scene) -> None:  # noqa: N802
        if event.decision == "retry":
            self._ask(scene, "retry", **SOMEBODY, reason="recorded")
            self._backoff.difference_update(event.steps)
            for step in event.steps:
                self._tried[step] = 0

    def _SignalReceived(self, event: e.SignalReceived, at: float, scene: _Scene) -> None:  # noqa: N802
        payload = self._result(event.payload, Any, f"the payload of {event.name}")
        self._ask(scene, "signal", event.name, *([] if payload is None else [payload]))

    # --- forward ---

    def _AttemptStarted(self, event: e.AttemptStarted, at: float, scene: _Scene) -> None:  # noqa: N802
        self._condition(event.step, True, scene)
        if self._via.get(event.step, "action") != event.via:
            self._tried[event.step] = 0
        self._via[event.step] = event.via
        handler = self._definition.steps[event.step].forward(event.via)
        self._begin(event.step, event.via, handler, event.interruption, scene)

    def _WaitStarted(self, event: e.WaitStarted, at: float, scene: _Scene) -> None:  # noqa: N802
        self._condition(event.step, True, scene)
        self._waiting.add(event.step)

    def _ReplyAwaited(self, event: e.ReplyAwaited, at: float, scene: _Scene) -> None:  # noqa: N802
        if event.child is None:
            role = self._end(event.step, scene) or "action"
            scene.cues.append(ends(self._place(event.step, role)))
            self._awaiting.add(event.step)

    def _StepSucceeded(self, event: e.StepSucceeded, at: float, scene: _Scene) -> None:  # noqa: N802
        step, role = event.step, self._end(event.step, scene)
        self._waiting.discard(step)
        kind = Any if event.by in ("reply", "child", "signal") else self._result_kind(step)
        result = self._result(event.result, kind, f"the result of {step}")
        given = [] if result is None else [result]
        if event.by == "call" and role is not None:
            scene.cues.append(ends(self._place(step, role), *given))
        elif event.by == "probe":
            scene.cues.append(ends(self._place(step, "probe"), Probe.HAPPENED(result)))
        elif event.by == "reply":
            self._ask(scene, "complete_step", step, *given)
            self._returns_late(step, role, scene)
        elif event.by == "timer":
            scene.cues.append(passes())
        self._awaiting.discard(step)
        self._probing.discard(step)

    def _AttemptFailed(self, event: e.AttemptFailed, at: float, scene: _Scene) -> None:  # noqa: N802
        if event.retry_at is None and event.error.type == "Impossible":
            raise CannotRetell(f"step {event.step} could not be called ({event.error}); a story cannot tell that")
        self._ended_badly(event.step, event.error, "open" if event.open else "failed", scene, again=True)
        self._tried[event.step] += 1
        if event.retry_at is not None and event.retry_at > at:
            self._backoff.add(event.step)

    def _StepFailed(self, event: e.StepFailed, at: float, scene: _Scene) -> None:  # noqa: N802
        step = event.step
        if step in self._probing:
            self._end(step, scene)
            self._probing.discard(step)
            scene.cues.append(ends(self._place(step, "probe"), Probe.DID_NOT_HAPPEN))
        elif step not in self._begun:
            self._condition(step, None, scene)
        elif step in self._waiting:
            self._waiting.discard(step)
            if event.error.type == "TimeoutError":
                scene.cues.append(passes())
        elif not self._is_child(step):
            retry = self._definition.forward_retry[step, self._via.get(step, "action")]
            wanted = "failed" if self._used_up(step, retry, event.error) else "rejected"
            self._ended_badly(step, event.error, wanted, scene, again=False)

    def _StepUnknown(self, event: e.StepUnknown, at: float, scene: _Scene) -> None:  # noqa: N802
        self._ended_badly(event.step, event.error, "open", scene, again=False)

    def _ended_badly(self, step: str, error: e.Failure, wanted: str, scene: _Scene, *, again: bool) -> None:
        call = self._call(step)
        self._backoff.discard(step)  # where the saga turned back meanwhile
        if error.type == "Interrupted" and call in scene.live:
            scene.die(call)
            self._end(step, scene)
            return
        role = self._end(step, scene)
        if error.type == "Cut":
            self._awaiting.discard(step)
            return  # by an abort or the deadline, which is told already
        if role is not None and step not in self._awaiting:
            scene.cues.append(fails(self._place(step, role), self._error(error, step, wanted)))
        elif step in self._awaiting:
            self._awaiting.discard(step)
            self._reply_said(step, error, scene, again=again, backward=False)

    def _reply_said(self, step: str, error: e.Failure, scene: _Scene, *, again: bool, backward: bool) -> None:
        if error.type == "TimeoutError" and error.message == "no reply in time":
            scene.cues.append(passes())
            return
        more: dict[str, Any] = {"retryable": True} if again else {}
        more |= {"compensation": True} if backward else {}
        self._ask(scene, "fail_step", step, self._redactor.text(error.message or error.type), **more)

    def _StepSkipped(self, event: e.StepSkipped, at: float, scene: _Scene) -> None:  # noqa: N802
        if event.actor is None:
            self._condition(event.step, False, scene)
        else:
            self._ask(scene, "skip", event.step, **SOMEBODY, reason="recorded")

    def _ProbeStarted(self, event: e.ProbeStarted, at: float, scene: _Scene) -> None:  # noqa: N802
        self._begin(event.step, "probe", self._definition.steps[event.step].probe, event.interruption, scene)
        self._probing.add(event.step)

    def _ProbeFailed(self, event: e.ProbeFailed, at: float, scene: _Scene) -> None:  # noqa: N802
        self._probing.discard(event.step)
        if event.error.type == "Interrupted":
            scene.die(self._call(event.step))
            self._end(event.step, scene)
            return
        self._end(event.step, scene)
        scene.cues.append(ends(self._place(event.step, "probe"), Probe.STILL_UNKNOWN))
        if event.retry_at is not None and event.retry_at > at:
            self._backoff.add(event.step)

    # --- backward ---

    def _CompensationStarted(self, event: e.CompensationStarted, at: float, scene: _Scene) -> None:  # noqa: N802
        for step in list(self._probing):
            self._end(step, scene)
        self._probing.clear()

    def _CompensationAttemptStarted(  # noqa: N802
        self, event: e.CompensationAttemptStarted, at: float, scene: _Scene
    ) -> None:
        handler = self._definition.steps[event.step].backward(self._via.get(event.step, "action"))
        if event.attempt == 1 and not event.interruption:
            self._tried[event.step] = 0
        self._begin(event.step, self._undo_role(event.step), handler, event.interruption, scene)

    def _CompensationReplyAwaited(  # noqa: N802
        self, event: e.CompensationReplyAwaited, at: float, scene: _Scene
    ) -> None:
        if event.child is None:
            role = self._end(event.step, scene) or "compensation"
            scene.cues.append(ends(self._place(event.step, role)))
            self._awaiting.add(event.step)

    def _StepCompensated(self, event: e.StepCompensated, at: float, scene: _Scene) -> None:  # noqa: N802
        role = self._end(event.step, scene)
        if role is not None:
            scene.cues.append(ends(self._place(event.step, role)))
        elif event.step in self._awaiting:
            self._awaiting.discard(event.step)
            self._ask(scene, "complete_step", event.step, compensation=True)

    def _returns_late(self, step: str, role: str | None, scene: _Scene) -> None:
        """The reply came before the call that handed the work over had returned: it returns now, and nobody minds."""
        if role is not None:
            scene.cues.append(ends(self._place(step, role)))

    def _CompensationAttemptFailed(  # noqa: N802
        self, event: e.CompensationAttemptFailed, at: float, scene: _Scene
    ) -> None:
        if event.retry_at > at:
            self._backoff.add(event.step)
        self._not_undone(event.step, event.error, scene, again=True)
        self._tried[event.step] += 1

    def _CompensationFailed(self, event: e.CompensationFailed, at: float, scene: _Scene) -> None:  # noqa: N802
        self._not_undone(event.step, event.error, scene, again=False)

    def _not_undone(self, step: str, error: e.Failure, scene: _Scene, *, again: bool) -> None:
        if error.type == "Interrupted" and self._call(step) in scene.live:
            scene.die(self._call(step))
            self._end(step, scene)
            return
        role = self._end(step, scene)
        if role is not None:
            message = self._redactor.text(error.message) if error.message else ""
            retry = self._definition.backward_retry[step, self._via.get(step, "action")]
            raised = RuntimeError(message) if again or self._used_up(step, retry, error) else Rejected(message)
            scene.cues.append(fails(self._place(step, role), raised))
        elif step in self._awaiting:
            self._awaiting.discard(step)
            self._reply_said(step, error, scene, again=again, backward=True)

    def _CompensationWaived(self, event: e.CompensationWaived, at: float, scene: _Scene) -> None:  # noqa: N802
        if not self._waives:
            self._ask(scene, "skip", event.step, **SOMEBODY, reason="recorded")
