"""The waiting rooms of limits: who goes first, who has a seat, and when to come back."""

import pytest

from sagafsm.runtime.gates import LATEST, MOST_SEATS, OFTEN, PAUSES, Gate


def gate(concurrency=None, rate=None, burst=1):
    return Gate(concurrency, rate, burst)


WHO = [f"who-{number}" for number in range(5)]


def filled(**limits):
    made = gate(**limits)
    for number, who in enumerate(WHO):
        made.enter(100.0 - number, number, who)  # the later, the longer it has waited
    return made


def test_the_longest_waiting_have_the_seats():
    crowded = filled(concurrency=2)
    assert (crowded.seated(), crowded.next(), len(crowded)) == (["who-4", "who-3"], "who-2", 5)
    crowded.leave(WHO[4])
    assert crowded.seated() == ["who-3", "who-2"]


def test_of_those_that_came_at_once_the_first_goes_first():
    crowded = gate(concurrency=1)
    crowded.enter(1.0, 7, "second")
    crowded.enter(1.0, 3, "first")
    assert crowded.seated() == ["first"]
    assert crowded.is_behind(1.0)
    assert not crowded.is_behind(0.5)


@pytest.mark.parametrize(("limits", "seats"), [({"concurrency": 1000}, MOST_SEATS), ({"rate": 3.0, "burst": 4}, 4)])
def test_seats_are_few(limits, seats):
    assert gate(**limits).seats == seats


def test_while_all_places_are_taken_the_store_is_asked_less_and_less():
    crowded, times = gate(concurrency=1), []
    for _ in range(8):
        crowded.refused(0.0, 0.0)
        times.append(crowded.ask_at)
    assert (times[0], times[-1]) == PAUSES
    crowded.granted()
    crowded.refused(0.0, 0.0)
    assert crowded.ask_at == PAUSES[0]


def test_a_rate_says_itself_when_to_come_again_though_not_too_often():
    limited = gate(rate=1000.0)
    limited.refused(5.0, 0.3)
    assert limited.ask_at == 5.3
    limited.refused(5.0, 0.0001)
    assert limited.ask_at == 5.0 + OFTEN


def test_a_place_that_became_free_here_is_asked_for_at_once():
    crowded = gate(concurrency=1)
    crowded.refused(1.0, 0.0)
    crowded.freed(1.05)
    assert crowded.ask_at == 1.05
    limited = gate(rate=1.0)
    limited.refused(1.0, 0.8)
    limited.freed(1.1)  # a rate gains nothing by it
    assert limited.ask_at == 1.8


def test_those_without_a_seat_come_back_one_after_the_other():
    limited = gate(rate=4.0)
    assert [limited.slot(10.0, 1.0, lasts=0.0) for _ in range(3)] == [11.25, 11.5, 11.75]
    crowded = gate(concurrency=2)
    assert [crowded.slot(10.0, 0.0, lasts=3.0) for _ in range(3)] == [11.5, 13.0, 14.5]


def test_nobody_stays_away_for_ever():
    limited = gate(rate=0.001)
    assert [limited.slot(10.0, 0.0, lasts=0.0) for _ in range(3)] == [10.0 + LATEST] * 3
    assert not limited.is_idle(10.0)
    assert limited.is_idle(10.0 + LATEST)
