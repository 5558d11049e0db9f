"""eval/compare.py: tables, paired differences, and a refusal of runs that cannot be compared."""

import json
import shutil
from collections.abc import Callable
from math import comb
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.scoring.conftest import MakeRun
from vitalfactory.card import Card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_json, read_jsonl, write_json, write_jsonl


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
    assert "free text" not in told["text"]
    assert "Parsed" not in told["text"]
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


def test_other_tellings_of_the_same_records_are_compared(compare: ModuleType, judged: Callable[..., Path]) -> None:
    first, other = judged("one"), judged("two", seed=2)
    metrics = read_json(other / "metrics.json")
    metrics["manifest"]["dataset_sha256"]["test"] = "other"
    write_json(other / "metrics.json", metrics)
    write_json(other / "card.json", read_json(other / "card.json") | {"name": "made_rr", "representation": "rr"})
    lines = compare.compare([first, other])["text"].splitlines()
    assert lines[0].split()[:3] == ["Run", "Model", "Dataset"]
    assert "made, rhythm" in lines[2]
    assert "made_rr, rr" in lines[3]


def change_rows(run: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    path = run / "predictions.jsonl"
    rows = list(read_jsonl(path))
    change(rows)
    write_jsonl(path, rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.pop(3), "1 of 40 rows are missing and 0 are others, such as 'test003'"),
        (lambda rows: rows[3].update(id="new"), "1 of 40 rows are missing and 1 are others, such as 'test003'"),
        (lambda rows: rows.append(rows[3] | {"id": "new"}), "0 of 40 rows are missing and 1 are others, such as 'new'"),
        (
            lambda rows: [row.update(group="x") for row in rows[:2]],
            "2 of 40 rows have another group, such as 'test000'",
        ),
        (lambda rows: rows[3].update(label="AF"), "1 of 40 rows have another label, such as 'test003'"),
    ],
)
def test_runs_over_other_rows_are_refused(
    change: Callable[[list[dict[str, Any]]], object],
    message: str,
    compare: ModuleType,
    judged: Callable[..., Path],
) -> None:
    first, other = judged("one"), judged("two")
    change_rows(other, change)
    with pytest.raises(VitalFactoryError, match=rf"two and .*one: {message}; compare like with like"):
        compare.compare([first, other])


@pytest.mark.parametrize(("changes", "message"), [({"split": "val"}, "other splits, val and test")])
def test_runs_over_other_splits_are_refused(
    changes: dict[str, str], message: str, compare: ModuleType, judged: Callable[..., Path]
) -> None:
    first, other = judged("one"), judged("two")
    write_json(other / "metrics.json", read_json(other / "metrics.json") | changes)
    with pytest.raises(VitalFactoryError, match=message):
        compare.compare([first, other])


def test_runs_with_other_labels_are_refused(compare: ModuleType, judged: Callable[..., Path], stage_card: Card) -> None:
    stages = stage_card.model_copy(update={"name": "stages"})
    with pytest.raises(VitalFactoryError, match="other labels, W, N1, N2, N3, R and AF, no AF"):
        compare.compare([judged("one"), judged("two", card=stages)])


def test_mcnemar_counts_the_rows_that_one_run_alone_has_right(compare: ModuleType, judged: Callable[..., Path]) -> None:
    runs = [judged("weak", seed=1, skill=0.1), judged("strong", seed=2, skill=3.0), judged("twin", seed=1, skill=0.1)]
    found = compare.compare(runs)
    strong, twin = found["mcnemar"]
    right = []
    for run in runs[:2]:
        threshold = read_json(run / "metrics.json")["threshold"]
        rows = read_jsonl(run / "predictions.jsonl")
        right.append([(row["probabilities"]["AF"] >= threshold) == (row["label"] == "AF") for row in rows])
    only = sum(after and not before for before, after in zip(*right, strict=True))
    lost = sum(before and not after for before, after in zip(*right, strict=True))
    assert (strong["run"], strong["against"], strong["only_run"], strong["only_against"]) == (
        "strong",
        "weak",
        only,
        lost,
    )
    tail = sum(comb(only + lost, k) for k in range(min(only, lost) + 1)) / 2 ** (only + lost)
    assert strong["p"] == pytest.approx(min(1, 2 * tail))
    assert (twin["only_run"], twin["only_against"], twin["p"]) == (0, 0, 1)
    assert "McNemar p" in found["text"]
    assert compare.MANY_ROWS_A_GROUP in found["text"]


def test_an_unparsed_answer_is_wrong_in_mcnemars_test(compare: ModuleType, judged: Callable[..., Path]) -> None:
    runs = [judged("one"), judged("two")]
    for run, parsed in zip(runs, ("no AF", None), strict=True):
        blank = {"probabilities": None, "text": "x"}
        change_rows(run, lambda rows, new={**blank, "parsed": parsed}: [row.update(new) for row in rows])
        write_json(run / "metrics.json", read_json(run / "metrics.json") | {"threshold": None})
    (test,) = compare.compare(runs, ["accuracy"])["mcnemar"]
    assert (test["only_run"], test["only_against"]) == (0, 30)
    assert test["p"] == pytest.approx(2 / 2**30)


def test_runs_of_one_name_are_told_apart(compare: ModuleType, judged: Callable[..., Path], tmp_path: Path) -> None:
    first = judged("one")
    other = tmp_path / "elsewhere" / "one"
    shutil.copytree(first, other)
    names = [run["run"] for run in compare.compare([first, other])["runs"]]
    assert names == [str(first), str(other)]


def test_a_task_with_scored_labels_is_compared_by_their_mean_f1(
    compare: ModuleType, judged: Callable[..., Path], cinc_card: Card
) -> None:
    told = compare.compare([judged("one", card=cinc_card), judged("two", card=cinc_card, seed=2)])
    head = told["text"].splitlines()[0]
    columns = ["Mean F1 of N, A, O", "F1 of N", "F1 of A", "F1 of O", "AUROC", "Mean F1 of N, A, O in free text"]
    assert [head.index(name) for name in columns] == sorted(head.index(name) for name in columns)
    assert [row["figure"] for row in told["differences"]] == ["mean_f1_scored", "auroc"]
    found = compare.compare([judged("one", card=cinc_card), judged("two", card=cinc_card, seed=2)], ["f1:~"])
    assert [row["figure"] for row in found["differences"]] == ["f1:~"]


def test_a_label_that_is_none_of_the_cards_is_named(compare: ModuleType, judged: Callable[..., Path]) -> None:
    with pytest.raises(VitalFactoryError, match=r"one: has no figure 'f1:X'; run python eval/classify.py"):
        compare.compare([judged("one")], ["f1:X"])


def test_many_runs_stand_one_a_line(compare: ModuleType, judged: Callable[..., Path]) -> None:
    runs = [judged(f"run{place}", seed=place, text=False) for place in range(6)]
    first, second, _, _ = compare.compare(runs)["text"].split("\n\n")
    assert len(first.splitlines()) == 2 + len(runs)
    assert len(second.splitlines()) == len(runs)
    assert all(len(line) < 160 for line in [*first.splitlines(), *second.splitlines()])


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
