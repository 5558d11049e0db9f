"""eval/multilabel.py from a made run, or from LLaMA-Factory's output, to its files, its page and eval/compare.py."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.scoring.conftest import ROOT, MakeRun
from tests.scoring.test_report import EVIL, Balanced
from tests.scoring.xray_runs import COUNT, FEW, NORMAL, make_data, make_rows, make_run
from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import read_json, read_jsonl, write_json, write_jsonl
from vitalfactory.predictions import read_predictions
from vitalfactory.scoring.taken import take_over


class WithPictures(Balanced):
    """Allows pictures that are held in the page itself."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "img":
            return super().handle_starttag(tag, attrs)
        self.seen.add(tag)
        assert str(dict(attrs)["src"]).startswith("data:image/jpeg;base64,")


@pytest.fixture
def multilabel(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("multilabel")


@pytest.fixture
def compare(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("compare")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data" / "xrays")


def page_of(folder: Path) -> str:
    text = (folder / "report.html").read_text(encoding="utf-8")
    parser = WithPictures()
    parser.feed(text)
    assert parser.open == []
    assert parser.seen.isdisjoint({"script", "link"})
    assert "NaN" not in text
    return text


def test_a_run_of_probabilities_is_judged(
    multilabel: ModuleType, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run(tmp_path / "results" / "head", data)
    multilabel.main([str(folder), "--json"])
    *table, last = capsys.readouterr().out.splitlines()
    metrics = read_json(folder / "metrics.json")
    assert json.loads(last) == metrics
    assert (metrics["run"], metrics["answered"], metrics["rows"], metrics["groups"]) == ("head", "predictions", 24, 12)
    assert (metrics["thresholds_from"], metrics["threshold"], metrics["free_text"]) == ("val", None, None)
    assert set(metrics["thresholds"]) == set(metrics["per_class"]) == set(FEW)
    assert metrics["majority"]["label"] == NORMAL
    assert metrics["notes"] == []
    assert list(metrics["parts"]) == ["view", "sex", "age"]
    assert table[0] == "head: test, 24 images of 12 groups"
    assert any(line.startswith("  Mean AUROC of the findings  ") and line.endswith("0.500") for line in table)
    assert any(line.startswith("  effusion    0.") for line in table)
    assert table[-2].strip() == "synthetic images: these figures say nothing about patients"
    with (tmp_path / "results" / "metrics.csv").open(encoding="utf-8", newline="") as stream:
        (line,) = csv.DictReader(stream)
    assert float(line["auroc_low"]) <= float(line["auroc"]) <= float(line["auroc_high"])
    judged = read_predictions(folder / "findings.jsonl")
    least = metrics["thresholds"]
    for row in judged:
        assert row.probabilities is not None
        assert row.parsed == [label for label in FEW if row.probabilities[label] >= least[label]]


def test_the_page_shows_everything_and_stands_alone(multilabel: ModuleType, data: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", data)
    multilabel.judge(folder)
    text = page_of(folder)
    for part in (
        "tiny &lt;model&gt;",
        "Synthetic images: these figures say nothing about patients",
        "each label from its own threshold",
        "always no finding",
        "Calibration, with the rows in each bin",
        "Confusion matrices",
        "By view, sex and age",
        "Wrong answers",
        "Right answers",
        "Not a medical device",
    ):
        assert part in text
    assert text.count("<img src=") > 5
    assert text.count("<h3>") >= len(FEW) + 1
    multilabel.judge(folder)
    assert page_of(folder) == text, "the same run gives the same page"


def test_a_run_of_texts_is_judged(multilabel: ModuleType, data: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", data, text=True)
    multilabel.main([str(folder)])
    metrics = read_json(folder / "metrics.json")
    assert (metrics["answered"], metrics["thresholds_from"]) == ("generations", "none: free text")
    figures = {name: figure["value"] for name, figure in metrics["figures"].items()}
    assert figures["parse_rate"] == pytest.approx(5 / 6)
    assert figures["subset_accuracy"] == pytest.approx(3 / 6)
    # Of six images' seven labels, four were said, and one that is not there.
    assert figures["micro_f1"] == pytest.approx(2 * 4 / (7 + 5))
    assert figures["auroc"] is None
    assert metrics["free_text"]["figures"]["micro_f1"] == metrics["figures"]["micro_f1"]
    mentions = {state: count // (COUNT // 6) for state, count in metrics["free_text"]["mentions"].items()}
    assert mentions == {"present": 5, "uncertain": 1, "absent": 1}
    text = page_of(folder)
    for part in ("effusion and &lt;b&gt;mass", "not readable", "Unread, there", "no areas under curves", "4 uncertain"):
        assert part in text
    unread = [row for row in read_predictions(folder / "findings.jsonl") if row.unread]
    assert len(unread) == COUNT // 6


def test_probabilities_and_texts_of_one_run_stand_in_one_report(
    multilabel: ModuleType, data: Path, tmp_path: Path
) -> None:
    folder = make_run(tmp_path / "run", data)
    other = make_run(tmp_path / "other", data, text=True)
    (folder / "generations.jsonl").write_bytes((other / "generations.jsonl").read_bytes())
    multilabel.main([str(folder)])
    metrics = read_json(folder / "metrics.json")
    assert metrics["answered"] == "predictions"
    assert metrics["free_text"]["parse_rate"]["value"] == pytest.approx(5 / 6)
    assert "The same model in free text" in page_of(folder)


def test_one_question_a_finding_and_all_at_once_come_to_the_same(
    multilabel: ModuleType, compare: ModuleType, data: Path, tmp_path: Path
) -> None:
    listed = make_run(tmp_path / "results" / "list", data)
    asked = make_run(tmp_path / "results" / "asked", make_data(tmp_path / "asked" / "xrays", asked=True), asked=True)
    for folder in (listed, asked):
        multilabel.judge(folder)
    one, other = (read_json(folder / "metrics.json") for folder in (listed, asked))
    assert one["figures"] == other["figures"]
    assert one["thresholds"] == other["thresholds"]
    assert one["parts"] == other["parts"]
    found = compare.compare([listed, asked])
    assert [row["figure"] for row in found["differences"]] == ["auroc", "micro_f1", "macro_f1", "micro_f1_findings"]
    assert {row["difference"]["value"] for row in found["differences"]} == {0}
    assert (found["mcnemar"][0]["only_run"], found["mcnemar"][0]["only_against"]) == (0, 0)


def test_runs_are_compared_over_the_same_patients(
    multilabel: ModuleType, compare: ModuleType, data: Path, tmp_path: Path
) -> None:
    runs = [
        make_run(tmp_path / "results" / "weak", data, seed=1, skill=0.0),
        make_run(tmp_path / "results" / "strong", data, seed=2, skill=0.8),
        make_run(tmp_path / "results" / "text", data, text=True),
    ]
    for folder in runs:
        multilabel.judge(folder)
    found = compare.compare(runs)
    head, constant, *_ = found["text"].splitlines()
    assert head.split("  ")[:1] == ["Run"]
    assert "Mean AUROC of the findings" in head
    assert constant.startswith("majority class  always no finding")
    auroc = next(row for row in found["differences"] if (row["run"], row["figure"]) == ("strong", "auroc"))
    by_hand = [read_json(folder / "metrics.json")["figures"]["auroc"]["value"] for folder in runs[:2]]
    assert auroc["difference"]["value"] == pytest.approx(by_hand[1] - by_hand[0])
    assert auroc["excludes_0"] is True
    of_text = {row["figure"] for row in found["differences"] if row["run"] == "text"}
    assert of_text == {"micro_f1", "macro_f1", "micro_f1_findings"}, "a text has no areas under curves"
    assert "Parsed" in head
    told = compare.compare(runs, ["f1:mass", "hamming_loss"])
    assert [row["figure"] for row in told["differences"]][:2] == ["f1:mass", "hamming_loss"]
    (runs[0] / "metrics.json").unlink()
    with pytest.raises(VitalFactoryError, match=r"weak: holds no metrics.json; run python eval/multilabel.py"):
        compare.compare(runs)


def test_everything_from_outside_is_escaped(multilabel: ModuleType, data: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", data, text=True)
    rows = list(read_jsonl(folder / "generations.jsonl"))
    evil = EVIL.replace("\ud800", "")
    write_jsonl(folder / "generations.jsonl", [{**row, "text": evil, "parsed": None} for row in rows])
    write_json(folder / "run.json", {**read_json(folder / "run.json"), "model": evil})
    card = read_json(folder / "card.json")
    write_json(folder / "card.json", {**card, "question": [evil], "name": evil})
    multilabel.judge(folder)
    assert "<script" not in page_of(folder)


def test_a_dataset_that_is_gone_leaves_figures_without_parts_and_pictures(
    multilabel: ModuleType, data: Path, tmp_path: Path
) -> None:
    folder = make_run(tmp_path / "run", data)
    before = multilabel.judge(folder)
    data.rename(tmp_path / "moved")
    after = multilabel.judge(folder)
    assert after["figures"] == before["figures"]
    assert after["parts"] == {}
    assert any("is not there: ids and labels were not checked" in note for note in after["notes"])
    assert "<img" not in page_of(folder)


def test_a_broken_picture_is_left_out(multilabel: ModuleType, data: Path, tmp_path: Path) -> None:
    for path in (data / "images").iterdir():
        path.write_bytes(b"no picture")
    folder = make_run(tmp_path / "run", data)
    multilabel.judge(folder)
    assert "<img" not in page_of(folder)


def test_labels_that_no_image_has_are_named(multilabel: ModuleType, data: Path, tmp_path: Path) -> None:
    card = read_json(data / "card.json")
    for split in ("val", "test"):
        rows = [
            {**row, "labels": [NORMAL if label == "nodule" else label for label in row["labels"]]}
            for row in make_rows(split, False)
        ]
        write_jsonl(data / f"{split}.jsonl", rows)
    write_json(data / "card.json", card)
    folder = make_run(tmp_path / "run", data)
    for name in ("predictions.jsonl", "predictions_val.jsonl"):
        changed = [
            {**row, "label": [NORMAL if label == "nodule" else label for label in row["label"]]}
            for row in read_jsonl(folder / name)
        ]
        write_jsonl(folder / name, changed)
    metrics = multilabel.judge(folder)
    assert metrics["notes"] == [
        "all images or none have nodule: no AUROC, and left out of its mean",
        "no validation image has nodule: the threshold is 0.5",
    ]


def change_rows(path: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    rows = list(read_jsonl(path))
    change(rows)
    write_jsonl(path, rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.pop(3), "1 of 24 rows of the dataset are missing, first 'test003'"),
        (lambda rows: rows[3].update(id="other"), "1 of 24 rows of the dataset are missing"),
        (lambda rows: rows[3].update(group="x"), "row 'test003' has the group 'x'"),
        (lambda rows: rows[3].update(label=["nodule"]), r"row 'test003' has the label \['nodule'\]"),
        (lambda rows: rows[3].update(label=["gout"]), "row 'test003': label 'gout' is not one of the 4 names"),
        (lambda rows: rows[3].update(probabilities={"mass": 1}), "row 'test003': probabilities are of mass; expected"),
        (lambda rows: rows[3].update(probabilities=None), "1 of 24 rows have no probabilities"),
        (lambda rows: rows[3].pop("parsed"), ":4: parsed: Field required"),
        (lambda rows: rows.clear(), "holds no rows"),
    ],
)
def test_a_run_that_is_incomplete_or_wrong_is_an_error(
    change: Callable[[list[dict[str, Any]]], object], message: str, multilabel: ModuleType, data: Path, tmp_path: Path
) -> None:
    folder = make_run(tmp_path / "run", data)
    change_rows(folder / "predictions.jsonl", change)
    with pytest.raises(VitalFactoryError, match=message):
        multilabel.judge(folder)
    assert not (folder / "metrics.json").exists()


def test_what_is_no_run_of_findings_is_an_error(
    multilabel: ModuleType, data: Path, tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(multilabel.main, [str(tmp_path / "nowhere")])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(VitalFactoryError, match="of the kind 'classify'; expected 'multilabel'"):
        multilabel.judge(make_run())
    with pytest.raises(VitalFactoryError, match="go together"):
        multilabel.main([str(tmp_path), "--data", str(data)])


def test_a_run_without_answers_says_what_to_do(multilabel: ModuleType, data: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", data)
    (folder / "predictions.jsonl").unlink()
    with pytest.raises(VitalFactoryError, match=r"holds no answers to test; run eval/generate\.py"):
        multilabel.judge(folder)
    assert multilabel.judge(folder, "val")["thresholds_from"] == "none: 0.5", "val chooses nothing for itself"
    assert (folder / "report_val.html").is_file()
    assert (folder / "findings_val.jsonl").is_file()


def test_a_run_of_a_few_questions_has_no_whole_image(multilabel: ModuleType, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", make_data(tmp_path / "asked" / "xrays", asked=True), asked=True)
    limit(folder, 6)
    metrics = multilabel.judge(folder)
    assert metrics["rows"] == 1
    assert "predictions (test): 1 images, not asked about every label, are left out" in metrics["notes"]
    limit(folder, 3)
    with pytest.raises(VitalFactoryError, match="no image was asked about each of the 4 labels"):
        multilabel.judge(folder)


def limit(folder: Path, rows: int) -> None:
    """Make a run one of the first rows alone, as --limit does."""
    manifest = read_json(folder / "run.json")
    write_json(folder / "run.json", {**manifest, "decoding": {"predictions": {"limit": rows}}})
    for name in ("predictions.jsonl", "predictions_val.jsonl"):
        write_jsonl(folder / name, list(read_jsonl(folder / name))[:rows])


def write_generated(path: Path, rows: list[dict[str, Any]], texts: list[str]) -> Path:
    lines = [
        {
            "prompt": f"<|vision_start|><|image_pad|><|vision_end|>{row['messages'][0]['content'][7:]}",
            "predict": text,
            "label": row["messages"][1]["content"],
        }
        for row, text in zip(rows, texts, strict=True)
    ]
    write_jsonl(path, lines)
    return path


def test_a_run_is_made_of_what_llamafactory_wrote(multilabel: ModuleType, data: Path, tmp_path: Path) -> None:
    rows = make_rows("test", False)
    texts = [row["messages"][1]["content"] if place % 2 else "hm" for place, row in enumerate(rows)]
    file = write_generated(tmp_path / "generated_predictions.jsonl", rows, texts)
    folder = tmp_path / "results" / "taken"
    multilabel.main(
        [str(folder), "--generated-predictions", str(file), "--data", str(data), "--model-name", "Qwen2-VL"]
    )
    metrics = read_json(folder / "metrics.json")
    assert metrics["figures"]["parse_rate"]["value"] == 0.5
    assert metrics["figures"]["subset_accuracy"]["value"] == 0.5
    assert metrics["manifest"]["model"] == "Qwen2-VL"
    with pytest.raises(VitalFactoryError, match="the order is not the dataset's"):
        take_over(tmp_path / "x", write_generated(file, rows[::-1], texts), data, "test", "x", "multilabel")


def test_verdicts_that_llamafactory_wrote_are_taken_over(multilabel: ModuleType, tmp_path: Path) -> None:
    data = make_data(tmp_path / "asked" / "xrays", asked=True)
    rows = make_rows("test", True)
    texts = [row["messages"][1]["content"].title() if place else "I do not know" for place, row in enumerate(rows)]
    file = write_generated(tmp_path / "generated_predictions.jsonl", rows, texts)
    folder = tmp_path / "results" / "taken"
    multilabel.main([str(folder), "--generated-predictions", str(file), "--data", str(data)])
    metrics = read_json(folder / "metrics.json")
    assert metrics["rows"] == COUNT
    assert metrics["figures"]["parse_rate"]["value"] == pytest.approx(1 - 1 / len(rows))
    assert metrics["figures"]["subset_accuracy"]["value"] == pytest.approx(1 - 1 / COUNT)
    assert metrics["free_text"]["mentions"] is None


def test_other_data_is_not_taken_over(data: Path, tmp_path: Path) -> None:
    card = read_json(data / "card.json")
    write_json(data / "card.json", {**card, "kind": "diagnosis"})
    with pytest.raises(VitalFactoryError, match="of the kind 'diagnosis'; expected 'multilabel'"):
        take_over(tmp_path / "run", tmp_path / "x.jsonl", data, "test", "x", "multilabel")


def test_help_is_quick_and_needs_nothing() -> None:
    command = [sys.executable, "-X", "importtime", str(ROOT / "eval" / "multilabel.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--generated-predictions" in done.stdout
    assert not {"numpy", "torch", "pydantic", "PIL"} & {
        line.rpartition("|")[2].strip() for line in done.stderr.splitlines()
    }
