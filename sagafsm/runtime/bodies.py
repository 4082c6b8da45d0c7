"""The bodies of a saga's calls: what goes on although its call has ended (a thread cannot be stopped).

What must stay true: the next call of a step waits for the last one's body, within reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class Bodies(dict[str, "asyncio.Future[Any]"]):
    """The body of the last call of each step, as far as it may outlive the call."""

    __slots__ = ()

    @property
    def linger(self) -> bool:
        """Whether any of them goes on: only its saga's driver knows that the next call has to wait for it."""
        return bool(self) and not all(body.done() for body in self.values())

    async def after_the_last(self, step: str, patience: float) -> None:
        """Wait for the last body of a step, for so many seconds."""
        body = self.pop(step, None)
        if body is not None and not body.done():
            await asyncio.wait({body}, timeout=patience)

    def when_gone(self, step: str, told: Callable[[], None]) -> None:
        """Tell when the last body of a step is gone: now, if there is none."""
        body = self.get(step)
        if body is None or body.done():
            told()
        else:
            body.add_done_callback(lambda _: told())
