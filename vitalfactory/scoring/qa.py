"""Figures of answers to medical questions (kind ``qa``), with 95 % intervals over groups.

Every row is told as numbers (:func:`values_of`): what its answer's text is worth beside the reference, which of the
entities that it should name it does, how likely the model holds the reference. Figures are computed from these
alone, so that a run can be compared with another without its texts.

- an answer without text counts as wrong: it matches nothing, names nothing, and is likely to nothing.
- entity precision, recall and F1 are over all pairs of answer and entity (:mod:`vitalfactory.scoring.qa_entities`),
  of the rows whose answer is a matter of names.
- loss is the mean negative log-probability of the references' tokens, each with the one that ends it, and perplexity
  its exponential. They compare runs with one tokeniser alone.
- ROUGE-2 is over the rows whose reference has two words or more.
- yes and no are read off the beginning of an answer; apart from that the two answers' likelihoods decide, and the
  AUROC is of their ratio.

Beside it stands the constant answer: to every question the most frequent training answer to its kind of question.
What training knew is told by facts (:func:`known_of`). A figure that is undefined is None, and null in JSON.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vitalfactory.card import Card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_jsonl, write_jsonl
from vitalfactory.predictions import Prediction
from vitalfactory.scoring.intervals import (
    LEVEL,
    RESAMPLES,
    SEED,
    Figure,
    Floats,
    Ranking,
    Statistics,
    bootstrap,
    ratio,
)
from vitalfactory.scoring.qa_entities import Vocabulary, said_of, wanted_of
from vitalfactory.scoring.qa_text import (
    bleu,
    chrf,
    counts_of,
    is_refusal,
    normalise,
    read_yes_no,
    repetition,
)
from vitalfactory.scoring.reasons import rouge, words_of

FIGURES = {
    "entity_f1": "Entity F1",
    "entity_precision": "Entity precision",
    "entity_recall": "Entity recall",
    "exact_match": "Exact match",
    "bleu": "BLEU (0 to 1)",
    "chrf": "chrF (0 to 1)",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
    "yes_no_text": "Yes or no: right in free text",
    "yes_no_read": "Yes or no: readable in free text",
    "yes_no_accuracy": "Yes or no: the likelier one is right",
    "yes_no_auroc": "Yes or no: AUROC",
    "loss": "Loss of the reference, a token",
    "perplexity": "Perplexity of the reference",
    "length": "Words an answer",
    "length_reference": "Words a reference",
    "repetition": "Repeated runs of four words",
    "refusal": "Refusals",
    "answered": "Answers with any text",
    "cut": "Cut off at the longest answer",
}
"""Every figure's name in metrics.json, and in tables for people."""

COUNTS = ("loss", "perplexity", "length", "length_reference")
"""Figures that are no shares."""

MEANS = (
    *("exact_match", "rouge_1", "rouge_2", "rouge_l", "yes_no_text", "yes_no_read", "yes_no_accuracy", "length"),
    *("length_reference", "repetition", "refusal", "answered", "cut"),
)
"""Figures that are means over rows."""

OF_MODELS = ("yes_no_accuracy", "yes_no_auroc", "loss", "perplexity", "answered", "cut")
"""Figures that a constant answer has none of."""

KNOWN, NEW_FACTS, UNSEEN = "facts of training", "new facts of known entities", "entities never seen in training"
NO_DOCTOR = (
    "A language model is no doctor. Nothing that it says here may guide the care of a person; who needs help asks a "
    "doctor, and in an emergency calls for help at once."
)
HONEST = (
    f"A model cannot know the facts of {UNSEEN}: an entity F1 near zero there is what honest looks like, and what it "
    "reaches comes of names that many entities share."
)

UNDEFINED = Figure(value=None, low=None, high=None)

Columns = dict[str, Floats]
"""Names to a number for each row, NaN where a row does not tell."""


@dataclass(frozen=True, eq=False)
class Answer:
    """A question, what is true, and what a model made of it.

    Attributes
    ----------
    id, group : str
    row : mapping
        The dataset's.
    reference : str
    text : str or None
        None where the run has no answer in free text.
    cut : bool or None
    logprob : float or None
        Of the reference, where it was scored.
    tokens : int or None
    yes : float or None
        The probability of "yes" against "no".
    """

    id: str
    group: str
    row: Mapping[str, Any]
    reference: str
    text: str | None = None
    cut: bool | None = None
    logprob: float | None = None
    tokens: int | None = None
    yes: float | None = None

    @property
    def kind(self) -> str:
        """The kind of its question: ``list``, ``yesno``, ``text`` and so on."""
        return str(self.row.get("form", "text")).partition("-")[0]


def join(
    source: Mapping[str, Mapping[str, Any]],
    card: Card,
    generations: Sequence[Prediction] | None,
    likelihoods: Sequence[Prediction] | None,
    verdicts: Sequence[Prediction] | None,
) -> list[Answer]:
    """Put together what a run says of each row of its dataset.

    Parameters
    ----------
    source : mapping
        The dataset's rows by id.
    card : Card
    generations, likelihoods, verdicts : sequence of Prediction or None
        Answers in free text, likelihoods of the references, and probabilities of yes and no; checked.

    Returns
    -------
    list of Answer
        In the order of the dataset, rows that nothing is said of left out.
    """
    texts, scored, decided = ({row.id: row for row in rows or ()} for rows in (generations, likelihoods, verdicts))
    answers = []
    for name, row in source.items():
        found = [part[name] for part in (texts, scored, decided) if name in part]
        if not found:
            continue
        answer = Answer(name, found[0].group, row, str(found[0].label))
        if name in texts:
            answer = replace(answer, text=texts[name].text or "", cut=texts[name].cut)
        if name in scored:
            answer = replace(answer, logprob=scored[name].logprob, tokens=scored[name].tokens)
        if name in decided and card.verdicts and (told := decided[name].probabilities):
            answer = replace(answer, yes=told[card.verdicts.present])
        answers.append(answer)
    return answers


def values_of(answers: Sequence[Answer], language: str, vocabulary: Vocabulary) -> Columns:
    """Tell each answer as numbers.

    Parameters
    ----------
    answers : sequence of Answer
    language : str
        The card's.
    vocabulary : Vocabulary

    Returns
    -------
    dict of str to array of float, shape (answers,)
    """
    told = [_of_text(answer, language, vocabulary) | _of_scores(answer) for answer in answers]
    names = dict.fromkeys(name for one in told for name in one)
    return {name: np.asarray([one.get(name, np.nan) for one in told], dtype=np.float64) for name in names}


def _of_text(answer: Answer, language: str, vocabulary: Vocabulary) -> dict[str, float]:
    if answer.text is None:
        return {}
    text, reference = answer.text, answer.reference
    values: dict[str, float] = {
        "exact_match": normalise(text) == normalise(reference) != "",
        "length": len(words_of(text, language)),
        "length_reference": len(words_of(reference, language)),
        "repetition": repetition(text, language),
        "refusal": is_refusal(text),
        "answered": bool(text.strip()),
        **counts_of(text, reference, language),
    }
    values |= zip(("rouge_1", "rouge_2", "rouge_l"), rouge(text, reference, language), strict=True)
    if values["length_reference"] < 2:
        del values["rouge_2"]
    if answer.cut is not None:
        values["cut"] = answer.cut
    if answer.kind == "yesno":
        said = read_yes_no(text)
        values |= {"yes_no_read": said is not None, "yes_no_text": said is not None and said == _is_yes(answer)}
    if wanted := wanted_of(answer.row, reference, vocabulary):
        said_names = said_of(answer.row, text, vocabulary)
        values |= {
            "entity_hits": len(wanted & said_names),
            "entity_wanted": len(wanted),
            "entity_said": len(said_names),
        }
    return values


def _is_yes(answer: Answer) -> bool:
    return bool(read_yes_no(answer.reference))


def _of_scores(answer: Answer) -> dict[str, float]:
    values: dict[str, float] = {}
    if answer.logprob is not None and answer.tokens is not None:
        values |= {"logprob": answer.logprob, "tokens": answer.tokens}
    if answer.yes is not None:
        truth = _is_yes(answer)
        values |= {"yes": answer.yes, "is_yes": truth, "yes_no_accuracy": (answer.yes > 0.5) == truth}
    return values


def figures_of(columns: Columns) -> Statistics[str]:
    """Make the function that computes every figure from weights of rows.

    Parameters
    ----------
    columns : dict
        Of :func:`values_of`.

    Returns
    -------
    callable
        For :func:`vitalfactory.scoring.intervals.bootstrap`; a figure that no row tells of is left out.
    """
    names = list(columns)
    table = np.stack([columns[name] for name in names], axis=1) if names else np.empty((0, 0))
    known = np.isfinite(table)
    told = np.where(known, table, 0.0)
    judged = np.flatnonzero(known[:, names.index("yes")]) if "yes" in names else np.empty(0, dtype=np.int64)
    ranking = Ranking(columns["yes"][judged], columns["is_yes"][judged] > 0) if len(judged) else None

    def statistics(weights: Floats) -> dict[str, Floats]:
        sums = dict(zip(names, (weights @ told).T, strict=True))
        rows = dict(zip(names, (weights @ known.astype(np.float64)).T, strict=True))
        found = {name: ratio(sums[name], rows[name]) for name in MEANS if name in sums}
        found |= _of_sums(sums)
        if ranking is not None:
            found["yes_no_auroc"] = ranking.auroc(weights[:, judged])
        return {name: found[name] for name in FIGURES if name in found}

    return statistics


def _of_sums(sums: Mapping[str, Floats]) -> dict[str, Floats]:
    """Compute the figures that are no means over rows."""
    found: dict[str, Floats] = {}
    if "entity_wanted" in sums:
        hits, wanted, said = (sums[f"entity_{what}"] for what in ("hits", "wanted", "said"))
        found |= {
            "entity_f1": ratio(2 * hits, wanted + said),
            "entity_precision": np.where((said == 0) & (wanted > 0), 0.0, ratio(hits, said)),
            "entity_recall": ratio(hits, wanted),
        }
    if "bleu_length" in sums:
        found |= {"bleu": bleu(sums), "chrf": chrf(sums)}
    if "tokens" in sums:
        found["loss"] = ratio(-sums["logprob"], sums["tokens"])
        found["perplexity"] = np.exp(found["loss"])
    return found


def drawn(columns: Columns, groups: Sequence[str]) -> dict[str, Figure]:
    """Compute every figure with its interval; none where there is one group alone, which cannot be resampled."""
    resamples = RESAMPLES if len(set(groups)) > 1 else 0
    return bootstrap(figures_of(columns), groups, resamples) if groups else {}


class Training:
    """What a dataset's training rows know: facts, entities, and the most frequent answer to each kind of question.

    Parameters
    ----------
    rows : iterable of Answer
        The training rows with their references alone.
    """

    def __init__(self, rows: Iterable[Answer]) -> None:
        self._facts: set[tuple[str, ...]] = set()
        self._entities: set[str] = set()
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for row in rows:
            facts = _facts(row)
            self._facts |= facts
            self._entities |= {head for head, *_ in facts}
            counts[row.kind][row.reference] += 1
            counts[""][row.reference] += 1
        self._usual = {kind: _most(found) for kind, found in counts.items()}

    def knows(self, answer: Answer) -> str | None:
        """Say whether training rows hold the facts of a row, or its entities; None where the row has no facts."""
        facts = _facts(answer)
        if not facts:
            return None
        if facts <= self._facts:
            return KNOWN
        return NEW_FACTS if any(head in self._entities for head, *_ in facts) else UNSEEN

    def usual(self, answer: Answer) -> str | None:
        """Return the most frequent training answer to a row's kind of question; None without training rows."""
        return self._usual.get(answer.kind, self._usual.get(""))


def _facts(answer: Answer) -> set[tuple[str, ...]]:
    return {tuple(fact) for fact in answer.row.get("triples", ())}


def _most(counts: Counter[str]) -> str:
    return min(counts, key=lambda text: (-counts[text], text))


def measure(answers: Sequence[Answer], columns: Columns, training: Training) -> dict[str, Any]:
    """Compute every figure of a run.

    Parameters
    ----------
    answers : sequence of Answer
    columns : dict
        Of :func:`values_of`, over the same rows.
    training : Training

    Returns
    -------
    dict
        ``rows``, ``groups``, ``counts`` (rows by what is said of them), ``figures``, ``kinds`` and ``known`` (the
        figures by kind of question, and by what training knew), ``intervals``. It holds no NaN.
    """
    kinds = [answer.kind for answer in answers]
    known = [training.knows(answer) for answer in answers]
    figures = drawn(columns, [answer.group for answer in answers])
    return {
        "rows": len(answers),
        "groups": len({answer.group for answer in answers}),
        "counts": {
            "free text": sum(answer.text is not None for answer in answers),
            "likelihoods": sum(answer.logprob is not None for answer in answers),
            "yes or no": sum(answer.yes is not None for answer in answers),
        },
        "figures": {name: figures.get(name, UNDEFINED) for name in FIGURES},
        "kinds": _parts(answers, columns, kinds),
        "known": _parts(answers, columns, known),
        "intervals": {"level": LEVEL / 100, "resamples": RESAMPLES, "seed": SEED, "over": "groups"},
    }


def _parts(answers: Sequence[Answer], columns: Columns, names: Sequence[str | None]) -> dict[str, Any]:
    parts = {}
    for name in sorted({name for name in names if name is not None}):
        places = [place for place, own in enumerate(names) if own == name]
        groups = [answers[place].group for place in places]
        figures = drawn({column: values[places] for column, values in columns.items()}, groups)
        defined = {figure: value for figure, value in figures.items() if value["value"] is not None}
        parts[name] = {"rows": len(places), "groups": len(set(groups)), "figures": defined}
    return parts


def constant(
    answers: Sequence[Answer], training: Training, language: str, vocabulary: Vocabulary
) -> dict[str, Any] | None:
    """Judge the answer that never looks at the question but at its kind.

    Returns
    -------
    dict or None
        ``label`` for people, ``answers`` (kind of question to what is answered) and ``figures``; None where there is no
        answer in free text beside it, or no training rows.
    """
    told = {answer.kind: training.usual(answer) for answer in answers if answer.text is not None}
    if not told or None in told.values():
        return None
    usual = [
        Answer(answer.id, answer.group, answer.row, answer.reference, text=told[answer.kind])
        for answer in answers
        if answer.text is not None
    ]
    figures = drawn(values_of(usual, language, vocabulary), [answer.group for answer in usual])
    label = "the most frequent answer to its kind of question"
    figures = {name: figure for name, figure in figures.items() if name not in OF_MODELS}
    return {"label": label, "answers": told, "figures": figures}


def write_values(path: Path, answers: Sequence[Answer], columns: Columns) -> None:
    """Write what :func:`values_of` gave, one row a line, so that runs can be compared."""
    told = ({name: _number(values[place]) for name, values in columns.items()} for place in range(len(answers)))
    write_jsonl(path, ({"id": answer.id, "values": values} for answer, values in zip(answers, told, strict=True)))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def read_values(path: Path, names: Sequence[str]) -> Columns:
    """Read what :func:`write_values` wrote, the rows of some ids in their order.

    Raises
    ------
    VitalFactoryError
        The file is missing or of another run.
    """
    rows = {row.get("id"): row.get("values") for row in (read_jsonl(path) if path.is_file() else ())}
    told = [rows.get(name) for name in names]
    if not all(isinstance(one, dict) for one in told):
        raise VitalFactoryError(f"{path}: not there, or of another run; run python eval/qa.py {path.parent} again")
    columns = dict.fromkeys(column for one in told if one for column in one)
    cells = {column: [one.get(column) for one in told if one is not None] for column in columns}
    return {
        column: np.asarray([np.nan if value is None else value for value in values], dtype=np.float64)
        for column, values in cells.items()
    }
