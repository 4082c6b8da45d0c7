"""Templates read plain data and do nothing else."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagafsm import DefinitionError
from sagafsm.core.template import Template, TemplateError, render

ORDER = {
    "id": "o-1",
    "total": 12.5,
    "count": 3,
    "paid": True,
    "note": None,
    "customer": {"id": 7, "first-name": "Ada"},
    "items": [{"sku": "a"}, {"sku": "b"}],
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("order-{id}", "order-o-1"),
        ("order-{input.id}", "order-o-1"),
        ("{customer.id}/{customer.first-name}", "7/Ada"),
        ("{items.1.sku}", "b"),
        ("{total} {count} {paid}", "12.5 3 true"),
        ("{{id}} {id} }}{{", "{id} o-1 }{"),
        ("nothing to fill", "nothing to fill"),
        ("", ""),
    ],
)
def test_places_are_filled(template, text):
    assert render(template, ORDER) == text


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{name}", "no 'name' in the data, which has count, customer, id"),
        ("{customer.age}", "no 'age' in customer, which has first-name, id"),
        ("{items.2.sku}", "no '2' in items, which has 0, 1"),
        ("{items.sku}", "no 'sku' in items"),
        ("{id.upper}", "no 'upper' in id, which has no parts"),
        ("{note}", "is null; text can only be made of plain values"),
        ("{note.deep}", "is null"),
        ("{customer}", "is an object"),
        ("{items}", "is a list"),
    ],
)
def test_what_the_data_lacks_is_said_when_filled(template, says):
    with pytest.raises(TemplateError, match=says):
        render(template, ORDER)


@pytest.mark.parametrize(
    "template", ["{", "}", "{id", "id}", "{}", "{a b}", "{a.}", "{.a}", "{a!r}", "{a:>3}", "{a[0]}"]
)
def test_what_is_wrong_with_the_text_is_said_when_read(template):
    with pytest.raises(DefinitionError):
        Template.parse(template)


@pytest.mark.parametrize("template", ["{__class__}", "{id.__class__.__mro__}", "{customer.keys}"])
def test_attributes_are_out_of_reach(template):
    with pytest.raises(TemplateError):
        render(template, ORDER)


def test_a_template_that_is_one_place_gives_the_value_itself():
    assert Template.parse("{items}").value(ORDER) == ORDER["items"]
    assert Template.parse("{note.deep}").value(ORDER) is None
    assert Template.parse("items: {count}").value(ORDER) == "items: 3"


@given(st.text())
def test_any_text_can_be_said_by_doubling_its_braces(text):
    assert render(text.replace("{", "{{").replace("}", "}}"), {}) == text


@given(st.text(alphabet="{}ab.", max_size=12))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(DefinitionError):
        assert all(all(segment for segment in path) for path in Template.parse(text).paths)
