"""converters/ecg.py from end to end: the same bytes each time, every source row accounted for, errors for people."""

import csv
import json
import shutil
import zipfile
from collections import Counter
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from converters import ecg
from tests.signals.cinc import header_text, write_cinc, write_record, write_reference
from vitalfactory import errors
from vitalfactory.card import SPLITS, read_card
from vitalfactory.dataset.build import Summary
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT, read_json, read_jsonl, sha256
from vitalfactory.signals.ecg_synthetic import make

Row = dict[str, Any]


def convert(folder: Path | None, root: Path, **options: Any) -> Summary:
    return ecg.convert(input=folder, **{"root": root, "workers": 1, **options})


def rows_of(root: Path, split: str, name: str = "ecg") -> list[Row]:
    return list(read_jsonl(root / "data" / name / f"{split}.jsonl"))


def all_rows(root: Path, name: str = "ecg") -> list[Row]:
    return [row for split in SPLITS for row in rows_of(root, split, name)]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def converted(cinc_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convert the forty made records with nothing but the defaults."""
    root = tmp_path_factory.mktemp("root")
    convert(cinc_folder, root)
    return root


def test_what_a_conversion_leaves(converted: Path) -> None:
    folder = converted / "data" / "ecg"
    names = {"train.jsonl", "val.jsonl", "test.jsonl", "card.json", "README.md", "excluded.jsonl", "previews.jsonl"}
    assert {path.name for path in folder.iterdir()} == names
    left = {path.name for path in folder.parent.iterdir()}
    assert left == {"ecg", ".ecg.lock", ".registry.lock"}
    card = read_card(folder)
    for split in SPLITS:
        rows = rows_of(converted, split)
        assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
        assert card.splits[split].rows == len(rows)
        assert card.splits[split].groups == len({row["group"] for row in rows})
        assert card.splits[split].labels == dict(sorted(Counter(row["label"] for row in rows).items()))
        assert card.splits[split].sha256 == sha256(folder / f"{split}.jsonl")
    assert len(all_rows(converted)) == 40
    assert card.source.version.startswith("labels of a part of the set, REFERENCE.csv ")
    assert not card.source.synthetic


def test_a_row(converted: Path, cinc_folder: Path) -> None:
    labels = dict(csv.reader((cinc_folder / "REFERENCE.csv").read_text().splitlines()))
    for row in all_rows(converted):
        assert list(row) == ["id", "group", "instruction", "input", "output", "label", "features"]
        assert row["id"] == row["group"]
        assert row["output"] == row["label"] == ("AF" if labels[row["id"]] == "A" else "no AF")
        assert row["instruction"] in ecg.task().questions["en"]
        assert row["input"].startswith("Rate ")
        assert row["input"].count("\n") == 1


def test_previews_are_of_test_rows(converted: Path) -> None:
    previews = list(read_jsonl(converted / "data" / "ecg" / "previews.jsonl"))
    assert [preview["id"] for preview in previews] == [row["id"] for row in rows_of(converted, "test")]
    for preview in previews:
        assert set(preview) == {"id", "fs", "unit", "scale", "trace"}
        assert (preview["fs"], preview["unit"]) == (100.0, "mV")
        assert len(preview["trace"]) == 1000
        assert 0.3 < preview["scale"] * max(preview["trace"]) < 3


@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_command_gives_the_same_bytes(
    cinc_folder: Path, converted: Path, tmp_path: Path, workers: int
) -> None:
    convert(cinc_folder, tmp_path, workers=workers)
    first = contents(tmp_path)
    assert first == contents(converted)
    convert(cinc_folder, tmp_path, workers=workers)
    assert contents(tmp_path) == first


def test_the_order_of_the_source_changes_no_row(own_cinc: Path, converted: Path, tmp_path: Path) -> None:
    reference = own_cinc / "REFERENCE.csv"
    write_reference(own_cinc, reversed(list(csv.reader(reference.read_text().splitlines()))), "record,label", "\r\n")
    convert(own_cinc, tmp_path)
    for split in SPLITS:
        assert rows_of(tmp_path, split) == rows_of(converted, split)


def test_another_seed_is_another_split(cinc_folder: Path, converted: Path, tmp_path: Path) -> None:
    convert(cinc_folder, tmp_path, seed=1)
    assert {row["id"] for row in rows_of(tmp_path, "test")} != {row["id"] for row in rows_of(converted, "test")}
    by_id = {row["id"]: row for row in all_rows(converted)}
    assert all(by_id[row["id"]] == row for row in all_rows(tmp_path))


def test_a_default_conversion_leaves_the_tracked_registry_as_it_is(cinc_folder: Path, tmp_path: Path) -> None:
    tracked = (ROOT / "dataset_info.json").read_bytes()
    (tmp_path / "dataset_info.json").write_bytes(tracked)
    convert(cinc_folder, tmp_path, limit=5)
    assert (tmp_path / "dataset_info.json").read_bytes() == tracked


def test_own_entries_stay(cinc_folder: Path, tmp_path: Path) -> None:
    own = '{"mine":   {"file_name": "mine.json"}}'
    (tmp_path / "dataset_info.json").write_text(own)
    convert(cinc_folder, tmp_path, limit=5, name="ecg_2")
    text = (tmp_path / "dataset_info.json").read_text()
    assert text.startswith('{"mine":   {"file_name": "mine.json"},\n  "ecg_2_train": {')
    assert set(json.loads(text)) == {"mine", "ecg_2_train", "ecg_2_val", "ecg_2_test"}


def test_a_broken_registry_stops_a_conversion_before_it_begins(
    cinc_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ecg, "_examples", lambda *_: pytest.fail("a record was read"))
    (tmp_path / "dataset_info.json").write_text("{broken")
    with pytest.raises(VitalFactoryError, match="not valid JSON"):
        convert(cinc_folder, tmp_path)
    assert (tmp_path / "dataset_info.json").read_text() == "{broken"
    assert {path.name for path in (tmp_path / "data").iterdir()} == {".ecg.lock"}


def spoil(folder: Path) -> int:
    """Give a folder a record of every fault; return the lines of its reference."""
    signal = make("N", np.random.default_rng(1), 10.0)
    (folder / "A00001.mat").write_bytes((folder / "A00001.mat").read_bytes()[:99])
    (folder / "A00002.hea").write_text(header_text("A00002", 10**12))
    (folder / "A00003.hea").unlink()
    write_record(folder, "A00004", np.zeros(3000))
    write_record(folder, "A00005", signal[:1000])
    shutil.copy(folder / "A00006.mat", folder / "A00007.mat")
    rows = list(csv.reader((folder / "REFERENCE.csv").read_text().splitlines()))
    rows += [["A00000", "A"], ["../A00000", "N"], ["A90001", "~"], ["A90002", "X"], ["A90003", ""], ["A90004", "N"]]
    write_reference(folder, rows)
    return len(rows)


FAULTS = {
    "unreadable": 2,
    "no such record": 2,
    "flat": 1,
    "too short": 1,
    "duplicate record": 1,
    "outside the folder": 1,
    "noisy (~)": 1,
    "unknown label": 2,
}


@pytest.mark.parametrize("split", ["80/10/10", "100/0/0", "0/50/50"])
def test_every_source_row_becomes_a_row_or_one_exclusion(own_cinc: Path, tmp_path: Path, split: str) -> None:
    lines = spoil(own_cinc)
    summary = convert(own_cinc, tmp_path, split=split)
    same = summary.excluded.get("same content as a row of another split", 0)
    assert {**FAULTS, **({"same content as a row of another split": 1} if same else {})} == summary.excluded
    assert len(all_rows(tmp_path)) + sum(summary.excluded.values()) == lines
    listed = list(read_jsonl(tmp_path / "data" / "ecg" / "excluded.jsonl"))
    assert Counter(item["reason"] for item in listed) == Counter(summary.excluded)
    assert read_card(tmp_path / "data" / "ecg").excluded == dict(sorted(summary.excluded.items()))
    huge = next(item for item in listed if item["id"] == "A00002")
    assert "claims 1000000000000 samples" in huge["detail"]


def test_the_same_recording_under_two_names_stays_in_one_split(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    signal = make("A", np.random.default_rng(1), 10.0)
    for number in range(20):
        write_record(folder, f"A{number:05d}", signal)
    write_reference(folder, [(f"A{number:05d}", "A") for number in range(20)])
    summary = convert(folder, tmp_path, split="50/25/25")
    assert sum(part.rows > 0 for part in summary.splits.values()) == 1
    assert summary.excluded == {"same content as a row of another split": 20 - len(all_rows(tmp_path))}


def test_max_bad(own_cinc: Path, tmp_path: Path) -> None:
    spoil(own_cinc)
    convert(own_cinc, tmp_path, max_bad=7)
    before = contents(tmp_path)
    with pytest.raises(
        VitalFactoryError, match=r"more than --max-bad 6 records cannot be used; the last one, A\d+: \w+"
    ):
        convert(own_cinc, tmp_path, max_bad=6)
    assert contents(tmp_path) == before


def test_limit(cinc_folder: Path, tmp_path: Path) -> None:
    summary = convert(cinc_folder, tmp_path, limit=12)
    assert len(all_rows(tmp_path)) == 12
    assert summary.excluded == {"over --limit": 28}
    few = {row["id"] for row in all_rows(tmp_path)}
    convert(cinc_folder, tmp_path, limit=20)
    assert few < {row["id"] for row in all_rows(tmp_path)}


def write_folds(folder: Path, *folds: list[str]) -> Path:
    folder.mkdir()
    for number, names in enumerate(folds):
        lines = [f"{place},{name},N" for place, name in enumerate(names)]
        (folder / f"cv{number}.csv").write_text("\n".join([",file_name,label", *lines, ""]))
    return folder


def test_folds(cinc_folder: Path, tmp_path: Path) -> None:
    names = [f"A{number:05d}" for number in range(40)]
    folds = write_folds(tmp_path / "cv", names[:20], names[20:28], names[28:38], ["A77777"])
    summary = convert(cinc_folder, tmp_path, folds=folds, val_fold=1, test_fold=2)
    assert [row["id"] for row in rows_of(tmp_path, "train")] == names[:20]
    assert [row["id"] for row in rows_of(tmp_path, "val")] == names[20:28]
    assert [row["id"] for row in rows_of(tmp_path, "test")] == names[28:38]
    assert summary.excluded == {"in a fold file but not in the source": 1, "in no fold file": 2}
    assert f"--folds {folds} --val-fold 1 --test-fold 2" in read_card(tmp_path / "data" / "ecg").command


def test_folds_of_patients_with_a_limit(own_cinc: Path, tmp_path: Path) -> None:
    """A patient whose records are all over the limit is in the source all the same."""
    (own_cinc / "REFERENCE.csv").unlink()
    lines = [f"A{number:05d},AF,p{number // 2}" for number in range(40)]
    (own_cinc / "labels.csv").write_text("\n".join(["record,label,patient", *lines]))
    patients = [f"p{number}" for number in range(20)]
    folds = write_folds(tmp_path / "cv", patients[:10], patients[10:15], patients[15:])
    summary = convert(own_cinc, tmp_path, folds=folds, val_fold=1, test_fold=2, limit=5)
    assert summary.excluded == {"over --limit": 35}
    assert len(all_rows(tmp_path)) == 5


def test_patients_stay_together(own_cinc: Path, tmp_path: Path) -> None:
    (own_cinc / "REFERENCE.csv").unlink()
    lines = [f"A{number:05d},{'AF' if number % 3 else 'no AF'},p{number % 9}" for number in range(40)]
    (own_cinc / "labels.csv").write_text("\n".join(["record,label,patient", *lines]))
    convert(own_cinc, tmp_path, split="40/30/30")
    groups = [{row["group"] for row in rows_of(tmp_path, split)} for split in SPLITS]
    assert all(groups)
    assert sum(map(len, groups)) == len(set().union(*groups)) == 9
    assert read_card(tmp_path / "data" / "ecg").source.name == "WFDB folder"


@pytest.mark.parametrize(
    ("options", "share"), [({"balance": "blend", "balance_alpha": 0.0}, 0.5), ({"balance": "weighted"}, 0.5)]
)
def test_balance_touches_train_alone(
    cinc_folder: Path, converted: Path, tmp_path: Path, options: dict[str, Any], share: float
) -> None:
    summary = convert(cinc_folder, tmp_path, **options)
    plain, balanced = rows_of(converted, "train"), rows_of(tmp_path, "train")
    assert rows_of(tmp_path, "val") == rows_of(converted, "val")
    assert rows_of(tmp_path, "test") == rows_of(converted, "test")
    assert len(balanced) == len(plain) == summary.splits["train"].rows
    assert summary.splits["train"].labels["AF"] == pytest.approx(share * len(plain), abs=1)
    by_id = {row["id"]: row for row in plain}
    for row in balanced:
        original = by_id[row["id"].partition("+")[0]]
        assert {**row, "id": original["id"]} == original
    left_out = set(by_id) - {row["id"] for row in balanced}
    assert summary.excluded == {"left out by --balance": len(left_out)}
    assert len({row["id"] for row in balanced}) == len(balanced)


def test_the_answer_must_survive_the_cutoff(cinc_folder: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "short.yaml"
    text = (ROOT / "train_configs" / ecg.RECIPE).read_text(encoding="utf-8")
    recipe.write_text(text.replace("cutoff_len: 512", "cutoff_len: 100"), encoding="utf-8")
    with pytest.raises(VitalFactoryError, match=r"40 of 40 rows are longer than cutoff_len 100 of short.yaml .* raise"):
        convert(cinc_folder, tmp_path, recipe=recipe)
    assert {path.name for path in (tmp_path / "data").iterdir()} == {".ecg.lock"}
    assert not (tmp_path / "dataset_info.json").exists()


def test_a_conversion_cut_off_between_its_two_renames_is_mended(cinc_folder: Path, tmp_path: Path) -> None:
    convert(cinc_folder, tmp_path, limit=5)
    before = contents(tmp_path)
    data = tmp_path / "data"
    (data / "ecg").rename(data / ".ecg.old")
    (data / ".ecg.partial").mkdir()
    (data / ".ecg.partial" / "train.jsonl").write_text("half")
    with pytest.raises(VitalFactoryError, match="no such recipe"):
        convert(cinc_folder, tmp_path, recipe=tmp_path / "none.yaml")
    convert_again = {name: content for name, content in contents(tmp_path).items() if ".partial" not in name}
    assert convert_again == before
    convert(cinc_folder, tmp_path, limit=5)
    assert contents(tmp_path) == before


def failure(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run the command line to its error; return that one line."""
    with pytest.raises(SystemExit) as stop:
        errors.run(ecg.main, [str(argument) for argument in arguments])
    assert stop.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--input", "none"], ["none: no such folder", "--input FOLDER", "--synthetic 400", "--download"]),
        (["--input", "empty"], ["holds neither REFERENCE.csv (CinC 2017) nor labels.csv"]),
        (["--input", "noisy"], ["ecg: no row is left; excluded: noisy (~) (2)"]),
        (["--input", "nothing"], ["ecg: no row is left; excluded: nothing was found"]),
        (["--input", "latin"], ["REFERENCE.csv: not UTF-8 text"]),
        (["--input", "noisy", "--recipe", "none.yaml"], ["none.yaml: no such recipe"]),
        (["--input", "noisy", "--name", "raw"], ["raw: is there and is no dataset"]),
        (["--input", "noisy", "--name", "../x"], ["--name '../x'"]),
        (["--input", "noisy", "--split", "1/2/3"], ["--split 1/2/3: the three shares must add up to 100"]),
        (["--input", "noisy", "--folds", "empty"], ["--folds needs --val-fold K and --test-fold K"]),
        (["--input", "noisy", "--folds", "empty", "--val-fold", 1, "--test-fold", 2], ["empty: no fold files"]),
        (["--synthetic", 0], ["--synthetic 0: expected at least 1"]),
        (["--synthetic", 9, "--seed", -1], ["--seed -1: expected 0 or more"]),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else None,
)
def test_errors_are_one_line_that_says_what_to_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[object],
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "noisy", "nothing", "latin", "root/data/raw"):
        (tmp_path / name).mkdir(parents=True)
    write_reference(tmp_path / "noisy", [("A1", "~"), ("A2", "~")])
    write_reference(tmp_path / "nothing", [])
    (tmp_path / "latin" / "REFERENCE.csv").write_bytes("A1,ä".encode("latin-1"))
    line = failure(capsys, *arguments, "--root", "root", "--workers", 1)
    assert line.startswith("error: ")
    assert all(word in line for word in words), line
    assert (tmp_path / "root" / "data" / "raw").is_dir()
    assert not (tmp_path / "root" / "data" / "ecg").exists()


def test_no_recordings_at_the_default_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ecg, "DEFAULT_INPUT", tmp_path / "raw" / "training2017")
    line = failure(capsys, "--root", tmp_path)
    assert all(word in line for word in ("training2017: no such folder", "--input", "--synthetic", "--download"))


def test_arguments_of_the_function_are_checked(tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match=r"--representation waves: expected rhythm, rr, wave, .* 'wave'"):
        ecg.convert(synthetic=5, representation="waves", root=tmp_path)
    with pytest.raises(VitalFactoryError, match="give one of --input, --synthetic and --download"):
        ecg.convert(synthetic=5, input=tmp_path, root=tmp_path)


def test_the_summary_for_machines(cinc_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--input", cinc_folder, "--root", tmp_path, "--workers", 1, "--json"]
    ecg.main([str(argument) for argument in arguments])
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    wanted = {"dataset", "splits", "excluded", "seconds", "records_per_second", "peak_rss_mb"}
    assert wanted <= set(summary)
    assert summary["dataset"] == "ecg"
    assert summary["splits"] == read_json(tmp_path / "data" / "ecg" / "card.json")["splits"]
    assert all(set(part) == {"rows", "groups", "labels", "sha256"} for part in summary["splits"].values())
    assert summary["excluded"] == {}
    assert all(summary[figure] > 0 for figure in ("seconds", "records_per_second", "peak_rss_mb"))


def test_the_summary_for_people(own_cinc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(own_cinc)
    ecg.main(["--input", str(own_cinc), "--root", str(tmp_path), "--workers", "1", "--split", "100/0/0"])
    out = capsys.readouterr().out
    for words in (
        "train       35 rows      35 groups   AF 10, no AF 25",
        "excluded    2: unreadable",
        "of 512 (",
        "records/s",
    ):
        assert words in out


def test_the_synthetic_source_says_so(tmp_path: Path) -> None:
    ecg.convert(synthetic=20, root=tmp_path, workers=1)
    card = read_card(tmp_path / "data" / "ecg")
    assert card.source.synthetic
    assert card.command.startswith("python converters/ecg.py --synthetic 20 ")
    assert "**The records are synthetic" in (tmp_path / "data" / "ecg" / "README.md").read_text()


def test_one_wording_alone(tmp_path: Path) -> None:
    ecg.convert(synthetic=20, root=tmp_path, workers=1, wordings=1, language="zh")
    assert {row["instruction"] for row in all_rows(tmp_path)} == {ecg.task().questions["zh"][0]}
    assert read_card(tmp_path / "data" / "ecg").question == [ecg.task().questions["zh"][0]]


def test_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    site, here = tmp_path / "site", tmp_path / "here"
    write_cinc(site / "training2017", [(f"A{number:05d}", "NAO"[number % 3]) for number in range(12)])
    with zipfile.ZipFile(site / "training2017.zip", "w") as archive:
        for file in sorted((site / "training2017").iterdir()):
            archive.write(file, f"training2017/{file.name}")
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given, directory=str(site))

        def log_message(self, format: str, *args: Any) -> None:
            asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,)).start()
        monkeypatch.setattr(ecg, "DOWNLOAD_URL", f"http://127.0.0.1:{server.server_port}/training2017.zip")
        monkeypatch.setattr(ecg, "DEFAULT_INPUT", here / "raw" / "training2017")
        arguments = ["--download", "--root", str(here), "--workers", "1"]
        try:
            for _ in range(2):
                ecg.main(arguments)
            (here / "raw" / "training2017").rename(here / "moved")
            ecg.main(arguments)
        finally:
            server.shutdown()
    assert asked == ["/training2017.zip"]
    assert len(all_rows(here, "ecg")) == 12
    assert "12 rows" not in capsys.readouterr().err
    assert {path.name for path in (here / "raw").iterdir() if path.name[0] != "."} == {
        "training2017",
        "training2017.zip",
    }


def test_real_recordings(real_ecg: Path, real_folds: Path, tmp_path: Path) -> None:
    summary = convert(real_ecg, tmp_path, folds=real_folds, val_fold=2, test_fold=3, limit=200)
    rows = all_rows(tmp_path)
    lines = len((real_ecg / "REFERENCE.csv").read_text().splitlines())
    assert "in a fold file but not in the source" not in summary.excluded
    assert len(rows) + sum(summary.excluded.values()) == lines
    assert len(rows) >= 195
    assert all(part.rows for part in summary.splits.values())
    groups = [{row["group"] for row in rows_of(tmp_path, split)} for split in SPLITS]
    assert sum(map(len, groups)) == len(set().union(*groups))
    for split, fold in (("val", 2), ("test", 3)):
        names = set((real_folds / f"cv{fold}.csv").read_text().split(","))
        assert all(row["id"] in names for row in rows_of(tmp_path, split))
    assert read_card(tmp_path / "data" / "ecg").source.licence == "ODC-BY 1.0"
