"""Stored sagas as tests: redacted, offline, on virtual time."""

from .export import Exported, export_stored, export_test
from .merge import Log
from .redact import Redactor
from .retell import CannotRetell, Story, retell

__all__ = ["CannotRetell", "Exported", "Log", "Redactor", "Story", "export_stored", "export_test", "retell"]
