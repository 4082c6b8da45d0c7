"""Finds records by what they are; counts them; and the shapes of definitions.

What must stay true: every value of the user stands behind ``$eq`` or as an element of an array, where it is compared
and nothing else, whatever it is.
"""

from __future__ import annotations

import math
from typing import Any

from sagafsm.cursor import make_cursor, parse_cursor
from sagafsm.store import Count, Filter, Page

from .database import DEFINITIONS, SAGAS, Database, Document
from .documents import LIVE, TERMINAL, WITHOUT_LOG, read_bytes, read_record, tag
from .errors import DUPLICATE_KEY, doubtful

ORDER = [("created_at", 1), ("_id", 1)]
IN_ONE_STATE = ("kind", "type", "state", "stuck", "suspended")


class Finder:
    """Looks into one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, where: Filter, cursor: str | None, limit: int) -> Page:
        """Up to ``limit`` records, from the cursor on."""
        found = await self._database.find(SAGAS, query(where, cursor), fields=WITHOUT_LOG, sort=ORDER, limit=limit + 1)
        records = [read_record(document) for document in found[:limit]]
        rest = len(found) > limit and records
        return Page(records, make_cursor(records[-1].created_at, records[-1].saga_id) if rest else None)

    async def counts(self) -> list[Count]:
        """How many there are of each kind and state: read from an index that holds no more than that."""
        found = await self._database.aggregate(
            SAGAS,
            {"$match": {"state": {"$gt": ""}}},
            {"$group": {"_id": {name: f"${name}" for name in IN_ONE_STATE}, "count": {"$sum": 1}}},
        )
        return [
            Count(
                kind=each["_id"]["kind"],
                saga_type=each["_id"]["type"],
                state=each["_id"]["state"],
                stuck=each["_id"]["stuck"],
                suspended=each["_id"]["suspended"],
                count=each["count"],
            )
            for each in found
        ]

    async def save_definition(self, kind: str, shape: bytes) -> None:
        """Remember a shape, unless there is one already."""
        document = {"_id": kind, "shape": shape.decode()}
        for error in (await self._database.write("insert", DEFINITIONS, [document])).get("writeErrors", ()):
            if error.get("code") != DUPLICATE_KEY:
                raise doubtful(error, self._database.where)

    async def definitions(self) -> dict[str, bytes]:
        """Every shape, by kind."""
        return {each["_id"]: read_bytes(each["shape"]) for each in await self._database.find(DEFINITIONS, {})}


def query(where: Filter, cursor: str | None) -> Document:
    """The query for the records that match, from the cursor on. Raises InvalidInput for what is no cursor."""
    conditions: list[Document] = []

    def must(name: str, value: Any) -> None:
        if value is not None:
            conditions.append({name: {"$eq": value}})

    must("state", where.state)
    must("type", where.saga_type)
    must("parent_id", where.parent_id)
    for name, flag in (("stuck", where.stuck), ("suspended", where.suspended)):
        must(name, flag)
    if where.live is not None:
        conditions.append({"state": {"$in": LIVE if where.live else TERMINAL}})
    if where.correlation_id is not None:
        # It is stored where it differs from the id.
        same = {"$eq": where.correlation_id}
        conditions.append({"$or": [{"correlation_id": same}, {"_id": same, "correlation_id": {"$exists": False}}]})
    if where.older_than is not None:
        conditions.append({"created_at": {"$lt": where.older_than}})
    if where.finished_before is not None:
        conditions.append({"state": {"$in": TERMINAL}, "finished_at": {"$lt": where.finished_before}})
    conditions += [{"tags": {"$eq": tag(key, value)}} for key, value in where.tags.items()]
    if cursor is not None:
        created_at, saga_id = parse_cursor(cursor)
        later: list[Document] = [{"created_at": {"$gt": created_at}}, {"_id": {"$gt": saga_id}}]
        conditions.append({"created_at": {"$gte": created_at}, "$or": later})
    # Of what stands for a purged saga there is no creation.
    return {"$and": [{"created_at": {"$gte": -math.inf}}, *conditions]}
