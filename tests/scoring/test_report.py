"""The page stands alone, escapes what it shows and draws what there is."""

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.scoring.conftest import make_rows, predict
from vitalfactory.card import Card
from vitalfactory.predictions import Prediction
from vitalfactory.scoring.metrics import majority, measure
from vitalfactory.scoring.report import WORST, report, worst

VOID = {"meta", "br", "rect", "circle", "path"}
EVIL = "<script>alert('x')</script> & \"\ud800"


class Balanced(HTMLParser):
    """Fails where a tag is closed that was not the last one opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        assert not {name for name, _ in attrs} & {"src", "href", "onload", "onclick"}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def page(card: Card, rows: list[Prediction], **changes: Any) -> str:
    metrics = {
        "run": "made",
        "split": "test",
        "answered": "predictions" if rows[0].probabilities else "generations",
        **measure(rows, None, card),
        "free_text": None,
        "majority": majority(rows, card),
        "notes": [],
        "manifest": {
            "model": "tiny",
            "date": "2026-01-01",
            "synthetic": True,
            "decoding": {"predictions": {"limit": 3}},
        },
    }
    previews, sources = changes.pop("previews", {}), changes.pop("sources", {})
    text = report(metrics | changes, rows, card, previews, sources)
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert "script" not in parser.seen
    assert not re.search(r"https?://|url\((?!#)|@import|<link|<img|NaN|nan\b", text)
    for drawing in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ET.fromstring(drawing)
    return text


@pytest.fixture
def binary(ecg_card: Card) -> list[Prediction]:
    return predict(ecg_card, make_rows(ecg_card, "test", 60), seed=1, skill=0.5)


PREVIEW = {"fs": 100.0, "unit": "mV", "scale": 0.005, "trace": [0, 10, -10, 200, -40, 0] * 50}


def test_binary_page_shows_everything(ecg_card: Card, binary: list[Prediction]) -> None:
    sources = {row.id: {"input": f"Rate {row.id}"} for row in binary}
    text = page(ecg_card, binary, previews={row.id: PREVIEW for row in binary}, sources=sources)
    for part in (
        "Synthetic recordings: these figures say nothing about patients",
        "ROC curve",
        "Precision-recall",
        "Calibration",
    ):
        assert part in text
    for part in ("Confusion matrix", "25 mm/s, 10 mm/mV", "decoding: predictions: limit", "Not a medical device"):
        assert part in text
    wrong = worst(binary, ecg_card, 0.5)
    assert len(wrong) == WORST
    assert all(f"Rate {row.id}" in text for row, _ in wrong)
    assert text.count('aria-label="recording"') == WORST


def test_the_most_wrong_come_first(ecg_card: Card, binary: list[Prediction]) -> None:
    wrong = worst(binary, ecg_card, 0.5)
    on_gold = [row.probabilities[str(row.label)] for row, _ in wrong if row.probabilities]
    assert on_gold == sorted(on_gold)
    assert all(decision != row.label for row, decision in wrong)
    others = {row.id for row in binary} - {row.id for row, _ in wrong}
    missed = [
        row
        for row in binary
        if row.id in others and row.probabilities and row.probabilities[str(row.label)] < on_gold[0]
    ]
    assert missed == []


def test_the_same_run_gives_the_same_bytes(ecg_card: Card, binary: list[Prediction]) -> None:
    assert page(ecg_card, binary) == page(ecg_card, binary)


def test_everything_from_outside_is_escaped(ecg_card: Card, binary: list[Prediction]) -> None:
    card = ecg_card.model_copy(update={"name": EVIL, "question": [EVIL]})
    rows = [row.model_copy(update={"text": EVIL}) for row in binary]
    manifest = {"model": EVIL, EVIL: {EVIL: [EVIL]}}
    text = page(
        card, rows, run=EVIL, notes=[EVIL], manifest=manifest, sources={row.id: {"input": EVIL} for row in rows}
    )
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    text.encode("utf-8")
    assert "Synthetic" not in text


def test_many_labels_are_drawn_one_against_the_rest(stage_card: Card) -> None:
    rows = predict(stage_card, make_rows(stage_card, "test", 50), seed=2, skill=0.5)
    text = page(stage_card, rows)
    assert "each against the rest" in text
    assert "most probable label" in text


def test_free_text_has_no_curves(ecg_card: Card, binary: list[Prediction]) -> None:
    rows = [row.model_copy(update={"probabilities": None, "text": "hm", "parsed": None}) for row in binary]
    text = page(ecg_card, rows)
    assert "The run has no probabilities" in text
    assert "ROC curve" not in text
    assert "no label could be read" in text


def test_a_page_without_wrong_rows(ecg_card: Card) -> None:
    rows = predict(ecg_card, make_rows(ecg_card, "test", 20), seed=1, skill=50)
    assert "No row was answered wrongly" in page(ecg_card, rows)


def test_a_page_of_one_class_and_one_row(ecg_card: Card) -> None:
    rows = predict(ecg_card, make_rows(ecg_card, "test", 1), seed=1, skill=-0.5)
    assert "ROC curve" in page(ecg_card, [rows[0].model_copy(update={"label": "no AF"})])


@pytest.mark.parametrize("trace", [[], [1], [5, 5, 5], [0, 10**7, -(10**7)]])
@pytest.mark.parametrize("unit", ["mV", "uV"])
def test_odd_traces_do_no_harm(ecg_card: Card, binary: list[Prediction], trace: list[int], unit: str) -> None:
    odd = {**PREVIEW, "trace": trace, "unit": unit}
    page(ecg_card, binary, previews={row.id: odd for row in binary})
