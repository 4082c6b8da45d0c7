"""Writes finished sagas to an archive and then deletes them; reads them back.

What must stay true: a saga is deleted only after the file that holds it was written and closed. Whoever is stopped in
between finds the saga again: it is archived a second time, never lost. A file is named after what it holds, so the
same sagas archived twice are in one file, unless others came between them; then two lines have the same ``hash``.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import itertools
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import attrs

from ..core.errors import StoreCorrupt
from ..core.secrets import redact
from ..store import Record, Store
from .ended import ended
from .folder import Folder, open_folder
from .line import ArchivedSaga, read_line, write_line
from .whole import read_whole

LOADED_AT_ONCE = 50
MOST_SAGAS = 500
MOST_BYTES = 8 * 1024 * 1024
"""A file is closed when it holds so many sagas, or so many bytes: this is what has to lie in memory."""

_GZIP = 31  # zlib's name for the format


@attrs.frozen(kw_only=True)
class Archived:
    """What an archive run has done so far. ``bytes``: of the files as written."""

    sagas: int = 0
    files: int = 0
    bytes: int = 0


class _File:
    """The lines of a file that is being filled."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._first: Record | None = None
        self.saga_ids: list[str] = []
        self.size = 0

    def add(self, record: Record, line: bytes) -> None:
        self._first = self._first or record
        self._lines.append(line)
        self.saga_ids.append(record.saga_id)
        self.size += len(line)

    @property
    def full(self) -> bool:
        return len(self.saga_ids) >= MOST_SAGAS or self.size >= MOST_BYTES

    def close(self, *, compress: bool) -> tuple[str, bytes]:
        """The file's name and bytes."""
        data = b"".join(self._lines)
        name = hashlib.blake2b(data, digest_size=8).hexdigest()
        if self._first is not None:
            name = f"{datetime.fromtimestamp(self._first.created_at, UTC):%Y%m%dT%H%M%SZ}-{name}"
        return (f"{name}.jsonl.gz", gzip.compress(data, mtime=0)) if compress else (f"{name}.jsonl", data)


async def archive_sagas(
    store: Store,
    to: str | Path,
    before: float,
    *,
    limit: int | None = None,
    keep_ids: float = 0.0,
    compress: bool = False,
    progress: Callable[[Archived], None] | None = None,
) -> Archived:
    """Move sagas that ended before this time of the store's clock into files of a folder.

    ``keep_ids``: seconds for which their ids stay taken. ``progress`` is called after each file.
    """
    folder = open_folder(to)
    done, file = Archived(), _File()

    async def finish() -> None:
        nonlocal done, file
        name, data = await asyncio.to_thread(file.close, compress=compress)
        await asyncio.to_thread(folder.write, name, data)
        ids = file.saga_ids
        gone = await store.purge(before, limit=len(ids), keep_ids=keep_ids, saga_ids=ids)
        done = Archived(sagas=done.sagas + gone, files=done.files + 1, bytes=done.bytes + len(data))
        file = _File()
        if progress is not None:
            progress(done)

    async for records in ended(store, before, limit):
        for start in range(0, len(records), LOADED_AT_ONCE):
            wanted = [record.saga_id for record in records[start : start + LOADED_AT_ONCE]]
            found = await read_whole(store, wanted)
            for saga in (found[saga_id] for saga_id in wanted if saga_id in found):
                ended_at = saga.record.finished_at
                if saga.ended and ended_at is not None and ended_at < before:
                    file.add(saga.record, write_line(saga))
                if file.full:
                    await finish()
    if file.saga_ids:
        await finish()
    return done


def read_archive(source: str | Path) -> Iterator[ArchivedSaga]:
    """The sagas of an archive, file by file: of a folder, or of one file; a path, or a URL that ``fsspec`` knows.

    A saga may come twice (see ``ArchivedSaga.hash``). Raises StoreUnavailable where there is none, StoreCorrupt for a
    line that is damaged, StoreTooNew for one that a newer sagafsm wrote.
    """
    folder = open_folder(source)
    for name in folder.files():
        shown = name or redact(str(source))
        for number, line in enumerate(_lines(folder, name, shown), start=1):
            yield read_line(line, f"{shown}, line {number}")


def _lines(folder: Folder, name: str, shown: str) -> Iterator[bytes]:
    """The lines of a file, one at a time."""
    rest = b""
    for piece in _unpacked(folder.read(name), shown):
        *lines, rest = (rest + piece).split(b"\n")
        yield from (line for line in lines if line)
    if rest:
        yield rest


def _unpacked(pieces: Iterator[bytes], shown: str) -> Iterator[bytes]:
    """The bytes of a file, unpacked where it is gzipped, whatever its name; ``cat`` may have made it of several."""
    first = next(pieces, b"")
    if not first.startswith(b"\x1f\x8b"):
        yield first
        yield from pieces
        return
    unpack = zlib.decompressobj(wbits=_GZIP)
    for packed in itertools.chain([first], pieces):
        piece = packed
        while piece:
            if unpack.eof:
                unpack = zlib.decompressobj(wbits=_GZIP)
            try:
                yield unpack.decompress(piece)
            except zlib.error as exc:
                raise StoreCorrupt(f"{shown} is damaged: {exc}") from exc
            piece = unpack.unused_data
    if not unpack.eof:
        raise StoreCorrupt(f"{shown} is damaged: its end is missing")
