"""Questions made of a graph: every answer stands on the row's facts, and what kinds there are."""

import re
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitalfactory.knowledge.graph import Graph
from vitalfactory.knowledge.qa import QA, Dropped
from vitalfactory.knowledge.questions import FORMS, MOST_TAILS, YES_NO, make_questions
from vitalfactory.knowledge.relations import Phrase, phrase
from vitalfactory.knowledge.synthetic import make_graph


def questions(graph: Graph, language: str = "en") -> list[QA]:
    return [row for row in make_questions(graph, language, 1) if isinstance(row, QA)]


def by_kind(rows: list[QA]) -> dict[str, list[QA]]:
    kinds: dict[str, list[QA]] = defaultdict(list)
    for row in rows:
        kinds[row.form.partition("-")[0]].append(row)
    return kinds


def names_in(row: QA) -> set[str]:
    """Take an answer apart at everything that stands between names."""
    return set(re.split(r"[,，、;；:：] ?", row.answer.rstrip(".。"))) - set(YES_NO["en"] + YES_NO["zh"])


@pytest.fixture(scope="module", params=["en", "zh"])
def made(request: pytest.FixtureRequest) -> tuple[Graph, list[QA]]:
    graph = make_graph(200, 2026, request.param)
    return graph, questions(graph, request.param)


def test_two_hundred_diseases_give_thousands_of_questions(made: tuple[Graph, list[QA]]) -> None:
    rows = made[1]
    assert len({(row.question, row.answer) for row in rows}) >= 3000
    assert set(by_kind(rows)) == set(FORMS["en"])
    assert {row.form for row in rows} == {
        f"{kind}-{place + 1}" for kind, forms in FORMS["en"].items() for place in range(len(forms))
    }


def test_every_answer_stands_on_the_facts_of_its_row(made: tuple[Graph, list[QA]]) -> None:
    graph, rows = made
    facts = set(graph)
    for row in rows:
        assert row.triples
        assert set(row.triples) <= facts
        assert names_in(row) <= {name for head, _, tail in row.triples for name in (head, tail)}


def test_an_entity_is_whom_the_question_or_the_answer_names(made: tuple[Graph, list[QA]]) -> None:
    graph, rows = made
    heads = set(graph.heads)
    for row in rows:
        assert len(set(row.entities)) == len(row.entities) >= 1
        assert set(row.entities) <= heads
        named = {head for head, _, _ in row.triples}
        assert named <= set(row.entities)


def test_yes_and_no_are_of_one_number_and_true(made: tuple[Graph, list[QA]]) -> None:
    asked = by_kind(made[1])["yesno"]
    yes = [row for row in asked if row.answer in ("Yes", "是")]
    assert len(yes) == len(asked) / 2
    for row in asked:
        asked_about = row.question.replace(row.entities[0], "")
        told = any(tail in asked_about for _, _, tail in row.triples)
        assert told == (row.answer in ("Yes", "是"))


def test_a_list_names_all_that_the_graph_has(made: tuple[Graph, list[QA]]) -> None:
    graph, rows = made
    for row in by_kind(rows)["list"]:
        head, relation, _ = row.triples[0]
        assert names_in(row) == set(graph.of(head)[relation])
    head = graph.heads[0]
    assert {row.form for row in rows if row.form.startswith("list") and row.entities == (head,)} == {
        f"list-{place + 1}" for place in range(8)
    }


def test_reverse_and_chained_questions_name_all_that_fit(made: tuple[Graph, list[QA]]) -> None:
    graph, rows = made
    for row in by_kind(rows)["reverse"]:
        tails = {tail for _, _, tail in row.triples}
        relation = row.triples[0][1]
        fitting = {head for head in graph.heads if tails <= set(graph.of(head).get(relation, ()))}
        assert names_in(row) == fitting
    for row in by_kind(rows)["hop"]:
        assert len({head for head, _, _ in row.triples}) == 1
        assert len({relation for _, relation, _ in row.triples}) == 2


def test_questions_are_the_same_every_time() -> None:
    graph = make_graph(20, 3, "zh")
    assert questions(graph, "zh") == questions(graph, "zh")
    ids = [row.id for row in questions(graph, "zh")]
    assert ids != [row.id for row in make_questions(graph, "zh", 2)]


def test_too_many_tails_are_not_listed() -> None:
    graph = Graph([("肺炎", "症状", f"症状{number}") for number in range(MOST_TAILS + 1)])
    assert [type(row) for row in make_questions(graph, "zh", 1)] == [Dropped]


def test_cyclic_relations_are_harmless() -> None:
    graph = Graph([("肺炎", "并发症", "哮喘"), ("哮喘", "并发症", "肺炎"), ("哮喘", "症状", "咳嗽")])
    rows = questions(graph, "zh")
    told = [row for row in rows if row.question == "肺炎的并发症有哪些？"]
    assert [(row.answer, row.entities) for row in told] == [("哮喘。", ("肺炎", "哮喘"))]


def test_a_tail_that_contains_a_true_one_is_no_false_fact() -> None:
    graph = Graph([("肺炎", "症状", "发热"), ("流感", "症状", "高发热")])
    assert {row.answer for row in by_kind(questions(graph, "zh"))["yesno"]} == {"是"}


PHRASES: list[tuple[str, str, Phrase]] = [
    ("symptom", "en", Phrase("symptoms", "of", "disease", "symptom")),
    ("has_symptom", "en", Phrase("symptoms", "of", "disease", "symptom")),
    ("临床表现", "en", Phrase("symptoms", "of", "disease", "symptom")),
    ("临床表现", "zh", Phrase("临床表现", "", "疾病", "symptom")),
    ("symptom", "zh", Phrase("症状", "", "疾病", "symptom")),
    ("不良反应", "zh", Phrase("不良反应", "", "药物")),
    ("shelf_life", "en", Phrase("shelf life", "of", "entry")),
    ("贮藏", "zh", Phrase("贮藏", "", "条目")),
]


@pytest.mark.parametrize(("relation", "language", "expected"), PHRASES)
def test_a_relation_is_spoken_of(relation: str, language: str, expected: Phrase) -> None:
    assert phrase(relation, language) == expected


names = st.text(min_size=1, max_size=6)


@given(st.lists(st.tuples(names, st.sampled_from(["症状", "药物", "cause", "x"]), names), min_size=1, max_size=30))
def test_no_graph_breaks_it(triples: list[tuple[str, str, str]]) -> None:
    for language in ("en", "zh"):
        for row in make_questions(Graph(triples), language, 1):
            if isinstance(row, QA):
                assert set(row.triples) <= set(triples)
                assert row.entities[0] in {head for head, _, _ in row.triples}
