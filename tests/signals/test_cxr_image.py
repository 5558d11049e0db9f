"""Images of every kind become grey PNGs of one size; those that cannot are refused before memory is taken."""

import importlib.util
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.signals.xrays import GREY, NIH, RGB, png, ramp
from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.signals import cxr_image
from vitalfactory.signals.cxr_image import cached_png, pixels, read_grey, to_png


def saved(folder: Path, picture: Image.Image, name: str = "x.png", **options: Any) -> Path:
    picture.save(folder / name, **options)
    return folder / name


def with_alpha(picture: Image.Image) -> Image.Image:
    """Make a picture transparent where it is bright."""
    coloured = picture.convert("RGBA")
    coloured.putalpha(Image.fromarray(255 - np.asarray(picture)))
    return coloured


MODES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "L": lambda grey: grey,
    "RGB": lambda grey: grey.convert("RGB"),
    "RGBA": with_alpha,
    "LA": lambda grey: grey.convert("LA"),
    "P": lambda grey: grey.convert("P"),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_the_same_grey(tmp_path: Path, mode: str) -> None:
    options = {"transparency": bytes(range(256))} if mode == "P" else {}
    path = saved(tmp_path, MODES[mode](ramp()), **options)
    read = read_grey(path)
    assert read.mode == "L"
    assert np.array_equal(np.asarray(read), np.asarray(ramp()))


@pytest.mark.parametrize(("bits", "highest"), [(16, 65535), (12, 4095), (9, 511), (8, 255), (8, 200)])
def test_many_bits_are_scaled_down_from_as_many_as_are_used(tmp_path: Path, bits: int, highest: int) -> None:
    values = np.linspace(0, highest, 64 * 64).astype(np.uint16).reshape(64, 64)
    path = saved(tmp_path, Image.fromarray(values))
    assert np.array_equal(np.asarray(read_grey(path)), values >> (bits - 8))


def test_colour_of_16_bits(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(2, 1, bits=16, colour=RGB, pixels=b"\0" + b"\x10\0" * 3 + b"\xf0\0" * 3))
    assert np.asarray(read_grey(tmp_path / "x.png")).tolist() == [[0x10, 0xF0]]


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_is_read_no_smaller_than_wanted(tmp_path: Path, mode: str) -> None:
    path = saved(tmp_path, ramp(1024, 512).convert(mode), "x.jpg", quality=95)
    assert read_grey(path).size == (1024, 512)
    small = read_grey(path, 200)
    assert 200 <= min(small.size) < 512
    assert np.abs(np.asarray(small.resize((64, 64)), dtype=int) - np.asarray(ramp(), dtype=int)).max() < 12


def test_a_jpeg_is_turned_as_its_head_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    path = saved(tmp_path, ramp(64, 32), "x.jpg", exif=exif)
    assert read_grey(path).size == (32, 64)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(28, 90), st.booleans())
def test_the_longest_side_is_the_size_and_shapes_stay(width: int, height: int, size: int, pad: bool) -> None:
    made = Image.open(BytesIO(to_png(Image.new("L", (width, height), 7), size, pad)))
    assert made.mode == "L"
    assert max(made.size) == size
    if pad:
        assert made.size == (size, size)
        shown = np.asarray(made) > 0
        assert (shown.any(axis=0).sum(), shown.any(axis=1).sum()) == scaled(width, height, size)
    else:
        assert made.size == scaled(width, height, size)


def scaled(width: int, height: int, size: int) -> tuple[int, int]:
    scale = size / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


BAD = {
    "bomb": (png(60_000, 60_000), "image too large"),
    "long bomb": (png(200_000_000, 1), "image too large"),
    "just too large": (png(10_000, 4_001), "image too large"),
    "cut off": (png(64, 64, pixels=b"\0" * 40)[:-20], "broken image"),
    "no pixels": (png(64, 64), "broken image"),
    "not an image": (b"GIF89a" + b"\0" * 200, "broken image"),
    "empty": (b"", "broken image"),
    "no size": (png(0, 0), "broken image"),
    "blank": (png(4, 1, pixels=b"\0" + b"\x07" * 4), "blank image"),
    "dicom of nothing": (b"\0" * 128 + b"DICM", "broken image"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_image_is_refused(tmp_path: Path, name: str) -> None:
    content, reason = BAD[name]
    path = tmp_path / "x.png"
    path.write_bytes(content)
    if name.startswith("dicom") and not DICOM:
        pytest.skip("pydicom is not installed")
    with pytest.raises(UnusableRecord) as refused:
        read_grey(path, 350)
    assert refused.value.reason == reason
    assert str(tmp_path) not in refused.value.detail


def test_a_corrupt_byte_in_the_middle(tmp_path: Path) -> None:
    path = saved(tmp_path, ramp(256, 256))
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 2, len(content) // 2 + 16):
        content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UnusableRecord) as refused:
        read_grey(path)
    assert refused.value.reason == "broken image"


def test_pixels_are_counted_by_the_header(tmp_path: Path) -> None:
    assert pixels(saved(tmp_path, ramp(30, 20))) == 600
    (tmp_path / "x.png").write_bytes(png(3, 3, colour=GREY))
    assert pixels(tmp_path / "x.png") == 9
    for content in (b"", png(60_000, 60_000)):
        (tmp_path / "x.png").write_bytes(content)
        assert pixels(tmp_path / "x.png") == 0
    assert pixels(tmp_path / "none.png") == 0


def test_an_image_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, kept, read = saved(tmp_path, ramp()), tmp_path / "kept", []
    own = cxr_image.read_grey

    def note(path: Path, size: int | None = None) -> Image.Image:
        read.append(path)
        return own(path, size)

    monkeypatch.setattr(cxr_image, "read_grey", note)
    first = cached_png(path, 56, False, kept)
    assert cached_png(path, 56, False, kept) == first
    assert len(read) == 1
    assert cached_png(path, 56, True, kept) == first  # square already, but asked for in another way
    assert cached_png(path, 84, False, kept) != first
    assert len(read) == 3
    saved(tmp_path, ramp(start=50))
    assert cached_png(path, 56, False, kept) != first
    assert len(read) == 4


@pytest.mark.parametrize("spoilt", [b"", b"\x89PNG\r\n\x1a\n half a file"])
def test_a_kept_image_that_is_not_whole_is_made_anew(tmp_path: Path, spoilt: bytes) -> None:
    path, kept = saved(tmp_path, ramp()), tmp_path / "kept"
    first = cached_png(path, 56, False, kept)
    [file] = [file for file in kept.rglob("*") if file.is_file()]
    file.write_bytes(spoilt)
    assert cached_png(path, 56, False, kept) == first == file.read_bytes()


def test_a_file_that_went_away(tmp_path: Path) -> None:
    with pytest.raises(UnusableRecord, match="broken image"):
        cached_png(tmp_path / "none.png", 56, False, tmp_path)


DICOM = importlib.util.find_spec("pydicom") is not None
needs_dicom = pytest.mark.skipif(not DICOM, reason="pydicom is not installed")


def write_dicom(path: Path, values: np.ndarray[Any, Any], syntax: str = "1.2.840.10008.1.2.1", **elements: Any) -> Path:
    import pydicom
    from pydicom.dataset import FileMetaDataset

    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3"
    dataset.PatientName = "Doe^Jane"
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * values.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.PixelData = values.tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


@needs_dicom
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_dicom_is_shown_bone_white(tmp_path: Path, kind: Any) -> None:
    values = np.asarray(ramp()).astype(kind)
    path = write_dicom(tmp_path / "x.dcm", values)
    shown = np.asarray(read_grey(path))
    assert (shown.min(), shown.max()) == (0, 255)
    assert np.array_equal(np.argsort(shown.ravel(), kind="stable")[:9], np.argsort(values.ravel(), kind="stable")[:9])
    inverted = write_dicom(tmp_path / "y.dcm", values.max() - values, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(np.asarray(read_grey(inverted)), shown)


@needs_dicom
def test_dicom_is_shown_through_its_window(tmp_path: Path) -> None:
    values = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    path = write_dicom(
        tmp_path / "x.dcm", values, WindowCenter=1100, WindowWidth=201, RescaleSlope=1, RescaleIntercept=-1000
    )
    shown = np.asarray(read_grey(path)).ravel()
    assert shown[1900] == 0
    assert shown[2300] == 255
    assert 0 < shown[2050] < shown[2150] < 255


@needs_dicom
@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Rows": 60_000, "Columns": 60_000}, "image too large"),
        ({"Rows": 65, "Columns": 64}, "broken image"),
        ({"NumberOfFrames": 2}, "several frames"),
        ({"PixelData": b""}, "broken image"),
        ({"PhotometricInterpretation": "NONE"}, "broken image"),
    ],
)
def test_a_dicom_that_is_refused_tells_nothing_of_the_patient(
    tmp_path: Path, elements: dict[str, Any], reason: str
) -> None:
    path = write_dicom(tmp_path / "x.dcm", np.asarray(ramp()), **elements)
    with pytest.raises(UnusableRecord) as refused:
        read_grey(path)
    assert refused.value.reason == reason
    assert "Doe" not in refused.value.detail


@needs_dicom
def test_a_dicom_compressed_as_a_whole_is_refused(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "x.dcm", np.asarray(ramp()), syntax="1.2.840.10008.1.2.1.99")
    with pytest.raises(UnusableRecord, match="compressed as a whole"):
        read_grey(path)


def test_dicom_without_pydicom_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    monkeypatch.setitem(sys.modules, "pydicom.pixels", None)
    (tmp_path / "x.dcm").write_bytes(b"\0" * 128 + b"DICM")
    with pytest.raises(VitalFactoryError, match=r'pip install "vitalfactory\[dicom\]"'):
        read_grey(tmp_path / "x.dcm")


def test_the_real_images_open_in_every_mode_and_size() -> None:
    if not NIH.is_dir():
        pytest.skip(f"no real chest X-rays: {NIH} is absent")
    paths = sorted(NIH.glob("images_*/*.png"))
    seen = set()
    for path in paths:
        with Image.open(path) as opened:
            kind = (opened.mode, opened.size)
        if kind not in seen:
            seen.add(kind)
            made = Image.open(BytesIO(to_png(read_grey(path), 350, False)))
            assert (made.mode, made.size) == ("L", (350, 350))
    assert {mode for mode, _ in seen} == {"L", "RGB", "RGBA"}
    assert {size for _, size in seen} == {(64, 64), (512, 512), (1024, 1024)}
