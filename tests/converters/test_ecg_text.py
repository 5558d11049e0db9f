"""The text of an ECG row: the golden rows, and what they cost a Qwen model.

The golden rows were written by ``python -c "from tests.converters.test_ecg_text import write; write()"``.
"""

import base64
import importlib.util
import json
import re
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from converters import ecg
from vitalfactory.dataset.example import Entry
from vitalfactory.errors import UnusableRecord
from vitalfactory.files import read_jsonl, write_jsonl
from vitalfactory.signals.ecg import read_folder, synthetic

GOLDEN = Path(__file__).parent / "golden"
TEXTS = ("rhythm", "rr", "wave", "raw")
CASES = [(representation, language) for representation in TEXTS for language in ("en", "zh")]
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MOST_TOKENS = 300
MOST_INTERVALS = 40


def told(record: Any, representation: str, language: str) -> dict[str, Any]:
    entry = Entry(record.id, record.group, ecg.LABELS["af"][record.label], record)
    return ecg._examples([representation], "af", language, None, None, entry)[0].row()


def rows(representation: str, language: str) -> list[dict[str, Any]]:
    return [told(record, representation, language) for record in synthetic(6, 2026)]


def write() -> None:
    for representation, language in CASES:
        write_jsonl(GOLDEN / f"{representation}_{language}.jsonl", rows(representation, language))


@pytest.mark.parametrize(("representation", "language"), CASES)
def test_golden_rows(representation: str, language: str) -> None:
    golden = list(read_jsonl(GOLDEN / f"{representation}_{language}.jsonl"))
    for row, expected in zip(rows(representation, language), golden, strict=True):
        features, expected_features = row.pop("features", {}), expected.pop("features", {})
        assert json.dumps(row, ensure_ascii=False) == json.dumps(expected, ensure_ascii=False)
        assert list(features) == list(expected_features)
        assert features == pytest.approx(expected_features, rel=1e-3, abs=1e-6)


@cache
def qwen_tokens() -> Callable[[str], int]:
    """Count as Qwen2 does, with the vocabulary that dashscope has in its package."""
    tiktoken = pytest.importorskip("tiktoken")
    package = importlib.util.find_spec("dashscope")
    file = Path(package.origin or "").parent / "resources" / "qwen.tiktoken" if package else Path()
    if not file.is_file():
        pytest.skip("dashscope, which has the Qwen vocabulary, is not installed")
    lines = (line.split() for line in file.read_bytes().splitlines())
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    encoding = tiktoken.Encoding("qwen", pat_str=QWEN_SPLIT, mergeable_ranks=ranks, special_tokens={})
    return lambda text: len(encoding.encode(text))


def check_budget(record: Any) -> None:
    for representation, language in CASES:
        text = told(record, representation, language)["input"]
        assert qwen_tokens()(text) <= MOST_TOKENS, f"{record.id} {representation} {language}"
        intervals = re.search(r"RR ([\d ]+)$", text)
        assert bool(intervals) == (representation in ("rhythm", "rr"))
        shown = list(map(int, intervals[1].split())) if intervals else []
        most = ecg.SHOWN_RR if representation == "rhythm" else MOST_INTERVALS
        assert not intervals or 5 <= len(shown) <= most
        assert all(10 <= interval <= 1000 for interval in shown)


def test_rows_are_short() -> None:
    for record in synthetic(40, 3):
        check_budget(record)


def test_rows_of_real_recordings_are_short(real_ecg: Path) -> None:
    qwen_tokens()
    usable = 0
    for record in [record for record in read_folder(real_ecg) if record.label in ecg.LABELS["af"]][::70]:
        with suppress(UnusableRecord):
            check_budget(record)
            usable += 1
    assert usable > 80


@pytest.mark.parametrize(("representation", "language"), CASES)
def test_the_text_tells_no_label(representation: str, language: str) -> None:
    task = ecg.task()
    words = {word for label in task.labels for word in (task.answers[language][label], *task.synonyms[language][label])}
    for row in rows(representation, language):
        assert not any(len(word) > 1 and word.casefold() in row["input"].casefold() for word in words)
        assert row["label"] in task.labels


@pytest.mark.parametrize("representation", TEXTS)
def test_both_languages_tell_the_same_numbers(representation: str) -> None:
    for english, chinese in zip(rows(representation, "en"), rows(representation, "zh"), strict=True):
        assert re.findall(r"\d+", english["input"]) == re.findall(r"\d+", chinese["input"])
        assert english.get("features") == chinese.get("features")
