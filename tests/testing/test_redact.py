"""Data without what it says: the structure stays, texts and numbers do not."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
import pytest

from sagafsm.core.payload import decode
from sagafsm.testing.exporting import Redactor

ORDER = {
    "id": "A-7",
    "customer": {"name": "Ann", "mail": "ann@x.org", "vip": True},
    "lines": [{"sku": "A-7", "n": 3}, None],
}


def test_the_structure_stays_and_nothing_else():
    assert Redactor().value(ORDER) == {
        "id": "text-1",
        "customer": {"name": "text-2", "mail": "text-3", "vip": True},
        "lines": [{"sku": "text-1", "n": 1}, None],
    }


def test_what_was_equal_is_equal_across_values():
    redactor = Redactor()
    first, second = redactor.value({"a": "x", "b": 5}), redactor.value(["x", 5, "y", 6])
    assert second[:2] == [first["a"], first["b"]]
    assert len(set(map(str, second))) == 4


def test_it_is_the_same_every_time():
    assert Redactor().value(ORDER) == Redactor().value(ORDER)


@pytest.mark.parametrize("field", ["name", "customer.name", "customer"])
def test_a_field_is_kept_by_name_or_by_path(field):
    assert Redactor([field]).value(ORDER)["customer"]["name"] == "Ann"
    assert Redactor([field]).value(ORDER)["id"] != "A-7"


def test_a_path_keeps_only_what_it_names():
    assert Redactor(["lines.name"]).value(ORDER)["customer"]["name"] != "Ann"


def test_a_key_that_can_only_be_data_is_replaced():
    assert Redactor().value({"ann@x.org": 1, "name": 2}) == {"key-1": 1, "name": 2}


class Kind(Enum):
    BOOK = "book"


@dataclass
class Typed:
    at: datetime
    day: date
    key: UUID
    price: Decimal
    kind: Kind
    count: int
    share: float
    name: str


TYPED: dict[str, Any] = {
    "at": "2024-03-01T10:00:00Z", "day": "2024-03-01", "key": "0b0e7a52-6f0e-4f6e-9a3c-5d7f3a0c1e2d", "price": "12.50",
    "kind": "book", "count": 12, "share": 0.25, "name": "Ann",
}  # fmt: skip


def test_a_value_stays_readable_as_its_type():
    redactor = Redactor()
    redacted = redactor.value(TYPED, Typed, "the input")
    decode(msgspec.Raw(msgspec.json.encode(redacted)), Typed)
    same = [name for name, value in redacted.items() if value == TYPED[name]]
    assert same == ["kind"]  # an enumeration takes nothing else
    assert redactor.kept_for_type == ["the input.kind"]


def test_what_could_not_be_read_before_need_not_be_readable_now():
    assert Redactor().value({"name": "Ann"}, Typed) == {"name": "text-1"}
