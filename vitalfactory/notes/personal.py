"""Personal details that stand plainly in a note: phone numbers, ids, names, dates beside a name, addresses.

Meant as a guard before text is sent to an endpoint, not as anonymisation. It finds what has a telling form (a resident
id whose check digit holds) or stands after a telling word (住院号, MRN, "Name:", "Mr."). It does not find a name that
stands alone in a sentence, a relative's or an employer's name, a village told in passing, a nickname, a misspelt
number, or a rare illness by which a person is known; a date counts only where the note also has a name, or after a
word for birth. A note that went through :func:`scrub` may still say who it is about, and whoever sends it answers for
that. Clinical numbers (120/80 mmHg, 0.9 g, 2021年3月) are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["phone", "id", "record", "email", "name", "date", "address"]


@dataclass(frozen=True)
class Found:
    """A personal detail: ``text[start:end]``."""

    kind: Kind
    start: int
    end: int


# Full-width letters, digits and signs have one ASCII character each, so that places stay the same.
_HALF_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}

_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩邓冯曹彭曾肖田董潘袁蔡蒋余杜叶程魏苏吕丁任卢姚沈钟姜崔谭陆范汪廖"
    "石金韦贾夏付方邹熊白孟秦邱侯江尹薛闫段雷龙黎史陶贺毛郝顾龚邵万覃武钱戴严莫孔向常汤"
)
_NOT_A_NAME = (
    "高[血热烧龄脂尿钾钠钙]|黄[疸染痰]|周[身期围]|白[细色痰带]|常[规年有]"
    "|严重|方可|何时|金属|石膏|向[左右]|龙胆|史[无有]"
)
"""Words that begin with a surname and are none."""

_ENGLISH_NAME = r"(?-i:[A-Z](?:[A-Za-z'’-]+|\.)(?:[ -][A-Z](?:[A-Za-z'’-]+|\.)){0,3})"
_UNKNOWN = r"(?!不详|未知|保密|隐去|略|unknown|withheld|n/a|\[)"
_GAP = r"\s*[:#=]?\s*"

_DATE = (
    r"(?:\d{4}\s*年\s*\d{1,2}\s*月(?:\s*\d{1,2}\s*[日号])?|(?:19|20)\d{2}(?P<s>[-/.])\d{1,2}(?P=s)\d{1,2}"
    r"|\d{1,2}(?P<t>[-/.])\d{1,2}(?P=t)(?:19|20)\d{2}"
    r"|\d{1,2}(?:st|nd|rd|th)? (?:of )?(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?,? (?:19|20)\d{2}"
    r"|(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.? \d{1,2}(?:st|nd|rd|th)?,? (?:19|20)\d{2})(?!\d)"
)


def _rules(*rules: tuple[Kind, str]) -> list[tuple[Kind, re.Pattern[str]]]:
    return [(kind, re.compile(pattern, re.IGNORECASE | re.MULTILINE)) for kind, pattern in rules]


_RULES = _rules(
    ("email", r"(?P<it>[a-z\d._%+-]{1,64}@[a-z\d-]{1,63}(?:\.[a-z\d-]{1,63}){1,5})"),
    ("phone", r"(?<!\d)(?<!\d\.)(?P<it>(?:\+?86[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4})(?!\d|\.\d)"),
    ("phone", r"(?<![\d.])(?P<it>\(0\d{2,3}\)[- ]?\d{7,8}|0\d{2,3}[- ]\d{7,8})(?!\d|\.\d)"),
    ("phone", r"(?<![\d.])(?P<it>(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-.]\d{4})(?!\d|\.\d)"),
    ("phone", r"(?P<it>\+\d{1,3}(?:[ .-]?\(?\d{2,4}\)?){3,5})(?!\d)"),
    (
        "phone",
        r"(?:电话(?:号码)?|手机号?码?|联系方式|\b(?:tele?(?:phone)?|phone|mobile|fax)\b(?: (?:no\.?|number))?\.?)"
        rf"{_GAP}(?P<it>(?:\d[ ()-]{{0,2}}){{6,14}}\d)",
    ),
    ("id", rf"(?:身份证|护照|医保卡?|社保卡?)(?:号码|号)?{_GAP}(?P<it>[A-Z]{{0,2}}\d{{7,18}}X?)"),
    (
        "id",
        rf"\b(?:SSN|social security (?:number|no\.?)|passport(?: (?:number|no\.?))?){_GAP}(?P<it>[A-Z\d-]*\d{{4,}})",
    ),
    ("id", r"(?<![\d-])(?P<it>\d{3}-\d{2}-\d{4})(?![\d-])"),
    (
        "record",
        r"(?:住院|病案|病历|门诊|就诊|登记|病人|患者|检查|影像|病理|标本|条码)(?:号码?|编号|ID)"
        rf"{_GAP}(?P<it>[A-Z]{{0,4}}-?\d[\dA-Z-]{{2,}})",
    ),
    (
        "record",
        r"\b(?:MRN|(?:medical record|hospital|patient|admission|account|accession|chart|NHS|case)"
        rf"(?: (?:number|no\.?|id)| ?#)){_GAP}(?P<it>[A-Z]{{0,4}}-?\d[\dA-Z-]{{2,}}(?: \d{{3,4}}(?![\d/.])){{0,2}})",
    ),
    (
        "name",
        rf"(?:姓\s*名|联系人|(?:医师|医生|患者|家属)?签[名字]|(?:主治|住院|经治|主管)医[师生])\s*[: ]\s*{_UNKNOWN}"
        r"(?P<it>[\u4e00-\u9fff]{2,8}(?:·[\u4e00-\u9fff]{1,8})+"
        r"|[\u4e00-\u9fff]{2,4}?(?=$|[^\u4e00-\u9fff]|性别|年龄|男|女|出生|民族|住院|职业|婚)|[\u4e00-\u9fff]{2,3})",
    ),
    (
        "name",
        rf"(?:患者|病人|患儿|产妇|孕妇)\s*:?\s*(?!{_NOT_A_NAME})(?P<it>[{_SURNAMES}][\u4e00-\u9fff]{{1,2}}?)"
        r"(?=先生|女士|同志|[,、\s(]{1,3}(?:男|女|系|\d{1,3}\s*(?:岁|月|天)))",
    ),
    ("name", rf"(?P<it>[{_SURNAMES}](?:某某|某(?=[,.。;、\s(男女]|$)|[X*×]{{2}}))"),
    (
        "name",
        r"(?<!drug )(?<!brand )(?<!trade )(?<!generic )(?<!test )(?<!device )"
        rf"\b(?:patient(?:'s)? |full |last |first |sur|family )?name\s*[:=]\s*{_UNKNOWN}(?P<it>{_ENGLISH_NAME})",
    ),
    ("name", rf"(?-i:\b(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof))\.?\s+(?P<it>{_ENGLISH_NAME})"),
    (
        "name",
        r"\b(?:patient|pt)\s*:?\s+(?P<it>(?-i:[A-Z][a-z'’-]+(?: [A-Z]\.)?(?: [A-Z][A-Za-z'’-]+){1,2}))"
        r"(?=,? (?:is |was )?(?:an? )?\d{1,3}[- ]?y|\s?[,(]\s?(?:DOB|born|MRN|male|female|[MF]\b|aged|\d{1,3}\b))",
    ),
    (
        "date",
        r"(?:出生(?:日期|年月|于)?|生日|\b(?:born(?: on)?|DOB|D\.O\.B\.|date of birth|birth ?date)\b)"
        rf"{_GAP}(?P<it>{_DATE})",
    ),
    (
        "address",
        r"(?:(?:家庭|现|联系|居住|户籍|通讯)?(?:住址|地址)|户口所在地|工作单位|\b(?:home )?address)\s*[: ]\s*"
        rf"{_UNKNOWN}(?P<it>[^\s\[,。;](?:(?!\.\s)[^\n\[,。;]){{1,60}}"
        r"(?:, ?(?-i:[A-Z\d])[A-Za-z\d .'-]{1,30}){0,3})",
    ),
    (
        "address",
        r"(?:家住|现住|居住于|住在)(?P<it>[^\n,。;]{2,40}?(?:\d+(?:号|室|栋|单元|弄)|村|小区)(?:\d+(?:号|室|栋|单元))*)",
    ),
)

_RESIDENT_ID = re.compile(r"(?<!\d)[1-9]\d{5}(?:18|19|20)\d{9}[\dXx](?![\dA-Za-z])")
_DATED = re.compile(rf"(?<![\d.]){_DATE}", re.IGNORECASE)


def find_personal(text: str) -> list[Found]:
    """Find what looks personal.

    Parameters
    ----------
    text : str
        A note.

    Returns
    -------
    list of Found
        In the order of the text, none overlapping another. Empty where nothing was found, which proves nothing: see the
        head of this module.
    """
    plain = text.translate(_HALF_WIDTH)
    found = [
        *(Found(kind, *match.span("it")) for kind, pattern in _RULES for match in pattern.finditer(plain)),
        *(Found("id", *match.span()) for match in _RESIDENT_ID.finditer(plain) if is_resident_id(match.group())),
    ]
    if any(one.kind == "name" for one in found):
        found += [Found("date", *match.span()) for match in _DATED.finditer(plain)]
    return _merge(found)


def _merge(found: Iterable[Found]) -> list[Found]:
    """Join what overlaps, under the kind of what begins first."""
    merged: list[Found] = []
    for one in sorted(found, key=lambda one: (one.start, -one.end)):
        if merged and one.start < merged[-1].end:
            merged[-1] = replace(merged[-1], end=max(merged[-1].end, one.end))
        else:
            merged.append(one)
    return merged


def is_resident_id(number: str) -> bool:
    """Whether the check digit of a Chinese resident id of 18 characters holds (GB 11643, ISO 7064 MOD 11-2)."""
    total = sum(int(digit) * 2 ** (17 - place) for place, digit in enumerate(number[:17]))
    return "10X98765432"[total % 11] == number[17].upper()


def scrub(text: str) -> str:
    """Put the kind of each detail that :func:`find_personal` finds in its place, such as ``[phone]``."""
    parts: list[str] = []
    end = 0
    for one in find_personal(text):
        parts += [text[end : one.start], f"[{one.kind}]"]
        end = one.end
    return "".join([*parts, text[end:]])
