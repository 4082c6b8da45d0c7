"""Cues as Python source: what a generated test says.

What must stay true: the source, run after its imports, makes the very cue that it was written for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..core.probe import Probe
from .cues import Cue

_OURS = ("Probe", "Rejected", "Unknown")


def code_of(cue: Cue) -> str:
    """The call that makes this cue."""
    match cue.kind:
        case "dies":
            return "dies()"
        case "passes":
            return "passes()" if cue.seconds is None else f"passes({cue.seconds!r})"
        case "fails":
            return f"fails({cue.name!r}, {_exception(cue.error)})"
        case "ends":
            return f"ends({cue.name!r}{'' if cue.result is None else f', {_value(cue.result)}'})"
        case "asks":
            arguments = "".join(f", {argument!r}" for argument in cue.arguments)
            keywords = {**({"of": cue.of} if cue.of else {}), **cue.keywords}
            return f"asks({cue.name!r}{arguments}{''.join(f', {key}={value!r}' for key, value in keywords.items())})"


def imports_for(cues: Sequence[Cue]) -> list[str]:
    """The imports that the source of these cues needs, beside those of the exceptions that are Python's own."""
    code = "\n".join(map(code_of, cues))
    ours = [word for word in _OURS if re.search(rf"\b{word}[(.]", code)]
    kinds = sorted({cue.kind for cue in cues})
    return [
        *([f"from sagafsm import {', '.join(ours)}"] if ours else []),
        f"from sagafsm.testing import {', '.join(['SagaTestHarness', *kinds])}",
    ]


def _value(value: Any) -> str:
    if value is Probe.DID_NOT_HAPPEN:
        return "Probe.DID_NOT_HAPPEN"
    if value is Probe.STILL_UNKNOWN:
        return "Probe.STILL_UNKNOWN"
    answer = Probe.read(value)
    return repr(value) if answer is None else f"Probe.HAPPENED({answer.result!r})"


def _exception(error: BaseException | None) -> str:
    if error is None:
        return "None"
    return f"{type(error).__name__}({', '.join(repr(argument) for argument in error.args)})"
