"""Payloads: what is stored comes back as the same data, or is refused before it is stored."""

import collections
import contextlib
import datetime
import decimal
import enum
import math
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypedDict

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagafsm.core.payload import LIMIT, NotReadable, NotStorable, convert, decode, encode, unstorable


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Line:
    sku: str
    price: float = 1.0


@dataclass
class Order:
    id: uuid.UUID
    at: datetime.datetime
    total: decimal.Decimal
    lines: list[Line]
    colour: Colour = Colour.RED
    counts: dict[int, str] = field(default_factory=dict)
    extra: Any = None


@attrs.frozen
class Payment:
    id: str
    line: Line | None = None
    tags: frozenset[str] = frozenset()


class Receipt(TypedDict):
    number: int
    lines: list[Line]


class Point(NamedTuple):
    x: float
    y: int


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)
    at: datetime.datetime
    number: int = pydantic.Field(1, alias="No")
    line: Line | None = None
    inner: "Model | None" = None

    @pydantic.computed_field
    def double(self) -> int:
        return self.number * 2


class Priced(pydantic.BaseModel):
    price: float


@dataclass
class Holder:
    model: Model
    models: dict[str, Model]


NOW = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC)
ORDER = Order(uuid.UUID(int=1), NOW, decimal.Decimal("1.10"), [Line("a"), Line("b", 2.5)], counts={1: "one"})
MODEL = Model(at=NOW, No=3, inner=Model(at=NOW))


def stored(value, **options):
    return encode(value, what="the result of step x", **options)


# --- what comes back ---


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (ORDER, Order),
        ([ORDER], list[Order]),
        (Payment("p", Line("a"), frozenset({"x", "y"})), Payment),
        ({"number": 1, "lines": [Line("a")]}, Receipt),
        (Point(1.5, 2), Point),
        (MODEL, Model),
        (Holder(MODEL, {"a": MODEL}), Holder),
        (None, Payment | None),
        (Colour.RED, Colour),
        ({1: Line("a")}, dict[int, Line]),
        ({NOW: 1}, dict[datetime.datetime, int]),
        (datetime.timedelta(seconds=5), datetime.timedelta),
        (b"\x00\xff", bytes),
        (2**100, int),
        ({1, None, "a"}, set[int | str | None]),
        (frozenset({Point(1.0, 2), Point(2.0, 1)}), frozenset[Point]),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, type) else "",  # the text of a set differs between processes
)
def test_typed_values_come_back_as_they_were(value, kind):
    assert unstorable(kind) is None
    assert decode(stored(value, kind=kind), kind) == value


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=30,
)


@given(JSON)
def test_plain_data_comes_back_as_it_was(value):
    back = decode(stored(value))
    assert back == value
    assert repr(back) == repr(value) or isinstance(value, (dict, list))


@given(JSON)
def test_the_same_data_is_the_same_text(value):
    def reordered(part):
        if isinstance(part, dict):
            return {key: reordered(part[key]) for key in reversed(part)}
        return [reordered(one) for one in part] if isinstance(part, list) else part

    assert bytes(stored(value)) == bytes(stored(reordered(value)))


ANYTHING = st.recursive(
    st.none() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.one_of(st.text(), st.integers(), st.none(), st.floats()), inner)
        | st.builds(Order, id=st.uuids(), at=st.datetimes(), total=st.decimals(), lines=st.just([]), extra=inner)
    ),
    max_leaves=10,
)


@given(ANYTHING)
def test_anything_comes_back_equal_or_is_refused(value):
    """Whatever is accepted is the same when it is stored and read a second time: nothing is lost on the way."""
    with contextlib.suppress(NotStorable):
        text = stored(value)
        assert bytes(stored(decode(text))) == bytes(text)  # the same data as a class and as plain data: one text
        assert b"\\u0000" not in bytes(text).replace(b"\\\\", b"")


def test_a_set_is_stored_in_one_order_whatever_its_hashes():
    code = "from sagafsm.core.payload import encode; print(bytes(encode({'a', 'b', 'c', 'd', 'e'}, what='')))"
    texts = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert texts == {'b\'["a","b","c","d","e"]\'\n'}


def test_subclasses_of_plain_types_are_stored_as_the_plain_type():
    class Text(str):
        __slots__ = ()

    class Real(float):
        __slots__ = ()

    class Whole(int): ...

    value = [Text("a"), Real(1.5), Whole(3), collections.OrderedDict(a=1), collections.Counter("aab")]
    assert decode(stored(value)) == ["a", 1.5, 3, {"a": 1}, {"a": 2, "b": 1}]


# --- what is refused ---

CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@dataclass
class Private:
    _id: str = ""


class Other: ...


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (math.nan, r"\$: a float that is not finite \(nan\)"),
        ({"items": [1, 2, {"price": math.inf}]}, r"\$.items\[2\].price: a float that is not finite \(inf\)"),
        (Order(uuid.UUID(int=1), NOW, decimal.Decimal(1), [Line("a", math.nan)]), r"\$.lines\[0\].price: a float"),
        (Payment("p", Line("a", -math.inf)), r"\$.line.price: a float that is not finite \(-inf\)"),
        (Point(math.nan, 1), r"\$.x: a float"),
        ({"a": {1.5: 1}}, r"\$.a: the key 1.5 is not a string"),
        ({1: 2}, r"\$: the key 1 is not a string, and would come back as one"),
        ({"a": [{None: 1}]}, r"\$.a\[0\]: the key None is not a string"),
        ({"a": {(1, 2): 3}}, r"\$.a: the key \(1, 2\) is not a string"),
        (Order(uuid.UUID(int=1), NOW, decimal.Decimal(1), [], extra={2: 1}), r"\$.extra: the key 2 is not a string"),
        ("a\0b", r"\$: a NUL character"),
        ({"a b": ["\0"]}, r"\$\['a b'\]\[0\]: a NUL character"),
        ({"\0": 1}, r"a NUL character"),
        ({"a": ["x", "\ud800"]}, r"\$.a\[1\]: a lone surrogate"),
        ([Line("\udfff")], r"\$\[0\].sku: a lone surrogate"),
        (CIRCLE, r"\$\[0\]\[0\].*…: nested deeper than 100 levels, or part of itself"),
        (Other(), r"\$: Other objects cannot be stored as JSON; use plain data, or a dataclass of it"),
        ({"a": [Other()]}, r"\$.a\[0\]: Other objects"),
        (Payment("p", Other()), r"\$.line: Other objects"),  # type: ignore[arg-type]
        (ValueError("x"), r"\$: ValueError objects"),
        ({"a": iter([1])}, r"\$.a: list_iterator objects"),
        (collections.deque([1]), r"\$: deque objects"),
        (Private(), r"Private._id begins with an underscore, so it would not be stored; rename it"),
        ({"a": Priced(price=math.nan)}, r"\$.a.price: a float that is not finite"),
        ({"a": Priced.model_construct(price="free")}, r"\$.a: .*Expected `float`"),
        ("x" * LIMIT, r"\$: 1,048,578 bytes of JSON are over the limit of 1,048,576; store it elsewhere"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 100 else None,
)
def test_what_json_would_lose_is_refused_with_its_place(value, says):
    with pytest.raises(NotStorable, match=f"(?s){says}") as caught:
        stored(value)
    assert str(caught.value).startswith("the result of step x: $")


def nested(depth):
    value: Any = "bottom"
    for _ in range(depth):
        value = [value]
    return value


def test_depth_is_limited():
    assert decode(stored(nested(100))) == nested(100)
    with pytest.raises(NotStorable, match="nested deeper"):
        stored(nested(101))
    with pytest.raises(NotStorable, match="nested deeper"):
        stored(nested(100_000))


def test_the_limit_is_of_bytes_and_includes_itself():
    assert stored("ä", limit=4)
    with pytest.raises(NotStorable, match="4 bytes of JSON are over the limit of 3"):
        stored("ä", limit=3)


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "u0000", '"\\u0000"'])
def test_text_that_only_looks_like_a_nul_is_fine(text):
    assert decode(stored([text])) == [text]


# --- reading ---


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        (b'{"sku": "a", "price": "1"}', Line, r"data does not fit Line: Expected `float`, got `str` - at `\$.price`"),
        (b'[{"sku": "a"}, {}]', list[Line], r"list\[.*Line\]: .* missing required field `sku` - at `\$\[1\]`"),
        (b'{"model": {"at": 3}, "models": {}}', Holder, r"Holder: .*Input should be a valid datetime"),
        (b"[1", list[int], "stored data is not JSON: Input data was truncated"),
        (b"[" * 100_000, Any, "stored data is not JSON"),
        (b"1", Other, "Other cannot be read from JSON"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(text, kind, says):
    with pytest.raises(NotReadable, match=f"(?s){says}"):
        decode(text, kind)


def test_what_a_class_raises_when_it_is_looked_at_is_said():
    """It escaped: a step that had done its work was called again, as if its process had died."""

    @attrs.define
    class Unset:
        sku: str = attrs.field(init=False)

    for value in (Unset(), [Unset()]):
        with pytest.raises(NotStorable, match=r"the result: .*AttributeError: .*has no attribute 'sku'"):
            encode(value, what="the result")


def test_what_a_class_raises_when_it_looks_at_its_data_is_said():
    @attrs.frozen
    class Narrow:
        sku: str

        def __attrs_post_init__(self):
            raise KeyError(self.sku)

    for read in (lambda: decode(b'{"sku": "a"}', Narrow), lambda: convert({"sku": "a"}, Narrow)):
        with pytest.raises(NotReadable, match=r"data does not fit .*Narrow: KeyError: 'a'"):
            read()


def test_fields_that_came_later_have_their_defaults_and_those_that_went_are_ignored():
    assert decode(b'{"sku": "a", "weight": 3}', Line) == Line("a")


def test_every_read_gives_a_value_of_its_own():
    text = stored({"a": []})
    decode(text)["a"].append(1)
    assert decode(text) == {"a": []}


def test_plain_data_can_be_read_as_a_type_without_text():
    assert convert({"sku": "a"}, Line) == Line("a")
    assert convert({"at": "2026-01-31T12:00:00Z", "number": 3}, Model) == Model(at=NOW, No=3)
    with pytest.raises(NotReadable, match=r"data does not fit Line: .*sku"):
        convert({}, Line)


# --- types, when a saga is declared ---


@pytest.mark.parametrize(
    "kind", [Any, None, int, dict, list[Line], dict[str, Any], Order, Payment, Receipt, Point, Model]
)
def test_types_that_json_can_hold(kind):
    assert unstorable(kind) is None


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Other, "Other is no dataclass, attrs class"),
        (list[Other] | None, "Other is no dataclass"),
        (Exception, "Exception is no dataclass"),
        (Line | Payment, "may not contain more than one dataclass or attrs type"),
        (Private, "Private._id begins with an underscore"),
        (dict[str, Private], "Private._id begins with an underscore"),
        ("Order", "is not supported"),
    ],
)
def test_types_that_json_cannot_hold(kind, says):
    assert says in unstorable(kind)


def test_pydantic_is_not_imported_for_those_who_do_not_use_it():
    code = """
import sys
from sagafsm.core.payload import decode, encode
decode(encode({"a": [1.5, None]}, what=""))
assert "pydantic" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_structs_of_msgspec_are_supported_too():
    class Struct(msgspec.Struct):
        _id: int
        tag: str = ""

    assert decode(stored(Struct(1, "a")), Struct) == Struct(1, "a")
