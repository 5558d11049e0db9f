"""Figures of answers that are sets of diseases with a reason (kind ``diagnosis``), with 95 % intervals over groups.

Names are compared in their normal form, through a table of synonyms where there is one. An answer that no diagnosis
can be read from counts as wrong and leaves no denominator:

- precision, recall and F1 over diseases see it as one that names none: a miss of every gold disease of its note.
  (Precision is about the names that were said, and it says none.) The micro figures are over all pairs of note and
  disease. The macro figures average over the diseases that some note truly has; a name that no note has is a false
  positive in the micro figures alone. A disease that is never named has a precision of 0.
- the set matches, JSON validity, ROUGE and the share of facts found in the note (:mod:`vitalfactory.scoring.reasons`)
  are means over notes, and it is 0 there; so is a reason without facts.

JSON is valid where the whole text is the object that was asked for. After repair means that a diagnosis could be read,
by whatever tolerance. Both are of the model's own text: a run without texts (a linear baseline, or answers that came
as fields) has no JSON validity.

Notes that state their diagnosis give the answer away. The figures are over the notes that do not, where there are
any; those of the others, and of all notes, stand apart. A figure that is undefined is None, and null in JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from vitalfactory.card import Card
from vitalfactory.diagnosis import Diagnosis, Reading, Synonyms, normalise, read_answer
from vitalfactory.predictions import Prediction
from vitalfactory.scoring.intervals import (
    LEVEL,
    RESAMPLES,
    SEED,
    Figure,
    Floats,
    Statistics,
    bootstrap,
    mean,
    ratio,
)
from vitalfactory.scoring.reasons import Evidence, rouge

FIGURES = {
    "micro_f1": "Micro F1 over diseases",
    "micro_precision": "Micro precision",
    "micro_recall": "Micro recall",
    "macro_f1": "Macro F1 over diseases",
    "macro_precision": "Macro precision",
    "macro_recall": "Macro recall",
    "set_match": "Same set of diseases",
    "exact_match": "Same set as written",
    "diseases_said": "Diseases named a note",
    "diseases_true": "True diseases a note",
    "json_valid": "Valid JSON",
    "parse_rate": "Readable after repair",
    "rouge_1": "Reason: ROUGE-1",
    "rouge_2": "Reason: ROUGE-2",
    "rouge_l": "Reason: ROUGE-L",
    "evidence": "Reason: facts found in the note",
    "evidence_gold": "Gold reason: facts found in the note",
}
"""Every figure's name in metrics.json, and in tables for people."""

COUNTS = ("diseases_said", "diseases_true")
"""Figures that are no shares."""

OF_DISEASES = ("micro_f1", "micro_precision", "micro_recall", "macro_f1", "macro_precision", "macro_recall")

OF_NOTES = tuple(name for name in FIGURES if name not in OF_DISEASES)
"""Figures that are means over notes."""

OF_SETS = (*OF_DISEASES, "set_match", *COUNTS)
"""Figures that need nothing but sets of diseases: those of an answer without a text."""

UNDEFINED = Figure(value=None, low=None, high=None)

Key = tuple[str, str]
"""A disease, or '' for a figure of all, and the figure's name."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What was answered to a note, beside what is true.

    Attributes
    ----------
    id, group : str
    gold, said : frozenset of str
        Diseases, in their normal form and with synonyms resolved; ``said`` is empty where no answer could be read.
    gold_written, written : frozenset of str
        The same as they were written; empty where that is not known.
    how : {'valid', 'repaired', 'unreadable'} or None
        How the model's text was read; None where the run has no texts.
    gold_reason : str or None
        None where there is none, or it is not known.
    reason : str or None
        Empty where no answer could be read; None where the run has no texts.
    note : str or None
        None where the dataset is not at hand.
    stated : bool or None
        Whether the note states its diagnosis; None where that is not known.
    """

    id: str
    group: str
    gold: frozenset[str]
    said: frozenset[str]
    gold_written: frozenset[str] = frozenset()
    written: frozenset[str] = frozenset()
    how: Literal["valid", "repaired", "unreadable"] | None = None
    gold_reason: str | None = None
    reason: str | None = None
    note: str | None = None
    stated: bool | None = None


def read_answers(
    rows: Sequence[Prediction],
    source: Mapping[str, Mapping[str, Any]] | None,
    synonyms: Synonyms,
    *,
    fields: bool = False,
) -> list[Answer]:
    """Read what a run answered.

    Parameters
    ----------
    rows : sequence of Prediction
        Checked by :func:`vitalfactory.scoring.metrics.check`. A row with a text is read anew from it.
    source : mapping or None
        The dataset's rows by id.
    synonyms : Synonyms
    fields : bool
        The texts were put together from fields, so how they were read says nothing about a model.
    """
    return [_read(row, (source or {}).get(row.id), synonyms, fields) for row in rows]


def _read(row: Prediction, source: Mapping[str, Any] | None, synonyms: Synonyms, fields: bool) -> Answer:
    gold = _gold(source)
    reading = None if row.text is None else read_answer(row.text)
    found = reading.diagnosis if reading else None
    return Answer(
        id=row.id,
        group=row.group,
        gold=synonyms.set_of(_names(row.label)),
        said=synonyms.set_of(_said(row, reading)),
        gold_written=frozenset(gold.diseases) if gold else frozenset(),
        written=frozenset(found.diseases) if found else frozenset(),
        how=reading.how if reading and not fields else None,
        gold_reason=gold.reason or None if gold else None,
        reason=_reason(reading),
        note=str(source.get("input", "")) if source else None,
        stated=bool(source["stated"]) if source and "stated" in source else None,
    )


def _gold(source: Mapping[str, Any] | None) -> Diagnosis | None:
    return read_answer(str(source.get("output", ""))).diagnosis if source else None


def _reason(reading: Reading | None) -> str | None:
    if reading is None:
        return None
    return reading.diagnosis.reason if reading.diagnosis else ""


def _said(row: Prediction, reading: Reading | None) -> Sequence[str]:
    if reading is None:
        return _names(row.parsed)
    return reading.diagnosis.diseases if reading.diagnosis else ()


def _names(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else value or []


def values_of(answers: Sequence[Answer], language: str) -> dict[str, Floats]:
    """Compute what each answer adds to the figures that are means over notes.

    Parameters
    ----------
    answers : sequence of Answer
    language : str
        The card's, for ROUGE.

    Returns
    -------
    dict of str to array of float, shape (answers,)
        By the figure's name; NaN where an answer does not tell.
    """
    told = [_values(answer, language) for answer in answers]
    return {name: np.asarray([one.get(name, np.nan) for one in told], dtype=np.float64) for name in OF_NOTES}


def _values(answer: Answer, language: str) -> dict[str, float]:
    values: dict[str, float] = {
        "set_match": answer.said == answer.gold,
        "diseases_said": len(answer.said),
        "diseases_true": len(answer.gold),
    }
    if answer.reason is not None:
        values["parse_rate"] = bool(answer.said)
    if answer.how is not None:
        values["json_valid"] = answer.how == "valid"
    if answer.reason is not None and answer.gold_written:
        values["exact_match"] = answer.written == answer.gold_written
    if answer.reason is not None and answer.gold_reason is not None:
        three = rouge(answer.reason, answer.gold_reason, language)
        values |= zip(("rouge_1", "rouge_2", "rouge_l"), three, strict=True)
    return values | _evidence(answer)


def _evidence(answer: Answer) -> dict[str, float]:
    """Return the share of facts found in the note, of the answer's reason and of the gold one."""
    if answer.note is None:
        return {}
    note, written = Evidence(answer.note), answer.written | answer.gold_written
    names = answer.gold | answer.said | set(map(normalise, written))
    reasons = {"evidence": answer.reason, "evidence_gold": answer.gold_reason}
    return {name: note.share(reason, names) for name, reason in reasons.items() if reason is not None}


def figures_of(answers: Sequence[Answer], values: Mapping[str, Floats]) -> Statistics[Key]:
    """Make the function that computes every figure from weights of the answers.

    Parameters
    ----------
    answers : sequence of Answer
    values : mapping
        Of :func:`values_of`.

    Returns
    -------
    callable
        For :func:`vitalfactory.scoring.intervals.bootstrap`.
    """
    counts = [
        np.asarray([len(names) for names in sets], dtype=np.float64)
        for sets in (
            [answer.gold & answer.said for answer in answers],
            [answer.gold for answer in answers],
            [answer.said for answer in answers],
        )
    ]
    each = _EachDisease(answers)

    def statistics(weights: Floats) -> dict[Key, Floats]:
        hits, gold, said = (weights @ count for count in counts)
        micro = {
            "micro_f1": ratio(2 * hits, gold + said),
            "micro_precision": ratio(hits, said),
            "micro_recall": ratio(hits, gold),
        }
        means = {name: mean(weights, column) for name, column in values.items()}
        return {("", name): column for name, column in (micro | means).items()} | each.figures(weights)

    return statistics


class _EachDisease:
    """Precision, recall and F1 of each disease that some note truly has, and their means."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.names = sorted(frozenset().union(*(answer.gold for answer in answers)))
        place = {name: column for column, name in enumerate(self.names)}
        self._gold = _indicators([answer.gold for answer in answers], place)
        self._said = _indicators([answer.said for answer in answers], place)
        self._hits = _indicators([answer.gold & answer.said for answer in answers], place)

    def figures(self, weights: Floats) -> dict[Key, Floats]:
        hits, gold, said = ((table.T @ weights.T).T for table in (self._hits, self._gold, self._said))
        drawn = gold > 0
        each = {
            "precision": np.where(drawn & (said == 0), 0.0, ratio(hits, said)),
            "recall": ratio(hits, gold),
            "f1": ratio(2 * hits, gold + said),
        }
        named: dict[Key, Floats] = {}
        for name, columns in each.items():
            averaged = np.where(drawn, columns, 0.0).sum(axis=1)
            named["", f"macro_{name}"] = ratio(averaged, drawn.sum(axis=1).astype(np.float64))
            named |= {(disease, name): columns[:, place] for place, disease in enumerate(self.names)}
        return named


def _indicators(sets: Sequence[frozenset[str]], place: Mapping[str, int]) -> Any:
    """Lay sets out as ones in a sparse table, shape (answers, diseases)."""
    from scipy.sparse import csr_array

    cells = [(row, place[name]) for row, names in enumerate(sets) for name in names if name in place]
    rows, columns = np.asarray(cells, dtype=np.int64).reshape(-1, 2).T
    return csr_array((np.ones(len(cells)), (rows, columns)), shape=(len(sets), len(place)))


def judged_of(answers: Sequence[Answer]) -> tuple[list[Answer], str]:
    """Choose the answers that the figures are over, and say which they are."""
    silent = [answer for answer in answers if answer.stated is False]
    if silent and len(silent) < len(answers):
        left_out = len(answers) - len(silent)
        return silent, f"the {len(silent)} notes that do not state their diagnosis ({left_out} others stand apart)"
    if silent:
        return silent, f"all {len(silent)} notes; none states its diagnosis"
    if all(answer.stated for answer in answers):
        return list(answers), f"all {len(answers)} notes; every one states its diagnosis"
    return list(answers), f"all {len(answers)} notes; which of them state their diagnosis is not known"


def measure(answers: Sequence[Answer], card: Card, synonyms: Synonyms) -> dict[str, Any]:
    """Compute every figure of a run.

    Parameters
    ----------
    answers : sequence of Answer
    card : Card
    synonyms : Synonyms

    Returns
    -------
    dict
        ``judged`` (which notes the figures are over), ``rows``, ``groups``, ``figures``, ``per_class``, ``read`` (how
        many texts were valid, repaired, unreadable), ``apart`` (the figures of other notes), ``majority``,
        ``intervals``. It holds no NaN.
    """
    values = values_of(answers, card.language)
    place = {answer.id: number for number, answer in enumerate(answers)}

    def measured(part: Sequence[Answer]) -> dict[Key, Figure]:
        places = [place[answer.id] for answer in part]
        return _bootstrapped(part, {name: column[places] for name, column in values.items()})

    chosen, judged = judged_of(answers)
    whole = measured(chosen)
    support = Counter(name for answer in chosen for name in answer.gold)
    diseases = sorted(support, key=lambda name: (-support[name], name))
    return {
        "judged": judged,
        **_shape(chosen),
        "figures": _named(whole),
        "per_class": {
            name: {figure: whole[name, figure] for figure in ("precision", "recall", "f1")} | {"support": support[name]}
            for name in diseases
        },
        "read": {how: sum(answer.how == how for answer in chosen) for how in ("valid", "repaired", "unreadable")},
        "apart": _apart(answers, chosen, measured),
        "majority": majority(chosen, card, synonyms),
        "intervals": {"level": LEVEL / 100, "resamples": RESAMPLES, "seed": SEED, "over": "groups"},
    }


def _bootstrapped(answers: Sequence[Answer], values: Mapping[str, Floats]) -> dict[Key, Figure]:
    return bootstrap(figures_of(answers, values), [answer.group for answer in answers])


def _shape(answers: Sequence[Answer]) -> dict[str, int]:
    return {"rows": len(answers), "groups": len({answer.group for answer in answers})}


def _named(figures: Mapping[Key, Figure]) -> dict[str, Figure]:
    return {name: figures.get(("", name), UNDEFINED) for name in FIGURES}


def _apart(
    answers: Sequence[Answer], chosen: Sequence[Answer], measured: Callable[[Sequence[Answer]], dict[Key, Figure]]
) -> dict[str, Any]:
    """Judge the notes that state their diagnosis, and all notes, where the figures are over others."""
    if len(chosen) == len(answers):
        return {}
    parts = {"notes that state it": [answer for answer in answers if answer.stated], "all notes": answers}
    return {name: {**_shape(part), "figures": _named(measured(part))} for name, part in parts.items()}


def majority(answers: Sequence[Answer], card: Card, synonyms: Synonyms) -> dict[str, Any] | None:
    """Judge the answer that always names the most frequent disease of the training rows.

    Returns
    -------
    dict or None
        ``label`` and ``figures``; None where the card counts no training rows.
    """
    counts: Counter[str] = Counter()
    for name, count in (card.splits["train"].labels if "train" in card.splits else {}).items():
        counts[synonyms(name)] += count
    if not any(counts.values()):
        return None
    label = min(counts, key=lambda name: (-counts[name], name))
    usual = [replace(answer, said=frozenset({label}), reason=None, how=None, note=None) for answer in answers]
    figures = _named(_bootstrapped(usual, values_of(usual, card.language)))
    return {"label": label, "figures": {name: figures[name] for name in OF_SETS}}
