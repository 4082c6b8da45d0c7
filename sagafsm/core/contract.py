"""Contracts: sagas as JSON or YAML, from configuration or from another language.

What must stay true: a contract is another way to write the list form and nothing more. The classes below are the
format: they read it, and its JSON Schema (``contract.schema.json``) is made from them, so the two cannot differ. An
error names the file and the JSON path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from .declaration import Compensation, Fallback, Step
from .definition import SagaDefinition
from .errors import DefinitionError
from .operations import Operation, OperationCall, Operations, operation_handler, read_payload
from .payload import NotStorable, encode
from .retry import RetryPolicy
from .step import Handler

__all__ = ["Operation", "OperationCall", "Operations", "SagaContract", "contract_schema", "definition_from_contract"]

Text = Annotated[str, Meta(min_length=1)]
Seconds = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Payload = Annotated[
    Any,
    Meta(
        description="Any JSON. In its texts, {input.…} stands for the saga's input, {steps.NAME.…} for the result of "
        "an earlier step, {result.…} (in a compensation) for what the action returned; a text that is one such place "
        "becomes the value itself. {{ and }} stand for braces."
    ),
]


class RetryContract(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """When a failed call is made again; intervals are in seconds, max_attempts counts all calls (null: no end)."""

    max_attempts: Annotated[int, Meta(ge=1)] | None = 3
    initial_interval: NotNegative = 1.0
    backoff_coefficient: Annotated[float, Meta(ge=1)] = 2.0
    maximum_interval: NotNegative = 60.0
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.1
    max_interruptions: Annotated[int, Meta(ge=0)] = 10


class CompensationContract(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How a step is undone. Without a backend: the step's; without a payload: the one of the action."""

    operation: Text
    backend: Text | None = None
    payload: Payload | UnsetType = UNSET
    retry_policy: RetryContract | None = None
    timeout: Seconds | None = None
    awaits_reply: bool = False


class FallbackContract(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Another operation, tried when the first certainly failed and is used up."""

    operation: Text
    backend: Text | None = None
    payload: Payload | UnsetType = UNSET
    retry_policy: RetryContract | None = None
    timeout: Seconds | None = None
    compensation: CompensationContract | None = None


class StepContract(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One step. It needs a compensation, or ``compensatable: false``, unless it is the pivot or comes after it."""

    step_id: Annotated[str, Meta(pattern="^[A-Za-z_][A-Za-z0-9_]{0,99}$")]
    backend: Text
    operation: Text
    payload: Payload | UnsetType = UNSET
    compensation: CompensationContract | None = None
    idempotency_key: Annotated[
        str | None, Meta(description="A template over the input, such as order-{order_id}; default: derived.")
    ] = None
    retry_policy: RetryContract | None = None
    timeout: Annotated[Seconds | None, Meta(description="Seconds per attempt.")] = None
    after: Annotated[
        str | list[str] | None, Meta(description="The steps that must have ended; default: the one above; []: none.")
    ] = None
    pivot: Annotated[bool, Meta(description="The point of no return.")] = False
    compensatable: Annotated[bool, Meta(description="False: it cannot or need not be undone.")] = True
    fallback: FallbackContract | None = None
    on_unknown: Literal["compensate", "stick"] | None = None
    idempotent: Annotated[bool, Meta(description="False: a call of unknown outcome is never repeated.")] = True
    compensate_failed: Annotated[bool, Meta(description="True: undo also after a definite failure.")] = False
    awaits_reply: Annotated[bool, Meta(description="The call hands the work over; a reply ends the step.")] = False


class SagaContract(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A saga: its name, its version and its steps, in order."""

    name: Annotated[str, Meta(pattern="^[A-Za-z0-9._:-]{1,200}$")]
    steps: Annotated[list[StepContract], Meta(min_length=1)]
    version: Annotated[int, Meta(ge=1)] = 1
    description: str = ""
    deadline: Annotated[Seconds | None, Meta(description="Seconds for the whole saga.")] = None
    retry_policy: RetryContract | None = None
    compensation_retry_policy: RetryContract | None = None
    on_compensation_failure: Literal["continue", "stick"] = "continue"
    parallel_compensation: bool = False
    schema: str | UnsetType = msgspec.field(name="$schema", default=UNSET)


def contract_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of contracts; ``contract.schema.json`` in this package holds the same."""
    schema = msgspec.json.schema(SagaContract)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A sagafsm contract", **schema}


def definition_from_contract(
    document: Mapping[str, Any] | str | bytes | Path, operations: Operations | None = None
) -> SagaDefinition:
    """Build a definition from a contract: a mapping, JSON or YAML text, or the path of a file.

    An operation that ``operations`` lacks gets no function: the definition can be read, and running the step makes the
    saga stuck. Raises :class:`~sagafsm.DefinitionError`.
    """
    source, data = _parse(document)
    try:
        plain = msgspec.json.decode(encode(data, what=source))
        contract = msgspec.convert(plain, SagaContract)
    except NotStorable as error:
        raise DefinitionError(f"{error}") from None
    except msgspec.ValidationError as error:
        raise DefinitionError(f"{source}: {error}") from None
    known = Operations() if operations is None else operations
    try:
        return _definition(contract, source, known)
    except DefinitionError as error:
        raise DefinitionError(_in_json(str(error))) from error


def _definition(contract: SagaContract, source: str, known: Operations) -> SagaDefinition:
    return SagaDefinition(
        name=contract.name,
        version=contract.version,
        steps=[_Reader(known, step, f"{source} $.steps[{index}]").step() for index, step in enumerate(contract.steps)],
        deadline=contract.deadline,
        retry=_policy(contract.retry_policy),
        compensation_retry=_policy(contract.compensation_retry_policy),
        on_compensation_failure=contract.on_compensation_failure,
        parallel_compensation=contract.parallel_compensation,
        description=contract.description,
        where=source,
    )


_OPTION = re.compile(r"\b([a-z_]+)=(True|False|None|\(\)|'[^']*')")
_VALUES = {"True": "true", "False": "false", "None": "null", "()": "[]"}


def _in_json(text: str) -> str:
    """An error that speaks of Python's keywords, in the words of a contract."""
    return _OPTION.sub(lambda found: f'"{found[1]}": {_VALUES.get(found[2], found[2].replace(chr(39), chr(34)))}', text)


class _Reader:
    """Turns one step of a contract into a step of the list form."""

    def __init__(self, operations: Operations, contract: StepContract, where: str) -> None:
        self._operations = operations
        self._contract = contract
        self._where = where

    def step(self) -> Step:
        contract = self._contract
        return Step(
            contract.step_id,
            self._handler(contract, ""),
            compensation=self._undo(contract.compensation, ".compensation"),
            fallback=self._fallback(contract.fallback),
            after=contract.after,
            retry=_policy(contract.retry_policy),
            timeout=contract.timeout,
            pivot=contract.pivot,
            compensatable=contract.compensatable,
            on_unknown=contract.on_unknown,
            idempotent=contract.idempotent,
            compensate_failed=contract.compensate_failed,
            idempotency_key=contract.idempotency_key,
            awaits_reply=contract.awaits_reply,
            where=self._where,
        )

    def _fallback(self, contract: FallbackContract | None) -> Fallback | None:
        if contract is None:
            return None
        return Fallback(
            self._handler(contract, ".fallback"),
            compensation=self._undo(contract.compensation, ".fallback.compensation"),
            retry=_policy(contract.retry_policy),
            timeout=contract.timeout,
        )

    def _undo(self, contract: CompensationContract | None, path: str) -> Compensation | None:
        if contract is None:
            return None
        return Compensation(
            self._handler(contract, path, undoes=True),
            retry=_policy(contract.retry_policy),
            timeout=contract.timeout,
            awaits_reply=contract.awaits_reply,
        )

    def _handler(
        self, contract: StepContract | CompensationContract | FallbackContract, path: str, *, undoes: bool = False
    ) -> Any:
        backend = contract.backend or self._contract.backend
        document = self._contract.payload if contract.payload is UNSET else contract.payload
        place = f"{self._where}{path}.payload"
        roots = ["input", "steps", "result"] if undoes else ["input", "steps"]
        payload = read_payload("{input}" if document is UNSET else document, place, roots)
        operation = self._operations.resolve(backend, contract.operation)
        handler: Handler = operation_handler(backend, contract.operation, operation, payload, undoes=undoes)
        return handler


def _policy(contract: RetryContract | None) -> RetryPolicy | None:
    return None if contract is None else RetryPolicy(**msgspec.structs.asdict(contract))


# --- reading ---


def _parse(document: Mapping[str, Any] | str | bytes | Path) -> tuple[str, Any]:
    """Where the contract comes from, for errors, and its data."""
    if isinstance(document, Mapping):
        return "contract", document
    if isinstance(document, str) and "\n" not in document and document.endswith((".json", ".yaml", ".yml")):
        document = Path(document)
    if isinstance(document, Path):
        try:
            return str(document), _parse_text(document.read_text(encoding="utf-8"), str(document))
        except (OSError, UnicodeDecodeError) as error:
            raise DefinitionError(f"contract {document} cannot be read: {error}") from error
    if isinstance(document, bytes):
        document = document.decode("utf-8", "replace")
    if not isinstance(document, str):
        raise DefinitionError(f"a contract is a mapping, JSON or YAML text, or a path; got {document!r}")
    return "contract", _parse_text(document, "contract")


def _parse_text(text: str, source: str) -> Any:
    if text.lstrip("\ufeff \t\r\n").startswith("{"):
        try:
            return msgspec.json.decode(text.lstrip("\ufeff"))
        except msgspec.DecodeError as error:
            raise DefinitionError(f"{source} is not JSON: {error}") from None
    try:
        import yaml
    except ImportError:
        raise DefinitionError(
            f"{source} is YAML, which needs PyYAML: pip install 'sagafsm[yaml]', or use JSON"
        ) from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DefinitionError(f"{source} is not YAML: {error}") from None
