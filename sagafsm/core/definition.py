"""A saga definition: data that the engine, the tools and the diagrams all read, whatever front end wrote it.

What must stay true: immutable; nothing here calls a user's function; what the decider asks at run time (what follows
what, what lies after the pivot, which policy applies) is worked out once, when the definition is built.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import attrs
import msgspec

from .declaration import compile_steps
from .location import caller
from .retry import ACTION_RETRY, COMPENSATION_RETRY, RetryPolicy
from .shape import shape_of
from .step import KIND_SIGNAL, KIND_SLEEP, StepDefinition, StepKind
from .validation import check_definition

OnCompensationFailure = Literal["continue", "stick"]


@attrs.define(kw_only=True, eq=False, slots=False, frozen=True)
class SagaDefinition:
    """An immutable saga definition, validated when built.

    ``steps`` takes the items of the list form (:class:`~sagafsm.Step`, :class:`~sagafsm.Parallel`, …) and holds them
    compiled, by name, in the order of their declaration. ``deadline`` is in seconds for the whole saga; ``input`` is
    the type that the saga's input is decoded to. Raises :class:`~sagafsm.DefinitionError`.
    """

    name: str
    version: int = 1
    steps: Mapping[str, StepDefinition] = attrs.field(converter=compile_steps)
    deadline: float | None = None
    retry: RetryPolicy | None = None
    compensation_retry: RetryPolicy | None = None
    on_compensation_failure: OnCompensationFailure = "continue"
    parallel_compensation: bool = False
    input: Any = Any
    on_completed: Callable[..., Any] | None = None
    on_failed: Callable[..., Any] | None = None
    description: str = ""
    where: str = attrs.field(factory=caller)
    trusted: bool = False  # made again from a stored shape: it was validated when it was first built

    def __attrs_post_init__(self) -> None:
        if not self.trusted:
            check_definition(self)

    @classmethod
    def from_contract(cls, document: Mapping[str, Any] | str | bytes | Path, operations: Any = None) -> SagaDefinition:
        """Build a definition from a contract: a mapping, JSON or YAML text, or the path of a file.

        ``operations`` resolves ``backend`` and ``operation`` to functions. Raises :class:`~sagafsm.DefinitionError`.
        """
        from .contract import definition_from_contract

        return definition_from_contract(document, operations)

    def with_defaults(self, retry: RetryPolicy | None, compensation_retry: RetryPolicy | None) -> Self:
        """The same saga, with the orchestrator's policies where it names none of its own."""
        if (self.retry or not retry) and (self.compensation_retry or not compensation_retry):
            return self
        return attrs.evolve(
            self, retry=self.retry or retry, compensation_retry=self.compensation_retry or compensation_retry
        )

    # --- the graph ---

    @cached_property
    def step_names(self) -> tuple[str, ...]:
        """The steps in the order of their declaration."""
        return tuple(self.steps)

    @cached_property
    def roots(self) -> tuple[str, ...]:
        """The steps that can start at once."""
        return tuple(name for name, step in self.steps.items() if not step.after)

    @cached_property
    def begins_with_calls(self) -> bool:
        """Whether none of the steps that can start at once can end at once: each of them is a call."""
        waits = (KIND_SIGNAL, KIND_SLEEP)
        return all(self.steps[name].kind not in waits and self.steps[name].when is None for name in self.roots)

    @cached_property
    def followers(self) -> Mapping[str, tuple[str, ...]]:
        """For each step, the steps that name it in ``after``."""
        found: dict[str, list[str]] = {name: [] for name in self.steps}
        for name, step in self.steps.items():
            for before in step.after:
                found[before].append(name)
        return {name: tuple(names) for name, names in found.items()}

    @cached_property
    def sequential(self) -> bool:
        """Whether at most one step is ever at work: each waits for the one before it."""
        return len(self.roots) == 1 and all(len(names) <= 1 for names in self.followers.values())

    @cached_property
    def straight(self) -> Mapping[str, str | None]:
        """Where the end of a step's call leads by the definition alone: to one call, or None: nothing follows."""
        if self.limited:
            return {}  # a limit may hold up what follows
        found: dict[str, str | None] = {}
        for name, step in self.steps.items():
            names = self.followers[name]
            if not step.ends_with_its_call or len(names) > 1:
                continue
            following = self.steps[names[0]] if names else None
            if following is None:
                found[name] = None
            elif len(following.after) == 1 and following.calls_at_once:
                found[name] = following.name
        return found

    @cached_property
    def descendants(self) -> Mapping[str, frozenset[str]]:
        """For each step, every step that can only start after it."""
        found: dict[str, frozenset[str]] = {}

        def collect(name: str) -> frozenset[str]:
            if name not in found:
                direct = self.followers[name]
                found[name] = frozenset(direct).union(*(collect(follower) for follower in direct))
            return found[name]

        for name in reversed(self.topological_order):
            collect(name)
        return found

    @cached_property
    def topological_order(self) -> tuple[str, ...]:
        """Every step after all the steps that it waits for; ties in the order of declaration."""
        missing = {name: len(step.after) for name, step in self.steps.items()}
        order = [name for name, count in missing.items() if not count]
        for name in order:  # grows as it is read
            for follower in self.followers[name]:
                missing[follower] -= 1
                if not missing[follower]:
                    order.append(follower)
        return tuple(order)

    @cached_property
    def pivot(self) -> str | None:
        """The point of no return, if there is one."""
        return next((name for name, step in self.steps.items() if step.pivot), None)

    @cached_property
    def after_pivot(self) -> frozenset[str]:
        """The steps that only start once the pivot has succeeded."""
        return self.descendants[self.pivot] if self.pivot is not None else frozenset()

    # --- the policies ---

    @cached_property
    def forward_retry(self) -> Mapping[tuple[str, str], RetryPolicy]:
        """The policy of each step's (name, ``"action"`` | ``"fallback"``)."""
        default = self.retry or ACTION_RETRY
        policies: dict[tuple[str, str], RetryPolicy] = {}
        for name, step in self.steps.items():
            own = step.action.retry if step.action is not None else None
            policies[name, "action"] = own or default
            policies[name, "fallback"] = (step.fallback.retry if step.fallback is not None else None) or default
        return policies

    @cached_property
    def backward_retry(self) -> Mapping[tuple[str, str], RetryPolicy]:
        """The policy of the compensation of each step's (name, ``"action"`` | ``"fallback"``)."""
        default = self.compensation_retry or COMPENSATION_RETRY
        policies: dict[tuple[str, str], RetryPolicy] = {}
        for name, step in self.steps.items():
            for via in ("action", "fallback"):
                handler = step.backward(via)
                policies[name, via] = (handler.retry if handler is not None else None) or default
        return policies

    @cached_property
    def limited(self) -> bool:
        """Whether any of its functions has a limit."""
        handlers = (
            handler
            for step in self.steps.values()
            for handler in (step.action, step.compensation, step.fallback, step.fallback_compensation)
        )
        return any(handler is not None and handler.limit is not None for handler in handlers)

    @cached_property
    def undoable(self) -> frozenset[str]:
        """The steps whose compensation can fall due: those that have one, and do not lie after the pivot."""
        return frozenset(
            name
            for name, step in self.steps.items()
            if step.compensatable and (step.compensation is not None or step.kind is StepKind.CHILD)
        ).difference(self.after_pivot)

    # --- its identity ---

    @cached_property
    def shape(self) -> dict[str, Any]:
        """The names, the order and the flags: what a running saga depends on. Never function bodies."""
        return shape_of(self)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the shape, which guards against a changed shape under an unchanged version."""
        return hashlib.blake2b(msgspec.json.encode(self.shape), digest_size=8).hexdigest()

    @cached_property
    def kind(self) -> str:
        """``name@version#fingerprint``: which definition exactly a stored saga needs."""
        return f"{self.name}@{self.version}#{self.fingerprint}"

    def __repr__(self) -> str:
        return f"<SagaDefinition {self.name} version {self.version}, {len(self.steps)} steps>"
