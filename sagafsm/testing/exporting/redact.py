"""Data without what it says: the same structure, other texts and numbers, the same ones for the same ones.

What must stay true: a text or a number of the original is only in the result where somebody asked to keep its field,
or where its type takes no other; and then that is said. The same value is replaced by the same, so that what was equal
stays equal; another run over the same data gives the same result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from ...core.payload import NotReadable, decode

Place: TypeAlias = tuple[str | int, ...]

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")
_FORMS: Sequence[tuple[re.Pattern[str], Callable[[int], str]]] = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*"), lambda n: f"2000-01-01T00:00:{n % 60:02}Z"),
    (re.compile(r"\d{4}-\d\d-\d\d"), lambda n: f"2000-01-{1 + n % 28:02}"),
    (re.compile(r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"), lambda n: f"00000000-0000-4000-8000-{n:012}"),
    (re.compile(r"-?\d+\.\d+"), lambda n: f"{n}.00"),
    (re.compile(r"-?\d+"), str),
)  # a text with a form keeps it, because its type may ask for it


class Redactor:
    """Replaces texts and numbers. ``keep``: fields whose values stay, by name or by path (``customer.name``)."""

    def __init__(self, keep: Iterable[str] = ()) -> None:
        self.kept_for_type: list[str] = []
        """The fields whose values had to stay because their types take no other."""
        self._keep = frozenset(keep)
        self._texts: dict[str, str] = {}
        self._numbers: dict[int | float, int | float] = {}
        self._keys: dict[str, str] = {}

    def value(self, value: Any, kind: Any = Any, where: str = "") -> Any:
        """The value without what it says; ``kind`` is the type that it has to be readable as."""
        redacted = self._redacted(value, ())
        if kind is Any or _readable(redacted, kind):
            return redacted
        return self._as_far_as_possible(value, kind, where)

    def text(self, text: str) -> str:
        """One text."""
        if text not in self._texts:
            number = len(self._texts) + 1
            make = next((make for form, make in _FORMS if form.fullmatch(text)), None)
            self._texts[text] = make(number) if make is not None else f"text-{number}"
        return self._texts[text]

    def _number(self, number: float) -> float:
        if number not in self._numbers:
            position = len(self._numbers) + 1
            self._numbers[number] = position if isinstance(number, int) else position + 0.5
        return self._numbers[number]

    def _key(self, key: str) -> str:
        """Names of fields stay; what can only be data does not."""
        if _PLAIN_KEY.fullmatch(key):
            return key
        return self._keys.setdefault(key, f"key-{len(self._keys) + 1}")

    def _keeps(self, place: Place) -> bool:
        names = [str(part) for part in place if isinstance(part, str)]
        return any(".".join(names[start:end]) in self._keep for end in range(1, len(names) + 1) for start in range(end))

    def _redacted(self, value: Any, place: Place) -> Any:
        if value is None or isinstance(value, bool) or self._keeps(place):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, int | float):
            return self._number(value)
        if isinstance(value, Mapping):
            return {self._key(key): self._redacted(inner, (*place, key)) for key, inner in value.items()}
        return [self._redacted(inner, (*place, index)) for index, inner in enumerate(value)]

    def _as_far_as_possible(self, value: Any, kind: Any, where: str) -> Any:
        """Leaf by leaf, as long as the whole can still be read."""
        if not _readable(value, kind):
            return self._redacted(value, ())  # the original could not be read either
        for place, leaf in list(_leaves(value, ())):
            changed = _with(value, place, self._redacted(leaf, place))
            if _readable(changed, kind):
                value = changed
            elif leaf is not None and not isinstance(leaf, bool) and not self._keeps(place):
                self.kept_for_type.append(".".join([where, *map(str, place)]).strip("."))
        return value


def _readable(value: Any, kind: Any) -> bool:
    try:
        decode(msgspec.Raw(msgspec.json.encode(value)), kind)
    except NotReadable:
        return False
    return True


def _leaves(value: Any, place: Place) -> Iterable[tuple[Place, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*place, index))
    else:
        yield place, value


def _with(value: Any, place: Place, leaf: Any) -> Any:
    if not place:
        return leaf
    head, *rest = place
    if isinstance(value, Mapping):
        return {key: _with(inner, tuple(rest), leaf) if key == head else inner for key, inner in value.items()}
    return [_with(inner, tuple(rest), leaf) if index == head else inner for index, inner in enumerate(value)]
