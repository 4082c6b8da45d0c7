"""Two shapes compared, and what their differences mean for a saga that is under way."""

import pytest

from sagafsm.core.compatibility import changes_between, guessed_map, obstacles
from tests.core.script import ONCE, Script, Sleep, Step, WaitFor, act, step

OLD = [step("book"), step("pay"), step("mail", compensatable=False)]


def shape(*steps, **options):
    return Script(*steps, **options).definition.shape


def said(new, old=OLD, **options):
    return [str(change) for change in changes_between(shape(*old), shape(*new, **options))]


def test_the_same_is_the_same():
    assert said(OLD) == []
    assert guessed_map(shape(*OLD), shape(*OLD)) == {"book": "book", "pay": "pay", "mail": "mail"}


@pytest.mark.parametrize(
    ("new", "told"),
    [
        ([OLD[0], OLD[1], step("note", compensatable=False), OLD[2]], "step note was added"),
        ([OLD[0], OLD[2]], "step pay was removed"),
        ([OLD[1], OLD[0], OLD[2]], "step book came after nothing and comes after pay"),
        ([OLD[0], step("pay", pivot=True), OLD[2]], "step pay: "),
        ([OLD[0], step("pay", idempotent=False), OLD[2]], "step pay: idempotent was True and is False"),
        ([OLD[0], step("charge"), OLD[2]], "step pay seems to be called charge now"),
    ],
)
def test_each_kind_of_change_is_named(new, told):
    assert any(told in one for one in said(new)), said(new)


def test_what_concerns_the_whole_saga_is_named():
    assert said(OLD, on_compensation_failure="stick") == ["on_compensation_failure was 'continue' and is 'stick'"]


def test_a_step_that_is_renamed_is_no_longer_one_that_was_removed():
    new = shape(OLD[0], step("charge"), OLD[2])
    assert guessed_map(shape(*OLD), new) == {"book": "book", "pay": "charge", "mail": "mail"}
    assert [change.what for change in changes_between(shape(*OLD), new)] == ["renamed"]


def test_a_step_that_is_replaced_by_another_kind_is_removed():
    new = shape(OLD[0], Sleep("pause", 5), OLD[2])
    assert guessed_map(shape(*OLD), new)["pay"] is None


# --- sagas under way ---


def at_pay():
    """A saga that has booked, and is about to pay."""
    return Script(*OLD).begin().ok("book")


def in_the_way(new, script, **options):
    return obstacles(shape(*OLD), shape(*new, **options), script.progress)


@pytest.mark.parametrize(
    "new",
    [
        OLD,
        [OLD[0], OLD[1], WaitFor("approval", signal="ok"), OLD[2]],
        [OLD[0], OLD[1]],
        [OLD[0], OLD[1], Step("mail", act, compensatable=False, retry=ONCE, idempotent=False)],
        [step("reserve"), OLD[1], OLD[2]],
    ],
    ids=["nothing", "added ahead", "removed ahead", "changed ahead", "renamed behind"],
)
def test_what_lies_ahead_may_differ_and_names_may_change(new):
    assert in_the_way(new, at_pay()) == []


@pytest.mark.parametrize(
    ("new", "why"),
    [
        ([step("book", idempotent=False), OLD[1], OLD[2]], "it has been through step book, which was changed"),
        ([OLD[1], OLD[2]], "it has been through step book, which was removed"),
        ([step("check", idempotent=False), *OLD], "it has begun step book, which now comes after check"),
    ],
    ids=["changed behind", "removed behind", "added behind"],
)
def test_what_it_has_been_through_must_be_the_same(new, why):
    assert any(why in one for one in in_the_way(new, at_pay())), in_the_way(new, at_pay())


def test_a_saga_that_goes_back_minds_how_it_goes_back():
    script = at_pay().rejects("pay")
    assert script.state == "compensating"
    assert in_the_way(OLD, script, on_compensation_failure="stick")
    assert in_the_way([*OLD, step("more", compensatable=False)], script) == []
    assert in_the_way(OLD, at_pay(), on_compensation_failure="stick") == []
