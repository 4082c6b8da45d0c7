"""RetryPolicy: what it refuses."""

import math

import pytest

from sagafsm import DefinitionError, RetryPolicy


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"max_attempts": "3"}, "max_attempts is a whole number or None, got '3'"),
        ({"max_attempts": 2.5}, "max_attempts is a whole number or None, got 2.5"),
        ({"max_attempts": True}, "max_attempts is a whole number or None, got True"),
        ({"max_interruptions": None}, "max_interruptions is a whole number, got None"),
        ({"initial_interval": "1"}, "initial_interval is a finite number, got '1'"),
        ({"initial_interval": math.nan}, "initial_interval is a finite number, got nan"),
        ({"maximum_interval": math.inf}, "maximum_interval is a finite number, got inf"),
        ({"jitter": None}, "jitter is a finite number, got None"),
        ({"non_retryable": 3}, "non_retryable takes exception types, got 3"),
        ({"max_attempts": 0}, "max_attempts must be at least 1"),
        ({"initial_interval": -1}, "initial_interval must not be negative"),
        ({"backoff_coefficient": 0.5}, "backoff_coefficient must be at least 1"),
        ({"jitter": 2}, "jitter must be between 0 and 1"),
    ],
)
def test_a_policy_that_makes_no_sense_says_which_value(values, says):
    with pytest.raises(DefinitionError, match=f"RetryPolicy: {says}"):
        RetryPolicy(**values)


def test_without_end_and_at_once_are_policies():
    policy = RetryPolicy(max_attempts=None, initial_interval=0, maximum_interval=0, jitter=0)
    assert not policy.exhausted(10_000)
    assert policy.delay(10_000, spread=1.0) == 0


@pytest.mark.parametrize("coefficient", [2, 2.0])
@pytest.mark.parametrize(("initial", "maximum", "wait"), [(0, 60.0, 0.0), (1.0, 60.0, 60.0), (90.0, 60.0, 90.0)])
def test_the_wait_does_not_change_where_its_growth_overflows_a_float(coefficient, initial, maximum, wait):
    """2.0 ** 1024 raises: from the 1025th call on, a saga that retries at once waited for maximum_interval."""
    policy = RetryPolicy(
        max_attempts=None,
        initial_interval=initial,
        backoff_coefficient=coefficient,
        maximum_interval=maximum,
        jitter=0,
    )
    assert {policy.delay(attempts, spread=1.0) for attempts in (100, 1024, 1025, 10_000)} == {wait}
