"""eval/classify.py from a made run to metrics.json, metrics.csv and report.html."""

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.scoring.conftest import ROOT, MakeRun, make_rows
from vitalfactory.card import Card
from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import read_json, write_json, write_jsonl
from vitalfactory.scoring.taken import disagreement


@pytest.fixture
def classify(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("classify")


def test_a_run_is_judged(classify: ModuleType, make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run()
    classify.main([str(folder), "--json"])
    *table, last = capsys.readouterr().out.splitlines()
    metrics = read_json(folder / "metrics.json")
    assert json.loads(last) == metrics
    assert (metrics["run"], metrics["split"], metrics["answered"]) == ("one", "test", "predictions")
    assert (metrics["rows"], metrics["groups"], metrics["threshold_from"]) == (40, 20, "val")
    assert metrics["free_text"]["parse_rate"]["value"] == 39 / 40
    assert metrics["majority"]["label"] == "no AF"
    assert metrics["manifest"] == read_json(folder / "run.json")
    assert metrics["notes"] == []
    assert any(line.split()[0] == "AUROC" and line.split()[-1] == "0.500" for line in table)
    assert "report.html" in table[-1]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert 'aria-label="recording"' in page
    assert "tiny &lt;model&gt;" in page


def test_the_table_of_runs_has_one_line_a_run(classify: ModuleType, make_run: MakeRun, tmp_path: Path) -> None:
    for name in ("one", "two", "one"):
        classify.main([str(make_run(name))])
    with (tmp_path / "results" / "metrics.csv").open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [line["run"] for line in lines] == ["one", "two"]
    assert float(lines[0]["auroc_low"]) <= float(lines[0]["auroc"]) <= float(lines[0]["auroc_high"])
    classify.main([str(make_run("one")), "--csv", str(tmp_path / "other.csv")])
    assert (tmp_path / "other.csv").exists()


def test_test_labels_do_not_move_the_threshold(classify: ModuleType, make_run: MakeRun) -> None:
    folder = make_run(text=False)
    before = classify.judge(folder)
    path = folder / "predictions.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    write_jsonl(path, [row | {"label": "AF" if row["label"] == "no AF" else "no AF"} for row in rows])
    manifest = read_json(folder / "run.json")
    write_json(folder / "run.json", manifest | {"dataset_dir": "gone"})
    after = classify.judge(folder)
    assert after["threshold"] == before["threshold"]
    assert after["figures"]["auroc"]["value"] == pytest.approx(1 - before["figures"]["auroc"]["value"])
    assert "is not there" in after["notes"][0]


def test_without_val_the_threshold_is_half(classify: ModuleType, make_run: MakeRun) -> None:
    folder = make_run()
    (folder / "predictions_val.jsonl").unlink()
    metrics = classify.judge(folder)
    assert (metrics["threshold"], metrics["threshold_from"]) == (0.5, "none: 0.5")


def test_free_text_alone_is_judged(classify: ModuleType, make_run: MakeRun) -> None:
    folder = make_run()
    (folder / "predictions.jsonl").unlink()
    metrics = classify.judge(folder)
    assert (metrics["answered"], metrics["threshold_from"]) == ("generations", "none: free text")
    assert metrics["figures"]["auroc"]["value"] is None
    assert metrics["confusion"]["counts"][0][-1] == 1


def test_five_stages_are_judged(classify: ModuleType, make_run: MakeRun, stage_card: Card) -> None:
    metrics = classify.judge(make_run(card=stage_card))
    assert metrics["threshold_from"] == "none: most probable label"
    assert set(metrics["per_class"]) == set(stage_card.labels)


def test_the_challenges_score_is_shown(
    classify: ModuleType, make_run: MakeRun, cinc_card: Card, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run(card=cinc_card)
    classify.main([str(folder)])
    shown = capsys.readouterr().out
    metrics = read_json(folder / "metrics.json")
    each = [metrics["per_class"][label]["f1"]["value"] for label in ("N", "A", "O")]
    figure = metrics["figures"]["mean_f1_scored"]
    assert figure["value"] == pytest.approx(sum(each) / 3)
    assert figure["low"] < figure["value"] < figure["high"]
    lines = {line.split("  ")[1] for line in shown.splitlines() if line.startswith("  ")}
    assert {"Mean F1 of N, A, O", "F1 of N", "F1 of A", "F1 of O", "F1 of ~"} <= lines
    assert "Mean F1 of N, A, O" in (folder / "report.html").read_text(encoding="utf-8")
    assert metrics["free_text"]["figures"]["mean_f1_scored"]["value"] is not None


def shorten(folder: Path, rows: int) -> None:
    path = folder / "predictions.jsonl"
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:rows]), encoding="utf-8")


def test_missing_rows_are_an_error_unless_the_run_was_limited(classify: ModuleType, make_run: MakeRun) -> None:
    folder = make_run(text=False)
    shorten(folder, 30)
    with pytest.raises(
        VitalFactoryError, match=r"10 of 40 rows of the dataset are missing, first 'test030'.*score.py again"
    ):
        classify.judge(folder)
    manifest = read_json(folder / "run.json")
    write_json(folder / "run.json", manifest | {"dataset_dir": "gone"})
    with pytest.raises(VitalFactoryError, match=r"10 of 40 test rows are missing"):
        classify.judge(folder)
    write_json(folder / "run.json", manifest | {"decoding": {"predictions": {"limit": 30}}})
    (folder / "predictions_val.jsonl").unlink()
    metrics = classify.judge(folder)
    assert metrics["rows"] == 30
    assert metrics["notes"] == ["predictions (test): the first 30 of 40 rows only, by --limit"]


def test_a_changed_dataset_is_noted(classify: ModuleType, make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run()
    path = tmp_path / "data" / "made" / "test.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert "has changed since the run was made" in classify.judge(folder)["notes"][0]


def with_row(folder: Path, **changes: Any) -> None:
    path = folder / "predictions.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows[3] |= changes
    write_jsonl(path, rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "elsewhere"}, "1 of 40 rows of the dataset are missing"),
        ({"label": "AF"}, "row 'test003' has the label 'AF'; the dataset has 'no AF'"),
        ({"group": "x"}, "row 'test003' has the group 'x'"),
        ({"id": "test002"}, "id 'test002' stands twice"),
        ({"probabilities": {"AF": 1.0}}, "probabilities are of AF"),
        ({"extra": 1}, "predictions.jsonl:4: extra"),
    ],
)
def test_bad_predictions_are_one_line_and_exit_code_2(
    changes: dict[str, Any],
    message: str,
    classify: ModuleType,
    make_run: MakeRun,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = make_run()
    with_row(folder, **changes)
    with pytest.raises(SystemExit) as stopped:
        run(classify.main, [str(folder)])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.count("\n") == 1
    assert message in error
    assert not (folder / "metrics.json").exists()


def test_a_folder_without_a_run_is_an_error(classify: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match=r"holds no run \(run.json\)"):
        classify.main([str(tmp_path)])


def generated(card: Card, split: str = "test") -> list[dict[str, str]]:
    """Answer as LLaMA-Factory's do_predict writes it: no ids, the prompt in the template's words."""
    texts = ["AF", "No AF.", "hm"]
    return [
        {
            "prompt": f"system\nuser\n{row['instruction']}\n{row['input']}\nassistant\n",
            "predict": texts[place % 3],
            "label": f"{row['output']}\n",
        }
        for place, row in enumerate(make_rows(card, split, 40))
    ]


def test_generated_predictions_become_a_run(
    classify: ModuleType, make_dataset: Callable[[Card], Path], ecg_card: Card, tmp_path: Path
) -> None:
    data, file, folder = (
        make_dataset(ecg_card),
        tmp_path / "generated_predictions.jsonl",
        tmp_path / "results" / "taken",
    )
    write_jsonl(file, generated(ecg_card))
    arguments = [str(folder), "--generated-predictions", str(file), "--data", str(data), "--model-name", "mine"]
    for _ in range(2):
        classify.main(arguments)
    metrics = read_json(folder / "metrics.json")
    assert (metrics["answered"], metrics["rows"], metrics["manifest"]["model"]) == ("generations", 40, "mine")
    assert metrics["parse_rate"]["value"] == 27 / 40
    assert (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("place", "changes", "message"),
    [
        (None, {}, "39 lines, .* has 40"),
        (4, {"label": "no AF"}, r"jsonl:5: its label is not the row's output"),
        (6, {"prompt": "another"}, r"jsonl:7: the prompt does not hold the row's input \(row 'test006'"),
        (2, {"predict": None}, r"jsonl:3: expected a text under 'predict'"),
    ],
)
def test_generated_predictions_of_another_dataset_are_an_error(
    place: int | None,
    changes: dict[str, Any],
    message: str,
    classify: ModuleType,
    make_dataset: Callable[[Card], Path],
    ecg_card: Card,
    tmp_path: Path,
) -> None:
    lines: list[dict[str, Any]] = [*generated(ecg_card)]
    if place is None:
        lines.pop()
    else:
        lines[place] |= changes
    file = tmp_path / "generated_predictions.jsonl"
    write_jsonl(file, lines)
    arguments = [str(tmp_path / "taken"), "--generated-predictions", str(file), "--data", str(make_dataset(ecg_card))]
    with pytest.raises(VitalFactoryError, match=message):
        classify.main(arguments)
    assert not (tmp_path / "taken").exists()


def test_turns_of_a_conversation_are_joined_too() -> None:
    row = {"messages": [{"role": "user", "content": "<image>What is it?"}, {"role": "assistant", "content": "AF"}]}
    assert disagreement({"prompt": "x What  is it?", "predict": "", "label": "AF"}, row) is None


def test_generated_predictions_need_the_dataset(classify: ModuleType) -> None:
    with pytest.raises(VitalFactoryError, match="go together"):
        classify.main(["run", "--generated-predictions", "file"])


@pytest.mark.parametrize(
    "name", ["classify", "compare", "free_text", "wordings", "score", "generate", "diagnosis", "smooth"]
)
def test_help_is_quick(name: str) -> None:
    start = time.perf_counter()
    subprocess.run([sys.executable, str(ROOT / "eval" / f"{name}.py"), "--help"], check=True, capture_output=True)
    loaded = [sys.executable, "-X", "importtime", str(ROOT / "eval" / f"{name}.py"), "--help"]
    imports = subprocess.run(loaded, check=True, capture_output=True, text=True).stderr
    assert "numpy" not in imports
    assert "pydantic" not in imports
    assert time.perf_counter() - start < 5


def test_another_split_leaves_the_figures_of_test_alone(make_run: MakeRun, script: Callable[[str], ModuleType]) -> None:
    run = make_run()
    judge = script("classify").judge
    judge(run)
    before = (run / "metrics.json").read_bytes()
    judge(run, "val")
    assert (run / "metrics.json").read_bytes() == before
    assert read_json(run / "metrics_val.json")["split"] == "val"
    assert (run / "report_val.html").is_file()
    assert [line.split(",")[0] for line in (run.parent / "metrics.csv").read_text().splitlines()] == [
        "run",
        "one",
        "one (val)",
    ]


def test_an_empty_validation_split_is_none(
    make_run: MakeRun, script: Callable[[str], ModuleType], ecg_card: Card
) -> None:
    run = make_run()
    card = read_json(run / "card.json")
    card["splits"]["val"]["rows"] = 0
    write_json(run / "card.json", card)
    (run / "predictions_val.jsonl").write_text("")
    assert script("classify").judge(run)["threshold_from"] == "none: 0.5"
