"""A chest X-ray in DICOM, as its window shows it. Needs pydicom, which is an optional extra."""

from __future__ import annotations

import importlib
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vitalfactory.errors import UnusableRecord, VitalFactoryError

if TYPE_CHECKING:
    from PIL import Image

Floats = NDArray[np.float64]

PREAMBLE = 128
MOST_BYTES = 2**28
DEFLATED = "1.2.840.10008.1.2.1.99"
"""The transfer syntax in which all behind the file's head is compressed, the sizes with it."""
UNREADABLE = (ArithmeticError, AttributeError, EOFError, LookupError, RuntimeError, TypeError, ValueError, struct.error)
"""What pydicom raises. Its messages may quote the patient's data, so they are not repeated."""


def is_dicom(path: Path) -> bool:
    """Tell whether a file is DICOM by the mark behind its preamble."""
    with path.open("rb") as stream:
        stream.seek(PREAMBLE)
        return stream.read(4) == b"DICM"


def read_dicom(path: Path, most_pixels: int) -> Image.Image:
    """Read a DICOM image of one frame, its first window applied, bone white.

    Parameters
    ----------
    path : Path
    most_pixels : int

    Returns
    -------
    Image
        Of mode ``L``, from the lowest value shown to the highest.

    Raises
    ------
    UnusableRecord
        With the reason ``image too large`` or ``broken image``.
    VitalFactoryError
        pydicom is not installed.
    """
    from PIL import Image

    pydicom = _import_pydicom(path)
    _check_header(pydicom, path, most_pixels)
    try:
        values = _shown(pydicom, pydicom.dcmread(path))
    except UNREADABLE as error:
        raise UnusableRecord("broken image", f"DICOM: {type(error).__name__}") from None
    if values.ndim == 3:
        return Image.fromarray(values.astype(np.uint8)).convert("L")
    return Image.fromarray(values.round().astype(np.uint8))


def _import_pydicom(path: Path) -> Any:
    try:
        importlib.import_module("pydicom.pixels")
        return importlib.import_module("pydicom")
    except ImportError:
        raise VitalFactoryError(
            f'{path}: DICOM needs pydicom, which is not installed; pip install "vitalfactory[dicom]"'
        ) from None


def _check_header(pydicom: Any, path: Path, most_pixels: int) -> None:
    """Refuse what would take too much memory, before anything but the header is read."""
    if path.stat().st_size > MOST_BYTES:
        raise UnusableRecord("image too large", f"{path.stat().st_size} bytes, at most {MOST_BYTES}")
    try:
        syntax = str(pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID", ""))
        if syntax == DEFLATED:
            raise UnusableRecord("broken image", "DICOM compressed as a whole, which hides its size")
        header = pydicom.dcmread(path, stop_before_pixels=True)
        frames = int(header.get("NumberOfFrames") or 1)
        height, width = int(header.Rows), int(header.Columns)
    except UNREADABLE as error:
        raise UnusableRecord("broken image", f"DICOM: {type(error).__name__}") from None
    if frames > 1:
        raise UnusableRecord("several frames", str(frames))
    if width * height > most_pixels:
        raise UnusableRecord("image too large", f"{width} x {height}, at most {most_pixels} pixels")


def _shown(pydicom: Any, dataset: Any) -> Floats:
    """Compute what a screen shows, 0 to 255: modality table, window, and MONOCHROME1 turned over."""
    stored = dataset.pixel_array
    if stored.ndim == 3:
        return np.asarray(stored, dtype=np.float64)
    rescaled = pydicom.pixels.apply_modality_lut(stored, dataset)
    values: Floats = np.asarray(pydicom.pixels.apply_voi_lut(rescaled, dataset), dtype=np.float64)
    lowest, highest = values.min(), values.max()
    shown: Floats = 255 * (values - lowest) / max(highest - lowest, 1e-12)
    return 255 - shown if dataset.PhotometricInterpretation == "MONOCHROME1" else shown
