"""Templates: text with places in it that are filled from plain JSON data, as ``"order-{order_id}"``.

What must stay true: a template can read data and do nothing else: no attributes, no calls, no format codes. What is
wrong with its text is found when the definition is built; what the data lacks, when it is filled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias, cast

import attrs
import msgspec

from .errors import DefinitionError

Path: TypeAlias = tuple[str, ...]

_TOKENS = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")


class TemplateError(Exception):
    """The data has nothing at a place that a template asks for. The step that needed it fails."""


@attrs.frozen
class Template:
    """A parsed template: texts and paths in turn."""

    text: str
    parts: tuple[str | Path, ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Read a template; ``{{`` and ``}}`` stand for braces. Raises :class:`~sagafsm.DefinitionError`."""
        return cls(text, tuple(_parts(text)))

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every place that it reads."""
        return tuple(part for part in self.parts if isinstance(part, tuple))

    def render(self, data: Any) -> str:
        """The text. Raises :class:`TemplateError` for what is missing, null, or no plain value."""
        return "".join(part if isinstance(part, str) else self._text_at(part, data) for part in self.parts)

    def value(self, data: Any) -> Any:
        """The value itself where the template is one single place, else the text."""
        if len(self.parts) == 1 and isinstance(self.parts[0], tuple):
            return look_up(self.parts[0], data)
        return self.render(data)

    def _text_at(self, path: Path, data: Any) -> str:
        found = look_up(path, data)
        if isinstance(found, str):
            return found
        if isinstance(found, bool | int | float):
            return msgspec.json.encode(found).decode()
        kind = "null" if found is None else "a list" if isinstance(found, Sequence) else "an object"
        raise TemplateError(f"{{{'.'.join(path)}}} in {self.text!r} is {kind}; text can only be made of plain values")


def render(template: str | Template, data: Any) -> str:
    """Fill a template over a saga's input: ``{order_id}`` and ``{input.order_id}`` are the same place.

    ``data`` is the input as plain JSON data. Raises :class:`TemplateError`.
    """
    parsed = Template.parse(template) if isinstance(template, str) else template
    inner = tuple(part[1:] if isinstance(part, tuple) and part[0] == "input" else part for part in parsed.parts)
    return Template(parsed.text, inner).render(data)


def look_up(path: Path, data: Any) -> Any:
    """What is at ``path`` in plain JSON data. Below a null is null: a skipped step has that result."""
    found = data
    for depth, segment in enumerate(path):
        if found is None:
            return None
        entries: Mapping[str, Any] = {}
        if isinstance(found, Mapping):
            entries = cast("Mapping[str, Any]", found)
        elif isinstance(found, list):
            items: list[Any] = found
            entries = {str(index): item for index, item in enumerate(items)}
        if segment not in entries:
            here = ".".join(path[:depth]) or "the data"
            there = ", ".join(sorted(entries)) or "no parts"
            raise TemplateError(f"{{{'.'.join(path)}}}: no {segment!r} in {here}, which has {there}")
        found = entries[segment]
    return found


def _parts(text: str) -> Iterator[str | Path]:
    literal, position = "", 0
    for token in _TOKENS.finditer(text):
        literal += text[position : token.start()]
        position = token.end()
        if token[0] in ("{{", "}}"):
            literal += token[0][0]
            continue
        if token[1] is None:
            raise DefinitionError(
                f"{text!r}: a single {token[0]!r} at position {token.start()}; write it twice for itself"
            )
        if literal:
            yield literal
            literal = ""
        yield _path(token[1], text)
    literal += text[position:]
    if literal:
        yield literal


def _path(inside: str, text: str) -> Path:
    segments = tuple(inside.split("."))
    if not all(_SEGMENT.fullmatch(segment) for segment in segments):
        raise DefinitionError(
            f"{text!r}: {{{inside}}} is no place; write names with dots between them, such as {{customer.id}} or "
            "{items.0.price}"
        )
    return segments
