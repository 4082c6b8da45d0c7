"""The story that people are shown of a saga."""

from sagafsm.core.events import EVENT_TYPES, Event
from sagafsm.core.timeline import _TELLERS, timeline

ERROR = {"type": "Rejected", "message": "no funds"}


def story(*events: tuple[str, float, str | None, int | None, dict]) -> list:
    return timeline(
        [Event(seq=n, type=t, at=at, step=s, attempt=a, data=d) for n, (t, at, s, a, d) in enumerate(events)]
    )


def test_every_event_has_words():
    assert set(_TELLERS) == set(EVENT_TYPES)


def test_a_call_and_its_end_are_one_row_with_its_duration():
    (row,) = story(("AttemptStarted", 10.0, "pay", 1, {}), ("StepSucceeded", 10.5, "pay", 1, {"result": 1}))
    assert (row.at, row.seconds, row.role, row.what, row.running) == (10.0, 0.5, "action", "succeeded", False)


def test_parallel_calls_keep_their_own_ends():
    a, b = story(
        ("AttemptStarted", 1.0, "a", 1, {}),
        ("AttemptStarted", 2.0, "b", 1, {"via": "fallback"}),
        ("AttemptFailed", 3.0, "a", 1, {"error": ERROR, "retry_at": 5.0}),
        ("StepUnknown", 9.0, "b", 1, {"error": ERROR}),
    )
    assert (a.step, a.seconds, a.what, a.error) == ("a", 2.0, "failed; again in 2 s", "Rejected: no funds")
    assert (b.step, b.role, b.seconds, b.what) == ("b", "fallback", 7.0, "unknown: it may have happened")


def test_a_call_whose_process_died_is_shown_as_interrupted():
    first, second = story(("AttemptStarted", 1.0, "a", 1, {}), ("AttemptStarted", 4.0, "a", 1, {"interruption": 1}))
    assert (first.what, first.seconds) == ("interrupted: no outcome was recorded", 3.0)
    assert (second.what, second.running, second.seconds) == ("running", True, None)


def test_a_call_that_waits_for_its_reply_goes_on():
    (row,) = story(
        ("AttemptStarted", 1.0, "a", 1, {}),
        ("ReplyAwaited", 2.0, "a", 1, {}),
        ("StepSucceeded", 8.0, "a", 1, {"by": "reply"}),
    )
    assert (row.what, row.seconds) == ("succeeded (by reply)", 7.0)


def test_operators_are_named_and_an_unknown_event_is_shown():
    rows = story(
        ("CompensationWaived", 1.0, "a", None, {"actor": "ann", "reason": "paid by hand"}),
        ("StepSkipped", 2.0, "b", None, {"actor": "ann", "reason": "not needed"}),
        ("FromTheFuture", 3.0, None, None, {}),
    )
    assert [row.what for row in rows] == [
        "stays as it is, waived by ann: paid by hand",
        "passed over by ann: not needed",
        "FromTheFuture",
    ]
    assert rows[0].to_dict()["at"] == "1970-01-01T00:00:01.000+00:00"
