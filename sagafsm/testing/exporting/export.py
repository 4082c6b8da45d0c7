"""A stored saga as a pytest test: its story written down, and where it stood in the end asserted.

What must stay true: the test needs nothing but the saga's code: no store, no network, no clock; what it holds of the
saga's data has gone through the redactor; what it asserts is what was stored, not what the engine does today.
"""

from __future__ import annotations

import hashlib
import pprint
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from ...core.definition import SagaDefinition
from ...core.errors import InvalidInput, SagaNotFound
from ...core.fold import fold
from ...core.progress import Progress
from ...core.step import StepKind
from ...declare import definition_of
from ...runtime.session import Definable
from ..account import Entry
from ..cue_code import code_of, imports_for
from ..harness import SagaTestHarness
from ..histories import entries_of
from ..script import NotReached
from .merge import Log
from .redact import Redactor
from .retell import Story, retell

if TYPE_CHECKING:
    from ...runtime.orchestrator import Orchestrator

WIDTH = 100


@attrs.frozen(kw_only=True)
class Exported:
    """A test. ``source``: its text; ``kept``: fields whose values stayed because their types take no other."""

    source: str
    story: Story
    kept: Sequence[str]
    expected: Mapping[str, Any]
    definition: SagaDefinition

    def differences(self) -> list[str]:
        """What is different when the story is played with the saga as it is now; nothing: the test passes."""
        harness = SagaTestHarness(self.definition)
        try:
            saga = harness.play_sync(
                self.story.data, self.story.cues, conditions=self.story.conditions, inputs=self.story.inputs
            )
        except NotReached as missing:
            return [str(missing)]
        found = {
            "state": saga.state.value,
            "outcome": saga.outcome,
            "stuck": saga.stuck,
            "steps": {name: step.state.value for name, step in saga.steps.items()},
            "calls": harness.calls,
        }
        return [
            f"{name} was {was!r} and is {found[name]!r}" for name, was in self.expected.items() if found[name] != was
        ]


async def export_stored(
    orchestrator: Orchestrator, saga_id: str, saga: Definable, *, target: str, keep: Iterable[str] = ()
) -> Exported:
    """The test of a saga in a store, with its sub-sagas; see :func:`export_test`. Raises SagaNotFound too."""
    definition = definition_of(saga)
    logs = [Log(definition=definition, entries=entries_of(await orchestrator.history(saga_id)))]
    for log in logs:  # grows by the sub-sagas
        for name, spec in log.definition.steps.items():
            if spec.kind is not StepKind.CHILD or spec.child is None:
                continue
            path = f"{log.step}:{name}" if log.step else name
            try:
                history = await orchestrator.history(f"{saga_id}:{path}")
            except SagaNotFound:
                continue
            logs.append(Log(definition=spec.child, entries=entries_of(history), step=path))
    return export_test(logs, target=target, keep=keep)


def export_test(logs: Sequence[Log], *, target: str, keep: Iterable[str] = ()) -> Exported:
    """A test that plays a recorded saga (the first log; then its sub-sagas) again, offline, without its data.

    ``target`` (``MODULE:NAME``) is what the test imports. Texts and numbers of inputs, results, payloads and errors
    are replaced, except in the fields to ``keep``. Calls end as they did, attempt by attempt; no function of yours is
    called. Raises InvalidInput where the code is another definition than the stored one, CannotRetell for a history
    that a test cannot play (a step that could not even be called).
    """
    definition, entries = logs[0].definition, logs[0].entries
    progress = fold((entry.event, entry.at) for entry in entries)
    if progress.kind != definition.kind:
        raise InvalidInput(
            f"saga {progress.saga_id} was started with {progress.kind}, the code is {definition.kind}; "
            "export it with the code that it was started with"
        )
    redactor = Redactor(keep)
    story = retell(logs, redactor)
    expected = {
        "state": progress.state.value,
        "outcome": progress.outcome,
        "stuck": progress.stuck,
        "steps": {name: step.state.value for name, step in progress.steps.items()},
        "calls": list(story.calls),
    }
    kept = sorted(set(redactor.kept_for_type))
    source = _source(progress, entries, target, story, expected, kept)
    return Exported(source=source, story=story, kept=kept, expected=expected, definition=definition)


# --- the text ---


def _source(
    progress: Progress,
    entries: Sequence[Entry],
    target: str,
    story: Story,
    expected: Mapping[str, Any],
    kept: Sequence[str],
) -> str:
    module, _, name = target.partition(":")
    ended = progress.state.value + (f" ({progress.outcome})" if progress.outcome else "")
    ended += ", stuck" if progress.stuck else ""
    lines = [
        f'"""A saga of {progress.saga_type} (version {progress.definition_version}) that came to: {ended}.',
        "",
        "Recorded from a store and replayed offline on virtual time: every call ends as it did then. Texts and numbers",
        "are made up; what was equal is equal." + (f" Kept because of their types: {', '.join(kept)}." if kept else ""),
        '"""',
        "",
        f"from {module} import {name.partition('.')[0]}",
        "",
        *imports_for(story.cues),
        "",
        f"INPUT = {_literal(story.data, 8)}",
        "STORY = [",
        *[f"    {code_of(cue)}," for cue in story.cues],
        "]",
        "",
        "",
        f"def test_{_slug(progress)}() -> None:",
        f"    harness = SagaTestHarness({name})",
        f"    saga = harness.play_sync(INPUT, STORY{_options(story)})",
        f"    assert saga.state.value == {expected['state']!r}",
        *([f"    assert saga.outcome == {expected['outcome']!r}"] if expected["outcome"] else []),
        f"    assert saga.stuck is {expected['stuck']!r}",
        "    states = {name: step.state.value for name, step in saga.steps.items()}",
        f"    assert states == {_literal(expected['steps'], 8)}",
        f"    assert harness.calls == {_literal(expected['calls'], 8)}",
    ]
    return "\n".join(lines) + "\n"


def _options(story: Story) -> str:
    more = ""
    for option in ("conditions", "inputs"):
        value = getattr(story, option)
        if value:
            more += f", {option}={_literal(dict(value), 12)}"
    return more


def _literal(value: Any, indent: int) -> str:
    text = pprint.pformat(value, width=WIDTH - indent, sort_dicts=False)
    return text.replace("\n", f"\n{' ' * (indent - 4)}")


def _slug(progress: Progress) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", progress.saga_type.lower()).strip("_")
    digest = hashlib.blake2b(progress.saga_id.encode(), digest_size=3).hexdigest()
    return f"{name}_{progress.outcome or progress.state.value}_{digest}"
