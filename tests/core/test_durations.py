"""Spans of time, written and read."""

import pytest

from sagafsm import InvalidInput
from sagafsm.core.durations import parse_duration, span


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("0", 0), ("1.5", 1.5), ("30d", 2_592_000), ("1h30m", 5400), ("1 h 30 m", 5400), ("250ms", 0.25)],
)
def test_a_span_is_read(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "-5", "5x", "1h soon", "d", "1e400", "nan", "h1"])
def test_what_is_no_span_is_said(text):
    with pytest.raises(InvalidInput, match="30d, 12h"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"), (0.0042, "4 ms"), (0.9996, "1 s"), (1.234, "1.23 s"), (59.94, "59.9 s"), (59.96, "1 m"),
        (61, "1 m 1 s"), (3599.9, "1 h"), (7260, "2 h 1 m"), (86_400, "1 d"), (93_600, "1 d 2 h"), (-2, "-2 s"),
    ],
)  # fmt: skip
def test_a_span_is_written(seconds, text):
    assert span(seconds) == text
