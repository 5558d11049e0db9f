"""Chest X-rays as files, made in code: PNGs byte by byte, NIH's label files, folders of images."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vitalfactory.files import ROOT

NIH = ROOT.parent / "shared" / "data" / "cxr_nih14"
"""Real images and labels, where they are at hand."""
HEADERS = {
    "2017": "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],",
    "2020": "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]",
}
GREY, RGB = 0, 2
"""Of a PNG's colour types."""


def png(width: int, height: int, *, bits: int = 8, colour: int = GREY, pixels: bytes = b"") -> bytes:
    """Lay out a PNG; its pixels need not be as many as its header says."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(pixels)),
        (b"IEND", b""),
    ]
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def ramp(width: int = 64, height: int = 64, start: int = 0) -> Image.Image:
    """Draw a picture that is brighter to the right and at the bottom."""
    rows = np.add.outer(np.linspace(0, 100, height), np.linspace(start, start + 100, width))
    return Image.fromarray(rows.astype(np.uint8))


def write_nih(folder: Path, findings: Mapping[str, str], *, release: str = "2020", images: bool = True) -> Path:
    """Write a label file of images and findings as NIH does, and the images in two folders."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f"{name},{found},{place},{int(name[:8])},{50 + place % 9},{'FM'[place % 2]},{('PA', 'AP')[place % 2]},1,2,3,4"
        for place, (name, found) in enumerate(findings.items())
    ]
    file = folder / "Data_Entry_2017.csv"
    file.write_text("\n".join([HEADERS[release], *lines, ""]), encoding="utf-8")
    if images:
        write_images(folder, list(findings))
    return file


def write_images(folder: Path, names: Sequence[str]) -> None:
    """Write images that differ, by turns in two folders."""
    for place, name in enumerate(names):
        where = folder / f"images_{place % 2 + 1:03d}" / "images"
        where.mkdir(parents=True, exist_ok=True)
        picture = ramp(64 + place % 7, 64)
        picture.putpixel((place % 64, place // 64), 255)
        picture.save(where / name)
