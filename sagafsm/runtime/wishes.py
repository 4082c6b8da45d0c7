"""One call that wants to begin under a limit: which permit it needs, and how its wish stands.

What must stay true: the same call always asks under the same name; a key is never part of a name as it is unless it
could be nothing else.
"""

from __future__ import annotations

import enum
import hashlib
from typing import TYPE_CHECKING

from ..core import commands as c
from ..core import events as e
from ..core.limit import CallLimit
from ..core.progress import Progress
from ..store import ID_PATTERN
from ..supports import Permit
from .invoke import arguments_for, failure_of

if TYPE_CHECKING:
    from .driver import Driver
    from .engine import Engine

READABLE = 100  # characters of a text that may stand in a limit's name as they are
HASHED = ".h."
Place = tuple[str, bool]  # a step, and whether it is its compensation


class Stand(enum.Enum):
    """How a wish for a permit stands."""

    NEW = "new"
    WAITING = "waiting"  # at its gate
    LATER = "later"  # to come back
    GRANTED = "granted"
    BROKEN = "broken"  # its key cannot be worked out
    GONE = "gone"  # nobody wants it any more


class Wish:
    """One call that wants to begin. ``number`` tells apart those that wait since the same moment."""

    __slots__ = (
        "back_at",
        "began",
        "busy",
        "driver",
        "failure",
        "interrupted",
        "number",
        "permit",
        "place",
        "since",
        "stand",
    )

    def __init__(self, driver: Driver, progress: Progress, held: c.Held, engine: Engine, number: int) -> None:
        self.driver = driver
        self.place = place_of(held)
        self.number = number
        self.since = progress.updated_at
        self.stand = Stand.NEW
        self.busy = False  # its saga stays here whatever becomes of it
        self.interrupted = held.interrupted
        self.permit: Permit | None = None
        self.failure: e.Failure | None = None
        self.began = self.back_at = 0.0
        try:
            limit, name = name_of(driver, progress, held)
        except Exception as exc:
            self.failure, self.stand = failure_of(exc, held.step, engine.clock()), Stand.BROKEN
            return
        self.permit = Permit(
            name=name,
            token=engine.environment.append_id(),
            worker_id=engine.worker_id,
            concurrency=limit.concurrency,
            rate=limit.rate,
            burst=limit.burst,
        )


def place_of(call: c.Call | c.Held) -> Place:
    """The step of a call, and whether it is its compensation."""
    return call.step, call.role is c.Role.BACKWARD


def name_of(driver: Driver, progress: Progress, held: c.Held) -> tuple[CallLimit, str]:
    """The limit of a call, and its name with its key. Raises whatever the key's function raises."""
    spec, backward = driver.definition.steps[held.step], held.role is c.Role.BACKWARD
    handler = spec.backward(held.via) if backward else spec.forward(held.via)
    assert handler is not None and handler.limit is not None  # noqa: S101, PT018 - else it would not be held
    limit, name = handler.limit, handler.limit.name
    if name is None:
        fallback = ["fallback"] if held.via == "fallback" else []
        compensation = ["compensation"] if backward else []
        name = id_of(".".join([progress.saga_type, held.step, *fallback, *compensation]))
    if limit.key is None:
        return limit, name
    positional, keywords = arguments_for(limit.key, driver.definition, progress)
    assert limit.key.function is not None  # noqa: S101 - declared with it
    key = limit.key.function(*positional, **keywords)
    if not isinstance(key, (str, int)):
        raise TypeError(f"the key of a limit is text or a whole number, not {key!r:.200}")
    return limit, f"{name}:{id_of(str(key))}"


def id_of(text: str) -> str:
    """The text itself where it can be part of a limit's name, else a hash of it that looks like no such text."""
    if len(text) <= READABLE and ID_PATTERN.fullmatch(text) and not text.startswith(HASHED):
        return text
    return HASHED + hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
