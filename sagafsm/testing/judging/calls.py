"""The calls of the world, followed entry by entry beside the store's decisions.

What must stay true: a call is judged by what had been accepted when it began, never by what came later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

import attrs
import msgspec

from ...core.definition import SagaDefinition
from ..laws import Broken
from ..trace import Appended, CallBegan, CallOver, Effected, Fault, Granted, Heard
from .records import Records

LEASE_SHARE = 0.9 * 1.03  # what a worker counts on, and how much its clock may drift

_CALLS = {"AttemptStarted": "forward", "CompensationAttemptStarted": "backward", "ProbeStarted": "probe"}
_ENDINGS = frozenset({
    "StepSucceeded", "StepFailed", "StepUnknown", "StepSkipped", "AttemptFailed", "ProbeFailed", "StepCompensated",
    "CompensationAttemptFailed", "CompensationFailed", "ReplyAwaited", "CompensationReplyAwaited",
})  # fmt: skip


@attrs.define(eq=False)
class Announced:
    """A call that the log announces, and whether it was made."""

    process: str
    fence: int
    begun: bool = False


@attrs.frozen
class Ended:
    """How the last call of an attempt ended, as far as its caller was told."""

    outcome: str
    number: int


class Calls:
    """Follows the calls. ``knows``: the kinds that a process has; ``definitions``: by saga."""

    def __init__(
        self, records: Records, knows: Mapping[str, frozenset[str]], definitions: Mapping[str, SagaDefinition]
    ) -> None:
        self.records = records
        self.reached = records.reached
        self._knows = knows
        self._definitions = definitions
        self._announced: dict[tuple[str, str, str, int], list[Announced]] = {}
        self._payloads: dict[tuple[str, str, str, str], str] = {}
        self._heard: dict[tuple[str, str], Heard] = {}
        self._thawed: dict[str, float] = {}
        self._stopped: set[str] = set()
        self._over: dict[tuple[str, str, str, int], Ended] = {}
        self._running: dict[int, CallBegan] = {}
        self._turned: set[str] = set()
        self._crashed = False

    def appended(self, entry: Appended) -> None:
        """The store decided on an append: its events announce calls."""
        if entry.verdict != "Committed":
            return
        held = self.records.held(entry.saga)
        for event in entry.events:
            if event.type in _CALLS:
                step, attempt = _told(event.data)
                role = _CALLS[event.type]
                self._announced.setdefault((entry.saga, step, role, attempt), []).append(
                    Announced(entry.process, entry.fence)
                )
                held.running[step] = role
            elif event.type in _ENDINGS:
                held.running.pop(_told(event.data)[0], None)
                if event.type == "AttemptFailed":
                    self.classified(entry.saga, event.data)
            elif event.type == "CompensationStarted":
                self._turned.add(entry.saga)

    def granted(self, entry: Granted) -> None:
        """A saga was given to a process: whatever it was told before, it may go on now."""
        if self._crashed and "takeover" in self.reached:
            self.reached.add("a crash and a lost lease in one run")
        self._heard.pop((entry.process, entry.saga), None)

    def heard(self, entry: Heard) -> None:
        """A process was told that a saga has ended, or is no longer its."""
        held = self.records.held(entry.saga)
        if held.terminal or (entry.fenced and held.process != entry.process):
            self._heard.setdefault((entry.process, entry.saga), entry)

    def began(self, entry: CallBegan) -> None:
        """A call began."""
        saga, process = entry.saga, entry.process
        if process in self._stopped:
            _broken("F9 what was stopped has stopped", f"{entry}")
        if entry.role != "child":
            self._consume(entry)
        # A call that was announced before the end, or the next grant, may begin until its process hears of that.
        heard = self._heard.get((process, saga))
        if heard is not None and heard.at < entry.at and not self._just_thawed(entry):
            law = "F6 who is fenced off stops" if heard.fenced else "S1 no call after the end"
            _broken(law, f"{entry}, told at {heard.at}")
        asked, ttl = self.records.asked.get(process, (None, 0.0))
        if asked is not None and entry.at > asked + ttl * LEASE_SHARE and not self._just_thawed(entry):
            _broken("F5 no call without a lease", f"{entry}: the lease was asked for at {asked} for {ttl} s")
        known = next((kinds for name, kinds in self._knows.items() if process.startswith(f"{name}.")), None)
        definition = self._definitions.get(saga)
        if known is not None and definition is not None and definition.kind not in known:
            _broken("V1 a saga runs where its definition is known", f"{entry}: {definition.kind}")
        payload = self._payloads.setdefault((saga, entry.step, entry.role, entry.key), entry.payload)
        if payload != entry.payload:
            law = "C6 the input of a compensation" if entry.role == "backward" else "U2 one key, one payload"
            _broken(law, f"{entry}: before, it was {payload}")
        if any(other.saga == saga and other.step == entry.step for other in self._running.values()):
            self.reached.add("a call while an older one still runs")
        self._running[entry.number] = entry
        if entry.attempt > 1:
            self.reached.add("a second attempt")

    def _consume(self, entry: CallBegan) -> None:
        announced = self._announced.get((entry.saga, entry.step, entry.role, entry.attempt), [])
        free = next((one for one in announced if not one.begun and one.process == entry.process), None)
        if free is None:
            if any(not one.begun for one in announced):
                _broken("F4 no call under an old fence", f"{entry} was announced by another process")
            _broken("U1 write-ahead", f"{entry} was not announced, or has begun before")
        free.begun = True
        if sum(one.begun for one in announced) > 1:
            self.reached.add("an interrupted call was made again")

    def _just_thawed(self, entry: CallBegan) -> bool:
        return self._thawed.get(entry.process, -1.0) >= entry.at

    def over(self, entry: CallOver) -> None:
        """A call ended, or was cut short."""
        began = self._running.pop(entry.number, None)
        if began is not None:
            self._over[began.saga, began.step, began.role, began.attempt] = Ended(entry.outcome, entry.number)

    def classified(self, saga: str, data: bytes) -> None:
        """An attempt that failed is recorded as what it was."""
        step, attempt = _told(data)
        ended = self._over.get((saga, step, "forward", attempt))
        if ended is None or b'"message_id"' in data:
            return
        recorded = b'"open":true' in data
        if ended.outcome == "open" and not recorded:
            _broken("U6 an open outcome is open", f"{saga}: attempt {attempt} of {step} ended open, but: {data!r}")
        if ended.outcome == "failed" and recorded and b"TimeoutError" not in data:
            _broken("U6 a definite failure is definite", f"{saga}: attempt {attempt} of {step} failed, but: {data!r}")

    def effected(self, entry: Effected) -> None:
        """Something took effect."""
        if not entry.undo and entry.saga in self._turned:
            self.reached.add("a late effect after compensation began")
        if entry.undo:
            self.reached.add("an effect was undone")

    def fault(self, entry: Fault) -> None:
        """Something befell a process."""
        if entry.what == "thaw":
            self._thawed[entry.process] = entry.at
        elif entry.what == "stopped":
            self._stopped.add(entry.process)
        elif entry.what in ("crash", "gone for good"):
            self._crashed = True
            gone = [number for number, call in self._running.items() if call.process == entry.process]
            for number in gone:
                self.reached.add("a crash during a call")
                del self._running[number]


class _Told(msgspec.Struct):
    """Of an event, what it is about."""

    step: str
    attempt: int | None = None


_read = msgspec.json.Decoder(_Told).decode


def _told(data: bytes) -> tuple[str, int]:
    """The step and the attempt that an event is about."""
    found = _read(data)
    return found.step, found.attempt or 0


def _broken(law: str, problem: str) -> NoReturn:
    raise Broken(law, problem)
