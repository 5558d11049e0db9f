"""A knowledge graph: facts of head, relation and tail, out of one or several files.

{"head": "肺炎", "relation": "症状", "tail": "发热"}             one triple; also a list of three, or a line of CSV
{"text": "...", "spo_list": [["肺炎", "症状", "发热"], ...]}      CMeKG's
{"name": "肺炎", "症状": ["发热", "咳嗽"], "就诊科室": "呼吸科"}    an entity with its relations
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from vitalfactory.errors import VitalFactoryError
from vitalfactory.knowledge.qa import Dropped, Triple
from vitalfactory.knowledge.records import Record, read_records

LONGEST_NAME = 100
"""Characters of a head or a tail; what is longer is a description."""
_PARTS = (
    ("head", "subject", "h", "头实体", "主体"),
    ("relation", "predicate", "r", "关系", "谓词"),
    ("tail", "object", "t", "尾实体", "客体"),
)
_NAMES = ("name", "entity", "名称", "实体")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")


class Graph:
    """Facts, each once, by head and relation in the order in which they came.

    Parameters
    ----------
    triples : iterable of Triple
    """

    def __init__(self, triples: Iterable[Triple] = ()) -> None:
        self._facts: dict[str, dict[str, dict[str, None]]] = {}
        for triple in triples:
            self.add(triple)

    def add(self, triple: Triple) -> bool:
        """Add a fact; false where the graph has it already."""
        head, relation, tail = triple
        tails = self._facts.setdefault(head, {}).setdefault(relation, {})
        if tail in tails:
            return False
        tails[tail] = None
        return True

    def __iter__(self) -> Iterator[Triple]:
        """Go through all facts."""
        for head, relations in self._facts.items():
            for relation, tails in relations.items():
                for tail in tails:
                    yield head, relation, tail

    def __len__(self) -> int:
        """Count the facts."""
        return sum(len(tails) for relations in self._facts.values() for tails in relations.values())

    @property
    def heads(self) -> list[str]:
        """The entities that something is said of."""
        return list(self._facts)

    def of(self, head: str) -> Mapping[str, Sequence[str]]:
        """Look up an entity: relation to tails."""
        return {relation: list(tails) for relation, tails in self._facts.get(head, {}).items()}


def read_graph(paths: Sequence[Path]) -> tuple[Graph, list[Dropped]]:
    """Read a graph out of files.

    Parameters
    ----------
    paths : sequence of Path
        JSON, JSON Lines or CSV, in any of the forms above; a CSV may begin with the names of its columns.

    Returns
    -------
    Graph
    list of Dropped
        Triples that are no fact: a part is missing, empty, too long or no text, or it came already; and records
        that cannot be read or hold no triple.

    Raises
    ------
    VitalFactoryError
        See :func:`vitalfactory.knowledge.records.read_records`; or no file holds a fact.
    """
    graph = Graph()
    dropped: list[Dropped] = []
    for path in paths:
        for found_id, found in _triples(path):
            fault = found if isinstance(found, Dropped) else _fault(found_id, found)
            if fault is None and not graph.add(_names(found)):
                fault = Dropped(found_id, "repeated triple")
            if fault is not None:
                dropped.append(fault)
    if not len(graph):
        first = f"; first {dropped[0].id}: {dropped[0].reason}" if dropped else ""
        raise VitalFactoryError(f"{', '.join(map(str, paths))}: no triple of head, relation and tail{first}")
    return graph, dropped


def _triples(path: Path) -> Iterator[tuple[str, Sequence[Any] | Dropped]]:
    order: Sequence[int] | None = None
    for record in read_records(path, f"graph-{path.stem}"):
        if isinstance(record, Dropped):
            yield record.id, record
        elif isinstance(record.value, list):
            if order is None:
                order = _order(record.value)
                if order is not None:
                    continue
                order = (0, 1, 2)
            yield record.id, [record.value[place] for place in order if place < len(record.value)]
        else:
            yield from _of_object(record)


def _order(cells: Sequence[Any]) -> list[int] | None:
    """Find the columns of head, relation and tail in a header; None where the line is none."""
    names = [str(cell).strip().casefold() for cell in cells]
    places = [next((names.index(name) for name in known if name in names), None) for known in _PARTS]
    found = [place for place in places if place is not None]
    return found if len(found) == len(_PARTS) else None


def _of_object(record: Record) -> Iterator[tuple[str, Sequence[Any] | Dropped]]:
    row = record.value
    assert isinstance(row, dict)
    number = count(1)
    listed = row.get("spo_list")
    if isinstance(listed, list):
        for item in listed:
            yield f"{record.id}-{next(number)}", _parts(item) if isinstance(item, dict) else item
    elif any(name in row for name in _PARTS[1]):
        yield record.id, _parts(row)
    elif name := next((row[name] for name in _NAMES if isinstance(row.get(name), str)), None):
        for relation, tails in row.items():
            for tail in () if relation in _NAMES else tails if isinstance(tails, list) else [tails]:
                yield f"{record.id}-{next(number)}", (name, relation, tail)
    else:
        yield record.id, Dropped(record.id, "no triple")


def _parts(row: Mapping[str, Any]) -> list[Any]:
    return [next((row[name] for name in known if name in row), None) for known in _PARTS]


def _fault(triple_id: str, parts: Any) -> Dropped | None:
    if not isinstance(parts, list | tuple) or len(parts) != len(_PARTS) or not all(parts):
        return Dropped(triple_id, "triple with missing parts")
    if not all(isinstance(part, str) for part in parts):
        return Dropped(triple_id, "triple with a part that is not text")
    names = _names(parts)
    if not all(names):
        return Dropped(triple_id, "triple with missing parts")
    if max(map(len, names)) > LONGEST_NAME:
        return Dropped(triple_id, "triple with a name that is too long", f"over {LONGEST_NAME} characters")
    return Dropped(triple_id, "triple of one thing with itself") if names[0] == names[2] else None


def _names(parts: Any) -> Triple:
    head, relation, tail = (" ".join(_CONTROL.sub(" ", part).split()) for part in parts)
    return head, relation, tail
