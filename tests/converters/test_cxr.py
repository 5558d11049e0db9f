"""Chest X-rays become rows: what is asked and answered, which images train how often, and what is left out."""

import csv
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from converters import cxr
from tests.signals.xrays import NIH, png, write_images, write_nih
from vitalfactory.card import SPLITS, read_card
from vitalfactory.dataset.build import Summary
from vitalfactory.dataset.check import Request, check, find
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_jsonl, write_jsonl
from vitalfactory.signals import cxr_image
from vitalfactory.signals.cxr import FINDINGS, NO_FINDING, Described, weigh

NAMES = [f"{patient:08d}_{number:03d}.png" for patient in range(1, 21) for number in range(2)]
FOUND = {name: ("No Finding", "Mass", "Effusion|Mass", "No Finding")[place % 4] for place, name in enumerate(NAMES)}


def convert(root: Path, **arguments: Any) -> Summary:
    return cxr.convert(**{"root": root, "workers": 1, "split": "60/20/20", **arguments})


def rows_of(summary: Summary) -> dict[str, list[dict[str, Any]]]:
    return {split: list(read_jsonl(summary.folder / f"{split}.jsonl")) for split in SPLITS}


def rows_by_id(summary: Summary) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for rows in rows_of(summary).values() for row in rows}


def test_a_row_asks_answers_and_says_who_it_is(tmp_path: Path) -> None:
    write_nih(tmp_path / "set", FOUND)
    summary = convert(tmp_path, input=[tmp_path / "set"])
    rows = rows_by_id(summary)
    assert len(rows) == 40
    assert summary.excluded == {}
    row = rows["00000002_000"]
    asked, answered = row["messages"]
    assert asked["content"].startswith("<image>")
    assert asked["content"].removeprefix("<image>") in cxr.QUESTIONS["list"]["en"]
    assert answered == {"role": "assistant", "content": "effusion, mass"}
    assert row["labels"] == ["effusion", "mass"]
    assert (row["group"], row["view"], row["age"], row["sex"]) == ("2", "PA", 52, "F")
    assert row["images"] == ["data/cxr/images/00000002_000.png"]
    with Image.open(tmp_path / row["images"][0]) as shown:
        assert (shown.mode, max(shown.size)) == ("L", 350)
    card = read_card(summary.folder)
    assert (card.kind, card.labels, card.verdicts, card.normal) == ("multilabel", list(FINDINGS), None, NO_FINDING)
    assert card.source.name == "NIH ChestX-ray14"
    counted = sum((Counter(part.labels) for part in summary.splits.values()), Counter())
    assert counted == {"effusion": 10, "mass": 20, "no finding": 20}


ABOUT = Described("x", "x", ("effusion", "mass"), "PA", 58, "M")
TELLINGS = [
    ("list", "en", ("no finding",), None, "no finding"),
    ("list", "en", ("effusion", "pleural thickening"), None, "effusion, pleural thickening"),
    ("list", "zh", ("effusion", "mass"), None, "胸腔积液、肿块"),
    ("report", "en", ("no finding",), None, "This chest X-ray shows no finding."),
    ("report", "en", ("edema",), None, "This chest X-ray shows edema."),
    ("report", "en", ("edema", "mass", "nodule"), None, "This chest X-ray shows edema, mass and nodule."),
    ("report", "zh", ("no finding",), None, "胸片未见异常。"),
    ("report", "zh", ("hernia",), None, "胸片可见膈疝。"),
    ("report", "zh", ("edema", "mass", "nodule"), None, "胸片可见肺水肿、肿块和结节。"),
    ("yesno", "en", ("edema",), "edema", "yes"),
    ("yesno", "en", ("edema",), "mass", "no"),
    ("yesno", "zh", ("no finding",), "no finding", "是"),
    ("yesno", "zh", ("no finding",), "mass", "否"),
]


@pytest.mark.parametrize(("form", "language", "findings", "asked", "answer"), TELLINGS)
def test_answers(form: str, language: str, findings: tuple[str, ...], asked: str | None, answer: str) -> None:
    assert cxr.Telling(form, language, None, False, 350, False).answer(findings, asked) == answer


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_answer_holds_another(language: str) -> None:
    answers = cxr.ANSWERS[language]
    assert not [(a, b) for a in answers.values() for b in answers.values() if a != b and a in b]


@pytest.mark.parametrize(
    ("language", "about", "told"),
    [
        ("en", ABOUT, "view PA, 58 years old, male"),
        ("zh", ABOUT, "体位PA，58岁，男"),
        ("en", Described("x", "x", ("mass",), None, 0, None), "0 years old"),
        ("en", Described("x", "x", ("mass",), None, None, None), None),
    ],
)
def test_what_is_known_is_told_where_it_is_asked_for(language: str, about: Described, told: str | None) -> None:
    question = cxr.Telling("list", language, 1, True, 350, False).question("x", about, None)
    asked = cxr.QUESTIONS["list"][language][0]
    assert question == (f"<image>{asked}\n{told}" if told else f"<image>{asked}")
    assert cxr.Telling("list", language, 1, False, 350, False).question("x", about, None) == f"<image>{asked}"


def test_yes_or_no_is_asked_of_every_finding(tmp_path: Path) -> None:
    summary = convert(tmp_path, synthetic=12, representation="yesno", pad=True, size=56, wordings=1)
    rows = rows_by_id(summary)
    assert len(rows) == 12 * 15
    card = read_card(summary.folder)
    assert card.verdicts is not None
    assert (card.verdicts.present, card.verdicts.absent) == ("yes", "no")
    images = {row["images"][0] for row in rows.values()}
    assert len(images) == len(list((summary.folder / "images").iterdir())) == 12
    for image in images:
        own = [row for row in rows.values() if row["images"] == [image]]
        assert [row["finding"] for row in own] == list(FINDINGS)
        yes = [row["finding"] for row in own if row["messages"][1]["content"] == "yes"]
        assert yes == [label for row in own for label in row["labels"]]
        assert yes
    row = rows["00000001_000_pleural_thickening"]
    assert row["messages"][0]["content"] == "<image>Does this chest X-ray show pleural thickening?"


def test_the_official_lists_split(tmp_path: Path) -> None:
    write_nih(tmp_path / "set", FOUND)
    (tmp_path / "test.txt").write_text("\n".join(NAMES[:8]), encoding="utf-8")
    (tmp_path / "others.txt").write_text("\n".join(NAMES[8:36]), encoding="utf-8")
    given = {"input": [tmp_path / "set"], "test_list": tmp_path / "test.txt", "split": "80/20/0"}
    summary = convert(tmp_path, **given, train_val_list=tmp_path / "others.txt")
    groups = {split: {row["group"] for row in rows} for split, rows in rows_of(summary).items()}
    assert groups["test"] == {"1", "2", "3", "4"}
    assert groups["train"] | groups["val"] == {str(patient) for patient in range(5, 19)}
    assert not groups["train"] & groups["val"]
    assert groups["val"]
    assert summary.excluded == {"in no official list": 4}
    assert "--test-list" in read_card(summary.folder).command
    summary = convert(tmp_path, **given)
    assert summary.excluded == {}
    assert summary.splits["test"].groups == 4


SETS = st.dictionaries(
    st.integers(0, 60).map(str), st.sets(st.sampled_from(FINDINGS[:6]), min_size=1).map(sorted), max_size=60
)


@given(SETS, st.integers(1, 12), st.integers(0, 3))
def test_a_quota_is_filled_for_every_finding(found: dict[str, list[str]], quota: int, seed: int) -> None:
    chosen = cxr.choose(found, quota, seed)
    there = Counter(finding for findings in found.values() for finding in findings)
    taken = Counter(finding for name in chosen for finding in found[name])
    assert all(taken[finding] >= min(quota, count) for finding, count in there.items())
    if there:
        rare = min(there, key=lambda finding: (there[finding], finding))
        assert taken[rare] == min(quota, there[rare]) or taken[rare] > quota
    assert chosen == cxr.choose(dict(reversed(found.items())), quota, seed)


def test_weights() -> None:
    findings = ["mass", *["edema"] * 4, *[NO_FINDING] * 45]
    found = {str(number): [finding] for number, finding in enumerate(findings)}
    logs = weigh(found, "log")
    assert logs["mass"] == pytest.approx(math.log(51))
    assert logs["edema"] == pytest.approx(math.log(1 + 50 / 4))
    assert logs[NO_FINDING] == 1.0  # ln(1 + 50/45) is less: no row is dropped
    assert logs["hernia"] == 1.0  # which no image has
    assert weigh(found, "double") == {name: 1.0 if name == NO_FINDING else 2.0 for name in FINDINGS}
    assert set(weigh(found, "none").values()) == {1.0}


def test_training_rows_are_repeated_as_often_as_their_weight_says(tmp_path: Path) -> None:
    once = convert(tmp_path, synthetic=200, size=28)
    summary = convert(tmp_path, synthetic=200, size=28, repeat="log", name="cxr_weighted")
    rows, repeated = rows_of(once), rows_of(summary)
    assert [len(repeated[split]) for split in ("val", "test")] == [len(rows[split]) for split in ("val", "test")]
    weights = weigh({row["id"]: row["labels"] for row in rows["train"]}, "log")
    times = Counter(row["id"].partition("+")[0] for row in repeated["train"])
    for row in rows["train"]:
        weight = max(weights[label] for label in row["labels"])
        assert times[row["id"]] in (math.floor(weight), math.ceil(weight))
    expected = sum(max(weights[label] for label in row["labels"]) for row in rows["train"])
    assert abs(times.total() - expected) < 0.15 * expected
    copies = {row["id"]: row for row in repeated["train"]}
    copy = next(row for name, row in copies.items() if name.endswith("+1"))
    assert copy == {**copies[copy["id"][:-2]], "id": copy["id"]}


def test_a_fraction_of_a_weight_is_a_share_of_the_images() -> None:
    times = [cxr._times(2.25, 1, str(number), "mass") for number in range(4000)]
    assert set(times) == {2, 3}
    assert abs(sum(times) / 4000 - 2.25) < 0.03
    assert {cxr._times(2.0, 1, str(number), "mass") for number in range(100)} == {2}


def test_quota_and_balance_touch_train_alone(tmp_path: Path) -> None:
    write_nih(tmp_path / "set", FOUND)
    given: dict[str, Any] = {"input": [tmp_path / "set"], "size": 28}
    whole = convert(tmp_path, **given)
    few = convert(tmp_path, **given, quota=3)
    assert few.splits["test"] == whole.splits["test"]
    assert few.splits["train"].labels["effusion"] >= 3
    assert few.splits["train"].rows < whole.splits["train"].rows
    assert few.excluded == {"over --quota": whole.splits["train"].rows - few.splits["train"].rows}
    even = convert(tmp_path, **given, balance="weighted")
    assert even.splits["train"].rows == whole.splits["train"].rows
    assert even.unbalanced == whole.splits["train"].labels
    assert even.splits["train"].labels["effusion"] > whole.splits["train"].labels["effusion"]


def test_neither_workers_nor_what_was_kept_change_a_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_nih(tmp_path / "set", FOUND)
    first = files(convert(tmp_path, input=[tmp_path / "set"], workers=3))
    assert files(convert(tmp_path, input=[tmp_path / "set"])) == first
    monkeypatch.setattr(cxr_image, "read_grey", None)  # nothing is read again
    assert files(convert(tmp_path, input=[tmp_path / "set"])) == first


def files(summary: Summary) -> dict[Path, bytes]:
    folder = summary.folder
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_bad_images_are_counted_and_stop_nothing(tmp_path: Path) -> None:
    file = write_nih(tmp_path / "set", FOUND)
    paths = sorted((tmp_path / "set").rglob("*.png"), key=lambda path: path.name)
    paths[0].write_bytes(png(60_000, 60_000))
    paths[1].write_bytes(paths[1].read_bytes()[:60])
    paths[2].unlink()
    paths[3].unlink()
    write_images(tmp_path, ["00000077_000.png"])
    paths[3].symlink_to(next(tmp_path.glob("images_*/images/00000077_000.png")))
    text = file.read_text(encoding="utf-8").replace(f"{paths[4].name},Mass", f"{paths[4].name},Masses")
    file.write_text(text.replace(f"{paths[4].name},No Finding", f"{paths[4].name},Nodul"), encoding="utf-8")
    summary = convert(tmp_path, input=[file])
    assert summary.excluded == {
        "image too large": 1,
        "broken image": 1,
        "image not at hand": 1,
        "outside the folder": 1,
        "unknown finding": 1,
    }
    assert sum(part.rows for part in summary.splits.values()) == 35
    told = {row["reason"]: row["detail"] for row in read_jsonl(summary.folder / "excluded.jsonl")}
    assert told["unknown finding"].endswith("did you mean 'nodule'?")
    assert "3600000000 pixels" in told["image too large"]
    with pytest.raises(VitalFactoryError, match="more than --max-bad 1 records cannot be used"):
        convert(tmp_path, input=[file], max_bad=1)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"input": [Path("nowhere")]}, "nowhere: no such file or folder; give --input with NIH's Data_Entry"),
        ({"synthetic": 0}, "--synthetic 0: expected at least 1"),
        ({"synthetic": 9, "images": [Path()]}, "or --synthetic"),
        ({"synthetic": 9, "representation": "lists"}, r"--representation lists: .* did you mean 'list'\?"),
        ({"synthetic": 9, "repeat": "twice"}, "--repeat twice: expected none, double, log"),
        ({"synthetic": 9, "repeat": "log", "balance": "blend"}, "give --repeat or --balance"),
        ({"synthetic": 9, "size": 27}, "--size 27: expected 28 to 2048 pixels"),
        ({"synthetic": 9, "quota": 0}, "--quota 0: expected at least 1"),
        ({"synthetic": 9, "train_val_list": Path("x")}, "--train-val-list needs --test-list"),
        ({"synthetic": 9, "test_list": Path("x")}, "x: no such file"),
        (
            {"synthetic": 9, "test_list": Path("x"), "folds": Path(), "val_fold": 0, "test_fold": 1},
            "give --test-list or --folds",
        ),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, arguments: dict[str, Any], error: str) -> None:
    with pytest.raises(VitalFactoryError, match=error):
        convert(tmp_path, **arguments)


def test_an_answer_that_does_not_say_its_labels_is_found(tmp_path: Path) -> None:
    summary = convert(tmp_path, synthetic=30, size=28)
    folder, registered = find("cxr", tmp_path)
    request = Request(str(folder), registered, str(tmp_path), str(cxr.ROOT / "train_configs" / cxr.RECIPE), "rows")
    assert check(request).problems == []
    rows = rows_of(summary)["val"]
    rows[0]["messages"][1]["content"] += ", hernia"
    write_jsonl(folder / "val.jsonl", rows)
    assert f"val: the output is not its label's answer in {rows[0]['id']}" in check(request).problems


@pytest.mark.slow
def test_the_real_images_convert(tmp_path: Path) -> None:
    if not NIH.is_dir():
        pytest.skip(f"no real chest X-rays: {NIH} is absent")
    summary = convert(tmp_path, input=[NIH], workers=2)
    rows = rows_of(summary)
    with (NIH / "labels.csv").open(encoding="utf-8", newline="") as stream:
        labels = {row["image_index"]: row["finding_labels"] for row in csv.DictReader(stream)}
    named = Counter(name.lower().replace("_", " ") for names in labels.values() for name in names.split("|"))
    assert sum(map(len, rows.values())) == len(labels) == 803
    assert Counter(label for part in rows.values() for row in part for label in row["labels"]) == named
    groups = [{row["group"] for row in part} for part in rows.values()]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 228
    assert summary.excluded == {"image not at hand": 111_317, "smaller copy of an image": 9}
