"""Synthetic cases with a known diagnosis, in English and in Chinese, for demonstrations and tests.

A case has one to three of forty diseases. Its note tells a part of their findings and, in the same words, what is
absent: findings of diseases that it could be confused with, as denied symptoms, negative tests and normal values; and a
past or a relative's disease. Whoever counts words confuses them; a reader who minds negation and values does not. No
figure from these cases says anything about patients.

    A 63-year-old man. Reports yellow sputum and coughing and denies night sweats. T 38.9 °C, BP 118/74 mmHg. ...
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from vitalfactory.errors import VitalFactoryError
from vitalfactory.notes.synthetic_tables import DISEASES, FINDINGS, LANGUAGES, Disease
from vitalfactory.notes.synthetic_words import Plan, Written, write

SECOND, THIRD = 0.25, 0.05
"""Shares of cases with at least two diseases, and with three."""
KEY_TOLD = 0.8
"""How often each key finding is told; one always is."""
FEWEST_OTHERS, MOST_OTHERS = 2, 5
"""Further findings that are told of a disease, where it has as many."""
COMPETITORS = 2
"""Diseases that the case could be confused with and whose findings are told as absent."""
NOISE = 0.4
"""How often a competitor lends one of its shared findings as present."""
OWN_ABSENT = 0.1
"""How often a finding that a disease could have had is told as absent."""
PAST, FAMILY = 0.35, 0.35
"""Shares of notes with a past disease, and with one of a relative."""
LATER = 0.8
"""From this share of the cases on, the last wording of a finding is used as well."""


@dataclass(frozen=True)
class Case:
    """A note with its answer.

    Attributes
    ----------
    id : str
        Unique among the cases of one seed; the same in both languages for the same findings.
    text : str
    diseases : tuple of str
        In normal form, in the order of the table.
    reason : str
        The findings that the note tells as present, in its own words; by disease where there are several.
    stated : bool
        Whether the note ends in its diagnosis.
    """

    id: str
    text: str
    diseases: tuple[str, ...]
    reason: str
    stated: bool


def make_cases(n: int, seed: int, language: str, stated: float = 0.0) -> list[Case]:
    """Make cases: the same arguments give the same bytes on every machine.

    Parameters
    ----------
    n : int
        How many.
    seed : int
    language : {'en', 'zh'}
        Both tell the same findings of the same patients.
    stated : float
        Share of notes that end in "Diagnosis: ..." or 诊断：...; they are otherwise the same notes.

    Returns
    -------
    list of Case
        The last fifth also uses wordings that stand in none before it.

    Raises
    ------
    VitalFactoryError
        There are no words for the language.
    """
    if language not in LANGUAGES:
        raise VitalFactoryError(f"no synthetic cases in {language!r}; expected one of {', '.join(LANGUAGES)}")
    return [_case(number, seed, language, stated, later=number >= LATER * n) for number in range(n)]


def _case(number: int, seed: int, language: str, stated: float, *, later: bool) -> Case:
    plan = _plan(random.Random(f"{seed}/findings/{number}"))
    written = write(plan, language, random.Random(f"{seed}/{language}/{number}"), later=later)
    names = tuple(disease.names[language] for disease in plan.diseases)
    with_answer = random.Random(f"{seed}/stated/{number}").random() < stated
    text = written.text + (_stated(names, language) if with_answer else "")
    return Case(f"case-{number:06d}", text, names, _reason(plan, written, language), with_answer)


def _stated(names: Sequence[str], language: str) -> str:
    return f"\nDiagnosis: {', '.join(names)}." if language == "en" else f"\n诊断：{'、'.join(names)}。"


def _reason(plan: Plan, written: Written, language: str) -> str:
    comma, semicolon, colon, stop = (", ", "; ", ": ", ".") if language == "en" else ("、", "；", "：", "。")
    parts = [comma.join(written.evidence[key] for key in keys) for keys in plan.present]
    if len(parts) > 1:
        names = (disease.names[language] for disease in plan.diseases)
        parts = [f"{name}{colon}{part}" for name, part in zip(names, parts, strict=True)]
    return semicolon.join(parts) + stop


def _plan(rng: random.Random) -> Plan:
    diseases = _draw_diseases(rng)
    present = [_draw_present(disease, rng) for disease in diseases]
    competitors = _draw_competitors(diseases, rng)
    absent = _draw_absent(diseases, competitors, present, rng)
    noise = _draw_noise(diseases, competitors, absent, rng)
    strangers = [disease for disease in DISEASES if disease not in diseases]
    youngest, oldest = _ages(diseases)
    return Plan(
        diseases=diseases,
        present=present,
        noise=noise,
        absent=absent,
        past=rng.choice([one for one in strangers if one.curable]) if rng.random() < PAST else None,
        family=rng.choice(strangers) if rng.random() < FAMILY else None,
        age=rng.randint(youngest, oldest),
        male=rng.random() < 0.5,
        days=rng.randint(2, 20),
    )


def _ages(diseases: Iterable[Disease]) -> tuple[int, int]:
    spans = [disease.ages for disease in diseases]
    return max(low for low, _ in spans), min(high for _, high in spans)


def _draw_diseases(rng: random.Random) -> list[Disease]:
    """Draw one to three diseases that one patient may have, in the order of the table."""
    chance = rng.random()
    wanted = 1 + (chance < SECOND) + (chance < THIRD)
    chosen: list[Disease] = []
    for disease in rng.sample(DISEASES, len(DISEASES)):
        youngest, oldest = _ages([*chosen, disease])
        if youngest <= oldest and all(_agree(disease, other) for other in chosen):
            chosen.append(disease)
        if len(chosen) == wanted:
            break
    return sorted(chosen, key=DISEASES.index)


def _findings(disease: Disease) -> list[str]:
    return [*disease.keys, *disease.others]


def _topics(diseases: Iterable[Disease]) -> set[str]:
    """Name what the findings of diseases are about, shown or not."""
    return {_topic(key) for disease in diseases for key in _findings(disease)}


def _topic(key: str) -> str:
    return FINDINGS[key].about or key


@cache
def _agree(one: Disease, other: Disease) -> bool:
    """Whether no finding of one disease is about the same thing as another finding of the other."""
    return not any(
        first != second and _topic(first) == _topic(second) for first in _findings(one) for second in _findings(other)
    )


def _draw_present(disease: Disease, rng: random.Random) -> list[str]:
    keys = [key for key in disease.keys if rng.random() < KEY_TOLD] or [rng.choice(disease.keys)]
    others = [key for key, often in disease.others.items() if rng.random() < often] or [next(iter(disease.others))]
    kept = rng.sample(others, min(len(others), rng.randint(FEWEST_OTHERS, MOST_OTHERS)))
    return [key for key in _findings(disease) if key in keys or key in kept]


@cache
def _likeness(one: Disease, other: Disease) -> float:
    """Weigh how easily two diseases are confused: by the findings that they share."""
    shared = one.others.keys() & other.others.keys()
    return 0.05 + sum(min(one.others[key], other.others[key]) for key in shared)


def _draw_competitors(diseases: Sequence[Disease], rng: random.Random) -> list[Disease]:
    rest = [disease for disease in DISEASES if disease not in diseases]
    chosen: list[Disease] = []
    while len(chosen) < COMPETITORS:
        weights = [sum(_likeness(disease, other) for disease in diseases) for other in rest]
        chosen.append(rest.pop(rng.choices(range(len(rest)), weights)[0]))
    return chosen


def _draw_absent(
    diseases: Sequence[Disease], competitors: Sequence[Disease], present: Sequence[Sequence[str]], rng: random.Random
) -> list[str]:
    """Draw findings told as absent: of competitors, a key among them, and a few that the diseases could have had."""
    topics = _topics(diseases)
    absent: list[str] = []
    for other in competitors:
        wanted = [rng.choice(other.keys), *rng.sample(list(other.others), 2)]
        absent += _apart((key for key in wanted if _topic(key) not in topics), absent)
    told = [key for keys in present for key in keys]
    own = sorted({key for disease in diseases for key in disease.others} - set(told))
    return absent + _apart((key for key in own if rng.random() < OWN_ABSENT), [*absent, *told])


def _draw_noise(
    diseases: Sequence[Disease], competitors: Sequence[Disease], absent: Sequence[str], rng: random.Random
) -> list[str]:
    """Draw shared findings of competitors that are present for no reason."""
    taken = _topics(diseases) | {_topic(key) for key in absent}
    noise: list[str] = []
    for other in competitors:
        free = [key for key in other.others if _topic(key) not in taken]
        if free and rng.random() < NOISE:
            noise += _apart([rng.choice(free)], noise)
    return noise


def _apart(keys: Iterable[str], others: Collection[str]) -> list[str]:
    """Keep one finding about each thing, and none about what the others are about."""
    taken = {_topic(key) for key in others}
    kept: list[str] = []
    for key in keys:
        if _topic(key) not in taken:
            taken.add(_topic(key))
            kept.append(key)
    return kept
