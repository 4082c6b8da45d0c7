"""Where archives lie: a folder here, or a place that ``fsspec`` can reach (``s3://``, ``gs://``, ``az://``, …).

What must stay true: when ``write`` returns, the file is there, whole and for good, under its name; before that,
nothing is. That holds also where two write the same file at once: neither ever touches what the other has written.
A file is written once and never appended to, for object stores cannot do that.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from ..core.errors import SettingsError, StoreUnavailable

SUFFIXES = (".jsonl", ".jsonl.gz")
SHOW_HALVES = frozenset({"arrow_hdfs", "dbfs", "ftp", "ftps", "hdfs", "sftp", "smb", "ssh", "webhdfs"})
"""Schemes of ``fsspec`` where a file is seen while it is written; object stores show it when it is whole."""


class Folder(Protocol):
    """A folder of archive files."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file, replacing one of that name. Raises StoreUnavailable."""
        ...

    def files(self) -> list[str]:
        """The archive files in it, by name; the one file where the folder is a file."""
        ...

    def read(self, name: str) -> Iterator[bytes]:
        """The bytes of a file, piece by piece."""
        ...


class LocalFolder:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, name: str, data: bytes) -> None:
        target = self._path / name
        unfinished = target.with_name(f"{name}.{uuid.uuid4().hex}.unfinished")  # nobody else's
        try:
            _make(self._path)
            with unfinished.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(target)
            _sync(self._path)
        except OSError as exc:
            with suppress(OSError):
                unfinished.unlink()
            raise StoreUnavailable(f"the archive {target} cannot be written: {exc}; nothing was purged for it") from exc

    def files(self) -> list[str]:
        if self._path.is_file():
            return [""]
        if not self._path.is_dir():
            raise StoreUnavailable(f"there is no archive at {self._path}")
        return sorted(path.name for path in self._path.iterdir() if path.name.endswith(SUFFIXES))

    def read(self, name: str) -> Iterator[bytes]:
        path = self._path / name if name else self._path
        try:
            with path.open("rb") as file:
                while piece := file.read(1 << 20):
                    yield piece
        except OSError as exc:
            raise StoreUnavailable(f"the archive {path} cannot be read: {exc}") from exc


def _make(folder: Path) -> None:
    """Make a folder, and those above it, so that they are there for good."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    """A new name in a folder survives a power failure only when the folder was synced too."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class RemoteFolder:
    """A folder that ``fsspec`` reaches."""

    def __init__(self, url: str) -> None:
        try:
            import fsspec  # type: ignore[import-untyped]
        except ImportError as exc:
            raise SettingsError(
                f"an archive at {url.partition('://')[0]}:// needs fsspec: pip install 'sagafsm[archive]', and the "
                "package for that scheme, such as s3fs"
            ) from exc
        try:
            self._files, self._path = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as exc:
            raise SettingsError(f"the archive cannot be reached: {exc}") from exc
        schemes = self._files.protocol
        self._shows_halves = not SHOW_HALVES.isdisjoint([schemes] if isinstance(schemes, str) else schemes)

    def write(self, name: str, data: bytes) -> None:
        target = f"{self._path.rstrip('/')}/{name}"
        try:
            self._files.makedirs(self._path, exist_ok=True)
            if self._shows_halves:
                written = self._write_aside(target, data)
            else:
                self._files.pipe_file(target, data)
                written = self._files.size(target)
        except Exception as exc:  # each file system raises its own
            raise StoreUnavailable(f"the archive {target} cannot be written: {exc}; nothing was purged for it") from exc
        if written != len(data):
            raise StoreUnavailable(f"the archive {target} has {written} bytes instead of {len(data)}")

    def _write_aside(self, target: str, data: bytes) -> int:
        """Write under another name, and give it its own when all of it is there; how many bytes that is."""
        self._files.invalidate_cache()
        if self._files.exists(target) and self._files.size(target) == len(data):
            return len(data)  # the same sagas, by a run that was stopped: some servers rename onto nothing that exists
        unfinished = f"{target}.{uuid.uuid4().hex}.unfinished"
        self._files.pipe_file(unfinished, data)
        written = int(self._files.size(unfinished))
        if written == len(data):
            self._files.mv(unfinished, target)
        return written

    def files(self) -> list[str]:
        try:
            self._files.invalidate_cache()
            if self._files.isfile(self._path):
                return [""]
            there = self._files.exists(self._path)
            paths = self._files.ls(self._path, detail=False) if there else []
        except Exception as exc:
            raise StoreUnavailable(f"the archive {self._path} cannot be read: {exc}") from exc
        if not there:
            raise StoreUnavailable(f"there is no archive at {self._path}")
        names = [str(path).rstrip("/").rpartition("/")[2] for path in paths]
        return sorted(name for name in names if name.endswith(SUFFIXES))

    def read(self, name: str) -> Iterator[bytes]:
        path = f"{self._path.rstrip('/')}/{name}" if name else self._path
        file: Any
        try:
            with self._files.open(path, "rb") as file:
                while piece := file.read(1 << 20):
                    yield piece
        except Exception as exc:
            raise StoreUnavailable(f"the archive {path} cannot be read: {exc}") from exc


def open_folder(to: str | Path) -> Folder:
    """The folder at a path or a URL. Raises SettingsError where there is none, or its package is not installed."""
    if to == "":
        raise SettingsError(
            "an archive needs a folder: a path, or a URL such as s3://bucket/sagas; '.' is the one here"
        )
    if isinstance(to, Path) or "://" not in to:
        return LocalFolder(Path(to))
    scheme, _, path = to.partition("://")
    return LocalFolder(Path(path)) if scheme in ("file", "local") else RemoteFolder(to)
