"""Obligations seen from above: real sagas on the store, with the real engine, while its answers are lost."""

# ruff: noqa: S101

from __future__ import annotations

from typing import Any

from ...core.declaration import Step
from ...core.definition import SagaDefinition
from ...core.errors import Rejected
from ...runtime.orchestrator import Orchestrator
from ...store import Store
from ..faults import Fault, FaultyStore
from .base import StoreTests, whole

COMMITS = 30  # no saga here has as many


class SagaConformance(StoreTests):
    """Whatever becomes of a commit, every step and every compensation is called once."""

    async def test_a_saga_runs_once_whatever_becomes_of_its_commits(self, store: Store) -> None:
        called: list[tuple[str, str]] = []
        good, bad = _saga("good", called), _saga("bad", called)
        faulty = FaultyStore(store)
        async with Orchestrator(faulty, sagas=[good, bad]) as orchestrator:
            for definition, expected in ((good, ["a", "b", "c"]), (bad, ["a", "b", "c", "undo b", "undo a"])):
                for fault in (Fault.BEFORE, Fault.UNTOLD, Fault.LOST, Fault.LATE, Fault.SLOW):
                    for number in range(1, COMMITS):
                        saga_id = f"{definition.name}-{fault.value}-{number}"
                        planned = faulty.plan(fault, call=number, seconds=0.03)
                        ended = await orchestrator.run(definition, saga_id, saga_id=saga_id, timeout=self.patience)
                        await faulty.settled()
                        assert ended.state.value == ("completed" if definition is good else "failed")
                        assert [name for name, of in called if of == saga_id] == expected, saga_id
                        await whole(store, saga_id)
                        faulty.heal()
                        if not planned.struck:
                            break


def _saga(name: str, called: list[tuple[str, str]]) -> SagaDefinition:
    def steps(step: str) -> Step:
        async def act(data: str) -> None:
            called.append((step, data))
            if (name, step) == ("bad", "c"):
                raise Rejected("planned")

        async def undo(data: str, result: Any) -> None:
            called.append((f"undo {step}", data))

        return Step(step, act, compensation=undo)

    return SagaDefinition(name=name, steps=[steps(step) for step in "abc"])
