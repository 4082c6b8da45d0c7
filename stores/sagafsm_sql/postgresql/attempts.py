"""Doing again what lost against another statement, where it is certain that nothing was written."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sagafsm.core.errors import StoreError

from .errors import may_try_again

T = TypeVar("T")

ATTEMPTS = 5
PAUSE = 0.01  # seconds at most before the second attempt; twice as many before each further one


async def again(work: Callable[[], Awaitable[T]]) -> T:
    """What the work returns; it is done once more where it lost."""
    for attempt in range(ATTEMPTS - 1):
        try:
            return await work()
        except StoreError as exc:
            if not may_try_again(exc.__cause__):
                raise
        await asyncio.sleep(random.random() * PAUSE * 2**attempt)
    return await work()
