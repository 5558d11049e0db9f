"""How a synthetic case is told: findings become words, words sentences, sentences a note in sections."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from vitalfactory.notes.synthetic_tables import FINDINGS, Disease, Finding, Kind, Span

LATER_WORDING = 0.3
"""How often the last wording is taken where it may be."""
HEADED, BROKEN, QUOTED, MARKED = 0.5, 0.5, 0.12, 0.25
"""Shares of notes with headings, with line ends between sections, with the complaint in quotes, and of lists that mark
what is present with (+) and what is absent with (-)."""

_UNITS_ZH = {"points": "分", "/min": "次/分", "/h": "次/小时"}


@dataclass(frozen=True)
class Plan:
    """What a note tells, in no language: findings by their keys in the table.

    Attributes
    ----------
    diseases : sequence of Disease
    present : sequence of sequence of str
        The findings that are there, for each disease.
    noise : sequence of str
        Others that are there.
    absent : sequence of str
    past, family : Disease or None
        A disease that the patient had, and one of a relative.
    age : int
    male : bool
    days : int
        Since the complaint began.
    """

    diseases: Sequence[Disease]
    present: Sequence[Sequence[str]]
    noise: Sequence[str]
    absent: Sequence[str]
    past: Disease | None
    family: Disease | None
    age: int
    male: bool
    days: int


@dataclass(frozen=True)
class Written:
    """A note, and how it words each finding that is present."""

    text: str
    evidence: Mapping[str, str]


@dataclass(frozen=True)
class _Told:
    """A finding in words: a noun phrase, or what was measured."""

    finding: Finding
    present: bool
    words: str


@dataclass(frozen=True)
class _Frames:
    """Sentences for what is present ({p}) and what is absent ({a})."""

    both: Sequence[str]
    present: Sequence[str]
    absent: Sequence[str]


@dataclass(frozen=True)
class _Speech:
    """A language's sentences and signs."""

    comma: str
    last_and: str
    last_or: str
    blank: str
    stop: str
    plus: str
    minus: str
    opening: Mapping[bool, str]
    complaint: str
    nothing: str
    quoted: str
    headings: Sequence[str]
    symptom: _Frames
    history: _Frames
    sign: _Frames
    image: _Frames
    assay: _Frames
    past: Sequence[str]
    family: Sequence[str]


_ENGLISH = _Speech(
    comma=", ",
    last_and=" and ",
    last_or=" or ",
    blank=" ",
    stop=". ",
    plus=" (+)",
    minus=" (-)",
    opening={True: "A {age}-year-old man.", False: "A {age}-year-old woman."},
    complaint="{p} for {days} days.",
    nothing="Seen for review.",
    quoted='In the patient\'s words: "{p}".',
    headings=(
        "Chief complaint: ",
        "History of present illness: ",
        "Past history: ",
        "Physical examination: ",
        "Investigations: ",
    ),
    symptom=_Frames(
        both=(
            "Reports {p} and denies {a}.",
            "There has been no {a}, only {p}.",
            "Denies {a} but has noticed {p}.",
            "{p} without {a}.",
            "Asked about {a} the answer was no; {p} came on gradually.",
            "Also {p}; {a} all absent.",
        ),
        present=("Also reports {p}.", "There is {p} as well.", "Has noticed {p}."),
        absent=("Denies {a}.", "There has been no {a}.", "Asked about {a} the answer was no."),
    ),
    history=_Frames(
        both=("{p}, but no {a}.", "Denies {a}; {p} for years.", "No {a}; {p} admitted."),
        present=("Notable for {p}.", "{p} for some time."),
        absent=("No {a}.", "{a}: denied."),
    ),
    sign=_Frames(
        both=(
            "There is {p}, no {a}.",
            "{a} not found, {p} clearly present.",
            "No {a}, but {p}.",
            "{p}; {a} looked for and absent.",
        ),
        present=("There is {p}.", "{p} present.", "Shows {p}."),
        absent=("No {a}.", "{a} not found.", "{a} looked for and absent."),
    ),
    image=_Frames(
        both=(),
        present=("{test}: {p}", "{test} shows {p}", "{p} on {test}"),
        absent=("{test}: no {a}", "{test} does not show {a}", "{a} not seen on {test}", "{test} excludes {a}"),
    ),
    assay=_Frames(
        both=(),
        present=("{p} positive", "{p} (+)"),
        absent=("{a} negative", "{a} (-)"),
    ),
    past=("{name} {years} years ago with full recovery.", "Was treated for {name} {years} years ago."),
    family=("Mother has {name}.", "Father has {name}.", "A brother was treated for {name}."),
)

_CHINESE = _Speech(
    comma="、",
    last_and="、",
    last_or="、",
    blank="",
    stop="。",
    plus="（+）",
    minus="（-）",
    opening={True: "患者男，{age}岁。", False: "患者女，{age}岁。"},
    complaint="{p}{days}天。",
    nothing="来院复查。",
    quoted="患者自述“{p}”。",
    headings=("主诉：", "现病史：", "既往史：", "查体：", "辅助检查："),
    symptom=_Frames(
        both=(
            "诉{p}，否认{a}。",
            "无{a}，仅有{p}。",
            "否认{a}，但觉{p}。",
            "{p}，不伴{a}。",
            "问及{a}，均答无；渐出现{p}。",
            "{a}均无，另有{p}。",
        ),
        present=("另诉{p}。", "同时有{p}。", "自觉{p}。"),
        absent=("否认{a}。", "无{a}。", "问及{a}，均答无。"),
    ),
    history=_Frames(
        both=("有{p}，无{a}。", "否认{a}，承认{p}。", "{a}均否认；{p}多年。"),
        present=("有{p}。", "承认{p}。"),
        absent=("无{a}。", "{a}：否认。"),
    ),
    sign=_Frames(
        both=("可见{p}，无{a}。", "{a}未查及，{p}明显。", "未见{a}，但有{p}。", "{p}存在；{a}均未发现。"),
        present=("可见{p}。", "{p}明显。", "查及{p}。"),
        absent=("未见{a}。", "{a}未查及。", "{a}均未发现。"),
    ),
    image=_Frames(
        both=(),
        present=("{test}：{p}", "{test}示{p}", "{p}见于{test}"),
        absent=("{test}：无{a}", "{test}未见{a}", "{a}于{test}未见", "{test}排除{a}"),
    ),
    assay=_Frames(
        both=(),
        present=("{p}阳性", "{p}（+）"),
        absent=("{a}阴性", "{a}（-）"),
    ),
    past=("{years}年前患{name}，已治愈。", "曾于{years}年前因{name}治疗。"),
    family=("母亲患有{name}。", "父亲患有{name}。", "其兄曾因{name}治疗。"),
)

SPEECH: Mapping[str, _Speech] = {"en": _ENGLISH, "zh": _CHINESE}


def write(plan: Plan, language: str, rng: random.Random, *, later: bool) -> Written:
    """Write a plan as a note.

    Parameters
    ----------
    plan : Plan
    language : {'en', 'zh'}
    rng : Random
        Chooses the wordings, the order and the values.
    later : bool
        Whether the last wording of a finding may be used.

    Returns
    -------
    Written
    """
    present = [key for keys in plan.present for key in keys] + list(plan.noise)
    told = {key: _tell(FINDINGS[key], True, language, rng, later) for key in dict.fromkeys(present)}
    absent = [_tell(FINDINGS[key], False, language, rng, later) for key in plan.absent]
    text = _Writer(SPEECH[language], plan, rng).note([*told.values(), *absent], language)
    return Written(text, {key: one.words for key, one in told.items()})


def _tell(finding: Finding, present: bool, language: str, rng: random.Random, later: bool) -> _Told:
    *wordings, last = finding.wordings[language]
    words = last if later and rng.random() < LATER_WORDING else rng.choice(wordings)
    if finding.kind in ("vital", "value"):
        words = f"{words} {_value(finding, present, language, rng)}"
    elif finding.kind == "assay":
        words = rng.choice(_frames(SPEECH[language].assay, present)).format(p=words, a=words)
    return _Told(finding, present, words)


def _frames(frames: _Frames, present: bool) -> Sequence[str]:
    return frames.present if present else frames.absent


def _value(finding: Finding, present: bool, language: str, rng: random.Random) -> str:
    number = _number(finding.present if present else finding.absent, finding.digits, rng)
    low = finding.present_low if present else finding.absent_low
    if low is not None:
        number += f"/{_number(low, finding.digits, rng)}"
    unit = _UNITS_ZH.get(finding.unit, finding.unit) if language == "zh" else finding.unit
    return number + ("" if language == "zh" or unit.startswith(("%", "/")) else " ") + unit


def _number(span: Span, digits: int, rng: random.Random) -> str:
    low, high = (round(end * 10**digits) for end in span)
    number = rng.randint(low, high)
    return f"{number / 10**digits:.{digits}f}"


def _upper(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


class _Writer:
    """Puts what is told into sentences and sections of one language.

    Parameters
    ----------
    speech : _Speech
    plan : Plan
    rng : Random
    """

    def __init__(self, speech: _Speech, plan: Plan, rng: random.Random) -> None:
        self.speech, self.plan, self.rng = speech, plan, rng

    def note(self, told: Sequence[_Told], language: str) -> str:
        """Write the note.

        Parameters
        ----------
        told : sequence of _Told
            In any order.
        language : {'en', 'zh'}
        """
        by_kind: dict[str, list[_Told]] = {kind: [] for kind in get_args(Kind)}
        for one in self.rng.sample(told, len(told)):
            by_kind[one.finding.kind].append(one)
        complaint = [one for one in by_kind["symptom"] if one.present][:2]
        symptoms = [one for one in by_kind["symptom"] if one not in complaint]
        sections = (
            self._complaint([one.words for one in complaint]),
            self._sentence(self.speech.symptom, symptoms),
            self._past(by_kind["history"], language),
            self._listed([one.words for one in by_kind["vital"]]) + self._sentence(self.speech.sign, by_kind["sign"]),
            self._tests([*by_kind["value"], *by_kind["image"], *by_kind["assay"]], language),
        )
        return self._join(sections)

    def _complaint(self, words: Sequence[str]) -> str:
        if not words:
            return self.speech.nothing
        both = self._list(words, self.speech.last_and)
        frame = self.speech.quoted if self.rng.random() < QUOTED else self.speech.complaint
        return _upper(frame.format(p=both, days=self.plan.days))

    def _sentence(self, frames: _Frames, told: Sequence[_Told]) -> str:
        """Tell what is present and what is absent in one sentence, or mark each with a sign."""
        if len(told) > 1 and self.rng.random() < MARKED:
            return self._listed([one.words + (self.speech.plus if one.present else self.speech.minus) for one in told])
        present = [one.words for one in told if one.present]
        absent = [one.words for one in told if not one.present]
        if not told:
            return ""
        frame = self.rng.choice(frames.both if present and absent else frames.present if present else frames.absent)
        p, a = self._list(present, self.speech.last_and), self._list(absent, self.speech.last_or)
        return _upper(frame.format(p=p, a=a))

    def _past(self, history: Sequence[_Told], language: str) -> str:
        parts = [self._sentence(self.speech.history, history)]
        for disease, frames in ((self.plan.past, self.speech.past), (self.plan.family, self.speech.family)):
            if disease is not None:
                name, years = disease.names[language], self.rng.randint(2, 12)
                parts.append(_upper(self.rng.choice(frames).format(name=name, years=years)))
        told = [part for part in parts if part]
        return self.speech.blank.join(self.rng.sample(told, len(told)))

    def _tests(self, tests: Sequence[_Told], language: str) -> str:
        return self._listed([self._test(one, language) for one in self.rng.sample(tests, len(tests))])

    def _test(self, one: _Told, language: str) -> str:
        if one.finding.test is None:
            return one.words
        frame = self.rng.choice(_frames(self.speech.image, one.present))
        return frame.format(test=one.finding.test[language], p=one.words, a=one.words)

    def _list(self, words: Sequence[str], last: str) -> str:
        return last.join(filter(None, (self.speech.comma.join(words[:-1]), *words[-1:])))

    def _listed(self, words: Sequence[str]) -> str:
        """Tell items one after the other, as a sentence of their own."""
        return _upper(self.speech.comma.join(words)) + self.speech.stop if words else ""

    def _join(self, sections: Sequence[str]) -> str:
        opening = self.speech.opening[self.plan.male].format(age=self.plan.age)
        headed = self.rng.random() < HEADED
        between = "\n" if self.rng.random() < BROKEN else self.speech.blank
        headings = self.speech.headings if headed else [""] * len(sections)
        told = [heading + section.strip() for heading, section in zip(headings, sections, strict=True) if section]
        return between.join([opening, *told])
