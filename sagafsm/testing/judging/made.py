"""Calls as real participants note them down: a process that is killed keeps no trace of its own.

What must stay true: what a participant did not see is not guessed.
"""

from __future__ import annotations

from collections import Counter
from typing import NoReturn

import msgspec

from ..laws import Broken
from .evidence import Evidence, Log

ANNOUNCING = frozenset({"AttemptStarted", "CompensationAttemptStarted"})


class _Keyed(msgspec.Struct):
    idempotency_key: str | None = None


_read = msgspec.json.Decoder(_Keyed).decode


def calls_were_announced(evidence: Evidence) -> None:
    """When the n-th call under a key came in, its log announced n at least; where none looked then, it does now."""
    came: Counter[tuple[str, str]] = Counter()
    announced: dict[str, Counter[str]] = {}
    for call in evidence.made:
        came[call.saga_id, call.key] += 1
        count = call.announced
        if count is None:
            if call.saga_id not in announced:
                announced[call.saga_id] = _announced(evidence.logs.get(call.saga_id))
            count = announced[call.saga_id][call.key]
        if came[call.saga_id, call.key] > count:
            _broken("U1 write-ahead", f"{call} was call {came[call.saga_id, call.key]} and {count} were announced")


def _announced(log: Log | None) -> Counter[str]:
    found: Counter[str] = Counter()
    for event in log.events if log is not None else ():
        key = _read(event.data).idempotency_key if event.type in ANNOUNCING else None
        if key is not None:
            found[key] += 1
    return found


def _broken(law: str, problem: str) -> NoReturn:
    raise Broken(law, problem)
