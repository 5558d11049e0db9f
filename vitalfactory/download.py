"""Files from the web, resumed where they broke off, and archives unpacked without trusting them."""

from __future__ import annotations

import gzip
import http.client
import lzma
import os
import re
import shutil
import stat
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import IO, Any

from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import lock

TIMEOUT_SECONDS = 60.0
PAUSES_SECONDS = (0.0, 1.0, 4.0)
"""How long to wait before each attempt, the first among them."""
BLOCK_BYTES = 1 << 18
MAX_UNPACKED_BYTES = 4 << 30
LEAST_MEMBER_BYTES = 4096
"""What an empty member of an archive counts, so that millions of them are over the limit, too."""

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    RuntimeError,  # zipfile's word for encrypted members and unknown compressions
)


class _BrokenOff(Exception):
    """A connection failed in a way that another attempt may mend."""


def fetch(url: str, file: Path, size: int | None = None) -> Path:
    """Download a file once.

    What has come is kept in ``<file>.part``; the next attempt, or the next call, goes on from there where
    the server can do so, and starts anew where it cannot.

    Parameters
    ----------
    url : str
        ``http`` or ``https``.
    file : Path
        Where to. A file that is there already, and has ``size`` bytes where that is given, is taken as it is.
    size : int, optional
        Expected bytes.

    Returns
    -------
    Path
        ``file``, complete.

    Raises
    ------
    VitalFactoryError
        The server refuses or offers another size, or the connection broke off at every attempt.
    """
    if not url.startswith(("https://", "http://")):
        raise VitalFactoryError(f"{url}: expected an address that begins with https:// or http://")
    with lock(file.with_name(f".{file.name}.lock")):
        if file.is_file() and size in (None, file.stat().st_size):
            return file
        part = file.with_name(f"{file.name}.part")
        _attempt_all(url, part, size)
        part.replace(file)
    return file


def _attempt_all(url: str, part: Path, size: int | None) -> None:
    broken = _BrokenOff()
    for pause in PAUSES_SECONDS:
        time.sleep(pause)
        try:
            return _attempt(url, part, size)
        except _BrokenOff as error:
            broken = error
    raise VitalFactoryError(
        f"{url}: {broken}; {len(PAUSES_SECONDS)} attempts failed. Run the same command again: it goes on after the "
        f"{_size(part)} bytes in {part}"
    )


def _attempt(url: str, part: Path, size: int | None) -> None:
    have = _size(part)
    with _ask(url, have) as response:
        start, total = _offer(response)
        if total is not None and size not in (None, total):
            raise VitalFactoryError(f"{url}: the server has {total} bytes, expected {size}; the file there has changed")
        if start in (0, have):
            _receive(response, part, start, size if total is None else total)
        elif have != total:
            part.unlink(missing_ok=True)
            raise _BrokenOff(f"the server cannot go on after {have} bytes")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _ask(url: str, have: int) -> Any:
    """Ask for what comes after the bytes at hand; the answer may also be that nothing does."""
    headers = {"User-Agent": "vitalfactory", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return error
        error.close()
        answer = f"the server answered {error.code} {error.reason}"
        if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR or error.code == HTTPStatus.TOO_MANY_REQUESTS:
            raise _BrokenOff(answer) from None
        raise VitalFactoryError(f"{url}: {answer}; see whether the address still holds, or fetch it by hand") from None
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOff(_reason(error)) from None


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    words = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return f"no connection ({words})"


def _offer(response: Any) -> tuple[int, int | None]:
    """Read where an answer starts in the file (-1: nowhere), and the whole file's size where the server says so."""
    if response.status not in (HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    start, total = found.groups() if found else (None, "*")
    return int(start or -1), None if total == "*" else int(total)


def _receive(response: Any, part: Path, start: int, expected: int | None) -> None:
    from tqdm import tqdm

    name = part.name.removesuffix(".part")
    with (
        part.open("ab" if start else "wb") as stream,
        tqdm(desc=name, total=expected, initial=start, unit="B", unit_scale=True, disable=None) as bar,
    ):
        for block in _blocks(response):
            stream.write(block)
            bar.update(len(block))
        stream.flush()
        os.fsync(stream.fileno())
    if expected is not None and _size(part) != expected:
        broken = _BrokenOff(f"the connection ended at {_size(part)} of {expected} bytes")
        if _size(part) > expected:
            part.unlink()
        raise broken


def _blocks(response: Any) -> Iterator[bytes]:
    try:
        while block := response.read(BLOCK_BYTES):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOff(_reason(error)) from None


@dataclass(frozen=True)
class _Member:
    """A file or folder of an archive, whatever the archive's kind."""

    name: str
    size: int
    is_folder: bool
    is_file: bool
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path, limit: int = MAX_UNPACKED_BYTES) -> None:
    """Unpack a zip or tar archive into a folder: all of it, or nothing.

    Parameters
    ----------
    archive : Path
    folder : Path
        What stands at the archive's top level goes here, once everything is unpacked.
    limit : int
        The most bytes that it may take on disk.

    Raises
    ------
    VitalFactoryError
        The archive is damaged or too large, holds a link, a device or a path out of the folder, or
        would overwrite what is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{archive.name}.partial"
    with lock(folder / f".{archive.name}.lock"):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            _unpack_all(archive, partial, folder, limit)
            for entry in sorted(partial.iterdir()):
                entry.rename(folder / entry.name)
        except _DAMAGED as error:
            raise VitalFactoryError(f"{archive}: damaged ({error}); delete it and fetch it again") from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _unpack_all(archive: Path, partial: Path, folder: Path, limit: int) -> None:
    from tqdm import tqdm

    partial.mkdir()
    total = 0
    for member in tqdm(_members(archive), desc=f"unpacking {archive.name}", unit="file", disable=None):
        total += max(member.size, LEAST_MEMBER_BYTES)
        if total > limit:
            raise VitalFactoryError(f"{archive}: unpacks to more than {limit} bytes; not unpacked")
        path = _inside(archive, member)
        if path.parts and (folder / path.parts[0]).exists():
            raise VitalFactoryError(f"{folder / path.parts[0]}: is there already; move it away to unpack {archive}")
        _write(member, partial / path)


def _inside(archive: Path, member: _Member) -> PurePosixPath:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise VitalFactoryError(f"{archive}: {member.name!r} leads out of the folder; not unpacked")
    if not member.is_folder and not member.is_file:
        raise VitalFactoryError(f"{archive}: {member.name!r} is a link or a device; not unpacked")
    return path


def _write(member: _Member, target: Path) -> None:
    if member.is_folder:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    assert source is not None
    with source, target.open("wb") as stream:
        shutil.copyfileobj(source, stream, BLOCK_BYTES)


def _members(archive: Path) -> Iterator[_Member]:
    if zipfile.is_zipfile(archive):
        return _zip_members(archive)
    if tarfile.is_tarfile(archive):
        return _tar_members(archive)
    raise VitalFactoryError(f"{archive}: neither a zip nor a tar archive; delete it and fetch it again")


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            mode = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was made on Windows
            is_file = not info.is_dir() and mode in (0, stat.S_IFREG)
            is_folder = info.is_dir() and mode in (0, stat.S_IFDIR)
            yield _Member(info.filename, info.file_size, is_folder, is_file, partial(opened.open, info))


def _tar_members(archive: Path) -> Iterator[_Member]:
    with tarfile.open(archive) as opened:
        for info in opened:
            yield _Member(info.name, info.size, info.isdir(), info.isreg(), partial(opened.extractfile, info))
