"""What the shop of the demo sells: the one source of prices and opening stock.

What must stay true: nothing heavy is imported here, for the warehouse reads it at start. An article's stock either
covers every order of the shipped file or is zero, so that no order's fate depends on which one comes first.
"""

from __future__ import annotations

from typing import NamedTuple


class Article(NamedTuple):
    """One article; ``price`` in cents, ``stock`` in pieces on the shelf when the demo begins."""

    sku: str
    name: str
    price: int
    stock: int


CATALOGUE: tuple[Article, ...] = (
    Article("KTL-001", "electric kettle 1.7 l", 3499, 800),
    Article("TST-002", "toaster, two slots", 2999, 800),
    Article("PAN-024", "frying pan 24 cm", 2450, 800),
    Article("PAN-028", "frying pan 28 cm", 2895, 800),
    Article("POT-003", "stock pot 5 l", 4190, 800),
    Article("KNF-008", "chef's knife 20 cm", 5999, 800),
    Article("BRD-001", "cutting board, beech", 1875, 800),
    Article("MUG-006", "mugs, set of six", 2199, 800),
    Article("GLS-006", "water glasses, set of six", 1349, 800),
    Article("TWL-002", "kitchen towels, pair", 1199, 800),
    Article("LMP-010", "desk lamp", 3905, 800),
    Article("BLB-004", "LED bulbs, four", 1119, 800),
    Article("CHR-001", "folding chair", 4575, 800),
    Article("RUG-120", "rug 120 x 60 cm", 3333, 800),
    Article("CLK-001", "wall clock", 1990, 800),
    Article("FRM-030", "picture frame 30 x 40 cm", 1665, 800),
    Article("PLN-005", "plant pot 20 cm", 899, 800),
    Article("CSE-001", "cushion 45 x 45 cm", 1579, 800),
    Article("BLK-200", "wool blanket", 6990, 800),
    Article("HKS-010", "coat hooks, ten", 749, 800),
    Article("ESP-100", "espresso machine (sold out)", 24900, 0),
    Article("RAD-001", "kitchen radio (sold out)", 4999, 0),
)
