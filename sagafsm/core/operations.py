"""Operations: the functions that a contract names by backend and operation, and how they are called.

What must stay true: a contract names operations, it never names code; which function stands behind a name is said in
Python. A payload is filled from plain data by templates, which can read and do nothing else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, cast

import attrs

from .errors import DefinitionError
from .location import location
from .payload import convert, unstorable
from .signature import annotations_of, is_async
from .step import Argument, Handler
from .template import Path, Template

F = TypeVar("F", bound=Callable[..., Any])
Payload: TypeAlias = "Template | Mapping[str, Payload] | Sequence[Payload] | float | bool | None"


@attrs.frozen
class Operation:
    """A registered function: ``(payload)`` or ``(payload, ctx)``, sync or async."""

    backend: str
    name: str
    function: Callable[..., Any]
    takes_payload: bool
    payload_type: Any
    takes_context: bool

    def __str__(self) -> str:
        return f"{self.backend}.{self.name}"


class Operations:
    """What backends can do, by name, for sagas that come from contracts.

    ::

        operations = Operations()

        @operations.register("warehouse", "reserve")
        async def reserve(payload: dict, ctx: StepContext) -> dict: ...

        SagaDefinition.from_contract(Path("order.json"), operations)
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Operation] = {}

    def register(self, backend: str, operation: str) -> Callable[[F], F]:
        """Say which function does ``operation`` of ``backend``; it is called with ``(payload, ctx)`` or less.

        Raises :class:`~sagafsm.DefinitionError` for a second function of that name, or one that wants more.
        """

        def declare(function: F) -> F:
            if (other := self._known.get((backend, operation))) is not None:
                raise DefinitionError(
                    f"operation {operation!r} of {backend!r} is registered twice, at {location(other.function)} and at "
                    f"{location(function)}; remove one"
                )
            self._known[backend, operation] = _read(backend, operation, function)
            return function

        return declare

    def resolve(self, backend: str, operation: str) -> Operation | None:
        """The function behind a name, if there is one."""
        return self._known.get((backend, operation))

    def __iter__(self) -> Iterator[Operation]:
        return iter(self._known.values())

    def __len__(self) -> int:
        return len(self._known)


def _read(backend: str, operation: str, function: Callable[..., Any]) -> Operation:
    who = f"operation {operation!r} of {backend!r} ({location(function) or function!r})"
    try:
        names = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise DefinitionError(f"{who}: its parameters cannot be read; register a function of your own") from error
    hints = annotations_of(function)
    rest = [one for one in names if one.name != "ctx" and one.default is one.empty]
    payload = next((one for one in names if one.name != "ctx"), None)
    if len(rest) > 1 or any(one.kind not in (one.POSITIONAL_OR_KEYWORD, one.POSITIONAL_ONLY) for one in rest):
        raise DefinitionError(f"{who}: it is called with (payload, ctx) or less, got {inspect.signature(function)}")
    kind = hints.get(payload.name, Any) if payload is not None else Any
    if reason := unstorable(kind):
        raise DefinitionError(f"{who}: its payload cannot be read as {kind}: {reason}")
    return Operation(backend, operation, function, payload is not None, kind, any(one.name == "ctx" for one in names))


# --- payloads ---


def read_payload(document: Any, where: str, roots: Sequence[str]) -> Payload:
    """A payload with its templates parsed. Raises :class:`~sagafsm.DefinitionError` with the path below ``where``."""
    if isinstance(document, str):
        try:
            template = Template.parse(document)
        except DefinitionError as error:
            raise DefinitionError(f"{where}: {error}") from None
        for path in template.paths:
            if path[0] not in roots or path == ("steps",):
                known = ", ".join("{steps.NAME…}" if root == "steps" else f"{{{root}…}}" for root in roots)
                raise DefinitionError(f"{where}: {{{'.'.join(path)}}} is not known here; a place begins with {known}")
        return template
    if isinstance(document, dict):
        parts = cast("dict[str, Any]", document)
        return {key: read_payload(value, f"{where}.{key}", roots) for key, value in parts.items()}
    if isinstance(document, list):
        items: list[Any] = document
        return [read_payload(value, f"{where}[{index}]", roots) for index, value in enumerate(items)]
    plain: float | bool | None = document
    return plain


def places(payload: Payload) -> Iterator[Path]:
    """Every place that a payload reads."""
    if isinstance(payload, Template):
        yield from payload.paths
    elif isinstance(payload, Mapping):
        for value in payload.values():
            yield from places(value)
    elif isinstance(payload, Sequence):
        for value in payload:
            yield from places(value)


def fill(payload: Payload, data: Mapping[str, Any]) -> Any:
    """The payload with every template filled. Raises TemplateError for what the data lacks."""
    if isinstance(payload, Template):
        return payload.value(data)
    if isinstance(payload, Mapping):
        return {key: fill(value, data) for key, value in payload.items()}
    if isinstance(payload, Sequence):
        return [fill(value, data) for value in payload]
    return payload


# --- calls ---


@attrs.frozen
class OperationCall:
    """One operation with the payload that a contract gives it, called as any function of a step."""

    operation: Operation
    payload: Payload

    def __call__(self, input: Any, /, *result: Any, ctx: Any = None, **steps: Any) -> Any:  # noqa: A002
        data = {"input": input, "steps": steps, "result": result[0] if result else None}
        given: list[Any] = []
        if self.operation.takes_payload:
            given.append(convert(fill(self.payload, data), self.operation.payload_type))
        context = {"ctx": ctx} if self.operation.takes_context else {}
        return self.operation.function(*given, **context)


def operation_handler(
    backend: str, name: str, operation: Operation | None, payload: Payload, *, undoes: bool = False
) -> Handler:
    """How a step calls an operation; one that nobody registered has no function."""
    arguments = [Argument("input", "input")]
    if undoes:
        arguments.append(Argument("result", "result"))
    if operation is not None and operation.takes_context:
        arguments.append(Argument("ctx", "context", keyword_only=True))
    steps = dict.fromkeys(path[1] for path in places(payload) if path[0] == "steps")
    arguments.extend(Argument(step, "step", step, keyword_only=True) for step in steps)
    return Handler(
        name=f"{backend}.{name}",
        function=OperationCall(operation, payload) if operation is not None else None,
        arguments=tuple(arguments),
        is_async=operation is not None and is_async(operation.function),
    )
