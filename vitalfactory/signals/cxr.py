"""Chest X-rays and the findings that they are labelled with, before any image is read.

Reads NIH ChestX-ray14 (Wang et al. 2017): ``Data_Entry_2017*.csv`` or ``sample_labels.csv``, plain or compressed with
gzip, whose findings were mined from the radiologists' reports:

    Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,...
    00000001_002.png,Cardiomegaly|Effusion,2,1,58,M,PA,...

or JSON, a list of objects or one a line, whose ``disease_labels`` are in the order of :data:`FINDINGS`:

    {"id": "identity_1", "image_path": "sample/images/00000013_005.png",
     "disease_labels": [0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 1],
     "disease_names": ["emphysema", "infiltration", "pleural thickening", "pneumothorax"]}
"""

from __future__ import annotations

import csv
import gzip
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TextIO

from vitalfactory.errors import UnusableRecord, VitalFactoryError, closest
from vitalfactory.files import read_json, read_jsonl
from vitalfactory.signals.cxr_folders import Images
from vitalfactory.signals.cxr_image import cached_png

FINDINGS = (
    "atelectasis",
    "cardiomegaly",
    "consolidation",
    "edema",
    "effusion",
    "emphysema",
    "fibrosis",
    "hernia",
    "infiltration",
    "mass",
    "no finding",
    "nodule",
    "pleural thickening",
    "pneumonia",
    "pneumothorax",
)
"""The fourteen findings and their absence, in the one order in which they are told."""
NO_FINDING = "no finding"
LABEL_FILES = ("Data_Entry_2017*.csv", "Data_Entry_2017*.csv.gz", "sample_labels.csv", "sample_labels.csv.gz")
"""How NIH calls the label files of the whole set and of its sample."""
NEEDED = {"image": ("image index",), "findings": ("finding labels",), "patient": ("patient id",)}
OPTIONAL = {
    "age": ("patient age", "age"),
    "sex": ("patient gender", "patient sex", "gender", "sex"),
    "view": ("view position", "view"),
}
"""What a column may be called, in small letters and with blanks: the releases differ."""
OLDEST = 120
"""Years; the first release has some ages over 400, which are not known then."""

_NIH_NAME = re.compile(r"(\d{8})_\d{3}")
_AGE = re.compile(r"(\d+)\s*([YMD]?)", re.IGNORECASE)


@dataclass(frozen=True)
class Described:
    """What is known of a chest X-ray without its image.

    Attributes
    ----------
    id : str
    group : str
        The patient; the image itself where none is known.
    findings : tuple of str
        In the order of :data:`FINDINGS`; ``no finding`` stands alone.
    view : str or None
        ``PA`` or ``AP``.
    age : int or None
        Years.
    sex : str or None
        ``F`` or ``M``.
    """

    id: str
    group: str
    findings: tuple[str, ...]
    view: str | None
    age: int | None
    sex: str | None


class Picture(Protocol):
    """A chest X-ray that can be shown: one at hand, or one to be drawn."""

    @property
    def about(self) -> Described:
        """What is known of it."""

    def png(self, size: int, pad: bool, kept: Path) -> bytes:
        """Read it as a grey PNG whose longest side is ``size``; raises :class:`UnusableRecord`."""


@dataclass(frozen=True)
class Radiograph:
    """A chest X-ray whose image is at hand."""

    about: Described
    path: Path

    def png(self, size: int, pad: bool, kept: Path) -> bytes:
        """Read it as a grey PNG; see :func:`vitalfactory.signals.cxr_image.cached_png`."""
        return cached_png(self.path, size, pad, kept)


@dataclass(frozen=True)
class LeftOut:
    """A row of a label file, or an image, that is no chest X-ray with its labels, and why."""

    id: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class _Row:
    """A row of a label file: the image's name as it stands there, and what is said of it."""

    name: str
    patient: str | None
    findings: Sequence[str]
    view: str | None = None
    age: int | None = None
    sex: str | None = None


def label_file(path: Path) -> Path:
    """Find the label file in a folder of the data set; a file is itself.

    Raises
    ------
    VitalFactoryError
        There is none, or more than one.
    """
    if not path.is_dir():
        return path
    found = sorted({file for pattern in LABEL_FILES for file in path.glob(pattern)})
    if len(found) != 1:
        there = f"{len(found)} label files ({', '.join(file.name for file in found)})" if found else "no label file"
        raise VitalFactoryError(
            f"{path}: {there}; name the one to use: Data_Entry_2017*.csv, sample_labels.csv or JSON"
        )
    return found[0]


def radiographs(files: Sequence[Path], folders: Sequence[Path]) -> Iterator[Radiograph | LeftOut]:
    """Join label files and the images at hand.

    Parameters
    ----------
    files : sequence of Path
        Label files: ``.csv``, ``.csv.gz``, ``.json`` or ``.jsonl``.
    folders : sequence of Path
        Where the images lie, at any depth.

    Yields
    ------
    Radiograph or LeftOut
        One for each row of the label files; then one for each image that is a smaller copy or has no label.

    Raises
    ------
    VitalFactoryError
        A file or a folder is not there or not usable as a whole.
    """
    images = Images(folders)
    for file in files:
        for row in _rows(file):
            if isinstance(row, LeftOut):
                yield row
                continue
            try:
                yield _join(row, images)
            except UnusableRecord as error:
                yield LeftOut(row.name, error.reason, error.detail)
    for path in images.smaller:
        yield LeftOut(path.name, "smaller copy of an image", str(path.parent.name))
    for path in images.unused():
        yield LeftOut(path.name, "image without a label")


def _join(row: _Row, images: Images) -> Radiograph:
    path = images.find(row.name, anywhere=_nih_name(row.name) is not None)
    findings = parse_findings(row.findings)
    group = row.patient or patient_of(row.name)
    return Radiograph(Described(_id_of(row.name), group, findings, row.view, row.age, row.sex), path)


def _id_of(name: str) -> str:
    """Name an image: by its file where it is called as NIH does, else by its whole path, as file names repeat."""
    path = PurePosixPath(name)
    return path.stem if _nih_name(name) else "_".join(path.with_suffix("").parts).lstrip("/_.")


def _nih_name(name: str) -> re.Match[str] | None:
    return _NIH_NAME.match(name.rpartition("/")[2])


def patient_of(name: str) -> str:
    """Read the patient from an image's name, ``00000013_005.png``; another name is a patient of its own."""
    found = _nih_name(name)
    return str(int(found[1])) if found else _id_of(name)


def parse_findings(names: Iterable[str]) -> tuple[str, ...]:
    """Read findings as a source writes them, ``Pleural_Thickening``.

    Returns
    -------
    tuple of str
        In the order of :data:`FINDINGS`, each once.

    Raises
    ------
    UnusableRecord
        There is none, one is not known, or ``no finding`` stands beside another.
    """
    found = {" ".join(name.replace("_", " ").lower().split()) for name in names} - {""}
    if not found:
        raise UnusableRecord("no finding is named")
    if unknown := sorted(found - set(FINDINGS)):
        raise UnusableRecord("unknown finding", f"{unknown[0]!r}{closest(unknown[0], FINDINGS)}")
    if NO_FINDING in found and len(found) > 1:
        raise UnusableRecord("contradictory findings", f"{NO_FINDING} beside {', '.join(sorted(found - {NO_FINDING}))}")
    return tuple(finding for finding in FINDINGS if finding in found)


def _rows(file: Path) -> Iterator[_Row | LeftOut]:
    if not file.is_file():
        raise VitalFactoryError(f"{file}: no such file")
    name = file.name.lower()
    if name.endswith((".csv", ".csv.gz")):
        return _csv_rows(file)
    if name.endswith((".json", ".jsonl")):
        return _json_rows(file)
    raise VitalFactoryError(f"{file}: expected a label file that ends in .csv, .csv.gz, .json or .jsonl")


def _csv_rows(file: Path) -> Iterator[_Row | LeftOut]:
    lines = _csv_lines(file)
    _, header = next(lines, (0, []))
    places = _columns(header, file)
    for number, cells in lines:
        told = {name: cells[place].strip() for name, place in places.items() if place < len(cells)}
        missing = [name for name in NEEDED if not told.get(name)]
        if missing:
            yield LeftOut(
                told.get("image") or f"line {number}", "incomplete line", f"line {number} has no {missing[0]}"
            )
        else:
            yield _row_of(told)


def _row_of(told: Mapping[str, str]) -> _Row:
    patient = told["patient"]
    return _Row(
        name=told["image"],
        patient=str(int(patient)) if patient.isdecimal() else patient,
        findings=told["findings"].split("|"),
        view=told.get("view", "").upper() or None,
        age=_age(told.get("age", "")),
        sex=sex if (sex := told.get("sex", "")[:1].upper()) in ("F", "M") else None,
    )


def _age(text: str) -> int | None:
    """Read an age in years: ``58``, ``058Y``, or in months or days ``009M``."""
    found = _AGE.fullmatch(text)
    if found is None:
        return None
    years = int(found[1]) if found[2].upper() in ("", "Y") else 0
    return years if years <= OLDEST else None


def _csv_lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with _open(file) as stream:
            reader = csv.reader(stream)
            for cells in reader:
                if any(cells):
                    yield reader.line_num, cells
    except UnicodeDecodeError:
        raise VitalFactoryError(f"{file}: not UTF-8 text; save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise VitalFactoryError(f"{file}: not valid CSV ({error})") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise VitalFactoryError(f"{file}: not a whole gzip file ({error})") from None


def _open(file: Path) -> TextIO:
    if file.suffix.lower() == ".gz":
        return gzip.open(file, "rt", encoding="utf-8-sig", newline="")
    return file.open(encoding="utf-8-sig", newline="")


def _columns(header: Sequence[str], file: Path) -> dict[str, int]:
    """Find the place of each column."""
    known = [" ".join(name.replace("_", " ").lower().split()) for name in header]
    places = {}
    for column, names in (NEEDED | OPTIONAL).items():
        name = next((name for name in names if name in known), None)
        if name is not None:
            places[column] = known.index(name)
        elif column in NEEDED:
            near = closest(names[0], known)
            raise VitalFactoryError(
                f"{file}: no column {names[0].title()!r}{near}; its columns are {', '.join(header) or 'none'}"
            )
    return places


def _json_rows(file: Path) -> Iterator[_Row | LeftOut]:
    for number, value in enumerate(_json_values(file), 1):
        try:
            yield _row_of_json(value)
        except UnusableRecord as error:
            given = value.get("image_path") if isinstance(value, dict) else None
            yield LeftOut(str(given or f"row {number}"), error.reason, error.detail)


def _json_values(file: Path) -> Iterable[Any]:
    with file.open("rb") as stream:
        opening = stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if opening != b"[":
        return read_jsonl(file)
    values = read_json(file)
    assert isinstance(values, list)
    return values


def _row_of_json(value: Any) -> _Row:
    if not isinstance(value, dict):
        raise UnusableRecord("not an object", f"expected image_path and disease_names, found {type(value).__name__}")
    name, patient = value.get("image_path"), value.get("patient_id")
    if not isinstance(name, str) or not name.strip():
        raise UnusableRecord("no image is named", "image_path: expected a path")
    return _Row(name.strip(), None if patient is None else str(patient), _findings_of_json(value))


def _findings_of_json(value: Mapping[str, Any]) -> Sequence[str]:
    """Take the names or the numbers; where there are both, they must say the same."""
    names, numbers = value.get("disease_names"), value.get("disease_labels")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise UnusableRecord("malformed labels", "disease_names: expected a list of names")
    if numbers is None:
        return names or ()
    if (
        not isinstance(numbers, list)
        or len(numbers) != len(FINDINGS)
        or any(number not in (0, 1) for number in numbers)
    ):
        raise UnusableRecord("malformed labels", f"disease_labels: expected {len(FINDINGS)} times 0 or 1")
    counted = [finding for finding, number in zip(FINDINGS, numbers, strict=True) if number]
    if names is not None and parse_findings(names) != tuple(counted):
        raise UnusableRecord("labels and names differ", f"names {', '.join(names)}; labels {', '.join(counted)}")
    return counted


@dataclass(frozen=True)
class Official:
    """The patients of the official lists.

    Attributes
    ----------
    test : frozenset of str
    others : frozenset of str or None
        Those to train and validate on; None where no list names them: all others.
    """

    test: frozenset[str]
    others: frozenset[str] | None


def read_official(test: Path, others: Path | None, patients: Mapping[str, str]) -> Official:
    """Read ``test_list.txt`` and ``train_val_list.txt``: the name of an image on each line.

    Parameters
    ----------
    test : Path
    others : Path, optional
    patients : mapping of str to str
        Id of an image at hand to its patient; others are known by their names.

    Raises
    ------
    VitalFactoryError
        A list is missing or empty, or a patient stands in both.
    """
    tested = _patients(test, patients)
    trained = _patients(others, patients) if others else None
    if both := sorted(tested & (trained or set())):
        more = f" and {len(both) - 1} more" if len(both) > 1 else ""
        raise VitalFactoryError(
            f"patient {both[0]}{more} stands in {test} and in {others}; whoever is tested on must not be trained on"
        )
    return Official(frozenset(tested), None if trained is None else frozenset(trained))


def _patients(file: Path, patients: Mapping[str, str]) -> set[str]:
    try:
        names = file.read_text(encoding="utf-8-sig").split()
    except FileNotFoundError:
        raise VitalFactoryError(f"{file}: no such file") from None
    except UnicodeDecodeError:
        raise VitalFactoryError(f"{file}: not UTF-8 text; expected the name of an image on each line") from None
    if not names:
        raise VitalFactoryError(f"{file}: empty; expected the name of an image on each line")
    return {patients.get(_id_of(name)) or patient_of(name) for name in names}


def weigh(findings: Mapping[str, Sequence[str]], method: str) -> dict[str, float]:
    """Weigh each finding by the images that have it.

    Parameters
    ----------
    findings : mapping of str to sequence of str
        Training image to its findings.
    method : {'none', 'double', 'log'}

    Returns
    -------
    dict of str to float
        Finding to its weight: 1; 2 for each but ``no finding``; or ln(1 + N / n), where n of the N images have it,
        and at least 1.
    """
    if method == "double":
        return {finding: 1.0 if finding == NO_FINDING else 2.0 for finding in FINDINGS}
    counts = Counter(finding for found in findings.values() for finding in found)
    weights = dict.fromkeys(FINDINGS, 1.0)
    if method == "log":
        weights |= {finding: max(1.0, math.log(1 + len(findings) / n)) for finding, n in counts.items()}
    return weights
