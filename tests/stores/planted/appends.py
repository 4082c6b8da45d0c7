"""Memory stores, each with one bug in how it appends."""

import asyncio
import itertools
import re

from msgspec.structs import replace

from sagafsm.runtime import memory
from sagafsm.runtime.memory import MemoryStore
from sagafsm.store import Committed, Conflict, Duplicate, Exists, Fenced, Refused, StoredEvent
from tests.stores.planted.register import planted

UNIQUE = itertools.count()


def unguarded(store, append, **matches):
    """Write the append as if it had matched what is stored."""
    saga = store._sagas.get(append.saga_id)
    if saga is None or append.expected_version == 0:
        return MemoryStore._append(store, append)
    current = {"expected_version": saga.record.version, "fence": saga.record.fence}
    return MemoryStore._append(store, replace(append, **{name: current[name] for name in matches}))


@planted(
    "test_another_version_than_the_expected_one_is_a_conflict",
    "test_of_racing_appends_exactly_one_wins",
    "test_the_same_append_again_is_a_duplicate",
    "test_without_events_version_and_fence_must_match",
)
class NoVersionCheck(MemoryStore):
    def _append(self, append):
        return unguarded(self, append, expected_version=True)


@planted(
    "test_another_fence_is_refused_although_the_version_is_right",
    "test_whoever_owned_a_saga_can_write_nothing_after_a_claim",
    "test_a_claim_and_an_append_of_the_old_owner_never_both_hold",
)
class NoFenceCheck(MemoryStore):
    def _append(self, append):
        return unguarded(self, append, fence=True)


@planted("test_another_fence_is_refused_although_the_version_is_right")
class AcceptsNewerFences(MemoryStore):
    def _append(self, append):
        saga = self._sagas.get(append.saga_id)
        newer = saga is not None and append.fence > saga.record.fence
        return unguarded(self, append, fence=True) if newer else super()._append(append)


@planted("test_where_version_and_fence_both_differ_it_is_a_conflict")
class FenceBeforeVersion(MemoryStore):
    def _append(self, append):
        saga = self._sagas.get(append.saga_id)
        if saga and append.expected_version and saga.record.fence != append.fence and not saga.wrote(append):
            return Fenced(saga.record.fence)
        return super()._append(append)


@planted(
    "test_only_expected_version_0_creates",
    "test_a_late_append_never_brings_a_purged_saga_back",
)
class Upserts(MemoryStore):
    def _append(self, append):
        if append.saga_id not in self._sagas and append.birth is None and append.expected_version:
            birth = memory.Birth(saga_type="", kind="", correlation_id="", digest="", created_at=0.0)
            saga = self._sagas[append.saga_id] = memory._Saga(memory._born(append, birth))
            return self._write(saga, append)
        return super()._append(append)


@planted(
    "test_the_same_append_again_is_a_duplicate",
    "test_the_same_append_again_is_a_duplicate_also_after_a_claim",
    "test_the_same_creation_again_is_a_duplicate",
    "test_a_batch_may_be_handed_in_again_as_it_is",
    "test_a_batch_of_which_half_was_accepted_before",
)
class NoDuplicates(MemoryStore):
    def _append(self, append):
        return super()._append(replace(append, append_id=f"{append.append_id} {next(UNIQUE)}"))


@planted("test_another_append_at_the_same_place_is_no_duplicate", "test_of_racing_appends_exactly_one_wins")
class EveryConflictADuplicate(MemoryStore):
    def _append(self, append):
        result = super()._append(append)
        return Duplicate(result.version) if isinstance(result, Conflict) and result.version else result


@planted("test_an_append_id_at_another_place_is_no_duplicate")
class DuplicateAnywhere(MemoryStore):
    def _append(self, append):
        saga = self._sagas.get(append.saga_id)
        if saga and append.append_id in saga.append_ids:
            return Duplicate(saga.record.version)
        return super()._append(append)


@planted("test_the_same_append_again_is_a_duplicate", "test_the_same_append_again_is_a_duplicate_also_after_a_claim")
class DuplicateOnlyOfTheLastEvent(MemoryStore):
    def _append(self, append):
        saga = self._sagas.get(append.saga_id)
        result = super()._append(append)
        last = saga is not None and saga.append_ids and saga.append_ids[-1] == append.append_id
        fenced = saga is not None and saga.record.fence != append.fence
        return Conflict(result.version) if isinstance(result, Duplicate) and (not last or fenced) else result


@planted("test_a_taken_id_exists_with_the_same_digest_or_another")
class NoDigests(MemoryStore):
    def _append(self, append):
        result = super()._append(append)
        return Exists(same=True) if isinstance(result, Exists) else result


@planted("test_a_taken_id_exists_with_the_same_digest_or_another", "test_of_racing_creations_exactly_one_wins")
class CreationReplaces(MemoryStore):
    def _append(self, append):
        if append.expected_version == 0:
            self._sagas.pop(append.saga_id, None)
        return super()._append(append)


@planted("test_a_creation_without_birth_or_events_is_refused", "test_a_refused_append_does_not_harm_its_neighbours")
class RefusesTheWholeBatch(MemoryStore):
    async def commit(self, batch):
        if any(append.expected_version == 0 and not (append.birth and append.events) for append in batch):
            raise ValueError("refused")
        return await super().commit(batch)


@planted("test_a_refused_append_does_not_harm_its_neighbours", "test_there_is_one_result_per_append_in_order")
class AllOrNothing(MemoryStore):
    async def commit(self, batch):
        kept = dict(self._sagas)
        results = await super().commit(batch)
        if not all(isinstance(result, Committed) for result in results):
            self._sagas = kept
            return [Refused("a neighbour was") if isinstance(result, Committed) else result for result in results]
        return results


@planted("test_there_is_one_result_per_append_in_order")
class ResultsOutOfOrder(MemoryStore):
    async def commit(self, batch):
        return sorted(await super().commit(batch), key=repr)


@planted("test_a_large_batch")
class ForgetsTheEndOfALargeBatch(MemoryStore):
    async def commit(self, batch):
        results = await super().commit(batch[:256])
        return [*results, *(Committed(append.expected_version + len(append.events)) for append in batch[256:])]


@planted(
    "test_every_reader_sees_events_and_record_together", "test_a_cancelled_commit_leaves_all_of_an_append_or_nothing"
)
class RecordAfterEvents(MemoryStore):
    async def commit(self, batch):
        results = []
        for append in batch:
            saga = self._sagas.get(append.saga_id)
            before = saga.record if saga else None
            results.append(self._append(append))
            if saga is not None and before is not None and saga.record is not before:
                after, saga.record = saga.record, before
                await asyncio.sleep(0)
                saga.record = after
        return results


@planted("test_without_events_only_the_record_changes")
class RecordOnlyNeedsEvents(MemoryStore):
    def _append(self, append):
        return Conflict(append.expected_version) if not append.events else super()._append(append)


@planted("test_without_events_version_and_fence_must_match")
class RecordOnlyIsUnguarded(MemoryStore):
    def _append(self, append):
        return super()._append(append) if append.events else unguarded(self, append, expected_version=True, fence=True)


@planted("test_a_steady_append_leaves_the_rest_of_the_record_as_it_is")
class SteadyIsBegun(MemoryStore):
    def _write(self, saga, append):
        if append.steady:
            append = replace(append, steady=False, due_at=None, stuck=False)
        return super()._write(saga, append)


@planted("test_a_steady_append_needs_version_and_fence")
class SteadyIsUnguarded(MemoryStore):
    def _append(self, append):
        return unguarded(self, append, expected_version=True, fence=True) if append.steady else super()._append(append)


@planted("test_what_was_written_at_birth_never_changes")
class BirthCanChange(MemoryStore):
    def _write(self, saga, append):
        if append.birth is not None:
            saga.record = replace(saga.record, digest=append.birth.digest, kind=append.birth.kind)
        return super()._write(saga, append)


@planted(
    "test_every_value_of_the_record_can_be_taken_back",
    "test_an_owner_may_let_go_in_an_append",
)
class NoneKeepsTheOldValue(MemoryStore):
    def _write(self, saga, append):
        old = saga.record
        result = super()._write(saga, append)
        if old.version:
            saga.record = replace(
                saga.record, owner=saga.record.owner or old.owner, due_at=saga.record.due_at or old.due_at
            )
        return result


@planted("test_times_are_kept_exactly", "test_events_are_kept_byte_for_byte_in_order")
class TimesInMilliseconds(MemoryStore):
    def _write(self, saga, append):
        rounded = [replace(event, at=round(event.at, 3) + 1e-4) for event in append.events]
        return super()._write(saga, replace(append, events=rounded))


@planted("test_events_are_kept_byte_for_byte_in_order")
class NormalisesJson(MemoryStore):
    def _write(self, saga, append):
        events = [replace(event, data=event.data.replace(b" ", b"")) for event in append.events]
        return super()._write(saga, replace(append, events=events))


@planted("test_ids_may_hold_every_allowed_character")
class IdsWithoutCase(MemoryStore):
    def _append(self, append):
        return super()._append(replace(append, saga_id=append.saga_id.lower()))


@planted("test_values_are_never_taken_for_commands")
class DropsBackslashes(MemoryStore):
    def _write(self, saga, append):
        return super()._write(saga, replace(append, problem=(append.problem or "").replace("\\", "") or None))


@planted(
    "test_a_snapshot_spares_the_events_before_it",
    "test_a_snapshot_replaces_the_one_before_it",
    "test_a_claim_gives_each_saga_with_its_snapshot_and_events",
)
class SnapshotOffByOne(MemoryStore):
    def _write(self, saga, append):
        if append.snapshot is not None:
            append = replace(append, snapshot=replace(append.snapshot, version=append.snapshot.version - 1))
        return super()._write(saga, append)


@planted("test_a_snapshot_spares_the_events_before_it", "test_a_snapshot_replaces_the_one_before_it")
class SnapshotLastsOneAppend(MemoryStore):
    def _write(self, saga, append):
        saga.snapshot = None
        return super()._write(saga, append)


@planted("test_events_after_a_number")
class EventsFromTheBeginning(MemoryStore):
    async def events(self, saga_id, after=0):
        return await super().events(saga_id)


@planted("test_every_value_of_the_record_is_kept")
class ForgetsTheParent(MemoryStore):
    def _write(self, saga, append):
        saga.record = replace(saga.record, parent_id=None)
        return super()._write(saga, append)


@planted("test_an_append_that_is_very_large_is_kept_whole_or_refused")
class CutsOff(MemoryStore):
    """A column has its length."""

    def _write(self, saga, append):
        events = [replace(event, data=event.data[: 1 << 24]) for event in append.events]
        return super()._write(saga, replace(append, events=events))


@planted("test_an_append_that_is_very_large_is_kept_whole_or_refused")
class LargeHarmsItsNeighbours(MemoryStore):
    """Such as a driver that refuses the whole message."""

    async def commit(self, batch):
        if sum(len(event.data) for append in batch for event in append.events) > 1 << 24:
            return [Refused("too large")] * len(batch)
        return await super().commit(batch)


@planted("test_names_are_never_taken_for_commands")
class KindsArePatterns(MemoryStore):
    """A dot stands for any character."""

    async def claim(self, worker_id, kinds, *, limit, saga_ids=None):
        wanted = re.compile("|".join(kinds))
        kinds = [saga.record.kind for saga in self._sagas.values() if wanted.match(saga.record.kind)]
        return await super().claim(worker_id, kinds, limit=limit, saga_ids=saga_ids)


@planted("test_names_are_never_taken_for_commands")
class KindsArePaths(MemoryStore):
    """A kind is a field name of a document: what comes after a dot lies within."""

    async def save_definition(self, kind, shape):
        await super().save_definition(kind.partition(".")[0], shape)


@planted("test_an_empty_batch_has_no_results")
class NeedsAnAppend(MemoryStore):
    async def commit(self, batch):
        return (await super().commit([batch[0], *batch[1:]])) or None


@planted("test_a_snapshot_spares_the_events_before_it")
class EventsOnlyAfterTheSnapshot(MemoryStore):
    async def events(self, saga_id, after=0):
        saga = self._sagas.get(saga_id)
        start = saga.snapshot.version if saga and saga.snapshot else 1
        return [event for event in await super().events(saga_id, after) if event.seq > start + after - 1]


@planted("test_a_finished_saga_takes_appends_like_any_other")
class TerminalIsFrozen(MemoryStore):
    def _append(self, append):
        saga = self._sagas.get(append.saga_id)
        if saga and saga.record.state in memory.TERMINAL and append.expected_version:
            return Conflict(saga.record.version)
        return super()._append(append)


@planted("test_an_append_stores_its_events_and_the_record_together", "test_a_batch_of_every_kind_of_append")
class LosesTheLastEvent(MemoryStore):
    def _write(self, saga, append):
        result = super()._write(saga, append)
        if len(saga.events) > 2:
            saga.events.pop()
            saga.events.append(StoredEvent(0, "", 0.0, b""))
        return result
