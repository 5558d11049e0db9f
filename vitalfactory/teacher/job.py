"""The questions of an input, how each row ended, and the labels that are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitalfactory.diagnosis import Synonyms, read_synonyms, split_names
from vitalfactory.endpoint.asking import Question
from vitalfactory.endpoint.keeping import GUESSED_ANSWER, Spending, ask_and_keep, has_ended, prompt_tokens
from vitalfactory.endpoint.ledger import Ledger, Places, key_of, open_ledger
from vitalfactory.endpoint.prices import Price
from vitalfactory.endpoint.structured import Form, diagnosis_form, response_format, text_form
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_jsonl, write_jsonl
from vitalfactory.teacher.options import Options
from vitalfactory.teacher.source import Row, Source


class Job:
    """The questions of an input and how they ended.

    Parameters
    ----------
    options : Options
    """

    def __init__(self, options: Options) -> None:

        self.options = options
        self.source = Source(options)
        self.form: Form = diagnosis_form() if self.source.answer == "diagnosis" else text_form()
        self.known = read_synonyms(options.synonyms) if options.synonyms else Synonyms()
        self.gold = _read_gold(options.gold, self.known) if options.gold else None
        self.why_not: list[str | None] = []
        if self.gold is not None and self.source.answer == "text":
            raise VitalFactoryError("--gold goes with --answer diagnosis")

    def questions(self, ledger: Ledger | None, bar: Any = None) -> Iterator[Question]:
        """Give what is still to be asked, and note why a row is not sent.

        Parameters
        ----------
        ledger : Ledger or None
        bar : tqdm, optional
            Is moved on by rows that are not sent or have ended.
        """
        self.why_not.clear()
        retry = self.options.retry_failed
        for row in self.source:
            keys = [key for key in self.keys(row) if not has_ended(ledger, key, retry_failed=retry)]
            self.why_not.append(row.why_not() if keys or row.key is None else None)
            if self.why_not[-1] is not None:
                keys = []
            if bar is not None:
                bar.update(self.options.samples - len(keys))
            for key in keys:
                yield Question(key, row.messages)

    def keys(self, row: Row) -> list[str]:
        """Name a row's questions, one for each sample; none where it has no content."""
        if row.key is None:
            return []
        asked = (self.options.endpoint.model, row.messages, self.options.parameters, self.form.name)
        return [key_of(*asked, sample) for sample in range(self.options.samples)]

    def ended(self, ledger: Ledger) -> Iterator[dict[str, Any]]:
        """Give the output row of every input row that has ended, as far as :meth:`questions` has come."""
        for row, reason in zip(self.source, self.why_not, strict=False):
            samples = [found for key in self.keys(row) if (found := ledger.get(key))]
            head = {"id": row.id, "key": row.key}
            if reason is not None:
                yield {**head, "state": "refused", **row.columns, "failure": reason}
            elif len(samples) == self.options.samples:
                yield {**head, **self._outcome(row, samples)}

    def _outcome(self, row: Row, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        answers = [sample for sample in samples if sample["state"] == "answered"]
        shared = {
            **row.columns,
            "model": self.options.endpoint.model,
            "calls": sum(sample["calls"] for sample in samples),
        }
        if not answers:
            return {"state": "failed", **shared, "failure": samples[0]["reason"], "text": samples[0]["text"]}
        chosen, agreement = self._agree(answers)
        value = chosen["value"]
        told = value if isinstance(value, dict) else {"output": value}
        several = {"agreement": round(agreement / len(samples), 4)} if len(samples) > 1 else {}
        return {"state": "answered", **shared, **told, "repaired": chosen["repaired"], **several, "failure": None}

    def _agree(self, answers: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], int]:
        """Choose the first of the answers that most agree with, and count those."""
        said = [self._said(answer["value"]) for answer in answers]
        winner, count = Counter(said).most_common(1)[0]
        return answers[said.index(winner)], count

    def _said(self, value: Any) -> frozenset[str]:
        return self.known.set_of(value["diseases"]) if isinstance(value, dict) else frozenset([value])


@dataclass
class Tally:
    """Counts over the output rows."""

    states: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    repaired: int = 0
    agreement: float = 0.0
    gold: Counter[str] = field(default_factory=Counter)

    def of(self, rows: Iterable[dict[str, Any]], job: Job) -> Iterator[dict[str, Any]]:
        """Count rows on their way."""
        for row in rows:
            self.states[row["state"]] += 1
            if row["state"] == "refused":
                self.refused[row["failure"]] += 1
            elif row["state"] == "failed":
                self.failures[row["failure"]] += 1
            else:
                self.repaired += row["repaired"]
                self.agreement += row.get("agreement", 0.0)
            if job.gold is not None and row["id"] in job.gold and row["state"] != "refused":
                self._compare(job.known.set_of(row.get("diseases") or ()), job.gold[row["id"]])
            yield row

    def _compare(self, said: frozenset[str], gold: frozenset[str]) -> None:
        self.gold["rows"] += 1
        self.gold["exact"] += said == gold
        self.gold["true_positive"] += len(said & gold)
        self.gold["said"] += len(said)
        self.gold["gold"] += len(gold)

    def against_gold(self) -> dict[str, Any]:
        """Give micro figures against the gold labels; a failed row has named nothing."""
        hit, said, gold = self.gold["true_positive"], self.gold["said"], self.gold["gold"]
        figures = {"precision": (hit, said), "recall": (hit, gold), "f1": (2 * hit, said + gold)}
        shares = {name: _share(part, whole) for name, (part, whole) in figures.items()}
        return {"rows": self.gold["rows"], **shares, "exact": _share(self.gold["exact"], self.gold["rows"])}


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None


def _read_gold(path: Path, known: Synonyms) -> dict[str, frozenset[str]]:
    """Read the diseases of each id, from ``diseases`` or, as datasets have them, ``labels``."""
    gold: dict[str, frozenset[str]] = {}
    for number, row in enumerate(read_jsonl(path), 1):
        names = row.get("diseases", row.get("labels"))
        names = split_names(names) if isinstance(names, str) else names
        if "id" not in row or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise VitalFactoryError(f"{path}:{number}: expected an id and diseases, a list of names")
        said = known.set_of(names)
        if gold.setdefault(str(row["id"]), said) != said:
            raise VitalFactoryError(f"{path}:{number}: id {row['id']!r} stands twice with other diseases")
    return gold


def label(options: Options) -> dict[str, Any]:
    """Ask about every row that has not ended, and write what has.

    Parameters
    ----------
    options : Options

    Returns
    -------
    dict
        The summary.

    Raises
    ------
    VitalFactoryError
        The input is not usable, another run is at work on the same labels, the endpoint will not answer, or
        ``max_cost`` is reached. What is done then is kept and written.
    """
    from tqdm import tqdm

    job = Job(options)
    with open_ledger(options.ledger) as ledger:
        spending = _spending(options, ledger)
        mode = None if options.structured == "auto" else options.structured
        total = job.source.rows * options.samples
        try:
            with tqdm(total=total, unit="row", disable=None, smoothing=0.05) as bar:
                asked = (options.endpoint, job.questions(ledger, bar), job.form, options.parameters, ledger, spending)
                ask_and_keep(*asked, tries=options.tries, mode=mode, bar=bar)  # type: ignore[arg-type]
        finally:
            summary = finish(job, ledger, spending)
        if spending.capped:
            raise VitalFactoryError(
                f"--max-cost {options.max_cost}: the next question could go over it; {summary['states']} of "
                f"{summary['rows']} rows are in {options.out}; give more and run again"
            )
    return summary


def _spending(options: Options, ledger: Ledger) -> Spending:

    spent: Mapping[str, int] = ledger.spent.get(options.endpoint.model, {})
    used = (spent.get("prompt_tokens", 0), spent.get("completion_tokens", 0))
    return Spending(options.price, options.max_cost, options.price.of(*used) if options.price else 0.0)


def finish(job: Job, ledger: Ledger, spending: Spending) -> dict[str, Any]:
    """Write the rows that have ended, and sum up."""
    options, tally = job.options, Tally()
    write_jsonl(options.out, tally.of(job.ended(ledger), job), errors="replace")
    if options.out.stat().st_size == 0:
        options.out.unlink()  # no row has ended: an empty file would look like labels
    spent = ledger.spent.get(options.endpoint.model, Counter())
    answered = tally.states["answered"]
    summary = {
        "out": str(options.out),
        "ledger": str(options.ledger),
        "model": options.endpoint.model,
        "rows": job.source.rows,
        "states": dict(tally.states),
        "refused": dict(tally.refused),
        "failures": dict(tally.failures),
        "repaired": _share(tally.repaired, answered),
        "structured": spending.mode,
        "agreement": _share(tally.agreement, answered) if options.samples > 1 else None,
        "gold": tally.against_gold() if job.gold is not None else None,
        "now": _figures(vars(spending), options.price) | _speed(spending),
        "ledger_total": _figures(spent, options.price),
    }
    return summary


def _figures(counts: Mapping[str, Any], price: Price | None) -> dict[str, Any]:
    figures = {name: counts.get(name, 0) for name in ("calls", "lost", "prompt_tokens", "completion_tokens")}
    if price is None:
        return figures
    cost = price.of(figures["prompt_tokens"], figures["completion_tokens"])
    return {**figures, "cost": round(cost, 4), "currency": price.currency}


def _speed(spending: Spending) -> dict[str, Any]:
    ended = spending.answered + spending.failed
    rate = round(ended / spending.seconds, 1) if spending.seconds else None
    return {"questions": ended, "seconds": round(spending.seconds, 2), "rows_per_second": rate}


def estimate(options: Options) -> dict[str, Any]:
    """Count what a run would ask and cost, without asking anything.

    Returns
    -------
    dict
    """
    job = Job(options)
    with open_ledger(options.ledger) if options.ledger.exists() else nullcontext() as ledger:
        sizes = Counter[str]()
        for question in job.questions(ledger):
            sizes["questions"] += 1
            sizes["prompt_tokens"] += prompt_tokens(question)
        spent: Mapping[str, int] = ledger.spent.get(options.endpoint.model, {}) if ledger else {}
        answer = spent["completion_tokens"] / spent["calls"] if spent.get("calls") else GUESSED_ANSWER
        sizes["completion_tokens"] = round(sizes["questions"] * answer)
    tokens = {name: sizes[name] for name in ("prompt_tokens", "completion_tokens")}
    refused = Counter(filter(None, job.why_not))
    cost = options.price.of(**tokens) if options.price else None
    currency = options.price.currency if options.price else None
    asked = {"rows": job.source.rows, "refused": dict(refused), "questions": sizes["questions"]}
    return {**asked, **tokens, "cost": None if cost is None else round(cost, 4), "currency": currency}


def write_batch(options: Options, path: Path) -> dict[str, Any]:
    """Write what is still to be asked as batch files.

    Returns
    -------
    dict
        The files with the number of their requests.
    """
    from vitalfactory.endpoint.batch import write_requests

    job = Job(options)
    mode = "json_schema" if options.structured == "auto" else options.structured
    parameters = {**options.parameters, **response_format(job.form, mode)}  # type: ignore[arg-type]
    with open_ledger(options.ledger) as ledger:
        files = write_requests(path, _once(job.questions(ledger)), options.endpoint.model, parameters)
    return {"rows": job.source.rows, "files": {str(file): rows for file, rows in files}}


def _once(questions: Iterator[Question]) -> Iterator[Question]:
    """Pass over a question that repeats another one."""
    seen = Places()
    for question in questions:
        if seen.get(question.key) is None:
            seen.set(question.key, 0)
            yield question


def read_batch(options: Options, path: Path) -> dict[str, Any]:
    """Take the results of a batch into the ledger, each once, and write the rows that have ended.

    Returns
    -------
    dict
        The summary.

    Raises
    ------
    VitalFactoryError
        The file is no result of a batch, or not one of this input, model and parameters.
    """
    from vitalfactory.endpoint.batch import read_results

    job, wanted, strange = Job(options), Places(), 0
    with open_ledger(options.ledger) as ledger:
        for row in job.source:
            for key in job.keys(row):
                wanted.set(key, 0)
        spending = _spending(options, ledger)
        for answered in read_results(path, job.form):
            if wanted.get(answered.key) is None:
                strange += 1
            elif not has_ended(ledger, answered.key, retry_failed=True):
                ledger.add(options.endpoint.model, answered)
                spending.end(answered)
        for _ in job.questions(ledger):
            pass  # it says why rows are not sent
        summary = finish(job, ledger, spending)
    if strange:
        raise VitalFactoryError(
            f"{path}: {strange} results belong to no row of {options.input} with this model and these options; the "
            "others are kept; give the options that the requests were written with"
        )
    return summary
