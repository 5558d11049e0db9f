"""Clinical notes: reading them, their sections, a diagnosis that they state, and telling a long one shortly.

A source is JSON Lines. A note may be text with or without headings, in Chinese or in English:

    {"id": 17, "feature_content": "主诉：咳嗽3天。查体：右下肺湿啰音。初步诊断：肺炎。"}

A diagnosis that a note states under a heading is the answer to the question that a model is trained to answer.
:func:`find_diagnosis` finds it and :func:`strip_diagnosis` cuts it out. A diagnosis told within a sentence ("was found
to have pneumonia") has no heading and is not found.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vitalfactory.errors import UnusableRecord
from vitalfactory.files import dumps, read_jsonl

FIELDS = ("feature_content", "note", "text", "input")
"""What the field with the note is called, ``input`` in a dataset; the first that a row has is taken."""

CUT = " [...] "
"""What stands in a shortened note wherever something was left out."""

Kind = Literal[
    "opening",
    "complaint",
    "illness",
    "exam",
    "tests",
    "past",
    "medications",
    "personal",
    "family",
    "differential",
    "treatment",
    "diagnosis",
]

WORTH: Mapping[Kind, int] = {
    "opening": 0,
    "complaint": 0,
    "illness": 1,
    "exam": 2,
    "tests": 3,
    "past": 4,
    "medications": 5,
    "personal": 5,
    "family": 5,
    "differential": 6,
    "treatment": 6,
    "diagnosis": 7,
}
"""Which sections a note that is too long keeps: those with the lowest number first. ``opening`` has no heading."""

_CHINESE: Mapping[Kind, str] = {
    "complaint": "主诉|就诊原因|入院原因",
    "illness": "现病史|病史|病情介绍|病例介绍|入院情况|病程",
    "exam": "体格检查|查体|体检|专科检查|专科情况|神经系统检查|生命体征|入院查体",
    "tests": (
        "(?:实验室及)?(?:辅助|实验室|影像学?|化验|门诊|入院后?|血液|超声|病理)检查|实验室及影像学检查|检查结果|化验结果|检验结果"
        "|(?:影像学?|超声|彩超|B超|CT|MRI|X线|胸片|心电图|胃镜|肠镜|内镜)诊断"
    ),
    "past": "既往(?:病)?史|既往诊断|手术史|外伤史|疾病史|传染病史",
    "medications": "用药史|药物史|目前用药|过敏史|药物过敏史",
    "personal": "个人史|婚育史|婚姻史|生育史|月经史|社会史|职业史|出生史|喂养史",
    "family": "家族(?:病)?史|家族遗传史",
    "differential": "鉴别诊断|诊断与鉴别诊断|诊断及鉴别诊断",
    "treatment": (
        "诊疗(?:经过|计划|过程|方案)|治疗(?:经过|过程|方案|计划|原则|结果|意见|情况)?|处理(?:意见)?|处置|医嘱|出院医嘱|出院情况"
        "|手术(?:经过|记录|名称)|预后|随访|转归|建议"
    ),
    "diagnosis": (
        "(?:(?:初步|入院|出院|门诊|急诊|临床|最后|最终|修正|补充|确定|主要|次要|其他|其它|目前|术前|术中|术后|病理|西医|中医|外院"
        "|当地|疾病|印象|拟){0,2}(?<!明确)(?<!既往)诊断(?:结果|意见|结论|名称|依据)?)|(?:初步|临床)?印象|拟诊"
    ),
}

_ENGLISH: Mapping[Kind, str] = {
    "complaint": r"(?:chief|presenting|main) complaints?|reason for (?:visit|admission|consultation|referral)|(?-i:CC)",
    "illness": (
        r"(?:history of )?(?:the )?present(?:ing)? (?:illness|complaint)|(?:clinical|interval|brief) history|history"
        r"|subjective|(?-i:HPI)"
    ),
    "exam": (
        r"(?:physical|clinical|general|neurological|mental status) exam(?:ination)?|(?:on )?exam(?:ination)?"
        r"|vital signs|vitals|review of systems|objective|(?-i:ROS|PE|O/E)"
    ),
    "tests": (
        r"lab(?:s|oratory)?(?: (?:data|results|findings|tests|values|studies))?|investigations|imaging(?: studies)?"
        r"|(?:pertinent |test )?results|(?:diagnostic )?(?:tests|studies|work-?up)|radiology"
    ),
    "past": r"past (?:medical |surgical )?history|(?:medical|surgical) history|comorbidities|(?-i:PMHx?|PSHx?)",
    "medications": (
        r"(?:current |home |admission |discharge )?medications(?: on (?:admission|discharge))?|drug history|allergies"
    ),
    "personal": r"(?:social|personal|occupational|travel|obstetric|menstrual|birth) history|(?-i:SHx?)",
    "family": r"family (?:medical )?history|(?-i:FHx?)",
    "differential": r"differential(?: diagnos[ie]s)?|(?-i:DDx)",
    "treatment": (
        r"treatment(?: plan)?|management|plan|(?:hospital |clinical )?course|disposition|follow-?up|recommendations"
        r"|procedures?|discharge (?:instructions|condition)|condition on discharge"
    ),
    "diagnosis": (
        r"(?:(?:final|admi(?:tting|ssion)|discharge|principal|primary|secondary|provisional|working|preliminary|clinical"
        r"|presumptive|pre-?operative|post-?operative|initial|main|other|pathological|current) ){0,3}"
        r"(?<!of )(?<!at )(?<!for )(?<!since )diagnos[ie]s"
        r"|(?:clinical |final |overall )?impression|assessment(?: ?(?:and|&|/) ?plan)?|(?-i:Dx|DX|Imp|A/P|A&P)"
    ),
}

_UNSTATED = re.compile(
    r"(?:尚|仍|目前)?(?:不明|不明确|不清|不清楚|不详|待查|待定|待明确|待完善|未明|未明确|未定|暂无|无)"
    r"|(?:remains? |still )?(?:unclear|unknown|uncertain|pending|deferred|undetermined|awaited|none|n/?a|tbd)"
    r"|not (?:yet )?(?:established|clear|known|made|certain)|to be (?:determined|confirmed|established)",
    re.IGNORECASE,
)
"""What may stand under the heading of a diagnosis without being one."""

_HALF = re.compile("[\ud800-\udfff]")
_MARKS = " \t\r\n\u3000.,;:!?。，；：！？、-*#_【】[]()（）\"'“”"
_SENTENCE_END = re.compile(r"[。！？；;\n]|[.!?](?=\s)")
_CLAUSE_END = re.compile(r"[，、\s]|,(?=\s)")
"""Where a text without sentences is cut: never inside a number, since half of it is another value."""


@dataclass(frozen=True)
class Note:
    """A clinical note.

    Attributes
    ----------
    id : str
        Ids repeat in real files: see :func:`note_key`.
    text : str
    """

    id: str
    text: str


@dataclass(frozen=True)
class BadNote:
    """A row of a source that holds no usable note.

    Attributes
    ----------
    id : str
        The row's id, or ``row 12`` where it has none.
    reason : str
        A short phrase shared by all rows with the same fault: ``no id``, ``no note``, ``empty note``, ``broken text``.
    detail : str
        What was found; nothing of the note's text.
    """

    id: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Section:
    """A headed part of a note.

    Attributes
    ----------
    kind : str
        A key of ``WORTH``.
    start : int
        Where its heading begins.
    body : int
        Where the text under the heading begins.
    end : int
        Where the next heading begins, or the note ends.
    """

    kind: Kind
    start: int
    body: int
    end: int


def read_notes(path: Path) -> Iterator[Note | BadNote]:
    """Read a source row by row, in constant memory.

    Parameters
    ----------
    path : Path
        JSON Lines: ``{"id": int or str, "feature_content": str}``; the note may also be called ``note`` or ``text``.

    Yields
    ------
    Note or BadNote
        One for each row, in the order of the file.

    Raises
    ------
    VitalFactoryError
        The file is missing, or a line is not a JSON object.
    """
    for number, row in enumerate(read_jsonl(path), 1):
        try:
            yield note_of(row)
        except UnusableRecord as error:
            yield BadNote(name_of(row, number), error.reason, error.detail)


def name_of(row: Mapping[str, Any], number: int) -> str:
    """Name a row of a source by its id, or by its number where it has none that can be one."""
    return _id_of(row) or f"row {number}"


def note_of(row: Mapping[str, Any]) -> Note:
    """Take the note out of one row.

    Raises
    ------
    UnusableRecord
        The row has no id or no note, or the note is blank or broken; see :class:`BadNote` for the reasons.
    """
    name = _id_of(row)
    if name is None:
        raise UnusableRecord("no id", "expected a number or a text under 'id'")
    field = field_of(row)
    if field is None:
        raise UnusableRecord("no note", f"expected one of the fields {', '.join(FIELDS)}")
    text = row[field]
    if not isinstance(text, str):
        raise UnusableRecord("no note", f"expected text under {field!r}, found {type(text).__name__}")
    if not text.strip():
        raise UnusableRecord("empty note", f"nothing under {field!r}")
    if not _encodable(text):
        raise UnusableRecord("broken text", f"half a character under {field!r}")
    return Note(name, text)


def field_of(row: Mapping[str, Any]) -> str | None:
    """Return the name of the field that holds a row's note; None where the row has none."""
    return next((field for field in FIELDS if row.get(field) is not None), None)


def _id_of(row: Mapping[str, Any]) -> str | None:
    """Return the row's id as text; a number is written as it is, and what cannot be an id is none."""
    name = row.get("id")
    if isinstance(name, bool) or not isinstance(name, int | str) or name == "":
        return None
    return str(name) if _encodable(str(name)) else None


def _encodable(text: str) -> bool:
    """Whether a text can be written: JSON may hold half of a pair of surrogates."""
    return text.isascii() or _HALF.search(text) is None


def note_key(note: Note) -> str:
    """Name a note by its id and its content, as 16 hexadecimal digits: the same on every machine."""
    return hashlib.blake2b(dumps([note.id, note.text]).encode("utf-8"), digest_size=8).hexdigest()


def _headings() -> re.Pattern[str]:
    """Match a heading.

    With a colon or in brackets it may stand anywhere in a line; without them at the line's beginning only, and there
    alone or, if it is Chinese, with a blank or a number after it.
    """
    chinese = "|".join(f"(?P<zh_{kind}>{names})" for kind, names in _CHINESE.items())
    english = "|".join(f"(?P<en_{kind}>{names})" for kind, names in _ENGLISH.items())
    number = r"[(（]?(?:\d{1,2}|[一二三四五六七八九十]{1,3})[.、)）][ \t]*"
    bare = r"[*_]{0,2}[ \t\u3000]*$|(?(zh)[ \t\u3000]+|(?!))|(?(zh)(?=\d{1,2}[.、)])|(?!))"
    return re.compile(
        rf"(?P<lead>^[ \t\u3000>#*•\-]*(?:{number})?[*_]{{0,2}})?"
        rf"(?P<bracket>[【\[]\s*)?"
        rf"(?:(?P<zh>{chinese})|(?<![a-z])(?:{english})(?![a-z]))"
        rf"(?(bracket)\s*[】\]]\s*[:：]?|(?:[*_]{{0,2}}[ \t\u3000]{{0,2}}[:：][*_]{{0,2}}|(?(lead)(?:{bare})|(?!))))",
        re.IGNORECASE | re.MULTILINE,
    )


_HEADING = _headings()
_DIAGNOSIS_WORD = re.compile("诊|印象|diagnos|impress|assess|dx|imp|a/p|a&p", re.IGNORECASE)
"""In every heading of a diagnosis: a note without one needs no search for headings, which takes far longer."""


def find_sections(text: str) -> list[Section]:
    """Find the parts of a note, in their order; together they are the whole note.

    Returns
    -------
    list of Section
        What stands before the first heading is of the kind ``opening``; a note without headings is that alone.
    """
    matches = list(_HEADING.finditer(text))
    starts = [(_kind(match), match.start(), match.end()) for match in matches]
    if not matches or matches[0].start() > 0:
        starts.insert(0, ("opening", 0, 0))
    ends = [start for _, start, _ in starts[1:]] + [len(text)]
    return [Section(kind, start, body, end) for (kind, start, body), end in zip(starts, ends, strict=True)]


def _kind(match: re.Match[str]) -> Kind:
    return next(kind for kind in _CHINESE if match[f"zh_{kind}"] or match[f"en_{kind}"])


def find_diagnosis(text: str) -> list[Section]:
    """Find the sections in which a note states its diagnosis.

    A heading without content, or with no more than "unclear" or 待查 under it, states none; nor does a differential
    diagnosis, a test's own conclusion (超声诊断) or a mere mention (为明确诊断).

    Returns
    -------
    list of Section
        In the order of the note.
    """
    if _DIAGNOSIS_WORD.search(text) is None:
        return []
    return [section for section in find_sections(text) if section.kind == "diagnosis" and _states(text, section)]


def _states(text: str, section: Section) -> bool:
    content = text[section.body : section.end].strip(_MARKS)
    return bool(content) and _UNSTATED.fullmatch(content) is None


def has_diagnosis(text: str) -> bool:
    """Whether a note states its diagnosis under a heading: see :func:`find_diagnosis`."""
    return bool(find_diagnosis(text))


def strip_diagnosis(text: str) -> str:
    """Cut out every section that states a diagnosis, with its heading; the rest stays as it is."""
    while found := find_diagnosis(text):  # what the cut brings together may read as another heading
        kept = zip(
            [0, *(section.end for section in found)], [*(section.start for section in found), len(text)], strict=True
        )
        text = "".join(text[start:end] for start, end in kept)
    return text


def shorten(text: str, longest: int) -> str:
    """Tell a note in fewer characters; one that fits stays as it is.

    Sections are taken in the order of their worth for a diagnosis (``WORTH``) and stand in the order of the note; the
    first that does not fit whole is cut at the end of a sentence, and those after it are left out. A note without
    headings keeps its beginning and its end. ``CUT`` stands wherever something was left out.

    Parameters
    ----------
    text : str
    longest : int
        The most characters allowed.

    Returns
    -------
    str
        Never longer than ``longest``; where not even ``CUT`` would fit, the note's first characters.
    """
    if len(text) <= longest:
        return text
    if longest <= len(CUT):
        return text[: max(longest, 0)]
    sections = find_sections(text)
    if len(sections) == 1:
        return _ends(text, longest - len(CUT))
    return _join(text, sections, _choose(text, sections, longest))


def _ends(text: str, room: int) -> str:
    """Keep the first and the last sentences."""
    tail = text[len(text) - room // 2 :]
    return text[: _last_end(text[: room - room // 2])] + CUT + tail[_first_end(tail) :].lstrip()


def _last_end(text: str) -> int:
    """Return where the last whole sentence of a text that goes on ends, else the last clause."""
    for pattern in (_SENTENCE_END, _CLAUSE_END):
        if ends := [match.end() for match in pattern.finditer(text)]:
            return ends[-1]
    return len(text)


def _first_end(text: str) -> int:
    """Return where the first sentence ends that has another one behind it, else the first clause, else 0."""
    for pattern in (_SENTENCE_END, _CLAUSE_END):
        match = pattern.search(text)
        if match and text[match.end() :].strip():
            return match.end()
    return 0


def _choose(text: str, sections: Sequence[Section], longest: int) -> list[int]:
    """Say for every section how many of its characters are kept."""
    kept = [0] * len(sections)
    room = longest - len(CUT)  # nothing is kept yet: one mark stands for all that is left out
    for place in sorted(range(len(sections)), key=lambda place: (WORTH[sections[place].kind], place)):
        section = sections[place]
        size = section.end - section.start
        before = place > 0 and not kept[place - 1]
        after = place + 1 < len(sections) and not kept[place + 1]
        if (need := size + (before + after - 1) * len(CUT)) <= room:
            kept[place], room = size, room - need
            continue
        room -= before * len(CUT)
        start = section.body - section.start
        if room > start:
            kept[place] = start + _last_end(text[section.body : section.start + room])
        break
    return kept


def _join(text: str, sections: Sequence[Section], kept: Sequence[int]) -> str:
    parts: list[str] = []
    for section, size in zip(sections, kept, strict=True):
        if size:
            parts.append(text[section.start : section.start + size])
        if size < section.end - section.start and parts[-1:] != [CUT]:
            parts.append(CUT)
    return "".join(parts)
