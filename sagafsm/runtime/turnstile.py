"""One at a time: whoever decides and stores for a saga keeps the others out until it is stored.

What must stay true: nobody waits where nobody is inside; those who waited look again, in any order.
"""

from __future__ import annotations

import asyncio


class Turnstile:
    """``taken`` is set by whoever goes in, and only while it is not; :meth:`leave` lets the others try."""

    __slots__ = ("_waiting", "taken")

    def __init__(self) -> None:
        self.taken = False
        self._waiting: list[asyncio.Future[None]] | None = None  # hardly ever anybody

    async def wait(self) -> None:
        """Return when nobody is inside."""
        while self.taken:
            future = asyncio.get_running_loop().create_future()
            if self._waiting is None:
                self._waiting = []
            self._waiting.append(future)
            await future

    def leave(self) -> None:
        """It is free again."""
        self.taken = False
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            for future in waiting:
                if not future.done():
                    future.set_result(None)
