"""One run by its name: a seed, a tape, or the faults that it is aimed at. Short enough for a command line.

What must stay true: the text says everything: the same plan and the same text are the same run, on any machine.

``17`` is seed 17; ``0:0a04`` a tape; ``b2!31=commit after!s40=crash`` the second behaviour with a fault at opportunity
31 and a crash before step 40 of the loop.
"""

from __future__ import annotations

from typing import Self

import attrs

from ...core.errors import InvalidInput
from .faults import SITES


@attrs.frozen(kw_only=True)
class Case:
    """A run. ``targets``: faults by opportunity; ``steps``: faults of whole processes, by step of the loop."""

    seed: int = 0
    tape: bytes = b""
    behaviour: int | None = None
    targets: tuple[tuple[int, str], ...] = ()
    steps: tuple[tuple[int, str], ...] = ()

    @property
    def aimed(self) -> bool:
        """Whether its faults were chosen, not drawn."""
        return self.behaviour is not None

    def __str__(self) -> str:
        if not self.aimed:
            return f"{self.seed}:{self.tape.hex()}" if self.tape or not self.seed else str(self.seed)
        aims = [f"{place}={site}" for place, site in self.targets] + [f"s{step}={site}" for step, site in self.steps]
        return "!".join([f"b{self.behaviour}", *aims])

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one from its text. Raises InvalidInput."""
        try:
            if not text.startswith("b"):
                seed, _, tape = text.partition(":")
                return cls(seed=int(seed), tape=bytes.fromhex(tape))
            first, *aims = text.split("!")
            pairs = [aim.split("=", 1) for aim in aims]
            if any(site not in SITES for _, site in pairs):
                raise ValueError
            return cls(
                behaviour=int(first[1:]),
                targets=tuple((int(place), site) for place, site in pairs if not place.startswith("s")),
                steps=tuple((int(place[1:]), site) for place, site in pairs if place.startswith("s")),
            )
        except ValueError:
            raise InvalidInput(
                f"{text!r} names no run; write a seed (17), a seed and a tape (0:0a04) or faults (b0!31=commit after)"
            ) from None
