"""Figures with intervals, and a report, of a run that names findings in images.

    python eval/multilabel.py results/cxr_qwen2vl7b_lora

Reads the run's predictions.jsonl (probabilities: of a findings head or a baseline, or of yes and no about one finding a
row, which are gathered by image) and predictions_val.jsonl for the thresholds, or generations.jsonl (free text). Writes
metrics.json, report.html and findings.jsonl (what was judged, an image a row, for eval/compare.py) into the run and a
line into metrics.csv beside it; for another split than test, metrics_val.json and so on.

    python eval/multilabel.py results/mine --data data/cxr --generated-predictions generated_predictions.jsonl

makes a run out of what LLaMA-Factory's do_predict wrote, after checking that it belongs to the dataset.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import VitalFactoryError, run

if TYPE_CHECKING:
    from vitalfactory.card import Card
    from vitalfactory.predictions import Answered, Prediction
    from vitalfactory.scoring.run import Run

About = dict[str, Mapping[str, Any]]


def judge(folder: Path, split: str = "test", table: Path | None = None) -> dict[str, Any]:
    """Judge a run and write metrics.json, report.html, findings.jsonl and its line in the table of runs.

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
    from vitalfactory.scoring.multilabel_report import report
    from vitalfactory.scoring.run import open_folder
    from vitalfactory.scoring.tables import record_run

    opened = open_folder(folder, "multilabel", split)
    metrics, images, about = _measure(opened, split)
    pictures = _pictures(opened, images, about)
    judged = (row.model_copy(update={"text": None, "cut": None}).line() for row in images)
    write_text(folder / named("findings.jsonl", split), "".join(judged))
    write_json(folder / named("metrics.json", split), metrics)
    write_text(folder / named("report.html", split), report(metrics, images, opened.card, about, pictures))
    record_run(metrics, folder, table)
    return metrics


def _measure(opened: Run, split: str) -> tuple[dict[str, Any], list[Prediction], About]:
    from vitalfactory.scoring.multilabel import constant, measure

    card = opened.card
    predicted, generated = (_images(opened, split, answered) for answered in ("predictions", "generations"))
    found = predicted or generated
    if found is None:
        raise VitalFactoryError(
            f"{opened.folder}: holds no answers to {split}; run eval/generate.py (or eval/score.py, of yes and no) "
            f"--out {opened.folder} first"
        )
    images, about = found
    val = _images(opened, "val", "predictions") if predicted and split != "val" and "val" in card.splits else None
    measured, decided = measure(images, val[0] if val else None, card, about)
    opened.notes += _undefined(measured, val[0] if val else None)
    metrics = {
        "run": opened.folder.resolve().name,
        "split": split,
        "answered": "predictions" if predicted else "generations",
        **measured,
        "threshold": None,
        "free_text": _free_text(opened, split, generated[0]) if generated else None,
        "majority": constant(images, card),
        "notes": opened.notes,
        "manifest": opened.manifest,
    }
    return metrics, decided, about


def _images(opened: Run, split: str, answered: Answered) -> tuple[list[Prediction], About] | None:
    """Read the answers to a split, one row an image; None where the run has none."""
    from vitalfactory.predictions import predictions_file
    from vitalfactory.scoring.multilabel import gather

    source = opened.source(split)
    rows = opened.answers(split, answered, source)
    if rows is None:
        return None
    path = predictions_file(opened.folder, split, answered)
    images, about, left_out = gather(rows, source, opened.card, str(path))
    if not images:
        raise VitalFactoryError(
            f"{path}: no image was asked about each of the {len(opened.card.labels)} labels; answer at least so many "
            "rows, or all without --limit"
        )
    if left_out:
        opened.notes.append(f"{answered} ({split}): {left_out} images, not asked about every label, are left out")
    return images, about


def _undefined(measured: Mapping[str, Any], val: Sequence[Prediction] | None) -> list[str]:
    """Say which labels have no AUROC, and which no threshold of their own."""
    notes = []
    scored = measured["thresholds"] is not None
    lacking = [label for label, figures in measured["per_class"].items() if figures["auroc"]["value"] is None]
    if scored and lacking:
        notes.append(f"all images or none have {', '.join(lacking)}: no AUROC, and left out of its mean")
    if val:
        known = {label for row in val for label in row.label or ()}
        if missing := [label for label in measured["labels"] if label not in known]:
            notes.append(f"no validation image has {', '.join(missing)}: the threshold is 0.5")
    return notes


def _free_text(opened: Run, split: str, images: Sequence[Prediction]) -> dict[str, Any]:
    """Judge the answers in free text; they need no thresholds."""
    from vitalfactory.scoring.intervals import bootstrap
    from vitalfactory.scoring.multilabel import OF_DECISIONS, figures_of

    figures = bootstrap(figures_of(images, opened.card), [row.group for row in images])
    return {
        "rows": len(images),
        "parse_rate": figures["", "parse_rate"],
        "figures": {name: figures["", name] for name in OF_DECISIONS},
        "mentions": _mentions(images, opened.card),
    }


def _mentions(images: Sequence[Prediction], card: Card) -> dict[str, int] | None:
    """Count how findings are mentioned in texts; None where each row asks about one of them."""
    from vitalfactory.scoring.findings import STRENGTH, FindingParser

    if card.verdicts is not None:
        return None
    parser = FindingParser.from_card(card)
    counts = Counter(state for row in images for state in parser.read(row.text or "", cut=bool(row.cut)).values())
    return {state: counts[state] for state in STRENGTH}


def _pictures(opened: Run, images: Sequence[Prediction], about: About) -> dict[str, str]:
    """Make thumbnails of the images that the page shows."""
    from vitalfactory.scoring.multilabel_report import shown, thumbnail

    root = opened.dataset.parent.parent
    found = {
        row.id: thumbnail(root / about[row.id]["images"][0])
        for rows in shown(images, opened.card)
        for row in rows
        if about.get(row.id, {}).get("images")
    }
    return {name: picture for name, picture in found.items() if picture}


def table_of_labels(labels: Mapping[str, Any]) -> str:
    """Lay the figures of each label out in aligned columns."""
    from vitalfactory.scoring.intervals import tell
    from vitalfactory.scoring.multilabel import OF_LABEL

    defined = {name for each in labels.values() for name in OF_LABEL if each[name]["value"] is not None}
    shown = [name for name in ("auroc", "f1", "recall") if name in defined]
    lines = [("label", *(OF_LABEL[name] for name in shown), "images")]
    lines += [(label, *(tell(each[name]) for name in shown), str(each["support"])) for label, each in labels.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  " + "  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _print(metrics: Mapping[str, Any], folder: Path) -> None:
    from vitalfactory.scoring.intervals import tell
    from vitalfactory.scoring.multilabel import FIGURES
    from vitalfactory.scoring.multilabel_report import SYNTHETIC, decision
    from vitalfactory.scoring.tables import closing, table_of

    print(f"{metrics['run']}: {metrics['split']}, {metrics['rows']} images of {metrics['groups']} groups")
    print(f"  decided by {decision(metrics)}")
    print(table_of(metrics["figures"], FIGURES, metrics["majority"]))
    print(table_of_labels(metrics["per_class"]))
    if (free := metrics["free_text"]) and metrics["answered"] == "predictions":
        told = ", ".join(f"{FIGURES[name]} {tell(free['figures'][name])}" for name in ("micro_f1", "macro_f1"))
        print(f"  free text: parsed {tell(free['parse_rate'])}, {told} ({free['rows']} images)")
    print(closing(metrics, folder, SYNTHETIC))


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python eval/multilabel.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("run", type=Path, help="the run's folder, such as results/cxr_qwen2vl7b_lora")
    llamafactory = "make the run out of LLaMA-Factory's output; needs --data"
    add("--generated-predictions", type=Path, metavar="FILE", help=llamafactory)
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
        take_over(arguments.run, *given, "multilabel")
    metrics = judge(arguments.run, arguments.dataset_split, arguments.csv)
    _print(metrics, arguments.run)
    if arguments.json:
        from vitalfactory.files import dumps

        print(dumps(metrics))


if __name__ == "__main__":
    run(main)
