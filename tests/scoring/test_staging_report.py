"""What the page shows of nights: drawn, escaped, and nothing of it where rows are no epochs."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.scoring.conftest import MakeRun
from tests.scoring.nights import (
    LABELS,
    drawn_night,
    drawn_splits,
    night_rows,
    said,
    scored,
    sleep_card,
    write_dataset,
    write_run,
)
from tests.scoring.test_report import EVIL, page
from vitalfactory.card import Card
from vitalfactory.files import read_json
from vitalfactory.predictions import Prediction
from vitalfactory.scoring.report import STYLE
from vitalfactory.scoring.report import report as whole_page
from vitalfactory.scoring.staging import measure_nights
from vitalfactory.scoring.staging_report import DRAWN, _Axis, _hours, choose, sections

CARD = sleep_card()


def shown(rows: list[dict[str, Any]], answers: list[Prediction], monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a page with its part on nights, checked by the page's own tests."""
    source = {row["id"]: row for row in rows}
    staging = measure_nights(answers, source, CARD)
    parts = sections({"staging": staging, "threshold": None}, answers, CARD, source)
    monkeypatch.setattr("tests.scoring.test_report.report", lambda *given: whole_page(*given, parts))
    return page(CARD, answers, staging=staging)


def nights(texts: list[str], subject: str = "s") -> list[dict[str, Any]]:
    return [row for place, text in enumerate(texts) for row in night_rows(f"{subject}{place:02d}", "1", text)]


def test_the_page_shows_nights(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = nights([drawn_night(seed, 120) for seed in range(3)])
    text = shown(rows, scored(rows, LABELS, seed=1, skill=2), monkeypatch)
    for part in ("3 nights of 3 subjects", "Hypnograms", "Sleep figures", "Agreement", "Bland-Altman plots"):
        assert part in text
    for part in ("Transitions between stages", "Total sleep time, min", "REM, share of sleep, %", "worst: accuracy"):
        assert part in text
    assert text.count('aria-label="hypnogram of s') == 3
    assert text.count("aria-label='Bland-Altman plot") == 10
    assert "nights are drawn" not in text
    assert "undecided:" not in text
    assert ".plots{" in text


def test_the_same_run_gives_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = nights([drawn_night(seed, 60) for seed in range(2)])
    answers = scored(rows, LABELS, seed=1, skill=2)
    assert shown(rows, answers, monkeypatch) == shown(rows, answers, monkeypatch)


def test_no_more_than_forty_nights_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = nights([drawn_night(seed, 30) for seed in range(43)])
    text = shown(rows, scored(rows, LABELS, seed=1, skill=2), monkeypatch)
    assert text.count('aria-label="hypnogram of s') == DRAWN
    assert "40 of 43 nights are drawn: the worst, the median and the best by accuracy" in text
    assert text.count("<td>s42</td>") == 2


@pytest.mark.parametrize(
    ("accuracies", "first", "names"),
    [
        ([0.5], [0], ["worst"]),
        ([0.5, 0.5], [0, 1], ["worst", "best"]),
        ([0.9, 0.1, 0.5], [1, 2, 0], ["worst", "median", "best"]),
        ([0.5] * 20, [0, 9, 19, 1, 2, 3, 4, 5, 6, 7, 8, 10], ["worst", "median", "best"]),
        ([place / 20 for place in range(20)], [0, 9, 19, 1], ["worst", "median", "best"]),
    ],
)
def test_the_worst_the_median_and_the_best_come_first(
    accuracies: list[float], first: list[int], names: list[str]
) -> None:
    chosen = choose([{"accuracy": accuracy} for accuracy in accuracies])
    assert list(chosen)[: len(first)] == first
    assert [name for name in chosen.values() if name] == names
    assert len(chosen) == min(len(accuracies), DRAWN)


def paths_of(text: str) -> list[ET.Element]:
    drawing = ET.fromstring(re.findall(r'<svg [^>]*aria-label="hypnogram.*?</svg>', text, re.DOTALL)[0])
    return [path for path in drawing.iter("path") if path.get("fill") == "none"]


def test_gaps_and_undecided_epochs_end_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = nights(["WW2..22RR"])
    text = shown(rows, said(rows, "WW2-2RR"), monkeypatch)
    gold, rem, *_ = paths_of(text)
    assert str(gold.get("d")).count("M") == 2
    assert str(rem.get("d")).count("M") == 1
    predicted = paths_of(text)[-2]
    assert str(predicted.get("d")).count("M") == 2
    assert "1 of 7 epochs are undecided" in text


def test_every_wrong_epoch_is_marked_and_no_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = nights(["W222W222"])
    strips = [
        path for path in paths_of(shown(rows, said(rows, "W212W11W"), monkeypatch)) if path.get("stroke-width") == "6"
    ]
    assert [str(strip.get("d")).count("M") for strip in strips] == [2]
    right = [
        path for path in paths_of(shown(rows, said(rows, "W222W222"), monkeypatch)) if path.get("stroke-width") == "6"
    ]
    assert right == []


@pytest.mark.parametrize(
    ("texts", "answers"),
    [
        (["W"], "2"),
        (["2"], "-"),
        (["WWWW"], "----"),
        (["WW", "WW"], "WWWW"),
        (["W2W2", "2222"], "WWWW----"),
        (["2.........................................W"], "2W"),
    ],
)
def test_odd_nights_do_no_harm(texts: list[str], answers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = nights(texts)
    assert "Hypnograms" in shown(rows, said(rows, answers), monkeypatch)


def test_names_of_subjects_and_nights_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = night_rows("a", "1", "W12R")
    for row in rows:
        row |= {"group": EVIL, "night": EVIL}
    text = shown(rows, said(rows, "W12R"), monkeypatch)
    assert "<script" not in text
    assert "hypnogram of &lt;script&gt;" in text
    text.encode("utf-8")


@pytest.mark.parametrize(
    ("hours", "wanted"), [(8, '<text x="18" y="110" text-anchor="end">h'), (0.5, "min"), (0.01, "min"), (100, "h")]
)
def test_the_time_axis_has_few_ticks(hours: float, wanted: str) -> None:
    drawn = _hours(hours, 300 / hours, 100)
    assert wanted in drawn
    assert 2 <= drawn.count("<text") <= 11


@pytest.mark.parametrize("values", [[0.0, 0.0], [5.0], [-1e-9, 1e-9], [0.0, 1e6], [-3.0, 400.0]])
def test_axes_have_ticks_inside(values: list[float]) -> None:
    axis = _Axis(values, 0, 100)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 7
    assert all(-1e-6 <= axis(each) <= 100 + 1e-6 for each in [*ticks, *values])


@pytest.fixture
def classify(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("classify")


@pytest.fixture
def sleep_run(tmp_path: Path) -> Path:
    data = write_dataset(tmp_path / "data" / "sleep", CARD, drawn_splits(60))
    card = Card.model_validate(read_json(data / "card.json"))
    splits = drawn_splits(60)
    answers = {split: scored(splits[split], LABELS, seed=3, skill=2) for split in ("val", "test")}
    return write_run(tmp_path / "results" / "sleep", data, card, answers)


def test_a_sleep_run_is_judged(classify: ModuleType, sleep_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classify.main([str(sleep_run)])
    staging = read_json(sleep_run / "metrics.json")["staging"]
    assert (len(staging["nights"]), staging["subjects"], staging["epochs"]) == (6, 3, 360)
    assert set(staging) == {
        "epoch_seconds",
        "subjects",
        "epochs",
        "undecided",
        "gaps",
        "nights",
        "figures",
        "undefined",
        "sleep",
        "transitions",
        "intervals",
    }
    out = capsys.readouterr().out
    assert "  6 nights of 3 subjects, mean of a night: accuracy" in out
    assert "  total sleep time (min): bias" in out
    assert "Hypnograms" in (sleep_run / "report.html").read_text(encoding="utf-8")


def test_without_the_dataset_nights_are_left_out_with_a_note(
    classify: ModuleType, sleep_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "data" / "sleep" / "test.jsonl").unlink()
    metrics = classify.judge(sleep_run)
    assert metrics["staging"] is None
    assert "nights and sleep figures are left out" in metrics["notes"][1]
    assert "Hypnograms" not in (sleep_run / "report.html").read_text(encoding="utf-8")


def test_other_datasets_have_no_nights(classify: ModuleType, make_run: MakeRun, stage_card: Card) -> None:
    folder = make_run(card=stage_card)
    metrics = classify.judge(folder)
    assert metrics["staging"] is None
    assert metrics["notes"] == []
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert f"<style>{STYLE}</style>" in text
    assert "ypnogram" not in text
