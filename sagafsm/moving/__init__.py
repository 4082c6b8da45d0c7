"""Moving sagas out of a store: to an archive, or to another store. Through the store protocol alone."""

from .archive import Archived, archive_sagas, read_archive
from .copying import Wishes, copy_between
from .departing import Ends
from .ended import ended
from .line import ArchivedSaga
from .marks import Mark, mark_of, refuse_moved
from .report import CopyReport, NotCopied
from .undoing import undo_moves

__all__ = [
    "Archived",
    "ArchivedSaga",
    "CopyReport",
    "Ends",
    "Mark",
    "NotCopied",
    "Wishes",
    "archive_sagas",
    "copy_between",
    "ended",
    "mark_of",
    "read_archive",
    "refuse_moved",
    "undo_moves",
]
