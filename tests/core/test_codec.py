"""What lies in a store comes back as it was, or is refused by an error that names the saga and the event."""

import re

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sagafsm.core import events as e
from sagafsm.core.codec import decode_event, decode_snapshot, describe, encode_event, encode_snapshot, replay
from sagafsm.core.errors import StoreCorrupt, StoreTooNew
from sagafsm.core.fold import evolve
from sagafsm.testing.checker import Stored
from tests.core.hostility import run_through_everything
from tests.core.strategies import Choices

SLOW = list(HealthCheck)
SEEDS = st.integers(0, 5_000)


def stored(event: e.SagaEvent, seq: int = 7) -> Stored:
    return Stored(seq=seq, type=type(event).__name__, at=1.5, data=encode_event(event))


def log_of(seed: int) -> list[Stored]:
    """What a store holds after a whole life of some saga."""
    entries = run_through_everything(Choices.of_seed(seed), most=25).log.entries
    return [
        Stored(seq=one.seq, type=type(one.event).__name__, at=one.at, data=encode_event(one.event)) for one in entries
    ]


# --- what is right comes back ---

TEXT = st.text(max_size=20)
JSON = st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT, lambda inner: st.lists(inner))
VALUES = {
    "str": TEXT,
    "int": st.integers(0, 10_000),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "bool": st.booleans(),
    "Via": st.sampled_from(["action", "fallback"]),
    "Outcome": st.sampled_from(["compensated", "aborted", "forced"]),
    "Literal['signal', 'sleep']": st.sampled_from(["signal", "sleep"]),
    "Literal['aborted', 'compensated']": st.sampled_from(["aborted", "compensated"]),
    "msgspec.Raw": JSON.map(lambda value: msgspec.Raw(msgspec.json.encode(value))),
    "Failure": st.builds(e.Failure, type=TEXT, message=TEXT, step=st.none() | TEXT, at=st.none() | st.floats(0, 1e12)),
    "tuple[str, ...]": st.lists(TEXT, max_size=3).map(tuple),
    "Mapping[str, str]": st.dictionaries(TEXT, TEXT, max_size=3),
}


def any_event(kind: type[e.SagaEvent]) -> st.SearchStrategy[e.SagaEvent]:
    """An event of this kind with anything in its fields; from their annotations, so no field is forgotten."""
    fields: dict[str, str] = {}
    for base in kind.__mro__:
        fields |= {name: kind_ for name, kind_ in vars(base).get("__annotations__", {}).items() if name[0] != "_"}
    strategies = {}
    for name, annotation in fields.items():
        optional = annotation.endswith(" | None")
        strategy = VALUES[annotation.removesuffix(" | None")]
        strategies[name] = st.none() | strategy if optional else strategy
    return st.builds(kind, **strategies)


@pytest.mark.parametrize("kind", e.EVENT_TYPES.values(), ids=e.EVENT_TYPES)
@given(st.data())
@settings(max_examples=25)
def test_an_event_comes_back_as_it_was(kind, data):
    event = data.draw(any_event(kind))
    assert decode_event("order-1", stored(event)) == event
    told = describe("order-1", stored(event))
    assert (told.seq, told.type, told.at) == (7, kind.__name__, 1.5)


@given(SEEDS)
@settings(max_examples=40, suppress_health_check=SLOW)
def test_a_log_and_its_snapshots_come_back_as_they_were(seed):
    log = log_of(seed)
    whole = replay("saga", log)
    for cut in range(1, len(log)):
        snapshot = decode_snapshot("saga", encode_snapshot(replay("saga", log[:cut])))
        assert replay("saga", log[cut:], snapshot) == whole


# --- what is wrong is refused ---


def refused(kind: type[Exception], *words: str):
    return pytest.raises(kind, match="".join(f"(?=.*{re.escape(word)})" for word in words))


GOOD = e.AttemptStarted(step="charge", attempt=1, idempotency_key="k")


def test_an_event_of_an_unknown_type_comes_from_a_newer_version():
    with refused(StoreTooNew, "saga order-1", "event 7", "StepPolished", "upgrade"):
        decode_event("order-1", Stored(seq=7, type="StepPolished", at=0.0, data=b"{}"))


@pytest.mark.parametrize("kind", e.EVENT_TYPES)
def test_an_unknown_field_comes_from_a_newer_version(kind):
    known = {"saga_id": "s", "saga_type": "t", "definition_version": 1, "fingerprint": "f", "steps": [], "data": 1,
             "correlation_id": "c", "outcome": "aborted", "reason": "r", "decision": "d", "cause": {"type": "t"},
             "step": "s", "attempt": 1, "idempotency_key": "k", "kind": "signal", "error": {"type": "t"}, "name": "n",
             "actor": "a", "retry_at": 1.0}  # fmt: skip
    fields = {name: value for name, value in known.items() if name in e.EVENT_TYPES[kind].__struct_fields__}
    good = Stored(seq=7, type=kind, at=0.0, data=msgspec.json.encode(fields))
    assert isinstance(decode_event("order-1", good), e.EVENT_TYPES[kind])
    newer = Stored(seq=7, type=kind, at=0.0, data=msgspec.json.encode({**fields, "colour": "blue"}))
    with refused(StoreTooNew, "saga order-1", "event 7", kind, "colour"):
        decode_event("order-1", newer)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"step":"charge"',
        b"null",
        b"[]",
        b"{}",
        b'{"step":7}',
        b"\xff\xfe",
        b'{"step":"\xff"}',
        b"[" * 50_000,
    ],
    ids=["empty", "cut", "cut later", "null", "list", "missing", "wrong type", "no text", "bad text", "deep"],
)
def test_what_is_no_event_is_corrupt(data):
    bad = Stored(seq=7, type="AttemptStarted", at=0.0, data=data)
    with refused(StoreCorrupt, "saga order-1", "event 7", "AttemptStarted"):
        decode_event("order-1", bad)
    assert "unreadable" in describe("order-1", bad).data or data[:1] == b"{"


@given(SEEDS, st.data())
@settings(max_examples=150, suppress_health_check=SLOW)
def test_a_damaged_log_is_refused_and_never_half_believed(seed, data):
    """Cut short, changed, doubled, dropped, swapped: the reader says StoreCorrupt or StoreTooNew, or reads on."""
    log = log_of(seed)
    place = data.draw(st.integers(0, len(log) - 1), "place")
    one = log[place]
    how = data.draw(st.sampled_from(["cut", "byte", "type", "double", "drop", "swap", "foreign"]), "damage")
    if how == "cut":
        log[place] = damaged(one, one.data[: data.draw(st.integers(0, len(one.data) - 1))])
    elif how == "byte":
        at = data.draw(st.integers(0, len(one.data) - 1))
        log[place] = damaged(one, one.data[:at] + data.draw(st.binary(min_size=1, max_size=1)) + one.data[at + 1 :])
    elif how == "type":
        log[place] = Stored(
            seq=one.seq, type=data.draw(st.sampled_from([*e.EVENT_TYPES, "Other"])), at=one.at, data=one.data
        )
    elif how == "double":
        log.insert(place, one)
    elif how == "drop":
        del log[place]
    elif how == "swap":
        log[place], log[0] = log[0], log[place]
    else:
        kind = data.draw(st.sampled_from(list(e.EVENT_TYPES.values())))
        log[place] = stored(data.draw(any_event(kind)), one.seq)
    try:
        progress = replay("saga", log)
    except (StoreCorrupt, StoreTooNew):
        return
    assert progress.version == len(log)


def damaged(one: Stored, data: bytes) -> Stored:
    return Stored(seq=one.seq, type=one.type, at=one.at, data=data)


@given(SEEDS, st.integers(1, 40), st.booleans())
@settings(max_examples=60, suppress_health_check=SLOW)
def test_a_gap_or_a_repeat_is_named(seed, place, doubled):
    log = log_of(seed)
    place = place % (len(log) - 1) if len(log) > 2 else 0
    spoilt = [*log[:place], log[place], *log[place:]] if doubled else [*log[:place], *log[place + 1 :]]
    expected = place + 2 if doubled else place + 1
    with refused(StoreCorrupt, "saga saga", f"event {expected} is missing"):
        replay("saga", spoilt)


def test_a_log_without_events_is_corrupt():
    with refused(StoreCorrupt, "saga order-1", "no events"):
        replay("order-1", [])


@given(SEEDS, st.data())
@settings(max_examples=150, suppress_health_check=SLOW)
def test_an_event_that_cannot_follow_is_refused_with_its_name(seed, data):
    """Whatever event follows whatever log: it is folded, or refused as corrupt; the fold never fails otherwise."""
    run = run_through_everything(Choices.of_seed(seed), most=25, ending=False)
    kind = data.draw(st.sampled_from(list(e.EVENT_TYPES.values())))
    event = data.draw(any_event(kind))
    if "step" in kind.__struct_fields__ and data.draw(st.booleans()):
        event = msgspec.structs.replace(event, step=data.draw(st.sampled_from(list(run.progress.steps))))
    try:
        after = evolve(run.progress, event, run.now)
    except StoreCorrupt:
        return
    assert after.version == run.progress.version + 1


@given(SEEDS, st.data())
@settings(max_examples=100, suppress_health_check=SLOW)
def test_a_damaged_snapshot_is_refused(seed, data):
    run = run_through_everything(Choices.of_seed(seed), most=25, ending=False)
    whole = encode_snapshot(run.progress)
    with refused(StoreCorrupt, "saga saga", "snapshot"):
        decode_snapshot("saga", whole[: data.draw(st.integers(0, len(whole) - 1))])


@pytest.mark.parametrize("data", [b"[" * 50_000, b"null", b"{}", b"\xff"], ids=["deep", "null", "empty", "no text"])
def test_what_is_no_snapshot_is_corrupt(data):
    with refused(StoreCorrupt, "saga order-1", "snapshot"):
        decode_snapshot("order-1", data)


@pytest.mark.parametrize("step", [False, True], ids=["saga", "step"])
def test_a_snapshot_with_an_unknown_field_comes_from_a_newer_version(step):
    """What it says would be lost, and the events after it would be folded onto half a saga."""
    fields = msgspec.json.decode(encode_snapshot(replay("saga", log_of(0))))
    next(iter(fields["steps"].values()) if step else iter([fields]))["colour"] = "blue"
    with refused(StoreTooNew, "saga order-1", "snapshot", "colour"):
        decode_snapshot("order-1", msgspec.json.encode(fields))
