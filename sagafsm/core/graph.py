"""The graph of a saga's steps: what follows what.

What must stay true: pure functions of names; an error shows the names, and never depends on the order of a set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

After = Mapping[str, Sequence[str]]


def find_cycle(after: After) -> tuple[str, ...] | None:
    """The first cycle, begun and ended with the same step, in the order in which the steps would run."""
    done: set[str] = set()
    for start in after:
        path: list[str] = []
        waiting = [(start, iter(after[start]))] if start not in done else []
        path.extend(name for name, _ in waiting)
        while waiting:
            following = next(waiting[-1][1], None)
            if following is None:
                waiting.pop()
                done.add(path.pop())
            elif following in path:
                return (following, *reversed(path[path.index(following) :]))
            elif following not in done and following in after:
                path.append(following)
                waiting.append((following, iter(after[following])))
    return None


def ancestors(after: After) -> Mapping[str, frozenset[str]]:
    """For each step, every step that is certain to have ended before it starts.

    ``after`` must be free of cycles and of unknown names.
    """
    found: dict[str, frozenset[str]] = {}
    for start in after:
        waiting = [start]
        while waiting:
            name = waiting[-1]
            missing = [before for before in after[name] if before not in found]
            if missing:
                waiting.extend(missing)
                continue
            found[name] = frozenset(after[name]).union(*(found[before] for before in after[name]))
            waiting.pop()
    return found
