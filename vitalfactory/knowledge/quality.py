"""What is fit to learn from: cleaning, gates that each count what they leave out, and questions of an evaluation.

A question that stands with different answers is left out with all of them. Which is right cannot be told from the file,
and in real files such a question is often one that cannot be answered ("How do these two diseases differ?").
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from vitalfactory.knowledge.qa import QA, Dropped

LONGEST = 2000
"""Characters of a question with its turns, and of an answer."""
FEWEST_LETTERS = 12
"""A shorter text is judged in no script: a lone "DIC" or "1/10 000" answers in every language."""
HAN_LETTERS = 3
"""As many letters does a Chinese character count for."""
MOST_MARKS = 5
"""A text of so many times the length allowed is too long, however much of it is marks of HTML."""
SCRIPT_SHARE = 0.1
"""Of a text's letters; fewer of the language's own are the wrong script."""

_GLANCE = 40
"""Characters in which the language's own letters are most often enough for the whole text."""

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028\u2029\ufeff]")
_BROKEN = re.compile("[\ud800-\udfff\ufffd]")
_TAG = re.compile(
    r"</?(?:a|b|big|br|center|code|div|em|font|h[1-6]|hr|i|img|li|ol|p|pre|script|small|span|strong|style|sub|sup|table"
    r"|tbody|td|th|thead|tr|u|ul)(?:\s+[\w:-]+\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s<>\"']+))*\s*/?>|<!--.*?-->",
    re.IGNORECASE | re.DOTALL,
)
_LINE_TAG = re.compile(r"</?(?:br|div|h[1-6]|hr|li|p|table|tr)\b", re.IGNORECASE)
_CODE = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|$)", re.IGNORECASE | re.DOTALL)
_SCRIPTS = {"en": re.compile(r"[A-Za-z\u00c0-\u024f]"), "zh": re.compile("[\u3400-\u9fff\uf900-\ufaff]")}
_MARKS = re.compile("[ \t\r\n\u3000,，。!！?？:：;；、\"'“”‘’()（）【】\\[\\]《》…]+")
_POLITE = "(?:你|您)?(?:的)?(?:咨询|提问|信任)?"
_BOILERPLATE = re.compile(
    "无|不知道|不清楚|不详|暂无|略|同上|如题|如上|见上|没有答案|没有回答|(?:你|您)好|祝(?:你|您)?(?:早日)?(?:健康|康复)"
    f"|(?:谢谢|感谢){_POLITE}|(?:请|建议)(?:你|您)?(?:及时|尽快|到医院|去医院)*(?:就医|就诊|咨询医生|去医院|到医院)"
    "|n/?a|none|unknown|noanswer|idon'?tknow|seeabove|asabove|thankyou|thanks"
    "|(?:please)?(?:consult|see|ask)(?:a|your)doctor"
)
_LONGEST_BOILERPLATE = 40
_DISCLAIMER = re.compile(
    r"(?:作为|我是|我只是)(?:一[个名])?(?:AI|人工智能|大?语言模型)|As an? (?:AI|(?:large )?language model)\b",
    re.IGNORECASE,
)
_DIRT = re.compile("[&<\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028\u2029\ufeff]")
"""What only a text that needs cleaning has."""


def key(text: str) -> str:
    """Bring a text to the form in which two are the same: width, case, without blanks and marks between words."""
    told = _MARKS.sub("", text)  # first, since the marks alone are what most texts would be normalised for
    return _MARKS.sub("", unicodedata.normalize("NFKC", told).casefold()).rstrip(".")


def clean(text: str) -> str:
    """Take out control characters, references such as ``&lt;`` and marks of HTML; lines stay lines."""
    if "<" in text or "&" in text:
        text = html.unescape(text)
        text = _TAG.sub(_instead, _CODE.sub(" ", text))
    return _CONTROL.sub("", text).strip()


def _instead(tag: re.Match[str]) -> str:
    return "\n" if _LINE_TAG.match(tag[0]) else ""


def sift(
    rows: Iterable[QA | Dropped],
    *,
    language: str,
    longest: int = LONGEST,
    evaluation: Sequence[str] = (),
    near: bool = True,
) -> tuple[list[QA], list[Dropped]]:
    """Clean rows, and keep those that are fit to learn from.

    Parameters
    ----------
    rows : iterable of QA or Dropped
    language : {'en', 'zh'}
        What question and answer are to be written in.
    longest : int
        Characters of a question with its turns, and of an answer.
    evaluation : sequence of str
        Questions that must not be trained on; what is nearly one of them goes as well.
    near : bool
        Whether rows of files that are nearly the same as an earlier one, question and answer, are left out.

    Returns
    -------
    list of QA
        In their order.
    list of Dropped
    """
    dropped: list[Dropped] = []
    kept = list(_fit(rows, language, longest, dropped))
    if evaluation:
        kept = _not_evaluated(kept, evaluation, dropped)
    kept = _settle(kept, dropped)
    return (_not_near(kept, dropped) if near else kept), dropped


def _fit(rows: Iterable[QA | Dropped], language: str, longest: int, dropped: list[Dropped]) -> Iterator[QA]:
    for row in rows:
        if isinstance(row, Dropped):
            dropped.append(row)
            continue
        if sum(map(len, (row.question, row.answer, row.context, *row.history))) > MOST_MARKS * longest:
            dropped.append(Dropped(row.id, "too long"))
            continue
        cleaned = _cleaned(row)
        reason = _unfit(cleaned, language, longest)
        if reason is None:
            yield cleaned
        else:
            dropped.append(Dropped(row.id, reason))


def _cleaned(row: QA) -> QA:
    texts = (row.question, row.answer, row.context, *row.history)
    if not _DIRT.search("".join(texts)):
        return row
    question, answer, context, *history = map(clean, texts)
    if (question, answer, context, *history) == texts:
        return row
    return row._replace(question=question, answer=answer, context=context, history=tuple(history), cleaned=True)


def _unfit(row: QA, language: str, longest: int) -> str | None:
    """Say why a row is not fit to learn from; None where it is."""
    question, answer = "".join((*row.history, row.question, row.context)), row.answer
    if not row.question:
        return "no question"
    if not answer:
        return "empty answer"
    if len(question) > longest or len(answer) > longest:
        return "too long"
    if _BROKEN.search(question) or _BROKEN.search(answer):
        return "broken characters"
    if (len(answer) <= _LONGEST_BOILERPLATE and _BOILERPLATE.fullmatch(key(answer))) or _DISCLAIMER.match(answer):
        return "boiler-plate answer"
    if _wrong_script(question, language) or _wrong_script(answer, language):
        return "wrong script"
    return None


def _wrong_script(text: str, language: str) -> bool:
    if language == "en" and text.isascii():
        return False
    script = _SCRIPTS[language]
    if len(script.findall(text, 0, _GLANCE)) >= SCRIPT_SHARE * len(text):
        return False
    own = len(script.findall(text))
    letters = sum(map(str.isalpha, text)) + (HAN_LETTERS - 1) * len(_SCRIPTS["zh"].findall(text))
    return letters >= FEWEST_LETTERS and own < SCRIPT_SHARE * letters


def _not_evaluated(rows: Sequence[QA], evaluation: Sequence[str], dropped: list[Dropped]) -> list[QA]:
    from vitalfactory.knowledge.near import near_any

    wanted = list(dict.fromkeys(filter(None, map(key, evaluation))))
    exact = set(wanted)
    # A row is looked for by its question alone as well, since what is told beside it may be worded otherwise.
    asked = [(place, key(text)) for place, row in enumerate(rows) for text in {row.question, *row.asked}]
    near = near_any([text for _, text in asked], wanted)
    reasons = {asked[found][0]: "near a question of the evaluation" for found in near}
    reasons |= {place: "question of the evaluation" for place, text in asked if text in exact}
    dropped += [Dropped(rows[place].id, reason) for place, reason in sorted(reasons.items())]
    return [row for place, row in enumerate(rows) if place not in reasons]


def _settle(rows: Sequence[QA], dropped: list[Dropped]) -> list[QA]:
    """Keep the first of rows that repeat, and none of those that answer one question differently."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        places["\n".join(key(text) for text in (*row.history, row.question, row.context) if text)].append(place)
    out: dict[int, Dropped] = {}
    for same in places.values():
        answers = {key(rows[place].answer) for place in same} if len(same) > 1 else set()
        if len(answers) > 1:
            detail = f"{len(answers)} answers to one question"
            out |= {place: Dropped(rows[place].id, "contradictory answers", detail) for place in same}
        else:
            out |= {place: Dropped(rows[place].id, "repeated row") for place in same[1:]}
    dropped += [out[place] for place in sorted(out)]
    return [row for place, row in enumerate(rows) if place not in out]


def _not_near(rows: Sequence[QA], dropped: list[Dropped]) -> list[QA]:
    """Leave out what is nearly an earlier row; rows made of a graph differ by their form on purpose."""
    from vitalfactory.knowledge.near import near_duplicates

    read = [place for place, row in enumerate(rows) if not row.triples]
    near = near_duplicates([key("\n".join((*rows[place].asked, rows[place].answer))) for place in read])
    out = {read[later]: rows[read[earlier]].id for later, earlier in near.items()}
    dropped += [Dropped(rows[place].id, "nearly an earlier row", out[place]) for place in sorted(out)]
    return [row for place, row in enumerate(rows) if place not in out]
