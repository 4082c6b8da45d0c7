"""Finding sagas in the user's modules: ``MODULE``, ``MODULE:NAME``.

What must stay true: what goes wrong in a user's module is the user's error, said in a line; its traceback is chained.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from ..core.definition import SagaDefinition
from ..core.errors import InvalidInput, SagaError
from ..declare import Saga, definition_of
from ..runtime.orchestrator import Orchestrator


@attrs.frozen(kw_only=True)
class Code:
    """What a module offers: definitions, and the orchestrator they came from if there was one."""

    definitions: tuple[SagaDefinition, ...]
    orchestrator: Orchestrator | None = None


def load_code(target: str) -> Code:
    """What ``MODULE[:NAME]`` names. Raises InvalidInput."""
    module, name = _split(target)
    found = _import(module)
    if not name:
        definitions = _in_module(found)
        if not definitions:
            raise InvalidInput(f"{module} holds no saga; name what to use: {module}:NAME")
        return Code(definitions=tuple(definitions.values()))
    value = _attribute(found, module, name)
    code = _code(value)
    if code is None and callable(value) and not isinstance(value, type):
        try:
            code = _code(value())
        except (Exception, SystemExit) as exc:
            raise _broken(f"{target}() raised", exc) from exc
    if code is None:
        raise InvalidInput(
            f"{target} is neither a saga, nor a list of sagas, nor a function that makes an Orchestrator: {value!r}"
        )
    return code


def load_saga(target: str) -> SagaDefinition:
    """The one saga that ``MODULE:SAGA`` names, by its attribute or its own name. Raises InvalidInput."""
    module, name = _split(target)
    found = _import(module)
    definitions = _in_module(found)
    if not name:
        if len(definitions) != 1:
            known = ", ".join(f"{module}:{name}" for name in definitions) or "none"
            raise InvalidInput(f"say which saga of {module} is meant: MODULE:SAGA; it has: {known}")
        return next(iter(definitions.values()))
    for definition in definitions.values():
        if definition.name == name:
            return definition
    value = _attribute(found, module, name)
    try:
        return definition_of(value)
    except SagaError as exc:
        raise InvalidInput(f"{target}: {exc}") from exc


def load_named(target: str) -> Mapping[str, SagaDefinition]:
    """The sagas of ``MODULE``, or the one of ``MODULE:SAGA``, each by what a test would import. Raises InvalidInput."""
    module, name = _split(target)
    if name:
        definition = load_saga(target)
        attributes = [known for known, one in _in_module(_import(module)).items() if one is definition]
        return {f"{module}:{attributes[0] if attributes else name}": definition}
    found = _in_module(_import(module))
    if not found:
        raise InvalidInput(f"{module} holds no saga; name what to use: {module}:NAME")
    return {f"{module}:{name}": definition for name, definition in found.items()}


def load_rule(target: str) -> Callable[[Any], object]:
    """The function that ``MODULE:FUNCTION`` names. Raises InvalidInput."""
    module, name = _split(target)
    found = _import(module)
    value: Any = getattr(found, name, None) if name else None
    if not callable(value) or isinstance(value, type):
        raise InvalidInput(f"{target} names no function; a rule is a function of a SagaInstance: MODULE:FUNCTION")
    rule: Callable[[Any], object] = value
    return rule


def _split(target: str) -> tuple[str, str]:
    module, _, name = target.partition(":")
    if module.endswith(".py") or "/" in module or not module:
        raise InvalidInput(f"{target!r} is no MODULE[:NAME]; write it as in an import, for example shop.orders:Order")
    return module, name


def _import(module: str) -> object:
    here = str(Path.cwd())
    if here not in sys.path:  # an installed command does not look where it is called, `python -m` does
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name and (module == exc.name or module.startswith(f"{exc.name}.")):
            raise InvalidInput(f"there is no module {module!r}, neither installed nor in {here}") from exc
        raise InvalidInput(f"{module} cannot be imported: {exc}") from exc
    except (Exception, SystemExit) as exc:  # a script that calls sys.exit() would end the command as if all was well
        raise _broken(f"{module} cannot be imported:", exc) from exc


def _broken(what: str, error: BaseException) -> InvalidInput:
    """An error of the user's module, with the last place in the user's own files that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(Path.cwd())]
    own = [frame for frame in own if "site-packages" not in frame.filename and frame.filename != __file__]
    named = isinstance(error, SagaError)  # it tells where the saga is declared
    place = f" ({own[-1].filename}, line {own[-1].lineno})" if own and not named else ""
    return InvalidInput(f"{what} {type(error).__name__}: {error}{place}")


def _attribute(found: object, module: str, name: str) -> object:
    value = found
    for part in name.split("."):
        if not hasattr(value, part):
            known = ", ".join(_in_module(found)) or "none"
            raise InvalidInput(f"{module} has no {name!r}; its sagas: {known}")
        value = getattr(value, part)
    return value


def _in_module(module: object) -> Mapping[str, SagaDefinition]:
    """The sagas among a module's names: its own first; those that it imported only where it has none of its own."""
    found: dict[str, tuple[SagaDefinition, bool]] = {}
    for name, value in vars(module).items():
        if isinstance(value, SagaDefinition) or (
            isinstance(value, type)
            and issubclass(value, Saga)
            and isinstance(vars(value).get("definition"), SagaDefinition)
        ):
            own = getattr(value, "__module__", None) == getattr(module, "__name__", "") or not isinstance(value, type)
            found[name] = (definition_of(value), own)
    mine = {name: definition for name, (definition, own) in found.items() if own}
    return mine or {name: definition for name, (definition, _) in found.items()}


def _code(value: object) -> Code | None:
    if isinstance(value, Orchestrator):
        return Code(definitions=tuple(value.definitions.values()), orchestrator=value)
    if isinstance(value, SagaDefinition) or (isinstance(value, type) and issubclass(value, Saga)):
        return Code(definitions=(definition_of(value),))
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        items = list(value)
        if items and all(isinstance(item, SagaDefinition | type) for item in items):
            return Code(definitions=tuple(definition_of(item) for item in items))
    return None
