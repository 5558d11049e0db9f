"""Chest X-rays as files -> grey PNGs of one size.

PNG, JPEG and DICOM, of 8 or 16 bits, grey or in colour. The size in a file's header is checked before memory is taken
for its pixels, so that a small file cannot ask for gigabytes.
"""

from __future__ import annotations

import hashlib
import os
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vitalfactory.errors import UnusableRecord
from vitalfactory.signals.cxr_dicom import is_dicom, read_dicom

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")
FORMATS = ("PNG", "JPEG")
MOST_PIXELS = 40_000_000
"""A film scanned at 300 dots an inch has 22 million."""
COMPRESSION = zlib.Z_RLE
"""Grey shades hardly repeat, so that looking for longer repetitions takes time and saves nothing."""
VERSION = 1
"""Of the images: another one makes those that were kept earlier void."""
TOO_LARGE, BROKEN, BLANK = "image too large", "broken image", "blank image"

_SIGNATURE, _END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


def pixels(path: Path) -> int:
    """Count an image's pixels by its header; 0 where that cannot be read."""
    from PIL import Image

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as opened:
            return int(opened.width * opened.height)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0


def read_grey(path: Path, size: int | None = None) -> Image.Image:
    """Read a chest X-ray in 8 bit grey.

    Parameters
    ----------
    path : Path
    size : int, optional
        A JPEG may be read smaller than it is, as long as its sides are not below this.

    Returns
    -------
    Image
        Of mode ``L``. Transparency is dropped; values of more than 8 bits are scaled down from as many bits as the
        highest one takes.

    Raises
    ------
    UnusableRecord
        With the reason ``image too large``, ``broken image`` or ``blank image``.
    VitalFactoryError
        It is DICOM, and pydicom is not installed.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings(action="ignore"):
            grey = read_dicom(path, MOST_PIXELS) if is_dicom(path) else _read(path, size)
    except Image.DecompressionBombError as error:
        raise UnusableRecord(TOO_LARGE, str(error).partition(",")[0]) from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise UnusableRecord(BROKEN, type(error).__name__ if isinstance(error, OSError) else str(error)) from None
    lowest, highest = grey.getextrema()
    if lowest == highest:
        raise UnusableRecord(BLANK, f"every pixel is {lowest}")
    return grey


def _read(path: Path, size: int | None) -> Image.Image:
    from PIL import Image, ImageOps

    with Image.open(path, formats=FORMATS) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise UnusableRecord(TOO_LARGE, f"{opened.width} x {opened.height}, at most {MOST_PIXELS} pixels")
        if size is not None:
            opened.draft("L", (size, size))
        opened.info.pop("transparency", None)
        opened.load()
        ImageOps.exif_transpose(opened, in_place=True)
    if opened.mode.startswith("I"):
        return Image.fromarray(_eight_bits(np.asarray(opened)))
    grey: Image.Image = opened if opened.mode == "L" else opened.convert("L")
    return grey


def _eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale down from as many bits as the highest value takes: 12 bits are often kept in 16."""
    bits = max(8, int(values.max()).bit_length())
    return (values >> (bits - 8)).astype(np.uint8)


def to_png(grey: Image.Image, size: int, pad: bool) -> bytes:
    """Scale an image and write it.

    Parameters
    ----------
    grey : Image
        Of mode ``L``.
    size : int
        Pixels of the longest side; the shapes stay as they are.
    pad : bool
        Whether black is added to the other side, so that the picture is square.
    """
    from PIL import Image

    scale = size / max(grey.size)
    width, height = (max(1, round(side * scale)) for side in grey.size)
    picture = grey.resize((width, height), Image.Resampling.HAMMING)
    if pad:
        square = Image.new("L", (size, size))
        square.paste(picture, ((size - width) // 2, (size - height) // 2))
        picture = square
    out = BytesIO()
    picture.save(out, "PNG", compress_type=COMPRESSION)
    return out.getvalue()


def cached_png(path: Path, size: int, pad: bool, kept: Path) -> bytes:
    """Read and scale an image, or take it from a folder where that was kept.

    It is known again by its path, its size in bytes and its time.

    Parameters
    ----------
    path : Path
    size, pad
        As in :func:`to_png`.
    kept : Path
        Made when missing; whatever is in it may be deleted.

    Raises
    ------
    UnusableRecord, VitalFactoryError
        As :func:`read_grey`.
    """
    try:
        stamp = path.stat()
    except OSError as error:
        raise UnusableRecord(BROKEN, error.strerror or "") from None
    known = repr((VERSION, str(path), stamp.st_size, stamp.st_mtime_ns, size, pad))
    key = hashlib.sha256(known.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    file = kept / key[:2] / f"{key}.png"
    if (content := _load(file)) is not None:
        return content
    content = to_png(read_grey(path, size), size, pad)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{key}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(file)
    return content


def _load(file: Path) -> bytes | None:
    try:
        content = file.read_bytes()
    except OSError:
        return None
    return content if content.startswith(_SIGNATURE) and content.endswith(_END) else None
