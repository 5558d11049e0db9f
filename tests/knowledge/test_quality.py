"""The gates: each leaves out what it names and nothing else."""

from collections import Counter

import pytest

from tests.knowledge.test_sources import REAL, real
from vitalfactory.knowledge.near import near_any, near_duplicates, similarity
from vitalfactory.knowledge.qa import QA, Dropped
from vitalfactory.knowledge.quality import clean, key, sift
from vitalfactory.knowledge.sources import read_qa, read_questions

GOOD = QA("1", "肺炎的主要病因是什么？", "肺炎多由细菌感染引起。")


def left_out(*rows: QA | Dropped, language: str = "zh", **how: object) -> dict[str, str]:
    kept, dropped = sift(rows, language=language, **how)  # type: ignore[arg-type]
    assert len(kept) + len(dropped) == len(rows)
    return {item.id: item.reason for item in dropped}


UNFIT: list[tuple[QA, str | None]] = [
    (GOOD, None),
    (GOOD._replace(answer="氧"), None),
    (GOOD._replace(answer="1/10 000"), None),
    (GOOD._replace(answer="ARDS、DIC"), None),
    (GOOD._replace(answer="12×10^9/L，P<0.05"), None),
    (GOOD._replace(answer="建议及时就医，进行胸部X线检查。"), None),
    (GOOD._replace(question=" \u0001"), "no question"),
    (GOOD._replace(answer=""), "empty answer"),
    (GOOD._replace(answer="<p> </p>"), "empty answer"),
    (GOOD._replace(answer="您好！"), "boiler-plate answer"),
    (GOOD._replace(answer="谢谢您的咨询。"), "boiler-plate answer"),
    (GOOD._replace(answer="建议您及时到医院就诊。"), "boiler-plate answer"),
    (GOOD._replace(answer="作为一个人工智能，我不能诊断疾病，请咨询医生。"), "boiler-plate answer"),
    (GOOD._replace(answer="长" * 2001), "too long"),
    (GOOD._replace(history=("问" * 1500, "答" * 500)), "too long"),
    (GOOD._replace(answer="多由\ud800引起"), "broken characters"),
    (GOOD._replace(answer="多由\ufffd引起"), "broken characters"),
    (GOOD._replace(answer="It is most often caused by bacteria."), "wrong script"),
    (GOOD._replace(question="What causes pneumonia?"), "wrong script"),
    (GOOD._replace(answer="폐렴은 대부분 세균 감염으로 인해 발생합니다."), "wrong script"),
]


@pytest.mark.parametrize(("row", "reason"), UNFIT)
def test_a_row_is_fit_or_not(row: QA, reason: str | None) -> None:
    assert left_out(row) == ({"1": reason} if reason else {})


ENGLISH: list[tuple[QA, str | None]] = [
    (QA("1", "What is α-thalassaemia?", "An inherited anaemia."), None),
    (QA("1", "What is it?", "N/A"), "boiler-plate answer"),
    (QA("1", "What is it?", "As an AI language model, I cannot diagnose."), "boiler-plate answer"),
    (QA("1", "What is it?", "Please consult your doctor."), "boiler-plate answer"),
    (QA("1", "肺炎的病因是什么", "It is caused by bacteria."), "wrong script"),
]


@pytest.mark.parametrize(("row", "reason"), ENGLISH)
def test_an_english_row_is_fit_or_not(row: QA, reason: str | None) -> None:
    assert left_out(row, language="en") == ({"1": reason} if reason else {})


CLEANED: list[tuple[str, str]] = [
    ("<p>多由&ldquo;细菌&rdquo;引起</p><br/>可治", "多由“细菌”引起\n\n可治"),
    ("若 a<b 且 c>d", "若 a<b 且 c>d"),
    ("若 a<b c>d", "若 a<b c>d"),
    ("P<0.05，而 P>0.01", "P<0.05，而 P>0.01"),
    ("a&lt;b&gt;c", "ac"),
    ("见<a href='http://x'>这里</a>", "见这里"),
    ("x<script>alert(1)</script>y", "x y"),
    ("x<script>alert(1)", "x"),
    ("x<!-- y -->z", "xz"),
    ("a\u0000b\tc\u200b\n", "ab\tc"),
]


@pytest.mark.parametrize(("text", "expected"), CLEANED)
def test_text_is_cleaned(text: str, expected: str) -> None:
    assert clean(text) == expected


def test_a_cleaned_row_says_so() -> None:
    rows, _ = sift([GOOD, GOOD._replace(id="2", answer="<b>细菌</b>感染", question="哮喘？")], language="zh")
    assert [(row.answer, row.cleaned) for row in rows] == [("肺炎多由细菌感染引起。", False), ("细菌感染", True)]


SAME: list[tuple[str, str, bool]] = [
    ("肺炎的病因是什么？", "肺炎的病因是什么", True),
    ("ＣＴ 检查", "ct检查", True),
    ("剂量 1.5 mg", "剂量 15 mg", False),
    ("IL-2", "IL2", False),
    ("HLA-B*27", "HLA-B27", False),
    ("1~2 片", "12 片", False),
]


@pytest.mark.parametrize(("one", "other", "same"), SAME)
def test_texts_are_the_same_but_for_marks_and_width(one: str, other: str, same: bool) -> None:
    assert (key(one) == key(other)) is same


def test_the_first_of_rows_that_repeat_is_kept() -> None:
    again = [GOOD._replace(id=name, question="肺炎的主要病因是什么 ") for name in "23"]
    assert left_out(GOOD, *again) == {"2": "repeated row", "3": "repeated row"}


def test_no_row_of_a_contradiction_is_kept() -> None:
    rows = [GOOD, GOOD._replace(id="2"), GOOD._replace(id="3", answer="病毒。")]
    assert left_out(*rows) == dict.fromkeys("123", "contradictory answers")


def test_another_context_or_history_is_another_question() -> None:
    rows = [
        GOOD,
        GOOD._replace(id="2", answer="病毒。", context="儿童"),
        GOOD._replace(id="3", answer="真菌。", history=("a", "b")),
    ]
    assert left_out(*rows) == {}


LONG = (
    "一位六十五岁的男性患者长期吸烟，近一月出现咳嗽、咳痰、发热和胸痛，胸部影像提示右下肺实变，请问最可能的诊断是什么？"
)


def test_what_is_nearly_an_earlier_row_is_left_out() -> None:
    answer = "最可能的诊断是社区获得性肺炎，建议进行痰培养，并给予抗生素治疗。"
    rows = [QA("1", LONG, answer), QA("2", LONG.replace("六十五", "六十六"), answer), QA("3", LONG, "肺癌。")]
    assert left_out(*rows[:2]) == {"2": "nearly an earlier row"}
    assert left_out(*rows[:2], near=False) == {}
    assert left_out(rows[1], rows[2]) == {}
    made = [row._replace(triples=(("a", "b", "c"),)) for row in rows[:2]]
    assert left_out(*made) == {}


def test_questions_of_the_evaluation_are_left_out() -> None:
    rows = [
        GOOD,
        QA("2", LONG.replace("男性", "女性"), "肺炎。"),
        QA("3", "还有呢？", "没有了，谢谢。", history=("肺炎的主要病因是什么？", "细菌。")),
        QA("4", "肺炎的主要病因是什么？", "细菌。", context="请简短回答"),
        QA("5", "肺炎如何治疗？", "抗生素。"),
    ]
    assert left_out(*rows, evaluation=[LONG, "肺炎的主要病因是什么"]) == {
        "1": "question of the evaluation",
        "2": "near a question of the evaluation",
        "3": "question of the evaluation",
        "4": "question of the evaluation",
    }


def test_what_a_reader_left_out_is_handed_on() -> None:
    assert left_out(Dropped("0", "not text"), GOOD) == {"0": "not text"}


def test_planted_twins_are_found_and_others_are_not() -> None:
    import random

    draw = random.Random(1)
    letters = [chr(0x4E00 + number) for number in range(3000)]
    texts = ["".join(draw.choices(letters, k=80)) for _ in range(600)]
    twins = [f"{text[:40]}变{text[41:]}" for text in texts[:200]]
    assert all(similarity(text, twin) >= 0.8 for text, twin in zip(texts, twins, strict=False))
    found = near_duplicates([*texts, *twins])
    assert set(found) <= set(range(600, 800))
    assert len(found) >= 198
    assert all(earlier == later - 600 for later, earlier in found.items())
    assert len(near_any(twins, texts)) >= 198
    assert near_any(texts[200:], twins) == {}


def test_short_texts_and_none_at_all_are_compared() -> None:
    assert near_duplicates([]) == {}
    assert near_duplicates(["a", "a", "b", ""]) == {1: 0}
    assert near_any(["a"], []) == {}
    assert near_any([], ["a"]) == {}


@real
def test_the_real_instructions_are_sifted() -> None:
    evaluation = [text for name in ("infer.json", "question.json") for text in read_questions(REAL / name)]
    rows = list(read_qa(REAL / "llama_data.json", "f"))
    kept, dropped = sift(rows, language="zh", evaluation=evaluation)
    counts = Counter(item.reason for item in dropped)
    assert counts == {
        "contradictory answers": 13,  # six questions, seven of whose rows repeat one
        "question of the evaluation": 5,
        "nearly an earlier row": 26,
        "boiler-plate answer": 1,
    }
    assert not {key(row.question) for row in kept} & set(map(key, evaluation))
