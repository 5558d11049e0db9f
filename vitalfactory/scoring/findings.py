"""Reading the findings that an answer in free text names, in English and in Chinese.

An answer is normalised, cut into sentences and these at words such as "but"; each mention of a finding is *present*,
*absent* or *uncertain* by the words around it (after NegEx, Chapman et al. 2001):

    cardiomegaly, effusion                         both present
    No mass, nodule or effusion.                   all absent
    No pneumothorax, but a small effusion.         pneumothorax absent, effusion present
    Effusion cannot be excluded.                   uncertain
    Pneumonia or atelectasis.                      both uncertain

Findings and their wordings come from the dataset's card. Of several mentions of one finding, present goes before
uncertain and that before absent (Irvin et al. 2019): a small effusion on the left and none on the right is an effusion.

An uncertain finding is not said to be there: the labels of NIH ChestX-ray14 were mined by the same rule (Wang et al.
2017; Peng et al. 2018). "Suggests" and "consistent with" state a finding; "possible", "may", "likely", "suspicious for"
and "history of" do not. What is not plain ("no effusion and pneumothorax is seen") is uncertain as well.

The label of a normal image counts only where it is said of the whole image ("heart size is normal" is not) and no
finding is present or uncertain beside it. An answer that says of every finding that it is absent comes to that label.

A denial goes on over a list. In Chinese, 、 goes on with a list and ， begins a new statement: 未见气胸，心影增大
states the enlarged heart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from vitalfactory.card import Card, Verdicts
from vitalfactory.errors import VitalFactoryError
from vitalfactory.scoring.parsing import FILLER, SENTENCE, TURN, Parser, bounded, core, normalise, terms_of, words

State = Literal["present", "uncertain", "absent"]
STRENGTH: Mapping[State, int] = {"present": 2, "uncertain": 1, "absent": 0}

NOTHING = frozenset({"none", "nothing", "无", "没有", "都没有", "均无"})
"""Whole answers that name no finding because there is none."""

PASSED_OVER = (
    r"\bno(?:t|\s+(?:\w+\s+){0,2}?)\s*(?:chang(?:e|ed)|increase|decrease|progression|improvement|only)\b"
    r"|\bwithout\s+(?:\w+\s+){0,2}?(?:change|increase|decrease|progression|improvement)\b"
    r"|\bmass\seffect|\bbody\smass|\bsubcutaneous\semphysema|\bpericardial\seffusions?|\bsoft[\s-]tissue\s(?:mass|edema)"
    r"|[无未](?:见|明显|显著)*(?:变化|改变|增多|增加|减少|进展)|皮下气肿|纵隔气肿|脑水肿"
)
"""What looks like a denial or a finding and is none."""

_EXCLUDE = r"(?:exclud(?:e|ed)|rule(?:d)?\sout)"
_SURE = r"(?:(?:entirely|completely|fully|definitely|definitively|reliably|confidently)\s)?"
_NOT = r"(?:not|\w*n't|cannot)"

HEDGE = (
    rf"\b(?:(?:can|could|do|does|did|is|are|was|were)\s?)?{_NOT}\s{_SURE}(?:be\s)?{_SURE}{_EXCLUDE}\b"
    rf"|\b(?:unable|impossible|difficult|hard)\sto\s{_SURE}{_EXCLUDE}\b"
    rf"|\b(?:(?:is|are)\s)?{_NOT}\s(?:certain|sure|clear|definite|likely)\b"
    r"|\b(?:to\sexclude|rule\sout)\b|(?<!\w)r/o\b|\b(?:evaluate|assess|concern(?:ing|ed)?)\sfor\b|\bquestion\sof\b"
    "|"
    + words(
        r"possible possibly possibility probable probably probability likely unlikely may might could perhaps maybe "
        r"suspect(?:ed|s)? suspicious suspicion questionable equivocal borderline presum\w+ potential(?:ly)? "
        r"consider(?:ed|ing)? if whether history prior previous(?:ly)? former risk worrisome unclear uncertain unsure "
        r"doubtful indeterminate differential should would"
    )
    + r"|不(?:能|可)?(?:完全)?(?:除外|排除)|(?:无法|未能?|难以)(?:完全)?(?:除外|排除)"
    r"|[需请待]\s?(?:除外|排除|排)|注意排除|建议[^,、]{0,8}?(?:除外|排除)"
    r"|可能|疑似|可疑|怀疑|疑|考虑|倾向|似|或许|大概|不确定|是否|有无|病史|鉴别"
)
"""What makes the finding behind it uncertain."""

_VERB = r"(?:show|seen?|demonstrate|reveal|identify|find|have|contain|detect|display|suggest|indicate|any)"
DENIAL = (
    words(r"no without neither nor nil denies denied excludes excluded rules\sout ruled\sout resolved")
    + r"|\b(?:absence|lack|free|clear)\sof\b|\black(?:s|ing)\b|\bnegative\sfor\b|\b(?:rather\sthan|instead\sof)\b"
    rf"|\b(?:absent|negative|excluded)\s*:|\b{_NOT}\s(?:be\s)?(?:\w+ly\s)?{_VERB}\b|\b(?:fails?|failed|unable)\sto\s{_VERB}\b"
    "|未见到?|无|没有|没|未(?:发现|显示|提示|出现|检出|探及)|否认|不(?:存在|伴|支持|符合|提示|考虑)|排除|除外"
)
"""What denies the list of findings behind it."""

DENIAL_OF_ONE = rf"\b{_NOT}\b|\bnever\b|并非|不是|非"
"""What denies what stands behind it up to the next comma: "is not enlarged, effusion"."""

ON = (
    rf"(?>\s*(?:{FILLER}|"
    + words("that there it is are be been likely definite suspicious suspicion concerning concern worrisome convincing")
    + "|系|为|是|存在|伴有|有|提示|显示|示))*+"
)
"""What a denial or a doubt reaches over; atomic, so that a text without end is not searched in every way."""

BREAK = (
    r"(?<!consistent\s)(?<!compatible\s)(?<!associated\s)\bwith\b|"
    + words(
        r"is are was were has have had shows? shown showing demonstrates? reveals? seen noted remains? appears? "
        r"present known there"
    )
    + "|可见|伴有|伴|有|存在|显示|提示|见|示"
)
"""What begins a new statement."""

ASSERTION = words(
    r"large small tiny mild(?:ly)? moderate(?:ly)? severe(?:ly)? marked(?:ly)? massive minimal trace extensive stable "
    r"unchanged persistent increas(?:ed|ing) worsening"
)
"""What describes a finding that is there, behind a comma or "and"."""

_THESE = r"of\s(?:these|those|them|the\s(?:above|listed|mentioned))(?:\s\w+)?"
NONE_OF_THEM = (
    rf"\bnone\s{_THESE}\b|\b{_NOT}\s{_VERB}\s(?:any\s)?{_THESE}\b|\bno\s{_THESE}\b"
    "|(?:未见|没有|无)(?:上述|以上|这些)(?:任何)?(?:表现|异常|所见)?|(?:上述|以上)(?:表现)?(?:均|都)(?:无|没有|未见)"
)
"""What denies all findings at once."""

OR = words("or versus vs") + "|或者?|还是"
AND = words("and as\\swell\\sas plus") + "|[&/、及和与]|以及|并"

_PLACE = r"(?:\s+(?:in|on|at|of|within|along|over)\s+(?:\w+\s+){0,4}?\w+?)??"
_END = r"(?=\s*(?:$|[,;:.()、。及和]|\b(?:and|or|in|on|at|from|this|here)\b))"
_IS = r"(?:(?:is|are|was|were|has\sbeen|have\sbeen|has|have|remains?|seems?|appears?)\s+)"
_SEEN = (
    r"(?:present|seen|detected|shown|found|evident|observed|identified|visible|visuali[sz]ed|noted|demonstrated|"
    r"apparent|appreciated|there|suspected)"
)
_OF = "(?:影|征象?|表现|证据|改变)?"
AFTER: Mapping[str, re.Pattern[str]] = {
    "uncertain": re.compile(
        rf"{_PLACE}\s*(?:"
        rf"(?:can|could|is|are|was|were)?\s?{_NOT}\s(?:be\s)?{_SURE}(?:be\s)?{_SURE}(?:{_EXCLUDE}|certain|clear|assessed|evaluated)\b"
        rf"|{_IS}(?:an?\s|also\s|less\s|more\s|very\s|highly\s)*(?:possible|possibility|probable|likely|unlikely|suspected|"
        r"questionable|uncertain|unclear|equivocal|doubtful|indeterminate|considered)\b(?!\s+(?:due|secondary|related|from))"
        rf"|{_IS}(?:to\sbe\s){_EXCLUDE}\b|(?:may|might|could)\sbe\s{_SEEN}\b"
        rf"|[:=]?\s*(?:\(\s*)?(?:possible|probable|likely|suspected|uncertain|unclear|maybe|unknown|equivocal){_END}"
        r"|[:=]\s*\d*\.\d|[:=]\s*\d{2,}|\s*\?"
        rf"|{_OF}:?(?:的)?(?:可能性?(?:较?[大小])?|待排(?:除|查)?|待查|可疑|不?可?除外|不除外|不排除"
        rf"|(?:不能|无法|未能?|难以)(?:完全)?(?:除外|排除)|不确定|不能确定|病史){_END})"
    ),
    "absent": re.compile(
        rf"{_PLACE}\s*(?:"
        rf"{_IS}?(?:\w*n't|not|never)\s+(?:been\s+)?(?:\w+ly\s+)?{_SEEN}\b"
        rf"|(?:cannot|can't)\s+be\s+(?:\w+ly\s+)?{_SEEN}\b|{_IS}no\slonger\s{_SEEN}\b"
        rf"|{_IS}(?:\w+ly\s+)?(?:absent|negative|{_EXCLUDE}|resolved|cleared)\b"
        rf"|(?:absent|negative|{_EXCLUDE}|resolved){_END}"
        r"|(?:present|presence|status|detected)?\s*(?:[:=(]|\s-)\s*"
        rf"(?:no|none|false|absent|negative|not\s{_SEEN}|否|无|没有|没|未见|阴性|0(?![\d.])){_END}"
        rf"|{_OF}:?(?:未见|无|没有|阴性|不存在|未发现|未检出|不明显|(?:已|被|已被)?(?:排除|除外)|(?:已|完全)*(?:吸收|消失)|不成立){_END})"
    ),
    "present": re.compile(rf"{_PLACE}\s*(?:[:=]\s*)?(?:(?:is|was)\s+)?(?:also\s+|clearly\s+|again\s+)?{_SEEN}\b"),
}
"""What stands behind a finding, and what that says of it; the first that fits."""

EXCEPT = r"\b(?:except(?:\sfor)?|other\sthan|apart\sfrom|aside\sfrom|besides)\b"
CHINESE_COMMA = r"(?<=[\u4e00-\u9fff)]),|,(?=\s*[\u4e00-\u9fff])"
PART = re.compile(rf"{TURN.pattern}|{EXCEPT}|{CHINESE_COMMA}")
ASKED = re.compile(
    words(r"which what does do did is are can could name list whether judge report") + "|吗|是否|哪些|什么|有无|有没有"
)
DOUBTED = re.compile(r"(?:^|(?<=[\s(,;:]))\?\s*(?=\w)")
"""Radiologists' "?pneumonia"."""
LAST_ITEM = re.compile(r"[^,;、。.\n]*\Z")

ADJECTIVES = (
    r"(?:\s+(?:acute|active|significant|obvious|evident|visible|overt|radiographic|radiological|cardiopulmonary|cardiac|"
    r"pulmonary|thoracic|chest|intrathoracic|other|further|focal|gross|clear|definite|major|relevant|abnormal|pathologic(?:al)?|"
    r"evidence|of|any|the|such|listed))*"
)
"""What may stand inside "no finding"."""
NOT_OF = r"(?!\s+(?:of|to|that|suggest\w*|consistent|compatible|concerning|indicat\w*|such|including|like|for)\b)"
"""Behind "no findings", what makes it the beginning of a denial of something else."""
WHOLE_IMAGE = re.compile(
    words(
        r"an? the this that it its is are was be appears? looks? overall essentially completely entirely grossly "
        r"otherwise within limits chest x ray x-ray xray radiograph film image picture study examination exam cxr "
        r"frontal portable pa ap view do does shows? showing demonstrates? reveals? has have there present seen "
        r"identified noted detected findings? impression conclusion answer result label diagnosis these listed on in "
        r"to for and patient lungs\sand\sheart heart\sand\slungs"
    )
    + "|这张|这幅|该|此|本|胸片|胸部|[x线光]|平片|影像|图像|检查|显示|示|所见|提示|为|是|的|均|明显|结果|印象|诊断|答案"
    + r"|心肺膈?|大致|基本|表现|其[他余]|余|请|片|患者|[\W\d_]"
)
"""What leaves the label of a normal image said of the whole of it."""


class FindingParser:
    """Reads the findings of one closed vocabulary; make one with :meth:`from_card`.

    Parameters
    ----------
    terms : mapping of str to sequence of str
        What each label may be called.
    normal : str or None
        The label of an image without any of the others.
    questions : sequence of str
        What an answer may repeat without saying anything.

    Raises
    ------
    VitalFactoryError
        Two labels share a term.
    """

    def __init__(
        self, terms: Mapping[str, Sequence[str]], normal: str | None = None, questions: Sequence[str] = ()
    ) -> None:
        self.labels = list(terms)
        self.normal = normal
        self._questions = [normalise(question) for question in questions]
        self._label_of: dict[str, str] = {}
        patterns: dict[str, str] = {}
        for label, wordings in terms.items():
            for term in dict.fromkeys(core(normalise(wording)) for wording in wordings):
                if self._label_of.setdefault(term, label) != label:
                    raise VitalFactoryError(
                        f"the card calls both {self._label_of[term]!r} and {label!r} {term!r}; take it from one of them"
                    )
                patterns[term] = _pattern(term, normal=label == normal)
        longest = sorted(patterns, key=len, reverse=True)
        self._terms = [(self._label_of[term], re.compile(patterns[term])) for term in longest]
        none = f"|{NONE_OF_THEM}" if normal else ""
        self._token = re.compile(
            f"(?P<pass>{PASSED_OVER})|(?P<term>{'|'.join(patterns[term] for term in longest)}{none})"
            f"|(?P<hedge>(?:{HEDGE}){ON})|(?P<denial>(?:{DENIAL}){ON})|(?P<one>(?:{DENIAL_OF_ONE}){ON})"
            f"|(?P<break>{BREAK})|(?P<assertion>{ASSERTION})|(?P<or>{OR})|(?P<and>{AND})|(?P<comma>[,()\\[\\]])"
        )

    @classmethod
    def from_card(cls, card: Card) -> FindingParser:
        """Take labels, answers, synonyms and questions from a dataset's card.

        Raises
        ------
        VitalFactoryError
            Its answers are no sets of labels, or two labels share a term.
        """
        if card.kind != "multilabel":
            raise VitalFactoryError(f"{card.name}: its answers are of the kind {card.kind!r}; expected 'multilabel'")
        return cls(terms_of(card), card.normal, card.question)

    def parse(self, text: str, *, cut: bool = False) -> list[str] | None:
        """Read the labels that an answer commits to; see :meth:`read`.

        Returns
        -------
        list of str or None
            In the order of the vocabulary; empty where findings are named and none of them is said to be there; None
            where the text names none.
        """
        states = self.read(text, cut=cut)
        return [label for label in self.labels if states.get(label) == "present"] if states else None

    def read(self, text: str, *, cut: bool = False) -> dict[str, State]:
        """Say of each label that an answer names whether it is there.

        Parameters
        ----------
        text : str
            What a model wrote.
        cut : bool
            It ended at the longest answer allowed: its last item is not read, since what would have followed could
            deny it.

        Returns
        -------
        dict of str to {'present', 'uncertain', 'absent'}
            In the order of the vocabulary; labels that are not named are left out.
        """
        text = normalise(text)
        for question in self._questions:
            text = text.replace(question, ". ")
        if cut:
            text = LAST_ITEM.sub("", text)
        found: dict[str, State] = {}
        for label, state in self._mentions(DOUBTED.sub("possible ", text.replace("vs.", "vs"))):
            if label not in found or STRENGTH[state] > STRENGTH[found[label]]:
                found[label] = state
        if self.normal is not None:
            self._settle(found, said_nothing=core(text) in NOTHING)
        return {label: found[label] for label in self.labels if label in found}

    def _settle(self, found: dict[str, State], *, said_nothing: bool) -> None:
        """Keep the label of a normal image where nothing speaks against it."""
        assert self.normal is not None
        others = {state for label, state in found.items() if label != self.normal}
        each_denied = others == {"absent"} and len(found.keys() - {self.normal}) == len(self.labels) - 1
        if others & {"present", "uncertain"}:
            if self.normal in found:
                found[self.normal] = "absent"
        elif said_nothing or (each_denied and self.normal not in found):
            found[self.normal] = "present"

    def _mentions(self, text: str) -> Iterator[tuple[str, State]]:
        for sentence in SENTENCE.finditer(text):
            if sentence.group().endswith("?") and ASKED.search(sentence.group()):
                continue
            for part in PART.split(sentence.group().strip(" .!。;\n")):
                yield from self._part(part or "")

    def _part(self, part: str) -> Iterator[tuple[str, State]]:
        """Read a part of a sentence from left to right."""
        statement = _Statement()
        place = 0
        while match := self._token.search(part, place):
            kind, place = str(match.lastgroup), match.end()
            if kind != "term":
                statement.hear(kind)
                continue
            label = self._label(match.group())
            if label is None or (label == self.normal and not _of_whole_image(part, match)):
                continue
            after = next((name for name, pattern in AFTER.items() if pattern.match(part, place)), None)
            statement.name(label, after)
            if after is not None and (said := AFTER[after].match(part, place)):
                place = said.end()
        yield from statement.mentions()

    def _label(self, written: str) -> str | None:
        """Find the label of a term; what denies all findings is one of a normal image."""
        return next((label for label, pattern in self._terms if pattern.fullmatch(written)), self.normal)


class VerdictParser:
    """Reads whether an answer says that the one finding which its row asks about is there.

    It may say so by its verdict ("yes"), or by naming the finding, and must not contradict itself.

    Parameters
    ----------
    card : Card
    verdicts : Verdicts
    """

    def __init__(self, card: Card, verdicts: Verdicts) -> None:
        self._verdicts = Parser({"present": [verdicts.present], "absent": [verdicts.absent]})
        self._findings = FindingParser.from_card(card)

    def parse(self, text: str, finding: str, *, cut: bool = False) -> list[str] | None:
        """Read an answer.

        Parameters
        ----------
        text : str
        finding : str
            The one that is asked about.
        cut : bool
            The text ended at the longest answer allowed.

        Returns
        -------
        list of str or None
            The finding; empty where it is said to be absent; None where the answer plainly says neither.
        """
        states = self._findings.read(text, cut=cut)
        normal = self._findings.normal
        if finding not in states and normal is not None and states.get(normal) == "present":
            states[finding] = "absent"
        said = {self._verdicts.parse(text, cut=cut), states.get(finding)} - {None}
        if said == {"present"}:
            return [finding]
        return [] if said == {"absent"} else None


class _Statement:
    """What has been said so far in a part of a sentence, and what it says of the finding that comes next."""

    def __init__(self) -> None:
        self._named: list[tuple[str, State]] = []
        self._scope: State = "present"
        self._to_comma = self._told = False
        self._start()

    def _start(self) -> None:
        """Begin a list of findings."""
        self._list: list[int] = []
        self._link = ""
        self._alternatives = False

    def hear(self, kind: str) -> None:
        """Take up what stands between findings."""
        if kind in ("hedge", "denial", "one"):
            self._end_list()
            self._scope = "uncertain" if kind == "hedge" else "absent"
            self._to_comma = kind != "denial"
        elif kind == "break" or (kind == "assertion" and self._link in ("comma", "and")):
            self._end_list()
            self._scope, self._told = "present", kind == "break"
        elif kind in ("comma", "and", "or"):
            if kind == "comma" and self._to_comma:
                self._scope = "present"
            self._link = "or" if self._link == "or" else kind
            self._alternatives |= kind == "or" and bool(self._list)

    def name(self, label: str, after: str | None) -> None:
        """Name a finding; ``after`` is what stands behind it."""
        state = self._scope
        if after == "present" and state == "absent" and self._link in ("comma", "and"):
            state = "present" if self._link == "comma" else "uncertain"
        elif after == "absent":
            state = "uncertain" if state == "absent" else "absent"
        elif after == "uncertain":
            state = "uncertain"
        if after in ("absent", "uncertain") and (self._link == "or" or (self._link == "and" and not self._told)):
            self._named = [
                (one, state if place in self._list else before) for place, (one, before) in enumerate(self._named)
            ]
        self._list.append(len(self._named))
        self._named.append((label, state))
        self._link = ""
        if after is not None:
            self._end_list()
            self._scope, self._told = "present", False

    def mentions(self) -> list[tuple[str, State]]:
        """Return what was said of each finding that was named."""
        self._end_list()
        return self._named

    def _end_list(self) -> None:
        """End a list of findings; of alternatives, none is stated."""
        for place in self._list if self._alternatives else ():
            label, state = self._named[place]
            self._named[place] = (label, "uncertain" if state == "present" else state)
        self._start()


def _of_whole_image(part: str, match: re.Match[str]) -> bool:
    """Whether what stands with the label of a normal image, between commas, is about the whole image."""
    before, after = part[: match.start()].rpartition(",")[2], part[match.end() :].partition(",")[0]
    rest = re.sub(f"{HEDGE}|{DENIAL_OF_ONE}", "", before) + " " + after
    return not WHOLE_IMAGE.sub("", rest)


def _pattern(term: str, *, normal: bool) -> str:
    """Write a pattern of a term: any blank or hyphen between its words, and the plural of the last."""
    first, *rest = map(re.escape, term.split())
    plural = "(?:e?s)?" if re.match("[a-z]", term[-1:]) else ""
    inside = ADJECTIVES if normal and first == "no" else ""
    written = first + inside + "".join(rf"[\s-]+{word}" for word in rest)
    if normal:
        written = re.sub("^(未见|未发现|无)", "\\1(?:明显|明确|任何|其[他它]|显著)*", written)
    return bounded(term, written + plural) + (NOT_OF if normal and first == "no" else "")
