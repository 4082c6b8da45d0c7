"""Fuzzing the codec and the fold: whatever lies in a store is read, or refused by one of two documented errors."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sagafsm.core import events as e
from sagafsm.core.codec import decode_event, decode_snapshot, describe, encode_snapshot, replay
from sagafsm.core.errors import StoreCorrupt, StoreTooNew
from sagafsm.testing.checker import Stored
from tests.core.malformed import STRANGE, malformed
from tests.core.test_codec import SEEDS, any_event, log_of, stored

FUZZED = settings(max_examples=300, suppress_health_check=list(HealthCheck), deadline=None)
NAMES = [*e.EVENT_TYPES, "", "SagaStartedV2", "__class__", "sagafsm.core.events.SagaStarted", "x" * 10_000, "\x1b[2J"]


def changed(one: Stored, data: bytes, kind: str | None = None) -> Stored:
    return Stored(seq=one.seq, type=one.type if kind is None else kind, at=one.at, data=data)


def attempted(work):
    """What comes of it, and the text of the error where it is refused; any other error is a failure."""
    try:
        return work(), None
    except (StoreCorrupt, StoreTooNew) as error:
        return None, str(error)


@given(st.data())
@FUZZED
def test_an_event_is_read_or_refused_and_can_always_be_shown(data):
    event = data.draw(any_event(data.draw(st.sampled_from(list(e.EVENT_TYPES.values())))))
    good = stored(event)
    bad = changed(good, data.draw(malformed(good.data)), data.draw(st.none() | st.sampled_from(NAMES)))
    _, refused = attempted(lambda: decode_event("order-1", bad))
    assert refused is None or ("saga order-1, event 7" in refused and len(refused) < 1_000)
    told = describe("order-1", bad)
    json.dumps(told.data)
    assert (told.seq, told.type, told.at) == (bad.seq, bad.type, bad.at)


@given(SEEDS, st.data())
@FUZZED
def test_a_log_with_a_malformed_event_is_folded_whole_or_refused(seed, data):
    log = log_of(seed)
    place = data.draw(st.integers(0, len(log) - 1), "place")
    log[place] = changed(log[place], data.draw(malformed(log[place].data)))
    progress, refused = attempted(lambda: replay("saga", log))
    if progress is None:
        assert "saga saga" in refused
        return
    assert progress.version == len(log)
    # What was folded can be stored as a snapshot and comes back: nothing is lost on the way.
    assert decode_snapshot("saga", encode_snapshot(progress)) == progress


@given(SEEDS, st.data())
@FUZZED
def test_a_malformed_snapshot_is_read_or_refused(seed, data):
    whole = encode_snapshot(replay("saga", log_of(seed)))
    bad = data.draw(malformed(whole))
    _, refused = attempted(lambda: decode_snapshot("saga", bad))
    assert refused is None or "saga saga: its snapshot" in refused


@pytest.mark.parametrize("text", STRANGE, ids=lambda text: text[:12] or "nothing")
@pytest.mark.parametrize("field", ["step", "attempt", "idempotency_key", "colour"])
def test_every_strange_value_in_every_kind_of_field(field, text):
    fields = {"step": '"charge"', "attempt": "1", "idempotency_key": '"k"', field: text}
    body = "{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}"
    bad = Stored(seq=7, type="AttemptStarted", at=0.0, data=body.encode("utf-8", "surrogatepass"))
    event, refused = attempted(lambda: decode_event("order-1", bad))
    assert refused or event.step == "charge" or field == "step"
    json.dumps(describe("order-1", bad).data)
