"""The rule by which a fact is found in a note, as a table; facts; ROUGE in both languages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitalfactory.scoring.reasons import Evidence, facts_of, rouge, words_of

ENGLISH = "Mr. A. denies chest pain; BP 120/80 mmHg, glucose 14.2 mmol/L. Crackles over the right lower lobe."
CHINESE = "患者发热３天，体温38.5℃，咳嗽、咳痰。查体：右下肺湿啰音，心率120次/分。"


@pytest.mark.parametrize(
    ("note", "fact", "found"),
    [
        (ENGLISH, "crackles over the right lower lobe", True),
        (ENGLISH, "Crackles, right lower lobe", True),
        (ENGLISH, "crackles of the left lower lobe", True),  # three of four words
        (ENGLISH, "crackles of the left upper lobe", False),
        (ENGLISH, "glucose of 14.2 mmol/L", True),
        (ENGLISH, "glucose 14.3 mmol/L", False),
        (ENGLISH, "glucose 14 mmol/L", False),
        (ENGLISH, "ＢＰ １２０/８０", True),
        (ENGLISH, "BP 120", False),
        (ENGLISH, "pain", True),
        (ENGLISH, "crack", False),
        (ENGLISH, "chest pain", True),  # words, not what the note says of them
        (ENGLISH, "no chest pain", False),
        (CHINESE, "发热3天", True),
        (CHINESE, "发热 3 天", True),
        (CHINESE, "发热4天", False),
        (CHINESE, "体温 38.5 ℃", True),
        (CHINESE, "咳嗽咳痰", True),
        (CHINESE, "右下肺可闻湿啰音", False),
        (CHINESE, "右下肺有湿啰音", False),  # four of six pairs
        (CHINESE, "胸痛", False),
        (CHINESE, "痰", True),
        ("", "fever", False),
    ],
)
def test_a_fact_is_found_by_the_rule(note: str, fact: str, found: bool) -> None:
    assert Evidence(note).holds(fact) is found


@pytest.mark.parametrize(
    ("reason", "facts"),
    [
        ("Fever, cough; crackles.", ["Fever", "cough", "crackles"]),
        ("glucose 14.2 mmol/L.\nBP 120/80", ["glucose 14.2 mmol/L", "BP 120/80"]),
        ("Pneumonia: fever. Type  2 Diabetes: glucose 14", ["fever", "glucose 14"]),
        ("体温38.5，120次；肺炎：发热、咳嗽。", ["体温38.5", "120次", "肺炎", "发热", "咳嗽"]),
        ("with the; and; --; , ,", []),
        ("", []),
    ],
)
def test_a_reason_is_taken_apart(reason: str, facts: list[str]) -> None:
    assert facts_of(reason, {"pneumonia", "type 2 diabetes"}) == facts


def test_shares() -> None:
    note = Evidence(ENGLISH)
    assert note.share("chest pain, glucose 14.2, fever, pneumonia", {"pneumonia"}) == pytest.approx(2 / 3)
    assert note.share("") == note.share("pneumonia", {"pneumonia"}) == 0


@given(st.text(st.sampled_from("ab的发热3.,;:，。 \n/12"), max_size=60), st.text(max_size=20), st.text(max_size=20))
def test_a_copied_reason_is_found_whole(reason: str, before: str, after: str) -> None:
    note = Evidence(f"{before}\n{reason}\n{after}")
    assert all(map(note.holds, facts_of(reason)))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_rouge_of_likes_and_others(language: str) -> None:
    same, other, none = (
        ("右下肺湿啰音", "膝关节疼痛", "。") if language == "zh" else ("fever and cough", "a red toe", "?")
    )
    assert rouge(same, same, language) == pytest.approx((1, 1, 1))
    assert rouge(f"“{same}”!", same, language) == pytest.approx((1, 1, 1))
    assert rouge(same, other, language) == (0, 0, 0)
    assert rouge(none, same, language) == rouge(same, none, language) == rouge("", "", language) == (0, 0, 0)


def test_rouge_by_hand() -> None:
    one, two, longest = rouge("fever and cough", "cough and fever", "en")
    assert (one, two, longest) == (pytest.approx(1), 0, pytest.approx(1 / 3))
    assert rouge("Fever, COUGH", "fever cough chills", "en")[0] == pytest.approx(0.8)


def test_words() -> None:
    assert words_of("Glucose 14.2 mmol/L, “ＢＰ”", "en") == ["glucose", "14.2", "mmol", "l", "bp"]
    assert words_of("体温38.5，咳嗽。", "zh") == ["体温", "38.5", "咳嗽"]
