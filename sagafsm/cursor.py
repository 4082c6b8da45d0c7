"""Where the next page of records begins: an opaque text that every store writes and reads alike.

What must stay true: a cursor names a place in the order of (creation time, id), not a row or a count, so that pages
stay whole when records come and go between two of them.
"""

from __future__ import annotations

import base64
import binascii
import math

import msgspec

from .core.errors import InvalidInput


def make_cursor(created_at: float, saga_id: str) -> str:
    """The cursor of the page that begins after this record."""
    return base64.urlsafe_b64encode(msgspec.json.encode((created_at, saga_id))).decode()


def parse_cursor(cursor: str) -> tuple[float, str]:
    """Creation time and id of the record that the page begins after; raises InvalidInput for any other text."""
    try:
        place = msgspec.json.decode(base64.b64decode(cursor, altchars=b"-_", validate=True), type=tuple[float, str])
    except (binascii.Error, msgspec.DecodeError, UnicodeError, ValueError, TypeError) as exc:
        raise InvalidInput(f"{cursor!r} is no cursor of this store; hand in one that find() gave, or None") from exc
    if not math.isfinite(place[0]):
        raise InvalidInput(f"{cursor!r} is no cursor of this store; hand in one that find() gave, or None")
    return place
