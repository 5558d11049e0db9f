"""Label files of chest X-rays: every form they come in, and what is wrong with some."""

import csv
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.signals.xrays import HEADERS, NIH, write_images, write_nih
from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.signals.cxr import (
    FINDINGS,
    NO_FINDING,
    Described,
    LeftOut,
    Radiograph,
    label_file,
    parse_findings,
    patient_of,
    radiographs,
    read_official,
)

NAMES = ["00000001_000.png", "00000001_001.png", "00000002_000.png"]
FOUND = {NAMES[0]: "No Finding", NAMES[1]: "Cardiomegaly|Effusion", NAMES[2]: "Pleural_Thickening|Mass"}


def read(file: Path, *folders: Path) -> tuple[list[Described], list[LeftOut]]:
    items = list(radiographs([file], folders or [file.parent]))
    described = [item.about for item in items if isinstance(item, Radiograph)]
    return described, [item for item in items if isinstance(item, LeftOut)]


def write_json(folder: Path, value: Any, *, images: bool = True) -> Path:
    if images:
        write_images(folder, NAMES)
    folder.mkdir(exist_ok=True)
    (folder / "xrays.json").write_text(json.dumps(value), encoding="utf-8")
    return folder / "xrays.json"


@pytest.mark.parametrize("release", HEADERS)
def test_a_csv_of_either_release(tmp_path: Path, release: str) -> None:
    described, left_out = read(write_nih(tmp_path, FOUND, release=release))
    assert described == [
        Described("00000001_000", "1", ("no finding",), "PA", 50, "F"),
        Described("00000001_001", "1", ("cardiomegaly", "effusion"), "AP", 51, "M"),
        Described("00000002_000", "2", ("mass", "pleural thickening"), "PA", 52, "F"),
    ]
    assert left_out == []


def test_a_compressed_csv_says_the_same(tmp_path: Path) -> None:
    file = write_nih(tmp_path, FOUND)
    plain = read(file)
    packed = tmp_path / "Data_Entry_2017.csv.gz"
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + file.read_bytes()))
    assert read(packed) == plain


@pytest.mark.parametrize(
    ("text", "age"),
    [("58", 58), ("058Y", 58), ("009M", 0), ("012D", 0), ("0", 0), ("414", None), ("", None), ("?", None)],
)
def test_ages(tmp_path: Path, text: str, age: int | None) -> None:
    write_images(tmp_path, NAMES[:1])
    file = tmp_path / "sample_labels.csv"
    file.write_text(f"{HEADERS['2017']}\n{NAMES[0]},Mass,0,1,{text},X,,1,2,3,4\n", encoding="utf-8")
    [described], _ = read(file)
    assert (described.age, described.sex, described.view) == (age, None, None)


@pytest.mark.parametrize(
    ("line", "reason", "detail"),
    [
        (f"{NAMES[0]},Efusion,0,1", "unknown finding", "'efusion', did you mean 'effusion'?"),
        (f"{NAMES[0]},No Finding|Mass,0,1", "contradictory findings", "no finding beside mass"),
        (f"{NAMES[0]},|,0,1", "no finding is named", ""),
        (f"{NAMES[0]},Mass,0,", "incomplete line", "line 2 has no patient"),
        (f"{NAMES[0]}", "incomplete line", "line 2 has no findings"),
        ("00000009_000.png,Mass,0,9", "image not at hand", ""),
        ("../00000001_000.png,Mass,0,9", "outside the folder", "../00000001_000.png"),
        ("..,Mass,0,9", "image not at hand", ""),
    ],
)
def test_a_line_that_cannot_be_used_says_why(tmp_path: Path, line: str, reason: str, detail: str) -> None:
    folder = tmp_path / "set"
    write_images(folder, NAMES[:1])
    write_images(tmp_path, NAMES[:1])
    file = folder / "Data_Entry_2017.csv"
    file.write_text(f"{HEADERS['2020']}\n{line}\n", encoding="utf-8")
    described, left_out = read(file)
    assert described == []
    assert (left_out[0].reason, left_out[0].detail) == (reason, detail)


@pytest.mark.parametrize(
    ("header", "error"),
    [
        ("Image Index,Patient ID", r"no column 'Finding Labels'; its columns are Image Index, Patient ID"),
        ("Image Index,Finding Label,Patient ID", r"no column 'Finding Labels', did you mean 'finding label'\?"),
        ("", r"no column 'Image Index'; its columns are none"),
    ],
)
def test_a_csv_without_a_needed_column(tmp_path: Path, header: str, error: str) -> None:
    write_images(tmp_path, NAMES)
    (tmp_path / "labels.csv").write_text(f"{header}\n", encoding="utf-8")
    with pytest.raises(VitalFactoryError, match=rf"labels\.csv: {error}"):
        read(tmp_path / "labels.csv")


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("a.csv", "Größe".encode("latin-1"), "not UTF-8 text"),
        ("a.csv.gz", b"no gzip", "not a whole gzip file"),
        ("a.csv.gz", gzip.compress(b"Image Index\n" * 999, mtime=0)[:40], "not a whole gzip file"),
        ("a.json", b"[{]", "not valid JSON"),
        ("a.json", b"3\n", "expected a JSON object, found int"),
        ("a.txt", b"", r"expected a label file that ends in \.csv, \.csv\.gz, \.json or \.jsonl"),
        ("a.csv", b"x" * 200_000, "not valid CSV"),
    ],
)
def test_a_file_that_is_no_label_file(tmp_path: Path, name: str, content: bytes, error: str) -> None:
    write_images(tmp_path, NAMES)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VitalFactoryError, match=error):
        read(tmp_path / name)


NUMBERS = [0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 1]
LISTED = ["emphysema", "infiltration", "pleural thickening", "pneumothorax"]


@pytest.mark.parametrize("lines", [False, True])
def test_json_as_a_list_and_as_lines(tmp_path: Path, lines: bool) -> None:
    rows = [
        {"id": "a", "image_path": f"images_001/images/{NAMES[0]}", "disease_labels": NUMBERS, "disease_names": LISTED},
        {"id": "b", "image_path": f"elsewhere/{NAMES[1]}", "disease_labels": NUMBERS},
        {"id": "c", "image_path": NAMES[2], "disease_names": ["no finding"]},
    ]
    file = write_json(tmp_path, rows)
    if lines:
        file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    described, left_out = read(file)
    assert left_out == []
    assert [(one.id, one.group, list(one.findings)) for one in described] == [
        ("00000001_000", "1", LISTED),
        ("00000001_001", "1", LISTED),
        ("00000002_000", "2", ["no finding"]),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"image_path": f"../{NAMES[0]}", "disease_names": ["mass"]}, "outside the folder"),
        ({"image_path": f"/etc/{NAMES[0]}", "disease_names": ["mass"]}, "outside the folder"),
        ({"image_path": f"images_001/images/\0{NAMES[0]}", "disease_names": ["mass"]}, "image not at hand"),
        ({"image_path": f"images_001/{'x' * 5000}/y.png", "disease_names": ["mass"]}, "image not at hand"),
        ({"image_path": "elsewhere/view1.png", "disease_names": ["mass"]}, "image not at hand"),
        ({"image_path": NAMES[0], "disease_names": "mass"}, "malformed labels"),
        ({"image_path": NAMES[0], "disease_labels": [1, 0]}, "malformed labels"),
        ({"image_path": NAMES[0], "disease_labels": [2] * 15}, "malformed labels"),
        ({"image_path": NAMES[0], "disease_labels": NUMBERS, "disease_names": ["mass"]}, "labels and names differ"),
        ({"image_path": NAMES[0], "disease_labels": [0] * 15}, "no finding is named"),
        ({"image_path": NAMES[0]}, "no finding is named"),
        ({"image_path": 3, "disease_names": ["mass"]}, "no image is named"),
        ({"disease_names": ["mass"]}, "no image is named"),
        ([], "not an object"),
    ],
)
def test_a_json_row_that_cannot_be_used_says_why(tmp_path: Path, row: Any, reason: str) -> None:
    folder = tmp_path / "set"
    write_images(tmp_path, NAMES)
    described, left_out = read(write_json(folder, [row]))
    assert described == []
    assert left_out[0].reason == reason


def test_images_that_are_not_named_as_nihs_are_known_by_their_paths(tmp_path: Path) -> None:
    rows = []
    for patient in ("patient1", "patient2"):
        place = f"{patient}/study1/view1.png"
        (tmp_path / place).parent.mkdir(parents=True)
        write_images(tmp_path / patient, ["x.png"])
        next((tmp_path / patient).rglob("x.png")).rename(tmp_path / place)
        rows.append({"image_path": place, "disease_names": ["mass"], "patient_id": patient})
    described, _ = read(write_json(tmp_path, rows, images=False))
    assert [(one.id, one.group) for one in described] == [
        ("patient1_study1_view1", "patient1"),
        ("patient2_study1_view1", "patient2"),
    ]


def test_an_image_without_a_label_is_told(tmp_path: Path) -> None:
    file = write_nih(tmp_path, {NAMES[0]: "Mass"}, images=False)
    write_images(tmp_path, NAMES)
    _, left_out = read(file)
    assert [(one.id, one.reason) for one in left_out] == [
        (NAMES[2], "image without a label"),
        (NAMES[1], "image without a label"),
    ]


@given(st.sets(st.sampled_from([name for name in FINDINGS if name != NO_FINDING]), min_size=1), st.randoms())
def test_findings_come_back_from_what_nih_writes_of_them(findings: set[str], random: Any) -> None:
    written = [name.title().replace(" ", "_") for name in findings]
    random.shuffle(written)
    found = parse_findings("|".join(written).split("|"))
    assert set(found) == findings
    assert list(found) == sorted(found)


def test_the_vocabulary_is_in_the_order_of_the_earlier_labels() -> None:
    assert list(FINDINGS) == sorted(FINDINGS)
    assert len(FINDINGS) == 15
    assert parse_findings(["No Finding"]) == (NO_FINDING,)
    with pytest.raises(UnusableRecord, match="no finding is named"):
        parse_findings([])


@pytest.mark.parametrize(
    ("name", "patient"),
    [("00000013_005.png", "13"), ("a/b/00000013_005.png", "13"), ("scan.png", "scan"), ("p1/scan.png", "p1_scan")],
)
def test_the_patient_of_a_name(name: str, patient: str) -> None:
    assert patient_of(name) == patient


def test_the_label_file_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match="no label file; name the one to use"):
        label_file(tmp_path)
    (tmp_path / "notes.csv").touch()
    (tmp_path / "sample_labels.csv").touch()
    assert label_file(tmp_path) == tmp_path / "sample_labels.csv"
    (tmp_path / "Data_Entry_2017_v2020.csv.gz").touch()
    with pytest.raises(VitalFactoryError, match=r"2 label files \(Data_Entry_2017_v2020\.csv\.gz, sample_labels"):
        label_file(tmp_path)
    with pytest.raises(VitalFactoryError, match=r"none\.csv: no such file"):
        list(radiographs([label_file(tmp_path / "none.csv")], [NIH.parent]))


def write_list(path: Path, names: list[str]) -> Path:
    path.write_text("\n".join([*names, ""]), encoding="utf-8")
    return path


def test_the_official_lists_name_patients(tmp_path: Path) -> None:
    test = write_list(tmp_path / "test_list.txt", ["00000001_000.png", "scan.jpg"])
    others = write_list(tmp_path / "train_val_list.txt", ["00000002_000.png"])
    official = read_official(test, others, {"scan": "7"})
    assert official.test == {"1", "7"}
    assert official.others == {"2"}
    assert read_official(test, None, {}).others is None


def test_a_patient_in_both_official_lists_is_refused(tmp_path: Path) -> None:
    test = write_list(tmp_path / "test_list.txt", ["00000001_000.png", "00000003_000.png"])
    others = write_list(tmp_path / "train_val_list.txt", ["00000001_001.png", "00000003_004.png"])
    with pytest.raises(
        VitalFactoryError, match=r"patient 1 and 1 more stands in .*test_list.* and in .*train_val_list"
    ):
        read_official(test, others, {})


@pytest.mark.parametrize(
    ("content", "error"), [(None, "no such file"), (b"", "empty; expected"), (b"\xff\xfe", "not UTF-8 text")]
)
def test_an_official_list_that_is_none(tmp_path: Path, content: bytes | None, error: str) -> None:
    path = tmp_path / "test_list.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VitalFactoryError, match=error):
        read_official(path, None, {})


def test_the_real_images_have_the_labels_of_the_csv() -> None:
    if not NIH.is_dir():
        pytest.skip(f"no real chest X-rays: {NIH} is absent")
    items = list(radiographs([label_file(NIH)], [NIH]))
    found = [item for item in items if isinstance(item, Radiograph)]
    assert len({item.about.id for item in found}) == len(found) == 803
    reasons = Counter(item.reason for item in items if isinstance(item, LeftOut))
    assert reasons == {"image not at hand": 112_120 - 803, "smaller copy of an image": 9}
    with (NIH / "labels.csv").open(encoding="utf-8", newline="") as stream:
        rows = {row["image_index"]: row["finding_labels"] for row in csv.DictReader(stream)}
    counted = Counter(name.lower().replace("_", " ") for names in rows.values() for name in names.split("|"))
    assert Counter(finding for item in found for finding in item.about.findings) == counted
    larger = {item.path.name: item.path.parent.name for item in found}
    assert all(larger[path.name] == "images_full" for path in (NIH / "images_full").iterdir())
