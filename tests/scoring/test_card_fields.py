"""The card's newer fields: labels that a task's own F1 is over, and other languages; older cards have neither."""

from pathlib import Path
from typing import Any

import pytest

from tests.scoring.conftest import CINC_TERMS, ECG_TERMS, make_card
from vitalfactory.card import read_card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import write_json

CHINESE = {"question": ["有没有房颤？"], "answers": ECG_TERMS["zh"]["answers"]}


def test_an_older_card_still_reads(tmp_path: Path) -> None:
    card = make_card(ECG_TERMS["en"], "AF")
    write_json(tmp_path / "card.json", card.model_dump(exclude={"scored", "other_languages", "verdicts", "normal"}))
    assert read_card(tmp_path) == card
    assert (card.scored, card.other_languages, card.verdicts, card.normal) == (None, {}, None, None)


def test_the_fields_are_kept(tmp_path: Path) -> None:
    card = make_card(ECG_TERMS["en"], "AF", scored=["AF"], other_languages={"zh": CHINESE})
    write_json(tmp_path / "card.json", card.model_dump())
    assert read_card(tmp_path) == card
    assert card.other_languages["zh"].answers["AF"] == "有房颤"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scored": ["N", "X"]}, r"scored names labels that are not in the vocabulary: \['X'\]"),
        ({"scored": []}, "scored names no labels"),
        ({"normal": "X"}, r"normal label 'X' is not one of \['N', 'A', 'O', '~'\]"),
        (
            {"other_languages": {"zh": {"question": [], "answers": {"N": "x"}}}},
            "other_languages.zh.answers: expected one for each",
        ),
        ({"other_languages": {"zh": {"answers": {}}}}, "other_languages.zh.question: Field required"),
    ],
)
def test_a_card_that_contradicts_itself_is_an_error(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write_json(tmp_path / "card.json", make_card(CINC_TERMS, None).model_dump() | changes)
    with pytest.raises(VitalFactoryError, match=message):
        read_card(tmp_path)
