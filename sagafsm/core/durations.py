"""Spans of time as people write them (``30d``, ``1h30m``) and read them."""

from __future__ import annotations

import re

from .errors import InvalidInput

UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|d|h|m|s)\s*")


def parse_duration(text: str) -> float:
    """Seconds in ``30d``, ``12h``, ``1h30m``, ``90s``, ``90``. Raises InvalidInput."""
    given = text.strip()
    try:
        seconds = float(given) if re.fullmatch(r"\d+(\.\d+)?", given) else _sum(given)
    except ValueError:
        raise InvalidInput(f"{text!r} is no span of time; write for example 30d, 12h, 1h30m, 90s") from None
    return seconds


def _sum(text: str) -> float:
    if not text or _PART.sub("", text):
        raise ValueError(text)
    return sum(float(number) * UNITS[unit] for number, unit in _PART.findall(text))


def span(seconds: float) -> str:
    """A span of time for people: two units at most."""
    if seconds < 0:
        return f"-{span(-seconds)}"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    for (big, size), (small, part) in (
        (("d", 86_400), ("h", 3_600)),
        (("h", 3_600), ("m", 60)),
        (("m", 60), ("s", 1)),
    ):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {big}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"
