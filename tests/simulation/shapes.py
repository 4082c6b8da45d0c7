"""The corpus: one saga of every shape, and what its participants may be meant to do. Small, so that runs are many.

What must stay true: between them the shapes use everything that a definition can say; policies wait in seconds, so
that backoffs and leases meet.
"""

import warnings
from collections.abc import Mapping

from sagafsm import (
    Compensation,
    Fallback,
    Parallel,
    RetryPolicy,
    SagaDefinition,
    Sequence,
    Sleep,
    Step,
    SubSaga,
    WaitFor,
)
from sagafsm.core.errors import DefinitionWarning
from sagafsm.testing.simulation.plan import Plan

QUICK = RetryPolicy(max_attempts=3, initial_interval=0.5, backoff_coefficient=2.0, jitter=0.2, max_interruptions=4)
OFTEN = RetryPolicy(max_attempts=6, initial_interval=0.5, maximum_interval=2.0, jitter=0.2, max_interruptions=20)
ONCE = RetryPolicy(max_attempts=1, max_interruptions=2)
OK: Mapping[str, str] = {}


async def act(data, ctx): ...
async def undo(data, result, ctx): ...
async def ask(data, ctx): ...
def holds(data):
    return data != "skip"


def step(name, **facts):
    facts.setdefault("compensation", undo)
    return Step(name, act, **facts)


def last(name, **facts):
    return Step(name, act, compensatable=False, **facts)


def saga(name, *steps, **facts):
    facts.setdefault("retry", QUICK)
    facts.setdefault("compensation_retry", OFTEN)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DefinitionWarning)
        return SagaDefinition(name=name, steps=steps, **facts)


def plan(definition, *behaviours, processes=2, count=1, others=(), **facts):
    definitions = [definition, *others]
    facts.setdefault("other_data", "something else")
    return Plan(
        name=definition.name,
        definitions=definitions,
        starts=[(definition, {"n": number}) for number in range(count)],
        processes=[definitions] * processes,
        behaviours=behaviours or (OK,),
        **facts,
    )


def sequence():
    return plan(
        saga("sequence", step("reserve"), step("charge"), last("ship")),
        OK, {"ship": "reject"}, {"ship": "fail"}, {"charge": "open"}, {"charge": "fail 1", "ship": "reject"},
        processes=3,
    )  # fmt: skip


def parallel():
    return plan(
        saga("parallel", step("a"), Parallel(step("b", after="a"), step("c", after="a", timeout=1.0)), last("d")),
        OK, {"d": "reject"}, {"b": "reject"}, {"b": "fail", "c": "open"},
    )  # fmt: skip


def undone_in_parallel():
    return plan(
        saga(
            "undone_in_parallel",
            Parallel(step("a"), Sequence(step("b"), step("c")), step("d")),
            last("e"),
            parallel_compensation=True,
        ),
        {"e": "reject"}, OK, {"d": "open", "undo b": "fail 2"},
    )  # fmt: skip


def pivot():
    return plan(
        saga("pivot", step("reserve"), Step("pay", act, pivot=True, probe=ask), last("ship"), last("tell")),
        OK, {"pay": "reject"}, {"pay": "open"}, {"ship": "fail 4"}, {"tell": "reject"},
    )  # fmt: skip


def pivot_without_probe():
    return plan(
        saga("pivot_without_probe", step("reserve"), Step("pay", act, pivot=True), last("ship")),
        OK, {"pay": "fail"}, {"pay": "open"}, {"ship": "reject"},
    )  # fmt: skip


def fallback():
    return plan(
        saga(
            "fallback",
            step("reserve"),
            step("charge", fallback=Fallback(act, compensation=undo)),
            last("ship"),
        ),
        {"charge": "reject"}, OK, {"charge": "fail", "ship": "reject"}, {"ship": "reject"},
    )  # fmt: skip


def unknown_compensated():
    return plan(
        saga(
            "unknown_compensated",
            step("reserve", retry=ONCE),
            step("charge", timeout=1.0, on_unknown="compensate"),
            last("ship", timeout=1.0),
        ),
        OK, {"charge": "open"}, {"reserve": "open"}, {"ship": "reject"},
    )  # fmt: skip


def unknown_probed():
    return plan(
        saga(
            "unknown_probed",
            step("reserve", probe=ask, on_unknown="probe", retry=ONCE),
            step("charge", probe=ask, on_unknown="probe", timeout=1.0),
            last("ship"),
        ),
        OK, {"charge": "open"}, {"reserve": "open", "ship": "reject"},
    )  # fmt: skip


def unknown_stuck():
    return plan(
        saga("unknown_stuck", step("reserve"), step("charge", on_unknown="stick", retry=ONCE), last("ship")),
        OK, {"charge": "open"}, {"charge": "open 1", "ship": "reject"},
    )  # fmt: skip


def not_idempotent():
    return plan(
        saga(
            "not_idempotent",
            step("reserve", idempotent=False),
            step("charge", idempotent=False, probe=ask, on_unknown="probe"),
            last("ship"),
        ),
        OK, {"ship": "reject"}, {"charge": "fail 1"}, {"reserve": "open"},
    )  # fmt: skip


def signals():
    return plan(
        saga(
            "signals",
            step("reserve"),
            WaitFor("approval", signal="approval", timeout=30.0),
            WaitFor("second_approval", signal="approval", timeout=30.0),
            WaitFor("hint", signal="hint", timeout=2.0, on_timeout="continue"),
            last("ship"),
        ),
        OK, {"ship": "reject"},
        signals={"approval": "yes"},
    )  # fmt: skip


def sleeps():
    return plan(
        saga("sleeps", step("reserve"), Sleep("cooling_off", 3.0), step("charge"), last("ship"), deadline=9.0),
        OK, {"ship": "reject"}, {"charge": "fail"},
    )  # fmt: skip


def replies():
    undoing = Compensation(undo, awaits_reply=True, timeout=4.0)
    return plan(
        saga(
            "replies",
            step("quote", awaits_reply=True, timeout=4.0, compensation=undoing),
            step("order", awaits_reply=True),
            last("ship"),
        ),
        OK, {"ship": "reject"}, {"order": "reject"},
    )  # fmt: skip


def told_in_parallel():
    """What one branch is told from elsewhere comes while a call of another branch ends."""
    return plan(
        saga(
            "told_in_parallel",
            Parallel(
                Sequence(step("quote", awaits_reply=True, timeout=4.0), step("order")),
                Sequence(WaitFor("approval", signal="approval", timeout=30.0), step("book")),
                Sequence(step("reserve"), step("charge")),
            ),
            last("ship"),
        ),
        OK, {"ship": "reject"}, {"charge": "fail 2"},
        signals={"approval": "yes"},
    )  # fmt: skip


def sub_saga():
    child = saga("child", step("pack"), step("label"))
    return plan(
        saga("sub_saga", step("reserve"), SubSaga("shipping", child), last("confirm")),
        OK, {"confirm": "reject"}, {"label": "reject"}, {"confirm": "reject", "undo pack": "fail 2"},
        others=[child],
    )  # fmt: skip


def versions():
    first = saga("versions", step("reserve"), step("charge"), last("ship"))
    second = saga("versions", step("reserve"), step("insure"), step("charge"), last("ship"), version=2)
    made = plan(first, OK, {"ship": "reject"}, processes=3, others=[second])
    staged = made.stage.definitions
    both = [staged[first.kind], staged[second.kind]]
    made.processes = [both, [staged[second.kind]], both]
    made.starts = [(staged[first.kind], 1), (staged[second.kind], 2)]
    return made


def compensate_failed():
    return plan(
        saga("compensate_failed", step("reserve"), step("charge", compensate_failed=True), last("ship")),
        {"charge": "reject"}, {"charge": "fail"}, {"ship": "reject"}, OK,
    )  # fmt: skip


def stuck_compensation():
    hard = RetryPolicy(max_attempts=2, initial_interval=0.5, jitter=0)
    return plan(
        saga(
            "stuck_compensation",
            step("reserve"),
            step("charge", compensation=Compensation(undo, retry=hard)),
            step("book", compensation=Compensation(undo, retry=hard)),
            last("ship"),
            on_compensation_failure="stick",
        ),
        {"ship": "reject", "undo charge": "fail 3"}, {"ship": "reject", "undo book": "reject"}, OK,
    )  # fmt: skip


def conditions():
    return plan(
        saga(
            "conditions",
            step("reserve"),
            step("gift", when=holds),
            Parallel(step("x", after="gift"), step("y", after="gift", compensate_failed=True)),
            last("ship"),
            deadline=40.0,
        ),
        OK, {"ship": "reject"}, {"y": "fail"},
    )  # fmt: skip


def two_sagas():
    return plan(
        saga("two_sagas", step("reserve", retry=OFTEN), step("charge"), last("ship")),
        OK, {"ship": "reject"},
        count=2,
        processes=2,
    )  # fmt: skip


def poisoned():
    return plan(
        saga("poisoned", step("reserve"), step("charge"), last("ship")),
        OK, {"ship": "reject"},
        poison=2,
    )  # fmt: skip


def tampered():
    return plan(
        saga("tampered", step("reserve"), step("charge"), last("ship")),
        OK, {"ship": "reject"}, {"charge": "fail 2"},
        count=2,
        victim="saga-2",
    )  # fmt: skip


SHAPES = {
    make.__name__: make
    for make in (
        sequence, parallel, undone_in_parallel, pivot, pivot_without_probe, fallback, unknown_compensated,
        unknown_probed, unknown_stuck, not_idempotent, signals, sleeps, replies, told_in_parallel, sub_saga,
        versions, compensate_failed, stuck_compensation, conditions, two_sagas, poisoned,
        tampered,
    )
}  # fmt: skip


def short_sequence():
    """Two steps of which the second is refused: short enough for every pair of faults."""
    return plan(saga("short_sequence", step("reserve"), last("ship")), {"ship": "reject"})


def short_pivot():
    return plan(saga("short_pivot", step("reserve"), Step("pay", act, pivot=True, probe=ask), last("ship")))


def short_parallel():
    return plan(
        saga("short_parallel", Parallel(step("a"), step("b")), parallel_compensation=True),
        {"b": "reject"},
    )


PAIRED = {make.__name__: make for make in (short_sequence, short_pivot, short_parallel)}
