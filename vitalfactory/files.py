"""JSON and JSON Lines on disk: atomic writes, appends that survive a kill, locks and hashes."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path
from typing import Any

from vitalfactory.errors import VitalFactoryError

ROOT = Path(__file__).resolve().parent.parent
"""The repository: where ``dataset_info.json``, ``data/``, ``train_configs/`` and ``checkpoints/`` are by default."""


def short_path(path: Path) -> str:
    """Name a path as a dataset's command does: from the repository where it is given inside, else as it was given."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def dumps(value: Any) -> str:
    """Encode one JSON value on one line, letters of every script kept as they are."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Read a JSON Lines file row by row.

    Parameters
    ----------
    path : Path
        UTF-8 text, one JSON object a line; blank lines are skipped.

    Yields
    ------
    dict

    Raises
    ------
    VitalFactoryError
        The file is missing, or a line is not a JSON object.
    """
    if not path.is_file():
        raise VitalFactoryError(f"{path}: no such file")
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield read_row(line, f"{path}:{number}")


def read_row(line: bytes, where: str) -> dict[str, Any]:
    """Read one line of a JSON Lines file.

    Parameters
    ----------
    line : bytes
    where : str
        The file and the line, for an error.

    Raises
    ------
    VitalFactoryError
        It is not a JSON object in UTF-8.
    """
    try:
        row = json.loads(line.decode("utf-8"))
    except json.JSONDecodeError as error:
        raise VitalFactoryError(f"{where}: not valid JSON ({error.msg})") from None
    except UnicodeDecodeError:
        raise VitalFactoryError(f"{where}: not UTF-8 text") from None
    if not isinstance(row, dict):
        raise VitalFactoryError(f"{where}: expected a JSON object, found {type(row).__name__}")
    return row


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file at once: the old file stays until the new one is complete on disk.

    Parameters
    ----------
    path : Path
        Where to write; its folder is made when missing.
    text : str
        The whole content.
    """
    with replacing(path) as stream:
        stream.write(text.encode("utf-8"))


@contextmanager
def replacing(path: Path) -> Iterator[BufferedWriter]:
    """Open a file to be written in one step: the old one stays until the block has ended without an error.

    Parameters
    ----------
    path : Path
        Where to write; its folder is made when missing.

    Yields
    ------
    BufferedWriter
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        partial.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value, indented, in one step."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read one JSON value.

    Raises
    ------
    VitalFactoryError
        The file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise VitalFactoryError(f"{path}: no such file") from None
    except json.JSONDecodeError as error:
        raise VitalFactoryError(f"{path}:{error.lineno}: not valid JSON ({error.msg})") from None
    except UnicodeDecodeError:
        raise VitalFactoryError(f"{path}: not UTF-8 text") from None


def read_csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Read a CSV file, its header line like any other.

    Parameters
    ----------
    path : Path
        UTF-8 text, with or without a byte order mark.

    Yields
    ------
    tuple of int and list of str
        Number of the line and its cells, without the blanks around them; blank lines are skipped.

    Raises
    ------
    VitalFactoryError
        The file is missing or is not CSV in UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            for line in reader:
                cells = [cell.strip() for cell in line]
                if any(cells):
                    yield reader.line_num, cells
    except FileNotFoundError:
        raise VitalFactoryError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise VitalFactoryError(f"{path}: not UTF-8 text; save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise VitalFactoryError(f"{path}: not valid CSV ({error})") from None


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]], errors: str = "strict") -> None:
    """Write a JSON Lines file in one step and in constant memory.

    Parameters
    ----------
    path : Path
    rows : iterable of mapping
    errors : str
        What becomes of half a character, which UTF-8 cannot say: an error, or with ``replace`` a question mark.
    """
    with replacing(path) as stream:
        stream.writelines(f"{dumps(row)}\n".encode("utf-8", errors) for row in rows)


def recover_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read what an interrupted append left, and cut off a half-written last line.

    Parameters
    ----------
    path : Path
        May be missing.

    Returns
    -------
    list of dict
        The complete rows.
    """
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    lines = whole.split(b"\n")
    return [read_row(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]


@contextmanager
def lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive lock on a file; it is freed when the process ends, however it ends.

    Parameters
    ----------
    path : Path
        The lock file, made when missing and left in place.
    wait : bool
        Wait for the present holder, or fail at once.

    Raises
    ------
    VitalFactoryError
        ``wait`` is false and another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise VitalFactoryError(f"{path}: another run holds this lock; wait for it to end") from None
        yield


def sha256(path: Path) -> str:
    """Hash a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
