"""Graphs: every form of triples and entities, and what is no fact."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.knowledge.test_sources import REAL, real
from vitalfactory.errors import VitalFactoryError
from vitalfactory.knowledge.graph import Graph, read_graph
from vitalfactory.knowledge.synthetic import make_graph

FACTS = [("肺炎", "症状", "发热"), ("肺炎", "症状", "咳嗽")]


def graph_of(folder: Path, *contents: str | bytes) -> tuple[list[Any], Counter[str]]:
    paths = [folder / f"{number}.txt" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    graph, dropped = read_graph(paths)
    return list(graph), Counter(item.reason for item in dropped)


def text(value: Any, **how: Any) -> str:
    return json.dumps(value, ensure_ascii=False, **how)


NAMED = [{"head": head, "relation": relation, "tail": tail} for head, relation, tail in FACTS]
FORMS: list[tuple[str, str | bytes]] = [
    ("list of objects", text(NAMED, indent=1)),
    ("lines of objects", "\n".join(map(text, NAMED))),
    ("other names", text([{"subject": h, "predicate": r, "object": t} for h, r, t in FACTS])),
    ("list of lists", text(FACTS)),
    ("lines of lists", "\n".join(map(text, FACTS))),
    ("CSV", "肺炎,症状,发热\n肺炎,症状,咳嗽\n"),
    ("CSV with a header", "关系,头实体,尾实体,来源\n症状,肺炎,发热,a\n症状,肺炎,咳嗽,b\n"),
    ("CSV in GB18030", "head,relation,tail\n肺炎,症状,发热\n肺炎,症状,咳嗽\n".encode("gb18030")),
    ("CMeKG's", text([{"text": "...", "spo_list": FACTS}])),
    ("an entity", text({"name": "肺炎", "症状": ["发热", "咳嗽"]})),
    ("an entity a line", text({"name": "肺炎", "症状": "发热"}) + "\n" + text({"name": "肺炎", "症状": "咳嗽"})),
]


@pytest.mark.parametrize("content", [form[1] for form in FORMS], ids=[form[0] for form in FORMS])
def test_every_form_is_the_same_graph(tmp_path: Path, content: str | bytes) -> None:
    assert graph_of(tmp_path, content) == (FACTS, {})


def test_several_files_are_one_graph(tmp_path: Path) -> None:
    facts, dropped = graph_of(tmp_path, text(FACTS), text([FACTS[0], ["哮喘", "症状", "咳嗽"]]))
    assert facts == [*FACTS, ("哮喘", "症状", "咳嗽")]
    assert dropped == {"repeated triple": 1}


BAD: list[tuple[Any, str]] = [
    (["肺炎", "症状"], "triple with missing parts"),
    (["肺炎", "症状", ""], "triple with missing parts"),
    (["肺炎", "症状", " \u0001 "], "triple with missing parts"),
    (["肺炎", "症状", None], "triple with missing parts"),
    ({"head": "肺炎", "relation": "症状"}, "triple with missing parts"),
    (["肺炎", "症状", 7], "triple with a part that is not text"),
    (["肺炎", "症状", "长" * 101], "triple with a name that is too long"),
    (["肺炎", "并发症", "肺炎"], "triple of one thing with itself"),
    ({"相关疾病": 12410}, "no triple"),
    ({"text": "...", "spo_list": [["肺炎", "症状"]]}, "triple with missing parts"),
    ({"name": "肺炎", "症状": [7]}, "triple with a part that is not text"),
    (7, "no JSON object"),
]


@pytest.mark.parametrize(("record", "reason"), BAD)
def test_what_is_no_fact_is_counted(tmp_path: Path, record: Any, reason: str) -> None:
    assert graph_of(tmp_path, text([*FACTS, record])) == (FACTS, {reason: 1})


def test_a_graph_without_facts_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        VitalFactoryError, match=r"no triple of head, relation and tail; first graph-0-000001: no triple"
    ):
        graph_of(tmp_path, text([{"a": "b"}]))


def test_names_are_tidied(tmp_path: Path) -> None:
    assert graph_of(tmp_path, text([[" 肺\n炎 ", "症状", "发\u0001热"]]))[0] == [("肺 炎", "症状", "发 热")]


def test_a_graph_keeps_each_fact_once() -> None:
    graph = Graph(FACTS)
    assert not graph.add(FACTS[0])
    assert (len(graph), graph.heads) == (2, ["肺炎"])
    assert graph.of("肺炎") == {"症状": ["发热", "咳嗽"]}
    assert graph.of("哮喘") == {}


@real
def test_the_real_triples_are_read() -> None:
    graph, dropped = read_graph([REAL / "cmekg_tools_train_example.json"])
    assert len(graph) + len(dropped) == 64
    assert "尿频" in graph.of("12小时尿沉渣计数")["相关症状"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_made_graph_is_the_same_every_time(language: str) -> None:
    graph = make_graph(50, 7, language)
    assert list(graph) == list(make_graph(50, 7, language))
    assert list(graph) != list(make_graph(50, 8, language))
    assert len(graph.heads) == 50
    drugs = [tail for head in graph.heads for tail in list(graph.of(head).values())[-1]]
    assert len(set(drugs)) == 100


@pytest.mark.parametrize("count", [0, 100_001])
def test_too_many_diseases_are_refused(count: int) -> None:
    with pytest.raises(VitalFactoryError, match="expected 1 to 100000 diseases"):
        make_graph(count, 1, "en")
