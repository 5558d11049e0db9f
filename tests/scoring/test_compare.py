"""eval/compare.py: tables, paired differences, and a refusal of runs that cannot be compared."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.scoring.conftest import MakeRun
from vitalfactory.card import Card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_json, write_json


@pytest.fixture
def compare(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("compare")


@pytest.fixture
def judged(make_run: MakeRun, script: Callable[[str], ModuleType]) -> Callable[..., Path]:
    judge = script("classify").judge

    def make(name: str, **made: object) -> Path:
        folder = make_run(name, **made)
        judge(folder)
        return folder

    return make


def test_runs_stand_side_by_side(
    compare: ModuleType, judged: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [judged("weak", seed=1, skill=0.1), judged("strong", seed=2, skill=3.0)]
    compare.main([*map(str, runs), "--json"])
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["Run", "Model", "AUROC"]
    assert lines[1].split()[:3] == ["majority", "class", "always"]
    assert "0.500" in lines[1]
    assert lines[2].startswith("weak            tiny <model>")
    assert compare.SYNTHETIC in lines
    told = json.loads(last)
    assert [run["run"] for run in told["runs"]] == ["weak", "strong"]
    auroc = told["differences"][0]
    assert (auroc["run"], auroc["against"], auroc["figure"], auroc["excludes_0"]) == ("strong", "weak", "auroc", True)
    assert [row["figure"] for row in told["differences"]] == ["auroc", "f1"]
    by_hand = [read_json(run / "metrics.json")["figures"]["auroc"]["value"] for run in runs]
    assert auroc["difference"]["value"] == pytest.approx(by_hand[1] - by_hand[0])
    # The parse rate is that of the answers in free text.
    assert told["runs"][0]["free_text"]["parse_rate"]["value"] == 39 / 40
    free = read_json(runs[0] / "metrics.json")["free_text"]["figures"]["f1"]
    assert told["runs"][0]["free_text"]["f1"] == free


def test_a_run_does_not_differ_from_itself(compare: ModuleType, judged: Callable[..., Path]) -> None:
    found = compare.compare([judged("one"), judged("twin")])["differences"]
    assert [row["difference"] for row in found] == [{"value": 0, "low": 0, "high": 0}] * 2
    assert [row["excludes_0"] for row in found] == [False, False]


def test_pairing_narrows_the_interval(compare: ModuleType, judged: Callable[..., Path]) -> None:
    first, other = judged("one", seed=1, skill=0.5), judged("two", seed=1, skill=0.6)
    difference = compare.compare([first, other])["differences"][0]["difference"]
    alone = read_json(first / "metrics.json")["figures"]["auroc"]
    assert difference["high"] - difference["low"] < alone["high"] - alone["low"]


def test_markdown_is_a_table(compare: ModuleType, judged: Callable[..., Path]) -> None:
    text = compare.compare([judged("a|b")], markdown=True)["text"]
    head, rule, usual, line, *rest = text.splitlines()
    assert head.startswith("| Run | Model | AUROC | F1 | Sensitivity | Specificity | F1 in free text | Parsed |")
    assert rule == "|---|---|---|---|---|---|---|---|"
    assert usual.startswith("| majority class | always ")
    assert line.startswith("| a\\|b |")
    assert rest == ["", compare.SYNTHETIC]


def test_chosen_figures_are_shown_and_compared(compare: ModuleType, judged: Callable[..., Path]) -> None:
    told = compare.compare([judged("one"), judged("two", seed=2)], ["mcc", "kappa"])
    assert told["text"].splitlines()[0].split()[:5] == ["Run", "Model", "MCC", "Cohen's", "kappa"]
    assert [row["figure"] for row in told["differences"]] == ["mcc", "kappa"]


def test_a_run_without_free_text_has_no_parse_rate(compare: ModuleType, judged: Callable[..., Path]) -> None:
    told = compare.compare([judged("one", text=False)])
    assert told["text"].splitlines()[2].split()[-2:] == ["-", "-"]
    assert told["runs"][0]["free_text"]["parse_rate"]["value"] is None


def test_many_labels_are_compared_by_macro_f1(
    compare: ModuleType, judged: Callable[..., Path], stage_card: Card
) -> None:
    told = compare.compare([judged("one", card=stage_card), judged("two", card=stage_card, seed=2)])
    assert [row["figure"] for row in told["differences"]] == ["auroc", "macro_f1"]


def test_figures_that_a_run_lacks_are_left_out(
    compare: ModuleType, judged: Callable[..., Path], tmp_path: Path
) -> None:
    first, other = judged("one"), judged("two", seed=2)
    (other / "predictions.jsonl").unlink()
    compare.read_judged(first)
    metrics = read_json(other / "metrics.json")
    write_json(other / "metrics.json", metrics | {"answered": "generations", "threshold": None})
    assert [row["figure"] for row in compare.compare([first, other])["differences"]] == ["f1"]


def test_runs_of_other_datasets_are_refused(compare: ModuleType, judged: Callable[..., Path]) -> None:
    first, other = judged("one"), judged("two")
    metrics = read_json(other / "metrics.json")
    metrics["manifest"]["dataset_sha256"]["test"] = "other"
    write_json(other / "metrics.json", metrics)
    with pytest.raises(VitalFactoryError, match=r"two was judged on another dataset than .*one"):
        compare.compare([first, other])


def test_an_unjudged_run_says_what_to_do(compare: ModuleType, make_run: MakeRun) -> None:
    with pytest.raises(VitalFactoryError, match=r"holds no metrics.json; run python eval/classify.py"):
        compare.main([str(make_run())])


def test_an_unknown_figure_is_named(compare: ModuleType) -> None:
    with pytest.raises(VitalFactoryError, match="--figures aucroc: no such figure, did you mean 'auroc'"):
        compare.main(["run", "--figures", "aucroc"])


def test_the_others_are_compared_with_the_run_that_is_named(compare: ModuleType, judged: Callable[..., Path]) -> None:
    runs = [judged("one", seed=1), judged("two", seed=2), judged("three", seed=3)]
    found = compare.compare(runs, ["auroc"], runs[1])["differences"]
    assert [(row["run"], row["against"]) for row in found] == [("one", "two"), ("three", "two")]
    with pytest.raises(VitalFactoryError, match=r"--against .*four: not one of the runs .*one, .*two"):
        compare.compare(runs[:2], against=runs[0].parent / "four")
