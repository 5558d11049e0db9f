"""Rows of a JSON Lines file by their number, without reading the file: an index of where each line begins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_row

BLOCK = 2**24
BLANK = 16
"""Bytes: a shorter line may be a blank one, and is looked at."""
KEPT = 16
"""Indices in memory: eight bytes a row each."""


@dataclass(frozen=True)
class Rows:
    """A file's rows.

    Attributes
    ----------
    path : Path
    starts : ndarray of int64, shape (rows,)
        The byte that each row begins at; blank lines are no rows.
    """

    path: Path
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.starts)

    def page(self, start: int, count: int) -> list[dict[str, Any]]:
        """Read rows.

        Parameters
        ----------
        start : int
            The first row, from 0.
        count : int
            How many, fewer at the end of the file.

        Raises
        ------
        VitalFactoryError
            A line is not a JSON object.
        """
        with self.path.open("rb") as stream:
            return [self._row(stream, number) for number in range(start, min(start + count, len(self)))]

    def _row(self, stream: Any, number: int) -> dict[str, Any]:
        stream.seek(int(self.starts[number]))
        return read_row(stream.readline(), f"{self.path}: row {number + 1}")


def open_rows(path: Path) -> Rows:
    """Open a file, with its index where it has not changed since it was made.

    Raises
    ------
    VitalFactoryError
        There is no such file.
    """
    if not path.is_file():
        raise VitalFactoryError(f"{path}: no such file")
    known = path.stat()
    return _indexed(path, known.st_mtime_ns, known.st_size)


@lru_cache(KEPT)
def _indexed(path: Path, _: int, size: int) -> Rows:
    ends = np.concatenate([*_line_ends(path), np.array([size], dtype=np.int64)])
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts
    kept = lengths > 0
    with path.open("rb") as stream:
        for place in np.flatnonzero(kept & (lengths < BLANK)):
            stream.seek(int(starts[place]))
            kept[place] = bool(stream.readline().strip())
    return Rows(path, starts[kept])


def _line_ends(path: Path) -> Iterator[NDArray[np.int64]]:
    """Find the line feeds of a file, a block at a time."""
    place = 0
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            yield np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + place
            place += len(block)
