"""Makes the shipped ``orders.jsonl``: ``python -m sagafsm.demo.make_orders > sagafsm/demo/orders.jsonl``.

What must stay true: the same call gives the same bytes on every machine (a test compares them with the file), and
about one order in ten fails for a reason of business: an article that is sold out, a card that the bank declines, an
address that the carrier does not serve. Names and addresses are made up; the card numbers are test numbers.
"""

from __future__ import annotations

import json
import sys
from random import Random

import attrs

from .catalogue import CATALOGUE
from .orders import Address, Item, Order

FIRST_NAMES = ("Ada", "Bruno", "Clara", "David", "Elif", "Femke", "Greta", "Hugo", "Ines", "Jonas", "Katya", "Luc",
               "Maria", "Nils", "Olga", "Pavel", "Romy", "Sven", "Tessa", "Yusuf")  # fmt: skip
LAST_NAMES = ("Aalto", "Becker", "Costa", "Dupont", "Eriksen", "Fischer", "Garcia", "Huber", "Ivanova", "Jansen",
              "Keller", "Lindqvist", "Moreau", "Novak", "Okafor", "Peeters", "Rossi", "Schmidt", "Visser")  # fmt: skip
STREETS = ("Mill Lane", "Station Road", "Harbour Street", "Linden Avenue", "Market Square", "Church Street")
CITIES = (("10115", "Berlin", "DE"), ("50667", "Köln", "DE"), ("1010", "Wien", "AT"), ("75011", "Paris", "FR"),
          ("1012", "Amsterdam", "NL"), ("2000", "Antwerpen", "BE"), ("1050", "København", "DK"))  # fmt: skip
NOT_SERVED = (("101", "Reykjavík", "IS"), ("VLT 1117", "Valletta", "MT"))
DECLINED_CARDS = ("4000000000000002", "4000000000009995")

SOLD_OUT_SHARE = 0.03
DECLINED_SHARE = 0.05
NOT_SERVED_SHARE = 0.015


def make_orders(count: int = 1000, seed: int = 1987) -> list[Order]:
    """Make ``count`` orders; the same arguments make the same orders. (1987 is the year of the first saga.)"""
    random = Random(seed)
    in_stock = [article for article in CATALOGUE if article.stock]
    sold_out = [article for article in CATALOGUE if not article.stock]
    orders: list[Order] = []
    for number in range(1, count + 1):
        articles = random.sample(in_stock, random.choice((1, 1, 1, 2, 2, 3, 4)))
        if random.random() < SOLD_OUT_SHARE:
            articles.append(random.choice(sold_out))
        items = tuple(
            Item(sku=article.sku, quantity=random.choice((1, 1, 1, 2, 2, 3)), price=article.price)
            for article in articles
        )
        customer = random.randint(1, 400)
        card = f"424242{customer:010d}"
        if random.random() < DECLINED_SHARE:
            card = random.choice(DECLINED_CARDS)
        places = NOT_SERVED if random.random() < NOT_SERVED_SHARE else CITIES
        postcode, city, country = random.choice(places)
        address = Address(
            name=f"{random.choice(FIRST_NAMES)} {random.choice(LAST_NAMES)}",
            street=f"{random.choice(STREETS)} {random.randint(1, 120)}",
            postcode=postcode,
            city=city,
            country=country,
        )
        order = Order(
            order_id=f"order-{number:04d}",
            customer_id=f"customer-{customer:03d}",
            card=card,
            items=items,
            total=sum(item.price * item.quantity for item in items),
            address=address,
        )
        orders.append(order)
    return orders


def as_lines(orders: list[Order]) -> bytes:
    """The orders as JSON lines."""
    return "".join(json.dumps(attrs.asdict(order), ensure_ascii=False) + "\n" for order in orders).encode()


if __name__ == "__main__":
    sys.stdout.buffer.write(as_lines(make_orders()))
