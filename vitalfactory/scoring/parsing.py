"""Reading the one label that an answer in free text commits to, in English and in Chinese.

An answer is normalised, cut into sentences and these into clauses; each mention of a label is *stated*,
*denied* or *unclear*; the mentions together decide:

    AF                                   stated AF                       -> AF
    No, this ECG does not show AF.       stated no AF, denied AF         -> no AF
    Yes, no AF.                          stated AF, stated no AF         -> None
    AF cannot be ruled out.              unclear                         -> None

Labels and their wordings come from the dataset's card. What is not plain is never guessed: it gives None,
which counts as a wrong answer. "Suggests" and "consistent with" state a label; "possible", "may" and
"likely" do not. A question that the answer repeats says nothing; what a model says besides its label
("with no P waves") may stand beside it as long as it cannot be about the label.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from vitalfactory.card import Card
from vitalfactory.errors import VitalFactoryError

State = Literal["stated", "denied", "unclear"]
Said = Literal["parsed", "unclear", "off topic"]

LETTER = "0-9a-z\u00c0-\u024f"
"""What a Latin word is made of: no term begins or ends inside one."""

PUNCTUATION = " \t\n.,!:;。、·'’`\"“”«»()[]{}*_#~|…"
"""What may stand around an answer without changing it; '?' and '-' do."""

SAME_WORD = (
    {"yes", "yeah", "yep"},
    {"no", "nope"},
    {"是", "是的", "有", "有的", "对"},
    {"否", "不", "不是", "没有", "无"},
)
"""Whole answers of one meaning: a card that gives one of them to a label gives it all of them."""

WHOLE: frozenset[str] = frozenset().union(*SAME_WORD)
"""What names a label only as a whole clause: elsewhere these words deny, or say nothing."""


def words(text: str) -> str:
    """Write a pattern of any of the words in a text, each of which may be a pattern of its own."""
    return rf"\b(?:{'|'.join(text.split())})\b"


CUE = (
    words(
        r"no not non without never neither nor none nothing absent absence lack(?:s|ing)? negative "
        r"den(?:y|ies|ied) exclud(?:es?|ed|ing) ruled\sout rules\sout free fail(?:s|ed)? rather\sthan instead\sof "
        r"false incorrect wrong untrue \w*n't (?:does|do|did|is|are|was)nt"
    )
    + "|没有|没|未见|未|无|并非|非|不是|不|否认|排除|阴性|否"
)
"""What denies."""

FILLER = (
    words(
        r"evidence signs? indications? features? findings? of any an? the clear clearly obvious definite definitive "
        r"apparent significant current active ongoing show(?:s|n|ing)? indicat(?:es?|ing|ive|ed) suggest(?:s|ing|ive)? "
        r"demonstrat(?:es?|ing|ed) reveal(?:s|ed)? display(?:s|ed)? ha(?:s|ve|ving) contains? exhibits? meets? "
        r"criteria supports? consistent compatible with for in be being been to from presence diagnos(?:is|tic) "
        r"detect(?:ed)? see seen find found appears? represents? patterns? episodes? typical"
    )
    + "|明显|明确|任何|典型|证据|表明|显示|存在|发生|发作|出现|提示|支持|符合|发现|检测到|检出|看到|见到|诊断"
    + "|为|属于|见|有|到|的"
)
"""What may stand between a denial and the label that it denies."""

EMPTY = (
    words(
        r"i it its this that which there here is are was were am do does did has had can however so as at on and by "
        r"ecg eeg recording tracing trace record segment epoch strip patient rhythm present identified visible evident "
        r"observed noted exist exists occur all therefore thus"
    )
    + "|这|段|该|此|心电图|脑电图|记录|患者|本|份|中|里|是|了|也|都|并|故|所以|因此"
)
"""What gives a denial nothing of its own to deny."""

HEDGE = (
    words(
        r"possib(?:le|ly|ility) probabl[ey] probability likely unlikely likelihood may might could cannot can't "
        r"can\snot cant unable perhaps maybe suspect(?:ed|s)? suspici\w+ whether if either versus vs rule\sout "
        r"differential potential(?:ly)? borderline equivocal presum\w+ question(?:able)? risk history chance should "
        r"would consider(?:ed|ing)? other\sthan except unlike doubt\w* difficult hard mimic\w* resembl\w* similar "
        r"(?:think|believe|guess|suppose|hope)\s(?:so\s)?not "
        r"not\s(?:clear|clearly|definite|definitely|typical|certain|entirely|fully|necessarily|only|just|always)"
    )
    + r"|\d\s*%|可能|疑|怀疑|或许|也许|大概|考虑|待排|是否|有无|有没有|是不是|倾向|似|风险|病史|如果|除外|概率"
)
"""What keeps the sentence around it from stating or denying anything."""

DOUBT = (
    words(
        r"unclear uncertain unsure inconclusive indeterminate undetermined insufficient undecided not\ssure "
        r"(?:do\snot|don't)\sknow "
        r"(?:cannot|can't|can\snot|unable\sto|impossible\sto|not\spossible\sto|difficult\sto|hard\sto)\s(?:be\s)?"
        r"(?:say|tell|know|sure|certain|answer|determine\w*|confirm\w*|decide\w*|conclude\w*|exclude\w*|rule\w*|diagnose\w*)"
    )
    + "|不确定|无法|不明|不清楚|不好说|不知道|难以|不能(?:确定|排除|判断|明确|除外)|不排除|未排除"
)
"""What takes back the whole answer, wherever it stands."""

_ABSENT = words(r"absent negative excluded ruled\sout")
_SEEN = words(
    r"present seen detected shown found evident observed identified visible noted demonstrated apparent there "
    r"indicated diagnosed"
)
_BE = r"(?:(?:is|are|was|were|has\sbeen|have\sbeen)\s+)?"
DENIED_AFTER = re.compile(
    rf"\s*(?:{_BE}(?:not|(?:is|was|has)n't)\s+(?:been\s+)?(?:clearly\s+)?{_SEEN}"
    rf"|[:=]?\s*{_BE}{_ABSENT}(?=\s*(?:$|\b(?:in|on|from|here|at|and|this|during|throughout)\b))"
    r"|:?\s*(?:不存在|未见|未发现|未检出|阴性|(?:已|被|已被)?排除|不成立))"
)
DENIED_AT_END = re.compile(
    r"\s*(?:present|presence|status|detected)?\s*[:=]\s*"
    r"(?:no|none|false|absent|negative|not present|not detected|否|无|没有|没|不是|不|未见|阴性)\s*$"
)
NUMBER_AFTER = re.compile(r"\s*[:=]\s*[\d.]")
# Atomic: a model caught in a loop must not send the search into every way to split its words.
DENIED_BEFORE = re.compile(rf"(?:{CUE})(?>\s*(?:{FILLER}))*+\s*$")
ASIDE = re.compile(r"\s*(?:(?:with|and|nor|given|because|due to|since|as|based on)\b|伴|且|因)")
LIST = re.compile(r"\s*(?:\b(?:or|nor|and)\b|[/、或和及])\s*")

TAG = re.compile(r"<[^<>\n]{1,40}>")
SENTENCE = re.compile(r"(?:[^.!?。;\n]|(?<=\d)\.(?=\d))+[.!?。;\n]?")
ENDS = (".", "!", "?", "。", ";", "\n")
LAST_WORD = re.compile(rf"[{LETTER}]+$")
TURN = re.compile(r"\b(?:but|however|although|though|whereas|while|yet)\b|而是|但是|但|然而")
COMMA = re.compile(r"[,，、()\[\]]|\s[-–—]+\s|[–—]|(?<=^yes)\s")
LEAD = re.compile(
    r"^(?:(?:\b(?:the|this|it|my|is|final|correct|answer|diagnosis|label|prediction|result|conclusion|class|stage|sleep|epoch|"
    r"rhythm|ecg|eeg|so|therefore)\b|答案|回答|诊断|结论|结果|分期|睡眠|为|[:=-])\s*)+"
)


@dataclass(frozen=True)
class Mention:
    """A label that an answer names, and what the answer says of it."""

    label: str
    state: State


@dataclass(frozen=True)
class Reading:
    """What an answer comes to.

    Attributes
    ----------
    label : str or None
        The label that it plainly commits to.
    said : {'parsed', 'unclear', 'off topic'}
        ``unclear`` names a label without committing to one; ``off topic`` names none at all.
    """

    label: str | None
    said: Said


def normalise(text: str) -> str:
    """Bring a text to one form: NFKC, no case, straight apostrophes, no markup, single spaces."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    text = TAG.sub(". ", text.replace("’", "'"))
    text = re.sub(r"\(\s*[-−–]\s*\)", " negative ", text)
    text = re.sub(r"[*_`#~\"“”«»|{}]", " ", text)
    text = re.sub(r"\bnon-(?=[a-z])", "non ", text)
    return re.sub(r"[^\S\n]+", " ", text)


def terms_of(card: Card) -> dict[str, list[str]]:
    """List what each label of a dataset may be called: its name, its answer and its synonyms."""
    return {label: [label, card.answers.get(label, label), *card.synonyms.get(label, [])] for label in card.labels}


class Parser:
    """Reads labels of one closed vocabulary; make one with :meth:`from_card`.

    Parameters
    ----------
    terms : mapping of str to sequence of str
        What each label may be called.
    positive : str or None
        Where there are two labels, denying this one is stating the other.

    Raises
    ------
    VitalFactoryError
        Two labels share a term.
    """

    def __init__(self, terms: Mapping[str, Sequence[str]], positive: str | None = None) -> None:
        self.labels = list(terms)
        self.positive = positive if len(self.labels) == 2 else None
        self._exact: dict[str, str] = {}
        for label, wordings in terms.items():
            for wording in wordings:
                self._call(label, wording)
        self._exact.pop("", None)
        self._terms = _any_of(term for term in self._exact if term not in WHOLE and len(term) > 1)
        self._doubled = [_doubled(term for term in self._exact if self._exact[term] == label) for label in self.labels]

    def _call(self, label: str, wording: str) -> None:
        for term in _equivalent(core(normalise(wording))):
            other = self._exact.setdefault(term, label)
            if other != label:
                raise VitalFactoryError(
                    f"the card calls both {other!r} and {label!r} {wording!r}; take it from one of them"
                )

    @classmethod
    def from_card(cls, card: Card) -> Parser:
        """Take labels, answers and synonyms from a dataset's card.

        Raises
        ------
        VitalFactoryError
            Its answers are not one label each, or two labels share a term.
        """
        if card.kind != "classify":
            raise VitalFactoryError(f"{card.name}: its answers are of the kind {card.kind!r}; parsing needs 'classify'")
        return cls(terms_of(card), card.positive)

    def parse(self, text: str, *, cut: bool = False) -> str | None:
        """Read a label; see :meth:`read`.

        Returns
        -------
        str or None
            A label of the card, or None where the text does not plainly commit to one.
        """
        text = normalise(text)
        if not cut and (label := self._exact.get(core(text))):
            return label
        if re.search(DOUBT, text):
            return None
        sentences = self._sentences(text)
        if cut and sentences and not sentences[-1].endswith(ENDS):
            sentences.pop()
        told = [sentence for sentence in sentences if not sentence.endswith("?")]
        return self._decide([mention for sentence in told for mention in self._sentence(sentence)])

    def read(self, text: str, *, cut: bool = False) -> Reading:
        """Read a label, and say what kind of answer it is where there is none.

        Parameters
        ----------
        text : str
            What a model wrote.
        cut : bool
            It ended at the longest answer allowed: no label is read from its unfinished last sentence, since what
            would have followed could deny it, and its last word names nothing.

        Returns
        -------
        Reading
        """
        label = self.parse(text, cut=cut)
        if label is not None:
            return Reading(label, "parsed")
        text = normalise(text)
        if cut:
            text = LAST_WORD.sub("", text)
        named = any(self._sentence(sentence) for sentence in self._sentences(text))
        return Reading(None, "unclear" if named else "off topic")

    def _sentences(self, text: str) -> list[str]:
        for doubled in self._doubled:
            text = doubled.sub(r"\1", text)
        return [match.group() for match in SENTENCE.finditer(text)]

    def _decide(self, mentions: Sequence[Mention]) -> str | None:
        if any(mention.state == "unclear" for mention in mentions):
            return None
        stated = {mention.label for mention in mentions if mention.state == "stated"}
        denied = {mention.label for mention in mentions if mention.state == "denied"}
        if self.positive in denied:
            stated |= set(self.labels) - {self.positive}
        return stated.pop() if len(stated) == 1 and not stated & denied else None

    def _sentence(self, sentence: str) -> list[Mention]:
        mentions: list[Mention] = []
        loose = False
        for part in TURN.split(sentence):
            last: State | None = None
            for clause in COMMA.split(part.strip(" .!。;\n")):
                found = self._clause(clause, last)
                last = found[-1].state if found else None
                mentions += found
                loose = loose or (not found and _denies_nothing(clause))
        alternatives = re.search(r"\bor\b|或", sentence) and not re.search(CUE, sentence)
        if loose or alternatives or re.search(HEDGE, sentence):
            return [Mention(mention.label, "unclear") for mention in mentions]
        return mentions

    def _clause(self, clause: str, last: State | None) -> list[Mention]:
        """Read one clause; ``last`` is the state of the mention that ended the clause before it."""
        for whole in (core(clause), core(LEAD.sub("", clause.strip()))):
            if whole in self._exact and (last != "denied" or whole in WHOLE):
                return [Mention(self._exact[whole], "stated")]
        mentions: list[Mention] = []
        start = 0
        for match, following in pairwise([*self._terms.finditer(clause), None]):
            assert match is not None
            before = clause[start : match.start()]
            after = clause[match.end() : following.start() if following else len(clause)]
            state, used = _state(before, after, last, is_last=following is None)
            mentions.append(Mention(self._exact[match.group()], state))
            start, last = match.end() + used, state
        return mentions


def _state(before: str, after: str, last: State | None, *, is_last: bool) -> tuple[State, int]:
    """Judge a mention by what stands around it; also say how much of ``after`` that took."""
    cues = len(re.findall(CUE, before))
    tail = DENIED_AFTER.match(after) or (DENIED_AT_END.match(after) if is_last else None)
    used = tail.end() if tail else 0
    if NUMBER_AFTER.match(after) or cues + bool(tail) > 1:
        return "unclear", used
    if tail:
        return "denied", used
    if is_last and re.search(CUE, after) and not ASIDE.match(after):
        return "unclear", used
    if cues:
        return ("denied" if DENIED_BEFORE.search(before) else "unclear"), used
    if last == "denied" and (not before.strip() or LIST.fullmatch(before)):
        return ("denied" if re.fullmatch(r"\s*(?:or|nor|或)\s*", before) else "unclear"), used
    return "stated", used


def _denies_nothing(clause: str) -> bool:
    """Whether a clause without a label holds a denial that must be about a label elsewhere."""
    return bool(re.search(CUE, clause)) and not re.sub(rf"{CUE}|{FILLER}|{EMPTY}|[\W_]", "", clause)


def core(text: str) -> str:
    """Take off the punctuation around a text."""
    return text.strip(PUNCTUATION)


def _equivalent(term: str) -> Collection[str]:
    return next((same for same in SAME_WORD if term in same), {term})


def _alternatives(terms: Iterable[str]) -> str:
    """Write a pattern of whole terms, the longest first."""
    return "|".join(bounded(term, re.escape(term)) for term in sorted(terms, key=len, reverse=True)) or r"(?!)"


def bounded(term: str, pattern: str) -> str:
    """Keep a pattern of a term from matching inside a longer Latin word."""
    latin = re.compile(f"[{LETTER}]")
    before = rf"(?<![{LETTER}])(?<![a-z]-)" if latin.match(term[:1]) else ""
    after = rf"(?![{LETTER}]|-[a-z])" if latin.match(term[-1:]) else ""
    return f"{before}{pattern}{after}"


def _any_of(terms: Iterable[str]) -> re.Pattern[str]:
    return re.compile(_alternatives(terms))


def _doubled(terms: Iterable[str]) -> re.Pattern[str]:
    """Match a term with another of the same label in brackets: atrial fibrillation (AF)."""
    either = _alternatives(terms)
    return re.compile(rf"({either})\s*\(\s*(?:{either})\s*\)")
