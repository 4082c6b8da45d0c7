"""The indexes, and the version of what is stored.

What must stay true: indexes are only ever added, and creating one that is there does nothing, so any number of
processes may begin at once; the version is written after the indexes. An append of a saga on its way (``steady``)
changes no field that an index holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sagafsm.core.errors import SettingsError, StoreCorrupt, StoreTooNew, StoreUnavailable

from .database import LIMITS, META, SAGAS, Database

VERSION = 1


def _index(name: str, *fields: str, only_with: str | None = None, only_if: str | None = None) -> Mapping[str, Any]:
    index: dict[str, Any] = {"name": name, "key": dict.fromkeys(fields, 1)}
    if only_with is not None:
        index["partialFilterExpression"] = {only_with: {"$exists": True}}
    if only_if is not None:
        index["partialFilterExpression"] = {only_if: True}
    return index


INDEXES: Mapping[str, Sequence[Mapping[str, Any]]] = {
    SAGAS: (
        # Claims ask per owner and kind for what is due: sagas in flight, asleep or finished are never passed over.
        _index("due", "owner", "kind", "due_at", "_id", only_with="due_at"),
        _index("attention", "owner", "attention", only_if="attention"),
        _index("created", "created_at", "_id"),
        _index("state", "state", "created_at", "_id"),
        _index("counts", "state", "kind", "type", "stuck", "suspended"),
        _index("tags", "tags", "created_at", "_id", only_with="tags"),
        _index("correlation", "correlation_id", "created_at", "_id", only_with="correlation_id"),
        _index("parent", "parent_id", "created_at", "_id", only_with="parent_id"),
        _index("finished", "finished_at", only_with="finished_at"),
        _index("stuck", "stuck", "created_at", "_id", only_if="stuck"),
        _index("suspended", "suspended", "created_at", "_id", only_if="suspended"),
        _index("purged", "purged_until", only_with="purged_until"),
        _index("left", "left", only_if="left"),
    ),
    LIMITS: (_index("held", "held.token"), _index("used", "used_at")),
}


async def bring_up_to_date(database: Database) -> None:
    """Make what is missing. Raises StoreTooNew where a newer sagafsm has been here."""
    if await _found(database) == VERSION:
        return
    if await database.find(SAGAS, {"log": {"$exists": False}, "purged_until": {"$exists": False}}, limit=1):
        raise SettingsError(
            f"{database.where} has a collection '{SAGAS}' that sagafsm did not make; give sagafsm a database of its "
            "own, by its name at the end of the URL"
        )
    for collection, indexes in INDEXES.items():
        await database.create_indexes(collection, indexes)
    # Of several that begin at once, one inserts it.
    await database.write("insert", META, [{"_id": "schema", "version": VERSION}])


async def require(database: Database) -> None:
    """Raise StoreUnavailable unless everything is there."""
    found = await _found(database)
    if found != VERSION:
        raise StoreUnavailable(
            f"the schema of {database.where} is at version {found}, and {VERSION} is needed; open the store once with "
            "migrate=True (setup() does so by default)"
        )


async def _found(database: Database) -> int:
    """The version found, 0 for none."""
    found = await database.find(META, {"_id": "schema"})
    if not found:
        return 0
    version = found[0].get("version")
    if not isinstance(version, int):
        raise StoreCorrupt(f"{database.where}: saga_meta has no version of the schema; restore a backup")
    if version > VERSION:
        raise StoreTooNew(
            f"{database.where} has schema version {version}; this sagafsm knows up to {VERSION}: upgrade sagafsm here"
        )
    return version
