"""The verbs that prove things about sagas: ``check``, ``check-compat``, ``export-test``."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import InvalidInput
from . import options
from .exits import Exit

if TYPE_CHECKING:
    from ..runtime.compatibility import Compatibility, Fate
    from ..testing.model import Explored, Finding, Verdict

MARKS = {"problem": ("✗", "bold red"), "warning": ("!", "yellow"), "note": ("·", "dim")}
FATES = {"must drain": "bold red", "needs a map": "yellow", "goes on": "green"}
DRAIN = "keep the old definition registered beside the new one until these have ended (see docs: change a definition)"

Target = Annotated[str, typer.Argument(metavar="MODULE[:SAGA]", help="Where the sagas are.", show_default=False)]


# --- check ---


def check(
    target: Target,
    faults: Annotated[
        int | None,
        typer.Option(metavar="N", help="So many things go wrong on one path at most. Default: any number.", min=0),
    ] = None,
    attempts: Annotated[int, typer.Option(metavar="N", help="At most so many attempts of a call.", min=1)] = 2,
    states: Annotated[int, typer.Option(metavar="N", help="Stop after so many states of a saga.", min=1)] = 100_000,
    seconds: Annotated[float, typer.Option(metavar="SECONDS", help="Stop after so many for a saga.", min=0.0)] = 60.0,
    suspensions: Annotated[bool, typer.Option("--suspensions", help="Somebody may suspend the saga, too.")] = False,
    rule: Annotated[
        list[str] | None,
        typer.Option(metavar="MODULE:FUNCTION", help="A rule of yours for every state. Can be repeated."),
    ] = None,
    paths: Annotated[
        bool, typer.Option("--paths", help="Show the way to every finding, not to problems only.")
    ] = False,
    tests: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the ways to all findings as pytest tests.", show_default=False),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 1 for warnings too, and where not everything was explored.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Explore everything that can happen to a saga, and prove that it always comes to a proper end.

    Success, failure, unknown outcome, timeout, crash, abort, late and double messages, in every order, with the real
    decision code. Exit code 1 for a broken promise; the shortest way to it is shown, and a test to paste.

    Public function: sagafsm.testing.model.check_model.
    """
    from ..testing.model import Bounds, check_model
    from .code import load_named, load_rule
    from .output import print_json

    bounds = Bounds(faults=faults, attempts=attempts, states=states, seconds=seconds, suspensions=suspensions)
    rules = [load_rule(one) for one in rule or ()]
    verdicts: list[Verdict] = []
    sources: list[str] = []
    for name, definition in load_named(target).items():
        with _spinner(definition.name) as told:
            verdict = check_model(definition, bounds=bounds, rules=rules, target=name, told=told)
        verdicts.append(verdict)
        sources += [finding.test for finding in verdict.findings if finding.test]
        if not json:
            _show_verdict(verdict, paths=paths)
    if json:
        print_json({"ok": all(verdict.ok for verdict in verdicts), "sagas": [one.to_dict() for one in verdicts]})
    if tests is not None:
        _write(tests, merged(sources))
    bad = any(not one.ok or (strict and (one.of("warning") or not one.explored.complete)) for one in verdicts)
    if bad:
        raise typer.Exit(Exit.FAILED)


@contextlib.contextmanager
def _spinner(name: str) -> Iterator[Callable[[Explored], None]]:
    """How far the exploration is, where somebody looks."""
    from rich.progress import Progress, SpinnerColumn, TextColumn

    from .output import console

    screen = console(stderr=True)
    if not screen.is_terminal:
        yield lambda explored: None
        return
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}", markup=False), console=screen, transient=True
    ) as bar:
        task = bar.add_task(name)

        def told(explored: Explored) -> None:
            rate = explored.states / explored.seconds if explored.seconds else 0.0
            bar.update(
                task,
                description=(
                    f"{name}: {explored.states} states, {explored.waiting} waiting, {explored.faults} faults, "
                    f"depth {explored.depth}, {rate:.0f}/s"
                ),
            )

        yield told


def _show_verdict(verdict: Verdict, *, paths: bool) -> None:
    from .output import cell, console

    screen = console()
    head = cell(f"{verdict.saga} version {verdict.version}: ", "bold")
    if not verdict.ok:
        head.append("a promise is broken", style="bold red")
    else:
        head.append("proven" if verdict.proven else "no problem found", style="green")
    screen.print(head)
    screen.print(cell(f"  {verdict.extent}"), soft_wrap=True)
    screen.print(cell(f"  it can end: {'; '.join(verdict.endings) or 'not at all'}"), soft_wrap=True)
    for finding in verdict.findings:
        mark, style = MARKS[finding.level]
        screen.print(cell(f"  {mark} {finding.what}", style), soft_wrap=True)
        if finding.path is not None and (paths or finding.level == "problem"):
            _show_way(finding)
    screen.print()


def _show_way(finding: Finding) -> None:
    from .output import cell, console

    screen = console()
    if finding.path is None:
        return
    for text in (finding.path.timeline(), "", finding.path.diagram().rstrip("\n"), ""):
        for line in text.split("\n"):
            screen.print(cell(f"      {line}"), soft_wrap=True)
    if finding.level == "problem" and finding.test:
        screen.print(cell(finding.test), soft_wrap=True)


def merged(sources: Sequence[str]) -> str:
    """Several tests as one file: their imports once, every name of a test once."""
    imports: dict[str, set[str]] = {}
    bodies: list[str] = []
    taken: set[str] = set()
    for source in sources:
        head, _, body = source.partition("\n\n\n")
        for line in head.splitlines():
            if line.startswith("from "):
                _, module, _, names = line.split(" ", 3)
                imports.setdefault(module, set()).update(name.strip() for name in names.split(","))
        name = body.partition("(")[0]
        free = next(one for one in _numbered(name) if one not in taken)
        taken.add(free)
        bodies.append(body.replace(f"{name}(", f"{free}(", 1))
    lines = [f"from {module} import {', '.join(sorted(names))}" for module, names in imports.items()]
    return "\n".join(lines) + "\n\n\n" + "\n\n".join(bodies) if bodies else ""


def _numbered(name: str) -> Iterator[str]:
    """A name, then the same with a number behind it: 2, 3, …"""
    yield name
    yield from (f"{name}_{number}" for number in itertools.count(2))


def _write(path: Path, text: str) -> None:
    from .output import say

    if not text:
        say(f"nothing to write: {path} was left as it is")
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise InvalidInput(f"{path} cannot be written: {exc.strerror or exc}") from exc
    say(f"{path} written")


# --- check-compat ---


def check_compat(
    target: Target,
    store: options.Store = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Compare with the shapes in this file, not with a store.", show_default=False
        ),
    ] = None,
    shapes: Annotated[
        Path | None,
        typer.Option(
            "--write-shapes",
            metavar="FILE",
            help="Write the shapes of your sagas, and compare nothing.",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Say what your code means for the sagas that are live: which go on, which need a map, which must drain.

    Nothing is changed. Exit code 1 where a live saga would be left alone, or a shape changed and its version did not.

    Public function: sagafsm.runtime.compatibility.check_compatibility.
    """
    from ..runtime.compatibility import check_compatibility, compare_shapes, read_shapes, write_shapes
    from .code import load_code
    from .opening import Place, with_store
    from .output import print_json, say

    definitions = load_code(target).definitions
    if shapes is not None:
        try:
            count = write_shapes(shapes, definitions)
        except OSError as exc:
            raise InvalidInput(f"{shapes} cannot be written: {exc.strerror or exc}") from exc
        say(f"{count} shape{'' if count == 1 else 's'} written to {shapes}")
        return
    if against is not None and store is not None:
        raise InvalidInput("compare with a store (--store) or with a file (--against), not with both")
    if against is not None:
        found = compare_shapes(read_shapes(against), definitions)
    else:
        with _bar("live sagas") as told:
            found = with_store(
                Place.of(store), lambda orchestrator: check_compatibility(orchestrator.store, definitions, told=told)
            )
    if json:
        print_json(found.to_dict())
    else:
        _show_compatibility(found)
    if not found.ok:
        raise typer.Exit(Exit.FAILED)


@contextlib.contextmanager
def _bar(name: str) -> Iterator[Callable[[int, int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from .output import console

    screen = console(stderr=True)
    if not screen.is_terminal:
        yield lambda seen, total: None
        return
    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task(name, total=None)
        yield lambda seen, total: progress.update(task, completed=seen, total=total)


def _show_compatibility(found: Compatibility) -> None:
    from .output import cell, console

    screen = console()
    for known in found.known:
        title = f"{known.name} version {known.version}"
        if known.registered:
            screen.print(cell(f"{title}: as it was", "green"))
            continue
        if known.now is None:
            screen.print(cell(f"{title}: your code has no saga of that name any more", "yellow"))
            continue
        now = known.now.partition("#")[0].replace("@", " version ")
        if known.same_version:
            screen.print(cell(f"{title}: changed, and its version was not; raise the version", "bold red"))
        else:
            screen.print(cell(f"{title}: not registered; your code has {now}", "yellow"))
        for change in known.changes:
            screen.print(cell(f"    {change}"))
        if any(old != new for old, new in known.map.items()):
            pairs = ", ".join(f"{old} → {new or 'nothing'}" for old, new in known.map.items())
            screen.print(cell(f"    map: {pairs}"))
    for kind in found.added:
        screen.print(cell(f"{kind.partition('#')[0].replace('@', ' version ')}: new"))
    if found.live:
        _show_live(found)


def _show_live(found: Compatibility) -> None:
    from .output import cell, console, table

    screen = console()
    screen.print()
    rows = table("live", "of", "fate", "because", "for example", right=("live",))
    for group in found.groups:
        rows.add_row(
            str(group.count),
            cell(group.kind.partition("#")[0].replace("@", " version ")),
            cell(group.fate, FATES[group.fate]),
            cell("; ".join(group.because)),
            cell(", ".join(group.examples[:2])),
        )
    if found.groups:
        screen.print(rows)
    parts = [f"{found.count(fate)} {words}" for fate, words in _FATE_WORDS.items()]
    screen.print(f"live sagas: {', '.join(parts)}")
    if any(group.fate != "goes on" for group in found.groups):
        screen.print(cell(DRAIN), soft_wrap=True)


_FATE_WORDS: Mapping[Fate, str] = {"goes on": "go on", "needs a map": "need a map", "must drain": "must drain"}


# --- export-test ---


def export_test(
    saga_id: options.SagaId,
    app: Annotated[str, typer.Option("--app", metavar="MODULE[:SAGA]", help="Where its code is.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where the test goes. Default: printed.", show_default=False
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD", help="Leave the values of this field as they are. Can be repeated."),
    ] = None,
    store: options.Store = None,
    json: options.Json = False,
) -> None:
    """Turn a stored saga into an offline pytest test, without its data.

    Every call ends as it did then, attempt by attempt; texts and numbers are made up, except in fields to --keep. The
    test is tried before it is handed out; exit code 1 where your code no longer does what was recorded.

    Public function: sagafsm.testing.exporting.export_stored.
    """
    from ..testing.exporting import Exported, export_stored
    from .code import load_named
    from .opening import Place, with_store
    from .output import complain, print_json, say

    if TYPE_CHECKING:
        from ..runtime.orchestrator import Orchestrator

    named = load_named(app)

    async def work(orchestrator: Orchestrator) -> Exported:
        kind = (await orchestrator.get(saga_id)).progress.kind
        name = kind.partition("@")[0]
        mine = [target for target, one in named.items() if one.name == name]
        if not mine:
            raise InvalidInput(f"saga {saga_id} is of {name}, and {app} has no such saga: {', '.join(named)}")
        found = next((target for target in mine if named[target].kind == kind), mine[0])
        return await export_stored(orchestrator, saga_id, named[found], target=found, keep=keep or ())

    exported = with_store(Place.of(store), work)
    differences = exported.differences()
    if output is not None:
        _write(output, exported.source)
    if json:
        print_json({"source": exported.source, "kept": list(exported.kept), "differences": differences})
    elif output is None:
        typer.echo(exported.source, nl=False)
    for place in exported.kept:
        say(f"kept because its type takes nothing else: {place}")
    if differences:
        complain(InvalidInput("the test fails with your code as it is: " + "; ".join(differences)))
        raise typer.Exit(Exit.FAILED)
