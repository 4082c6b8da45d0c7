"""The judge: one checker over everything that is known of what happened, whoever made it happen."""

from .catalogue import INVARIANTS, TRACES, Invariant
from .evidence import Evidence, Log, Made
from .judge import Verdict, judge

__all__ = ["INVARIANTS", "TRACES", "Evidence", "Invariant", "Log", "Made", "Verdict", "judge"]
