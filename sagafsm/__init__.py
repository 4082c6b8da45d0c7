"""sagafsm: sagas as explicit state machines, persisted before the world is touched."""

from .core.commands import Delivery
from .core.declaration import Compensation, Fallback, Parallel, Sequence, Sleep, Step, SubSaga, WaitFor
from .core.definition import SagaDefinition
from .core.errors import (
    DefinitionError,
    DefinitionWarning,
    InvalidInput,
    OutcomeUnknown,
    PastPivot,
    Rejected,
    ResultNotStorable,
    SagaConflict,
    SagaError,
    SagaFailed,
    SagaFinished,
    SagaMoved,
    SagaNotFound,
    SagaPurged,
    SagaStuck,
    SettingsError,
    StoreCorrupt,
    StoreError,
    StoreTooNew,
    StoreUnavailable,
    Unknown,
)
from .core.events import Event, Failure
from .core.instance import SagaInstance, StepView, Waiting
from .core.lifecycle import SagaState, StepState
from .core.limit import Limit
from .core.operations import Operations
from .core.probe import Probe
from .core.retry import RetryPolicy
from .declare import Saga, sleep, step, subsaga, wait_for
from .moving import read_archive
from .runtime.blocking import SyncOrchestrator
from .runtime.context import StepContext
from .runtime.handle import Handle
from .runtime.hooks import StepOutcome
from .runtime.orchestrator import Orchestrator
from .runtime.settings import Settings
from .runtime.transfer import copy_sagas, undo_copy
from .store import Store, open_store

__all__ = [
    "Compensation",
    "DefinitionError",
    "DefinitionWarning",
    "Delivery",
    "Event",
    "Failure",
    "Fallback",
    "Handle",
    "InvalidInput",
    "Limit",
    "Operations",
    "Orchestrator",
    "OutcomeUnknown",
    "Parallel",
    "PastPivot",
    "Probe",
    "Rejected",
    "ResultNotStorable",
    "RetryPolicy",
    "Saga",
    "SagaConflict",
    "SagaDefinition",
    "SagaError",
    "SagaFailed",
    "SagaFinished",
    "SagaInstance",
    "SagaMoved",
    "SagaNotFound",
    "SagaPurged",
    "SagaState",
    "SagaStuck",
    "Sequence",
    "Settings",
    "SettingsError",
    "Sleep",
    "Step",
    "StepContext",
    "StepOutcome",
    "StepState",
    "StepView",
    "Store",
    "StoreCorrupt",
    "StoreError",
    "StoreTooNew",
    "StoreUnavailable",
    "SubSaga",
    "SyncOrchestrator",
    "Unknown",
    "WaitFor",
    "Waiting",
    "copy_sagas",
    "open_store",
    "read_archive",
    "sleep",
    "step",
    "subsaga",
    "undo_copy",
    "wait_for",
]
