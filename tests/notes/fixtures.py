"""Notes in the source's exact form, made in code: ``{"id": 17, "feature_content": "..."}``, one a line."""

from pathlib import Path
from typing import Any

from vitalfactory.files import write_jsonl
from vitalfactory.notes.synthetic import Case, make_cases

Row = dict[str, Any]

BAD_ROWS: dict[str, list[Row]] = {
    "no id": [{"feature_content": "主诉：咳嗽3天。"}, {"id": "", "text": "cough"}, {"id": True, "note": "cough"}],
    "no note": [{"id": 901}, {"id": 902, "feature_content": None}, {"id": 903, "feature_content": ["咳嗽"]}],
    "empty note": [{"id": 904, "feature_content": ""}, {"id": 905, "feature_content": " \n\u3000"}],
    "broken text": [{"id": 906, "feature_content": "咳嗽\ud83d"}],
}
"""Reason to rows that hold no usable note."""


def write_notes(path: Path, n: int = 60, seed: int = 1) -> list[tuple[Row, Case]]:
    """Write Chinese notes and return each row with its case.

    One note in six ends in its diagnosis, half of these after ``诊断:`` with a narrow colon; every fifth holds quotes,
    many hold line ends, every seventh an emoji or a brace. The last two rows repeat the first one's id: once with its
    note, once with another.
    """
    cases = make_cases(n, seed, "zh", stated=1 / 6)
    pairs = [({"id": number, "feature_content": _text(number, case)}, case) for number, case in enumerate(cases, 1)]
    first, case = pairs[0]
    again = cases[n // 2]
    pairs += [(dict(first), case), ({"id": first["id"], "feature_content": again.text}, again)]
    write_jsonl(path, (row for row, _ in pairs))
    return pairs


def _text(number: int, case: Case) -> str:
    text = case.text.replace("诊断：", "诊断:") if number % 2 else case.text
    if number % 5 == 0:
        text = text.replace("。", '。家属称"夜里难受，睡不好"。', 1)
    if number % 7 == 0:
        text = text.replace("。", "。患者自评{不适}😷。\n", 1)
    return text
