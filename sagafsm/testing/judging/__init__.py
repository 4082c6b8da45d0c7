"""The judge: one checker over everything that is known of what happened, whoever made it happen."""

from .catalogue import INVARIANTS, Invariant
from .evidence import Evidence, Log
from .judge import Verdict, judge

__all__ = ["INVARIANTS", "Evidence", "Invariant", "Log", "Verdict", "judge"]
