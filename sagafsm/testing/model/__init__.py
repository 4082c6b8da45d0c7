"""The model checker: everything that can happen to a saga, explored; what is wrong, with the shortest way to it."""

from .bounds import Bounds, outline
from .checking import check_model
from .explore import Explored
from .verdict import Finding, Happened, ModelBroken, Path, Verdict

__all__ = ["Bounds", "Explored", "Finding", "Happened", "ModelBroken", "Path", "Verdict", "check_model", "outline"]
