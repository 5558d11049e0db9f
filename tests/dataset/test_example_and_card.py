"""Examples, cards and options: the small contracts between converters and what reads their datasets."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vitalfactory.card import Card, Source, Split, read_card
from vitalfactory.dataset.example import Example, content_of, digest, pick
from vitalfactory.dataset.options import Options
from vitalfactory.dataset.readme import readme
from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.files import write_json

CARD = Card(
    name="ecg",
    task="ecg",
    kind="classify",
    question=["Does this ECG show atrial fibrillation?"],
    labels=["AF", "no AF"],
    positive="AF",
    answers={"AF": "有房颤", "no AF": "没有房颤"},
    synonyms={"AF": ["yes"], "no AF": []},
    language="zh",
    representation="rhythm",
    splits={"train": Split(rows=2, groups=1, labels={"AF": 2}, sha256="0" * 64)},
    excluded={"noisy (~)": 3},
    source=Source(name="set", version="1", licence="ODC-BY 1.0", synthetic=False),
    model_written=None,
    command="python converters/ecg.py --input data/raw/training2017",
    seed=2026,
    versions={"vitalfactory": "0.1.0"},
)


def test_a_card_comes_back_as_it_was(tmp_path: Path) -> None:
    write_json(tmp_path / "card.json", CARD.model_dump())
    assert read_card(tmp_path) == CARD
    assert read_card(tmp_path / "card.json") == CARD


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"kind": "guess"}, "kind: Input should be"),
        ({"positive": "MI"}, "positive label 'MI' is not one of"),
        ({"answers": {"MI": "MI"}}, r"answers names labels that are not in the vocabulary: \['MI'\]"),
        ({"synonyms": {"MI": []}}, "synonyms names labels"),
        ({"splits": {"train": {"rows": 1}}}, r"splits\.train\.groups: Field required"),
    ],
)
def test_a_card_that_does_not_fit(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    write_json(tmp_path / "card.json", {**CARD.model_dump(), **change})
    with pytest.raises(VitalFactoryError, match=words) as error:
        read_card(tmp_path)
    assert "\n" not in str(error.value)


def test_a_card_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match="no such file"):
        read_card(tmp_path)


def test_the_readme_has_a_head_for_the_hub_and_says_what_is_synthetic() -> None:
    _, head, body = readme(CARD).split("---\n", 2)
    parsed = yaml.safe_load(head)
    assert parsed["license_name"] == "ODC-BY 1.0"
    assert parsed["language"] == ["zh"]
    assert parsed["configs"][0]["data_files"] == [{"split": "train", "path": "train.jsonl"}]
    assert "| train | 2 | 1 | 2 | 0 |" in body
    assert "noisy (~): 3" in body
    assert CARD.command in body
    assert "synthetic" not in body
    assert "image" not in body
    assert "image_sha256" in readme(CARD, images=True)
    made = CARD.model_copy(update={"source": CARD.source.model_copy(update={"synthetic": True})})
    assert "no figure from them says anything about patients" in readme(made)


def test_a_row_has_its_columns_in_order_and_short_features() -> None:
    example = Example("r1", "p1", "AF", {"instruction": "?", "input": "x", "output": "AF"}, {"rate": 1.23456789})
    assert example.row() == {
        "id": "r1", "group": "p1", "instruction": "?", "input": "x", "output": "AF", "label": "AF",
        "features": {"rate": 1.23457},
    }  # fmt: skip
    assert list(example.row())[:2] == ["id", "group"]
    assert "label" not in Example("r1", "p1", None, {}).row()


def test_hashes_and_wordings_stay_when_versions_change() -> None:
    assert digest("wording", "A00001") == 9094882156532209083
    assert [pick("abc", f"A{number:05d}") for number in range(8)] == list("aacacabc")


PARTS = st.text(st.characters(exclude_characters="\x1f", exclude_categories=["Cs"]))


@given(st.lists(PARTS, min_size=2, max_size=2, unique=True), PARTS)
def test_parts_do_not_run_together(parts: list[str], other: str) -> None:
    assert digest(*parts) != digest(*reversed(parts))
    assert digest(*parts, other) != digest(*parts)


def test_wordings_come_about_equally_often() -> None:
    counts = Counter(pick(("a", "b", "c"), f"A{number:05d}") for number in range(3000))
    assert all(900 < count < 1100 for count in counts.values())


def test_the_content_of_a_row_is_without_the_wording_of_its_question() -> None:
    assert content_of({"instruction": "one?", "input": "x"}) == content_of({"instruction": "other?", "input": "x"})
    assert content_of({"instruction": "one?", "input": ""}) == "one?"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert content_of({"messages": turns}) == '["a"]'


def pictured(name: str, content: bytes, asked: str = "<image>AF?") -> Example:
    return Example(
        name, name, "AF", {"messages": [{"role": "user", "content": asked}]}, images={f"{name}.png": content}
    )


def test_the_content_of_a_row_with_images_is_that_of_the_images() -> None:
    one = content_of(pictured("a", b"1").row())
    assert one == content_of(pictured("b", b"1", "<image>Is there AF?").row())
    assert one != content_of(pictured("a", b"2").row())
    assert content_of({"input": "AF?", "images": ["a"]}) != content_of({"input": "AF?", "images": ["b"]})


def test_a_row_names_its_images_from_the_root_with_their_hashes() -> None:
    row = pictured("p1/a", b"1").row("data/ecg/images")
    assert row["images"] == ["data/ecg/images/p1/a.png"]
    assert row["image_sha256"] == ["6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"]


@pytest.mark.parametrize("name", ["../x", "a/../x", "/x", "", "a//b", "./a", ".hidden", "a\\b", "a/", "a b", "C:x"])
def test_names_of_images_that_may_lead_out_of_the_folder(name: str) -> None:
    with pytest.raises(UnusableRecord, match="outside the folder"):
        Example("a", "a", "AF", {}, images={name: b""}).row()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, "--name"),
        ({"name": "../x"}, "--name"),
        ({"name": "a b"}, "--name"),
        ({"name": "ä"}, "--name"),
        ({"folds": Path("cv")}, "--folds needs --val-fold K and --test-fold K"),
        ({"folds": Path("cv"), "val_fold": 1}, "--folds needs"),
        ({"test_fold": 1}, "need --folds DIR"),
        ({"balance_alpha": 1.5}, "--balance-alpha"),
        ({"balance_alpha": float("nan")}, "--balance-alpha"),
        ({"workers": 0}, "--workers 0"),
        ({"limit": 0}, "--limit 0"),
        ({"wordings": -1}, "--wordings -1"),
        ({"seed": -1}, "--seed -1"),
        ({"max_bad": -1}, "--max-bad -1"),
    ],
)
def test_options_that_make_no_sense(change: dict[str, Any], words: str) -> None:
    with pytest.raises(VitalFactoryError, match=words):
        Options(**{"name": "ecg", "recipe": Path("x.yaml"), **change})


@pytest.mark.parametrize("name", ["ecg", "ecg_2", "ECG-rr"])
def test_names(name: str) -> None:
    assert Options(name=name, recipe=Path("x.yaml")).name == name


def test_the_flags_of_a_card_decide_its_rows_and_nothing_else_is_told() -> None:
    options = Options(name="x", recipe=Path("x.yaml"), balance="blend", limit=5, workers=3, root=Path("/somewhere"))
    flags = " ".join(options.flags())
    assert flags == "--language en --name x --split 80/10/10 --seed 2026 --balance blend --balance-alpha 0.5 --limit 5"
    folds = Options(name="x", recipe=Path("x.yaml"), folds=Path("cv"), val_fold=1, test_fold=2, balance="weighted")
    assert "--folds cv --val-fold 1 --test-fold 2 --seed 2026 --balance weighted --weight-method inverse" in " ".join(
        folds.flags()
    )
