"""The exit codes of ``sagafsm``: a promise to scripts. docs/reference/command-line.md is written from this file."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from ..core.errors import (
    PastPivot,
    SagaConflict,
    SagaError,
    SagaFailed,
    SagaFinished,
    SagaMoved,
    SagaNotFound,
    SagaStuck,
    StoreCorrupt,
    StoreError,
    StoreTooNew,
)
from ..core.instance import SagaInstance


class Exit(enum.IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    STUCK = 3
    NOT_FOUND = 4
    REFUSED = 5
    UNAVAILABLE = 6
    UNREADABLE = 7
    BUG = 70
    INTERRUPTED = 130
    TERMINATED = 143


MEANINGS: Mapping[Exit, str] = {
    Exit.OK: "Done.",
    Exit.FAILED: "A saga failed (what was done is undone), or a problem was found (by `doctor`, `check`, "
    "`check-compat`, `export-test`, or the audit of the demo).",
    Exit.USAGE: "The command line, an input file, a setting or a definition is wrong. Nothing was done.",
    Exit.STUCK: "A saga is stuck or suspended: a person must act.",
    Exit.NOT_FOUND: "No saga with this id.",
    Exit.REFUSED: "The saga does not allow it: it is completed, past its pivot, moved, or its id has another input.",
    Exit.UNAVAILABLE: "The store cannot be reached, does not exist, or needs `sagafsm migrate`.",
    Exit.UNREADABLE: "What is stored is damaged, or was written by a newer sagafsm.",
    Exit.BUG: "An error in sagafsm itself; it is shown with its traceback.",
    Exit.INTERRUPTED: "Ctrl-C. Sagas under way stay in the store and can be taken up again.",
    Exit.TERMINATED: "SIGTERM. As with Ctrl-C.",
}

_OF_ERRORS: tuple[tuple[type[SagaError], Exit], ...] = (
    (SagaNotFound, Exit.NOT_FOUND),
    (SagaConflict, Exit.REFUSED),
    (SagaFinished, Exit.REFUSED),
    (PastPivot, Exit.REFUSED),
    (SagaFailed, Exit.FAILED),
    (SagaStuck, Exit.STUCK),
    (SagaMoved, Exit.REFUSED),
    (StoreCorrupt, Exit.UNREADABLE),
    (StoreTooNew, Exit.UNREADABLE),
    (StoreError, Exit.UNAVAILABLE),
)


def exit_of_error(error: SagaError) -> Exit:
    """The exit code for an error; whatever is not listed is about what was asked for."""
    return next((code for kind, code in _OF_ERRORS if isinstance(error, kind)), Exit.USAGE)


def exit_of_saga(saga: SagaInstance) -> Exit:
    """The exit code of a command that ran a saga."""
    if saga.stuck or saga.suspended:
        return Exit.STUCK
    return Exit.FAILED if saga.state.value == "failed" else Exit.OK
