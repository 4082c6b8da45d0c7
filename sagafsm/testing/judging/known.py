"""Logs that were followed before and found clean: the very same log need not be followed again.

What must stay true: what following a log says depends on the log and on its definition, and on nothing else; so one of
these belongs to one set of definitions, and to code that does not change meanwhile.
"""

from __future__ import annotations

from ...store import StoredEvent
from .evidence import Log
from .logs import Followed, follow

MOST = 200  # logs; when there are more, all are forgotten


class Known:
    """What was found, by log. Of single faults and pairs of them four in five end in a log that was there before."""

    def __init__(self) -> None:
        self._followed: dict[tuple[str, tuple[StoredEvent, ...]], Followed] = {}

    def follow(self, log: Log) -> Followed:
        """As :func:`~sagafsm.testing.judging.logs.follow`, without the dear checks. Raises Broken."""
        key = log.definition.kind, tuple(log.events)
        found = self._followed.get(key)
        if found is None:
            if len(self._followed) >= MOST:
                self._followed.clear()
            found = self._followed[key] = follow(log, thorough=False)
        return found
