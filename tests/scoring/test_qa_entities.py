"""Which entities an answer names: longest first, whole words, both languages; references always score 1."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scoring.questions import SYMPTOMS, list_row, reverse_row, yes_no_row
from vitalfactory.knowledge.graph import Graph
from vitalfactory.knowledge.qa import QA
from vitalfactory.knowledge.questions import make_questions
from vitalfactory.scoring.qa import Answer, figures_of, values_of
from vitalfactory.scoring.qa_entities import Vocabulary, said_of, vocabulary_of, wanted_of

NAMES = ["fever", "high fever", "a virus", "ECG", "vitamin B12", "Crohn's disease", "fracture, closed"]
CHINESE = ["发热", "高热", "热", "糖尿病", "2型糖尿病", "CT扫描", "恶心、呕吐"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Fever and cough.", {"fever"}),
        ("High fever.", {"high fever"}),
        ("High, then fever", {"fever"}),
        ("feverish", set()),
        ("a fever-like state", {"fever"}),
        ("It is a virus, or the VIRUS.", {"virus"}),
        ("An ECG; vitamin B12: 3.5", {"ecg", "vitamin b12"}),
        ("vitamin B123", set()),
        ("Crohn's disease.", {"crohn's disease"}),
        ("closed fracture", {"fracture", "closed"}),
        ("ＦＥＶＥＲ", {"fever"}),
        ("no fever", {"fever"}),
        ("", set()),
    ],
)
def test_english_names(text: str, named: set[str]) -> None:
    assert Vocabulary(NAMES).named(text) == named


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("患者发热。", {"发热"}),
        ("高热和发热", {"高热", "发热"}),
        ("2型糖尿病", {"2型糖尿病"}),
        ("糖尿病患者", {"糖尿病"}),
        ("做CT扫描检查", {"ct扫描"}),
        ("做ＣＴ扫描", {"ct扫描"}),
        ("XCT扫描", set()),
        ("恶心，呕吐", {"恶心", "呕吐"}),
        ("恶心、呕吐", {"恶心", "呕吐"}),
        ("咳嗽", set()),
    ],
)
def test_chinese_names(text: str, named: set[str]) -> None:
    assert Vocabulary(CHINESE).named(text) == named


def test_each_kind_of_question_wants_its_own_part_of_the_facts() -> None:
    rows = [list_row("Coritis"), reverse_row("Coritis"), yes_no_row("Coritis", "cough")]
    vocabulary = vocabulary_of(rows)
    wanted = [wanted_of(row, row["output"], vocabulary) for row in rows]
    assert wanted == [{"cough", "high fever"}, {"coritis"}, set()]


def test_what_the_question_names_is_neither_right_nor_wrong() -> None:
    row = reverse_row("Coritis")
    vocabulary = vocabulary_of([row, list_row("Daremia")])
    assert said_of(row, "Coritis has cough and high fever, and a rash.", vocabulary) == {"coritis", "rash"}


def as_row(question: QA) -> dict[str, Any]:
    known = {"id": question.id, "form": question.form, "answer_kind": question.kind, "triples": question.triples}
    return {**known, "instruction": question.question, "input": "", "output": question.answer}


letters = st.sampled_from(["abc", "岚珂淼骁"])


@st.composite
def graphs(draw: st.DrawFn) -> tuple[str, Graph]:
    """Draw a graph whose names may contain one another, or be lists."""
    own = draw(letters)
    between = ["", " ", ", "] if own == "abc" else ["", "、"]
    part = st.text(own, min_size=1, max_size=4)
    name = st.builds(lambda *parts: parts[1].join((parts[0], parts[2])), part, st.sampled_from(between), part)
    heads = draw(st.lists(name, min_size=1, max_size=3, unique=True))
    tails = draw(st.lists(name.filter(lambda text: text not in heads), min_size=1, max_size=5, unique=True))
    facts = draw(
        st.lists(st.tuples(st.sampled_from(heads), st.sampled_from(["symptom", "drug"]), st.sampled_from(tails)))
    )
    return ("en" if own == "abc" else "zh"), Graph([*facts, (heads[0], "symptom", tails[0])])


def entity_figures(rows: list[dict[str, Any]], texts: list[str], language: str) -> dict[str, float]:
    answers = [
        Answer(row["id"], row["id"], row, row["output"], text=text) for row, text in zip(rows, texts, strict=True)
    ]
    columns = values_of(answers, language, vocabulary_of(rows))
    found = figures_of(columns)(np.ones((1, len(answers))))
    return {name: float(found[name][0]) for name in found if name.startswith("entity")}


@given(graphs())
def test_references_score_one(drawn: tuple[str, Graph]) -> None:
    language, graph = drawn
    rows = [as_row(question) for question in make_questions(graph, language, 1) if isinstance(question, QA)]
    found = entity_figures(rows, [row["output"] for row in rows], language)
    if "entity_recall" in found and not np.isnan(found["entity_recall"]):
        assert found["entity_recall"] == 1
        assert found["entity_f1"] == found["entity_precision"] == 1


@given(
    st.lists(st.text("abcfevr, 热发", max_size=30) | st.sampled_from(["fever", "rash, cough"]), min_size=3, max_size=3)
)
def test_entity_figures_lie_between_nothing_and_all(texts: list[str]) -> None:
    rows = [list_row(disease) for disease in list(SYMPTOMS)[:3]]
    found = entity_figures(rows, texts, "en")
    assert all(0 <= value <= 1 for value in found.values())
    assert found["entity_f1"] <= max(found["entity_precision"], found["entity_recall"])
