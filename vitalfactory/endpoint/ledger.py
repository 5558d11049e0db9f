"""Every answer that was paid for, in a file that only grows: one JSON object a line.

    {"key": "5f1c...", "model": "qwen2.5-72b-instruct", "state": "answered", "text": ..., "value": ..., "calls": 1, ...}

The key is the hash of model, prompt and parameters, so that answers of another model or to another prompt stand in the
same file without being taken for one another. A run that is killed has written all that it was told, but for a line
that it was writing: that one is cut off when the ledger is opened again. The last line of a key counts.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from vitalfactory.endpoint.asking import Answered
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import dumps, lock

COUNTED = ("calls", "lost", "prompt_tokens", "completion_tokens")
FIELDS = ("key", "model", "state")
BLOCK = 1 << 16
SYNC_SECONDS = 1.0
FIRST_PLACES = 1 << 10


def key_of(model: str, messages: Any, parameters: Mapping[str, Any], form: str, sample: int = 0) -> str:
    """Name a question by all that its answer depends on.

    Parameters
    ----------
    model : str
    messages : list of dict
    parameters : mapping
        Without ``response_format``, which is how the endpoint is held to the form and not what is asked.
    form : str
        The form's name.
    sample : int
        Which of several answers to the same question.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    told = json.dumps([model, messages, parameters, form, sample], sort_keys=True)
    return hashlib.sha256(told.encode("ascii")).hexdigest()[:32]


class Places:
    """Where each key stands in a file: 16 bytes a key and some room, whatever their number.

    Keys are told apart by their first 64 bits; whoever reads a line compares the whole key.
    """

    def __init__(self) -> None:
        self._size = 0
        self._keys = array("Q", bytes(8 * FIRST_PLACES))
        self._places = array("q", b"\xff" * (8 * FIRST_PLACES))

    def __len__(self) -> int:
        """Count the keys."""
        return self._size

    def get(self, key: str) -> int | None:
        """Return where a key stands, None where it does not."""
        place = self._places[self._slot(int(key[:16], 16))]
        return None if place < 0 else place

    def set(self, key: str, place: int) -> None:
        """Say where a key stands."""
        self._set(int(key[:16], 16), place)
        if 3 * self._size > 2 * len(self._keys):
            self._grow()

    def _set(self, number: int, place: int) -> None:
        slot = self._slot(number)
        self._size += self._places[slot] < 0
        self._keys[slot], self._places[slot] = number, place

    def _slot(self, number: int) -> int:
        """Find a key's slot, or the empty one where it belongs."""
        last = len(self._keys) - 1
        slot = number & last
        while self._places[slot] >= 0 and self._keys[slot] != number:
            slot = (slot + 1) & last
        return slot

    def _grow(self) -> None:
        keys, places, size = self._keys, self._places, 2 * len(self._keys)
        self._keys, self._places, self._size = array("Q", bytes(8 * size)), array("q", b"\xff" * (8 * size)), 0
        for number, place in zip(keys, places, strict=True):
            if place >= 0:
                self._set(number, place)


class Ledger:
    """A ledger that is open; see :func:`open_ledger`.

    Attributes
    ----------
    path : Path
    spent : dict of str to Counter
        Model to its ``calls``, ``lost``, ``prompt_tokens`` and ``completion_tokens``, over all lines.
    """

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.path = path
        self.spent: dict[str, Counter[str]] = {}
        self._stream = stream
        self._places = Places()
        self._synced = time.monotonic()
        self._end = 0
        for row, place in _rows(path, stream):
            self._enter(row, place)
        self._end = stream.seek(0, os.SEEK_END)

    def __len__(self) -> int:
        """Count the questions that have ended."""
        return len(self._places)

    def get(self, key: str) -> dict[str, Any] | None:
        """Return a question's last line, None where it has none."""
        place = self._places.get(key)
        if place is None:
            return None
        self._stream.seek(place)
        row: dict[str, Any] = json.loads(self._stream.readline())
        return row if row["key"] == key else None

    def add(self, model: str, answered: Answered) -> None:
        """Write down how a question ended; on disk at the latest a second later, and at once for other processes."""
        row = {"key": answered.key, "model": model, **vars(answered)}
        line = dumps(row).encode("utf-8", "replace") + b"\n"
        self._stream.seek(self._end)
        self._stream.write(line)
        self._stream.flush()
        self._enter(row, self._end)
        self._end += len(line)
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Wait until all is on disk."""
        os.fsync(self._stream.fileno())
        self._synced = time.monotonic()

    def _enter(self, row: Mapping[str, Any], place: int) -> None:
        self._places.set(row["key"], place)
        spent = self.spent.setdefault(row["model"], Counter())
        for name in COUNTED:
            spent[name] += row.get(name, 0)


@contextmanager
def open_ledger(path: Path) -> Iterator[Ledger]:
    """Open a ledger for one run alone; a half-written last line is cut off.

    Parameters
    ----------
    path : Path
        Made when missing.

    Yields
    ------
    Ledger

    Raises
    ------
    VitalFactoryError
        Another run holds it, or it is no ledger.
    """
    with lock(path.with_name(f".{path.name}.lock"), wait=False):
        path.touch()
        with path.open("r+b") as stream:
            _cut_unfinished(stream)
            ledger = Ledger(path, stream)
            try:
                yield ledger
            finally:
                ledger.sync()


def _cut_unfinished(stream: BinaryIO) -> None:
    """Cut off what stands after the last end of a line."""
    end = stream.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - BLOCK)
        stream.seek(start)
        if (found := stream.read(end - start).rfind(b"\n")) >= 0:
            end = start + found + 1
            break
        end = start
    stream.truncate(end)
    stream.seek(0)


def _rows(path: Path, stream: BinaryIO) -> Iterator[tuple[dict[str, Any], int]]:
    place = 0
    for number, line in enumerate(stream, 1):
        if line.strip():
            yield _row(line, f"{path}:{number}"), place
        place += len(line)


def _row(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in FIELDS):
        raise VitalFactoryError(f"{where}: not a line of a ledger; take it out, or choose another --out")
    try:
        int(row["key"][:16], 16)
    except ValueError:
        raise VitalFactoryError(f"{where}: {row['key'][:40]!r} is no key of a ledger; choose another --out") from None
    return row
