"""How fast is too fast: the arithmetic of rate limits, for stores that do it in Python.

What must stay true: a function of what it is given. One number per limit is all there is to keep: the time up to which
what was granted fills the rate.

The generic cell rate algorithm (virtual scheduling), ITU-T I.371 and ATM Forum UNI 3.1.
"""

from __future__ import annotations

TOLERANCE = 1e-6  # seconds; times since the epoch are not more exact than that


def next_grant(filled_until: float | None, now: float, rate: float, burst: int) -> tuple[float, float]:
    """When the next one may be granted, and ``filled_until`` once it is.

    The first number is 0.0 (now) or the seconds until then. ``filled_until`` None: nothing was granted lately.
    """
    spacing = 1.0 / rate
    filled = now if filled_until is None else max(filled_until, now)
    wait = filled - (burst - 1) * spacing - now
    return (wait if wait > TOLERANCE else 0.0), filled + spacing
