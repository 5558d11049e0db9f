"""Both languages say everything, with the same things filled in, and every refusal has its words."""

import ast
import string
from dataclasses import fields

import pytest

from vitalfactory.files import ROOT
from vitalfactory.studio.words import CHINESE, ENGLISH, Refusal, Words

TEXTS = [field.name for field in fields(Words) if field.name not in ("tasks", "language", "other_language")]
SAME = {"other_language_name", "axis_millivolts"}
STUDIO = sorted((ROOT / "vitalfactory" / "studio").glob("*.py"))


def filled(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("name", TEXTS)
def test_both_languages_say_it(name: str) -> None:
    english, chinese = getattr(ENGLISH, name), getattr(CHINESE, name)
    assert english.strip()
    assert chinese.strip()
    assert filled(english) == filled(chinese)
    if name not in SAME:
        assert any("\u4e00" <= letter <= "\u9fff" for letter in chinese), "not in Chinese"
        assert not any("\u4e00" <= letter <= "\u9fff" for letter in english), "not in English"


def test_every_task_has_its_name() -> None:
    from vitalfactory.studio.tasks import TASKS

    assert set(ENGLISH.tasks) == set(CHINESE.tasks) == set(TASKS)


def refusals() -> list[tuple[str, str, set[str]]]:
    found = []
    for file in STUDIO:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Refusal":
                assert isinstance(node.args[0], ast.Constant)
                given = {keyword.arg for keyword in node.keywords if keyword.arg}
                found.append((file.name, str(node.args[0].value), given))
    return found


def test_every_refusal_has_its_words_and_fills_them() -> None:
    assert len(refusals()) > 15
    for file, key, given in refusals():
        for words in (ENGLISH, CHINESE):
            assert filled(getattr(words, key)) == given, f"{file}: {key}"


def test_a_refusal_is_said_in_both_languages() -> None:
    refused = Refusal("no_epoch", place=9, count=3)
    assert str(refused) == refused.say(ENGLISH) == "epoch 9: the recording has the epochs 1 to 3"
    assert refused.say(CHINESE) == "第 9 帧：该记录有第 1 至 3 帧"


def test_no_word_stands_unused() -> None:
    told = "".join(file.read_text(encoding="utf-8") for file in STUDIO if file.name != "words.py")
    unused = [name for name in TEXTS if f"words.{name}" not in told and f'"{name}"' not in told]
    assert not unused
