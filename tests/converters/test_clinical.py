"""Notes and labels become rows: how they find one another, what is left out and why, and answers that always parse."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters import clinical
from vitalfactory.card import SPLITS, read_card
from vitalfactory.dataset.build import Summary
from vitalfactory.dataset.example import Entry
from vitalfactory.diagnosis import Diagnosis, Synonyms, normalise, read_answer
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT, read_jsonl, write_jsonl

RECIPE = ROOT / "train_configs" / "clinical_smollm2_lora.yaml"
NOTES = [{"id": number, "feature_content": f"主诉：咳嗽{number}天。查体：右下肺湿啰音。"} for number in range(1, 21)]
LABELS = [{"id": number, "diseases": "肺炎, 支气管炎", "reason": '咳嗽，"湿啰音"\n阳性'} for number in range(1, 21)]


def convert(root: Path, **arguments: Any) -> Summary:
    return clinical.convert(**{"recipe": RECIPE, "root": root, "workers": 1, "language": "zh", **arguments})


def files(folder: Path, notes: list[dict[str, Any]], labels: list[dict[str, Any]]) -> dict[str, Path]:
    write_jsonl(folder / "notes.jsonl", notes)
    write_jsonl(folder / "labels.jsonl", labels)
    return {"input": folder / "notes.jsonl", "labels": folder / "labels.jsonl"}


def rows_of(summary: Summary) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for split in SPLITS for row in read_jsonl(summary.folder / f"{split}.jsonl")}


def test_a_row_asks_and_answers(tmp_path: Path) -> None:
    summary = convert(tmp_path, **files(tmp_path, NOTES, LABELS))
    rows = rows_of(summary)
    assert len(rows) == 20
    assert summary.excluded == {}
    row = rows["3"]
    assert row["input"] == "主诉：咳嗽3天。查体：右下肺湿啰音。"
    assert row["labels"] == ["支气管炎", "肺炎"]
    assert json.loads(row["output"]) == {"diseases": ["肺炎", "支气管炎"], "reason": '咳嗽，"湿啰音"\n阳性'}
    assert row["stated"] is False
    card = read_card(summary.folder)
    assert (card.kind, card.labels, card.answers) == ("diagnosis", ["支气管炎", "肺炎"], {})
    assert (card.longest_note, card.model_written) == (clinical.LONGEST_NOTE, None)
    assert summary.splits["train"].labels == {"支气管炎": 16, "肺炎": 16}


REASONS: list[tuple[str, dict[str, Any], dict[str, Any] | None]] = [
    ("no note", {"id": 99}, None),
    ("no id", {"feature_content": "x"}, None),
    ("empty note", {"id": 99, "feature_content": "  "}, None),
    ("not labelled", {"id": 99, "feature_content": "主诉：头痛。"}, None),
    ("repeated note", NOTES[0], None),
    ("no disease", {"id": 99, "feature_content": "主诉：头痛。"}, {"id": 99, "diseases": " , "}),
    ("no disease", {"id": 99, "feature_content": "主诉：头痛。"}, {"id": 99, "diseases": []}),
    ("the teacher failed", {"id": 99, "feature_content": "主诉：头痛。"}, {"id": 99, "state": "failed"}),
    ("the teacher was not asked", {"id": 99, "feature_content": "主诉：头痛。"}, {"id": 99, "state": "refused"}),
    ("label not clear", {"id": 1, "feature_content": "主诉：头痛。"}, None),
    ("same content as a row of another split", {"id": 99, "feature_content": NOTES[0]["feature_content"]}, None),
]


@pytest.mark.parametrize(("reason", "note", "label"), REASONS)
def test_what_is_left_out_is_counted_under_its_reason(
    tmp_path: Path, reason: str, note: dict[str, Any], label: dict[str, Any] | None
) -> None:
    labels = [*LABELS, *([label] if label else [])]
    if reason.startswith("same content"):
        labels.append({"id": 99, "diseases": "头痛", "reason": ""})
        folds = tmp_path / "folds"
        folds.mkdir()
        for fold, names in enumerate((range(1, 15), range(15, 20), (20, 99))):
            (folds / f"cv{fold}.csv").write_text("\n".join(["id", *map(str, names)]), encoding="utf-8")
        summary = convert(tmp_path, **files(tmp_path, [*NOTES, note], labels), folds=folds, val_fold=1, test_fold=2)
        assert summary.excluded == {reason: 1}
        return
    summary = convert(tmp_path, **files(tmp_path, [*NOTES, note], labels))
    expected = {"label not clear": {reason: 2}}.get(reason, {reason: 1})
    assert summary.excluded == expected


def test_a_label_without_a_note_is_counted(tmp_path: Path) -> None:
    summary = convert(tmp_path, **files(tmp_path, NOTES, [*LABELS, {"id": 99, "diseases": "头痛", "reason": ""}]))
    assert summary.excluded == {"label without a note": 1}


def test_an_id_that_repeats_stays_in_one_split(tmp_path: Path) -> None:
    twice = [{**row, "feature_content": f"{row['feature_content']}复诊。"} for row in NOTES]
    whole = [
        {**note, **label, "model": "qwen2.5-72b"} for note, label in zip([*NOTES, *twice], LABELS * 2, strict=True)
    ]
    write_jsonl(tmp_path / "taught.jsonl", whole)
    summary = convert(tmp_path, labels=tmp_path / "taught.jsonl")
    rows = rows_of(summary)
    assert len(rows) == 40
    assert len({row["group"] for row in rows.values()}) == 20
    assert all(name.startswith(f"{row['group']}-") for name, row in rows.items())
    assert read_card(summary.folder).model_written == "qwen2.5-72b"


def test_labels_that_carry_their_notes_go_by_both(tmp_path: Path) -> None:
    other = {"id": 1, "feature_content": "主诉：腹痛。"}
    labels = [{**note, **label} for note, label in zip(NOTES, LABELS, strict=True)]
    labels.append({**other, "diseases": "阑尾炎", "reason": "腹痛"})
    rows = rows_of(convert(tmp_path, **files(tmp_path, [other, *NOTES], labels)))
    assert len(rows) == 21
    assert [row["labels"] for row in rows.values() if row["input"] == "主诉：腹痛。"] == [["阑尾炎"]]


def test_a_diagnosis_that_a_note_states_is_marked_or_cut(tmp_path: Path) -> None:
    notes = [*NOTES[1:], {"id": 1, "feature_content": "主诉：咳嗽。\n初步诊断：肺炎。\n"}]
    given = files(tmp_path, notes, LABELS)
    assert [row["stated"] for row in rows_of(convert(tmp_path, **given)).values()].count(True) == 1
    cut = rows_of(convert(tmp_path, **given, strip_diagnosis=True))
    assert not any(row["stated"] for row in cut.values())
    assert "肺炎" not in cut["1"]["input"]


def test_a_long_note_is_shortened_and_its_answer_is_whole(tmp_path: Path) -> None:
    endless = {"id": 1, "feature_content": "主诉：咳嗽。现病史：" + "反复发热，伴咳痰。" * 12000}
    rows = rows_of(convert(tmp_path, **files(tmp_path, [endless, *NOTES[1:]], LABELS), longest_note=300))
    assert len(rows["1"]["input"]) <= 300
    assert rows["1"]["input"].startswith("主诉：咳嗽。")
    assert rows["1"]["output"] == rows["2"]["output"]


def test_synonyms_are_said_by_the_name_they_are_known_by(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("社区获得性肺炎,肺炎,CAP\n", encoding="utf-8")
    labels = [{**row, "diseases": ["肺炎", "ＣＡＰ"]} for row in LABELS]
    rows = rows_of(convert(tmp_path, **files(tmp_path, NOTES, labels), synonyms=tmp_path / "names.csv"))
    assert rows["1"]["labels"] == ["社区获得性肺炎"]
    assert json.loads(rows["1"]["output"])["diseases"] == ["社区获得性肺炎"]


names = st.lists(st.text(min_size=1).filter(lambda text: normalise(text) and text.strip()), min_size=1, max_size=4)


@settings(max_examples=300)
@given(names, st.text())
def test_every_target_parses_to_what_went_in(diseases: list[str], reason: str) -> None:
    one = clinical.Labelled("1", "note", Diagnosis(diseases=diseases, reason=reason))
    (example,) = clinical._examples("en", None, 100, Synonyms(), False, Entry("1", "1", None, one))
    read = read_answer(example.columns["output"])
    assert read.how == "valid"
    assert read.diagnosis is not None
    assert read.diagnosis.reason == reason
    assert [normalise(name) for name in read.diagnosis.diseases] == list(dict.fromkeys(map(normalise, diseases)))
    assert "\n" not in example.columns["output"]


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "no labels; give --labels FILE"),
    ({"synthetic": 0}, "--synthetic 0: expected at least 1"),
    ({"synthetic": 5, "labels": Path("x")}, "give --labels with or without --input, or --synthetic"),
    ({"labels": Path("nowhere.jsonl")}, "nowhere.jsonl: no such file"),
    ({"synthetic": 5, "longest_note": 0}, "--longest-note 0: expected at least 1"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_what_is_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(VitalFactoryError, match=message):
        convert(tmp_path, **arguments)


def test_what_is_no_json_is_named_by_its_line(tmp_path: Path) -> None:
    given = files(tmp_path, NOTES, LABELS)
    with given["input"].open("a", encoding="utf-8") as stream:
        stream.write("{not json\n")
    with pytest.raises(VitalFactoryError, match=r"notes\.jsonl:21: not valid JSON"):
        convert(tmp_path, **given)
    assert not (tmp_path / "data" / "clinical").exists()
