"""Small sagas, one of each shape, small enough to be explored whole."""

import warnings

from sagafsm import (
    Compensation,
    Fallback,
    Parallel,
    Probe,
    RetryPolicy,
    SagaDefinition,
    Sequence,
    Sleep,
    Step,
    SubSaga,
    WaitFor,
)
from sagafsm.core.errors import DefinitionWarning

TWICE = RetryPolicy(max_attempts=2, initial_interval=10, jitter=0, max_interruptions=1)
ONCE = RetryPolicy(max_attempts=1, max_interruptions=1)


async def act(data: object) -> None: ...
async def undo(data: object, result: None) -> None: ...
async def undo_other(data: object, result: None) -> None: ...
async def other_way(data: object) -> None: ...
async def look(data: object) -> object:
    return Probe.STILL_UNKNOWN


def holds(data: object) -> bool:
    return True


def saga(name, *steps, **options):
    options.setdefault("retry", TWICE)
    options.setdefault("compensation_retry", ONCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DefinitionWarning)
        return SagaDefinition(name=name, steps=steps, **options)


def plain(name, **options):
    return Step(name, act, compensation=undo, **options)


def last(name="last", **options):
    return Step(name, act, compensatable=False, **options)


One = saga("One", plain("only"))
Two = saga("Two", plain("first"), plain("second"))
Three = saga("Three", plain("first"), plain("second"), plain("third"), retry=ONCE)
Pivot = saga("Pivot", plain("before"), Step("pivot", act, pivot=True, probe=look), last("after"))
Stuck = saga("Stuck", plain("before"), Step("pivot", act, pivot=True), last("after", fallback=other_way), retry=ONCE)
Backup = saga(
    "Backup", Step("first", act, compensation=undo, fallback=Fallback(other_way, compensation=undo_other)), last()
)
Delicate = saga(
    "Delicate",
    plain("once", idempotent=False, on_unknown="probe", probe=look),
    plain("anyhow", compensate_failed=True),
    on_compensation_failure="stick",
)
Sticky = saga("Sticky", plain("first"), plain("second", on_unknown="stick", idempotent=False))
Beside = saga("Beside", Parallel(plain("left"), plain("right")), last(), retry=ONCE)
Branch = saga("Branch", Parallel(Sequence(plain("first"), last("second")), last("beside")), retry=ONCE)
Apart = saga("Apart", Parallel(plain("left"), plain("right")), plain("joined"), parallel_compensation=True, retry=ONCE)
Replies = saga(
    "Replies",
    Step("asked", act, compensation=Compensation(undo, awaits_reply=True, timeout=50), awaits_reply=True, timeout=30),
    last(),
)
Signals = saga(
    "Signals",
    plain("first", retry=ONCE),
    WaitFor("approval", signal="ok", timeout=60),
    WaitFor("second", signal="ok", timeout=60, on_timeout="continue"),
)
Timed = saga("Timed", plain("first"), Sleep("pause", 20), last("gift", when=holds), deadline=100)
Parent = saga("Parent", SubSaga("child", One), last(retry=ONCE))
Endless = saga("Endless", plain("first"), last(retry=RetryPolicy(max_attempts=None, jitter=0)))

SHAPES = [
    One, Two, Three, Pivot, Stuck, Backup, Delicate, Sticky, Beside, Branch, Apart, Replies, Signals, Timed, Parent,
    Endless,
]  # fmt: skip
