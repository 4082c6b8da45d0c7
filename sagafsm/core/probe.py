"""What a probe answers: did the step happen?"""

from __future__ import annotations

from typing import Any, ClassVar

import attrs


@attrs.frozen
class Answer:
    """A probe's certain answer; ``result`` is what the step would have returned."""

    happened: bool
    result: Any = None


class _StillUnknown:
    def __repr__(self) -> str:
        return "Probe.STILL_UNKNOWN"


class Probe:
    """The three answers of a probe: ``Probe.HAPPENED(result)``, ``Probe.DID_NOT_HAPPEN``, ``Probe.STILL_UNKNOWN``."""

    DID_NOT_HAPPEN: ClassVar[Answer] = Answer(happened=False)
    STILL_UNKNOWN: ClassVar[Any] = _StillUnknown()

    @staticmethod
    def HAPPENED(result: Any = None) -> Answer:  # noqa: N802 - it stands beside two constants
        """It happened, with this result."""
        return Answer(happened=True, result=result)

    @staticmethod
    def read(value: Any) -> Answer | None:
        """The answer, where there is one; None where the probe cannot tell (or answered something else)."""
        if value is Probe.HAPPENED:  # named, not called: it happened, without a result
            return Answer(happened=True)
        return value if isinstance(value, Answer) else None
