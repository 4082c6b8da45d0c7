"""One step of a saga, as the engine sees it, whatever front end declared it.

What must stay true: immutable data; nothing here calls a user's function.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from .limit import CallLimit
from .retry import RetryPolicy

if TYPE_CHECKING:
    from .definition import SagaDefinition

OnUnknown = Literal["compensate", "probe", "stick"]
OnTimeout = Literal["fail", "continue"]


class StepKind(enum.Enum):
    """What a step does when its turn comes."""

    ACTION = "action"  # calls a function of the user
    SIGNAL = "signal"  # waits for an outside event
    SLEEP = "sleep"  # waits for a time
    CHILD = "child"  # runs another saga


# As names of the module, too: see lifecycle.
KIND_SIGNAL: Final = StepKind.SIGNAL
KIND_SLEEP: Final = StepKind.SLEEP
KIND_CHILD: Final = StepKind.CHILD


@attrs.frozen
class Argument:
    """How one parameter of a user's function is filled.

    ``source``: the saga's ``input``, the action's ``result`` (a compensation's second parameter), the ``context``,
    or the result of an earlier ``step``, named by ``step``. ``type`` is what the value is decoded to; ``Any`` for an
    input means the saga's input type, and for a result the plain JSON value.
    """

    parameter: str
    source: Literal["input", "result", "context", "step"]
    step: str | None = None
    keyword_only: bool = False
    type: Any = attrs.field(default=Any, eq=False)


@attrs.frozen(kw_only=True)
class Handler:
    """One function of a step (action, compensation, fallback, probe, condition) and how it is to be called.

    ``arguments`` fill the parameters in order. ``input_type`` and ``result_type`` come from the annotations (``Any``
    where there are none). ``timeout`` is in seconds per attempt. A function that is not ``is_async`` runs in a
    thread. ``function`` is None where a contract names an operation that nobody registered: calling it makes the
    saga stuck, reading it harms nothing.
    """

    name: str
    function: Callable[..., Any] | None = attrs.field(eq=False)
    arguments: tuple[Argument, ...] = ()
    is_async: bool = False
    input_type: Any = attrs.field(default=Any, eq=False)
    result_type: Any = attrs.field(default=Any, eq=False)
    retry: RetryPolicy | None = None
    timeout: float | None = None
    awaits_reply: bool = False
    limit: CallLimit | None = None


@attrs.frozen(kw_only=True)
class StepDefinition:
    """One step.

    ``after``: the steps that must have ended well (succeeded or skipped) before this one starts. ``signal`` and
    ``seconds``: what a waiting step waits for and for how long (``seconds`` is a sleep's length and a signal's
    timeout). ``child`` and ``child_data``: a sub-saga and the function that makes its input. ``where``: file and
    line of the declaration, for error messages.
    """

    name: str
    kind: StepKind = StepKind.ACTION
    after: tuple[str, ...] = ()
    when: Handler | None = None
    action: Handler | None = None
    compensation: Handler | None = None
    fallback: Handler | None = None
    fallback_compensation: Handler | None = None
    probe: Handler | None = None
    pivot: bool = False
    compensatable: bool = True
    on_unknown: OnUnknown | None = None
    idempotent: bool = True
    compensate_failed: bool = False
    idempotency_key: str | None = None
    unknown_errors: tuple[type[BaseException], ...] = ()
    signal: str | None = None
    seconds: float | None = None
    on_timeout: OnTimeout = "fail"
    child: SagaDefinition | None = None
    child_data: Handler | None = None
    where: str = attrs.field(default="", eq=False)

    @property
    def calls_at_once(self) -> bool:
        """Whether it begins with a call, whatever the saga's data: no wait, no condition, no key template."""
        return self.kind not in (KIND_SIGNAL, KIND_SLEEP) and self.when is None and self.idempotency_key is None

    @property
    def ends_with_its_call(self) -> bool:
        """Whether it has succeeded once a call of it has: it awaits no reply and no other saga."""
        handlers = (self.action, self.fallback)
        waits = any(handler is not None and handler.awaits_reply for handler in handlers)
        return self.kind is StepKind.ACTION and not waits

    def forward(self, via: str) -> Handler | None:
        """The function that does the step: the ``"action"`` or the ``"fallback"``."""
        return self.fallback if via == "fallback" else self.action

    def backward(self, via: str) -> Handler | None:
        """The function that undoes it: the fallback's own compensation where it went by that, else the step's."""
        if via == "fallback" and self.fallback_compensation is not None:
            return self.fallback_compensation
        return self.compensation
