"""Where the archive's files are: a folder of this machine, or whatever else fsspec opens by its URL.

A file that `put_once` or `create` has returned is whole and durable, or it is not there.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

_BLOCK_BYTES = 8 * 2**20  # of an upload; a store keeps one in memory


class Store:
    """Raises OSError, whatever the store calls its errors; FileNotFoundError for what is not there."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self.url = url
        with _as_os_errors():
            self._fs, self._root = url_to_fs(url, **options)
        self._is_local = isinstance(self._fs, LocalFileSystem)

    def names(self, folder: str) -> list[str]:
        """The names in a folder; none if there is no such folder."""
        path = self._path(folder)
        with _as_os_errors(), suppress(FileNotFoundError):
            self._fs.invalidate_cache(path)
            return sorted(str(name).rpartition("/")[2] for name in self._fs.ls(path, detail=False))
        return []

    def read(self, name: str) -> bytes:
        """The whole of a small file."""
        with _as_os_errors():
            return cast(bytes, self._fs.cat_file(self._path(name)))

    @contextmanager
    def opened(self, name: str) -> Iterator[IO[bytes]]:
        """A file to read from here and there."""
        with _as_os_errors():
            options = {} if self._is_local else {"block_size": 2**20}
            file = self._fs.open(self._path(name), "rb", **options)
        with file:
            yield file

    @contextmanager
    def create(self, name: str) -> Iterator[IO[bytes]]:
        """A large file, written from the front; durable at the end of the block."""
        path = self._path(name)
        if not self._is_local:
            with _as_os_errors():
                remote = self._fs.open(path, "wb", block_size=_BLOCK_BYTES)
            try:
                yield remote
            except BaseException:
                remote.discard()  # closing it would make half of a file a whole one
                remote.closed = True
                raise
            with _as_os_errors():
                remote.close()
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb") as local:
            yield local
            local.flush()
            os.fsync(local.fileno())
        _sync_folder(Path(path).parent)

    def put_once(self, name: str, data: bytes) -> None:
        """A small file. Raises FileExistsError if there is one: the store decides who was first."""
        path = self._path(name)
        if not self._is_local:
            with _as_os_errors():
                self._fs.pipe_file(path, data, mode="create")
            return
        partial = Path(f"{path.removesuffix('.json')}-{secrets.token_hex(4)}.partial")
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.link(partial, path)  # unlike a rename it fails where there is a file
        finally:
            partial.unlink(missing_ok=True)
        _sync_folder(partial.parent)

    def remove(self, name: str) -> None:
        """A file that is gone already is no error."""
        with _as_os_errors(), suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def num_bytes(self, name: str) -> int:
        with _as_os_errors():
            self._fs.invalidate_cache(self._path(name).rpartition("/")[0])
            return int(self._fs.size(self._path(name)))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """Object stores have errors of their own; those who read and write know OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"the archive's store: {error}") from error
