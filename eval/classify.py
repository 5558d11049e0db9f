"""Figures with intervals, and a report, of a run whose answers are one label each.

    python eval/classify.py results/ecg_smollm2

Reads the run's predictions.jsonl, predictions_val.jsonl for the threshold, and generations.jsonl for the
answers in free text. Writes metrics.json and report.html into the run and a line into metrics.csv beside it;
for another split than test, metrics_val.json and report_val.html.

    python eval/classify.py results/mine --data data/ecg --generated-predictions generated_predictions.jsonl

makes a run out of what LLaMA-Factory's do_predict wrote, after checking that it belongs to the dataset.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import VitalFactoryError, run

if TYPE_CHECKING:
    from vitalfactory.card import Card
    from vitalfactory.predictions import Prediction
    from vitalfactory.scoring.run import Run

FREE_TEXT = ("accuracy", "balanced_accuracy", "f1", "sensitivity", "specificity", "macro_f1", "mean_f1_scored")


def judge(folder: Path, split: str = "test", table: Path | None = None) -> dict[str, Any]:
    """Judge a run and write metrics.json, report.html and its line in the table of runs.

    Parameters
    ----------
    folder : Path
        The run.
    split : str
        The split that is judged; thresholds come from ``val`` whatever it is.
    table : Path, optional
        The CSV file of all runs; ``metrics.csv`` beside the run by default.

    Returns
    -------
    dict
        The content of metrics.json.

    Raises
    ------
    VitalFactoryError
        The folder holds no complete run of this dataset.
    """
    from vitalfactory.files import write_json, write_text
    from vitalfactory.predictions import named
    from vitalfactory.scoring.report import report, worst
    from vitalfactory.scoring.run import open_folder
    from vitalfactory.scoring.staging_report import sections

    opened = open_folder(folder, "classify", split)
    source = opened.source(split)
    metrics, rows = _measure(opened, split, source)
    shown = {row.id for row, _ in worst(rows, opened.card, metrics["threshold"])}
    previews = _previews(opened.dataset, shown) if source is not None else {}
    nights = sections(metrics, rows, opened.card, source) if source is not None and metrics["staging"] else []
    page = report(metrics, rows, opened.card, previews, source or {}, nights)
    write_json(folder / named("metrics.json", split), metrics)
    write_text(folder / named("report.html", split), page)
    _record(metrics, folder, table)
    return metrics


def _measure(
    opened: Run, split: str, source: Mapping[str, Mapping[str, Any]] | None
) -> tuple[dict[str, Any], list[Prediction]]:
    from vitalfactory.scoring.metrics import majority, measure

    card = opened.card
    predictions = opened.answers(split, "predictions", source)
    generations = opened.answers(split, "generations", source)
    rows = predictions or generations
    if rows is None:
        raise VitalFactoryError(
            f"{opened.folder}: holds no answers to {split}; run eval/score.py --out {opened.folder} first"
        )
    val = None
    if split != "val" and rows[0].probabilities is not None and "val" in card.splits:
        val = opened.answers("val", "predictions", opened.source("val"))
    measured = measure(rows, val, card)
    metrics = {
        "run": opened.folder.resolve().name,
        "split": split,
        "answered": "predictions" if predictions else "generations",
        **measured,
        "free_text": _free_text(generations, card) if generations else None,
        "staging": _staging(opened, rows, source, measured["threshold"]),
        "majority": majority(rows, card),
        "notes": opened.notes,
        "manifest": opened.manifest,
    }
    return metrics, rows


def _staging(
    opened: Run, rows: Sequence[Prediction], source: Mapping[str, Mapping[str, Any]] | None, threshold: float | None
) -> dict[str, Any] | None:
    """Judge nights, where the dataset's rows are their epochs."""
    from vitalfactory.scoring.staging import is_staging, measure_nights

    if not is_staging(opened.card):
        return None
    if source is None:
        opened.notes.append(
            "nights and sleep figures are left out: only the dataset's rows say which night they are of"
        )
        return None
    return measure_nights(rows, source, opened.card, threshold)


def _free_text(rows: Sequence[Prediction], card: Card) -> dict[str, Any]:
    from vitalfactory.scoring.metrics import measure

    measured = measure(rows, None, card)
    figures = {name: measured["figures"][name] for name in FREE_TEXT}
    return {
        "rows": len(rows),
        "parse_rate": measured["parse_rate"],
        "figures": figures,
        "confusion": measured["confusion"],
    }


def _previews(folder: Path, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """Read the drawings of a few rows, where the dataset has any."""
    from vitalfactory.files import read_jsonl

    path = folder / "previews.jsonl"
    needed = {"fs", "unit", "scale", "trace"}
    if not path.is_file():
        return {}
    return {row["id"]: row for row in read_jsonl(path) if row.get("id") in wanted and needed <= set(row)}


def _record(metrics: Mapping[str, Any], folder: Path, table: Path | None) -> None:
    """Put a run's line into the table of runs, with its threshold and what it says in free text."""
    from vitalfactory.scoring.tables import record_run

    free = metrics["free_text"]
    said = {name: free["figures"][name]["value"] if free else None for name in ("accuracy", "f1")}
    record_run(
        {**metrics, "figures": {"parse_rate": metrics["parse_rate"], **metrics["figures"]}},
        folder,
        table,
        threshold=metrics["threshold"],
        threshold_from=metrics["threshold_from"],
        free_text_parse_rate=free["parse_rate"]["value"] if free else None,
        **{f"free_text_{name}": value for name, value in said.items()},
    )


def _table(metrics: Mapping[str, Any]) -> str:
    """Lay figures out in aligned columns, the majority class beside them; of many labels, the F1 of each as well."""
    from vitalfactory.scoring.metrics import F1_OF, figure_in, title_of
    from vitalfactory.scoring.tables import table_of

    shown = {**metrics["figures"], "parse_rate": metrics["parse_rate"]}
    if len(metrics["labels"]) > 2:
        shown |= {f"{F1_OF}{label}": figures["f1"] for label, figures in metrics["per_class"].items()}
    usual = metrics["majority"]
    if usual:
        beside = {name: figure for name in shown if (figure := figure_in(usual, name))}
        usual = {"label": usual["label"], "figures": beside}
    return table_of(shown, {name: title_of(name, metrics["scored"]) for name in shown}, usual)


def _print(metrics: Mapping[str, Any], folder: Path) -> None:
    from vitalfactory.scoring.intervals import tell
    from vitalfactory.scoring.report import SYNTHETIC
    from vitalfactory.scoring.staging import summary
    from vitalfactory.scoring.tables import closing

    threshold = metrics["threshold"]
    chosen = f", threshold {threshold:.4g} ({metrics['threshold_from']})" if threshold is not None else ""
    print(f"{metrics['run']}: {metrics['split']}, {metrics['rows']} rows of {metrics['groups']} groups{chosen}")
    print(_table(metrics))
    if metrics["free_text"] and metrics["answered"] == "predictions":
        free = metrics["free_text"]
        told = ", ".join(
            f"{name} {tell(figure)}"
            for name, figure in free["figures"].items()
            if name in ("accuracy", "f1", "macro_f1", "mean_f1_scored") and figure["value"] is not None
        )
        print(f"  free text: parsed {tell(free['parse_rate'])}, {told} ({free['rows']} rows)")
    for line in summary(metrics["staging"]) if metrics["staging"] else ():
        print(f"  {line}")
    print(closing(metrics, folder, SYNTHETIC))


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python eval/classify.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("run", type=Path, help="the run's folder, such as results/ecg_smollm2")
    add(
        "--generated-predictions",
        type=Path,
        metavar="FILE",
        help="make the run out of LLaMA-Factory's output; needs --data",
    )
    add("--data", type=Path, metavar="DIR", help="the dataset's folder, for --generated-predictions")
    add("--dataset-split", choices=("train", "val", "test"), default="test", help="the split to judge (default: test)")
    add("--model-name", default="unknown", help="the model's name in the manifest, for --generated-predictions")
    add("--csv", type=Path, metavar="PATH", help="the table of runs (default: metrics.csv beside the run)")
    add("--json", action="store_true", help="print metrics.json on the last line")
    add("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args(argv)
    if (arguments.generated_predictions is None) != (arguments.data is None):
        raise VitalFactoryError("--generated-predictions FILE and --data DIR go together")
    if arguments.generated_predictions is not None:
        from vitalfactory.scoring.taken import take_over

        given = (arguments.generated_predictions, arguments.data, arguments.dataset_split, arguments.model_name)
        take_over(arguments.run, *given, "classify")
    metrics = judge(arguments.run, arguments.dataset_split, arguments.csv)
    _print(metrics, arguments.run)
    if arguments.json:
        from vitalfactory.files import dumps

        print(dumps(metrics))


if __name__ == "__main__":
    run(main)
