"""What an answer is worth by its text: the likeness that sacrebleu computes, and tables of what is read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitalfactory.scoring.qa_text import bleu, chrf, counts_of, is_refusal, normalise, read_yes_no, repetition

SAID = {
    "en": ["fever, cough and rash.", 'A 3.5-mg dose, "twice" a day.', "", "No."],
    "zh": ["肝炎的并发症是肝癌和肝硬化。", "建议做CT检查（胸部），每天2次。", "发热"],
}
GOLD = {
    "en": ["fever, rash and cough.", "A dose of 3.5 mg twice a day.", "itching.", "No, it is not."],
    "zh": ["最可能的并发症是肝癌和肝硬化。", "建议进行CT检查，每天3次。", "发热、咳嗽。"],
}
OF_SACREBLEU = [
    ("en", 4, 12.322862098585441, 35.407516419675304),
    ("zh", 3, 50.049567508809474, 47.68321576121085),
    ("en", 1, 21.3643503198117, 54.08127139744787),
]
"""Language, how many answers, BLEU and chrF of sacrebleu 2.6.0 (tok:13a or tok:zh, smooth:exp; nc:6, nw:0)."""


def both(language: str, said: list[str], gold: list[str]) -> tuple[float, float]:
    counts = [counts_of(one, other, language) for one, other in zip(said, gold, strict=True)]
    sums = {name: np.asarray([sum(row[name] for row in counts)], dtype=np.float64) for name in counts[0]}
    return float(bleu(sums)[0]), float(chrf(sums)[0])


@pytest.mark.parametrize(("language", "count", "of_bleu", "of_chrf"), OF_SACREBLEU)
def test_likeness_is_that_of_sacrebleu(language: str, count: int, of_bleu: float, of_chrf: float) -> None:
    found = both(language, SAID[language][:count], GOLD[language][:count])
    assert found == (pytest.approx(of_bleu / 100, abs=1e-9), pytest.approx(of_chrf / 100, abs=1e-9))


@given(st.lists(st.text(max_size=30), min_size=1, max_size=4), st.sampled_from(["en", "zh"]), st.data())
def test_likeness_lies_between_nothing_and_all(gold: list[str], language: str, data: st.DataObject) -> None:
    said = data.draw(st.lists(st.text(max_size=30), min_size=len(gold), max_size=len(gold)))
    for value in both(language, said, gold):
        assert np.isnan(value) or 0 <= value <= 1 + 1e-9
    assert both(language, ["a b c d e f"], ["a b c d e f"]) == (pytest.approx(1), pytest.approx(1))
    assert both(language, [""], ["something"]) == (0, 0)


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("I cannot provide medical advice.", True),
        ("I'm sorry, but I can't help with that.", True),
        ("I’m sorry, but that is not something for me.", True),
        ("As an AI, I have no body.", True),
        ("I am unable to diagnose you.", True),
        ("I don't know the answer.", True),
        ("I do not have enough information.", True),
        ("I won't recommend a dose.", True),
        ("Please see a doctor.", False),
        ("The patient cannot provide urine.", False),
        ("Fever, cough.", False),
        ("", False),
        ("很抱歉，我无法回答这个问题。", True),
        ("作为一名人工智能，我没有经验。", True),
        ("我不清楚。", True),
        ("不能给出诊断。", True),
        ("无法为您推荐药物。", True),
        ("建议您去医院就诊。", False),
        ("患者无法吞咽。", False),
        ("病因不明。", False),
    ],
)
def test_refusals(text: str, refused: bool) -> None:
    assert is_refusal(text) is refused


@pytest.mark.parametrize(
    ("text", "yes"),
    [
        ("Yes", True),
        ("yes, fever is one of them.", True),
        ("Yes.", True),
        ("The answer is: Yes", True),
        ("Answer: no", False),
        ("No", False),
        ("Nope.", False),
        ("Not that I know.", False),
        ("True", True),
        ("Noticing a rash", None),
        ("Yesterday", None),
        ("Yes or no is hard to say.", None),
        ("Fever is one of the symptoms.", None),
        ("", None),
        ("是", True),
        ("是的，发热属于症状。", True),
        ("不是。", False),
        ("否", False),
        ("答案是否。", False),
        ("答案：是", True),
        ("对。", True),
        ("不包括发热。", False),
        ("是否包括发热？", None),
        ("是或否都可能。", None),
        ("对于哮喘，发热少见。", None),
        ("发热是症状。", None),
    ],
)
def test_yes_and_no(text: str, yes: bool | None) -> None:
    assert read_yes_no(text) is yes


def test_repetition_is_the_share_of_runs_said_before() -> None:
    assert repetition("a b c d e f", "en") == 0
    assert repetition("a b c", "en") == 0
    assert repetition("", "en") == 0
    # Nine runs of four in twelve words, of which four differ.
    assert repetition("a b c d " * 3, "en") == pytest.approx(5 / 9)
    assert repetition("发热和咳嗽，" * 20, "zh") > 0.8


def test_answers_are_alike_whatever_stands_around_them() -> None:
    assert normalise(" Fever,  Cough. ") == normalise("fever, cough") != normalise("fever; cough")
    assert normalise("发热、咳嗽。") == normalise("发热、咳嗽")
