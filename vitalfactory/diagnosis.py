"""A diagnosis with its reason: the question, the JSON that answers it, and a tolerant reader of what models write.

The converter writes its targets with :meth:`Diagnosis.line`, the teacher and the tuned model are asked one of
``QUESTIONS``, and whatever any of them answers is read by :func:`read_answer`: one wording and one form everywhere.

    {"diseases": ["pneumonia", "type 2 diabetes"], "reason": "Fever, cough and crackles; glucose 14 mmol/L."}
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import dumps, read_csv

QUESTIONS: dict[str, tuple[str, ...]] = {
    "en": (
        "Which diseases does this clinical note describe? Answer with one JSON object: "
        '{"diseases": [their names], "reason": "the findings that speak for them"}.',
    ),
    "zh": (
        '以下病历描述的是哪些疾病？请只回答一个 JSON 对象：{"diseases": [疾病名称], "reason": "支持诊断的病历依据"}。',
    ),
}
"""Language to the wordings of the question."""

_FIELDS = {
    "diseases": ("diseases", "disease", "diagnoses", "diagnosis", "疾病", "疾病名称", "诊断", "诊断结果"),
    "reason": ("reason", "reasons", "reasoning", "理由", "依据", "诊断依据", "原因"),
}
"""A field to the names that models give it."""

_SEPARATORS = re.compile(r"[,，、;；\n]+")
_ENDS = " .。,，、;；:：!！\"'“”‘’`*"


def split_names(text: str) -> list[str]:
    """Take ``"a, b"`` apart at commas, semicolons, enumeration commas and line ends; empty names are dropped."""
    return [name.strip() for name in _SEPARATORS.split(text) if name.strip()]


def _as_list(value: Any) -> Any:
    return split_names(value) if isinstance(value, str) else value


class Diagnosis(BaseModel):
    """What a note is answered with.

    Attributes
    ----------
    diseases : list of str
        At least one; a string of names is taken apart.
    reason : str
        The findings that speak for them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    diseases: Annotated[
        list[Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]],
        BeforeValidator(_as_list),
        Field(min_length=1),
    ]
    reason: str

    def line(self) -> str:
        """Encode as one line of JSON, the form that a model is trained to answer in."""
        return dumps(self.model_dump())


@dataclass(frozen=True)
class Reading:
    """What was read from an answer.

    Attributes
    ----------
    diagnosis : Diagnosis or None
        None where none could be read.
    how : {'valid', 'repaired', 'unreadable'}
        ``valid`` is the whole text as JSON of the schema; ``repaired`` took tolerance.
    fault : str or None
        Why the text is not valid.
    """

    diagnosis: Diagnosis | None
    how: Literal["valid", "repaired", "unreadable"]
    fault: str | None = None


def read_answer(text: str) -> Reading:
    """Read a diagnosis from what a model wrote.

    Parameters
    ----------
    text : str
        JSON as asked for; JSON in a fence or between words, cut off, with quotes missing or fields named otherwise;
        or lines such as ``Diseases: a, b`` and ``Reason: ...``.

    Returns
    -------
    Reading
    """
    try:
        return Reading(Diagnosis.model_validate_json(text), "valid")
    except ValidationError as error:
        fault = _fault(error)
    found = _from_json(text) or _from_lines(text)
    return Reading(found, "repaired", fault) if found else Reading(None, "unreadable", fault)


def _fault(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else str(first["msg"])


def _from_json(text: str) -> Diagnosis | None:
    from json_repair import repair_json

    start = text.find("{")
    if start < 0:
        return None
    found: Any = repair_json(text[start:], return_objects=True)
    candidates = found if isinstance(found, list) else [found]
    return next((read for one in candidates if isinstance(one, dict) and (read := _from_fields(one))), None)


def _from_lines(text: str) -> Diagnosis | None:
    """Read lines that begin with a field's name and a colon; a field ends where the next one begins."""
    parts = _labelled().split(text)
    return _from_fields(dict(zip(parts[1::2], parts[2::2], strict=True)))


@cache
def _labelled() -> re.Pattern[str]:
    names = sorted((name for known in _FIELDS.values() for name in known), key=len, reverse=True)
    return re.compile(rf"^[\s\-#*\"'【]*({'|'.join(names)})[\s*\"'】]*[:：]\**", re.IGNORECASE | re.MULTILINE)


def _from_fields(given: Mapping[str, Any]) -> Diagnosis | None:
    """Validate fields under any of their names; a reason that is missing is empty."""
    lowered = {str(name).strip().casefold(): value for name, value in given.items()}
    fields = {
        field: next((lowered[name] for name in known if name in lowered), None) for field, known in _FIELDS.items()
    }
    names, reason = fields["diseases"], fields["reason"]
    if isinstance(names, str):
        names = [name.strip(_ENDS) for name in split_names(names)]
    if isinstance(names, list):
        names = [name for name in names if not (isinstance(name, str) and not name.strip(_ENDS))]
    reason = "; ".join(map(str, reason)) if isinstance(reason, list) else reason
    try:
        return Diagnosis(diseases=names, reason=reason.strip() if isinstance(reason, str) else "")  # type: ignore[arg-type]
    except ValidationError:
        return None


def normalise(name: str) -> str:
    """Bring a disease's name to one form: width, case, blanks and marks at its ends.

    Blanks between Chinese characters fall away; between other words one is kept.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    text = " ".join(folded.split()).strip(_ENDS)
    return re.sub(r"(?<=[\u3400-\u9fff]) | (?=[\u3400-\u9fff])", "", text)


class Synonyms:
    """Names of diseases that mean the same.

    Parameters
    ----------
    names : mapping of str to str
        A name to the one that it is known by.
    """

    def __init__(self, names: Mapping[str, str] | None = None) -> None:
        self._known = {normalise(name): known.strip() for name, known in (names or {}).items()}

    def __call__(self, name: str) -> str:
        """Name a disease as it is known, in its normal form."""
        return normalise(self.say(name))

    def say(self, name: str) -> str:
        """Name a disease as it is known, as that name is written; one that is not in the table stays as it is."""
        return self._known.get(normalise(name), name)

    def set_of(self, names: Iterable[str]) -> frozenset[str]:
        """Name several diseases, each once."""
        return frozenset(map(self, names)) - {""}


def read_synonyms(path: Path) -> Synonyms:
    """Read a table of synonyms.

    Parameters
    ----------
    path : Path
        CSV without a header: the name that a disease is known by, then any number of others on the same line.

    Raises
    ------
    VitalFactoryError
        The file is missing or no CSV, or one name stands for two diseases.
    """
    names: dict[str, str] = {}
    for number, cells in read_csv(path):
        known, *others = (cell for cell in cells if cell)
        for name in (known, *others):
            if names.setdefault(normalise(name), known) != known:
                raise VitalFactoryError(
                    f"{path}:{number}: {name!r} already stands for {names[normalise(name)]!r}; "
                    "expected one disease for each name"
                )
    return Synonyms(names)
