"""How relations of a graph are spoken of in questions, in English and in Chinese."""

from __future__ import annotations

import re
from typing import NamedTuple

_HAN = re.compile("[\u3400-\u9fff]")


class Phrase(NamedTuple):
    """How a relation is spoken of.

    Attributes
    ----------
    noun : str
        What its tails are: ``symptoms``.
    link : str
        The word before the head: ``symptoms of ...``; empty in Chinese.
    thing : str
        What its heads are: ``disease``.
    role : str or None
        What it is to a chain of facts: ``symptom``, ``drug``.
    """

    noun: str
    link: str
    thing: str
    role: str | None = None

    def of(self, head: str) -> str:
        """Say the noun with a head: ``symptoms of asthma``, ``哮喘的症状``."""
        return f"{self.noun} {self.link} {head}" if self.link else f"{head}的{self.noun}"


class _Known(NamedTuple):
    names: tuple[str, ...]
    english: str
    link: str
    chinese: str
    thing: str = "disease"
    role: str | None = None


_KNOWN = (
    _Known(("symptom", "临床表现", "症状", "相关症状", "临床症状"), "symptoms", "of", "症状", role="symptom"),
    _Known(("cause", "病因", "发病原因"), "causes", "of", "病因"),
    _Known(
        ("test", "examination", "check", "检查", "辅助检查", "实验室检查", "影像学检查"),
        "examinations",
        "for",
        "检查",
    ),
    _Known(
        ("drug", "recommand_drug", "common_drug", "药物", "药物治疗", "推荐药物"), "drugs", "for", "药物", role="drug"
    ),
    _Known(("treatment", "cure_way", "治疗", "治疗方案", "手术治疗"), "treatments", "for", "治疗方案"),
    _Known(("complication", "acompany", "并发症"), "complications", "of", "并发症"),
    _Known(("department", "cure_department", "就诊科室", "科室"), "departments", "for", "就诊科室"),
    _Known(("indication", "适应症", "主治"), "indications", "of", "适应症", "drug"),
    _Known(("adverse_reaction", "side_effect", "不良反应", "副作用"), "side effects", "of", "不良反应", "drug"),
    _Known(("contraindication", "禁忌"), "contraindications", "of", "禁忌", "drug"),
    _Known(("ingredient", "成份", "成分"), "ingredients", "of", "成份", "drug"),
)
_THINGS = {"disease": "疾病", "drug": "药物", "entry": "条目"}
_BY_NAME = {name: known for known in _KNOWN for name in known.names}


def phrase(relation: str, language: str) -> Phrase:
    """Find how a relation is spoken of.

    Parameters
    ----------
    relation : str
        As the graph calls it. A Chinese name is its own noun in Chinese; a name that is not known is its own noun.
    language : {'en', 'zh'}

    Returns
    -------
    Phrase
    """
    known = _BY_NAME.get(relation.casefold()) or _BY_NAME.get(relation.casefold().removeprefix("has_").rstrip("s"))
    thing = known.thing if known else "entry"
    role = known.role if known else None
    if language == "en":
        return Phrase(
            known.english if known else relation.replace("_", " "), known.link if known else "of", thing, role
        )
    noun = relation if known is None or _HAN.search(relation) else known.chinese
    return Phrase(noun, "", _THINGS[thing], role)
