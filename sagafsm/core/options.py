"""What may be said together about one step: types, ranges, and the pairs of options that contradict each other.

What must stay true: every option that is accepted changes what the saga does. One that contradicts another is refused
here, one that can have no effect where it stands is a warning; none is silently dropped.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .errors import DefinitionError, DefinitionWarning, Rejected
from .limit import limit_problems
from .retry import RetryPolicy
from .step import StepDefinition
from .template import Template

if TYPE_CHECKING:
    from .declaration import SingleItem, Step

_SIGNAL = re.compile(r"[A-Za-z0-9._:/-]{1,200}")


def check_options(item: SingleItem) -> None:
    """Refuse what is wrong with one item by itself. Raises :class:`~sagafsm.DefinitionError`."""
    for problem in _problems(item):
        place = f" ({item.where})" if item.where else ""
        raise DefinitionError(f"step {item.name!r}{place}: {problem}")


def _problems(item: SingleItem) -> Iterator[str]:
    from . import declaration

    for option in ("pivot", "compensatable", "idempotent", "compensate_failed", "awaits_reply"):
        if not isinstance(value := getattr(item, option, True), bool):
            yield f"{option} is True or False, got {value!r}"
    if isinstance(item, declaration.Sleep):
        yield from seconds_problem("seconds", item.seconds, required=True)
    else:
        yield from seconds_problem("timeout", getattr(item, "timeout", None))
    if isinstance(item, declaration.WaitFor):
        signal: Any = item.signal
        if not isinstance(signal, str) or not _SIGNAL.fullmatch(signal):
            yield f"a signal's name is 1 to 200 letters, digits and . _ : / -, got {signal!r}"
        if item.on_timeout not in ("fail", "continue"):
            yield f"on_timeout is 'fail' or 'continue', got {item.on_timeout!r}"
        if item.on_timeout == "continue" and item.timeout is None:
            yield "on_timeout='continue' never applies without a timeout; give it a timeout in seconds"
    if isinstance(item, declaration.Step):
        yield from _step_problems(item)


def _step_problems(step: Step) -> Iterator[str]:
    from .declaration import Compensation, Fallback

    for what, part in (
        ("", step),
        ("the compensation's ", step.compensation),
        ("the fallback's ", step.fallback),
        ("the fallback's compensation's ", getattr(step.fallback, "compensation", None)),
    ):
        if part is step or isinstance(part, (Compensation, Fallback)):
            yield from retry_problem(f"{what}retry", getattr(part, "retry", None))
            yield from seconds_problem(f"{what}timeout", getattr(part, "timeout", None))
            yield from limit_problems(f"{what}limit", getattr(part, "limit", None))
        if isinstance(part, Compensation) and not isinstance(given := part.awaits_reply, bool):
            yield f"{what}awaits_reply is True or False, got {given!r}"
    if step.on_unknown not in (None, "compensate", "probe", "stick"):
        yield f"on_unknown is 'compensate', 'probe' or 'stick', got {step.on_unknown!r}"
    kinds: Sequence[Any] = step.unknown_errors
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            yield f"unknown_errors takes subclasses of Exception, got {kind!r}"
        elif issubclass(kind, Rejected):
            yield "unknown_errors has Rejected in it, which always means that it did not happen; raise Unknown instead"
    if step.idempotency_key is not None:
        yield from _key_problem(step.idempotency_key)
    for contradicts, problem in CONTRADICTIONS.items():
        if all(_SAID[option](step) for option in contradicts):
            yield problem


# What a step says, by the words used in the table below.
_SAID: Mapping[str, Callable[[Step], bool]] = {
    "compensation": lambda step: step.compensation is not None,
    "no compensation": lambda step: step.compensation is None,
    "fallback's compensation": lambda step: getattr(step.fallback, "compensation", None) is not None,
    "compensatable=False": lambda step: not step.compensatable,
    "compensate_failed": lambda step: step.compensate_failed,
    "no probe": lambda step: step.probe is None,
    "on_unknown=compensate": lambda step: step.on_unknown == "compensate",
    "on_unknown=probe": lambda step: step.on_unknown == "probe",
    "pivot": lambda step: step.pivot,
    "dead unknown_errors": lambda step: bool(dead_unknown_errors(step.unknown_errors, step.retry)),
}

CONTRADICTIONS: Mapping[tuple[str, ...], str] = {
    ("compensation", "compensatable=False"): (
        "it has a compensation and says compensatable=False; drop one of the two"
    ),
    ("fallback's compensation", "compensatable=False"): (
        "its fallback has a compensation, but the step says compensatable=False; drop one of the two"
    ),
    ("compensate_failed", "compensatable=False"): (
        "compensate_failed=True asks to undo it, compensatable=False says it cannot be undone; drop one of the two"
    ),
    ("compensate_failed", "no compensation"): (
        "compensate_failed=True undoes it after a failure too, but it has no compensation; add one"
    ),
    ("on_unknown=compensate", "compensatable=False"): (
        "on_unknown='compensate' asks to undo it, compensatable=False says it cannot be undone; use on_unknown='stick' "
        "or 'probe', or add a compensation"
    ),
    ("on_unknown=compensate", "pivot", "no compensation"): (
        "on_unknown='compensate' would undo this pivot when its outcome is unknown, but it has no compensation; add "
        "one, or use 'probe' or 'stick'"
    ),
    (
        "on_unknown=probe",
        "no probe",
    ): "on_unknown='probe' has nobody to ask; add a probe, or use 'compensate' or 'stick'",
    ("dead unknown_errors",): (
        "an exception in unknown_errors is also non_retryable in its retry policy, which means that it did not happen; "
        "it is one or the other"
    ),
}


def dead_unknown_errors(unknown: Sequence[type[BaseException]], retry: RetryPolicy | None) -> list[type[BaseException]]:
    """The exceptions said to leave the outcome open that the policy takes for a definite refusal."""
    if not isinstance(retry, RetryPolicy):
        return []
    return [kind for kind in unknown if issubclass(kind, retry.non_retryable)]


def retry_problem(option: str, value: Any) -> Iterator[str]:
    """What is wrong with a retry policy."""
    if value is not None and not isinstance(value, RetryPolicy):
        number = value if isinstance(value, int) else 3
        yield f"{option} takes a RetryPolicy, such as RetryPolicy(max_attempts={number}), got {value!r}"


def seconds_problem(option: str, value: Any, *, required: bool = False) -> Iterator[str]:
    """What is wrong with a number of seconds."""
    if value is None and not required:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        yield f"{option} is a number of seconds, got {value!r}"
    elif not (value > 0 and math.isfinite(value)):
        yield f"{option} is in seconds and must be above 0 and finite, got {value!r}"


def _key_problem(key: Any) -> Iterator[str]:
    if not isinstance(key, str):
        yield f"idempotency_key is a template such as 'order-{{order_id}}', got {key!r}"
        return
    try:
        template = Template.parse(key)
    except DefinitionError as error:
        yield f"idempotency_key: {error}"
        return
    if not template.paths:
        yield (
            f"idempotency_key {key!r} is the same for every saga, so the second one's call would be taken for a repeat "
            "of the first; put something of the input in it, such as {order_id}"
        )


# --- what can have no effect ---


def warn_about(
    item: SingleItem,
    step: StepDefinition,
    pivot_before: bool,
) -> None:
    """Say :class:`~sagafsm.DefinitionWarning`, at the line of the declaration, for options without effect."""
    for problem in _useless(item, step, pivot_before):
        place, _, line = step.where.rpartition(":")
        warnings.warn_explicit(
            f"step {step.name!r}: {problem}",
            DefinitionWarning,
            filename=place if line.isdigit() else step.where or "<declaration>",
            lineno=int(line) if line.isdigit() else 0,
        )


def _useless(item: SingleItem, step: StepDefinition, after_pivot: bool) -> Iterator[str]:
    undo = step.compensation or step.fallback_compensation
    explicit = getattr(item, "on_unknown", None)
    if after_pivot:
        if undo is not None:
            yield f"its compensation {undo.name} never runs, because the step comes after the pivot; remove it"
        if explicit == "compensate":
            yield "on_unknown='compensate' has no effect after the pivot, where nothing is undone; remove it"
    elif step.pivot and undo is not None and explicit != "compensate" and not step.compensate_failed:
        yield (
            f"its compensation {undo.name} never runs, because a pivot that succeeded is not undone; remove it, or say "
            "on_unknown='compensate' or compensate_failed=True"
        )
    if step.probe is not None and step.on_unknown != "probe":
        yield f"its probe {step.probe.name} is never asked; say on_unknown='probe' or remove it"
