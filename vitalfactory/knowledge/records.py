"""A file's records, whatever form they have: JSON, JSON Lines or CSV, told apart by content, in UTF-8 or GB18030.

Lines are decoded one by one, so that a file put together from two encodings reads as well. JSON Lines and CSV are
read in constant memory; a JSON value that takes a whole file is read at once.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from vitalfactory.errors import VitalFactoryError
from vitalfactory.knowledge.qa import Dropped

LONGEST_LINE = 1 << 20
"""Bytes that a line of JSON Lines or CSV may have."""
_JSON = json.JSONDecoder(strict=False)
"""Takes control characters within strings; one decoder for all lines."""
_PEEK = 1 << 16
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class Record(NamedTuple):
    """One record: an object or a list out of JSON, or the cells of a CSV line."""

    id: str
    value: dict[str, Any] | list[Any]


def read_records(path: Path, name: str) -> Iterator[Record | Dropped]:
    """Read a file record by record.

    Parameters
    ----------
    path : Path
    name : str
        What the records' ids begin with; their line, or their place in a JSON list, follows.

    Yields
    ------
    Record or Dropped

    Raises
    ------
    VitalFactoryError
        The file is missing or empty, or is one JSON value that does not parse.
    """
    if not path.is_file():
        raise VitalFactoryError(f"{path}: no such file")
    start = _start(path)
    if not start:
        raise VitalFactoryError(f"{path}: holds nothing")
    if start[:1] not in (b"[", b"{"):
        yield from _table(path, name)
    elif start[:1] == b"[" or not start.split(b"\n", 1)[0].rstrip()[1:]:
        yield from _value(path, name)
    else:
        yield from _json_lines(path, name)


def _start(path: Path) -> bytes:
    with path.open("rb") as stream:
        start = stream.read(_PEEK)
    if start.startswith(_UTF16_MARKS):
        raise VitalFactoryError(f"{path}: UTF-16 text; save it as UTF-8")
    return start.removeprefix(_UTF8_MARK).strip()


def _value(path: Path, name: str) -> Iterator[Record | Dropped]:
    """Read a file that is one JSON value, or lists on lines of their own."""
    try:
        value = _JSON.decode(_text(path))
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            yield from _json_lines(path, name)
            return
        raise VitalFactoryError(f"{path}:{error.lineno}: not valid JSON ({error.msg})") from None
    except RecursionError:
        raise VitalFactoryError(f"{path}: JSON nested too deeply") from None
    for number, item in enumerate(value if isinstance(value, list) else [value], 1):
        yield _record(item, f"{name}-{number:06d}")


def _text(path: Path) -> str:
    lines = []
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            text = _decode(line, number)
            if text is None:
                raise VitalFactoryError(f"{path}:{number}: neither UTF-8 nor GB18030; save the file in one of them")
            lines.append(text)
    return "".join(lines)


def _json_lines(path: Path, name: str) -> Iterator[Record | Dropped]:
    for number, line in _lines(path):
        row_id = f"{name}-{number:06d}"
        if isinstance(line, Fault):
            yield Dropped(row_id, *line)
            continue
        if not line.strip():
            continue
        try:
            yield _record(_JSON.decode(line), row_id)
        except (json.JSONDecodeError, RecursionError) as error:
            yield Dropped(row_id, "not valid JSON", getattr(error, "msg", "nested too deeply"))


def _record(value: Any, row_id: str) -> Record | Dropped:
    if isinstance(value, dict | list):
        return Record(row_id, value)
    return Dropped(row_id, "no JSON object", f"found {type(value).__name__}")


def _table(path: Path, name: str) -> Iterator[Record | Dropped]:
    lines = _GoodLines(path, name)
    reader = csv.reader(lines)
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:  # the reader begins anew with the next line
            cells = []
            yield Dropped(f"{name}-{lines.number:06d}", "not valid CSV", str(error))
        yield from lines.take_faults()
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield Record(f"{name}-{lines.number:06d}", [cell.strip() for cell in cells])


class Fault(NamedTuple):
    """Why a line cannot be used."""

    reason: str
    detail: str = ""


class _GoodLines:
    """The lines of a file that can be read; the others are kept as faults."""

    def __init__(self, path: Path, name: str) -> None:
        self.number = 0
        self._lines = _lines(path)
        self._name = name
        self._faults: list[Dropped] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        for number, line in self._lines:
            self.number = number
            if not isinstance(line, Fault):
                return line
            self._faults.append(Dropped(f"{self._name}-{number:06d}", *line))
        raise StopIteration

    def take_faults(self) -> list[Dropped]:
        faults, self._faults = self._faults, []
        return faults


def _lines(path: Path) -> Iterator[tuple[int, str | Fault]]:
    with path.open("rb") as stream:
        for number in count(1):
            line = stream.readline(LONGEST_LINE)
            if not line:
                return
            if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                _skip_line(stream)
                yield number, Fault("line too long", f"over {LONGEST_LINE} bytes")
                continue
            text = _decode(line, number)
            yield number, Fault("neither UTF-8 nor GB18030") if text is None else text


def _skip_line(stream: BinaryIO) -> None:
    while (part := stream.readline(LONGEST_LINE)) and not part.endswith(b"\n"):
        pass


def _decode(line: bytes, number: int) -> str | None:
    if number == 1:
        line = line.removeprefix(_UTF8_MARK)
    for encoding in ("utf-8", "gb18030"):
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None
