"""The story of a saga for people: its history with each call's beginning and end brought together.

What must stay true: a function of the history only; every event shows up in a row; an event of a type that this version
does not know is shown by its name, never dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from .durations import span
from .events import Event
from .instance import iso


@attrs.frozen(kw_only=True)
class Moment:
    """One row of the story: a call from its beginning to its end, or a single event.

    ``at``: when it began, in seconds since the epoch. ``seconds``: how long it took; None for a single event and for
    what has not ended (then ``running``). ``role``: action, fallback, probe, compensation, wait, or None.
    """

    at: float
    seconds: float | None = None
    running: bool = False
    step: str | None = None
    role: str | None = None
    attempt: int | None = None
    what: str
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; times are ISO 8601 in UTC."""
        return {**attrs.asdict(self), "at": iso(self.at)}


def timeline(history: Iterable[Event]) -> list[Moment]:
    """The rows of a saga's history, in the order in which they began."""
    story = _Story()
    for event in history:
        tell = _TELLERS.get(event.type)
        if tell is None:
            story.point(event, event.type)
        else:
            tell(story, event, event.data)
    return story.rows


class _Story:
    """The rows so far, and which of them have not ended."""

    def __init__(self) -> None:
        self.rows: list[Moment] = []
        self._open: dict[str | None, int] = {}

    def point(self, event: Event, what: str, *, error: str | None = None) -> None:
        error = error or _error(event.data.get("error") or event.data.get("cause"))
        self.rows.append(Moment(at=event.at, step=event.step, attempt=event.attempt, what=what, error=error))

    def begin(self, event: Event, role: str, what: str) -> None:
        if event.step in self._open:  # its process died, and it is called again
            self._close(event, "interrupted: no outcome was recorded")
        self._open[event.step] = len(self.rows)
        self.rows.append(
            Moment(at=event.at, running=True, step=event.step, role=role, attempt=event.attempt, what=what)
        )

    def note(self, event: Event, what: str) -> None:
        """What has become of a call that goes on."""
        if event.step not in self._open:
            self.point(event, what)
            return
        place = self._open[event.step]
        self.rows[place] = attrs.evolve(self.rows[place], what=what)

    def end(self, event: Event, what: str) -> None:
        if event.step in self._open:
            self._close(event, what)
        else:
            self.point(event, what)

    def _close(self, event: Event, what: str) -> None:
        place = self._open.pop(event.step)
        begun, error = self.rows[place], _error(event.data.get("error"))
        seconds = max(0.0, event.at - begun.at)
        self.rows[place] = attrs.evolve(begun, seconds=seconds, running=False, what=what, error=error)


def _error(found: Any) -> str | None:
    if not isinstance(found, Mapping):
        return None
    return f"{found.get('type')}: {found.get('message', '')}".removesuffix(": ")


def _by(data: Mapping[str, Any]) -> str:
    """`` by ACTOR: REASON``, as far as they are known."""
    actor = f" by {data['actor']}" if data.get("actor") else ""
    return f"{actor}: {data['reason']}" if data.get("reason") else actor


def _again(event: Event) -> str:
    due = event.data.get("retry_at")
    return f"again in {span(max(0.0, due - event.at))}" if due is not None else "a person must act"


def _waited_for(data: Mapping[str, Any]) -> str:
    until = f" until {iso(data['until'])}" if data.get("until") is not None else ""
    return f" {data['name']}{until}" if data.get("name") else until


def _call(story: _Story, event: Event, data: Mapping[str, Any]) -> None:
    story.begin(event, data.get("via", "action"), "running")


def _probe(story: _Story, event: Event, data: Mapping[str, Any]) -> None:
    story.begin(event, "probe", "asking whether it happened")


def _undo(story: _Story, event: Event, data: Mapping[str, Any]) -> None:
    story.begin(event, "compensation", "being undone")


def _wait(story: _Story, event: Event, data: Mapping[str, Any]) -> None:
    story.begin(event, "wait", f"waits: {data.get('kind')}{_waited_for(data)}")


def _handed_over(story: _Story, event: Event, data: Mapping[str, Any]) -> None:
    whose = f"sub-saga {data['child']}" if data.get("child") else f"the reply{_waited_for(data)}"
    story.note(event, f"handed over, waits for {whose}")


def _succeeded(story: _Story, event: Event, data: Mapping[str, Any]) -> None:
    by = data.get("by", "call")
    story.end(event, "succeeded" if by == "call" else f"succeeded (by {by})")


def _attempt_failed(story: _Story, event: Event, data: Mapping[str, Any]) -> None:
    what = "outcome unknown" if data.get("open") else "failed"
    story.end(event, f"{what}; {_again(event)}")


def _skipped(story: _Story, event: Event, data: Mapping[str, Any]) -> None:
    story.end(event, f"passed over{_by(data)}" if data.get("actor") else "skipped by its condition")


def _aborted(story: _Story, event: Event, data: Mapping[str, Any]) -> None:
    how = "" if data.get("compensate", True) else ", nothing is to be undone"
    story.point(event, f"abort asked{' (cut)' if data.get('cut') else ''}{how}{_by(data)}")


def _started(story: _Story, event: Event, data: Mapping[str, Any]) -> None:
    parent = f" as a step of {data['parent_id']}" if data.get("parent_id") else ""
    story.point(event, f"{data.get('saga_type')} version {data.get('definition_version')} started{parent}")


def _stuck(story: _Story, event: Event, data: Mapping[str, Any]) -> None:
    story.point(event, "STUCK", error=data.get("reason"))


def _unstuck(story: _Story, event: Event, data: Mapping[str, Any]) -> None:
    steps = f" of {', '.join(data['steps'])}" if data.get("steps") else ""
    story.point(event, f"goes on ({data.get('decision')}{steps}){_by(data)}")


def _ends(text: str) -> Callable[[_Story, Event, Mapping[str, Any]], None]:
    return lambda story, event, data: story.end(event, text)


def _said(text: str) -> Callable[[_Story, Event, Mapping[str, Any]], None]:
    return lambda story, event, data: story.point(event, text + _by(data))


_TELLERS: Mapping[str, Callable[[_Story, Event, Mapping[str, Any]], None]] = {
    "SagaStarted": _started,
    "SagaCompleted": _said("COMPLETED"),
    "SagaFailed": lambda story, event, data: story.point(event, f"FAILED ({data.get('outcome')})"),
    "SagaStuck": _stuck,
    "SagaUnstuck": _unstuck,
    "SagaSuspended": _said("suspended"),
    "SagaResumed": _said("resumed"),
    "AbortRequested": _aborted,
    "DeadlineExpired": _said("the deadline passed"),
    "CompensationStarted": _said("turns back: what was done is undone"),
    "AttemptStarted": _call,
    "ReplyAwaited": _handed_over,
    "WaitStarted": _wait,
    "StepSucceeded": _succeeded,
    "AttemptFailed": _attempt_failed,
    "StepFailed": _ends("failed for good: it did not happen"),
    "StepUnknown": _ends("unknown: it may have happened"),
    "StepSkipped": _skipped,
    "ProbeStarted": _probe,
    "ProbeFailed": lambda story, event, data: story.end(event, f"could not tell; {_again(event)}"),
    "SignalReceived": lambda story, event, data: story.point(event, f"signal {data.get('name')} received"),
    "CompensationAttemptStarted": _undo,
    "CompensationReplyAwaited": _handed_over,
    "CompensationAttemptFailed": lambda story, event, data: story.end(event, f"not undone; {_again(event)}"),
    "CompensationFailed": _ends("not undone, and not tried again"),
    "StepCompensated": _ends("undone"),
    "CompensationWaived": _said("stays as it is, waived"),
}
