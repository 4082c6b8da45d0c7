"""What an exception says about the call that raised it: rejected, open (it may have happened) or failed.

What must stay true: ``Rejected`` on the outside always wins. Along an explicit ``raise … from …`` the outermost
exception that tells decides; the implicit ``__context__`` is never looked at, because it holds whatever happened to be
handled at the time. What tells nothing is ``failed``. Classes are recognised by name: nothing is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import cast

from .errors import Rejected, Unknown
from .outcome_rules import Rule, Verdict
from .outcome_table import LIBRARIES, RULES

_DEPTH = 20  # groups and wrappers inside each other; nobody means more, and a stack is finite


def classify(
    exc: BaseException,
    non_retryable: Sequence[type[BaseException]] = (),
    unknown_errors: Sequence[type[BaseException]] = (),
) -> Verdict:
    """What a call that ended with ``exc`` did.

    ``"rejected"``: it did not happen, and trying again will not help (``Rejected``, or a type in ``non_retryable``).
    ``"open"``: it may have happened (``Unknown``, a type in ``unknown_errors``, or by the table of client errors).
    ``"failed"``: it did not happen this time.

    A group is open if one of its members is; else rejected if one is, because a repeated call would meet it again.
    What is no ``Exception`` (a cancellation, an exit) is open: the call was cut short.
    """
    rejecting: tuple[type[BaseException], ...] = (Rejected, *non_retryable)
    opening: tuple[type[BaseException], ...] = (Unknown, *unknown_errors)
    seen: set[int] = set()

    def verdict(exc: BaseException | None, depth: int) -> Verdict | None:
        while exc is not None and id(exc) not in seen:
            seen.add(id(exc))
            if (found := own(exc, depth)) is not None:
                return found
            exc = exc.__cause__
        return None

    def own(exc: BaseException, depth: int) -> Verdict | None:
        if isinstance(exc, rejecting):
            return "rejected"
        if isinstance(exc, opening) or depth > _DEPTH:
            return "open"
        if isinstance(exc, BaseExceptionGroup):
            group = cast("BaseExceptionGroup[BaseException]", exc)
            members = {verdict(member, depth + 1) for member in group.exceptions}
            return "open" if "open" in members else "rejected" if "rejected" in members else None
        if not isinstance(exc, Exception):
            return "open"
        for rule in _rules(type(exc).__mro__):
            try:
                found = rule(exc, lambda inner: verdict(inner, depth + 1))
            except Exception:  # another version of the library, or a subclass that is built otherwise
                return "open"
            if found is not None:
                return found
        return None

    return verdict(exc, 0) or "failed"


@lru_cache(maxsize=1024)
def _rules(mro: tuple[type, ...]) -> tuple[Rule, ...]:
    """The entries of the table that speak about a class, the nearest first."""
    names = (f"{cls.__module__}.{cls.__qualname__}" for cls in mro)
    return tuple(RULES[name] for name in names if name in RULES)


def table_markdown() -> str:
    """The table, for the documentation."""
    lines: list[str] = []
    for library, rules in LIBRARIES.items():
        lines += [f"### {library}", "", "| error | outcome |", "|---|---|"]
        for name, rule in rules.items():
            said = " ".join((rule.__doc__ or "").split("\n\n")[0].split())
            lines.append(f"| `{name.removeprefix('builtins.')}` | {said} |")
        lines.append("")
    return "\n".join(lines)
