"""Runs side by side, and whether they differ: paired differences over the same resampled groups.

    python eval/compare.py results/ecg_rule results/ecg_boosted results/ecg_smollm2 --against results/ecg_boosted

Reads what eval/classify.py, eval/multilabel.py, eval/diagnosis.py or eval/qa.py wrote. Every run is compared with one
of them, by default the first one named: by the differences of its figures, and by McNemar's exact test of which rows
each has right. Runs over datasets that tell the same records differently can be compared: the same rows are those with
the same ids, groups and labels; of findings, a row is an image, however many questions were asked about it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import VitalFactoryError, closest, run

if TYPE_CHECKING:
    from vitalfactory.card import Card
    from vitalfactory.predictions import Prediction
    from vitalfactory.scoring.intervals import Figure, Statistics

FIGURES = ("auroc", "f1", "sensitivity", "specificity")
FIGURES_OF_MANY = ("auroc", "accuracy", "macro_f1", "balanced_accuracy", "kappa")
FIGURES_OF_FINDINGS = ("auroc", "auprc", "micro_f1", "macro_f1", "micro_f1_findings", "subset_accuracy")
FIGURES_OF_QUESTIONS = ("entity_f1", "exact_match", "rouge_l", "chrf", "yes_no_text", "perplexity")
FIGURES_OF_DIAGNOSES = ("micro_f1", "macro_f1", "set_match", "json_valid", "evidence")
COMPARED = (
    *("auroc", "f1", "micro_f1", "macro_f1", "micro_f1_findings", "mean_f1_scored", "set_match"),
    *FIGURES_OF_QUESTIONS,
)
SETS = {"multilabel": "findings.jsonl", "diagnosis": "sets.jsonl"}
"""Kind to the file of sets that were judged."""
NEEDED = {"run", "split", "answered", "figures", "per_class", "free_text", "majority", "threshold", "manifest"}
NO_FIGURE: Figure = {"value": None, "low": None, "high": None}
MANY_ROWS_A_GROUP = (
    "McNemar's test takes rows as independent, and here a group has several: the intervals, over groups, say more."
)
SYNTHETIC = "Synthetic data: these figures say nothing about patients."


@dataclass(frozen=True)
class Judged:
    """A run that eval/classify.py or its sibling for another kind of answers has judged.

    Attributes
    ----------
    folder : Path
    metrics : dict
        The content of metrics.json.
    card : Card
    rows : dict of str to Prediction
        The rows that the figures are about, by id.
    """

    folder: Path
    metrics: dict[str, Any]
    card: Card
    rows: dict[str, Prediction]

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.metrics["run"])

    def figure(self, name: str) -> Figure:
        """Return one figure with its interval.

        Raises
        ------
        VitalFactoryError
            The run was judged before there was such a figure, or has no such label.
        """
        from vitalfactory.scoring.metrics import figure_in

        found = figure_in(self.metrics, name)
        if found is None:
            raise VitalFactoryError(f"{self.folder}: has no figure {name!r}; run {_judge_of(self.card)} {self.folder}")
        return found

    def free_text(self) -> tuple[Figure, Figure]:
        """Return the F1 that the task is judged by and the parse rate of the answers in free text."""
        from vitalfactory.scoring.metrics import main_f1

        free = self.metrics["free_text"]
        if free is None:
            return NO_FIGURE, NO_FIGURE
        return free["figures"].get(main_f1(self.card), NO_FIGURE), free["parse_rate"]

    def right(self, names: Sequence[str]) -> list[bool]:
        """Say which rows the run has right, at its own threshold or by its parsed answer."""
        from vitalfactory.scoring.metrics import decide

        rows = [self.rows[name] for name in names]
        if self.card.kind == "multilabel":
            return [row.label == row.parsed and not row.unread for row in rows]
        if self.card.kind in ("diagnosis", "qa"):
            return [row.label == row.parsed for row in rows]
        decided = decide(rows, self.card, self.metrics["threshold"])
        return [row.label == decision for row, decision in zip(rows, decided, strict=True)]

    def statistics(self, names: Sequence[str]) -> Statistics[tuple[str, str]]:
        """Make the function that computes the run's figures from weights of rows."""
        from vitalfactory.diagnosis import Synonyms
        from vitalfactory.scoring import diagnosis, metrics, multilabel

        if self.card.kind == "qa":
            return self._of_questions(names)
        rows = [self.rows[name] for name in names]
        if self.card.kind == "multilabel":
            return multilabel.figures_of(rows, self.card)
        if self.card.kind != "diagnosis":
            return metrics.figures_of(rows, self.card, self.metrics["threshold"])
        answers = diagnosis.read_answers(rows, None, Synonyms())
        return diagnosis.figures_of(answers, diagnosis.values_of(answers, self.card.language))

    def _of_questions(self, names: Sequence[str]) -> Statistics[tuple[str, str]]:
        from vitalfactory.predictions import named
        from vitalfactory.scoring.intervals import Floats
        from vitalfactory.scoring.qa import figures_of, read_values

        compute = figures_of(read_values(self.folder / named("values.jsonl", self.metrics["split"]), names))

        def statistics(weights: Floats) -> dict[tuple[str, str], Floats]:
            return {("", name): column for name, column in compute(weights).items()}

        return statistics


def read_judged(folder: Path) -> Judged:
    """Read a run with its figures.

    Raises
    ------
    VitalFactoryError
        The run has not been judged yet.
    """
    from vitalfactory.card import read_card
    from vitalfactory.files import read_json
    from vitalfactory.predictions import named, predictions_file, read_predictions

    card = read_card(folder / "card.json")
    if not (folder / "metrics.json").is_file():
        raise VitalFactoryError(f"{folder}: holds no metrics.json; run {_judge_of(card)} {folder} first")
    metrics = read_json(folder / "metrics.json")
    if not isinstance(metrics, dict) or not set(metrics) >= NEEDED:
        raise VitalFactoryError(f"{folder / 'metrics.json'}: not of this version; run {_judge_of(card)} {folder} again")
    path = predictions_file(folder, metrics["split"], metrics["answered"])
    if card.kind in SETS:
        path = folder / named(SETS[card.kind], metrics["split"])
    return Judged(folder, metrics, card, {row.id: row for row in read_predictions(path)})


def _judge_of(card: Card) -> str:
    return f"python eval/{card.kind}.py"


def check_same_rows(runs: Sequence[Judged]) -> None:
    """Check that runs were judged on the same rows: the same ids, each with the same group and label.

    Raises
    ------
    VitalFactoryError
        A run is about another split, another question, or other rows than the first.
    """
    first = runs[0]
    for other in runs[1:]:
        if fault := _difference(first, other):
            raise VitalFactoryError(f"{other.folder} and {first.folder}: {fault}; compare like with like")


def _difference(first: Judged, other: Judged) -> str | None:
    """Say what keeps two runs from being compared."""
    if other.metrics["split"] != first.metrics["split"]:
        return f"judged on other splits, {other.metrics['split']} and {first.metrics['split']}"
    if (other.card.labels, other.card.positive) != (first.card.labels, first.card.positive):
        return f"other labels, {', '.join(other.card.labels)} and {', '.join(first.card.labels)}"
    if other.metrics.get("synonyms") != first.metrics.get("synonyms"):
        return "judged with other synonyms"
    missing, new = first.rows.keys() - other.rows.keys(), other.rows.keys() - first.rows.keys()
    if missing or new:
        some = min(missing or new)
        return f"{len(missing)} of {len(first.rows)} rows are missing and {len(new)} are others, such as {some!r}"
    for what in ("group", "label"):
        wrong = [name for name, row in first.rows.items() if getattr(other.rows[name], what) != getattr(row, what)]
        if wrong:
            return f"{len(wrong)} of {len(first.rows)} rows have another {what}, such as {wrong[0]!r}"
    return None


def table(runs: Sequence[Judged], figures: Sequence[str], *, markdown: bool = False) -> str:
    """Lay runs out one a line.

    Parameters
    ----------
    runs : sequence of Judged
    figures : sequence of str
        Names as in metrics.json.
    markdown : bool

    Returns
    -------
    str
        The majority class, then the runs: figures with their intervals, then those of the answers in free text. A
        column that says nothing is left out: the dataset where all runs are about one, free text where none has any.
    """
    from vitalfactory.scoring.intervals import tell
    from vitalfactory.scoring.metrics import main_f1

    card = runs[0].card
    titles = [_title(name, card) for name in figures]
    head = ["Run", "Model", "Dataset", *titles, f"{_title(main_f1(card), card)} in free text", "Parsed"]
    lines = [
        [
            run.name,
            _model(run.metrics["manifest"]),
            f"{run.card.name}, {run.card.representation}",
            *map(tell, (*map(run.figure, figures), *run.free_text())),
        ]
        for run in runs
    ]
    dropped = {2} if len({line[2] for line in lines}) == 1 else set()
    if not any(run.metrics["free_text"] for run in runs):
        dropped |= {len(head) - 2, len(head) - 1}
    kept = [place for place in range(len(head)) if place not in dropped]
    whole = [head, *_majority(runs[0], figures), *lines]
    return _lay_out([[line[place] for place in kept] for line in whole], markdown)


def _title(name: str, card: Card) -> str:
    from vitalfactory.scoring import diagnosis, multilabel, qa
    from vitalfactory.scoring.metrics import title_of

    known = {"multilabel": multilabel.FIGURES, "diagnosis": diagnosis.FIGURES, "qa": qa.FIGURES}.get(card.kind, {})
    return known.get(name) or title_of(name, card.scored)


def _majority(judged: Judged, figures: Sequence[str]) -> list[list[str]]:
    """Lay out the answer that always names the most frequent label of the training rows, which are all runs' own."""
    from vitalfactory.scoring.intervals import tell
    from vitalfactory.scoring.metrics import figure_in

    usual = judged.metrics["majority"]
    if usual is None:
        return []
    told = (tell(figure_in(usual, name) or NO_FIGURE) for name in figures)
    return [["majority class", f"always {usual['label']}", "-", *told, "-", "-"]]


def _model(manifest: Mapping[str, Any]) -> str:
    """Name what answered, a language model by its folder and whether it was tuned."""
    name = Path(str(manifest.get("model", "unknown"))).name
    return f"{name}, fine-tuned" if manifest.get("adapter") else name


def _lay_out(lines: Sequence[Sequence[str]], markdown: bool) -> str:
    if markdown:
        head, *rest = (f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)
        return "\n".join([head, "|" + "---|" * len(lines[0]), *rest])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def differences(runs: Sequence[Judged], against: Judged, figures: Sequence[str]) -> list[dict[str, Any]]:
    """Compare every run with one of them, on the same resampled groups.

    Parameters
    ----------
    runs : sequence of Judged
        Checked by :func:`check_same_rows`.
    against : Judged
        One of them.
    figures : sequence of str

    Returns
    -------
    list of dict
        ``run``, ``against``, ``figure``, ``difference`` and ``excludes_0``; a figure that a run
        does not have is left out.
    """
    return [
        {
            "run": other.name,
            "against": against.name,
            "figure": name,
            "difference": found,
            "excludes_0": _excludes_zero(found),
        }
        for other in runs
        if other is not against
        for name, found in _paired(against, other, figures).items()
    ]


def _paired(first: Judged, other: Judged, figures: Sequence[str]) -> dict[str, Figure]:
    from vitalfactory.scoring.intervals import bootstrap, difference
    from vitalfactory.scoring.metrics import key_of

    names = sorted(first.rows)
    groups = [first.rows[name].group for name in names]
    found = bootstrap(difference(first.statistics(names), other.statistics(names)), groups)
    return {name: found[key_of(name)] for name in figures if key_of(name) in found}


def _excludes_zero(figure: Figure) -> bool | None:
    if figure["low"] is None or figure["high"] is None:
        return None
    return figure["low"] > 0 or figure["high"] < 0


def mcnemar(runs: Sequence[Judged], against: Judged) -> list[dict[str, Any]]:
    """Test whether runs have other rows right than one of them, by McNemar's exact test.

    Parameters
    ----------
    runs : sequence of Judged
        Checked by :func:`check_same_rows`.
    against : Judged
        One of them.

    Returns
    -------
    list of dict
        ``run``, ``against``, ``only_run`` and ``only_against`` (rows that one of the two alone has right) and ``p``,
        two-sided: the binomial test of these counts against one half (McNemar 1947). It takes rows as independent.
    """
    from scipy.stats import binomtest

    names = sorted(against.rows)
    reference = against.right(names)
    found = []
    for other in runs:
        if other is against:
            continue
        pairs = list(zip(other.right(names), reference, strict=True))
        ours, theirs = pairs.count((True, False)), pairs.count((False, True))
        p = float(binomtest(ours, ours + theirs).pvalue) if ours + theirs else 1.0
        found.append({"run": other.name, "against": against.name, "only_run": ours, "only_against": theirs, "p": p})
    return found


def differences_table(
    found: Sequence[Mapping[str, Any]],
    tests: Sequence[Mapping[str, Any]],
    card: Card,
    *,
    markdown: bool = False,
) -> str:
    """Lay differences and tests out one run a line; a star is an interval without 0.

    Parameters
    ----------
    found : sequence of mapping
        Of :func:`differences`.
    tests : sequence of mapping
        Of :func:`mcnemar`: one a run.
    card : Card
    markdown : bool
    """
    from vitalfactory.scoring.intervals import tell

    names = list(dict.fromkeys(row["figure"] for row in found))
    told = {
        (row["run"], row["figure"]): tell(row["difference"], "+") + (" *" if row["excludes_0"] else "") for row in found
    }
    head = [f"Minus {tests[0]['against']}", *(_title(name, card) for name in names)]
    lines = [
        [
            test["run"],
            *(told.get((test["run"], name), "-") for name in names),
            str(test["only_run"]),
            str(test["only_against"]),
            tell_p(test["p"]),
        ]
        for test in tests
    ]
    return _lay_out([[*head, "Only it right", "Only the other", "McNemar p"], *lines], markdown)


def tell_p(p: float) -> str:
    """Write a p value for a table."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def compare(
    folders: Sequence[Path],
    figures: Sequence[str] | None = None,
    against: Path | None = None,
    *,
    markdown: bool = False,
) -> dict[str, Any]:
    """Compare runs.

    Parameters
    ----------
    folders : sequence of Path
    figures : sequence of str, optional
        The columns, and what differences are computed of; by default those of :func:`default_figures`, and
        differences of AUROC and of the F1 that the task is judged by.
    against : Path, optional
        The run among them that the others are compared with; the first by default.
    markdown : bool

    Returns
    -------
    dict
        ``text`` for people; ``runs``, ``differences`` and ``mcnemar`` for machines.

    Raises
    ------
    VitalFactoryError
        A run has not been judged, the runs are not about the same rows, or ``against`` is none of them.
    """
    places = [folder.resolve() for folder in folders]
    reference = (against or folders[0]).resolve()
    if reference not in places:
        raise VitalFactoryError(f"--against {against}: not one of the runs {', '.join(map(str, folders))}")
    runs = _told_apart([read_judged(folder) for folder in folders])
    check_same_rows(runs)
    card, reference_run = runs[0].card, runs[places.index(reference)]
    columns = figures or default_figures(card)
    found = differences(runs, reference_run, [name for name in columns if figures or name in COMPARED])
    tests = mcnemar(runs, reference_run)
    parts = [table(runs, columns, markdown=markdown)]
    if tests:
        parts.append(differences_table(found, tests, card, markdown=markdown))
        parts.append(f"Differences [95 % interval]; * is an interval without 0. {_caveat(reference_run)}".rstrip())
    if any(run.metrics["manifest"].get("synthetic") for run in runs):
        parts.append(SYNTHETIC)
    told = [
        {
            "run": run.name,
            "figures": {name: run.figure(name) for name in columns},
            "free_text": dict(zip(("f1", "parse_rate"), run.free_text(), strict=True)),
            "rows": len(run.rows),
        }
        for run in runs
    ]
    return {"text": "\n\n".join(parts), "runs": told, "differences": found, "mcnemar": tests}


def _told_apart(runs: list[Judged]) -> list[Judged]:
    """Name runs by their whole path where two have one name."""
    if len({run.name for run in runs}) == len(runs):
        return runs
    return [replace(run, metrics=run.metrics | {"run": str(run.folder)}) for run in runs]


def default_figures(card: Card) -> tuple[str, ...]:
    """Choose the columns of a task's table."""
    from vitalfactory.scoring.metrics import F1_OF

    if card.kind == "multilabel":
        return FIGURES_OF_FINDINGS
    if card.kind == "diagnosis":
        return FIGURES_OF_DIAGNOSES
    if card.kind == "qa":
        return FIGURES_OF_QUESTIONS
    if card.scored:
        return ("mean_f1_scored", *(f"{F1_OF}{label}" for label in card.scored), "auroc")
    return FIGURES if card.positive else FIGURES_OF_MANY


def _caveat(judged: Judged) -> str:
    groups = {row.group for row in judged.rows.values()}
    return MANY_ROWS_A_GROUP if len(groups) < len(judged.rows) else ""


def _check_names(figures: Sequence[str]) -> None:
    from vitalfactory.scoring import diagnosis, multilabel, qa
    from vitalfactory.scoring.metrics import F1_OF
    from vitalfactory.scoring.metrics import FIGURES as NAMES

    known = [*{**NAMES, **multilabel.FIGURES, **diagnosis.FIGURES, **qa.FIGURES}]
    known.remove("parse_rate")  # which has a column of its own
    for name in figures:
        if name not in known and not name.startswith(F1_OF):
            near = closest(name, known) or f"; expected some of {', '.join(known)}"
            raise VitalFactoryError(f"--figures {name}: no such figure{near}")


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python eval/compare.py", description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="run", help="folders of runs")
    parser.add_argument(
        "--against", type=Path, metavar="RUN", help="the run that the others are compared with (default: the first)"
    )
    parser.add_argument("--figures", nargs="+", metavar="NAME", help="such as auroc f1 mcc, or f1:LABEL")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    parser.add_argument(
        "--json", action="store_true", help="print runs, differences and tests as one JSON object on the last line"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args(argv)
    if arguments.figures:
        _check_names(arguments.figures)
    compared = compare(arguments.runs, arguments.figures, arguments.against, markdown=arguments.markdown)
    print(compared.pop("text"))
    if arguments.json:
        from vitalfactory.files import dumps

        print(dumps(compared))


if __name__ == "__main__":
    run(main)
