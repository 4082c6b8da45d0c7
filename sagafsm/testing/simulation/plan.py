"""What is simulated: which sagas, on how many processes, in what kind of world. The same for every run of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from ...core.definition import SagaDefinition
from ...runtime.settings import Settings
from ..judging.known import Known
from .faults import SITES
from .places import Stagehand

if TYPE_CHECKING:
    from .participants import Message
    from .places import World
    from .run import Run

SETTINGS = Settings(store_patience=3.0, grace_period=1.0, threads=1, payload_limit=50_000)
NOTHING_ELSE: Any = object()
ALL_WELL: Mapping[str, str] = {}


@attrs.define(kw_only=True, eq=False)
class Plan:
    """One thing to simulate.

    ``starts``: the sagas of a run, each a definition and its input. ``behaviours``: what the participants are meant to
    do, one of these per run: by step (``undo step`` for its compensation) ``ok``, ``reject``, ``fail [n]``, ``open
    [n]`` (the first n attempts, or all). ``signals``: what is sent to sagas that wait, by name. ``replies``: the
    results of steps that await a reply. ``processes``: the definitions that each worker process knows. ``quiet``:
    virtual seconds within which every saga must have settled once nothing is broken any more. ``other_data``: an input
    that differs, for starts of an id that is taken. ``poison``: how many sagas that nobody can read lie in the store.
    ``victim``: a saga that somebody lays hands on behind the engine's back; judged only by what it does to others.
    """

    name: str
    definitions: Sequence[SagaDefinition]
    starts: Sequence[tuple[SagaDefinition, Any]]
    processes: Sequence[Sequence[SagaDefinition]]
    behaviours: Sequence[Mapping[str, str]] = (ALL_WELL,)
    signals: Mapping[str, Any] = attrs.Factory(dict[str, Any])
    replies: Mapping[str, Any] = attrs.Factory(dict[str, Any])
    sites: Sequence[str] = SITES
    settings: Settings = SETTINGS
    calm_at: float = 12.0
    quiet: float = 240.0
    other_data: Any = NOTHING_ELSE
    operated: bool = True
    poison: int = 0
    victim: str | None = None
    world: Callable[[Run, Callable[[Message], object]], World] | None = None
    before: Callable[[], object] | None = None
    after: Callable[[Run], object] | None = None
    stage: Stagehand = attrs.field(init=False)
    known: Known = attrs.field(init=False, factory=Known)

    def __attrs_post_init__(self) -> None:
        self.stage = Stagehand(self.definitions)
        staged = self.stage.definitions
        self.processes = [[staged[definition.kind] for definition in known] for known in self.processes]
        self.starts = [(staged[definition.kind], data) for definition, data in self.starts]

    def reply(self, step: str) -> Any:
        """The result that a participant reports for a step."""
        return self.replies.get(step, f"{step} done")
