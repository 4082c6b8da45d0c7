"""Writes docs/reference/*.md from the docstrings and signatures of the public names: ``make docs``.

What must stay true: a public name stands on exactly one page, and it and every public member of it have a docstring,
or this stops with an error that names them; the same source gives the same text; the source is read, never imported.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import attrs
import griffe

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
LINE = 100

Item = griffe.Class | griffe.Function | griffe.Attribute


@attrs.frozen
class Page:
    """One page: which public names of which module stand on it, in this order.

    No ``names``: all that the module exports, or the subclasses of ``base`` in it. ``head``: the module whose own
    docstring opens the page.
    """

    file: str
    title: str
    introduction: str
    names: Sequence[str] = ()
    module: str = "sagafsm"
    base: str | None = None
    head: str | None = None


PAGES = (
    Page(
        "declaring.md",
        "Declaring a saga",
        "A saga definition is data. A class with decorators, a list of steps and a contract all build the same one.",
        ["Saga", "step", "sleep", "subsaga", "wait_for", "SagaDefinition", "Step", "Parallel", "Sequence",
         "Compensation", "Fallback", "WaitFor", "Sleep", "SubSaga", "Operations", "RetryPolicy", "Limit", "StepContext",
         "Probe", "Rejected", "Unknown"],
    ),
    Page(
        "running.md",
        "Running sagas",
        "An orchestrator runs the sagas of one store, together with the orchestrators of other processes.",
        ["Orchestrator", "SyncOrchestrator", "Handle", "Delivery", "StepOutcome", "Settings", "copy_sagas", "undo_copy",
         "read_archive"],
    ),
    Page(
        "moving.md",
        "Archives and copies",
        "What `archive`, `read_archive` and `copy_sagas` give, importable from `sagafsm.moving`.",
        ["Archived", "ArchivedSaga", "CopyReport", "NotCopied"],
        module="sagafsm.moving",
    ),
    Page(
        "reading.md",
        "Looking at sagas",
        "What a reader sees of a saga: where it stands, what it waits for, and how it came there.",
        ["SagaInstance", "SagaState", "StepView", "StepState", "Waiting", "Failure", "Event"],
    ),
    Page(
        "events.md",
        "The events",
        "A saga's log holds these, and nothing else; `Orchestrator.history` reads them.",
        module="sagafsm.core.events",
        base="SagaEvent",
    ),
    Page(
        "errors.md",
        "Errors",
        "Importable from `sagafsm`.",
        ["SagaError", "DefinitionError", "DefinitionWarning", "InvalidInput", "ResultNotStorable", "SagaNotFound",
         "SagaConflict", "SagaPurged", "SagaFinished", "PastPivot", "SagaFailed", "SagaStuck", "SettingsError",
         "StoreError", "StoreUnavailable", "OutcomeUnknown", "SagaMoved", "StoreCorrupt", "StoreTooNew"],
        head="sagafsm.core.errors",
    ),
    Page(
        "stores.md",
        "Stores",
        "A store is chosen by its URL. Who writes one implements the protocol `Store`.",
        ["open_store", "Store"],
        head="sagafsm.store",
    ),
    Page(
        "store-types.md",
        "What goes into a store and comes out of it",
        "The data of the `Store` protocol, importable from `sagafsm.store`.",
        ["Append", "Birth", "NewEvent", "Snapshot", "Committed", "Duplicate", "Conflict", "Fenced",
         "Exists", "Refused", "Record", "StoredEvent", "StoredSaga", "Filter", "Page", "Claim", "Worker", "Count",
         "Durability"],
        module="sagafsm.store",
    ),
    Page(
        "store-abilities.md",
        "What a store may do beyond the protocol",
        "Optional protocols, importable from `sagafsm.supports`; the runtime does without where one is missing.",
        ["SupportsWakeups", "SupportsLimits", "Permit", "SupportsTwin"],
        module="sagafsm.supports",
        head="sagafsm.supports",
    ),
    Page(
        "store-testing.md",
        "Testing a store",
        "The kit is in `sagafsm.testing.conformance`, the proxy in `sagafsm.testing.proxy`; "
        "[how to write a store](../how-to/write-a-store.md) shows both at work.",
        ["Proxy", "Trouble", "Strike"],
        module="sagafsm.testing.proxy",
        head="sagafsm.testing.conformance",
    ),
    Page(
        "testing.md",
        "Testing sagas",
        "Importable from `sagafsm.testing`. Everything here runs on virtual time: no test sleeps.",
        module="sagafsm.testing",
    ),
    Page(
        "model.md",
        "The model checker",
        "Importable from `sagafsm.testing.model`; [how to check a saga](../how-to/check-a-saga.md) shows it at work.",
        ["check_model", "Bounds", "Verdict", "Finding", "Path", "Happened", "Explored", "ModelBroken", "outline"],
        module="sagafsm.testing.model",
    ),
    Page(
        "exporting.md",
        "Stored sagas as tests",
        "Importable from `sagafsm.testing.exporting`; [how to](../how-to/export-a-test.md).",
        ["export_stored", "export_test", "Exported", "Story", "Log", "Redactor", "CannotRetell"],
        module="sagafsm.testing.exporting",
    ),
    Page(
        "compatibility.md",
        "New code and live sagas",
        "Importable from `sagafsm.runtime.compatibility`; [how to](../how-to/check-compatibility.md).",
        ["check_compatibility", "compare_shapes", "write_shapes", "read_shapes", "shapes_of", "Compatibility", "Known",
         "Group"],
        module="sagafsm.runtime.compatibility",
    ),
)  # fmt: skip

FIRST_PAGE = """# Reference

Written from the docstrings by `make docs`. Names are imported from `sagafsm`, unless the page says otherwise.

[The command line](command-line.md) lists the verbs of `sagafsm`, their options and the exit codes.

[Open outcomes](open-outcomes.md) lists which errors of which client library leave the outcome of a call open.
"""

# Users get these and never make one, so how they are made is not shown.
MADE_BY_THE_ENGINE = {"SagaInstance", "Handle", "StepContext", "SagaFailed", "SagaStuck", "SagaNotFound", "Strike"}


class Incomplete(Exception):
    """The reference cannot be written: public names have no page or no docstring."""


def build() -> dict[str, str]:
    """The text of every page, by its file name."""
    package = griffe.load("sagafsm", search_paths=[str(ROOT)])
    assert isinstance(package, griffe.Module)
    listed = [(page, names_on(package, page)) for page in PAGES]
    check_complete(package, listed)
    texts = {page.file: page_text(package, page, names) for page, names in listed}
    places: dict[str, str] = {}
    for page, names in sorted(listed, key=lambda one: one[0].module != "sagafsm"):
        found = anchors(texts[page.file])
        for name in names:  # one that stands on two pages, such as SagaFailed, is linked to where it is public
            places.setdefault(name, f"{page.file}#{found[name]}")
    texts["README.md"] = contents(package, listed, texts)
    return {file: linked(text, places, file) for file, text in texts.items()}


def names_on(package: griffe.Module, page: Page) -> Sequence[str]:
    """The names on a page, in order."""
    if page.names:
        return page.names
    if page.base is None:
        return exported(package, page.module)
    classes = module_of(package, page.module).classes.values()
    return [found.name for found in classes if any(str(base) == page.base for base in found.bases)]


def module_of(package: griffe.Module, path: str) -> griffe.Module:
    """A module by its full name."""
    found = package if path == package.path else package[path.removeprefix(f"{package.path}.")]
    assert isinstance(found, griffe.Module)
    return found


def anchors(text: str) -> dict[str, str]:
    """Where a link to each heading goes, as the usual renderers of Markdown name the places."""
    taken: dict[str, int] = {}
    found: dict[str, str] = {}
    for heading in re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.M):
        slug = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        taken[slug] = taken.get(slug, -1) + 1
        found[heading] = f"{slug}-{taken[slug]}" if taken[slug] else slug
    return found


def check_complete(package: griffe.Module, listed: Sequence[tuple[Page, Sequence[str]]]) -> None:
    """Raise Incomplete unless the pages name what the package exports, and all of it is documented."""
    wrong: list[str] = []
    for page, names in listed:
        for name in names:
            try:
                wrong += [
                    f"{what} has no docstring" for what in undocumented(name, resolve(package, page.module, name))
                ]
            except (KeyError, griffe.AliasResolutionError):
                wrong.append(f"{page.module}.{name} does not exist (docs/build_reference.py puts it on {page.file})")
    on_pages = {name for page, names in listed if page.module == "sagafsm" for name in names}
    wrong += [f"sagafsm.{name} is on no page" for name in exported(package, "sagafsm") if name not in on_pages]
    if wrong:
        raise Incomplete("\n".join(wrong))


def exported(package: griffe.Module, module: str) -> list[str]:
    """The names in a module's ``__all__``."""
    return [str(name) for name in module_of(package, module).exports or ()]


def resolve(package: griffe.Module, module: str, name: str) -> Item:
    """The object behind a public name, wherever it is defined. Raises KeyError or AliasResolutionError."""
    path = f"{module}.{name}".removeprefix(f"{package.path}.")
    item = package[path]
    while isinstance(item, griffe.Alias):
        item = item.final_target
    assert isinstance(item, griffe.Class | griffe.Function | griffe.Attribute), item
    return item


def undocumented(name: str, item: Item) -> Iterator[str]:
    """The public parts of an item that do not say what they are for."""
    if item.docstring is None:
        yield name
    if isinstance(item, griffe.Class):
        yield from (f"{name}.{method.name}" for method in methods(item) if method.docstring is None)
        yield from (f"{name}.{one.name}" for one in fields(item) if is_property(one) and one.docstring is None)


def members(item: griffe.Class) -> dict[str, griffe.Object]:
    """The public members of a class, its own before those of its bases, each in the order of the source."""
    found: dict[str, griffe.Object] = {}
    for part in (item, *item.mro()):
        for one in part.members.values():
            if isinstance(one, griffe.Object):
                found.setdefault(one.name, one)
    return {name: one for name, one in found.items() if not name.startswith("_") or name == "__init__"}


def methods(item: griffe.Class) -> list[griffe.Function]:
    """The public methods of a class."""
    return [one for one in members(item).values() if isinstance(one, griffe.Function) and one.name != "__init__"]


def fields(item: griffe.Class) -> list[griffe.Attribute]:
    """The public attributes and properties of a class."""
    return [
        one
        for one in members(item).values()
        if isinstance(one, griffe.Attribute)
        and (is_property(one) or "class-attribute" in one.labels or not is_made_by_users(item))
    ]


def is_made_by_users(item: griffe.Class) -> bool:
    """Whether its ``__init__`` says all about its attributes; else they are listed."""
    return "__init__" in members(item) and item.name not in MADE_BY_THE_ENGINE


def is_property(member: griffe.Attribute) -> bool:
    """Whether an attribute is computed by a method."""
    return "property" in member.labels


# --- the text ---


def contents(package: griffe.Module, listed: Sequence[tuple[Page, Sequence[str]]], texts: Mapping[str, str]) -> str:
    """The first page: every name with the first sentence about it."""
    parts = [FIRST_PAGE]
    for page, names in listed:
        parts.append(f"\n## [{page.title}]({page.file})\n\n{page.introduction}\n")
        found = anchors(texts[page.file])
        for name in names:
            docstring = resolve(package, page.module, name).docstring
            first = " ".join(docstring.value.split("\n\n")[0].split()) if docstring else ""
            parts.append(f"- [`{name}`]({page.file}#{found[name]}): {first}")
    return "\n".join(parts) + "\n"


def page_text(package: griffe.Module, page: Page, names: Sequence[str]) -> str:
    """One page, still with the roles of its docstrings."""
    parts = [f"# {page.title}", page.introduction]
    if page.head is not None:
        parts.append(markdown(module_of(package, page.head)))
    for name in names:
        parts += describe(name, resolve(package, page.module, name))
    return "\n\n".join(parts) + "\n"


def describe(name: str, item: Item) -> Iterator[str]:
    """The parts of the page about one public name."""
    yield f"## {name}"
    if isinstance(item, griffe.Class):
        yield fenced(class_stub(name, item))
        yield markdown(item)
        if told := [f"- `{one.name}`: {markdown(one)}" for one in fields(item) if one.docstring is not None]:
            yield "\n".join(told)
        for method in methods(item):
            yield f"### {name}.{method.name}"
            yield fenced("\n\n".join(map(function_stub, method.overloads or [method])))
            yield markdown(method)
    elif isinstance(item, griffe.Function):
        yield fenced("\n\n".join(map(function_stub, item.overloads or [item])))
        yield markdown(item)
    else:
        yield markdown(item)


def fenced(code: str) -> str:
    """A block of stub syntax: the tests parse it."""
    return f"```pyi\n{code}\n```"


def class_stub(name: str, item: griffe.Class) -> str:
    """The class with its fields or the parameters of its ``__init__``."""
    bases = ", ".join(str(base) for base in item.bases if not str(base).startswith(("msgspec.", "enum.Enum")))
    lines = [f"class {name}({bases}):" if bases else f"class {name}:"]
    init = members(item).get("__init__")
    if isinstance(init, griffe.Function) and is_made_by_users(item):
        lines += indented(function_stub(init))
    for one in fields(item):
        annotation = one.annotation
        if annotation is None and isinstance(init, griffe.Function) and str(one.value) in init.parameters:
            annotation = init.parameters[str(one.value)].annotation  # `self.name = name`
        value = default(one.value) if "class-attribute" in one.labels and not is_property(one) else ""
        lines += indented(f"{one.name}{f': {annotation}' if annotation is not None else ''}{value}")
    return "\n".join(lines if len(lines) > 1 else [f"{lines[0]} ..."])


def default(value: str | griffe.Expr | None) -> str:
    """`` = value``; how a field makes its default is no reader's concern."""
    if value is None:
        return ""
    text = str(value)
    return " = ..." if text.startswith(("attrs.", "attr.", "msgspec.", "field(")) else f" = {text}"


def function_stub(function: griffe.Function) -> str:
    """The signature, on one line where it fits."""
    decorator = next((f"@{kind}\n" for kind in ("classmethod", "staticmethod") if kind in function.labels), "")
    asynchronous = "async " if "async" in function.labels else ""
    returns = f" -> {function.returns}" if function.returns is not None else ""
    head = f"{decorator}{asynchronous}def {function.name}("
    parameters = list(parameters_of(function))
    one_line = f"{head}{', '.join(parameters)}){returns}: ..."
    if len(one_line.splitlines()[-1]) <= LINE:
        return one_line
    return "\n".join([head, *(f"    {parameter}," for parameter in parameters), f"){returns}: ..."])


def parameters_of(function: griffe.Function) -> Iterator[str]:
    """Each parameter as it is written, with the ``*`` and ``/`` between them."""
    kinds = griffe.ParameterKind
    before: griffe.ParameterKind | None = None
    for parameter in function.parameters:
        if before is kinds.positional_only and parameter.kind is not kinds.positional_only:
            yield "/"
        if parameter.kind is kinds.keyword_only and before not in (kinds.keyword_only, kinds.var_positional):
            yield "*"
        stars = {kinds.var_positional: "*", kinds.var_keyword: "**"}.get(parameter.kind, "") if parameter.kind else ""
        annotation = f": {parameter.annotation}" if parameter.annotation is not None else ""
        value = "" if stars or parameter.default is None else str(parameter.default)
        shown = (f" = {value}" if annotation else f"={value}") if value else ""
        yield f"{stars}{parameter.name}{annotation}{shown}"
        before = parameter.kind
    if before is kinds.positional_only:
        yield "/"


def indented(text: str) -> list[str]:
    """The lines of a text, four columns to the right."""
    return [f"    {line}" for line in text.splitlines()]


def markdown(item: griffe.Object) -> str:
    """A docstring as Markdown: literal blocks become fenced ones."""
    text = item.docstring.value if item.docstring else ""
    literal = re.compile(r"^(?P<before>.*?)::[ ]*\n\n(?P<code>(?:[ ]{4}.*\n|\n)*[ ]{4}.*)", re.MULTILINE)

    def fence(found: re.Match[str]) -> str:
        before = f"{found['before']}:\n\n" if found["before"] else ""
        return f"{before}```text\n{textwrap.dedent(found['code'])}\n```"

    return literal.sub(fence, text)


def linked(text: str, places: Mapping[str, str], here: str) -> str:
    """Turn roles such as ``:class:`` into links to the name's place, and double back-ticks into single ones."""

    def link(found: re.Match[str]) -> str:
        place = places.get(found["name"], "").removeprefix(here)
        return f"[`{found['name']}`]({place})" if place else f"`{found['name']}`"

    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    role = re.compile(r":(?:class|meth|func|exc|attr|data|mod):`~?(?:[\w.]*\.)?(?P<name>\w+)`")
    return "".join(part if part.startswith("```") else role.sub(link, part).replace("``", "`") for part in parts)


def main(mode: Literal["write", "check"]) -> int:
    """Write the pages, or say which ones differ from what would be written."""
    try:
        pages = build()
    except Incomplete as exc:
        print(f"the reference cannot be written:\n{exc}", file=sys.stderr)
        return 1
    written = {file.name: file.read_text() for file in REFERENCE.glob("*.md")}
    stale = [file for file, text in pages.items() if written.get(file) != text]
    if mode == "check":
        print(*(f"docs/reference/{file} is out of date: run `make docs`" for file in stale), sep="\n")
        return bool(stale)
    REFERENCE.mkdir(exist_ok=True)
    for file in stale:
        (REFERENCE / file).write_text(pages[file])
    return 0


if __name__ == "__main__":
    sys.exit(main("check" if "--check" in sys.argv[1:] else "write"))
