"""Runs side by side, and whether they differ: paired differences over the same resampled groups.

    python eval/compare.py results/ecg_rule results/ecg_boosted results/ecg_smollm2 --against results/ecg_boosted

Reads what eval/classify.py wrote. Every run is compared with one of them, by default the first one named.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import VitalFactoryError, closest, run

if TYPE_CHECKING:
    from vitalfactory.card import Card
    from vitalfactory.predictions import Prediction
    from vitalfactory.scoring.intervals import Figure

FIGURES = ("auroc", "f1", "sensitivity", "specificity")
FIGURES_OF_MANY = ("auroc", "macro_f1", "balanced_accuracy", "kappa")
COMPARED = ("auroc", "f1", "macro_f1")
NEEDED = {"run", "split", "answered", "figures", "free_text", "majority", "manifest"}
NO_FIGURE: Figure = {"value": None, "low": None, "high": None}
SYNTHETIC = "Synthetic recordings: these figures say nothing about patients."


@dataclass(frozen=True)
class Judged:
    """A run that eval/classify.py has judged.

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

    @property
    def dataset(self) -> str:
        """The hash of the judged split's file."""
        return str(self.metrics["manifest"].get("dataset_sha256", {}).get(self.metrics["split"]))

    def figure(self, name: str) -> Figure:
        """Return one figure with its interval."""
        figure: Figure = self.metrics["figures"][name]
        return figure

    def free_text(self) -> tuple[Figure, Figure]:
        """Return F1 (macro F1 where no label is the positive one) and the parse rate of the answers in free text."""
        free = self.metrics["free_text"]
        if free is None:
            return NO_FIGURE, NO_FIGURE
        return free["figures"]["f1" if self.card.positive else "macro_f1"], free["parse_rate"]


def read_judged(folder: Path) -> Judged:
    """Read a run with its figures.

    Raises
    ------
    VitalFactoryError
        The run has not been judged yet.
    """
    from vitalfactory.card import read_card
    from vitalfactory.files import read_json
    from vitalfactory.predictions import predictions_file, read_predictions

    if not (folder / "metrics.json").is_file():
        raise VitalFactoryError(f"{folder}: holds no metrics.json; run python eval/classify.py {folder} first")
    metrics = read_json(folder / "metrics.json")
    if not isinstance(metrics, dict) or not set(metrics) >= NEEDED:
        raise VitalFactoryError(
            f"{folder / 'metrics.json'}: not of this version; run python eval/classify.py {folder} again"
        )
    rows = read_predictions(predictions_file(folder, metrics["split"], metrics["answered"]))
    return Judged(folder, metrics, read_card(folder / "card.json"), {row.id: row for row in rows})


def check_same_rows(runs: Sequence[Judged]) -> None:
    """Check that runs were judged on the same rows.

    Raises
    ------
    VitalFactoryError
        A run is about another dataset, another split or other rows of it than the first.
    """
    first = runs[0]
    for other in runs[1:]:
        for what, same in (
            ("on another split", other.metrics["split"] == first.metrics["split"]),
            ("on another dataset", other.dataset == first.dataset),
            ("on other rows of the dataset", other.rows.keys() == first.rows.keys()),
        ):
            if not same:
                raise VitalFactoryError(f"{other.folder} was judged {what} than {first.folder}; compare like with like")


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
        The majority class, then the runs: figures with their intervals, then those of the answers in free text.
    """
    from vitalfactory.scoring.intervals import tell
    from vitalfactory.scoring.metrics import FIGURES as NAMES

    head = ["Run", "Model", *(NAMES[name] for name in figures), "F1 in free text", "Parsed"]
    lines = [
        [run.name, _model(run.metrics["manifest"]), *map(tell, (*map(run.figure, figures), *run.free_text()))]
        for run in runs
    ]
    return _lay_out([head, *_majority(runs[0], figures), *lines], markdown)


def _majority(judged: Judged, figures: Sequence[str]) -> list[list[str]]:
    """Lay out the answer that always names the most frequent label of the training rows, which are all runs' own."""
    from vitalfactory.scoring.intervals import tell

    usual = judged.metrics["majority"]
    if usual is None:
        return []
    told = (tell(usual["figures"][name]) for name in figures)
    return [["majority class", f"always {usual['label']}", *told, "-", "-"]]


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
    from vitalfactory.scoring.intervals import Floats, bootstrap
    from vitalfactory.scoring.metrics import figures_of

    names = sorted(first.rows)
    groups = [first.rows[name].group for name in names]
    here, there = (
        figures_of([run.rows[name] for name in names], run.card, run.metrics["threshold"]) for run in (first, other)
    )

    def statistics(weights: Floats) -> dict[str, Floats]:
        ours, theirs = here(weights), there(weights)
        return {
            name: theirs["", name] - ours["", name] for name in figures if ("", name) in ours and ("", name) in theirs
        }

    return bootstrap(statistics, groups)


def _excludes_zero(figure: Figure) -> bool | None:
    if figure["low"] is None or figure["high"] is None:
        return None
    return figure["low"] > 0 or figure["high"] < 0


def differences_table(found: Sequence[Mapping[str, Any]], *, markdown: bool = False) -> str:
    """Lay differences out one a line."""
    from vitalfactory.scoring.intervals import tell
    from vitalfactory.scoring.metrics import FIGURES as NAMES

    told = {True: "yes", False: "no", None: "-"}
    lines = [
        [
            f"{row['run']} - {row['against']}",
            NAMES[row["figure"]],
            tell(row["difference"], "+"),
            told[row["excludes_0"]],
        ]
        for row in found
    ]
    return _lay_out([["Paired difference", "Figure", "Value [95 % interval]", "Excludes 0"], *lines], markdown)


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
        The columns, and what differences are computed of; by default four columns, and differences of AUROC
        and F1 (macro F1 where no label is the positive one).
    against : Path, optional
        The run among them that the others are compared with; the first by default.
    markdown : bool

    Returns
    -------
    dict
        ``text`` for people, ``runs`` and ``differences`` for machines.

    Raises
    ------
    VitalFactoryError
        A run has not been judged, the runs are not about the same rows, or ``against`` is none of them.
    """
    places = [folder.resolve() for folder in folders]
    reference = (against or folders[0]).resolve()
    if reference not in places:
        raise VitalFactoryError(f"--against {against}: not one of the runs {', '.join(map(str, folders))}")
    runs = [read_judged(folder) for folder in folders]
    check_same_rows(runs)
    columns = figures or (FIGURES if runs[0].card.positive else FIGURES_OF_MANY)
    found = differences(runs, runs[places.index(reference)], [name for name in columns if figures or name in COMPARED])
    parts = [table(runs, columns, markdown=markdown)]
    if found:
        parts.append(differences_table(found, markdown=markdown))
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
    return {"text": "\n\n".join(parts), "runs": told, "differences": found}


def _check_names(figures: Sequence[str]) -> None:
    from vitalfactory.scoring.metrics import FIGURES as NAMES

    known = [name for name in NAMES if name != "parse_rate"]  # which has a column of its own
    for name in figures:
        if name not in known:
            near = closest(name, known) or f"; expected some of {', '.join(known)}"
            raise VitalFactoryError(f"--figures {name}: no such figure{near}")


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python eval/compare.py", description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="run", help="folders of runs")
    parser.add_argument(
        "--against", type=Path, metavar="RUN", help="the run that the others are compared with (default: the first)"
    )
    parser.add_argument("--figures", nargs="+", metavar="NAME", help="figures as in metrics.json, such as auroc f1 mcc")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    parser.add_argument(
        "--json", action="store_true", help="print runs and differences as one JSON object on the last line"
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
