"""Questions made of a graph: each carries the facts that its answer stands on, and the name of its form.

    list      the tails of a head                      What are the symptoms of asthma? -> cough, wheeze
    yesno     a fact of the graph, or a false one      Is fever one of the symptoms of asthma? -> No
    compare   the tails of two heads                   Compare the causes of asthma with those of gout.
    reverse   the heads that have all of some tails    Which disease has cough and wheeze among its symptoms?
    hop       symptoms -> disease -> drugs             A patient has cough and wheeze. Name the disease ...

A false fact is a tail that others have under the same relation. A graph need not be complete, so that a "no" means: not
in the graph. Tails that contain one another (fever, high fever) are never told apart in that way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from random import Random
from typing import NamedTuple

from vitalfactory.knowledge.graph import Graph
from vitalfactory.knowledge.qa import QA, Dropped, Triple
from vitalfactory.knowledge.relations import Phrase, phrase

MOST_TAILS = 20
"""An answer that names more is none that anyone would give."""
MOST_HEADS = 4
"""The same for the heads that have some tails in common."""
CLUES = 3
"""How many tails a head is looked up by, at most."""

FORMS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "en": {
        "list": (
            "What are the {of}?",
            "List the {of}.",
            "Name the {of}.",
            "Tell me the {of}.",
            "Which are the {of}?",
            "Please state the {of}.",
            "I would like to know the {of}.",
            "Do you know the {of}?",
        ),
        "yesno": (
            "Is {tail} one of the {of}?",
            "Do the {of} include {tail}?",
            "Yes or no: {tail} is one of the {of}.",
            "Does {tail} belong to the {of}?",
            "Would you count {tail} among the {of}?",
        ),
        "compare": (
            "Compare the {of} with those {link} {other}.",
            "How do the {of} differ from those {link} {other}?",
            "Set the {of} against those {link} {other}.",
            "What are the {of}, and what are those {link} {other}?",
            "Contrast {head} and {other} by their {noun}.",
        ),
        "reverse": (
            "Which {thing} has {tails} among its {noun}?",
            "Name the {thing} whose {noun} include {tails}.",
            "What {thing} is it whose {noun} include {tails}?",
            "The {noun} include {tails}. Which {thing} is it?",
            "Find the {thing} that has these {noun}: {tails}.",
        ),
        "hop": (
            "A patient has {tails}. Name the disease and the drugs for it.",
            "Which disease do {tails} speak for, and with which drugs is it treated?",
            "What drugs help a patient with {tails}? Say for which disease.",
            "Someone suffers from {tails}. Which disease is it, and what are the drugs?",
            "Given {tails}, state the disease and its drugs.",
        ),
    },
    "zh": {
        "list": (
            "{of}有哪些？",
            "请列出{of}。",
            "请问{of}是什么？",
            "{head}有哪些{noun}？",
            "说说{of}。",
            "关于{head}，它的{noun}包括哪些？",
            "我想了解{of}。",
            "介绍一下{of}。",
        ),
        "yesno": (
            "{tail}是{of}吗？",
            "{of}包括{tail}吗？",
            "请回答是或否：{tail}属于{of}。",
            "{of}是否包括{tail}？",
            "能把{tail}算作{of}吗？",
        ),
        "compare": (
            "{head}和{other}的{noun}有何不同？",
            "比较{head}与{other}的{noun}。",
            "{head}与{other}在{noun}方面有什么区别？",
            "{head}的{noun}和{other}的{noun}分别是什么？",
            "从{noun}来看，如何区分{head}和{other}？",
        ),
        "reverse": (
            "哪种{thing}的{noun}包括{tails}？",
            "{noun}中有{tails}的是哪种{thing}？",
            "某{thing}的{noun}包括{tails}，它是什么？",
            "请说出{noun}包括{tails}的{thing}。",
            "根据以下{noun}判断是哪种{thing}：{tails}。",
        ),
        "hop": (
            "患者出现{tails}，可能是什么疾病，用哪些药物？",
            "{tails}提示哪种疾病？应使用什么药物？",
            "有{tails}的患者该用什么药？请说明是哪种疾病。",
            "一位患者有{tails}等表现，请说出疾病及其药物。",
            "根据{tails}，说明疾病和治疗药物。",
        ),
    },
}
"""Language to kind of question to its forms; the form's name is the kind with its place: ``list-3``."""
YES_NO = {"en": ("Yes", "No"), "zh": ("是", "否")}
_KINDS = {"reverse": "list", "hop": "compare"}
"""Kind of question to how its answer reads, where the two differ."""
_AND = {"en": ", ", "zh": "、"}
_COLON = {"en": ": ", "zh": "："}
_END = {"en": ".", "zh": "。"}


class _Group(NamedTuple):
    """What a graph says of one head under one phrase."""

    head: str
    phrase: Phrase
    facts: Sequence[Triple]

    @property
    def tails(self) -> list[str]:
        return list(dict.fromkeys(tail for _, _, tail in self.facts))


def make_questions(graph: Graph, language: str, seed: int) -> Iterator[QA | Dropped]:
    """Make questions of a graph.

    Parameters
    ----------
    graph : Graph
    language : {'en', 'zh'}
    seed : int
        Draws false facts, partners of comparisons, clues and forms.

    Yields
    ------
    QA or Dropped
        Every fact of a head stands in every form of ``list``; the other kinds take one form each. What a head has too
        many of to be listed is left out.
    """
    maker = _Maker(graph, language, seed)
    for group in maker.groups:
        if len(group.tails) > MOST_TAILS:
            name = maker.name("list", group.head, group.phrase.noun)
            yield Dropped(name, "more than an answer lists", f"{len(group.tails)} tails")
            continue
        yield from maker.lists(group)
        yield from maker.yes_no(group)
        yield from maker.compares(group)
        yield from maker.reverses(group)
    yield from maker.hops()


class _Maker:
    def __init__(self, graph: Graph, language: str, seed: int) -> None:
        self._language = language
        self._seed = seed
        self._subjects = set(graph.heads)
        self.groups: list[_Group] = []
        self._of_head: dict[str, list[_Group]] = {}
        self._by_phrase: dict[Phrase, list[_Group]] = defaultdict(list)
        self._heads: dict[tuple[Phrase, str], list[str]] = defaultdict(list)
        self._facts: dict[tuple[Phrase, str, str], Triple] = {}
        for head in graph.heads:
            self._add(head, graph.of(head))
        self._tails = {
            found: list(dict.fromkeys(tail for group in groups for tail in group.tails))
            for found, groups in self._by_phrase.items()
        }

    def _add(self, head: str, relations: Mapping[str, Sequence[str]]) -> None:
        facts: dict[Phrase, list[Triple]] = defaultdict(list)
        for relation, tails in relations.items():
            facts[phrase(relation, self._language)] += [(head, relation, tail) for tail in tails]
        self._of_head[head] = [_Group(head, found, triples) for found, triples in facts.items()]
        for group in self._of_head[head]:
            self.groups.append(group)
            self._by_phrase[group.phrase].append(group)
            for tail in group.tails:
                self._heads[group.phrase, tail].append(head)
            self._facts |= {(group.phrase, head, fact[2]): fact for fact in group.facts}

    def lists(self, group: _Group) -> Iterator[QA]:
        told = {"of": group.phrase.of(group.head), "head": group.head, "noun": group.phrase.noun}
        for place in range(len(FORMS[self._language]["list"])):
            yield self._make("list", place, told, self._join(group.tails), group.facts)

    def yes_no(self, group: _Group) -> Iterator[QA]:
        draw = self._random("yesno", group)
        true = draw.choice(group.tails)
        false = self._false(group, draw)
        for answer, tail in zip(YES_NO[self._language], (true, false), strict=True):
            if tail is not None:
                told = {"of": group.phrase.of(group.head), "tail": tail}
                facts = [self._facts[group.phrase, group.head, tail]] if tail == true else group.facts
                yield self._make("yesno", draw, told, answer, facts, (group.head, tail))

    def _false(self, group: _Group, draw: Random) -> str | None:
        """Draw a tail of others that the head does not have; None where there is none."""
        known = self._tails[group.phrase]
        for _ in range(10):
            tail = draw.choice(known)
            if tail != group.head and not any(tail in own or own in tail for own in group.tails):
                return tail
        return None

    def compares(self, group: _Group) -> Iterator[QA]:
        draw = self._random("compare", group)
        other = draw.choice(self._by_phrase[group.phrase])
        if other.head == group.head or len(other.tails) > MOST_TAILS:
            return
        own = group.phrase
        told = {"of": own.of(group.head), "link": own.link, "head": group.head, "other": other.head, "noun": own.noun}
        answer = f"{self._told(group)}{'; ' if self._language == 'en' else '；'}{self._told(other)}"
        facts = [*group.facts, *other.facts]
        yield self._make("compare", draw, told, answer, facts, (group.head, other.head))

    def reverses(self, group: _Group) -> Iterator[QA]:
        draw = self._random("reverse", group)
        clues = draw.sample(group.tails, min(CLUES, len(group.tails)))
        heads = self._having(group.phrase, clues)
        if len(heads) <= MOST_HEADS:
            told = {"thing": group.phrase.thing, "noun": group.phrase.noun, "tails": self._listed(clues)}
            facts = [self._facts[group.phrase, head, clue] for head in heads for clue in clues]
            others = [head for head in heads if head != group.head]
            yield self._make("reverse", draw, told, self._join(heads), facts, (group.head, *others))

    def hops(self) -> Iterator[QA]:
        for head, groups in self._of_head.items():
            symptoms, drugs = (
                next((group for group in groups if group.phrase.role == role and len(group.tails) <= MOST_TAILS), None)
                for role in ("symptom", "drug")
            )
            if symptoms is None or drugs is None:
                continue
            draw = self._random("hop", symptoms)
            clues = draw.sample(symptoms.tails, min(CLUES, len(symptoms.tails)))
            if self._having(symptoms.phrase, clues) == [head]:
                facts = [*(self._facts[symptoms.phrase, head, clue] for clue in clues), *drugs.facts]
                yield self._make("hop", draw, {"tails": self._listed(clues)}, self._told(drugs), facts)

    def _having(self, found: Phrase, tails: Sequence[str]) -> list[str]:
        """List the heads that have all of some tails."""
        rarest = min(tails, key=lambda tail: len(self._heads[found, tail]))
        return [
            head for head in self._heads[found, rarest] if all((found, head, tail) in self._facts for tail in tails)
        ]

    def _random(self, kind: str, group: _Group) -> Random:
        return Random(f"{self._seed}/{kind}/{group.head}/{group.phrase.noun}")

    def _join(self, names: Sequence[str]) -> str:
        return _AND[self._language].join(names)

    def _listed(self, names: Sequence[str]) -> str:
        """Join names within a sentence."""
        last = {"en": " and ", "zh": "和"}[self._language]
        return last.join([*([self._join(names[:-1])] if names[:-1] else []), names[-1]])

    def _told(self, group: _Group) -> str:
        return f"{group.head}{_COLON[self._language]}{self._join(group.tails)}"

    def name(self, *parts: str) -> str:
        """Make an id of what a question is about."""
        return f"graph-{blake2b(chr(31).join(parts).encode(), digest_size=8).hexdigest()}"

    def _make(
        self,
        kind: str,
        form: int | Random,
        told: Mapping[str, str],
        answer: str,
        facts: Sequence[Triple],
        named: Sequence[str] = (),
    ) -> QA:
        """Lay a question out; whoever it names and is said something of in the graph is one of its entities."""
        forms = FORMS[self._language][kind]
        place = form.randrange(len(forms)) if isinstance(form, Random) else form
        question = forms[place].format(**told)
        about = facts[0][0] if not named else named[0]
        others = dict.fromkeys([*named, *(part for head, _, tail in facts for part in (head, tail))])
        entities = (about, *(name for name in others if name != about and name in self._subjects))
        return QA(
            id=self.name(question, answer),
            question=question,
            answer=answer if kind == "yesno" else answer + _END[self._language],
            triples=tuple(facts),
            form=f"{kind}-{place + 1}",
            kind=_KINDS.get(kind, kind),
            entities=entities,
        )
