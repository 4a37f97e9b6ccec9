"""Rows of a file, read where they are asked for: what is held in memory is where each begins, 8 bytes a row."""

from __future__ import annotations

import csv
import hashlib
import json
from array import array
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Protocol

from fsr.errors import FsrError, InvalidInput

CHUNK = 1 << 20  # bytes that are read at a time to hash a file
BATCH = 256  # rows of Parquet that are decoded at a time


class Rows(Protocol):
    """digest: of the file's bytes."""

    @property
    def digest(self) -> str: ...

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> Iterator[Any]:
        """Those from start to before stop; one that cannot be read is an InvalidInput in its place."""


class JsonLines:
    """A JSON value a line; blank lines are none."""

    def __init__(self, path: Path) -> None:
        self.path, self._at, digest = path, array("Q"), hashlib.sha256()
        with path.open("rb") as lines:
            at = 0
            for line in lines:
                digest.update(line)
                if line.strip():
                    self._at.append(at)
                at += len(line)
        self.digest = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._at)

    def read(self, start: int, stop: int) -> Iterator[Any]:
        with self.path.open("rb") as lines:
            for at in self._at[start:stop]:
                lines.seek(at)
                yield _value(lines.readline())


def _value(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        return InvalidInput(f"this line is no JSON: {error}")


class Csv:
    """A header, then a row a record; a record in quotes may hold several lines."""

    def __init__(self, path: Path) -> None:
        self.path, self._at = path, array("Q")
        with path.open("rb") as file:
            lines = _Lines(file)
            reader = csv.reader(lines)
            try:
                self._names = next(reader, [])
                at = lines.at
                for row in reader:
                    if row:
                        self._at.append(at)
                    at = lines.at
            except csv.Error as error:
                raise InvalidInput(f"{path} cannot be read as CSV: {error}") from error
        self.digest = lines.digest.hexdigest()

    def __len__(self) -> int:
        return len(self._at)

    def read(self, start: int, stop: int) -> Iterator[Any]:
        with self.path.open("rb") as file:
            for at in self._at[start:stop]:
                file.seek(at)
                yield next(csv.DictReader(_Lines(file), self._names))


class _Lines:
    """Lines of text, and how many bytes of the file they were."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.at, self.digest = file, 0, hashlib.sha256()

    def __iter__(self) -> Iterator[str]:
        while line := self.file.readline():
            self.at += len(line)
            self.digest.update(line)
            yield line.decode("utf-8", "replace")


class Parquet:
    """Rows of a Parquet file. They are read forwards; going back begins again at a group of rows."""

    def __init__(self, path: Path) -> None:
        self.path, self._file = path, _opened(path)
        groups = [self._file.metadata.row_group(i).num_rows for i in range(self._file.metadata.num_row_groups)]
        self._first = [sum(groups[:i]) for i in range(len(groups))]
        self._coming: Iterator[Any] | None = None
        self._next = 0  # the row that comes next

    @cached_property
    def digest(self) -> str:
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while part := file.read(CHUNK):
                digest.update(part)
        return digest.hexdigest()

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def read(self, start: int, stop: int) -> Iterator[Any]:
        group = max(i for i, first in enumerate(self._first or [0]) if first <= start)
        begins = (self._first or [0])[group]
        if self._coming is None or start < self._next or self._next < begins:
            self._next, self._coming = begins, self._from(group)
        try:
            while self._next < min(stop, len(self)):
                row, at = next(self._coming), self._next
                self._next += 1
                if at >= start:
                    yield row
        except (OSError, ValueError) as error:  # pyarrow's own errors are of these kinds
            raise InvalidInput(f"{self.path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error

    def _from(self, group: int) -> Iterator[Any]:
        groups = range(group, len(self._first))
        for batch in self._file.iter_batches(BATCH, row_groups=list(groups)):
            yield from batch.to_pylist()


def _opened(path: Path) -> Any:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise FsrError('sweeps need pyarrow: pip install "fsr-explorer[sweep]".') from error
    try:
        return parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
