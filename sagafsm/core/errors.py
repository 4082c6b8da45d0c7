"""Every error sagafsm raises, and the few that a step raises to tell the engine something.

::

    SagaError
    ├── DefinitionError        the declaration is wrong: mend the code (also a ValueError)
    ├── InvalidInput           an argument is wrong: id, tag, input, payload (also a ValueError)
    ├── ResultNotStorable      a step returned what cannot be stored as JSON (also a TypeError)
    ├── SagaNotFound           no saga has that id (also a LookupError)
    ├── SagaConflict           that id belongs to another definition or another input
    │   └── SagaPurged         that id belonged to a saga that ended and was purged; it is not free yet
    ├── SagaFinished           the saga is completed: it can no longer be aborted
    ├── PastPivot              the point of no return is reached: only forward from here
    ├── SagaFailed             the saga ended ``failed``; carries ``.instance``
    ├── SagaStuck              the saga waits for a person; carries ``.instance``
    ├── SettingsError          a setting is unknown or has a bad value
    └── StoreError
        ├── StoreUnavailable   certainly not applied: trying again is safe
        ├── OutcomeUnknown     maybe applied: read before you write again
        ├── SagaMoved          the saga is in another store now, or still on its way to this one
        ├── StoreCorrupt       what is stored cannot be read; it is left as it is
        └── StoreTooNew        what is stored was written by a newer sagafsm

    Raised by users:  Rejected, Unknown            DefinitionWarning is a UserWarning

What must stay true: an error says what happened, to which saga and step, and what to do next; a driver's own
error is chained (``raise … from exc``), never shown in place of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .instance import SagaInstance


class SagaError(Exception):
    """The root of every error that sagafsm raises."""


class DefinitionError(SagaError, ValueError):
    """A saga definition is wrong. The message names the step, where it was declared, and the way out."""


class DefinitionWarning(UserWarning):
    """A saga definition says something that can have no effect, such as a compensation after the pivot."""


class InvalidInput(SagaError, ValueError):
    """An argument cannot be accepted: an id, a tag, a saga's input, a payload over its limit. Nothing was stored."""


class ResultNotStorable(SagaError, TypeError):
    """A step returned a value that cannot be stored as JSON, or one over the size limit."""


class SagaNotFound(SagaError, LookupError):
    """No saga with this id is in the store."""

    def __init__(self, saga_id: str) -> None:
        super().__init__(f"no saga {saga_id!r} in this store; check the id, the namespace and the store's URL")
        self.saga_id = saga_id

    def __reduce__(self) -> tuple[type[SagaNotFound], tuple[str]]:
        return SagaNotFound, (self.saga_id,)


class SagaConflict(SagaError):
    """The saga id is taken by a saga of another definition or with another input."""


class SagaPurged(SagaConflict):
    """The saga id belonged to a saga that has ended and was purged or archived; it stays taken for a while.

    ``same``: that saga had the same definition and input, so this start is most likely a late duplicate of one that is
    done, and can be passed over.
    """

    def __init__(self, saga_id: str, same: bool) -> None:
        if same:
            told = "by the same definition with the same input; there is nothing left to do"
        else:
            told = "by another definition or with another input; use another id"
        super().__init__(f"saga id {saga_id!r} was used before {told} (that saga has ended and was purged)")
        self.saga_id = saga_id
        self.same = same

    def __reduce__(self) -> tuple[type[SagaPurged], tuple[str, bool]]:
        return SagaPurged, (self.saga_id, self.same)


class SagaFinished(SagaError):
    """The saga is completed; what was asked for is only possible before that."""


class PastPivot(SagaError):
    """The pivot runs, its outcome is unknown, or it has succeeded: the saga can only go forward."""


class SagaFailed(SagaError):
    """The saga ended ``failed``: everything due was undone or waived. ``instance`` holds the finished saga."""

    def __init__(self, message: str, instance: SagaInstance | None = None) -> None:
        super().__init__(message)
        self.instance = instance


class SagaStuck(SagaError):
    """The saga cannot go on without a person. ``instance`` says why; ``retry`` or ``skip`` goes on."""

    def __init__(self, message: str, instance: SagaInstance | None = None) -> None:
        super().__init__(message)
        self.instance = instance


class SettingsError(SagaError):
    """A setting is unknown or has a bad value; the message names the key."""


class StoreError(SagaError):
    """The store could not do what was asked."""


class StoreUnavailable(StoreError):
    """The store certainly did not apply the write (or could not be read). Trying again is safe."""


class OutcomeUnknown(StoreError):
    """The store may or may not have applied the write; the engine reads the log to find out."""


class SagaMoved(StoreError):
    """The saga is not to be touched in this store: it was moved to another one, or is still on its way to this one."""


class StoreCorrupt(StoreError):
    """What is stored cannot be read. It is left untouched, and the saga is marked stuck."""


class StoreTooNew(StoreError):
    """What is stored was written by a newer version of sagafsm than this one; upgrade this process."""


class Rejected(Exception):
    """Raised by a step: it did not happen, and trying again will not help."""


class Unknown(Exception):
    """Raised by a step: it may have happened; nobody can tell yet."""
