"""The judge on doctored evidence: each wrong is found, and called by its number; the evidence itself is clean."""

import attrs
import pytest
from msgspec.structs import replace

from sagafsm.testing.judging import Made, judge
from sagafsm.testing.laws import Broken
from sagafsm.testing.simulation.campaign import play
from sagafsm.testing.simulation.case import Case
from sagafsm.testing.trace import (
    Answered,
    Appended,
    Beat,
    CallBegan,
    CallOver,
    Fault,
    Granted,
    Heard,
    Purged,
    Released,
)
from tests.simulation.shapes import SHAPES

SAGA = "saga-1"
LATE = 1_000.0  # virtual seconds: after everything
NOW = 1_750_000_001.0


def evidence_of(shape, behaviour):
    """What is known of a calm run."""
    played = play(SHAPES[shape](), Case(behaviour=behaviour))
    assert played.broken is None
    return played.run.evidence(thorough=True)


@pytest.fixture(scope="module")
def undone():
    """Of a saga whose last step was refused."""
    return evidence_of("sequence", 1)


@pytest.fixture(scope="module")
def doubtful():
    """Of one in which a call ended open."""
    return evidence_of("sequence", 3)


def place(evidence, kind, number=0, **facts):
    """Where the trace has its first (second, …) entry of a kind with these facts."""
    found = [
        place
        for place, entry in enumerate(evidence.trace)
        if type(entry) is kind and all(getattr(entry, name) == value for name, value in facts.items())
    ]
    return found[number]


def entry(evidence, *arguments, **facts):
    return evidence.trace[place(evidence, *arguments, **facts)]


def with_changed(evidence, where, **changes):
    trace = list(evidence.trace)
    trace[where] = replace(trace[where], **changes)
    return attrs.evolve(evidence, trace=trace)


def with_more(evidence, *entries, at=None):
    trace = list(evidence.trace)
    trace[len(trace) if at is None else at : len(trace) if at is None else at] = entries
    return attrs.evolve(evidence, trace=trace)


def with_log(evidence, **changes):
    return attrs.evolve(evidence, logs={SAGA: attrs.evolve(evidence.logs[SAGA], **changes)})


def with_event(evidence, number, **changes):
    events = list(evidence.logs[SAGA].events)
    events[number] = replace(events[number], **changes)
    return with_log(evidence, events=events)


def call_again(evidence, role, **changes):
    """A call once more, announced once more."""
    call = entry(evidence, CallBegan, role=role)
    where = evidence.trace.index(call)
    return with_more(evidence, replace(call, **changes), at=where + 1)


def grant(evidence, **changes):
    return replace(Granted(at=LATE, process="worker-1.1", worker="worker-1", saga=SAGA, fence=9, now=NOW), **changes)


def called_late(evidence):
    """The last call of the saga begins only after its process has heard of the end."""
    where = place(evidence, CallBegan, -1)
    call = evidence.trace[where]
    trace = [one for one in evidence.trace if one is not call and getattr(one, "number", None) != call.number]
    trace = [one for one in trace if getattr(one, "what", None) != "stopped"]
    heard = Heard(LATE - 1, call.process, SAGA)
    return attrs.evolve(evidence, trace=[*trace, heard, replace(call, at=LATE)])


def live(evidence):
    """The trace up to the first call, while the saga runs."""
    return attrs.evolve(
        evidence, trace=evidence.trace[: place(evidence, CallBegan) + 1], logs={}, views=[], effects=None
    )


DOCTORED = {
    "L1 skipped": lambda it: with_changed(it, place(it, Appended, 1, verdict="Committed"), expected=7),
    "L1 a number is missing": lambda it: with_event(it, 1, seq=9),
    "L1 the record": lambda it: with_log(it, record=replace(it.logs[SAGA].record, version=99)),
    "L2": lambda it: attrs.evolve(it, views=[(SAGA, replace(judge(it).standing[SAGA], version=99))]),
    "L3": lambda it: with_event(it, 0, at=it.logs[SAGA].events[0].at + 0.5),
    "L4 twice": lambda it: with_more(it, entry(it, Appended), at=place(it, Appended) + 1),
    "L4 never": lambda it: with_changed(it, place(it, Appended), verdict="Duplicate"),
    "S3": lambda it: attrs.evolve(with_event(it, 3, type="SagaCompleted", data=b"{}"), trace=None),
    "L9": lambda it: attrs.evolve(it, logs={}, views=[]),
    "S1 granted": lambda it: with_more(
        it, Beat(LATE, "worker-9.1", "worker-9", NOW + 99, NOW, LATE, 5.0),
        grant(it, process="worker-9.1", worker="worker-9"),
    ),
    "S1 called": lambda it: called_late(it),
    "S1 owned": lambda it: with_log(it, record=replace(it.logs[SAGA].record, owner="worker-1")),
    "C1": lambda it: attrs.evolve(it, effects={SAGA: it.effects[SAGA][:-1]}),
    "U1 again": lambda it: call_again(it, "forward"),
    "U1 noted": lambda it: attrs.evolve(it, made=[Made(SAGA, "a key", 0)]),
    "U1 noted, and asked at the end": lambda it: attrs.evolve(it, made=[Made(SAGA, "a key")]),
    "F1 somebody else": lambda it: with_more(
        live(it), Beat(0.0, "worker-9.1", "worker-9", NOW + 99, NOW, 0.0, 99.0),
        grant(it, process="worker-9.1", worker="worker-9", now=NOW - 1),
    ),
    "F1 the dead": lambda it: with_more(live(it), grant(it, process="worker-9.1", worker="worker-9")),
    "F2": lambda it: with_changed(it, place(it, Appended, 1, verdict="Committed"), fence=7),
    "F3": lambda it: with_more(
        live(it), Beat(0.0, "worker-9.1", "worker-9", NOW + 99, NOW, 0.0, 99.0),
        grant(it, process="worker-9.1", worker="worker-9", fence=1),
    ),
    "F3 the record": lambda it: with_log(it, record=replace(it.logs[SAGA].record, fence=0)),
    "F4": lambda it: with_changed(it, place(it, CallBegan), process="worker-9.1"),
    "F5": lambda it: with_changed(it, place(it, CallBegan), at=LATE),
    "F6": lambda it: with_more(
        live(it), Beat(0.0, "worker-9.1", "worker-9", NOW + 99, NOW, 0.0, 99.0),
        grant(it, process="worker-9.1", worker="worker-9", now=NOW + 50),
        Heard(0.1, "worker-1.1", SAGA, True), at=place(it, CallBegan),
    ),
    "F7": lambda it: with_more(it, Beat(LATE, "worker-9.1", "worker-1", NOW, NOW, LATE, 5.0)),
    "F8": lambda it: with_more(it, Released(LATE, "worker-9.1", "worker-9", SAGA, 1, True)),
    "F9 called": lambda it: with_more(it, Fault(0.0, entry(it, CallBegan).process, "stopped"), at=0),
    "CL1": lambda it: with_changed(it, place(it, Appended), now=NOW - 1_000),
    "A1": lambda it: with_more(it, Answered(LATE, "", "client", "start other", SAGA, 9, "ok")),
    "A2": lambda it: with_more(it, Answered(LATE, "", "client", "abort", SAGA, 9, "ok", version=2)),
    "A4": lambda it: attrs.evolve(it, views=[(SAGA, replace(judge(it).standing[SAGA], version=2))]),
    "V1": lambda it: attrs.evolve(it, knows={"worker-1": frozenset()}),
    "V2": lambda it: attrs.evolve(with_log(it, definition=SHAPES["compensate_failed"]().starts[0][0]), trace=None),
    "V3": lambda it: with_event(it, 2, type="SomethingNew"),
    "R1": lambda it: with_more(it, Purged(LATE, "", (SAGA,), 0.0)),
    "V-L4": lambda it: with_more(
        live(it), *(one for number in range(40) for one in (
            Released(0.5, "", f"worker-{number + 8}" if number else entry(it, Granted).worker, SAGA, number + 1, True),
            Beat(0.5, f"w-{number + 9}.1", f"worker-{number + 9}", NOW + 99, NOW, 0.5, 99.0),
            grant(it, at=0.5, process=f"w-{number + 9}.1", worker=f"worker-{number + 9}", fence=number + 2),
        )),
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", DOCTORED)
def test_a_wrong_is_found_and_called_by_its_number(undone, wrong):
    judge(undone)
    with pytest.raises(Broken) as found:
        judge(DOCTORED[wrong](undone))
    assert found.value.law.split()[0] == wrong.split()[0], found.value


def test_an_open_outcome_that_is_recorded_as_definite_is_found(doubtful):
    judge(doubtful)
    where = place(doubtful, CallOver, outcome="open")
    with pytest.raises(Broken, match="U6 a definite failure is definite"):
        judge(with_changed(doubtful, where, outcome="failed"))


@pytest.mark.parametrize(
    ("law", "shape", "behaviour", "role", "number"),
    [("C6", "stuck_compensation", 0, "backward", 2), ("U2", "sequence", 4, "forward", 2)],
)
def test_another_payload_under_the_same_key_is_found(law, shape, behaviour, role, number):
    evidence = evidence_of(shape, behaviour)
    judge(evidence)
    calls = [place(evidence, CallBegan, n, role=role) for n in range(4 if role == "backward" else 3)]
    again = next(w for w in calls if evidence.trace[w].attempt == number)
    with pytest.raises(Broken, match=rf"^{law} "):
        judge(with_changed(evidence, again, payload="something else"))


def test_a_timer_that_fires_too_soon_is_found():
    evidence = attrs.evolve(evidence_of("sleeps", 0), trace=None)
    judge(evidence)
    number = next(n for n, event in enumerate(evidence.logs[SAGA].events) if b'"by":"timer"' in event.data)
    with pytest.raises(Broken, match="CL4 timers are due"):
        judge(with_event(evidence, number, at=evidence.logs[SAGA].events[number - 1].at))


def test_what_is_not_known_is_not_judged(undone):
    judge(attrs.evolve(undone, trace=None, effects=None, views=[]))


def test_a_saga_has_ended_when_its_log_says_however_late_that_was_stored(undone):
    """A worker's clock lags behind the store's by as long as answers take."""
    ends = [n for n, one in enumerate(undone.trace) if type(one) is Appended and one.state == "failed" and one.events]
    ended = undone.trace[ends[-1]].events[-1].at
    late = with_changed(undone, ends[-1], now=ended + 3.5)
    judge(with_more(late, Purged(LATE, "", (SAGA,), ended + 0.1)))
    with pytest.raises(Broken, match="R1 purge"):
        judge(with_more(late, Purged(LATE, "", (SAGA,), ended)))
