"""What a copy has come to."""

from __future__ import annotations

from typing import Any

import attrs


@attrs.frozen
class NotCopied:
    """A saga that was left where it is, and why."""

    saga_id: str
    why: str


@attrs.define(kw_only=True)
class CopyReport:
    """What a copy found and did. Counts are of sagas.

    ``total``: those at the source when it began. ``finished``: ended ones copied now. ``moved``: live ones that are at
    the target now and go on there. ``kept``: live ones copied with ``keep``; they are set aside at the target.
    ``already``: those that were there from an earlier run. ``busy``: live ones that some worker of the source holds
    on to. ``elsewhere``: those that were moved to another store before, or have not arrived at the source themselves.
    ``not_copied``: what could not be copied, and why. ``verified``: those of which both stores hold the same log, and
    ``wrong`` those of which they do not (None: not looked at).
    """

    total: int = 0
    finished: int = 0
    moved: int = 0
    kept: int = 0
    already: int = 0
    busy: int = 0
    elsewhere: int = 0
    events: int = 0
    not_copied: list[NotCopied] = attrs.field(factory=list)
    verified: int | None = None
    wrong: list[NotCopied] = attrs.field(factory=list)

    @property
    def done(self) -> int:
        """How many have been dealt with."""
        copied = self.finished + self.moved + self.kept + self.already
        return copied + self.elsewhere + len(self.not_copied)

    @property
    def ok(self) -> bool:
        """Whether everything that was to be copied is at the target, and is the same there."""
        return not (self.busy or self.not_copied or self.wrong)

    @property
    def refused(self) -> set[str]:
        """The ids of those that could not be copied."""
        return {one.saga_id for one in self.not_copied}

    def refuse(self, saga_id: str, why: str) -> None:
        """Note a saga that cannot be copied."""
        self.not_copied.append(NotCopied(saga_id, why))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**attrs.asdict(self), "ok": self.ok}
